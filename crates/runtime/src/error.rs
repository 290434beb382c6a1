//! What can go wrong in a runtime, and whether trying again helps.

use testyard_model::image::ImageName;

use crate::spec::NodeKey;

/// A call of a runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not answer; the converger tries again when it is back.
    #[error("{engine} does not answer: {detail}")]
    Unreachable {
        /// Which engine, for people.
        engine: &'static str,
        /// What it said.
        detail: String,
    },
    /// There is no such node.
    #[error("{0} is not there")]
    Missing(NodeKey),
    /// The engine refuses the node; trying again gives the same answer.
    #[error("{key}: {detail}")]
    Refused {
        /// Which node.
        key: NodeKey,
        /// The engine's reason, and what to do about it.
        detail: String,
    },
    /// It has started and ended at once.
    #[error("{key} ended as soon as it was started, with exit status {exit}")]
    EndedAtOnce {
        /// Which node.
        key: NodeKey,
        /// The exit status.
        exit: i64,
    },
    /// Anything else; worth another try.
    #[error("{key}: {action} failed: {detail}")]
    Failed {
        /// Which node.
        key: NodeKey,
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        detail: String,
    },
}

impl RuntimeError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::EndedAtOnce { .. } | Self::Failed { .. })
    }
}

/// An image cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The engine does not answer.
    #[error("{engine} does not answer: {detail}")]
    Unreachable {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        detail: String,
    },
    /// It is on no registry that answers, or may not be read.
    #[error("image {name} cannot be had: {detail}")]
    NotFound {
        /// Which image.
        name: ImageName,
        /// The registry's reason, and what to do about it.
        detail: String,
    },
    /// It cannot be a node.
    #[error("image {name} cannot be a node: {detail}")]
    Unfit {
        /// Which image.
        name: ImageName,
        /// Why, and what to do about it.
        detail: String,
    },
}
