//! Nodes and links as the user asked for them, whatever the language. A plan makes every choice that is left open
//! here.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::image::ImageSource;
use crate::link::{Attribute, Link};
use crate::mac::Mac;
use crate::name::{ClientId, SliverTypeName};
use crate::quantity::Size;
use crate::route::{Route, Routing};
use crate::schedule::Event;
use crate::service::{Program, Services};
use crate::sliver_type::Port;
use crate::urn::Urn;

/// Nodes and links. Client ids of nodes, of links, of interfaces and of programs are each unique in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// In the order of the input, which addresses and names follow.
    pub nodes: Vec<Node>,
    /// In the order of the input.
    pub links: Vec<Link>,
    /// Where routes come from.
    #[serde(default)]
    pub routing: Routing,
    /// What happens when, in the order of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Event>,
    /// Variables of every program's environment (NS: the array `opt`), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<Variable>,
    /// What other systems' languages say of the whole (topdl), by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// A computer of the topology.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The user's name of it.
    pub client_id: ClientId,
    /// The kind of node, if the user chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliver_type: Option<SliverTypeName>,
    /// The image, if the user chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
    /// The component (a host) that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Urn>,
    /// Nodes of one partition run on one host: the host of that name if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Whether the user wants the component alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Ports to forward beside SSH and those of the sliver type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What to install and run.
    #[serde(default, skip_serializing_if = "Services::is_empty")]
    pub services: Services,
    /// What events start and stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// In the order of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What [`Routing::Manual`] sets, in the order of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Folders that are to be there for data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<Storage>,
    /// What the failure of this node means for the whole.
    #[serde(default, skip_serializing_if = "OnFailure::is_fatal")]
    pub on_failure: OnFailure,
    /// What other systems' languages say of it (topdl), by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Node {
    /// A node with a name and nothing else that the user chose.
    #[must_use]
    pub fn new(client_id: ClientId) -> Self {
        Self {
            client_id,
            sliver_type: None,
            image: None,
            component: None,
            partition: None,
            exclusive: false,
            ports: Vec::new(),
            services: Services::default(),
            programs: Vec::new(),
            interfaces: Vec::new(),
            routes: Vec::new(),
            storage: Vec::new(),
            on_failure: OnFailure::default(),
            attributes: Vec::new(),
        }
    }
}

/// A node's network port on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The user's name of it.
    pub client_id: ClientId,
    /// Addresses that the user chose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InterfaceAddress>,
    /// The Ethernet address that the user chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// What a route over it costs; 1 if the user says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// What other systems' languages say of it (topdl), by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Interface {
    /// An interface with a name and nothing else that the user chose.
    #[must_use]
    pub const fn new(client_id: ClientId) -> Self {
        Self { client_id, addresses: Vec::new(), mac: None, cost: None, attributes: Vec::new() }
    }
}

/// An address of an interface and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// IPv4 or IPv6.
    pub address: IpAddr,
    /// Bits of the network part, if the user said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u8>,
}

/// A variable of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A folder for data (Emulab's local blockstore).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Where it is, absolute.
    pub mount_point: String,
    /// How much it is to hold, if the user said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What the failure of a node means for the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The whole has failed.
    #[default]
    Fatal,
    /// It is told, and the rest goes on.
    Nonfatal,
    /// It is nobody's business.
    Ignore,
}

impl OnFailure {
    /// Whether it is the default.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal)
    }
}
