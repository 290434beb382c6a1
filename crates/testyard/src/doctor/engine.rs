//! Docker Engine: whether it answers, what it is, and the images that nodes boot by default.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use testyard_model::id::Instance;
use testyard_runtime::{Pull, PullProgress, Runtime as _};
use testyard_runtime_docker::{DockerConfig, DockerRuntime};
use tokio::sync::watch;

use super::Finding;
use crate::config::{DEFAULT_IMAGE, Settings};

pub(super) fn examine(settings: Option<&Settings>) -> Vec<Finding> {
    let socket =
        settings.and_then(Settings::here).map_or(Path::new("/var/run/docker.sock"), |host| &host.docker);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(look(socket, settings)),
        Err(error) => vec![Finding::lacking("Docker Engine", error.to_string(), "free some memory")],
    }
}

async fn look(socket: &Path, settings: Option<&Settings>) -> Vec<Finding> {
    const REMEDY: &str =
        "apt-get install docker.io; with systemd: systemctl start docker, without: start dockerd by hand";
    let instance: Instance = "doctor".parse().expect("an instance name");
    let mut config = DockerConfig::new(instance, "/nonexistent", "/nonexistent");
    config.socket = socket.to_owned();
    let engine = DockerRuntime::new(config);
    let facts = match tokio::time::timeout(Duration::from_secs(5), engine.facts()).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => return vec![Finding::lacking("Docker Engine", error.to_string(), REMEDY)],
        Err(_) => {
            let found = format!("{} does not answer within 5 s", socket.display());
            return vec![Finding::lacking("Docker Engine", found, REMEDY)];
        }
    };
    let mut findings = vec![Finding::good("Docker Engine", facts.engine), docker_user_chain()];
    let mut images: Vec<String> = settings.map_or_else(
        || vec![DEFAULT_IMAGE.to_owned()],
        |settings| settings.sliver_types.iter().map(|kind| kind.default_image.to_string()).collect(),
    );
    if settings.is_some_and(|settings| settings.sliver_types.iter().any(|kind| kind.sudo)) {
        findings.extend(userns(&engine).await);
    }
    images.sort();
    images.dedup();
    for name in images {
        let Ok(name) = name.parse() else { continue };
        let (progress, _) = watch::channel(PullProgress::default());
        findings.push(match engine.image(&name, Pull::Never, &progress).await {
            Ok(image) => {
                Finding::good("image", format!("{name}, {}", image.id.chars().take(19).collect::<String>()))
            }
            Err(error) if name.as_str() == DEFAULT_IMAGE => {
                Finding::limited("image", error.to_string(), "testyard image build-default makes it")
            }
            Err(error) => {
                Finding::limited("image", error.to_string(), "it is pulled when a node first needs it")
            }
        });
    }
    findings
}

/// Testyard's sudo is a program of the host's, and root's: another root is not obeyed in it.
async fn userns(engine: &DockerRuntime) -> Option<Finding> {
    let remedy = "take userns-remap out of Docker's daemon.json, or use images that have a sudo of their own";
    let found = "Docker maps users (userns-remap): Testyard's sudo does not work in nodes";
    engine.maps_users().await.ok()?.then(|| Finding::limited("sudo", found, remedy))
}

/// Docker's chain for others' rules; its FORWARD policy is DROP, so that without the chain no node is reachable.
fn docker_user_chain() -> Finding {
    let listed = Command::new("iptables")
        .args(["-w", "5", "-S", "DOCKER-USER"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    match listed {
        Ok(output) if output.status.success() => Finding::good("DOCKER-USER", "there"),
        Ok(output) => Finding::limited(
            "DOCKER-USER",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("not there").to_owned(),
            "restart Docker after a change of the firewall; serve makes the chain if Docker has not",
        ),
        Err(error) => {
            Finding::lacking("DOCKER-USER", format!("iptables: {error}"), "apt-get install iptables")
        }
    }
}
