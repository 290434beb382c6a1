//! A topology with every choice made: hosts, addresses, ports, names, links, routes, accounts.
//!
//! Everything here is a plain function over plain values: [`plan()`] is given what hosts have and what is in use there,
//! and says what each node gets, or why it cannot be. It changes nothing; who carries the plan out marks what it takes
//! in a [`Usage`] first, so that no two plans take the same.
//!
//! | module | choice |
//! | --- | --- |
//! | [`mod@plan`] | puts the others together, in the order of the request |
//! | [`place`] | which host a node is on |
//! | [`address`] | its control addresses |
//! | [`ports`] | ports of the host that lead to it |
//! | [`names`] | its host name |
//! | [`accounts`] | login names of its users |
//! | [`network`] | links: addresses, names, routes, impairments |
//! | [`host`] | what a host has to give |
//! | [`usage`] | what of it is in use |
//! | [`limits`] | limits of a host's kernel, found before they bite |
//! | [`diff`] | what is different between two plans |
//! | [`render`] | plans as text |
//! | [`table`] | tables that fit a terminal |

#![forbid(unsafe_code)]

pub mod accounts;
pub mod address;
mod asked;
pub mod diff;
mod error;
mod hash;
pub mod host;
pub mod limits;
pub mod names;
pub mod network;
mod pad;
pub mod place;
pub mod plan;
pub mod ports;
pub mod render;
pub mod table;
pub mod usage;

pub use diff::{Change, Changes, diff, diff_networks};
pub use error::{FreeOn, PlanError};
pub use host::{Host, HostError, HostStanding, PortRange};
pub use network::parts::NetworkPlan;
pub use plan::{Existing, HostView, LinkPolicy, Plan, PlannedNode, Site, Wanted, plan, replan};
pub use ports::PortForward;
pub use usage::{Holding, Taken, Usage};
