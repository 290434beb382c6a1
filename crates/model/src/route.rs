//! Who reaches whom over links.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::ClientId;

/// Where a topology's routes come from. The control interface keeps the default route in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// There are none: nodes reach their neighbours.
    #[default]
    None,
    /// Shortest paths by interface cost, computed once.
    Static,
    /// What nodes list as their routes, nothing else.
    Manual,
    /// Asked for as a routing daemon on every node (OSPF); runs as [`Routing::Static`].
    Session,
}

/// A route that a node's user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// What is reached.
    pub to: Destination,
    /// Over whom: a neighbour on a link.
    pub via: NextHop,
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// A node with a single interface.
    Node(ClientId),
    /// One interface of a node.
    Interface(ClientId),
    /// All of a link's network.
    Link(ClientId),
    /// A network.
    Network {
        /// Any address in it.
        address: IpAddr,
        /// The bits of its network part.
        prefix_length: u8,
    },
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NextHop {
    /// A node that shares a link.
    Node(ClientId),
    /// An address on a link of the node's.
    Address(IpAddr),
}
