//! Changes of one slice queue up behind each other. A turn is held until its change is durable or refused, also if
//! the caller has gone away meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use testyard_model::urn::SliceUrn;
use tokio::sync::OwnedMutexGuard;

type Queues = Arc<Mutex<HashMap<SliceUrn, Arc<tokio::sync::Mutex<()>>>>>;

/// The queues, one for each slice that is being changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Queues);

/// The right to change a slice.
#[derive(Debug)]
pub(crate) struct Turn {
    slice: SliceUrn,
    guard: Option<OwnedMutexGuard<()>>,
    queues: Queues,
}

impl Turns {
    /// Waits until it is this caller's turn.
    pub(crate) async fn take(&self, slice: &SliceUrn) -> Arc<Turn> {
        let queue = {
            let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(slice.clone()).or_default())
        };
        let guard = Some(queue.lock_owned().await);
        Arc::new(Turn { slice: slice.clone(), guard, queues: Arc::clone(&self.0) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits has a count of its own; new ones come by this map, which is locked.
        if queues.get(&self.slice).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.slice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let turns = Turns::default();
        let slice: SliceUrn = "urn:publicid:IDN+a+slice+x".parse().unwrap();
        let first = turns.take(&slice).await;
        let other: SliceUrn = "urn:publicid:IDN+a+slice+y".parse().unwrap();
        drop(turns.take(&other).await);
        let second = tokio::spawn({
            let (turns, slice) = (turns.clone(), slice.clone());
            async move { turns.take(&slice).await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        drop(second.await.unwrap());
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
