//! The kernel's network configuration as typed changes and facts.
//!
//! [`Routing`] is the seam: the real [`Rtnetlink`] speaks to the kernel of the namespace that it was opened in,
//! [`recorded::Recorder`] remembers what it was told. What is to be changed is plain data ([`Change`]), so planning an
//! interface is a pure function.

pub(crate) mod bpf;
pub(crate) mod change;
pub(crate) mod conntrack;
pub(crate) mod discipline;
pub(crate) mod elements;
pub(crate) mod ethtool;
#[cfg(test)]
pub(crate) mod recorded;
pub(crate) mod rtnetlink;
pub(crate) mod socket;
pub(crate) mod wire;

pub(crate) use change::{Address, Change, Ipv4Setting, Lead, Link, LinkRef, Mac, Peer, Route};
pub(crate) use discipline::{Discipline, Netem, NetemLoss, Queueing, Seen, TokenBucket};
pub(crate) use rtnetlink::Rtnetlink;
pub(crate) use socket::Refusal;

use std::net::IpAddr;

/// A change was refused.
#[derive(Debug, thiserror::Error)]
#[error("{change}: {refusal}")]
pub(crate) struct ChangeError {
    /// Which change, in words.
    pub(crate) change: String,
    pub(crate) refusal: Refusal,
}

/// Links, addresses, routes and neighbours of one network namespace.
pub(crate) trait Routing {
    /// A link by its name.
    fn link(&mut self, name: &str) -> Result<Option<Link>, Refusal>;
    /// All links.
    fn links(&mut self) -> Result<Vec<Link>, Refusal>;
    /// All unicast routes of the main table.
    fn routes(&mut self) -> Result<Vec<Route>, Refusal>;
    /// All addresses of links but those that the kernel gives them.
    fn addresses(&mut self) -> Result<Vec<Address>, Refusal>;
    /// Addresses that are answered for by neighbour discovery, with the link.
    fn proxies(&mut self) -> Result<Vec<(u32, IpAddr)>, Refusal>;
    /// All entries of all tunnels' tables.
    fn leads(&mut self) -> Result<Vec<Lead>, Refusal>;
    /// All queueing disciplines of all links.
    fn disciplines(&mut self) -> Result<Vec<Seen>, Refusal>;
    /// Makes changes, in order.
    fn apply(&mut self, changes: &[Change]) -> Result<(), ChangeError>;
}
