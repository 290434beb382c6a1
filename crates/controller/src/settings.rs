//! What the testbed is and allows; from the configuration. It may change while slivers live: nothing of them is
//! changed or removed for it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use testyard_model::id::HostName;
use testyard_model::name::{Login, SliverTypeName};
use testyard_model::sliver_type::SliverType;
use testyard_model::urn::{Authority, SliverUrn, Urn};
use testyard_plan::LinkPolicy;
use testyard_plan::network::mtu::Underlay;

use crate::api::Location;
use crate::lease::LeasePolicy;

/// What the testbed is and allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    authority: Authority,
    hosts: Vec<HostSettings>,
    sliver_types: Vec<SliverType>,
    /// How long slivers may live.
    pub leases: LeasePolicy,
    /// How much one user or slice may have.
    pub quotas: Quotas,
    /// Login names that no user gets, beside those of system accounts.
    pub reserved_logins: BTreeSet<Login>,
    /// What is done about requests with links.
    pub links: LinkPolicy,
    /// How long Shutdown waits for nodes to stop before it says that some still run.
    pub shutdown_wait: Duration,
}

/// A host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSettings {
    /// What it has to give.
    pub resources: testyard_plan::Host,
    /// The name or address that users reach it by.
    pub public_name: String,
    /// Where it is.
    pub location: Option<Location>,
    /// The address that the other hosts' tunnels lead to; without one its links do not leave it.
    pub tunnel: Option<IpAddr>,
}

/// How much one user or slice may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Nodes of one slice.
    pub nodes_per_slice: u32,
    /// Living slices that one user has made.
    pub slices_per_user: u32,
    /// Accounts on one node.
    pub users_per_node: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { nodes_per_slice: 1000, slices_per_user: 100, users_per_node: 200 }
    }
}

/// Settings that contradict themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing can be asked for.
    #[error("there is no sliver type")]
    NoSliverType,
    /// Two of one name.
    #[error("there are two sliver types {0}")]
    SliverTypeTwice(SliverTypeName),
    /// Two of one name.
    #[error("there are two hosts {0}")]
    HostTwice(HostName),
}

impl Settings {
    /// Settings with default policies. The first sliver type is what a node gets that names none.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn new(
        authority: Authority,
        hosts: Vec<HostSettings>,
        sliver_types: Vec<SliverType>,
    ) -> Result<Self, SettingsError> {
        if sliver_types.is_empty() {
            return Err(SettingsError::NoSliverType);
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = sliver_types.iter().find(|kind| !names.insert(&kind.name)) {
            return Err(SettingsError::SliverTypeTwice(twice.name.clone()));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = hosts.iter().find(|host| !names.insert(host.resources.name())) {
            return Err(SettingsError::HostTwice(twice.resources.name().clone()));
        }
        let alone = |host: HostSettings| match host.tunnel {
            Some(_) => host,
            None => HostSettings { resources: host.resources.alone(), ..host },
        };
        Ok(Self {
            authority,
            hosts: hosts.into_iter().map(alone).collect(),
            sliver_types,
            leases: LeasePolicy::default(),
            quotas: Quotas::default(),
            reserved_logins: BTreeSet::new(),
            links: LinkPolicy::Make(Underlay::default()),
            shutdown_wait: Duration::from_secs(15),
        })
    }

    /// Whose slivers these are.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Its hosts.
    #[must_use]
    pub fn hosts(&self) -> &[HostSettings] {
        &self.hosts
    }

    /// A host of this name.
    #[must_use]
    pub fn host(&self, name: &HostName) -> Option<&HostSettings> {
        self.hosts.iter().find(|host| host.resources.name() == name)
    }

    /// Kinds of nodes.
    #[must_use]
    pub fn sliver_types(&self) -> &[SliverType] {
        &self.sliver_types
    }

    /// The URN of a sliver.
    #[must_use]
    pub fn sliver_urn(&self, id: testyard_model::id::SliverId) -> SliverUrn {
        SliverUrn::new(&self.authority, &id.to_string())
            .unwrap_or_else(|error| unreachable!("a UUID is a sliver name: {error}"))
    }

    /// The URN of a host as a component of requests and advertisements.
    #[must_use]
    pub fn component_urn(&self, host: &HostName) -> Urn {
        testyard_plan::plan::component(&self.authority, host)
            .unwrap_or_else(|error| unreachable!("a host name is a URN name: {error}"))
    }
}
