//! What a slice's fabric namespace should hold, worked out from its links. Pure.
//!
//! ```text
//!  point-to-point, clear      half ──redirect──► half           and back
//!  point-to-point, by netem   the same, with disciplines at both halves
//!  point-to-point, by a wire  half ──── pipe ──── half
//!  LAN, clear member          half ── bridge
//!  LAN, impaired member       half ◄─redirect or pipe─► stub ═ stub's peer ── bridge
//!  down                       halves without carrier; pipes, disciplines and bridges stay
//! ```
//!
//! What netem does to frames that go one way it does where they leave: at the half of whoever gets them, or at the stub of
//! whoever sends them to a LAN. Which back end impairs a link makes no difference to interfaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use testyard_model::id::SliverId;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_wire::{Direction, Pipe, PipeName, PortName};

use super::choice::{Choice, Inexpressible};
use super::names::{bridge, half, pipe, stub, stub_peer};
use super::netem::{Terms, Tree};
use super::traffic::{Sides, Way};
use crate::links::{HostLink, LinkEnd, PortId};

/// Everything that should be in the namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Where frames come and go: halves of nodes' interfaces, of which those of nodes that do not run are not there yet, and
    /// stubs.
    pub(super) gates: BTreeMap<String, Gate>,
    /// Bridges.
    pub(super) bridges: BTreeMap<String, Bridge>,
    /// Veths of which both halves are in the namespace: the name of the one that is a gate.
    pub(super) stubs: BTreeMap<String, Stub>,
    /// What the wire does.
    pub(super) pipes: Vec<Pipe>,
    /// Which link each pipe is of, and whose halves its first and second port are.
    pub(super) sides: BTreeMap<PipeName, Sides>,
    /// Likewise of what netem does, by the gate that it does it at.
    pub(super) ways: BTreeMap<String, Way>,
    /// By node: see [`Layout::joints_of`].
    joints: HashMap<SliverId, BTreeSet<String>>,
}

/// An interface that frames of one link come in and go out at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// Whose half it is, or on whose way to the LAN it stands.
    pub(super) port: PortId,
    pub(super) mtu: u32,
    /// Whether whoever is on its other side has carrier.
    pub(super) up: bool,
    pub(super) joint: Joint,
    /// What netem does to frames that leave here.
    pub(super) netem: Option<Tree>,
    /// For people.
    pub(super) alias: String,
}

