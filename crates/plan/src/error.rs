//! Why a topology cannot be had.

use std::fmt;

use testyard_model::diagnostic::{Diagnostic, listing};
use testyard_model::id::HostName;
use testyard_model::name::ClientId;
use testyard_model::quantity::Size;
use testyard_model::urn::Urn;

use crate::host::HostStanding;
use crate::network::Refused;

/// Why a topology cannot be had. The texts are for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is no node in it.
    #[error("the request has no node for this testbed")]
    Nothing,
    /// A client id stands for two nodes of the request.
    #[error("two nodes of the request have the client_id {0:?}")]
    Twice(String),
    /// Of the nodes that are to run, one is not in the topology.
    #[error("there is no node {node:?} in the topology{}", did_you_mean(.suggestion))]
    Unknown {
        /// As asked for.
        node: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// Client ids that nodes of the slice have already.
    #[error("the slice has {} already: choose other client_ids, or delete those first", list(.0))]
    Duplicate(Vec<ClientId>),
    /// No such kind of node here.
    #[error("node {node:?}: there is no sliver type {given:?} here{}; there {} {}", did_you_mean(.suggestion), if .known.len() == 1 { "is" } else { "are" }, .known.join(", "))]
    SliverType {
        /// Whose.
        node: String,
        /// As asked for.
        given: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// No host takes this kind of node, or not the one that it is bound to.
    #[error("node {node:?}: {where_} takes no {sliver_type} nodes")]
    NotTaken {
        /// Whose.
        node: String,
        /// The kind of node.
        sliver_type: String,
        /// The host that it is bound to, or "no host", in words.
        where_: String,
    },
    /// No such component here.
    #[error("node {node:?}: there is no component {given} here{}", did_you_mean(.suggestion))]
    Component {
        /// Whose.
        node: String,
        /// As asked for.
        given: Urn,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// Folders of a node are to hold more than its kind's disk does.
    #[error(
        "node {node:?}: {asked} of storage do not fit on the disk of a {kind}, {disk}: ask for less, or for another kind"
    )]
    Storage {
        /// Whose.
        node: String,
        /// What was asked for in all.
        asked: Size,
        /// Its kind.
        kind: String,
        /// The kind's limit.
        disk: Size,
    },
    /// A host for one node alone cannot be had.
    #[error("node {0:?}: exclusive nodes cannot be had here, hosts are shared: ask for exclusive=\"false\"")]
    Exclusive(String),
    /// Links cannot be had.
    #[error(
        "this testbed takes no requests with links, since it does not make them yet; the request has {0}"
    )]
    Links(String),
    /// There is not enough room.
    #[error(
        "not enough room: asked for {}, free {}; ask for less, or wait until others have gone",
        asked(*.nodes, *.ports),
        free_list(.free)
    )]
    TooBig {
        /// Nodes asked for.
        nodes: usize,
        /// Forwarded ports that they need in all.
        ports: u32,
        /// What is free.
        free: Vec<FreeOn>,
    },
    /// Nodes of one partition cannot be together.
    #[error("partition {partition:?} of {nodes} nodes has to be on one host: {why}")]
    Partition {
        /// Its name.
        partition: String,
        /// How many nodes are in it.
        nodes: usize,
        /// What is the matter, in words.
        why: String,
    },
    /// A link would leave a host that links cannot leave.
    #[error(
        "link {link:?} would go from host {alone} to host {other}, and links cannot leave {alone}: bind its nodes to one host, \
         make the topology smaller, or have the operator give {alone} an address for tunnels"
    )]
    Apart {
        /// The link.
        link: String,
        /// The host without a way.
        alone: HostName,
        /// Another that it would go to.
        other: HostName,
    },
    /// More nodes than a slice may have.
    #[error("a slice may have {most} nodes here: {}{asked} {} asked for", had(*.has), if *.has > 0 { "more were" } else { "were" })]
    TooMany {
        /// How many it may have.
        most: u32,
        /// How many it has beside those of the request.
        has: usize,
        /// How many the request has.
        asked: usize,
    },
    /// The kernels of hosts cannot do as much; beside that, what they may not be able to.
    #[error("{}", listing(.0, "the hosts cannot do as much"))]
    Limits(Vec<Diagnostic>),
    /// The network cannot be had.
    #[error(transparent)]
    Network(#[from] Refused),
}

/// What is free on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeOn {
    /// The host.
    pub host: HostName,
    /// Nodes that it could take.
    pub nodes: u32,
    /// Ports that it could forward.
    pub ports: u32,
    /// Whether it may get nodes now.
    pub standing: HostStanding,
}

impl fmt::Display for FreeOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.standing {
            HostStanding::Ready => None,
            HostStanding::Ill => Some("it cannot start nodes now"),
            HostStanding::Drained => Some("it is drained"),
        };
        if let Some(why) = why {
            return write!(f, "none on {} ({why})", self.host);
        }
        write!(f, "{} on {}", self.nodes, self.host)?;
        if self.nodes > 0 { write!(f, " ({} ports)", self.ports) } else { Ok(()) }
    }
}

fn list(names: &[ClientId]) -> String {
    names.iter().map(|name| format!("{:?}", name.as_str())).collect::<Vec<_>>().join(", ")
}

fn had(nodes: usize) -> String {
    if nodes > 0 { format!("it has {nodes}, and ") } else { String::new() }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|text| format!(", did you mean {text:?}?")).unwrap_or_default()
}

fn asked(nodes: usize, ports: u32) -> String {
    format!("{nodes} node{} with {ports} port{}", plural(nodes != 1), plural(ports != 1))
}

fn plural(many: bool) -> &'static str {
    if many { "s" } else { "" }
}

fn free_list(hosts: &[FreeOn]) -> String {
    if hosts.is_empty() {
        return "nothing: this testbed has no host".to_owned();
    }
    hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
