//! How many calls of one kind the engine is given at the same time, and how many of them may be one slice's.
//!
//! A turn is only lent: who has not got an answer after [`PATIENCE`] goes on waiting without one, so that a container
//! about which the engine does not answer keeps nobody else waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use testyard_model::id::SliceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How long a call may keep its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The turns for one kind of call.
pub(crate) struct Turns {
    all: Semaphore,
    /// The most that one slice may have at one time.
    share: usize,
    slices: Mutex<HashMap<SliceId, Weak<Semaphore>>>,
}

/// One call's turn, until it is dropped.
pub(crate) struct Turn<'t> {
    _of_all: SemaphorePermit<'t>,
    _of_slice: OwnedSemaphorePermit,
}

impl Turns {
    /// So many at one time; three quarters of them for one slice.
    pub(crate) fn new(parallel: usize) -> Self {
        let parallel = parallel.clamp(1, Semaphore::MAX_PERMITS);
        let share = (parallel - parallel / 4).max(1);
        Self { all: Semaphore::new(parallel), share, slices: Mutex::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn take(&self, slice: SliceId) -> Turn<'_> {
        const OPEN: &str = "the runtime never closes its semaphores";
        let own = self.own(slice);
        let of_slice = own.acquire_owned().await.expect(OPEN);
        let of_all = self.all.acquire().await.expect(OPEN);
        Turn { _of_all: of_all, _of_slice: of_slice }
    }

    fn own(&self, slice: SliceId) -> Arc<Semaphore> {
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = slices.get(&slice).and_then(Weak::upgrade) {
            return own;
        }
        slices.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(self.share));
        slices.insert(slice, Arc::downgrade(&own));
        own
    }
}

impl Turn<'_> {
    /// Makes a call; the turn is given back at its end, or after [`PATIENCE`] while the call goes on.
    pub(crate) async fn during<T>(self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut call).await {
            return answer;
        }
        drop(self);
        call.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn slice(number: u128) -> SliceId {
        SliceId::from_uuid(Uuid::from_u128(number))
    }

    async fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(1), call).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slice_leaves_some_for_the_others() {
        let turns = Turns::new(8);
        let mut held = Vec::new();
        while let Some(turn) = at_once(turns.take(slice(1))).await {
            held.push(turn);
        }
        assert_eq!(held.len(), 6);
        held.extend(at_once(turns.take(slice(2))).await);
        held.extend(at_once(turns.take(slice(3))).await);
        assert_eq!(held.len(), 8);
        assert!(at_once(turns.take(slice(4))).await.is_none(), "there are no more");
        held.clear();
        assert!(at_once(turns.take(slice(1))).await.is_some());
        assert!(at_once(Turns::new(1).take(slice(1))).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_keeps_nobody_waiting() {
        let turns = Turns::new(1);
        let stuck = turns.take(slice(1)).await.during(std::future::pending::<()>());
        let begun = tokio::time::Instant::now();
        tokio::select! {
            () = stuck => panic!("it has no end"),
            _ = turns.take(slice(1)) => assert_eq!(begun.elapsed(), PATIENCE),
        }
    }
}
