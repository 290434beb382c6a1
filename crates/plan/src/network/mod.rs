//! Plans the network of a topology: addresses, names, routes and everything else that links need.
//!
//! [`plan()`] is given a topology and what it is to run in, and answers with a [`NetworkPlan`], or with what is wrong.
//! It is a pure function: the same topology in the same conditions gives the same plan, down to the last seed.
//!
//! | module | choice |
//! | --- | --- |
//! | [`parts`] | the plan as plain data |
//! | `resolve` | which interface is on which link |
//! | `subnets`, `addresses` | networks of links and addresses of interfaces |
//! | `before` | what members of links keep from the plan that runs |
//! | [`device`], `mac` | names of interfaces inside nodes, Ethernet addresses |
//! | [`mtu`] | the largest packet |
//! | [`names`] | `/etc/hosts` |
//! | [`routes`], `graph`, `aggregate` | routes of static routing |
//! | `manual` | routes that users list |
//! | `lint` | what is probably not meant |
//! | [`live`] | changes of links while they run |

mod addresses;
mod aggregate;
mod before;
pub mod device;
mod graph;
mod lint;
pub mod live;
mod mac;
mod manual;
pub mod mtu;
pub mod names;
pub(crate) mod pairs;
pub mod parts;
mod remarks;
mod resolve;
pub mod routes;
pub(crate) mod schedule;
mod subnets;

use std::collections::BTreeSet;

use ipnet::IpNet;
use testyard_model::diagnostic::{Diagnostic, listing};
use testyard_model::link::{Capture, LinkKind};
use testyard_model::name::{ClientId, Hostname};
use testyard_model::route::Routing;
use testyard_model::topology::Topology;

use crate::hash::{fnv, mix};
use addresses::{LinkAddresses, assign};
use before::{Before, Given};
use mac::Macs;
use mtu::Underlay;
use parts::{NetworkLink, NetworkMember, NetworkNode, NetworkPlan};
use remarks::{Kind, Remarks};
use resolve::{Resolved, resolve};

pub use resolve::BRIDGE_PORTS;

/// What a network is to run in. The default is one host that leaves everything free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// Networks that no link may have: those of control addresses, and of links that the slice has already.
    pub avoid: &'a [IpNet],
    /// For each node of the topology the number of its host. Empty if all are on one.
    pub hosts: &'a [usize],
    /// For each node of the topology its host name. Empty if the names follow from the client ids.
    pub hostnames: &'a [Hostname],
    /// Numbers of hosts that impair links by netem alone.
    pub only_netem: &'a [usize],
    /// The network between the hosts.
    pub underlay: Underlay,
    /// The plan that this one is to take the place of: its automatic networks and addresses stay where they can, so
    /// that a link put in between others does not give all behind it new addresses.
    pub previous: Option<&'a NetworkPlan>,
}

/// A network that is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plan.
    pub network: NetworkPlan,
    /// What there is to say about it; no errors among them.
    pub diagnostics: Vec<Diagnostic>,
}

