//! What a slice's fabric namespace should hold, worked out from its links. Pure.
//!
//! ```text
//!  point-to-point, clear      half ──redirect──► half           and back
//!  point-to-point, impaired   half ──── pipe ──── half
//!  LAN, clear member          half ── bridge
//!  LAN, impaired member       half ──── pipe ──── stub ═ stub's peer ── bridge
//!  down                       halves without carrier; pipes and bridges stay
//! ```

use std::collections::BTreeMap;

use testyard_model::id::SliverId;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_wire::{Direction, Observed, Pipe, PipeName, PortName};

use super::names::{bridge, half, pipe, stub, stub_peer};
use crate::links::{HostLink, LinkEnd, LinkTraffic, Passed, PortId};

/// Everything that should be in the namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Halves of nodes' interfaces; those of nodes that do not run are not there yet.
    pub(super) halves: BTreeMap<String, Half>,
    /// Bridges.
    pub(super) bridges: BTreeMap<String, Bridge>,
    /// Veths of which both halves are in the namespace: the name of the one that is a wire's port.
    pub(super) stubs: BTreeMap<String, Stub>,
    /// What the wire does.
    pub(super) pipes: Vec<Pipe>,
    /// Which link each pipe is of, and whose halves its first and second port are.
    sides: BTreeMap<PipeName, (SliverId, PortId, Option<PortId>)>,
}

/// The half of a node's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Half {
    pub(super) port: PortId,
    pub(super) mtu: u32,
    /// Whether the node has carrier.
    pub(super) up: bool,
    pub(super) joint: Joint,
    /// For people.
    pub(super) alias: String,
}

