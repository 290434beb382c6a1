//! Hosts, for operators.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::host::HostLimits;

/// A host, as its operators see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Its name.
    pub name: String,
    /// `ready`, `drained`, `ill` (it cannot start nodes now), `away` (its agent is out of reach: what runs there runs on), or
    /// `unlisted` (it was taken out of the configuration, and something is on it still).
    pub state: String,
    /// Why, where that needs to be said.
    #[serde(default)]
    pub why: Option<String>,
    /// Nodes that it can take in all.
    pub capacity: u32,
    /// Nodes that it could take now.
    pub free: u32,
    /// Nodes on it, by slice: a URN.
    pub nodes: BTreeMap<String, u32>,
    /// What users' SSH connects to.
    pub public_name: String,
    /// The address that the other hosts' tunnels lead to, if links go on here from there.
    #[serde(default)]
    pub tunnel: Option<IpAddr>,
    /// What it says of its engines.
    pub engines: Vec<String>,
    /// What its kernel has left, as far as it says.
    pub limits: HostLimits,
}

/// What a new host's agent needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The host.
    pub host: String,
    /// What its agent shows, once. It is a secret.
    pub token: String,
    /// Where its agent connects to: `HOST:PORT`.
    pub controller: String,
    /// How long the token is good.
    pub until: Timestamp,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A host was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Whether it had a certificate, or a token.
    pub revoked: bool,
    /// Slivers that were given up with it.
    pub forgotten: usize,
}