/// A topology whose network cannot be had: at least one of the diagnostics is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", listing(.diagnostics, "the network is refused"))]
pub struct Refused {
    /// Everything that there is to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// The seed of a link that the user gave none: it follows from the name, so the same file gives the same losses
/// wherever it runs. 53 bits, which every reader of JSON keeps whole.
#[must_use]
pub fn seed_of(link: &ClientId) -> u64 {
    mix(fnv(link.as_str())) >> 11
}

/// Plans the network of a topology.
///
/// # Errors
/// [`Refused`] if it cannot be: a member that is nobody's interface, an address twice on a link, an impairment that no
/// link can have, a route over someone who is no neighbour.
pub fn plan(topology: &Topology, conditions: &Conditions<'_>) -> Result<Planned, Refused> {
    let mut remarks = Remarks::default();
    let refuse = |remarks: Remarks| Refused { diagnostics: remarks.finish() };
    let resolved = resolve(topology, &mut remarks);
    if remarks.refused() {
        return Err(refuse(remarks));
    }
    let before = Before::of(conditions.previous);
    let kept: Vec<_> = topology
        .links
        .iter()
        .zip(&resolved.links)
        .map(|(link, spots)| before.members(&resolved, &link.client_id, spots))
        .collect();
    let addresses = assign(&resolved, conditions.avoid, (&before, &kept), &mut remarks);
    let links = links(&resolved, addresses, &kept, conditions, &mut remarks);
    let captured = links.iter().filter(|link| link.capture.is_some()).count();
    if captured > Capture::MOST {
        let message =
            format!("{captured} links are to be captured, of a slice {} can be at a time", Capture::MOST);
        remarks.error(
            Kind::Size,
            message,
            "capture fewer, or all in one while they run: testyard capture --all",
        );
    }
    for link in &links {
        if let Err(why) = link.check_netem() {
            let remedy = "ask for what netem can do, or have the operator set the emulator to auto";
            remarks.error(Kind::Impairment, why.to_string(), remedy);
        }
    }
    let nodes = nodes(topology, conditions);
    let (environment, avoided) = (topology.environment.clone(), conditions.avoid.to_vec());
    let numbers = topology.nodes.iter().map(|node| node.client_id.clone()).zip(0..).collect();
    let nodes_of = resolved.links.iter().map(|spots| spots.iter().map(|spot| spot.node).collect()).collect();
    let mut network =
        NetworkPlan::of_numbers(nodes, links, topology.routing, environment, avoided, numbers, nodes_of);
    list_routes(topology, &mut network, &mut remarks);
    lint::lint(&network, &mut remarks);
    if remarks.refused() {
        Err(refuse(remarks))
    } else {
        Ok(Planned { network, diagnostics: remarks.finish() })
    }
}

fn links(
    resolved: &Resolved<'_>,
    addresses: Vec<LinkAddresses>,
    kept: &[Vec<Option<&NetworkMember>>],
    conditions: &Conditions<'_>,
    remarks: &mut Remarks,
) -> Vec<NetworkLink> {
    let mut given = Given::of(resolved, kept);
    let mut macs = Macs::default();
    // Those that users chose first, so that none of the others takes one of them.
    for mac in resolved.links.iter().flatten().filter_map(|spot| spot.interface.mac) {
        macs.take(mac);
    }
    // Then those that run, but for those that a user has given somebody else now.
    given.macs.retain(|mac| macs.take(*mac));
    let host = |node: u32| conditions.hosts.get(node as usize).copied();
    let topology = resolved.topology;
    let mut links = Vec::with_capacity(topology.links.len());
    for (((link, spots), kept), addresses) in
        topology.links.iter().zip(&resolved.links).zip(kept).zip(addresses)
    {
        let crosses = spots.windows(2).any(|pair| host(pair[0].node) != host(pair[1].node));
        let ipv6 = addresses.subnets.iter().any(|network| matches!(network, IpNet::V6(_)));
        let name = link.client_id.as_str();
        let mtu = mtu::choose(name, link.mtu, crosses, ipv6, conditions.underlay, remarks);
        let members =
            spots.iter().zip(kept).zip(addresses.members).map(|((spot, kept), addresses)| NetworkMember {
                node: topology.nodes[spot.node as usize].client_id.clone(),
                interface: spot.interface.client_id.clone(),
                device: kept.map_or_else(|| given.device(spot), |kept| kept.device),
                mac: spot
                    .interface
                    .mac
                    .or_else(|| kept.map(|kept| kept.mac).filter(|mac| given.macs.contains(mac)))
                    .unwrap_or_else(|| macs.derive(spot.interface.client_id.as_str())),
                addresses,
                cost: spot.interface.cost.unwrap_or(1),
                to_link: spot.member.to_link,
                from_link: spot.member.from_link,
            });
        links.push(NetworkLink {
            client_id: link.client_id.clone(),
            kind: link.kind,
            automatic: addresses.automatic,
            subnets: addresses.subnets,
            mtu,
            seed: link.seed.unwrap_or_else(|| seed_of(&link.client_id)),
            down: link.down,
            crosses_hosts: crosses,
            only_netem: spots
                .iter()
                .any(|spot| conditions.only_netem.contains(&host(spot.node).unwrap_or_default())),
            capture: link.capture.clone(),
            members: members.collect(),
        });
    }
    links
}

fn nodes(topology: &Topology, conditions: &Conditions<'_>) -> Vec<NetworkNode> {
    let mut taken: BTreeSet<Hostname> = conditions.hostnames.iter().cloned().collect();
    let mut given = conditions.hostnames.iter();
    let forwarding = topology.routing != Routing::None;
    let planned = topology.nodes.iter().map(|node| NetworkNode {
        client_id: node.client_id.clone(),
        hostname: given
            .next()
            .cloned()
            .unwrap_or_else(|| crate::names::hostname(&node.client_id, &mut taken)),
        forwarding,
        listed_routes: Vec::new(),
        programs: node.programs.clone(),
    });
    planned.collect()
}

/// Routes that users list, where they count.
fn list_routes(topology: &Topology, network: &mut NetworkPlan, remarks: &mut Remarks) {
    if topology.nodes.iter().all(|node| node.routes.is_empty()) {
        return;
    }
    if topology.routing != Routing::Manual {
        remarks.warn(
            Kind::Routing,
            "nodes list routes, which count only with manual routing",
            "ask for manual routing (NS: $ns rtproto Manual), or take them away",
        );
        return;
    }
    let names = manual::Names::new(network);
    let routes: Vec<_> = topology.nodes.iter().map(|node| names.routes(node, remarks)).collect();
    for (node, routes) in network.nodes.iter_mut().zip(routes) {
        node.listed_routes = routes;
    }
}

impl NetworkPlan {
    /// How many interfaces a LAN has at most, for limits of bridges.
    #[must_use]
    pub fn largest_lan(&self) -> Option<&NetworkLink> {
        let lans = self.links.iter().filter(|link| link.kind == LinkKind::Lan);
        // Of equals the first: max_by_key would give the last.
        lans.rev().max_by_key(|link| link.members.len())
    }
}
