//! What happens when, while a topology runs.

use serde::{Deserialize, Serialize};

use crate::name::ClientId;
use crate::quantity::Span;
use crate::setting::Setting;

/// The most events of a topology, as in Emulab.
pub const MOST_EVENTS: usize = 14_000;

/// Something that happens so long after the topology is ready. Those of one time happen in the order of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// How long after.
    pub at: Span,
    /// What happens.
    pub action: Action,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A link comes up.
    LinkUp(ClientId),
    /// A link goes down.
    LinkDown(ClientId),
    /// A link's impairments change.
    LinkSet {
        /// The link.
        link: ClientId,
        /// The interface whose sending direction changes; every direction if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ClientId>,
        /// The changes, in order.
        settings: Vec<Setting>,
    },
    /// A program starts, with another command than its own if one is given.
    ProgramStart {
        /// The program.
        program: ClientId,
        /// Runs instead of its own command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<String>,
    },
    /// A program is ended: its process group gets SIGTERM, later SIGKILL.
    ProgramStop(ClientId),
    /// A program's process group gets a signal, by name without SIG.
    ProgramSignal {
        /// The program.
        program: ClientId,
        /// `TERM`, `USR1`, …
        signal: String,
    },
    /// A node restarts.
    NodeRestart(ClientId),
    /// A node gets a fresh disk.
    NodeReload(ClientId),
}