/// How a gate is joined to the rest of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    /// To nothing on this host.
    Loose,
    /// What comes in goes out at this gate.
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
    pub(super) fn of(links: &[HostLink], choice: Choice) -> Result<Self, Inexpressible> {
        let mut layout = Self::default();
        for link in links {
            match (link.kind, link.ends.as_slice()) {
                (LinkKind::PointToPoint, [a, b]) => layout.cable(link, a, b, choice)?,
                (LinkKind::PointToPoint, ends) => {
                    for end in ends {
                        layout.half(link, end, Joint::Loose, None);
                    }
                }
                (LinkKind::Lan, ends) => layout.lan(link, ends, choice)?,
            }
        }
        layout.index();
        Ok(layout)
    }

    /// The links that a node's interfaces are on, with all who are joined to those: what changes when it boots.
    pub(super) fn joints_of(&self, node: SliverId) -> impl Iterator<Item = (&String, &Gate)> {
        let names = self.joints.get(&node).into_iter().flatten();
        names.filter_map(|name| self.gates.get_key_value(name))
    }

    /// By whose halves they are, and whose halves they lead to.
    fn index(&mut self) {
        let mut joints: HashMap<SliverId, BTreeSet<String>> = HashMap::new();
        for (name, gate) in &self.gates {
            let other = match &gate.joint {
                Joint::Redirect(to) => self.gates.get(to).map(|other| other.port.node),
                Joint::Loose | Joint::Bridge(_) | Joint::Wire => None,
            };
            for node in [Some(gate.port.node), other].into_iter().flatten() {
                joints.entry(node).or_default().insert(name.clone());
            }
        }
        self.joints = joints;
    }

    /// Whether netem impairs anything.
    pub(super) fn has_netem(&self) -> bool {
        !self.ways.is_empty()
    }

    fn cable(
        &mut self,
        link: &HostLink,
        a: &LinkEnd,
        b: &LinkEnd,
        choice: Choice,
    ) -> Result<(), Inexpressible> {
        let ways = [stages([a.to_link, b.from_link]), stages([b.to_link, a.from_link])];
        let (name_a, name_b) = (half(&a.port), half(&b.port));
        if ways.iter().all(Vec::is_empty) {
            self.half(link, a, Joint::Redirect(name_b), None);
            self.half(link, b, Joint::Redirect(name_a), None);
        } else if let Some([there, back]) = trees(link, &ways, choice)? {
            self.way(&name_b, link, [Some(&a.port), Some(&b.port)], &ways[0]);
            self.way(&name_a, link, [Some(&b.port), Some(&a.port)], &ways[1]);
            self.half(link, a, Joint::Redirect(name_b), Some(back));
            self.half(link, b, Joint::Redirect(name_a), Some(there));
        } else {
            self.half(link, a, Joint::Wire, None);
            self.half(link, b, Joint::Wire, None);
            let sides = (link.sliver, a.port.clone(), Some(b.port.clone()));
            self.pipe(pipe(link.sliver, None), sides, [name_a, name_b], link, ways);
        }
        Ok(())
    }

    fn lan(&mut self, link: &HostLink, ends: &[LinkEnd], choice: Choice) -> Result<(), Inexpressible> {
        let bridge = bridge(link.sliver);
        let mtu = u32::from(link.mtu);
        self.bridges.insert(bridge.clone(), Bridge { mtu, alias: link.name.clone() });
        for end in ends {
            let ways = [stages([end.to_link]), stages([end.from_link])];
            if ways.iter().all(Vec::is_empty) {
                self.half(link, end, Joint::Bridge(bridge.clone()), None);
                continue;
            }
            let (outer, inner) = (half(&end.port), stub(&end.port));
            if let Some([to, from]) = trees(link, &ways, choice)? {
                self.way(&inner, link, [Some(&end.port), None], &ways[0]);
                self.way(&outer, link, [None, Some(&end.port)], &ways[1]);
                self.half(link, end, Joint::Redirect(inner.clone()), Some(from));
                self.gate(&inner, link, end, Joint::Redirect(outer), Some(to));
            } else {
                self.half(link, end, Joint::Wire, None);
                self.gate(&inner, link, end, Joint::Wire, None);
                let sides = (link.sliver, end.port.clone(), None);
                let ports = [outer, inner.clone()];
                self.pipe(pipe(link.sliver, Some(&end.port)), sides, ports, link, ways);
            }
            // The node's carrier is the half's alone.
            self.gates.entry(inner.clone()).and_modify(|gate| gate.up = true);
            let peer = stub_peer(&end.port);
            self.stubs.insert(inner, Stub { peer, bridge: bridge.clone(), mtu });
        }
        Ok(())
    }

    fn half(&mut self, link: &HostLink, end: &LinkEnd, joint: Joint, netem: Option<Tree>) {
        self.gate(&half(&end.port), link, end, joint, netem);
    }

    fn gate(&mut self, name: &str, link: &HostLink, end: &LinkEnd, joint: Joint, netem: Option<Tree>) {
        let alias = format!("{} {}", link.name, end.port.device);
        let (port, mtu) = (end.port.clone(), u32::from(link.mtu));
        self.gates.insert(name.to_owned(), Gate { port, mtu, up: link.up, joint, netem, alias });
    }

    fn way(&mut self, gate: &str, link: &HostLink, [from, to]: [Option<&PortId>; 2], stages: &[Impairment]) {
        let loses = stages.iter().any(|stage| stage.loss.is_some());
        let way = Way { link: link.sliver, from: from.cloned(), to: to.cloned(), loses };
        self.ways.insert(gate.to_owned(), way);
    }

    fn pipe(
        &mut self,
        name: PipeName,
        sides: Sides,
        ports: [String; 2],
        link: &HostLink,
        ways: [Vec<Impairment>; 2],
    ) {
        let ports = ports.map(|name| PortName::try_from(name).expect("our names are good for interfaces"));
        let directions = ways.map(|stages| Direction { stages });
        self.sides.insert(name.clone(), sides);
        self.pipes.push(Pipe { up: link.up, seed: link.seed, directions, ..Pipe::new(name, ports) });
    }
}

/// The disciplines of both directions, if netem is to do it.
fn trees(
    link: &HostLink,
    ways: &[Vec<Impairment>; 2],
    choice: Choice,
) -> Result<Option<[Tree; 2]>, Inexpressible> {
    let Choice::Netem { is_only } = choice else { return Ok(None) };
    let tree = |way: u64| {
        let terms = Terms {
            mtu: link.mtu.into(),
            // As far from each other as those of different links.
            seed: link.seed.wrapping_add(way << 63),
            is_seed_chosen: link.is_seed_chosen,
        };
        Tree::of(&ways[way as usize], terms)
    };
    match tree(0).and_then(|there| Ok([there, tree(1)?])) {
        Ok(trees) => Ok(Some(trees)),
        Err(_) if !is_only => Ok(None),
        Err(why) => Err(Inexpressible { link: link.name.clone(), why }),
    }
}

/// Those that do something.
fn stages<const N: usize>(impairments: [Impairment; N]) -> Vec<Impairment> {
    impairments.into_iter().filter(|impairment| !impairment.is_clear()).collect()
}

#[cfg(test)]
mod tests;
