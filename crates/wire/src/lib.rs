//! The wire: a process that forwards frames between pairs of interfaces of its network namespace, and impairs them.
//!
//! ```text
//!  client ──Unix socket──► process ──► supervisor ──commands──► worker (a thread, many pipes)
//!           (protocol)                  │ opens interfaces        │  packet socket ► frame ► emulator ► packet socket
//!                                       ▼                         ▼
//!                                   netlink events             one epoll, one timer, no lock
//! ```
//!
//! - [`pipe`]: what a wire is asked to be.
//! - [`protocol`], [`client`]: how it is asked, and answers.
//! - [`emulator`]: what impairments do to packets, in virtual time; pure.
//! - [`frame`]: offload headers, segmentation; pure.
//! - [`process`]: the whole process.
//! - `sys`: the kernel's calls without a safe wrapper, the only `unsafe` here.
//!
//! A wire makes no interface of its own, so its end changes none: carrier, addresses and captures of the nodes stay, and
//! a new wire that is given the same state goes on.

pub mod client;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod emulator;
pub mod frame;
pub mod fuzzing;
mod io;
pub mod pipe;
pub mod process;
pub mod protocol;
mod server;
mod thread;

pub use client::{Client, ClientError};
pub use pipe::{Desired, Direction, Pipe, PipeName, PortName};
pub use process::{Options, RunError, run};
pub use protocol::{Alteration, Change, Observed, PortState};
