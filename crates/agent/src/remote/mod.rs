//! The host contract over a connection: the agent of another machine on one end, the controller on the other.
//!
//! ```text
//!  controller                                                    host
//!  RemoteHost ◄── attend ── a stream that the agent has opened ── serve ──► LocalHost
//!      │   ◄── greeting ────────── versions, program, instance ──────        │
//!      │   ─── welcome, how the host is to be run ────────────────►          │
//!      │   ─── call: sync, apply, capture, probe, … ──────────────►          │
//!      │   ◄── answer, what was seen, packets, questions of nodes ──         │
//! ```
//!
//! The agent connects, so that hosts need no open port and may be behind NAT. Who it is was proven before: the stream comes
//! out of mutual TLS, or is a local socket whose peer the kernel names. A connection that is lost loses nothing else: the host
//! goes on with what it was last told, and is told everything again when it is back.
//!
//! | module | noun |
//! | --- | --- |
//! | `frame` | what the bytes of the stream are |
//! | [`message`] | what is said |
//! | `connection` | one connection: greeting, sending, heartbeat |
//! | `client` | [`RemoteHost`], the controller's end |
//! | `captures` | captures that are passed on, with as many bytes on the way as their reader has room for |
//! | `server` | [`join`] and [`serve`], the host's end |

mod captures;
mod client;
mod connection;
mod frame;
pub mod fuzzing;
pub mod message;
mod server;

pub use client::RemoteHost;
pub use connection::{ConnectionError, Introduction, hear, say};
pub use frame::FrameError;
pub use server::{Joined, RemoteFacts, join, serve};

#[cfg(test)]
mod tests;
