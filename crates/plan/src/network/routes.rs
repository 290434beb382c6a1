//! Routes of nodes. Those of static routing are computed when they are asked for: ten thousand nodes with twenty
//! thousand networks have two hundred million of them, which nobody wants to keep and no one machine needs at once.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;

use crate::network::aggregate::aggregate;
use crate::network::device::Device;
use crate::network::graph::Search;
use crate::network::parts::NetworkPlan;

/// A topology with more networks than this is told that nodes may get very many routes. Nothing is ever left out: a
/// table with holes would lose packets.
pub const MANY_NETWORKS: usize = 4096;

/// A route of a node over its links. The default route is the control network's in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedRoute {
    /// What is reached.
    pub to: IpNet,
    /// The neighbour that passes it on.
    pub via: IpAddr,
    /// The interface to it.
    pub device: Device,
}

/// Computes routes of one node after the other, with the same memory.
#[derive(Debug)]
pub struct Router<'p> {
    plan: &'p NetworkPlan,
    search: Search,
}

impl NetworkPlan {
    /// Routes of a node; none if there is no such node. For many nodes, [`NetworkPlan::router`] is quicker.
    #[must_use]
    pub fn routes_of(&self, node: &ClientId) -> Vec<PlannedRoute> {
        self.router().routes_of(node)
    }

    /// What computes routes of nodes.
    #[must_use]
    pub fn router(&self) -> Router<'_> {
        Router { plan: self, search: Search::default() }
    }
}

impl Router<'_> {
    /// Routes of a node, by destination; none if there is no such node.
    #[must_use]
    pub fn routes_of(&mut self, node: &ClientId) -> Vec<PlannedRoute> {
        self.plan.number(node).map_or_else(Vec::new, |number| self.of_number(number))
    }

    pub(crate) fn of_number(&mut self, node: u32) -> Vec<PlannedRoute> {
        match self.plan.routing() {
            Routing::None => return Vec::new(),
            Routing::Manual => return self.plan.nodes()[node as usize].listed_routes.clone(),
            Routing::Static | Routing::Session => {}
        }
        let mut routes = Vec::new();
        for graph in &self.plan.index.graphs.0 {
            self.search.run(graph, node);
            let ipv4 = matches!(graph.networks.first(), Some(IpNet::V4(_)));
            let found = aggregate(&graph.items, &self.search, ipv4);
            routes.extend(found.into_iter().map(|(to, hop)| {
                let hop = self.search.hops[hop as usize];
                PlannedRoute { to, via: hop.via, device: hop.device }
            }));
        }
        routes.sort_unstable();
        routes
    }
}
