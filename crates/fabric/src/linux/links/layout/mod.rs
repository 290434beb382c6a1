//! What a slice's fabric namespace should hold, worked out from its links. Pure.
//!
//! ```text
//!  point-to-point, clear      half ──redirect──► half           and back
//!  point-to-point, by netem   the same, with disciplines at both halves
//!  point-to-point, by a wire  half ──── pipe ──── half
//!  LAN, clear member          half ── bridge
//!  LAN, impaired member       half ◄─redirect or pipe─► stub ═ stub's peer ── bridge
//!  cable to another host      half ◄─redirect or pipe─► trunk ═ VXLAN ═ the other host's trunk
//!  LAN on several hosts       trunk ── bridge
//!  down                       halves without carrier; pipes, disciplines and bridges stay
//! ```
//!
//! Each host does to frames what its own ends do: `to_link` before the tunnel, `from_link` behind it.
//!
//! What netem does to frames that go one way it does where they leave: at the half of whoever gets them, or at the stub of
//! whoever sends them to a LAN. Which back end impairs a link makes no difference to interfaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use testyard_model::id::SliverId;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::tunnel::Vni;
use testyard_wire::{Direction, Pipe, PipeName, PortName};

use super::choice::{Choice, Inexpressible};
use super::names::{bridge, half, pipe, stub, stub_peer, trunk};
use super::netem::{Terms, Tree};
use super::traffic::{Sides, Way};
use crate::links::{Beyond, HostLink, LinkEnd, PortId};

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
    /// Tunnels to other hosts. Those of cables are gates, too.
    pub(super) trunks: BTreeMap<String, Trunk>,
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
    /// Whose half it is, or on whose way to the LAN or to another host it stands.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trunk {
    pub(super) vni: Vni,
    /// Where it begins on this host.
    pub(super) local: IpAddr,
    /// Of UDP, at both ends.
    pub(super) port: u16,
    /// The other hosts, by where theirs begin.
    pub(super) peers: BTreeSet<IpAddr>,
    /// A LAN's.
    pub(super) bridge: Option<String>,
    pub(super) mtu: u32,
    pub(super) alias: String,
}

/// What a host's links are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    pub(super) choice: Choice,
    /// Of UDP.
    pub(super) tunnel_port: u16,
}

impl Layout {
    pub(super) fn of(
        links: &[HostLink],
        Means { choice, tunnel_port }: Means,
    ) -> Result<Self, Inexpressible> {
        let mut layout = Self::default();
        for link in links {
            let trunk = link.beyond.as_ref().map(|beyond| layout.trunk(link, beyond, tunnel_port));
            match (link.kind, link.ends.as_slice(), trunk) {
                (LinkKind::PointToPoint, [a, b], None) => layout.cable(link, a, b, choice)?,
                (LinkKind::PointToPoint, [end], Some(trunk)) => {
                    layout.long_cable(link, end, trunk, choice)?
                }
                (LinkKind::PointToPoint, ends, _) => {
                    for end in ends {
                        layout.half(link, end, Joint::Loose, None);
                    }
                }
                (LinkKind::Lan, ends, _) => layout.lan(link, ends, choice)?,
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
        self.couple(link, [Side::half(a), Side::half(b)], ways, choice)
    }

    /// A cable whose other end is on another host.
    fn long_cable(
        &mut self,
        link: &HostLink,
        end: &LinkEnd,
        trunk: String,
        choice: Choice,
    ) -> Result<(), Inexpressible> {
        let far = link.beyond.as_ref().and_then(|beyond| beyond.far.as_ref());
        let far_port = far.map(|far| far.port.clone());
        let mut sides = [Side::half(end), Side { gate: trunk, port: far_port, end, is_trunk: true }];
        let mut ways = [stages([end.to_link]), stages([end.from_link])];
        // Chances go by the order of the ends, wherever they are.
        if far.is_some_and(|far| far.is_first) {
            sides.reverse();
            ways.reverse();
        }
        self.couple(link, sides, ways, choice)
    }

    /// Two gates, each the other's way: the first way is from the first to the second.
    fn couple(
        &mut self,
        link: &HostLink,
        sides: [Side<'_>; 2],
        ways: [Vec<Impairment>; 2],
        choice: Choice,
    ) -> Result<(), Inexpressible> {
        let names = sides.each_ref().map(|side| side.gate.clone());
        let ports = sides.each_ref().map(|side| side.port.clone());
        let [first, second] = names.clone();
        let mut joints = [Joint::Redirect(second.clone()), Joint::Redirect(first.clone())];
        let mut netems = [None, None];
        if ways.iter().all(Vec::is_empty) {
        } else if let Some([there, back]) = trees(link, &ways, choice)? {
            self.way(&second, link, [ports[0].as_ref(), ports[1].as_ref()], &ways[0]);
            self.way(&first, link, [ports[1].as_ref(), ports[0].as_ref()], &ways[1]);
            netems = [Some(back), Some(there)];
        } else {
            joints = [Joint::Wire, Joint::Wire];
            self.pipe(pipe(link.sliver, None), (link.sliver, ports), names, link, ways);
        }
        for ((side, joint), netem) in sides.into_iter().zip(joints).zip(netems) {
            self.gate(&side.gate, link, side.end, joint, netem);
            if side.is_trunk {
                self.always_up(&side.gate);
            }
        }
        Ok(())
    }

    /// The way of a link to other hosts. Gives its name.
    fn trunk(&mut self, link: &HostLink, beyond: &Beyond, port: u16) -> String {
        let name = trunk(link.sliver, beyond.vni, beyond.local, port);
        let trunk = Trunk {
            vni: beyond.vni,
            local: beyond.local,
            port,
            peers: beyond.peers.clone(),
            bridge: (link.kind == LinkKind::Lan).then(|| bridge(link.sliver)),
            mtu: u32::from(link.mtu),
            alias: format!("{} to other hosts", link.name),
        };
        self.trunks.insert(name.clone(), trunk);
        name
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
                let sides = (link.sliver, [Some(end.port.clone()), None]);
                let ports = [outer, inner.clone()];
                self.pipe(pipe(link.sliver, Some(&end.port)), sides, ports, link, ways);
            }
            self.always_up(&inner);
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

    /// The node's carrier is the half's alone.
    fn always_up(&mut self, gate: &str) {
        if let Some(gate) = self.gates.get_mut(gate) {
            gate.up = true;
        }
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

/// One of two gates that lead to each other.
struct Side<'a> {
    gate: String,
    /// Whose half is there, or on another host behind it.
    port: Option<PortId>,
    /// Of this host.
    end: &'a LinkEnd,
    is_trunk: bool,
}

impl<'a> Side<'a> {
    fn half(end: &'a LinkEnd) -> Self {
        Self { gate: half(&end.port), port: Some(end.port.clone()), end, is_trunk: false }
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
