//! What waiters hear of.

use jiff::Timestamp;
use testyard_model::name::ClientId;
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::{SliceUrn, SliverUrn, UserUrn};

/// A sliver is another than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its slice.
    pub slice: SliceUrn,
    /// Who made that, for front doors that tell each user only of the own slices.
    pub creator: UserUrn,
    /// Which.
    pub sliver: SliverUrn,
    /// The user's name of it.
    pub client_id: ClientId,
    /// What the slice holds of it now.
    pub allocation: Allocation,
    /// What it is doing now.
    pub operational: Operational,
    /// What is wrong with it; empty if nothing.
    pub error: String,
    /// Since when.
    pub at: Timestamp,
}
