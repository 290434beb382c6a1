//! What of a host is in use: by slivers, by slivers on their way out, and by plans that are being carried out.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::host::Host;

/// What one node holds of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Its control address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 control address.
    pub ipv6: Option<Ipv6Addr>,
    /// Ports of the host that lead to it.
    pub ports: Vec<u16>,
}

/// What of a host is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    nodes: u32,
    ipv4: BTreeSet<Ipv4Addr>,
    ipv6: BTreeSet<Ipv6Addr>,
    ports: BTreeSet<u16>,
    last_ipv4: Option<Ipv4Addr>,
    last_ipv6: Option<Ipv6Addr>,
}

/// Something was to be held that another node holds already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is held by two nodes")]
pub struct Taken(String);

impl Usage {
    /// Takes one slot and what the node holds. Nothing is taken if any of it is in use.
    ///
    /// # Errors
    /// [`Taken`], naming what is in use already.
    pub fn hold(&mut self, holding: &Holding) -> Result<(), Taken> {
        if let Some(address) = holding.ipv4.filter(|address| self.ipv4.contains(address)) {
            return Err(Taken(format!("address {address}")));
        }
        if let Some(address) = holding.ipv6.filter(|address| self.ipv6.contains(address)) {
            return Err(Taken(format!("address {address}")));
        }
        self.hold_ports(&holding.ports)?;
        self.ipv4.extend(holding.ipv4);
        self.ipv6.extend(holding.ipv6);
        self.last_ipv4 = holding.ipv4.or(self.last_ipv4);
        self.last_ipv6 = holding.ipv6.or(self.last_ipv6);
        self.nodes += 1;
        Ok(())
    }

    /// Takes further ports for a node that is there.
    ///
    /// # Errors
    /// [`Taken`], naming a port that is in use already; then none is taken.
    pub fn hold_ports(&mut self, ports: &[u16]) -> Result<(), Taken> {
        if let Some(port) = ports.iter().find(|port| self.ports.contains(port)) {
            return Err(Taken(format!("port {port}")));
        }
        self.ports.extend(ports);
        Ok(())
    }

    /// Gives back a slot and what the node held.
    pub fn release(&mut self, holding: &Holding) {
        self.release_ports(&holding.ports);
        if let Some(address) = holding.ipv4 {
            self.ipv4.remove(&address);
        }
        if let Some(address) = holding.ipv6 {
            self.ipv6.remove(&address);
        }
        self.nodes = self.nodes.saturating_sub(1);
    }

    /// Gives back ports of a node that stays.
    pub fn release_ports(&mut self, ports: &[u16]) {
        for port in ports {
            self.ports.remove(port);
        }
    }

    /// Nodes in all.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.nodes
    }

    /// How many more nodes the host could take.
    #[must_use]
    pub fn free(&self, host: &Host) -> u32 {
        // What is held may be outside of today's configuration: only what is inside counts.
        let left = |room: u32, used: usize| room.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        let network = host.ipv4();
        let ipv4 = count_in(&self.ipv4, network.network(), network.broadcast());
        let mut free = host.capacity().saturating_sub(self.nodes);
        free = free.min(left(crate::address::room_v4(network), ipv4));
        if let Some(prefix) = host.ipv6() {
            let ipv6 = count_in(&self.ipv6, prefix.network(), prefix.broadcast());
            free = free.min(left(crate::address::room_v6(prefix), ipv6));
        }
        free.min(self.free_ports(host))
    }

    /// How many ports of the host's range are free.
    #[must_use]
    pub fn free_ports(&self, host: &Host) -> u32 {
        let range = host.ports();
        let used = count_in(&self.ports, range.first(), range.last());
        range.len().saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Whether the port is in use.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    pub(crate) fn ports_from(&self, from: u16) -> impl Iterator<Item = u16> {
        self.ports.range(from..).copied()
    }

    pub(crate) fn ipv4(&self) -> (&BTreeSet<Ipv4Addr>, Option<Ipv4Addr>) {
        (&self.ipv4, self.last_ipv4)
    }

    pub(crate) fn ipv6(&self) -> (&BTreeSet<Ipv6Addr>, Option<Ipv6Addr>) {
        (&self.ipv6, self.last_ipv6)
    }
}

/// How many of the set are between two values, both included. Nearly always that is all of them, and then nothing is
/// counted.
fn count_in<T: Ord + Copy>(set: &BTreeSet<T>, first: T, last: T) -> usize {
    match (set.first(), set.last()) {
        (Some(lowest), Some(highest)) if *lowest >= first && *highest <= last => set.len(),
        _ => set.range(first..=last).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(address: &str, ports: &[u16]) -> Holding {
        Holding { ipv4: Some(address.parse().unwrap()), ipv6: None, ports: ports.to_vec() }
    }

    #[test]
    fn nothing_is_held_twice_and_a_refused_holding_takes_nothing() {
        let mut usage = Usage::default();
        usage.hold(&holding("10.0.0.2", &[1000, 1001])).unwrap();
        let before = usage.clone();
        assert!(usage.hold(&holding("10.0.0.2", &[1002])).is_err());
        assert!(usage.hold(&holding("10.0.0.3", &[1002, 1001])).is_err());
        assert_eq!(usage, before);
        usage.release(&holding("10.0.0.2", &[1000, 1001]));
        assert_eq!((usage.nodes(), usage.has_port(1000)), (0, false));
        usage.hold(&holding("10.0.0.2", &[1001])).unwrap();
    }
}
