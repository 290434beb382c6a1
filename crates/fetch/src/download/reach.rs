//! Which addresses downloads may come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Which addresses may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every one.
    Everything,
    /// Those of the internet, and these networks.
    Public {
        /// Networks of the operator's own that may be reached too.
        also: Vec<IpNet>,
    },
}

impl Reach {
    /// Whether it may be reached. An IPv6 address that carries an IPv4 address is judged by that one too: the kernel or a
    /// translator on the way would send packets there.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let Self::Public { also } = self else { return true };
        let carried = match address {
            IpAddr::V6(v6) => carried(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let listed = |address: &IpAddr| also.iter().any(|network| network.contains(address));
        [Some(address), carried].into_iter().flatten().all(|address| is_public(address) || listed(&address))
    }
}

/// IPv4 addresses in mapped, compatible, 6to4 and NAT64 addresses (RFC 4291 section 2.5.5, RFC 3056, RFC 6052).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    let last = || Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]);
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            Some(last())
        }
        [0x2002, ..] => Some(Ipv4Addr::new(bytes[2], bytes[3], bytes[4], bytes[5])),
        _ => None,
    }
}

/// Whether an address is one of the internet: the special-purpose registries of RFC 6890 are not, but for those that
/// carry another address, which is judged for itself.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(a == 0
                || v4.is_private()
                || (a == 100 && b & 0xc0 == 64)
                || v4.is_loopback()
                || v4.is_link_local()
                || (a, b, c) == (192, 0, 0)
                || (a, b, c) == (192, 88, 99)
                || v4.is_documentation()
                || (a == 198 && b & 0xfe == 18)
                || a >= 224)
        }
        // Global unicast is 2000::/3 so far (RFC 4291 section 2.4); what carries an IPv4 address has that judged.
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
            [0x3fff, second, ..] if second < 0x1000 => false,
            [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0xffff, ..] => true,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        Reach::Public { also: vec!["10.9.0.0/16".parse().unwrap(), "fd00:9::/32".parse().unwrap()] }
            .allows(text.parse().unwrap())
    }

    #[test]
    fn the_internet_and_what_is_listed() {
        for address in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2a00:1450::1",
            "2001:4860::1",
            "10.9.3.4",
            "fd00:9::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "::ffff:10.9.0.1",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn nothing_inside() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:10::1",
            "100::1",
            "3fff::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(!public(address), "{address}");
        }
        assert!(Reach::Everything.allows("127.0.0.1".parse().unwrap()));
    }
}
