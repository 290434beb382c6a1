//! The SSH server of nodes whose image has none, or whose own cannot start.
//!
//! Two halves that never share a process:
//!
//! - [`Listener`] is for process 1: plain `std`, one thread, no cryptography. It accepts, counts, and hands each
//!   connection to a process of its own.
//! - [`session::main`] is that process: SSH by `russh` on one thread. It begins as root to read keys, and once a key
//!   has been accepted becomes that user for good, before any channel is served. What it starts (shell, command, the
//!   SFTP server and the old `scp`, which are this program too) runs as the user because the process does.
//!
//! ```text
//!  process 1                         session (root)                    session (the user)
//!  Listener ── accept ── spawn ────► key exchange, public keys ──────► channels: shell, exec, sftp, forwards
//!            ◄─ life: 'a' when a user is in, end of file when the process has ended ─┘
//! ```
//!
//! # How a guest wires it
//!
//! ```no_run
//! # fn sketch(settings: &std::path::Path, log: std::fs::File, stop: std::os::fd::OwnedFd) -> std::io::Result<()> {
//! use testyard_sshd::{Listener, ListenerLimits};
//!
//! // Binds what it can; `refused` says what it could not (no IPv6, say). An error if nothing is left.
//! let (listener, refused) = Listener::bind(&Listener::everywhere(22), ListenerLimits::default())?;
//! // Blocks until `stop` is readable or closed: give it a thread. Sessions outlive it.
//! listener.run(&stop, |connection| {
//!     let mut command = connection.command("/proc/self/exe".as_ref(), settings);
//!     command.stderr(log.try_clone()?);
//!     // Spawn it by whatever reaps children; the handle may be dropped.
//!     command.spawn().map(drop)
//! });
//! # drop(refused); Ok(()) }
//! ```
//!
//! and in the program's `main`, where the first word is [`COMMAND`]:
//!
//! ```no_run
//! # fn resolve(name: &str) -> std::io::Result<Vec<std::net::IpAddr>> { unimplemented!("{name}") }
//! # let rest = Vec::<std::ffi::OsString>::new();
//! // `rest`: the words after COMMAND. `resolve`: names to addresses for `ssh -L`, without the image's C library.
//! let code = testyard_sshd::session::main(rest, resolve);
//! ```
//!
//! The program must be executable by everybody (mode 0755): the SFTP server is started by the user's process through
//! `/proc/self/exe`. The settings file ([`Settings`], JSON) belongs to root, mode 0600; replace it by renaming, and the
//! next connection follows it.

mod environment;
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod kernel;
mod keys;
mod listener;
mod scp;
pub mod session;
mod settings;
mod sftp;
mod shell;
mod terminal;
mod words;

pub use listener::{Connection, Limits as ListenerLimits, Listener};
pub use settings::{Account, Limits, Settings, SettingsError};

/// The first word of the arguments of every process that this crate starts from the program it is part of.
pub const COMMAND: &str = "ssh-session";
