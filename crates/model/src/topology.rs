//! Nodes and links as the user asked for them, whatever the language. A plan makes every choice that is left open
//! here.

use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::image::ImageName;
use crate::name::{ClientId, SliverTypeName};
use crate::sliver_type::Port;
use crate::urn::Urn;

/// Nodes and links. Client ids of nodes, of links and of interfaces are each unique in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// In the order of the input, which addresses and names follow.
    pub nodes: Vec<Node>,
    /// In the order of the input.
    pub links: Vec<Link>,
}

/// A computer of the topology.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The user's name of it.
    pub client_id: ClientId,
    /// The kind of node, if the user chose one.
    pub sliver_type: Option<SliverTypeName>,
    /// The image, if the user chose one.
    pub image: Option<ImageName>,
    /// The component (a host) that it is bound to.
    pub component: Option<Urn>,
    /// Whether the user wants the component alone.
    pub exclusive: bool,
    /// Ports to forward beside SSH and those of the sliver type.
    pub ports: Vec<Port>,
    /// What to install and run.
    pub services: Services,
    /// In the order of the input.
    pub interfaces: Vec<Interface>,
}

/// A node's network port on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The user's name of it.
    pub client_id: ClientId,
    /// Addresses that the user chose.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// IPv4 or IPv6.
    pub address: IpAddr,
    /// Bits of the network part, if the user said.
    pub prefix_length: Option<u8>,
}

/// A layer-2 segment between interfaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The user's name of it.
    pub client_id: ClientId,
    /// The interfaces on it, by client id.
    pub interfaces: Vec<ClientId>,
}

/// What to install and run on a node once it is up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Archives to unpack, in order, before anything runs.
    pub installs: Vec<Install>,
    /// Commands to run, in order, each after the one before has ended.
    pub executes: Vec<Execute>,
}

/// An archive to fetch and unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// An `http` or `https` URL.
    pub url: String,
    /// The absolute folder in the node that it is unpacked in; made if it is not there.
    pub path: String,
    /// What the download must have; none if the request says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// What reads it.
    pub shell: Shell,
    /// The text that the shell reads; it is the user's own node that it runs in, and nowhere else.
    pub command: String,
    /// The most seconds that it may run; as long as it likes if the request says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<NonZeroU32>,
}

/// What reads a command inside a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// `sh`, or `/bin/sh`.
    Sh,
    /// `bash`, or `/bin/bash`.
    Bash,
}

impl Shell {
    /// The shell that a request names; paths are as good as names.
    #[must_use]
    pub fn from_request(text: &str) -> Option<Self> {
        match text.trim() {
            "sh" | "/bin/sh" | "/usr/bin/sh" => Some(Self::Sh),
            "bash" | "/bin/bash" | "/usr/bin/bash" => Some(Self::Bash),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Bash => "bash",
        }
    }
}
