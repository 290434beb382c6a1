//! What is different between two plans, as the changes that lead from one to the other.
//!
//! | mark | change |
//! | --- | --- |
//! | `+` | something is added |
//! | `-` | something is taken away |
//! | `~` | something changes while it runs |
//! | `!` | a node restarts, or is replaced by one with a fresh disk |

mod network;
mod nodes;

use std::fmt;

use serde::Serialize;
use testyard_model::name::ClientId;

use crate::network::parts::NetworkPlan;
use crate::plan::Plan;

/// Changes that lead from one plan to another; none if the plans are equal, and only then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes(pub Vec<Change>);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// A node comes.
    NodeAdded {
        /// The node.
        node: ClientId,
    },
    /// A node goes.
    NodeRemoved {
        /// The node.
        node: ClientId,
    },
    /// Another node takes its place: a fresh disk, nothing of the old one is left.
    NodeReplaced {
        /// The node.
        node: ClientId,
        /// Why.
        what: Vec<Difference>,
    },
    /// A node has to start anew; its disk stays.
    NodeRestarts {
        /// The node.
        node: ClientId,
        /// Why.
        what: Vec<Difference>,
    },
    /// A node changes while it runs.
    NodeChanged {
        /// The node.
        node: ClientId,
        /// How.
        what: Vec<Difference>,
    },
    /// A link comes.
    LinkAdded {
        /// The link.
        link: ClientId,
        /// Nodes of its members.
        members: Vec<ClientId>,
    },
    /// A link goes.
    LinkRemoved {
        /// The link.
        link: ClientId,
    },
    /// A link changes while it runs.
    LinkChanged {
        /// The link.
        link: ClientId,
        /// How.
        what: Vec<Difference>,
    },
    /// Routes come from elsewhere.
    RoutingChanged(Difference),
    /// Programs get another environment from their next start on.
    EnvironmentChanged(Difference),
    /// Nodes that are in both plans get another `/etc/hosts`.
    NamesChanged {
        /// The nodes.
        nodes: Vec<ClientId>,
    },
    /// Nodes that are in both plans get other routes. In very large topologies, all that might.
    RoutesChanged {
        /// The nodes.
        nodes: Vec<ClientId>,
    },
    /// Other things happen, or at other times. A schedule that changes begins anew.
    ScheduleChanged {
        /// How many events there were.
        old: usize,
        /// How many there are.
        new: usize,
    },
    /// The same things stand in another order, or other networks are left free.
    Rearranged,
}

/// Something that was one way and becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What.
    pub what: String,
    /// How it was; nothing if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// How it becomes; nothing if it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// What a node's own name is called in differences.
const HOST_NAME: &str = "host name";

/// Changes from one network to another.
#[must_use]
pub fn diff_networks(old: &NetworkPlan, new: &NetworkPlan) -> Changes {
    let mut changes = network::diff(old, new);
    if changes.is_empty() && old != new {
        changes.push(Change::Rearranged);
    }
    Changes(changes)
}

/// Changes from one plan to another.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Changes {
    let none = NetworkPlan::default();
    let (before, after) = (old.network.as_ref().unwrap_or(&none), new.network.as_ref().unwrap_or(&none));
    let mut changes = nodes::diff(&old.nodes, &new.nodes);
    for change in network::diff(before, after) {
        match change {
            // Nodes come, go and get their names with what they run on: that is told already.
            Change::NodeAdded { .. } | Change::NodeRemoved { .. } => {}
            Change::NodeRestarts { node, mut what } => {
                what.retain(|difference| difference.what != HOST_NAME);
                if !what.is_empty() {
                    changes.push(Change::NodeChanged { node, what });
                }
            }
            other => changes.push(other),
        }
    }
    if old.schedule != new.schedule {
        changes.push(Change::ScheduleChanged { old: old.schedule.len(), new: new.schedule.len() });
    }
    if changes.is_empty() && (old.nodes != new.nodes || old.network != new.network) {
        changes.push(Change::Rearranged);
    }
    Changes(changes)
}

// === impl Changes ===

impl Changes {
    /// Whether the plans are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a node loses its disk or restarts: what a user is to be asked about.
    #[must_use]
    pub fn disturbs(&self) -> bool {
        self.0.iter().any(|change| {
            matches!(
                change,
                Change::NodeRemoved { .. } | Change::NodeReplaced { .. } | Change::NodeRestarts { .. }
            )
        })
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        self.0.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeAdded { node } => write!(f, "+ node {node}"),
            Self::NodeRemoved { node } => write!(f, "- node {node}"),
            Self::NodeReplaced { node, what } => {
                write!(f, "! node {node} is replaced, with a fresh disk: {}", list(what))
            }
            Self::NodeRestarts { node, what } => write!(f, "! node {node} restarts: {}", list(what)),
            Self::NodeChanged { node, what } => write!(f, "~ node {node}: {}", list(what)),
            Self::LinkAdded { link, members } => write!(f, "+ link {link} between {}", names(members)),
            Self::LinkRemoved { link } => write!(f, "- link {link}"),
            Self::LinkChanged { link, what } => write!(f, "~ link {link}: {}", list(what)),
            Self::RoutingChanged(difference) | Self::EnvironmentChanged(difference) => {
                write!(f, "~ {difference}")
            }
            Self::NamesChanged { nodes } => write!(f, "~ /etc/hosts on {}", names(nodes)),
            Self::RoutesChanged { nodes } => write!(f, "~ routes on {}", names(nodes)),
            Self::ScheduleChanged { new: 0, .. } => write!(f, "- schedule"),
            Self::ScheduleChanged { old: 0, new } => write!(f, "+ schedule of {new} events"),
            Self::ScheduleChanged { new, .. } => write!(f, "~ schedule of {new} events begins anew"),
            Self::Rearranged => write!(f, "~ the same in another order"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{} {old} → {new}", self.what),
            (None, Some(new)) => write!(f, "{} {new} is added", self.what),
            (Some(old), None) => write!(f, "{} {old} goes", self.what),
            (None, None) => write!(f, "{}", self.what),
        }
    }
}

fn list(what: &[Difference]) -> String {
    what.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A few names, or how many there are.
fn names(nodes: &[ClientId]) -> String {
    if nodes.len() > 5 {
        return format!("{} nodes", nodes.len());
    }
    nodes.iter().map(ClientId::as_str).collect::<Vec<_>>().join(", ")
}

/// Notes a difference, if there is one.
fn note<T: PartialEq>(into: &mut Vec<Difference>, what: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
    if old != new {
        let (old, new) = (show(old), show(new));
        // What looks alike is different in a part that is not shown.
        let (old, new) = if old == new { (None, None) } else { (Some(old), Some(new)) };
        into.push(Difference { what: what.to_owned(), old, new });
    }
}
