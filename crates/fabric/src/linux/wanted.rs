//! Which elements of the table's sets belong to a node: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use testyard_model::sliver_type::Protocol;

use super::names::{Names, owner};
use crate::Attachment;
use crate::netlink::conntrack::Flows;
use crate::netlink::elements::{Element, Elements};

/// What a node should have.
pub(crate) fn elements(names: &Names, attachment: &Attachment) -> Elements {
    let mark = owner(attachment.slice, attachment.sliver);
    let link = names.link(attachment.sliver);
    let ipv4 = attachment.address.ipv4;
    let mut all = Elements::new();
    all.insert(Element::Source4 { link: link.clone(), ip: ipv4 }, mark.clone());
    // Shared by the slice's nodes, so nobody's.
    all.insert(Element::SameSlice { tag: attachment.tag.0 }, String::new());
    for forward in &attachment.forwards {
        let (protocol, port, host_port) = (forward.port.protocol, forward.port.number, forward.host_port);
        all.insert(Element::Forward4 { protocol, host_port, ip: ipv4, port }, mark.clone());
    }
    if let Some(ipv6) = attachment.address.ipv6 {
        all.insert(Element::Source6 { link, ip: ipv6 }, mark.clone());
        for forward in &attachment.forwards {
            let (protocol, port, host_port) = (forward.port.protocol, forward.port.number, forward.host_port);
            all.insert(Element::Forward6 { protocol, host_port, ip: ipv6, port }, mark.clone());
            all.insert(Element::Open6 { ip: ipv6, port: forward.port }, mark.clone());
        }
    }
    all
}

/// What a change of elements is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) remove: Elements,
    pub(crate) add: Elements,
}

/// From what is there to what a node should have: its own other elements go, and so do those of others, no longer
/// known, that are in the way.
pub(crate) fn difference(present: &Elements, wanted: &Elements, mark: &str) -> Difference {
    let add: Elements = wanted
        .iter()
        .filter(|(e, _)| !present.contains_key(e))
        .map(|(e, m)| (e.clone(), m.clone()))
        .collect();
    let remove = present
        .iter()
        .filter(|(e, m)| !wanted.contains_key(e) && (*m == mark || add.keys().any(|new| in_the_way(e, new))))
        .map(|(e, m)| (e.clone(), m.clone()))
        .collect();
    Difference { remove, add }
}

/// Flows that the kernel would go on treating as before a change. A sender of UDP may have gone on while its port led
/// nowhere; TCP begins anew by itself.
pub(crate) fn stale(removed: &Elements, fresh: &BTreeSet<(Protocol, u16)>) -> Vec<Flows> {
    let forwarded = |protocol, host_port, ip, port| Flows::Forwarded { protocol, host_port, ip, port };
    let gone = removed.keys().filter_map(|element| match *element {
        Element::Source4 { ip, .. } => Some(Flows::OfNode(IpAddr::from(ip))),
        Element::Source6 { ip, .. } => Some(Flows::OfNode(IpAddr::from(ip))),
        Element::Forward4 { protocol, host_port, ip, port } => {
            Some(forwarded(protocol, host_port, ip.into(), port.get()))
        }
        Element::Forward6 { protocol, host_port, ip, port } => {
            Some(forwarded(protocol, host_port, ip.into(), port.get()))
        }
        Element::Open6 { ip, port } => Some(Flows::To { ip: ip.into(), port }),
        Element::SameSlice { .. } | Element::Peer4 { .. } | Element::Peer6 { .. } => None,
    });
    let udp = fresh.iter().filter(|(protocol, _)| *protocol == Protocol::Udp);
    gone.chain(
        udp.map(|(protocol, host_port)| Flows::Untranslated { protocol: *protocol, host_port: *host_port }),
    )
    .collect()
}

/// A host's port leads to one place.
fn in_the_way(old: &Element, new: &Element) -> bool {
    host_port(new).is_some_and(|port| old.set() == new.set() && host_port(old) == Some(port))
}

/// The host's port that an element leads from.
pub(crate) fn host_port(element: &Element) -> Option<(Protocol, u16)> {
    match element {
        Element::Forward4 { protocol, host_port, .. } | Element::Forward6 { protocol, host_port, .. } => {
            Some((*protocol, *host_port))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroU32};

    use testyard_model::id::SliceTag;
    use testyard_model::sliver_type::Port;

    use super::*;
    use crate::{ControlAddress, Forward};

    fn attachment(sliver: &str, host_port: u16) -> Attachment {
        Attachment {
            slice: "0197e7a0-0000-7000-8000-000000000001".parse().unwrap(),
            tag: SliceTag(NonZeroU32::new(3).unwrap()),
            sliver: sliver.parse().unwrap(),
            address: ControlAddress {
                ipv4: [10, 0, 0, 1].into(),
                ipv6: Some("2001:db8::1".parse().unwrap()),
            },
            forwards: vec![Forward {
                host_port,
                port: Port { protocol: Protocol::Tcp, number: NonZeroU16::new(22).unwrap() },
            }],
        }
    }

    const A: &str = "0197e7a0-0000-7000-8000-00000000000a";
    const B: &str = "0197e7a0-0000-7000-8000-00000000000b";

    #[test]
    fn a_changed_forward_replaces_the_old_one_only() {
        let names = Names::new(&"a".parse().unwrap());
        let (old, new) = (attachment(A, 30_000), attachment(A, 30_001));
        let present = elements(&names, &old);
        let change = difference(&present, &elements(&names, &new), &owner(new.slice, new.sliver));
        let show = |e: &Elements| e.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            show(&change.remove),
            ["port 30000/tcp to 10.0.0.1:22", "port 30000/tcp to [2001:db8::1]:22"]
        );
        assert_eq!(
            show(&change.add),
            ["port 30001/tcp to 10.0.0.1:22", "port 30001/tcp to [2001:db8::1]:22"]
        );
        assert_eq!(
            difference(&present, &present.clone(), &owner(old.slice, old.sliver)),
            Difference::default()
        );
    }

    #[test]
    fn a_stale_forward_of_another_gives_way() {
        let names = Names::new(&"a".parse().unwrap());
        let stale = elements(
            &names,
            &Attachment {
                address: ControlAddress { ipv4: [10, 0, 0, 9].into(), ipv6: None },
                ..attachment(B, 30_000)
            },
        );
        let new = attachment(A, 30_000);
        let change = difference(&stale, &elements(&names, &new), &owner(new.slice, new.sliver));
        assert_eq!(
            change.remove.keys().map(ToString::to_string).collect::<Vec<_>>(),
            ["port 30000/tcp to 10.0.0.9:22"]
        );
    }
}
