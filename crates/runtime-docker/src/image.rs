//! Images: what is on the host, and what an image says about itself.

use bollard::models::ImageInspect;
use testyard_model::image::ImageName;
use testyard_runtime::{Image, ImageConfig, ImageError, Pull, PullProgress};
use tokio::sync::watch;

use crate::engine::{Engine, Fault};
use crate::runtime::DockerRuntime;

pub(crate) async fn image(
    runtime: &DockerRuntime,
    name: &ImageName,
    pull: Pull,
    progress: &watch::Sender<PullProgress>,
) -> Result<Image, ImageError> {
    if let Some(image) = look(&runtime.engine, name).await? {
        return fit(image);
    }
    if pull == Pull::Missing {
        runtime.pulls.pull(&runtime.engine, &runtime.config, name, progress).await?;
        if let Some(image) = look(&runtime.engine, name).await? {
            return fit(image);
        }
    }
    Err(ImageError::NotFound {
        name: name.clone(),
        detail: "it is not on this host: load it with `docker load` or `docker pull`".to_owned(),
    })
}

/// The image of this name, if the host has it.
pub(crate) async fn look(engine: &Engine, name: &ImageName) -> Result<Option<Found>, ImageError> {
    match engine.call(async |docker| docker.inspect_image(&name.pinned()).await).await {
        Ok(inspect) => found(name, inspect).map(Some),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault.of_image(name)),
    }
}

/// The image of this number, under a name that it is to have.
pub(crate) async fn by_id(engine: &Engine, name: &ImageName, id: &str) -> Result<Option<Found>, ImageError> {
    match engine.call(async |docker| docker.inspect_image(id).await).await {
        Ok(inspect) => found(name, inspect).map(Some),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault.of_image(name)),
    }
}

/// An image on the host, not yet known to be fit for a node.
pub(crate) struct Found {
    pub(crate) image: Image,
    os: String,
    architecture: String,
}

fn found(name: &ImageName, inspect: ImageInspect) -> Result<Found, ImageError> {
    let config = inspect.config.unwrap_or_default();
    let id = inspect.id.ok_or_else(|| Fault::Odd("an image without an id".to_owned()).of_image(name))?;
    let image = Image {
        name: name.clone(),
        id,
        digest: inspect.repo_digests.unwrap_or_default().into_iter().next(),
        config: ImageConfig {
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            workdir: config.working_dir.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
            exposed: exposed(&config.exposed_ports.unwrap_or_default()),
        },
    };
    Ok(Found {
        image,
        os: inspect.os.unwrap_or_default(),
        architecture: inspect.architecture.unwrap_or_default(),
    })
}

/// The ports, in order (the engine has none); what is neither TCP nor UDP cannot be forwarded and is left out.
fn exposed(ports: &[String]) -> Vec<testyard_model::sliver_type::Port> {
    let mut ports: Vec<_> = ports.iter().filter_map(|port| port.parse().ok()).collect();
    ports.sort_unstable();
    ports
}

/// The image, if a node can be made from it.
pub(crate) fn fit(found: Found) -> Result<Image, ImageError> {
    let Found { image, os, architecture } = found;
    let unfit = |detail: String| Err(ImageError::Unfit { name: image.name.clone(), detail });
    if let Some(init) = image.config.init() {
        return unfit(format!(
            "its program {init} works only as process 1, which is Testyard's guest in every node: use an image whose \
             ENTRYPOINT or CMD is the service itself, or none"
        ));
    }
    if !os.is_empty() && os != "linux" {
        return unfit(format!("it is for {os}: use one for linux"));
    }
    let runs = host_architectures();
    if !architecture.is_empty() && !runs.contains(&architecture.as_str()) {
        let here = runs[0];
        return unfit(format!("it is for {architecture}, and this host is {here}: use one for {here}"));
    }
    Ok(image)
}

/// What this machine runs, in the words of OCI images, its own kind first.
pub(crate) fn host_architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["amd64", "386"],
        "aarch64" => &["arm64", "arm"],
        "powerpc64" => &["ppc64le"],
        _ => &[std::env::consts::ARCH],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(architecture: &str, cmd: &[&str]) -> ImageInspect {
        ImageInspect {
            id: Some("sha256:00".to_owned()),
            os: Some("linux".to_owned()),
            architecture: Some(architecture.to_owned()),
            config: Some(bollard::models::ImageConfig {
                cmd: Some(cmd.iter().map(ToString::to_string).collect()),
                exposed_ports: Some(vec![
                    "443/tcp".to_owned(),
                    "53/udp".to_owned(),
                    "9/sctp".to_owned(),
                    "80/tcp".into(),
                ]),
                ..Default::default()
            }),
            ..ImageInspect::default()
        }
    }

    fn judge(inspect: ImageInspect) -> Result<Image, String> {
        let name = "debian:12".parse().unwrap();
        found(&name, inspect).and_then(fit).map_err(|error| error.to_string())
    }

    #[test]
    fn fit_and_unfit() {
        let image = judge(inspect(host_architectures()[0], &["sleep"])).unwrap();
        let ports: Vec<_> = image.config.exposed.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["80/tcp", "443/tcp", "53/udp"]);
        assert!(judge(inspect("s390x", &["sleep"])).unwrap_err().contains("it is for s390x"));
        assert!(judge(inspect(host_architectures()[0], &["/sbin/init"])).unwrap_err().contains("process 1"));
        assert!(
            judge(ImageInspect { os: Some("windows".into()), ..inspect("", &[]) })
                .unwrap_err()
                .contains("windows")
        );
    }
}
