//! Keeps in the store what hosts saw, when there is time for it. Nobody waits: hosts tell again after a crash.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use testyard_model::id::SliverId;
use testyard_store::{Change, ChangeError, SeenRow, Versioned};
use tokio::sync::Notify;

use crate::core::Core;
use crate::state::Seen;

/// The form of the `seen` columns.
pub(crate) const SEEN_VERSION: u32 = 1;

/// The pause after a write, in which more comes together: a node that reports without end must not keep the writer busy.
const PAUSE: Duration = Duration::from_millis(250);

/// Slivers of which something new is known.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    marked: Mutex<HashSet<SliverId>>,
    wake: Notify,
}

impl Keeper {
    pub(crate) fn mark(&self, slivers: impl IntoIterator<Item = SliverId>) {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        marked.extend(slivers);
        if !marked.is_empty() {
            self.wake.notify_one();
        }
    }

    fn take(&self) -> HashSet<SliverId> {
        std::mem::take(&mut *self.marked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Core {
    /// Keeps what is marked. Never returns.
    pub(crate) async fn keep(self: std::sync::Arc<Self>) {
        loop {
            self.keeper.wake.notified().await;
            self.keep_marked().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes what is marked; whether that went well. What did not is marked again.
    pub(crate) async fn keep_marked(&self) -> bool {
        let marked = self.keeper.take();
        let rows: Vec<(SliverId, SeenRow)> = {
            let state = self.shared.read();
            marked.iter().filter_map(|id| Some((*id, row(state.seen.get(id)?)))).collect()
        };
        if rows.is_empty() {
            return true;
        }
        let write =
            move |change: &Change<'_>| rows.iter().try_for_each(|(id, row)| change.put_seen(*id, row));
        let written: Result<(), testyard_store::WriteError<ChangeError>> =
            self.store.write(write, |&()| ()).await;
        if let Err(error) = &written {
            tracing::warn!(%error, "what hosts saw could not be kept");
            self.keeper.mark(marked);
        }
        written.is_ok()
    }
}

fn row(seen: &Seen) -> SeenRow {
    SeenRow {
        observed: seen.observed.as_deref().map(|node| Versioned::write(SEEN_VERSION, node)),
        events: Versioned::write(SEEN_VERSION, &seen.events),
    }
}
