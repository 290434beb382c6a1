//! Names in a slice's fabric namespace. They follow from slivers, so that a restarted agent finds its own; each kind has a
//! letter, so that what we do not know is not ours.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};
use testyard_model::id::SliverId;
use testyard_model::tunnel::Vni;
use testyard_wire::PipeName;

use crate::links::PortId;
use crate::linux::names::digits;

/// With the letter, what an interface's name has room for less two: enough to tell all of a slice apart.
const DIGITS: usize = 12;

/// All names that are ours begin with one of these.
pub(super) const LETTERS: [char; 5] = ['h', 'b', 's', 't', 'x'];

/// The half of a node's interface.
pub(super) fn half(port: &PortId) -> String {
    of_port('h', port)
}

/// The wire's port on the way to a bridge.
pub(super) fn stub(port: &PortId) -> String {
    of_port('s', port)
}

/// The bridge's port on the way to the wire.
pub(super) fn stub_peer(port: &PortId) -> String {
    of_port('t', port)
}

/// A LAN.
pub(super) fn bridge(link: SliverId) -> String {
    format!("b{}", digits(&Sha256::digest(link.uuid().as_bytes()), DIGITS))
}

/// A link's tunnel to other hosts. What cannot be changed of one that is there is part of its name.
pub(super) fn trunk(link: SliverId, vni: Vni, local: IpAddr, port: u16) -> String {
    let mut hash = Sha256::new();
    hash.update(link.uuid().as_bytes());
    hash.update(vni.get().to_be_bytes());
    hash.update(port.to_be_bytes());
    match local {
        IpAddr::V4(v4) => hash.update(v4.octets()),
        IpAddr::V6(v6) => hash.update(v6.octets()),
    }
    format!("x{}", digits(&hash.finalize(), DIGITS))
}

/// A pipe of the wire: of the whole link, or of one member of a LAN.
pub(super) fn pipe(link: SliverId, member: Option<&PortId>) -> PipeName {
    let text = match member {
        None => link.to_string(),
        Some(port) => format!("{link}:{}:{}", port.node, port.device),
    };
    PipeName::try_from(text).expect("identifiers and names of devices are short and printable")
}

fn of_port(letter: char, port: &PortId) -> String {
    let mut hash = Sha256::new();
    hash.update(port.node.uuid().as_bytes());
    hash.update(&port.device);
    format!("{letter}{}", digits(&hash.finalize(), DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_change() {
        let node: SliverId = "0197e7a0-0000-7000-8000-000000000002".parse().unwrap();
        let port = PortId { node, device: "eth1".into() };
        let trunk = trunk(node, 77.try_into().unwrap(), [192, 0, 2, 1].into(), 14_789);
        let all = [half(&port), stub(&port), stub_peer(&port), bridge(node), trunk];
        for (name, letter) in all.iter().zip(['h', 's', 't', 'b', 'x']) {
            assert!(name.starts_with(letter) && name.len() == 1 + DIGITS, "{name}");
            assert!(LETTERS.contains(&letter));
        }
        // Changing these would orphan what runs.
        insta::assert_debug_snapshot!(all);
    }
}
