//! The planned network as plain data, and the way from names to it.

use std::collections::HashMap;
use std::sync::OnceLock;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_model::host_table::HostTable;
use testyard_model::impairment::Impairment;
use testyard_model::link::{Capture, LinkKind};
use testyard_model::mac::Mac;
use testyard_model::name::{ClientId, Hostname};
use testyard_model::route::Routing;
use testyard_model::service::Program;
use testyard_model::topology::Variable;

use crate::network::device::Device;
use crate::network::graph::Graphs;
use crate::network::routes::PlannedRoute;

/// Links and what nodes know of them, with every choice made. Nothing changes it; [`crate::diff`] compares two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document")]
pub struct NetworkPlan {
    pub(crate) nodes: Vec<NetworkNode>,
    pub(crate) links: Vec<NetworkLink>,
    pub(crate) routing: Routing,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) environment: Vec<Variable>,
    /// Prefixes that no link has: those of control networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) avoided: Vec<IpNet>,
    #[serde(skip)]
    pub(crate) index: Index,
}

/// What a node knows of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkNode {
    /// The user's name of it.
    pub client_id: ClientId,
    /// Its own name.
    pub hostname: Hostname,
    /// Whether it passes packets on.
    pub forwarding: bool,
    /// Routes that the user listed. Those of static routing are too many to keep: [`NetworkPlan::routes_of`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listed_routes: Vec<PlannedRoute>,
    /// What events start and stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
}

/// A layer-2 segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkLink {
    /// The user's name of it.
    pub client_id: ClientId,
    /// What it looks like to its interfaces.
    pub kind: LinkKind,
    /// Its networks: nearly always one.
    pub subnets: Vec<IpNet>,
    /// Whether the planner chose its network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// The largest packet, in bytes without the Ethernet header.
    pub mtu: u16,
    /// Where the chances of its impairments begin. At most 53 bits if the planner chose it, which every reader of JSON
    /// keeps whole.
    pub seed: u64,
    /// Whether it is down at the start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// Whether its members are on several hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crosses_hosts: bool,
    /// Whether it must be one that the kernel's netem can do: a host of it has nothing else to impair links.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_netem: bool,
    /// What is captured from the start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// In the order of the input.
    pub members: Vec<NetworkMember>,
}

/// An interface on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkMember {
    /// Its node.
    pub node: ClientId,
    /// The user's name of it.
    pub interface: ClientId,
    /// Its name inside the node.
    pub device: Device,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses, each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
    /// What a route over it costs.
    pub cost: u32,
    /// What is done to the frames that it sends.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub to_link: Impairment,
    /// What is done to the frames that it gets.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub from_link: Impairment,
}

/// A plan as it is written.
#[derive(Deserialize)]
struct Document {
    nodes: Vec<NetworkNode>,
    links: Vec<NetworkLink>,
    routing: Routing,
    #[serde(default)]
    environment: Vec<Variable>,
    #[serde(default)]
    avoided: Vec<IpNet>,
}

/// A written plan that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InconsistentPlan {
    /// Two nodes have one name.
    #[error("the plan has two nodes {0:?}")]
    Twice(String),
    /// A member's node is not there.
    #[error("link {link:?} of the plan has a member of node {node:?}, which is not in the plan")]
    Node {
        /// The link.
        link: String,
        /// The node.
        node: String,
    },
}

impl TryFrom<Document> for NetworkPlan {
    type Error = InconsistentPlan;

    fn try_from(document: Document) -> Result<Self, InconsistentPlan> {
        let Document { nodes, links, routing, environment, avoided } = document;
        Self::new(nodes, links, routing, environment, avoided)
    }
}

/// Where an interface is: a link and a member of it, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) link: u32,
    pub(crate) member: u32,
}

/// The ways through a plan by number. It follows from the rest of the plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// A node's number.
    pub(crate) numbers: HashMap<ClientId, u32>,
    /// A node's interfaces, by device.
    pub(crate) places: Vec<Vec<Place>>,
    /// The nodes of a link's members.
    pub(crate) nodes_of: Vec<Vec<u32>>,
    pub(crate) graphs: Graphs,
    /// Addresses of all interfaces together.
    pub(crate) lines: usize,
    /// Made when the first file is asked for.
    pub(crate) host_table: OnceLock<HostTable>,
}

