//! The host contract, and the converger behind it.
//!
//! A host is level-triggered: it is given the whole [`desired::Slice`] with a revision and makes it so from whatever
//! it finds; it reports what it [`observed`]. Restart and reload are counters in the desired state, not commands, so
//! that a crash of anything at any instant needs no special recovery: the next pass converges.
//!
//! ```text
//! controller ── sync, apply ──► LocalHost ── one task a node ──► decide (pure) ──► runtime, fabric, guest
//!                                  │ what the schedule adds at this time: schedule (pure)
//!            ◄── watch ───────            ◄── what was seen ────
//! ```
//!
//! On another machine the same contract is kept over a connection: [`remote`].

#![forbid(unsafe_code)]

mod config;
mod contract;
pub mod desired;
mod facts;
mod guest;
mod images;
mod ledger;
pub mod limits;
mod links;
mod local;
mod node;
pub mod observed;
mod pool;
pub mod probe;
mod ration;
pub mod remote;
mod schedule;

pub use config::{HostConfig, RegistryAccess};
pub use contract::{Ahead, Host, HostError, HostFacts, Standing};
pub use facts::{Fact, Facts, NoFact};
pub use images::ImageSettings;
pub use ledger::{Ledger, LedgerError};
pub use local::{LocalHost, LocalHostConfig, StartError};
pub use pool::PoolSettings;
