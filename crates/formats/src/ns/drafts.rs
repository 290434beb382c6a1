//! What a file has made, before names are final.

use std::net::IpAddr;

use testyard_model::diagnostic::Position;
use testyard_model::impairment::Impairment;
use testyard_model::link::{Attribute, LinkKind};
use testyard_model::mac::Mac;
use testyard_model::name::ClientId;
use testyard_model::quantity::Size;
use testyard_model::service::{Execute, Program};
use testyard_model::topology::{InterfaceAddress, Node, OnFailure};

use super::queue::QueueDraft;
use super::reader::Reader;

/// What a name stands for; numbers are places in the reader's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Simulator,
    Node(usize),
    Link(usize),
    /// What one member of a link sends: `[$ns link A B]`.
    Half {
        link: usize,
        member: usize,
    },
    /// The queue of what one member of a link sends.
    Queue {
        link: usize,
        member: usize,
    },
    Program(usize),
    Store(usize),
    Composite(usize),
    /// It could not be made, or is of no known kind.
    Broken,
}

impl Object {
    pub(super) fn kind(self, reader: &Reader<'_>) -> &'static str {
        match self {
            Self::Simulator => "the simulator",
            Self::Node(_) => "a node",
            Self::Link(link) if reader.links[link].kind == LinkKind::Lan => "a LAN",
            Self::Link(_) => "a link",
            Self::Half { .. } => "one direction of a link",
            Self::Queue { .. } => "a queue",
            Self::Program(_) => "a program",
            Self::Store(_) => "a blockstore",
            Self::Composite(_) => "a group of events",
            Self::Broken => "nothing",
        }
    }
}

pub(super) struct NodeDraft {
    pub(super) name: String,
    pub(super) position: Option<Position>,
    /// All but names, interfaces and commands.
    pub(super) node: Node,
    /// Its ports in order of creation: link and member.
    pub(super) ports: Vec<(usize, usize)>,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) packages: Vec<Execute>,
    pub(super) executes: Vec<Execute>,
    pub(super) start: Option<Execute>,
    /// Statements that say something of a box (`containers:image_name`), which counts if nothing else chose an image.
    pub(super) of_box: Vec<(Option<Position>, String)>,
    pub(super) routes: Vec<RouteDraft>,
}

impl NodeDraft {
    pub(super) fn new(name: &str, position: Option<Position>, client_id: ClientId) -> Self {
        Self {
            name: name.to_owned(),
            position,
            node: Node::new(client_id),
            ports: Vec::new(),
            on_failure: None,
            packages: Vec::new(),
            executes: Vec::new(),
            start: None,
            of_box: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// A route, before names are final.
pub(super) struct RouteDraft {
    pub(super) to: To,
    pub(super) via: Via,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Node(usize),
    Interface { link: usize, member: usize },
    Link(usize),
    Network(IpAddr, u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    Node(usize),
    Address(IpAddr),
}

pub(super) struct MemberDraft {
    pub(super) node: usize,
    /// Which of the node's ports it is.
    pub(super) port: usize,
    pub(super) to: Impairment,
    pub(super) from: Impairment,
    /// Of what it sends.
    pub(super) queue: Option<QueueDraft>,
    pub(super) address: Option<IpAddr>,
    pub(super) address_position: Option<Position>,
    /// Beside that one.
    pub(super) more_addresses: Vec<InterfaceAddress>,
    pub(super) mac: Option<Mac>,
    pub(super) cost: Option<u32>,
    pub(super) attributes: Vec<Attribute>,
}

pub(super) struct LinkDraft {
    pub(super) name: String,
    pub(super) position: Option<Position>,
    pub(super) kind: LinkKind,
    pub(super) members: Vec<MemberDraft>,
    /// The bits of its network.
    pub(super) prefix: u8,
    /// Whether the file says them.
    pub(super) is_masked: bool,
    pub(super) unshaped: bool,
    pub(super) mtu: Option<u16>,
    pub(super) seed: Option<u64>,
    pub(super) down: bool,
    pub(super) capture: Option<CaptureDraft>,
    pub(super) snap_length: Option<u32>,
    pub(super) attributes: Vec<Attribute>,
}

impl LinkDraft {
    /// The length of the prefix of a network that is still to be chosen, if the file says it.
    pub(super) fn prefix_length(&self) -> Option<u8> {
        let is_open = self.members.iter().all(|member| member.address.is_none());
        (self.is_masked && is_open).then_some(self.prefix)
    }
}

pub(super) struct CaptureDraft {
    pub(super) snap_length: u32,
    pub(super) filter: Option<String>,
}

pub(super) struct ProgramDraft {
    pub(super) name: String,
    pub(super) position: Option<Position>,
    /// None if the file has not said yet.
    pub(super) node: Option<usize>,
    /// All but its name.
    pub(super) program: Program,
}

pub(super) struct StoreDraft {
    pub(super) position: Option<Position>,
    pub(super) node: Option<usize>,
    pub(super) mount_point: Option<String>,
    pub(super) size: Option<Size>,
}

/// Events that go by one name.
pub(super) enum Composite {
    /// Each after the one before.
    Sequence(Vec<String>),
    /// Each at its time after the start.
    Timeline(Vec<(String, String)>),
    /// What is done to the group is done to each of these.
    Group(Vec<String>),
}
