//! What a node is made from.

use std::fmt;

use serde::{Deserialize, Serialize};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::name::Hostname;
use testyard_model::sliver_type::{Limits, Privileges};
use uuid::Uuid;

use crate::image::Image;

/// One disk of one sliver: a reload makes the next `disk`, which is another thing for a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeKey {
    /// The slice it belongs to.
    pub slice: SliceId,
    /// The sliver that it is.
    pub sliver: SliverId,
    /// Counts reloads.
    pub disk: u32,
}

impl NodeKey {
    /// The key of a spare: a node of no slice, made and booted ahead of time, until [`crate::Runtime::hand_over`] makes
    /// it a slice's. `number` is one that nothing else has ever had.
    #[must_use]
    pub const fn spare(number: SliverId) -> Self {
        Self { slice: SliceId::from_uuid(Uuid::nil()), sliver: number, disk: 0 }
    }

    /// Whether it is a spare's.
    #[must_use]
    pub const fn is_spare(&self) -> bool {
        self.slice.uuid().is_nil()
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_spare() {
            return write!(f, "spare node {}", self.sliver);
        }
        write!(f, "node {} (disk {})", self.sliver, self.disk)
    }
}

/// Everything a runtime needs to make a node. How often it boots, its network and its inside are others' business.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// Which node.
    pub key: NodeKey,
    /// Its own name.
    pub hostname: Hostname,
    /// What it boots, as [`crate::Runtime::image`] has resolved it.
    pub image: Image,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub privileges: Privileges,
}
