//! Frames that are sent over links to see what they do: the words of [`Links::probe`](super::Links::probe).

use std::path::PathBuf;

use testyard_model::mac::Mac;
use testyard_model::probe::Train;

use super::PortId;

/// Trains that are sent at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Its number: frames of another one are not taken for its own.
    pub run: u32,
    /// At most [`TRAINS`].
    pub trains: Vec<ProbeTrain>,
}

/// What is sent over one way of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTrain {
    /// Over what.
    pub path: ProbePath,
    /// What.
    pub train: Train,
    /// Whether the receiver sends a frame first, so that a switch knows where it is.
    pub greeting: bool,
}

/// What a train is sent over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbePath {
    /// A link of the slice.
    Link {
        /// Who sends.
        from: ProbeEnd,
        /// Who receives.
        to: ProbeEnd,
    },
    /// Two interfaces without a link between, made for this.
    Reference,
    /// The first half of a way to another host, which has the second at the same time: frames are sent as soon as that is
    /// heard of.
    Out {
        /// Who sends.
        from: ProbeEnd,
        /// The interface there.
        to: Mac,
        /// The number of both halves.
        meeting: u32,
    },
    /// The second half of a way from another host.
    In {
        /// The interface there.
        from: Mac,
        /// Who receives.
        to: ProbeEnd,
        /// The number of both halves.
        meeting: u32,
    },
    /// None: the answer is the time, as the one that a frame was sent at.
    Clock,
}

/// An interface of a node that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEnd {
    /// Which.
    pub port: PortId,
    /// Opens the node's namespace.
    pub netns: PathBuf,
}

/// Trains of a request, at most: each takes two threads.
pub const TRAINS: usize = 64;
/// Frames of a train, at most.
pub const FRAMES: u32 = 1_000_000;
