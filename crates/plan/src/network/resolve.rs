//! From names to interfaces: who is on which link. Everything that does not fit is told here.

use std::collections::{HashMap, HashSet};

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::suggest::closest;
use testyard_model::topology::{Interface, Topology};

use crate::network::remarks::{Kind, Remarks};

/// Ports that a Linux bridge can have (`BR_MAX_PORTS` is 1024, and numbers begin at 1).
pub const BRIDGE_PORTS: usize = 1023;

/// A member of a link, found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'t> {
    pub(crate) node: u32,
    pub(crate) port: u32,
    pub(crate) interface: &'t Interface,
    pub(crate) member: &'t Member,
}

/// An interface by its name.
#[derive(Clone, Copy)]
struct Known<'t> {
    /// Its number among all interfaces.
    at: usize,
    node: u32,
    port: u32,
    interface: &'t Interface,
}

/// A topology whose links have found their interfaces.
#[derive(Debug)]
pub(crate) struct Resolved<'t> {
    pub(crate) topology: &'t Topology,
    /// Members of each link.
    pub(crate) links: Vec<Vec<Spot<'t>>>,
}

/// Finds every member's interface.
pub(crate) fn resolve<'t>(topology: &'t Topology, remarks: &mut Remarks) -> Resolved<'t> {
    let mut names = HashSet::with_capacity(topology.nodes.len());
    let count = topology.nodes.iter().map(|node| node.interfaces.len()).sum();
    let mut interfaces: HashMap<&ClientId, Known<'t>> = HashMap::with_capacity(count);
    for (node, number) in topology.nodes.iter().zip(0..) {
        if !names.insert(&node.client_id) {
            remarks.error(
                Kind::Identity,
                format!("two nodes are named {:?}", node.client_id.as_str()),
                "give each its own name",
            );
        }
        for (interface, port) in node.interfaces.iter().zip(0..) {
            let at = interfaces.len();
            if interfaces.insert(&interface.client_id, Known { at, node: number, port, interface }).is_some()
            {
                remarks.error(
                    Kind::Identity,
                    format!("two interfaces are named {:?}", interface.client_id.as_str()),
                    "give each its own name",
                );
            }
        }
    }
    names.clear();
    let mut used: Vec<Option<&Link>> = vec![None; count + 1];
    let mut links = Vec::with_capacity(topology.links.len());
    for link in &topology.links {
        if !names.insert(&link.client_id) {
            remarks.error(
                Kind::Identity,
                format!("two links are named {:?}", link.client_id.as_str()),
                "give each its own name",
            );
        }
        let mut spots: Vec<Spot<'t>> = Vec::with_capacity(link.members.len());
        for member in &link.members {
            let Some(Known { at, node, port, interface }) = interfaces.get(&member.interface).copied() else {
                unknown(link, member, topology, remarks);
                continue;
            };
            if let Some(other) = used[at].replace(link) {
                let (name, link, other) = (&member.interface, &link.client_id, &other.client_id);
                let text = if link == other {
                    format!("interface {:?} is on link {:?} twice", name.as_str(), link.as_str())
                } else {
                    let (name, other, link) = (name.as_str(), other.as_str(), link.as_str());
                    format!("interface {name:?} is on two links, {other:?} and {link:?}")
                };
                remarks.error(Kind::Member, text, "an interface is on one link: give the node another one");
                continue;
            }
            spots.push(Spot { node, port, interface, member });
        }
        shape(link, &spots, topology, remarks);
        links.push(spots);
    }
    if remarks.refused() {
        // A name that is wrong somewhere would leave an interface loose here, which is the same mistake told twice.
        return Resolved { topology, links };
    }
    // Without errors, interfaces have been numbered in this order.
    let mut numbers = 0..;
    for node in &topology.nodes {
        for interface in &node.interfaces {
            if numbers.next().and_then(|at: usize| used.get(at)).is_some_and(Option::is_some) {
                continue;
            }
            remarks.warn(
                Kind::Loose,
                format!(
                    "interface {:?} of node {:?} is on no link, so it is not made",
                    interface.client_id.as_str(),
                    node.client_id.as_str()
                ),
                "name it in a link, or take it away",
            );
        }
    }
    Resolved { topology, links }
}

fn unknown(link: &Link, member: &Member, topology: &Topology, remarks: &mut Remarks) {
    let given = member.interface.as_str();
    let known = topology.nodes.iter().flat_map(|node| &node.interfaces);
    let meant = closest(given, known.map(|interface| interface.client_id.as_str()));
    let remedy = meant.map_or_else(
        || "give a node an interface of that name".to_owned(),
        |meant| format!("did you mean {meant:?}?"),
    );
    let text = format!(
        "link {:?} has a member {given:?}, but no node has such an interface",
        link.client_id.as_str()
    );
    remarks.error(Kind::Member, text, remedy);
}

/// Whether the link has as many members as its kind wants, each with an impairment that can be.
fn shape(link: &Link, spots: &[Spot<'_>], topology: &Topology, remarks: &mut Remarks) {
    let name = link.client_id.as_str();
    match (link.kind, link.members.len()) {
        (LinkKind::PointToPoint, 2) => {}
        (LinkKind::PointToPoint, count) => remarks.error(
            Kind::Size,
            format!(
                "link {name:?} is point-to-point but has {count} member{}",
                if count == 1 { "" } else { "s" }
            ),
            "such a link has two; make it a LAN",
        ),
        (LinkKind::Lan, 0) => {
            remarks.warn(Kind::Size, format!("LAN {name:?} has no members"), "give it some, or take it away");
        }
        (LinkKind::Lan, 1) => remarks.warn(
            Kind::Size,
            format!("LAN {name:?} has one member, which reaches nobody over it"),
            "give it a second member",
        ),
        (LinkKind::Lan, count) if count > BRIDGE_PORTS => remarks.warn(
            Kind::Size,
            format!("LAN {name:?} has {count} members, more than the {BRIDGE_PORTS} ports of a Linux bridge"),
            "split it, or spread it over several hosts",
        ),
        (LinkKind::Lan, _) => {}
    }
    // Most links have two members; a set is quick for LANs of any size.
    let small = spots.len() <= 8;
    let mut nodes = HashSet::new();
    for (at, spot) in spots.iter().enumerate() {
        let again = match small {
            true => spots[..at].iter().any(|other| other.node == spot.node),
            false => !nodes.insert(spot.node),
        };
        if again {
            let node = topology.nodes[spot.node as usize].client_id.as_str();
            remarks.warn(
                Kind::Size,
                format!("node {node:?} is on link {name:?} twice"),
                "it answers on both for either: one is enough",
            );
        }
        for (way, impairment) in [("to", &spot.member.to_link), ("from", &spot.member.from_link)] {
            if let Err(error) = impairment.check() {
                let interface = spot.interface.client_id.as_str();
                let text = format!("link {name:?}, {way} it at {interface:?}: {error}");
                remarks.add(Kind::Impairment, Diagnostic::new(Severity::Error, text));
            }
        }
    }
}
