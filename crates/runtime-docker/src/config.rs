//! What the runtime is told.

use std::path::PathBuf;
use std::time::Duration;

use testyard_model::id::Instance;

/// Where the engine is and where things of this testbed lie on this host.
///
/// Registries are the engine's business: mirrors, insecure registries and certificates are set in its `daemon.json`.
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
    /// How many containers are made and started at the same time. The engine is bound by the processor: more than 8
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

impl DockerConfig {
    /// The engine's usual socket, and limits that suit most hosts.
    #[must_use]
    pub fn new(instance: Instance, guest_folder: impl Into<PathBuf>, run_folder: impl Into<PathBuf>) -> Self {
        Self {
            instance,
            socket: PathBuf::from("/var/run/docker.sock"),
            guest_folder: guest_folder.into(),
            run_folder: run_folder.into(),
            parallel: 8,
            pull_timeout: Duration::from_secs(30 * 60),
            pull_first_sign: Duration::from_secs(15),
            pull_silence: Duration::from_secs(20),
            pull_memory: Duration::from_secs(5),
        }
    }
}
