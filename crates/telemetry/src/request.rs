//! Numbers of requests.

use testyard_model::id::RequestId;
use uuid::Uuid;

/// The number of a call that has just come in.
#[must_use]
pub fn request() -> RequestId {
    // The halves of a UUID have a few bits that are the same in all; together they have none.
    let (high, low) = Uuid::new_v4().as_u64_pair();
    RequestId::new(high ^ low.rotate_left(32))
}
