//! The testbed as REST. Today its one listener is a local socket, whose callers the kernel names: no certificate is needed
//! on the testbed's own machine. It only translates: who calls, what for, one method of the controller, the answer as JSON.
//!
//! ```text
//! testyard up, status, … ─► client ─► local socket ─► peer: who is it ─► routes ─► controller
//!                                                        │
//!                                   root acts for anybody, others for themselves
//! ```
//!
//! | module | for |
//! | --- | --- |
//! | [`api`] | what goes over the socket, as plain types |
//! | `from`, `words` | the controller's answers as these types, and their texts in the words of this door |
//! | [`peer`], `connections` | who calls, and how often at a time |
//! | `bodies` | how long bodies may be, and may take |
//! | `requests` | a number, a line in the log and a count for each call |
//! | [`metrics`] | what is told to those who gather metrics |
//! | [`Invite`] | who lets agents of hosts in |
//! | [`server`] | the socket, and the way to the routes |
//! | `routes` | a noun a file |
//! | [`client`] | the other end |

#![forbid(unsafe_code)]

pub mod api;
mod bodies;
pub mod client;
mod connections;
mod from;
mod invite;
pub mod metrics;
pub mod peer;
mod problem;
mod requests;
mod routes;
pub mod server;
mod words;

pub use api::Invitation;
pub use client::{Client, ClientError};
pub use invite::{Invite, NoAgents};
pub use peer::{Authority, Peer};
pub use server::{Server, ServerError};

/// The name of the socket in the run folder.
pub const SOCKET: &str = "testyard.sock";
