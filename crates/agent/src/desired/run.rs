//! A run of a slice's schedule: what happens when to what is on this host.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_fabric::links::PortId;
use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_model::quantity::Span;
use testyard_model::setting::Setting;

/// A run of a schedule. A replay is another one: everything begins with what [`super::Slice`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Counts replays. Together with `zero` it tells runs apart.
    pub number: u32,
    /// When its clock began. It may be in the future.
    pub zero: Timestamp,
    /// What happens to what is on this host, in any order; those of one time happen in this one.
    pub events: Vec<HostEvent>,
}

/// Something that happens on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEvent {
    /// Its index in the topology's schedule, by which it is reported.
    pub event: u32,
    /// How long after [`Run::zero`].
    pub at: Span,
    /// What happens.
    pub action: HostAction,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAction {
    /// To a link that has an end here.
    Link {
        /// The link.
        link: SliverId,
        /// What changes.
        change: LinkChange,
    },
    /// To a program of a node.
    Program {
        /// The node.
        node: SliverId,
        /// The program, by the user's name of it.
        program: ClientId,
        /// What changes.
        change: ProgramChange,
    },
    /// To a node.
    Node {
        /// The node.
        node: SliverId,
        /// What changes.
        change: NodeChange,
    },
}

/// What an event does to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkChange {
    /// It comes up.
    Up,
    /// It goes down.
    Down,
    /// Its impairments change.
    Set {
        /// The interface whose sending direction changes, and nothing else. None: every direction, wholly: what its
        /// members did of the same kind to what they get is cleared, so that what is set is what a packet meets.
        from: Option<PortId>,
        /// The changes, in order.
        settings: Vec<Setting>,
    },
}

/// What an event does to a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramChange {
    /// It starts, unless it runs.
    Start {
        /// Runs instead of its own command.
        command: Option<String>,
    },
    /// It is ended.
    Stop,
    /// Its process group gets this signal, by name without SIG.
    Signal(String),
}

/// What an event does to a node. Both end its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// It restarts.
    Restart,
    /// It gets a fresh disk.
    Reload,
}
