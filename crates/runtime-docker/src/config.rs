//! What the runtime is told.

use std::path::PathBuf;
use std::time::Duration;

use testyard_model::id::Instance;

/// Where the engine is and where things of this testbed lie on this host.
///
/// How registries are reached is the engine's business: mirrors, insecure registries and certificates are set in its
/// `daemon.json`. Who reads there is said here.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The testbed's mark on this machine.
    pub instance: Instance,
    /// The engine's socket.
    pub socket: PathBuf,
    /// The folder on the host that holds the guest's program; nodes see it read-only as `/.testyard/bin`.
    pub guest_folder: PathBuf,
    /// The folder for the nodes' sockets, on a file system that a reboot empties (`/run/…`). Only root may enter it.
    pub run_folder: PathBuf,
    /// Who reads from registries that do not let everybody.
    pub registries: Vec<RegistryLogin>,
    /// How many containers are made and started at the same time, three quarters of them of one slice. The engine is bound by the processor: more than 8
    /// gains nothing (measured).
    pub parallel: usize,
    /// How long a pull may take in all.
    pub pull_timeout: Duration,
    /// How long a pull may go without a first sign of life: slow name servers end here.
    pub pull_first_sign: Duration,
    /// How long a pull may go on without progress.
    pub pull_silence: Duration,
    /// How long a failed pull is remembered, so that a hundred nodes with one bad image do not ask a hundred times.
    pub pull_memory: Duration,
}

/// Who reads from a registry. The password is read from its file at each pull, and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The registry as image names say it, with its port: `registry.example.net:5000`; `docker.io` for Docker Hub.
    pub host: String,
    /// The user.
    pub user: String,
    /// The file with the password, or an access token; a line's end at its end does not count.
    pub password_file: PathBuf,
}

impl DockerConfig {
    /// The engine's usual socket, and limits that suit most hosts.
    #[must_use]
    pub fn new(instance: Instance, guest_folder: impl Into<PathBuf>, run_folder: impl Into<PathBuf>) -> Self {
        Self {
            instance,
            socket: PathBuf::from("/var/run/docker.sock"),
            guest_folder: guest_folder.into(),
            run_folder: run_folder.into(),
            registries: Vec::new(),
            parallel: 8,
            pull_timeout: Duration::from_secs(30 * 60),
            pull_first_sign: Duration::from_secs(15),
            pull_silence: Duration::from_secs(20),
            pull_memory: Duration::from_secs(5),
        }
    }
}