/// How a half is joined to the rest of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// To nothing on this host.
    Loose,
    /// What comes in goes out at this half.
    Redirect(String),
    /// A port of this bridge.
    Bridge(String),
    /// A port of the wire.
    Wire,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bridge {
    pub(super) mtu: u32,
    pub(super) alias: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stub {
    /// The other half.
    pub(super) peer: String,
    pub(super) bridge: String,
    pub(super) mtu: u32,
}

impl Layout {
    pub(super) fn of(links: &[HostLink]) -> Self {
        let mut layout = Self::default();
        for link in links {
            match (link.kind, link.ends.as_slice()) {
                (LinkKind::PointToPoint, [a, b]) => layout.cable(link, a, b),
                (LinkKind::PointToPoint, ends) => ends.iter().for_each(|end| {
                    layout.half(link, end, Joint::Loose);
                }),
                (LinkKind::Lan, ends) => layout.lan(link, ends),
            }
        }
        layout
    }

    /// The links that a node's interfaces are on, with all who are joined to those: what changes when it boots.
    pub(super) fn joints_of(&self, node: SliverId) -> impl Iterator<Item = (&String, &Half)> {
        self.halves.iter().filter(move |(_, half)| match &half.joint {
            Joint::Redirect(to) => {
                half.port.node == node || self.halves.get(to).is_some_and(|other| other.port.node == node)
            }
            Joint::Loose | Joint::Bridge(_) | Joint::Wire => half.port.node == node,
        })
    }

    /// What a wire says, by links.
    pub(super) fn traffic(&self, observed: &Observed) -> Vec<LinkTraffic> {
        let mut all = Vec::new();
        for pipe in &observed.pipes {
            let Some((link, first, second)) = self.sides.get(&pipe.name) else { continue };
            let (first, second) = (Some(first.clone()), second.clone());
            let sides = [(first.clone(), second.clone()), (second, first)];
            for ((from, to), seen) in sides.into_iter().zip(&pipe.directions) {
                let counts = &seen.counts;
                let passed = Passed {
                    offered: counts.offered,
                    delivered: counts.delivered,
                    bytes: counts.bytes,
                    lost: counts.lost,
                    dropped: counts.full + counts.early + seen.cut + seen.memory,
                };
                all.push(LinkTraffic { link: *link, from, to, passed });
            }
        }
        all
    }

    fn cable(&mut self, link: &HostLink, a: &LinkEnd, b: &LinkEnd) {
        let there = stages([a.to_link, b.from_link]);
        let back = stages([b.to_link, a.from_link]);
        let (name_a, name_b) = (half(&a.port), half(&b.port));
        if there.is_empty() && back.is_empty() {
            self.half(link, a, Joint::Redirect(name_b));
            self.half(link, b, Joint::Redirect(name_a));
            return;
        }
        self.half(link, a, Joint::Wire);
        self.half(link, b, Joint::Wire);
        let name = pipe(link.sliver, None);
        self.sides.insert(name.clone(), (link.sliver, a.port.clone(), Some(b.port.clone())));
        self.pipe(name, [name_a, name_b], link, [there, back]);
    }

    fn lan(&mut self, link: &HostLink, ends: &[LinkEnd]) {
        let bridge = bridge(link.sliver);
        let mtu = u32::from(link.mtu);
        self.bridges.insert(bridge.clone(), Bridge { mtu, alias: link.name.clone() });
        for end in ends {
            let (to, from) = (stages([end.to_link]), stages([end.from_link]));
            if to.is_empty() && from.is_empty() {
                self.half(link, end, Joint::Bridge(bridge.clone()));
                continue;
            }
            let stub_name = stub(&end.port);
            let peer = stub_peer(&end.port);
            self.half(link, end, Joint::Wire);
            let ports = [half(&end.port), stub_name.clone()];
            let name = pipe(link.sliver, Some(&end.port));
            self.sides.insert(name.clone(), (link.sliver, end.port.clone(), None));
            self.pipe(name, ports, link, [to, from]);
            self.stubs.insert(stub_name, Stub { peer, bridge: bridge.clone(), mtu });
        }
    }

    fn half(&mut self, link: &HostLink, end: &LinkEnd, joint: Joint) {
        let alias = format!("{} {}", link.name, end.port.device);
        let half = Half { port: end.port.clone(), mtu: u32::from(link.mtu), up: link.up, joint, alias };
        self.halves.insert(super::names::half(&end.port), half);
    }

    fn pipe(&mut self, name: PipeName, ports: [String; 2], link: &HostLink, stages: [Vec<Impairment>; 2]) {
        let ports = ports.map(|name| PortName::try_from(name).expect("our names are good for interfaces"));
        let directions = stages.map(|stages| Direction { stages });
        self.pipes.push(Pipe { up: link.up, seed: link.seed, directions, ..Pipe::new(name, ports) });
    }
}

/// Those that do something.
fn stages<const N: usize>(impairments: [Impairment; N]) -> Vec<Impairment> {
    impairments.into_iter().filter(|impairment| !impairment.is_clear()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(node: u8, settings: &[&str]) -> LinkEnd {
        let mut to_link = Impairment::default();
        for setting in settings {
            setting.parse::<testyard_model::setting::Setting>().unwrap().apply(&mut to_link);
        }
        let node = format!("0197e7a0-0000-7000-8000-0000000000{node:02x}").parse().unwrap();
        LinkEnd { port: PortId { node, device: "eth1".into() }, to_link, from_link: Impairment::default() }
    }

    fn link(kind: LinkKind, ends: Vec<LinkEnd>) -> HostLink {
        HostLink {
            sliver: "0197e7a0-0000-7000-8000-0000000000ff".parse().unwrap(),
            name: "lan0".into(),
            kind,
            up: true,
            mtu: 1500,
            seed: 7,
            ends,
            capture: None,
        }
    }

    #[test]
    fn a_clear_cable_is_two_redirects() {
        let (a, b) = (end(1, &[]), end(2, &[]));
        let layout = Layout::of(&[link(LinkKind::PointToPoint, vec![a.clone(), b.clone()])]);
        assert_eq!(layout.halves[&half(&a.port)].joint, Joint::Redirect(half(&b.port)));
        assert_eq!(layout.halves[&half(&b.port)].joint, Joint::Redirect(half(&a.port)));
        assert!(layout.pipes.is_empty() && layout.bridges.is_empty());
        assert_eq!(layout.joints_of(a.port.node).count(), 2, "the peer's redirect leads to the new half");
    }

    #[test]
    fn an_impaired_cable_is_a_pipe() {
        let (a, b) = (end(1, &["delay=5ms"]), end(2, &[]));
        let layout = Layout::of(&[link(LinkKind::PointToPoint, vec![a.clone(), b])]);
        assert_eq!(layout.halves[&half(&a.port)].joint, Joint::Wire);
        let [pipe] = layout.pipes.as_slice() else { panic!("one pipe: {:?}", layout.pipes) };
        assert_eq!((pipe.seed, pipe.directions[0].stages.len(), pipe.directions[1].stages.len()), (7, 1, 0));
        assert_eq!(layout.joints_of(a.port.node).count(), 1);
    }

    #[test]
    fn only_impaired_members_of_a_lan_go_by_the_wire() {
        let (a, b, c) = (end(1, &["loss=1%"]), end(2, &[]), end(3, &[]));
        let layout = Layout::of(&[link(LinkKind::Lan, vec![a.clone(), b.clone(), c])]);
        let bridge = bridge("0197e7a0-0000-7000-8000-0000000000ff".parse().unwrap());
        assert_eq!(layout.halves[&half(&b.port)].joint, Joint::Bridge(bridge.clone()));
        assert_eq!(layout.halves[&half(&a.port)].joint, Joint::Wire);
        assert_eq!(layout.stubs[&stub(&a.port)].bridge, bridge);
        assert_eq!(layout.pipes[0].ports[1].as_str(), stub(&a.port));
    }

    #[test]
    fn a_link_that_is_down_has_no_carrier() {
        let mut down = link(LinkKind::PointToPoint, vec![end(1, &["delay=5ms"]), end(2, &[])]);
        down.up = false;
        let layout = Layout::of(&[down]);
        assert!(layout.halves.values().all(|half| !half.up));
        assert!(!layout.pipes[0].up);
    }
}
