//! Who reads from a registry.

use std::fs::File;
use std::io::Read as _;

use bollard::auth::DockerCredentials;
use testyard_model::image::ImageName;
use testyard_runtime::ImageError;

use crate::config::RegistryLogin;

/// No password is longer; tokens of cloud registries have some thousand bytes.
const LONGEST: u64 = 64 << 10;

/// What the engine is to show the registry of this image; nothing if no login is configured for it.
///
/// The value has a `Debug` that shows the password: it goes to the engine and nowhere else.
pub(crate) fn of(
    logins: &[RegistryLogin],
    name: &ImageName,
) -> Result<Option<DockerCredentials>, ImageError> {
    let registry = name.registry();
    let Some(login) = logins.iter().find(|login| login.host == registry) else { return Ok(None) };
    let mut password = String::new();
    let read =
        File::open(&login.password_file).and_then(|file| file.take(LONGEST).read_to_string(&mut password));
    if let Err(error) = read {
        // Where the operators keep it is none of the users' business.
        tracing::error!(file = %login.password_file.display(), %error, registry, "no password for a registry");
        let detail = format!("the password for {registry} cannot be read: tell the testbed's operators");
        return Err(ImageError::NotFound { name: name.clone(), detail });
    }
    password.truncate(password.trim_end_matches(['\r', '\n']).len());
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    Ok(Some(DockerCredentials {
        username: Some(login.user.clone()),
        password: Some(password),
        serveraddress: Some(server.to_owned()),
        ..DockerCredentials::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registry_that_it_is_for_is_shown_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, "open sesame \r\n").unwrap();
        let login = |host: &str| RegistryLogin {
            host: host.to_owned(),
            user: "ann".to_owned(),
            password_file: password_file.clone(),
        };
        let logins = [login("lab.example:5000"), login("docker.io")];
        let shown = |name: &str| of(&logins, &name.parse().unwrap()).unwrap();
        assert_eq!(shown("lab.example:5000/a").unwrap().password.unwrap(), "open sesame ");
        assert_eq!(shown("debian:12").unwrap().serveraddress.unwrap(), "https://index.docker.io/v1/");
        for other in ["lab.example/a", "lab.example:5001/a", "quay.example/debian"] {
            assert!(shown(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_password_that_cannot_be_read_is_said_without_the_path() {
        let login = RegistryLogin {
            host: "lab.example".to_owned(),
            user: "ann".to_owned(),
            password_file: "/nonexistent/secret".into(),
        };
        let error = of(&[login], &"lab.example/a".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("operators") && !error.contains("nonexistent"), "{error}");
    }
}
