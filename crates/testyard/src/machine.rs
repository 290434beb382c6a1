//! This machine as a host: what runs nodes on it, and what connects them. `serve` has it inside, `agent` is nothing else.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use testyard_agent::{Facts, HostConfig, LocalHost, LocalHostConfig, RegistryAccess};
use testyard_fabric::{Emulator, Fabric, FabricConfig, LinuxFabric, fake::FakeFabric};
use testyard_runtime::Runtime;
use testyard_runtime::fake::FakeRuntime;
use testyard_runtime_docker::{DockerConfig, DockerRuntime, RegistryLogin};

use crate::folder::Readers;

/// What a node gets to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Where this machine's agent keeps what is its own.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// What must outlive the machine's restart: records of nodes.
    pub(crate) state: PathBuf,
    /// What need not: sockets.
    pub(crate) run: PathBuf,
}

/// This machine as a host that is run like this.
///
/// # Errors
/// If no node could ever work here.
pub(crate) async fn open(
    config: &HostConfig,
    folders: &Folders,
    registries: Vec<RegistryLogin>,
    facts: Arc<dyn Facts>,
) -> anyhow::Result<Arc<LocalHost>> {
    let (runtime, fabric): (Arc<dyn Runtime>, Arc<dyn Fabric>) = if config.pretends {
        (Arc::new(FakeRuntime::new()), Arc::new(FakeFabric::default()))
    } else {
        let guest =
            crate::guest::install(&crate::guest::find()?, &folders.state).context("the guest program")?;
        let docker = docker_config(config, folders, &guest, registries);
        (Arc::new(DockerRuntime::new(docker)), Arc::new(LinuxFabric::new(fabric_config(config, folders))))
    };
    let config = LocalHostConfig {
        runtimes: vec![runtime],
        fabric,
        state: folders.state.join("host"),
        domain: config.domain.clone(),
        name_servers: config.name_servers.clone(),
        stop_grace: STOP_GRACE,
        install_limits: config.install_limits,
        images: config.images.clone(),
        only_netem: config.emulator == Emulator::Netem,
        facts: Some(facts),
        pool: config.pool.clone(),
        now: Timestamp::now,
    };
    Ok(LocalHost::start(config).await?)
}

/// What the fabric needs to know.
pub(crate) fn fabric_config(config: &HostConfig, folders: &Folders) -> FabricConfig {
    FabricConfig {
        instance: config.instance.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
        ipv6_proxy: config.ipv6_proxy,
        run: folders.run.clone(),
        wire: wire_program(),
        emulator: config.emulator,
        captures: Some(folders.state.join("captures")),
        tunnel_port: config.tunnel_port,
        denied: config.denied.clone(),
    }
}

/// How the fabric starts a wire: this very program, as it is now.
fn wire_program() -> Vec<OsString> {
    std::env::current_exe().map_or_else(|_| Vec::new(), |program| vec![program.into(), "wire".into()])
}

/// What the Docker runtime needs to know.
pub(crate) fn docker_config(
    config: &HostConfig,
    folders: &Folders,
    guest_folder: &Path,
    registries: Vec<RegistryLogin>,
) -> DockerConfig {
    let mut docker = DockerConfig::new(config.instance.clone(), guest_folder, &folders.run);
    docker.socket.clone_from(&config.docker);
    docker.registries = registries;
    docker
}

/// What an agent was last told, in its state folder: whoever clears up after it needs that.
const REMEMBERED: &str = "config.json";

/// Remembers how this machine is run, without its secrets.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn remember(config: &HostConfig, folders: &Folders) -> std::io::Result<()> {
    let known = HostConfig { registries: Vec::new(), ..config.clone() };
    let path = folders.state.join(REMEMBERED);
    crate::folder::replace(&path, &serde_json::to_vec_pretty(&known)?, Readers::Owner)
}

/// How this machine was last run.
///
/// # Errors
/// If nothing is remembered.
pub(crate) fn remembered(folders: &Folders) -> std::io::Result<HostConfig> {
    Ok(serde_json::from_slice(&std::fs::read(folders.state.join(REMEMBERED))?)?)
}

/// Keeps what a testbed has said of registries in files that nobody else reads and that the next boot does not find.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn keep_logins(registries: &[RegistryAccess], run: &Path) -> std::io::Result<Vec<RegistryLogin>> {
    let folder = run.join("registries");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let keep = |(number, access): (usize, &RegistryAccess)| {
        let password_file = folder.join(number.to_string());
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&password_file)?;
        std::io::Write::write_all(&mut file, access.password.as_bytes())?;
        Ok(RegistryLogin { host: access.host.clone(), user: access.user.clone(), password_file })
    };
    registries.iter().enumerate().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn passwords_of_registries_are_in_files_of_their_own() {
        let run = tempfile::tempdir().unwrap();
        let access = |host: &str, password: &str| RegistryAccess {
            host: host.into(),
            user: "u".into(),
            password: password.into(),
        };
        let all = [access("a.example.net", "open sesame"), access("b.example.net", "x")];
        keep_logins(&all, run.path()).unwrap();
        let logins = keep_logins(&all[..1], run.path()).unwrap();
        let file = &logins[0].password_file;
        assert_eq!(std::fs::read_to_string(file).unwrap(), "open sesame");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "what is over is gone");
    }
}
