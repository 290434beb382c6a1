//! What a host's agent and the guest inside a node say to each other.
//!
//! The stream is level-triggered, as everything between controller and node is: the agent sends the whole
//! [`Desired`] state of the inside of the node, with a revision, whenever it changes and whenever the stream is made
//! again; the guest makes it so from whatever it finds and sends its whole [`Report`] whenever that changes. Either
//! side may vanish at any time and come back.
//!
//! ```text
//! guest ── Hello ──────────────────────► agent      version of the protocol, of the guest, id of this boot
//! guest ◄───────────── Desired(rev 1) ── agent      go = false: names, accounts, keys; nothing is started yet
//! guest ── Report(rev 1, Prepared) ────► agent
//! guest ◄───────────── Desired(rev 2) ── agent      go = true: the network is there
//! guest ── Report(rev 2, …) ───────────► agent      sshd up, installing, ready …
//! ```
//!
//! A message is a length (4 bytes, big endian) and that many bytes of JSON, at most [`MAX_MESSAGE`]. The agent never
//! trusts what a guest says: root inside the node is the user. See [`Report::bounded`].

#![forbid(unsafe_code)]

mod facts;
mod frame;
pub mod fuzzing;
mod message;
mod schedule;

pub use facts::{Answer, Ask, FactUser, Facts, MAX_ANSWER, MAX_WHAT, Told};
pub use frame::{FrameError, MAX_MESSAGE, decode, encode, read, write};
#[cfg(feature = "tokio")]
pub use frame::{read_async, read_body_async, write_async};
pub use message::{
    Account, Desired, Execute, FromGuest, Hello, HostKey, HostsLine, Install, Program, ProgramState, Report,
    Resolver, Secret, ServiceId, ServiceReport, ServiceState, SshServer, Stage, ToGuest,
};
pub use schedule::{ScheduledDone, ScheduledMove, ScheduledProgram, ScheduledReport, ScheduledStand};

/// The version of this protocol. A guest of another version is replaced at the node's next boot.
pub const PROTOCOL: u32 = 1;

/// The folder in a node that holds the guest (read-only, one per version) and the socket.
pub const GUEST_FOLDER: &str = "/.testyard";

/// The guest's program inside the node.
pub const GUEST_PROGRAM: &str = "/.testyard/bin/testyard-guest";

/// The folder of the guest's programs inside the node, among them those for people; the last one in PATH.
pub const GUEST_BIN: &str = "/.testyard/bin";

/// The agent's socket inside the node. The agent listens, the guest connects, so that nothing in the node can make
/// the agent open anything.
pub const GUEST_SOCKET: &str = "/.testyard/run/agent.sock";
