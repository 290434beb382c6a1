//! Control addresses: the next free one behind the one given out last, so that an address rests as long as possible
//! before another node gets it.
//!
//! The first address of a network is its own, the second the gateway's, and the last of an IPv4 network is for
//! broadcasts; none of these is given out.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Addresses of an IPv6 prefix are taken from this many at its beginning: enough for every node, and short to write.
const IPV6_SPAN: u128 = 1 << 32;

/// How many nodes a network has addresses for.
#[must_use]
pub fn room_v4(network: Ipv4Net) -> u32 {
    let (first, last) = span_v4(network);
    u32::try_from((last + 1).saturating_sub(first)).unwrap_or(u32::MAX)
}

/// How many nodes a prefix has addresses for; no more than fit the return type.
#[must_use]
pub fn room_v6(prefix: Ipv6Net) -> u32 {
    let (first, last) = span_v6(prefix);
    u32::try_from((last + 1).saturating_sub(first)).unwrap_or(u32::MAX)
}

/// The next address of the network that is free, behind `last`, or from the beginning again.
#[must_use]
pub fn next_v4(
    network: Ipv4Net,
    used: impl Fn(&Ipv4Addr) -> bool,
    last: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let base = u128::from(u32::from(network.network()));
    let span = span_v4(network);
    let address = |offset: u128| Ipv4Addr::from(u32::try_from(base + offset).unwrap_or(u32::MAX));
    let last = last.filter(|last| network.contains(last)).map(|last| u128::from(u32::from(last)) - base);
    next(span, last, |offset| used(&address(offset))).map(address)
}

/// The next address of the prefix that is free, behind `last`, or from the beginning again.
#[must_use]
pub fn next_v6(
    prefix: Ipv6Net,
    used: impl Fn(&Ipv6Addr) -> bool,
    last: Option<Ipv6Addr>,
) -> Option<Ipv6Addr> {
    let base = u128::from(prefix.network());
    let address = |offset: u128| Ipv6Addr::from(base + offset);
    let last = last.filter(|last| prefix.contains(last)).map(|last| u128::from(last) - base);
    next(span_v6(prefix), last, |offset| used(&address(offset))).map(address)
}

/// The first free offset behind `last`, wrapping round.
fn next((first, end): (u128, u128), last: Option<u128>, used: impl Fn(u128) -> bool) -> Option<u128> {
    let start = last.map_or(first, |last| last + 1).clamp(first, end + 1);
    (start..=end).chain(first..start).find(|offset| !used(*offset))
}

/// First and last offset that are given out.
fn span_v4(network: Ipv4Net) -> (u128, u128) {
    let size = 1u128 << (32 - network.prefix_len());
    (2, size.saturating_sub(2))
}

fn span_v6(prefix: Ipv6Net) -> (u128, u128) {
    let last = u128::MAX.checked_shr(u32::from(prefix.prefix_len())).unwrap_or(0);
    (2, last.min(IPV6_SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn small_networks() {
        let network: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        assert_eq!(room_v4(network), 5);
        let mut used = BTreeSet::new();
        let mut last = None;
        for expected in [2, 3, 4, 5, 6] {
            let address = next_v4(network, |address| used.contains(address), last).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 0, 0, expected));
            used.insert(address);
            last = Some(address);
        }
        assert_eq!(next_v4(network, |address| used.contains(address), last), None);
        used.remove(&Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(
            next_v4(network, |address| used.contains(address), last),
            Some(Ipv4Addr::new(10, 0, 0, 4))
        );
        assert_eq!(room_v4("10.0.0.0/30".parse().unwrap()), 1);
    }

    #[test]
    fn a_released_address_rests() {
        let network: Ipv4Net = "10.0.0.0/24".parse().unwrap();
        let last = Some(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(next_v4(network, |_| false, last), Some(Ipv4Addr::new(10, 0, 0, 3)));
        let end = Some(Ipv4Addr::new(10, 0, 0, 254));
        assert_eq!(next_v4(network, |_| false, end), Some(Ipv4Addr::new(10, 0, 0, 2)));
    }

    #[test]
    fn prefixes_of_any_length() {
        for (prefix, first) in [
            ("2001:db8::/126", "2001:db8::2"),
            ("2001:db8:0:1::/64", "2001:db8:0:1::2"),
            ("2001:db8:0:1:8000::/65", "2001:db8:0:1:8000::2"),
            ("2001:db8::aa00/120", "2001:db8::aa02"),
            ("::/0", "::2"),
        ] {
            let prefix: Ipv6Net = prefix.parse().unwrap();
            let address = next_v6(prefix, |_| false, None).unwrap();
            assert_eq!(address, first.parse::<Ipv6Addr>().unwrap());
        }
        let tiny: Ipv6Net = "2001:db8::/126".parse().unwrap();
        let used: BTreeSet<Ipv6Addr> =
            ["2001:db8::2", "2001:db8::3"].map(|text| text.parse().unwrap()).into();
        assert_eq!(next_v6(tiny, |address| used.contains(address), None), None);
    }

    proptest! {
        #[test]
        fn what_is_given_out_is_free_and_of_the_network(
            length in 16u8..=30, base: u32, offsets in prop::collection::vec(0u32..64, 0..64), last in prop::option::of(0u32..64),
        ) {
            let network = Ipv4Net::new(base.into(), length).unwrap().trunc();
            let at = |offset: u32| Ipv4Addr::from(u32::from(network.network()).wrapping_add(offset));
            let used: BTreeSet<_> = offsets.into_iter().map(at).collect();
            if let Some(address) = next_v4(network, |address| used.contains(address), last.map(at)) {
                prop_assert!(network.contains(&address) && !used.contains(&address));
                prop_assert!(address != network.network() && address != network.broadcast() && address != at(1));
            } else {
                prop_assert!(used.len() as u32 >= room_v4(network));
            }
        }
    }
}
