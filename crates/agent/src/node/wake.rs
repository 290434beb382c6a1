//! Waking the task of a node.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wakes the task of a node to look at what the runtime has.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    engine_was_away: AtomicBool,
}

impl Wake {
    /// Something has happened to the node.
    pub(crate) fn look(&self) {
        self.notify.notify_one();
    }

    /// Waits to be woken.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Whether the engine was away since this was last asked.
    pub(super) fn take_absence(&self) -> bool {
        self.engine_was_away.swap(false, Ordering::Relaxed)
    }

    /// The absence has not been dealt with.
    pub(super) fn keep_absence(&self) {
        self.engine_was_away.store(true, Ordering::Relaxed);
    }

    /// The engine was away: what has ended meanwhile has not ended by itself.
    pub(crate) fn look_after_absence(&self) {
        self.engine_was_away.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }
}
