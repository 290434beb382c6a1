//! How much is going on: the pool works when nobody waits for a node.

use std::time::Duration;

use tokio::sync::watch;

/// The pool waits no longer than this for a quiet moment: a node that never gets on must not keep it empty.
const LONGEST: Duration = Duration::from_secs(60);

/// Counts the nodes that are being made and set up.
#[derive(Debug)]
pub(crate) struct Rush(watch::Sender<usize>);

/// A node is being made or set up, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hurry(watch::Sender<usize>);

impl Default for Rush {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Rush {
    pub(crate) fn enter(&self) -> Hurry {
        self.0.send_modify(|count| *count += 1);
        Hurry(self.0.clone())
    }

    /// Whether somebody waits for a node.
    pub(super) fn is_on(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits for a quiet moment, for as long as is bearable; whether it has come.
    pub(super) async fn calm(&self) -> bool {
        let mut count = self.0.subscribe();
        tokio::time::timeout(LONGEST, count.wait_for(|count| *count == 0)).await.is_ok()
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
