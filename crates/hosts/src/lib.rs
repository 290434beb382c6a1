//! How hosts come in.
//!
//! ```text
//!  testyard host add h1          prints a token: the host's name, who its controller is, a secret that works once
//!  testyard agent --token …      makes a key, and is given a certificate for it       Enrol
//!                                connects with it, again and again                    Serve ──► testyard_agent::remote
//!                                is given the next one before it ends                 Renew
//!  testyard host rm h1           its certificates are good for nothing any more
//! ```
//!
//! The agent calls, the controller answers at one door. Both prove who they are by TLS 1.3 with certificates of the testbed's own
//! authority over hosts ([`testyard_trust::issuer::HostAuthority`]); who has none yet shows a token instead, which names that
//! authority, so that neither is taken in by somebody in between.
//!
//! | module | noun |
//! | --- | --- |
//! | [`token`] | what a new host shows |
//! | [`message`] | what is said before [`testyard_agent::remote`] goes on |
//! | `member` | what is kept of a host |
//! | [`roster`] | which tokens and certificates are good |
//! | [`door`] | the controller's end |
//! | [`caller`] | the agent's end |

#![forbid(unsafe_code)]

pub mod caller;
pub mod door;
mod member;
pub mod message;
pub mod roster;
mod tls;
pub mod token;

pub use caller::{CallError, Membership, connect, enrol, renew};
pub use door::{Door, DoorError};
pub use member::Member;
pub use roster::{MemoryRoster, Roster, RosterError, StoreRoster};
pub use token::{Token, TokenError};
