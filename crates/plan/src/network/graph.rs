//! Who reaches whom: a graph of nodes and networks for each address family, and the shortest ways through it.
//!
//! A way alternates between nodes and networks; leaving a node over an interface costs what the interface says, and a
//! network costs nothing, so that a LAN of k members is k edges and not k². A way ends at the first node that is on
//! the network itself, since kernels deliver there without asking for routes; that last step costs nothing. Ways are
//! compared by cost and then by length. Every node on a way is strictly nearer to its end than the one before, so
//! packets never walk in a circle, whatever way each node chose among equals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::network::aggregate::{Item, items};
use crate::network::device::Device;
use crate::network::parts::{NetworkLink, Place};

/// No way leads there.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// It is at the source itself.
pub(crate) const HERE: u32 = u32::MAX - 1;

/// One graph for each address family that has networks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graphs(pub(crate) Vec<Graph>);

/// Nodes and networks of one family.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Graph {
    /// The networks' addresses.
    pub(crate) networks: Vec<IpNet>,
    /// Where a network's stations begin.
    station_start: Vec<u32>,
    stations: Vec<Station>,
    /// Where a node's exits begin.
    exit_start: Vec<u32>,
    exits: Vec<Exit>,
    /// All exits cost the same.
    uniform: bool,
    /// Networks by address, for aggregation.
    pub(crate) items: Vec<Item>,
}

/// A node on a network.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Station {
    node: u32,
    address: IpAddr,
}

/// A way out of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exit {
    network: u32,
    device: Device,
    cost: u32,
}

/// The first step of a way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hop {
    pub(crate) device: Device,
    pub(crate) via: IpAddr,
}

/// The shortest ways from one node, and the memory that finding them takes, which the next search uses again.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// First steps, in the order in which they were found.
    pub(crate) hops: Vec<Hop>,
    /// For each network the number of its way's first step, or [`HERE`], or [`NOWHERE`].
    pub(crate) network_hop: Vec<u32>,
    /// For each network how many were found before it.
    pub(crate) rank: Vec<u32>,
    node_hop: Vec<u32>,
    queue: Vec<u32>,
    heap: BinaryHeap<Reverse<(Distance, u32, u32)>>,
    node_distance: Vec<Distance>,
    network_distance: Vec<Distance>,
}

/// Cost, then length.
type Distance = (u64, u32);
const FAR: Distance = (u64::MAX, u32::MAX);

// === impl Graphs ===

impl Graphs {
    pub(crate) fn new(
        links: &[NetworkLink],
        avoided: &[IpNet],
        places: &[Vec<Place>],
        nodes_of: &[Vec<u32>],
    ) -> Self {
        let family = |ipv4: bool| {
            let graph = Graph::new(links, avoided, places, nodes_of, ipv4);
            (!graph.networks.is_empty()).then_some(graph)
        };
        Self([true, false].into_iter().filter_map(family).collect())
    }
}

// === impl Graph ===

impl Graph {
    fn new(
        links: &[NetworkLink],
        avoided: &[IpNet],
        places: &[Vec<Place>],
        nodes_of: &[Vec<u32>],
        ipv4: bool,
    ) -> Self {
        let (mut networks, mut stations) = (Vec::new(), Vec::new());
        let (mut station_start, mut first_of) = (vec![0], Vec::with_capacity(links.len() + 1));
        for (link, nodes) in links.iter().zip(nodes_of) {
            first_of.push(networks.len() as u32);
            for network in link.subnets.iter().filter(|net| matches!(net, IpNet::V4(_)) == ipv4) {
                networks.push(*network);
                for (member, node) in link.members.iter().zip(nodes) {
                    let address = member.addresses.iter().find(|address| address.trunc() == *network);
                    stations.extend(address.map(|net| Station { node: *node, address: net.addr() }));
                }
                station_start.push(stations.len() as u32);
            }
        }
        first_of.push(networks.len() as u32);
        let (mut exits, mut exit_start) = (Vec::with_capacity(stations.len()), vec![0]);
        for places in places {
            for place in places {
                let member = &links[place.link as usize].members[place.member as usize];
                for network in first_of[place.link as usize]..first_of[place.link as usize + 1] {
                    let net = networks[network as usize];
                    if member.addresses.iter().any(|address| address.trunc() == net) {
                        exits.push(Exit { network, device: member.device, cost: member.cost });
                    }
                }
            }
            exit_start.push(exits.len() as u32);
        }
        let uniform = exits.windows(2).all(|pair| pair[0].cost == pair[1].cost);
        let items = items(&networks, links, avoided, ipv4);
        Self { networks, station_start, stations, exit_start, exits, uniform, items }
    }

