//! What a host has to give: slots, addresses, ports.

use std::fmt;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use testyard_model::id::HostName;
use testyard_model::name::SliverTypeName;

/// What a host has to give to nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: HostName,
    capacity: u32,
    ports: PortRange,
    ipv4: Ipv4Net,
    ipv6: Option<Ipv6Net>,
    sliver_types: Option<Vec<SliverTypeName>>,
    is_alone: bool,
}

/// Whether a host may get nodes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostStanding {
    /// It may.
    #[default]
    Ready,
    /// It cannot start any.
    Ill,
    /// Its operator wants no more on it.
    Drained,
}

/// Ports of a host that may be forwarded to nodes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a host cannot be as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The range ends before it begins, or begins at port 0.
    #[error("{first}-{last} is not a range of ports")]
    Ports {
        /// Its first port.
        first: u16,
        /// Its last port.
        last: u16,
    },
    /// The IPv4 network has no address left beside its own, the gateway's and the broadcast address.
    #[error("{0} is too small for control addresses: use a network of at most 30 bits")]
    Ipv4(Ipv4Net),
    /// The IPv6 prefix has no address left beside the routers'.
    #[error("{0} is too small for control addresses: use a prefix of at most 126 bits")]
    Ipv6(Ipv6Net),
}

// === impl Host ===

impl Host {
    /// A host with these things to give. `sliver_types` says which kinds of nodes it takes; `None` is every kind.
    ///
    /// # Errors
    /// [`HostError`] if a network has no room for a single node.
    pub fn new(
        name: HostName,
        capacity: u32,
        ports: PortRange,
        ipv4: Ipv4Net,
        ipv6: Option<Ipv6Net>,
        sliver_types: Option<Vec<SliverTypeName>>,
    ) -> Result<Self, HostError> {
        if ipv4.prefix_len() > 30 {
            return Err(HostError::Ipv4(ipv4));
        }
        if let Some(prefix) = ipv6.filter(|prefix| prefix.prefix_len() > 126) {
            return Err(HostError::Ipv6(prefix));
        }
        Ok(Self {
            name,
            capacity,
            ports,
            ipv4: ipv4.trunc(),
            ipv6: ipv6.map(|prefix| prefix.trunc()),
            sliver_types,
            is_alone: false,
        })
    }

    /// The same host with no way for links to others.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    /// Whether links end here: it has no way for them to other hosts.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Ports that may be forwarded.
    #[must_use]
    pub fn ports(&self) -> PortRange {
        self.ports
    }

    /// The network of its control addresses.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Net {
        self.ipv4
    }

    /// The prefix of its IPv6 control addresses.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Net> {
        self.ipv6
    }

    /// Whether it takes nodes of this kind.
    #[must_use]
    pub fn takes(&self, sliver_type: &SliverTypeName) -> bool {
        self.sliver_types.as_ref().is_none_or(|types| types.contains(sliver_type))
    }

    /// The most nodes that it can take: as configured, or as many as it has addresses and SSH ports for, if fewer.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        let ipv4 = crate::address::room_v4(self.ipv4);
        let ipv6 = self.ipv6.map_or(u32::MAX, crate::address::room_v6);
        self.capacity.min(ipv4).min(ipv6).min(self.ports.len())
    }
}

// === impl PortRange ===

impl PortRange {
    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`HostError::Ports`] if there is no port in it, or port 0.
    pub fn new(first: u16, last: u16) -> Result<Self, HostError> {
        if first == 0 || first > last {
            Err(HostError::Ports { first, last })
        } else {
            Ok(Self { first, last })
        }
    }

    /// Its first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Its last port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports it has; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(ipv4: &str, ipv6: Option<&str>) -> Result<Host, HostError> {
        let ipv6 = ipv6.map(|prefix| prefix.parse().unwrap());
        Host::new("a".parse().unwrap(), 100, PortRange::new(1, 50)?, ipv4.parse().unwrap(), ipv6, None)
    }

    #[test]
    fn capacity_is_what_there_is_room_for() {
        assert_eq!(host("10.0.0.0/16", None).unwrap().capacity(), 50);
        assert_eq!(host("10.0.0.0/28", None).unwrap().capacity(), 13);
        assert_eq!(host("10.0.0.0/16", Some("2001:db8::/126")).unwrap().capacity(), 2);
        assert_eq!(host("10.0.0.0/16", Some("2001:db8::/64")).unwrap().capacity(), 50);
    }

    #[test]
    fn what_cannot_be_a_host() {
        assert!(matches!(host("10.0.0.0/31", None), Err(HostError::Ipv4(_))));
        assert!(matches!(host("10.0.0.0/24", Some("2001:db8::/127")), Err(HostError::Ipv6(_))));
        assert!(PortRange::new(2, 1).is_err() && PortRange::new(0, 1).is_err());
    }
}
