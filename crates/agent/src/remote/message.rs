//! What controller and agent say to each other.
//!
//! Each message is a JSON object `{"say": …, "value": …}`. Within a version nothing is renamed, removed or given another
//! meaning; a field may come, with a default. `tests/messages` has one of each kind, committed, that must be read as it always was.

use serde::{Deserialize, Serialize};
use testyard_fabric::capture::{CaptureEnd, CaptureError, CaptureRequest};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::probe::Probed;
use uuid::Uuid;

use crate::config::HostConfig;
use crate::contract::{Ahead, HostError, HostFacts};
use crate::facts::{Fact, NoFact};
use crate::probe::Probe;
use crate::{desired, observed};

/// Versions of the protocol that somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub least: u32,
    /// The newest.
    pub most: u32,
}

/// The versions of this program.
pub const VERSIONS: Versions = Versions { least: 1, most: 3 };

/// The first with [`ToAgent::Ahead`].
pub const WITH_AHEAD: u32 = 2;

/// The first with [`desired::Slice::host_tables`].
pub const WITH_HOST_TABLES: u32 = 3;

/// The first whose [`ToAgent::Ahead`] may have URLs.
pub const WITH_URLS_AHEAD: u32 = 3;

/// What an agent says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// What it speaks.
    pub versions: Versions,
    /// Its program and version, for people.
    pub program: String,
    /// This run of it: another agent with the same name has another.
    pub instance: Uuid,
}

/// What a controller says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum Reply {
    /// They go on with each other.
    Welcome {
        /// In this version.
        version: u32,
        /// The controller's program and version, for people.
        program: String,
    },
    /// They do not, for this reason, in a sentence for people.
    Refused(String),
}

/// What a controller says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum ToAgent {
    /// How the host is to be run: what is said first. Said again when that has changed: the agent then connects again.
    Config(Box<HostConfig>),
    /// It is there.
    Alive,
    /// A slice of the next [`Call::Sync`].
    Part(Box<desired::Slice>),
    /// Something is to be done. Syncs and applies are done in their order, all else at once.
    Call {
        /// The answer brings it back.
        id: u64,
        /// What.
        call: Call,
    },
    /// So many bytes more of a capture may be on the way.
    Credit {
        /// The call that began it.
        id: u64,
        /// How many.
        bytes: u32,
    },
    /// Nobody waits any more for what this call has begun.
    End {
        /// Which.
        id: u64,
    },
    /// These images will be asked for soon. From version 2 on; those of URLs from version 3 on.
    Ahead(Vec<Ahead>),
    /// The answer to a question.
    Told {
        /// [`FromAgent::Ask`]'s.
        id: u64,
        /// The answer.
        answer: Result<String, NoFact>,
    },
}

/// What is to be done, as [`crate::Host`] has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The slices that were said since the last one are all that should be on the host.
    Sync {
        /// How many there are.
        slices: u64,
    },
    /// A slice should be so.
    Apply(Box<desired::Slice>),
    /// What was last seen of a slice?
    Observe(SliceId),
    /// A capture is to begin. [`FIRST_CREDIT`] bytes of it may be on the way.
    Capture {
        /// Of whose links.
        slice: SliceId,
        /// Which.
        request: CaptureRequest,
    },
    /// Can captures by this expression begin?
    TryFilter(String),
    /// Frames are to be sent over links.
    Probe {
        /// Whose.
        slice: SliceId,
        /// What.
        probes: Vec<Probe>,
    },
    /// What is the host, what has it?
    Facts,
}

/// Bytes of a capture that may be on the way before any [`ToAgent::Credit`]. A frame may exceed what is left of it.
pub const FIRST_CREDIT: u32 = 2 << 20;

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum FromAgent {
    /// It is there.
    Alive,
    /// The host cannot be run as it is to be, for this reason, in a sentence for people. Nothing else follows.
    Unable(String),
    /// What came of a call.
    Answer {
        /// The call's.
        id: u64,
        /// What.
        answer: Answer,
    },
    /// What the host sees of a slice.
    Seen(Box<observed::Slice>),
    /// A capture has ended.
    Ended {
        /// The call that began it.
        id: u64,
        /// How.
        end: CaptureEnd,
    },
    /// A node asks something about itself.
    Ask {
        /// The answer brings it back.
        id: u64,
        /// The node's slice.
        slice: SliceId,
        /// The node.
        sliver: SliverId,
        /// What it asks.
        fact: Fact,
    },
}

/// What came of a call. Which goes with which call says [`Call`]'s name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done: a sync or an apply was taken.
    Done(Result<(), HostError>),
    /// What was last seen.
    Observed(Result<Option<Box<observed::Slice>>, HostError>),
    /// The capture has begun, or the expression will do.
    Capture(Result<(), CaptureError>),
    /// What became of the frames.
    Probed(Result<Vec<Probed>, HostError>),
    /// What the host is and has.
    Facts(Result<HostFacts, HostError>),
}

impl Versions {
    /// The newest that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let most = self.most.min(other.most);
        (most >= self.least.max(other.least)).then_some(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_both_speak() {
        let versions = |least, most| Versions { least, most };
        for (one, other, common) in [
            (versions(1, 1), versions(1, 1), Some(1)),
            (versions(1, 4), versions(2, 3), Some(3)),
            (versions(3, 4), versions(1, 2), None),
            // Nonsense of a peer.
            (versions(1, 4), versions(9, 0), None),
        ] {
            assert_eq!((one.common(other), other.common(one)), (common, common));
        }
    }
}