    fn exits(&self, node: u32) -> &[Exit] {
        &self.exits[self.exit_start[node as usize] as usize..self.exit_start[node as usize + 1] as usize]
    }

    fn stations(&self, network: u32) -> &[Station] {
        let start = |network: usize| self.station_start[network] as usize;
        &self.stations[start(network as usize)..start(network as usize + 1)]
    }

    fn nodes(&self) -> usize {
        self.exit_start.len() - 1
    }
}

// === impl Search ===

impl Search {
    /// Finds the shortest ways from a node to every network.
    pub(crate) fn run(&mut self, graph: &Graph, source: u32) {
        self.hops.clear();
        self.node_hop.clear();
        self.node_hop.resize(graph.nodes(), NOWHERE);
        self.network_hop.clear();
        self.network_hop.resize(graph.networks.len(), NOWHERE);
        self.rank.clear();
        self.rank.resize(graph.networks.len(), NOWHERE);
        self.node_hop[source as usize] = HERE;
        if graph.uniform { self.breadth_first(graph, source) } else { self.cheapest_first(graph, source) }
    }

    fn breadth_first(&mut self, graph: &Graph, source: u32) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.clear();
        queue.push(source);
        let (mut at, mut rank) = (0, 0);
        while let Some(node) = queue.get(at).copied() {
            at += 1;
            let hop = self.node_hop[node as usize];
            for exit in graph.exits(node) {
                if self.network_hop[exit.network as usize] != NOWHERE {
                    continue;
                }
                self.network_hop[exit.network as usize] = hop;
                self.rank[exit.network as usize] = rank;
                rank += 1;
                for station in graph.stations(exit.network) {
                    if self.node_hop[station.node as usize] == NOWHERE {
                        self.node_hop[station.node as usize] = self.step(hop, exit.device, station);
                        queue.push(station.node);
                    }
                }
            }
        }
        self.queue = queue;
    }

    /// Dijkstra's algorithm; nodes have their numbers, networks stand behind them.
    fn cheapest_first(&mut self, graph: &Graph, source: u32) {
        let nodes = graph.nodes() as u32;
        self.node_distance.clear();
        self.node_distance.resize(graph.nodes(), FAR);
        self.network_distance.clear();
        self.network_distance.resize(graph.networks.len(), FAR);
        // How the cheapest way across a network comes to it; where a way to it ends is another question.
        let mut across = vec![(NOWHERE, Device::of_port(0)); graph.networks.len()];
        self.node_distance[source as usize] = (0, 0);
        self.heap.clear();
        self.heap.push(Reverse(((0, 0), 0, source)));
        // Equals leave the heap in the order in which they entered it.
        let (mut order, mut rank) = (1, 0);
        while let Some(Reverse((distance, _, vertex))) = self.heap.pop() {
            if vertex < nodes {
                if distance > self.node_distance[vertex as usize] {
                    continue;
                }
                let hop = self.node_hop[vertex as usize];
                for exit in graph.exits(vertex) {
                    // Nodes come by distance: the first one on a network is where ways to it end.
                    if self.network_hop[exit.network as usize] == NOWHERE {
                        self.network_hop[exit.network as usize] = hop;
                        self.rank[exit.network as usize] = rank;
                        rank += 1;
                    }
                    let further = (distance.0 + u64::from(exit.cost), distance.1 + 1);
                    if further < self.network_distance[exit.network as usize] {
                        self.network_distance[exit.network as usize] = further;
                        across[exit.network as usize] = (hop, exit.device);
                        self.heap.push(Reverse((further, order, nodes + exit.network)));
                        order += 1;
                    }
                }
                continue;
            }
            let network = vertex - nodes;
            if distance > self.network_distance[network as usize] {
                continue;
            }
            let (hop, device) = across[network as usize];
            for station in graph.stations(network) {
                if distance < self.node_distance[station.node as usize] {
                    self.node_distance[station.node as usize] = distance;
                    self.node_hop[station.node as usize] = self.step(hop, device, station);
                    self.heap.push(Reverse((distance, order, station.node)));
                    order += 1;
                }
            }
        }
    }

    /// The first step of the way to a station: a new one at the source's own networks, else that of the way so far.
    fn step(&mut self, hop: u32, device: Device, station: &Station) -> u32 {
        if hop != HERE {
            return hop;
        }
        self.hops.push(Hop { device, via: station.address });
        self.hops.len() as u32 - 1
    }
}
