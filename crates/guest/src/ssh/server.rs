//! Which SSH server the image has, and what it is started with.

use std::path::{Path, PathBuf};

/// An SSH server of the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenSsh,
    Dropbear,
}

const FOLDERS: [&str; 6] = ["usr/sbin", "usr/local/sbin", "sbin", "usr/bin", "usr/local/bin", "bin"];

impl Server {
    /// The image's server; OpenSSH's if it has both.
    pub(crate) fn find(root: &Path) -> Option<Self> {
        [(Kind::OpenSsh, "sshd"), (Kind::Dropbear, "dropbear")].into_iter().find_map(|(kind, name)| {
            let path =
                FOLDERS.iter().map(|folder| root.join(folder).join(name)).find(|path| path.is_file())?;
            Some(Self { kind, path })
        })
    }
}

/// Whether a program, as the image names it, is OpenSSH's server.
pub(crate) fn is_sshd(program: &str) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "sshd")
}

/// Options that win over the image's sshd_config (sshd takes the first value it meets), in names that every version of
/// the last fifteen years knows. The rest of that file stays as the image has it.
pub(crate) fn enforced(host_keys: &[PathBuf]) -> Vec<String> {
    let options = [
        "PubkeyAuthentication=yes",
        "AuthorizedKeysFile=.ssh/authorized_keys",
        "PasswordAuthentication=no",
        "ChallengeResponseAuthentication=no",
        "PermitRootLogin=without-password",
        "PidFile=none",
        // Half of all log-ins would wait for a name that nobody has.
        "UseDNS=no",
    ];
    let mut arguments = vec!["-p".to_owned(), "22".to_owned()];
    for key in host_keys {
        arguments.extend(["-h".to_owned(), key.display().to_string()]);
    }
    for option in options {
        arguments.extend(["-o".to_owned(), option.to_owned()]);
    }
    arguments
}

/// In the foreground, errors to standard error, no passwords, these keys.
pub(crate) fn dropbear_arguments(keys: &[PathBuf]) -> Vec<String> {
    let mut arguments: Vec<String> = ["-F", "-E", "-s", "-p", "22"].map(str::to_owned).into();
    for key in keys {
        arguments.extend(["-r".to_owned(), key.display().to_string()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_the_image() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Server::find(root.path()), None);
        for (path, kind) in [("usr/bin/dropbear", Kind::Dropbear), ("usr/local/sbin/sshd", Kind::OpenSsh)] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            assert_eq!(Server::find(root.path()), Some(Server { kind, path }));
        }
        assert!(is_sshd("/usr/sbin/sshd") && is_sshd("sshd") && !is_sshd("/opt/sshd/run") && !is_sshd("sh"));
    }

    #[test]
    fn keys_are_given_by_name() {
        let arguments = enforced(&["/etc/ssh/ssh_host_ed25519_key".into()]);
        assert!(arguments.windows(2).any(|pair| pair == ["-h", "/etc/ssh/ssh_host_ed25519_key"]));
        assert!(arguments.windows(2).any(|pair| pair == ["-o", "PasswordAuthentication=no"]));
    }
}
