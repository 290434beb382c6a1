//! The largest packet of a link: what the user asked for, else 1500 bytes, less what a tunnel between hosts adds.

use serde::{Deserialize, Serialize};

use crate::network::remarks::{Kind, Remarks};

/// What links have that the user says nothing about.
pub const DEFAULT_MTU: u16 = 1500;
/// The least that IPv4 may be given (RFC 791).
pub const LEAST_IPV4: u16 = 68;
/// The least that IPv6 may be given (RFC 8200, §5).
pub const LEAST_IPV6: u16 = 1280;

/// What carries a link's frames from host to host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tunnel {
    /// VXLAN over IPv4 (RFC 7348).
    #[default]
    Vxlan,
    /// VXLAN over IPv6.
    Vxlan6,
    /// VXLAN over IPv4 inside WireGuard.
    WireGuard,
}

/// The network between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// Its largest packet, in bytes without the Ethernet header.
    pub mtu: u16,
    /// What carries frames over it.
    pub tunnel: Tunnel,
}

impl Tunnel {
    /// Bytes that it adds to a packet: the inner Ethernet header (14), VXLAN (8), UDP (8) and IP (20 or 40); WireGuard
    /// adds 80 more, as `wg-quick` counts it: its own 32, UDP, and IPv6 at worst.
    #[must_use]
    pub const fn overhead(self) -> u16 {
        match self {
            Self::Vxlan => 50,
            Self::Vxlan6 => 70,
            Self::WireGuard => 130,
        }
    }
}

impl Default for Underlay {
    fn default() -> Self {
        Self { mtu: DEFAULT_MTU, tunnel: Tunnel::Vxlan }
    }
}

impl Underlay {
    /// The largest packet of a link that passes it whole.
    #[must_use]
    pub const fn room(self) -> u16 {
        self.mtu.saturating_sub(self.tunnel.overhead())
    }
}

/// The largest packet of a link.
pub(crate) fn choose(
    name: &str,
    asked: Option<u16>,
    crosses: bool,
    ipv6: bool,
    underlay: Underlay,
    remarks: &mut Remarks,
) -> u16 {
    let room = underlay.room();
    let mtu = match asked {
        Some(mtu) => mtu,
        None if crosses => DEFAULT_MTU.min(room),
        None => DEFAULT_MTU,
    };
    if mtu < LEAST_IPV4 {
        remarks.error(
            Kind::Mtu,
            format!("link {name:?}: an MTU of {mtu} carries no IP packet"),
            format!("give at least {LEAST_IPV4}, or {LEAST_IPV6} for IPv6"),
        );
    } else if ipv6 && mtu < LEAST_IPV6 {
        remarks.warn(
            Kind::Mtu,
            format!("link {name:?} has IPv6 addresses but an MTU of {mtu}, with which there is no IPv6"),
            format!("give at least {LEAST_IPV6}"),
        );
    }
    if crosses && mtu > room {
        remarks.warn(
            Kind::Mtu,
            format!(
                "link {name:?} has an MTU of {mtu} but goes from host to host, where {room} bytes fit: larger \
                 packets are lost"
            ),
            format!("ask for {room}, or put its nodes into one partition"),
        );
    }
    mtu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        let wide = Underlay { mtu: 1600, tunnel: Tunnel::Vxlan };
        let wire_guard = Underlay { mtu: 1500, tunnel: Tunnel::WireGuard };
        for (asked, crosses, underlay, mtu, told) in [
            (None, false, Underlay::default(), 1500, 0),
            (None, true, Underlay::default(), 1450, 0),
            (None, true, wide, 1500, 0),
            (None, true, wire_guard, 1370, 0),
            (Some(9000), false, Underlay::default(), 9000, 0),
            (Some(1500), true, Underlay::default(), 1500, 1),
            (Some(1400), true, Underlay::default(), 1400, 0),
            (Some(40), false, Underlay::default(), 40, 1),
        ] {
            let mut remarks = Remarks::default();
            assert_eq!(choose("l", asked, crosses, false, underlay, &mut remarks), mtu);
            assert_eq!(remarks.finish().len(), told);
        }
        let mut remarks = Remarks::default();
        assert_eq!(choose("l", Some(1000), false, true, Underlay::default(), &mut remarks), 1000);
        assert_eq!(remarks.finish().len(), 1);
    }
}