impl PartialEq for Index {
    /// Names follow from the rest of a plan and may not be made yet.
    fn eq(&self, other: &Self) -> bool {
        let parts = |index: &'_ Self| (index.lines, index.numbers.len());
        parts(self) == parts(other)
            && self.numbers == other.numbers
            && self.places == other.places
            && self.nodes_of == other.nodes_of
            && self.graphs == other.graphs
    }
}

// === impl NetworkPlan ===

impl NetworkPlan {
    pub(crate) fn new(
        nodes: Vec<NetworkNode>,
        links: Vec<NetworkLink>,
        routing: Routing,
        environment: Vec<Variable>,
        avoided: Vec<IpNet>,
    ) -> Result<Self, InconsistentPlan> {
        let mut numbers = HashMap::with_capacity(nodes.len());
        for (node, number) in nodes.iter().zip(0..) {
            if numbers.insert(node.client_id.clone(), number).is_some() {
                return Err(InconsistentPlan::Twice(node.client_id.to_string()));
            }
        }
        let mut nodes_of = Vec::with_capacity(links.len());
        for link in &links {
            let mut nodes = Vec::with_capacity(link.members.len());
            for member in &link.members {
                let Some(node) = numbers.get(&member.node) else {
                    let (link, node) = (link.client_id.to_string(), member.node.to_string());
                    return Err(InconsistentPlan::Node { link, node });
                };
                nodes.push(*node);
            }
            nodes_of.push(nodes);
        }
        Ok(Self::of_numbers(nodes, links, routing, environment, avoided, numbers, nodes_of))
    }

    /// A plan whose nodes have their numbers and whose links know the numbers of their members' nodes.
    pub(crate) fn of_numbers(
        nodes: Vec<NetworkNode>,
        links: Vec<NetworkLink>,
        routing: Routing,
        environment: Vec<Variable>,
        avoided: Vec<IpNet>,
        numbers: HashMap<ClientId, u32>,
        nodes_of: Vec<Vec<u32>>,
    ) -> Self {
        let mut places = vec![Vec::new(); nodes.len()];
        for (nodes, link) in nodes_of.iter().zip(0..) {
            for (node, member) in nodes.iter().zip(0..) {
                places[*node as usize].push(Place { link, member });
            }
        }
        let device = |place: &Place| links[place.link as usize].members[place.member as usize].device;
        places.iter_mut().for_each(|places: &mut Vec<Place>| places.sort_by_key(device));
        let graphs = Graphs::new(&links, &avoided, &places, &nodes_of);
        let members = links.iter().flat_map(|link| &link.members);
        let lines = members.map(|member| member.addresses.len()).sum();
        let index = Index { numbers, places, nodes_of, graphs, lines, host_table: OnceLock::new() };
        Self { nodes, links, routing, environment, avoided, index }
    }

    /// Nodes, in the order of the topology.
    #[must_use]
    pub fn nodes(&self) -> &[NetworkNode] {
        &self.nodes
    }

    /// Links, in the order of the topology.
    #[must_use]
    pub fn links(&self) -> &[NetworkLink] {
        &self.links
    }

    /// Where routes come from.
    #[must_use]
    pub const fn routing(&self) -> Routing {
        self.routing
    }

    /// Variables of every program's environment.
    #[must_use]
    pub fn environment(&self) -> &[Variable] {
        &self.environment
    }

    /// A node by its name.
    #[must_use]
    pub fn node(&self, client_id: &ClientId) -> Option<&NetworkNode> {
        self.number(client_id).map(|number| &self.nodes[number as usize])
    }

    /// A node's interfaces that are on a link, by device, each with its link.
    pub fn interfaces_of(
        &self,
        node: &ClientId,
    ) -> impl Iterator<Item = (&NetworkLink, &NetworkMember)> + use<'_> {
        let places = self.number(node).map_or(&[][..], |number| &self.index.places[number as usize]);
        places.iter().map(|place| self.at(*place))
    }

    /// A node's number among [`Self::nodes`].
    #[must_use]
    pub fn number(&self, client_id: &ClientId) -> Option<u32> {
        self.index.numbers.get(client_id).copied()
    }

    pub(crate) fn at(&self, place: Place) -> (&NetworkLink, &NetworkMember) {
        let link = &self.links[place.link as usize];
        (link, &link.members[place.member as usize])
    }

    pub(crate) fn places(&self, node: u32) -> &[Place] {
        &self.index.places[node as usize]
    }

    /// Nodes of a link's members, in their order.
    pub(crate) fn nodes_of(&self, link: u32) -> &[u32] {
        &self.index.nodes_of[link as usize]
    }
}
