//! The address space of a slice: which networks are taken, and the next free one (deter.md §7.1's order).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

/// What automatic networks are cut from.
const SPACE: (u32, u32) = (0x0a00_0000, 0x0aff_ffff);

/// Taken IPv4 ranges, and where to look for the next free network.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// First address to last address of ranges that do not overlap.
    taken: BTreeMap<u32, u32>,
    /// The first candidate that has not been tried, by prefix length.
    next: BTreeMap<u8, u32>,
}

impl Space {
    /// Marks a network as taken; it may overlap others.
    pub(crate) fn take(&mut self, network: IpNet) {
        let IpNet::V4(network) = network else { return };
        let (mut first, mut last) = (u32::from(network.network()), u32::from(network.broadcast()));
        while let Some((from, to)) = self.overlapping(first, last) {
            self.taken.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.taken.insert(first, last);
    }

    /// Whether any address of the network is taken.
    pub(crate) fn overlaps(&self, network: Ipv4Net) -> bool {
        self.overlapping(u32::from(network.network()), u32::from(network.broadcast())).is_some()
    }

    /// The next free network of this length, and takes it: 10.1.1.0/24, 10.1.2.0/24, …, 10.1.254.0/24, 10.2.1.0/24 and so
    /// on; of another length, the next aligned one behind 10.1.1.0, which a smaller one leaves free (10.1.1.8/29). None if
    /// there is no more.
    pub(crate) fn next(&mut self, prefix_length: u8) -> Option<Ipv4Net> {
        let size = 1_u32.checked_shl(32 - u32::from(prefix_length))?;
        let first = 0x0a01_0100_u32;
        let least = if prefix_length > 24 { first + size } else { first.next_multiple_of(size) };
        let mut candidate = self.next.get(&prefix_length).copied().unwrap_or(least);
        loop {
            let last = candidate.checked_add(size - 1).filter(|last| *last <= SPACE.1)?;
            // The first and the last /24 of each /16 are left out, as in DETER.
            if prefix_length >= 24 && matches!((candidate >> 8) & 0xff, 0 | 0xff) {
                candidate = (candidate | 0xff).checked_add(1)?.next_multiple_of(size);
                continue;
            }
            if let Some((_, taken)) = self.overlapping(candidate, last) {
                candidate = taken.max(last).checked_add(1)?.checked_next_multiple_of(size)?;
                continue;
            }
            self.taken.insert(candidate, last);
            self.next.insert(prefix_length, last.saturating_add(1));
            return Ipv4Net::new(Ipv4Addr::from(candidate), prefix_length).ok();
        }
    }

    /// A taken range that shares an address with this one.
    fn overlapping(&self, first: u32, last: u32) -> Option<(u32, u32)> {
        let (from, to) = self.taken.range(..=last).next_back()?;
        (*to >= first).then_some((*from, *to))
    }
}

/// The longest prefix, at most /24, with room for so many members beside the network's own address, `.1` and the
/// broadcast address.
pub(crate) fn length_for(members: usize) -> u8 {
    let needed = u64::try_from(members).unwrap_or(u64::MAX).saturating_add(3);
    (8..=24).rev().find(|length| 1_u64 << (32 - length) >= needed).unwrap_or(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_order_is_that_of_deter() {
        let mut space = Space::default();
        space.take("10.1.3.128/25".parse().unwrap());
        space.take("10.2.0.0/16".parse().unwrap());
        let mut given: Vec<Ipv4Net> = (0..254).map(|_| space.next(24).unwrap()).collect();
        assert_eq!(given[..3], [net("10.1.1.0/24"), net("10.1.2.0/24"), net("10.1.4.0/24")]);
        assert_eq!(given.pop(), Some(net("10.3.1.0/24")));
        assert_eq!(given.pop(), Some(net("10.1.254.0/24")));
        assert_eq!(space.next(22), Some(net("10.3.4.0/22")));
        assert_eq!(space.next(29), Some(net("10.1.3.0/29")));
        assert_eq!(space.next(16), Some(net("10.4.0.0/16")));
    }

    #[test]
    fn small_networks_begin_as_in_deter() {
        let mut space = Space::default();
        assert_eq!([(); 2].map(|()| space.next(29).unwrap()), [net("10.1.1.8/29"), net("10.1.1.16/29")]);
        assert_eq!(space.next(24), Some(net("10.1.2.0/24")));
    }

    #[test]
    fn lengths() {
        for (members, length) in [(0, 24), (2, 24), (253, 24), (254, 23), (509, 23), (510, 22), (65_533, 16)]
        {
            assert_eq!(length_for(members), length, "{members}");
        }
    }

    #[test]
    fn it_ends() {
        let mut space = Space::default();
        let given = std::iter::from_fn(|| space.next(24)).count();
        assert_eq!(given, 255 * 254);
        assert_eq!(space.next(24), None);
    }

    proptest! {
        #[test]
        fn what_is_given_is_free(taken in prop::collection::vec((any::<u16>(), 9_u8..32), 0..30), lengths in prop::collection::vec(16_u8..30, 1..60)) {
            let mut space = Space::default();
            let mut all: Vec<Ipv4Net> = Vec::new();
            for (address, length) in taken {
                let network = Ipv4Net::new(Ipv4Addr::from(0x0a01_0000 + u32::from(address) * 16), length).unwrap().trunc();
                space.take(network.into());
                all.push(network);
            }
            for length in lengths {
                if let Some(network) = space.next(length) {
                    prop_assert_eq!(network, network.trunc());
                    prop_assert!(all.iter().all(|other| !other.contains(&network.network()) && !network.contains(&other.network())));
                    all.push(network);
                }
            }
        }
    }
}
