//! Nodes as containers of the host's Docker Engine, over its API: no `docker` command, no shell.
//!
//! ```text
//! create ─► container with labels, limits, no network; the guest as process 1; folder of its own for the agent's socket
//! listen ─► <run folder>/nodes/<sliver>-<disk>/agent.sock, seen in the node as /.testyard/run/agent.sock
//! start  ─► process id, so /proc/<pid>/ns/net, which the fabric fills
//! start is refused where /etc/passwd or /etc/group, which the engine opens, are no ordinary files
//! stop   ─► the container stays, and with it the disk
//! remove ─► container, anonymous volumes, folder
//! ```
//!
//! The labels are the only memory ([`mark`]): everything can be found and removed without any database, and what does
//! not carry this testbed's instance is never touched. The engine restarts nothing by itself: whether a node should
//! run is the converger's business.

#![forbid(unsafe_code)]

mod body;
mod config;
mod engine;
mod events;
mod image;
mod import;
mod leftover;
mod listen;
mod login;
mod make;
mod mark;
mod own_files;
mod power;
mod pull;
mod reason;
mod runtime;
mod seen;
mod spare;
mod stuck;
mod turns;
mod usage;

pub use config::{DockerConfig, RegistryLogin};
pub use import::ImportError;
pub use mark::container_name;
pub use runtime::{DockerRuntime, ResetError};
