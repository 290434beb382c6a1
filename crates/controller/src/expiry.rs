//! Expiry, to the second: a timer on the next one. Reads treat what has expired as gone even before it is removed. Changes
//! of links that were made for a while expire, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use testyard_model::urn::SliceUrn;

use crate::api::Refusal;
use crate::commit::Step;
use crate::core::Core;
use crate::event::Happening;
use crate::reservation::Reservation;
use crate::turn::Turn;

/// The pause after a removal that failed.
const PAUSE: Duration = Duration::from_secs(1);

impl Core {
    /// Removes what expires, when it expires. Never returns.
    pub(crate) async fn watch_expiry(self: Arc<Self>) {
        loop {
            let next = self.shared.read().next_expiry();
            match next {
                None => self.expiry.notified().await,
                Some(next) if next > self.clock.now() => tokio::select! {
                    () = self.clock.sleep_until(next) => {}
                    () = self.expiry.notified() => {}
                },
                Some(_) => {
                    if !self.expire_due().await {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Removes what has expired; whether that went well.
    async fn expire_due(self: &Arc<Self>) -> bool {
        let due: Vec<SliceUrn> = {
            let state = self.shared.read();
            let due = state.due(self.clock.now());
            due.into_iter().filter_map(|id| Some(state.life(id)?.urn.clone())).collect()
        };
        let mut removals = tokio::task::JoinSet::new();
        for urn in due {
            let core = Arc::clone(self);
            removals.spawn(async move {
                let turn = core.turns.take(&urn).await;
                core.expire_in_turn(&urn, &turn).await.is_ok()
            });
        }
        removals.join_all().await.into_iter().all(|done| done)
    }

    /// Removes the slivers of a slice that have expired, and takes back changes of its links that have.
    pub(crate) async fn expire_in_turn(
        self: &Arc<Self>,
        urn: &SliceUrn,
        turn: &Arc<Turn>,
    ) -> Result<(), Refusal> {
        let step = {
            let (state, now) = (self.shared.read(), self.clock.now());
            let Some(old) = state.slice(urn) else { return Ok(()) };
            let expired: BTreeSet<_> = old
                .slivers
                .iter()
                .filter(|sliver| !sliver.is_leaving() && !sliver.lives(now))
                .map(|sliver| sliver.id)
                .collect();
            let mut new = old.next();
            let reverted = new.revert(now);
            if expired.is_empty() && reverted.is_empty() {
                return Ok(());
            }
            new.remove(&expired);
            tracing::info!(slice = %urn, slivers = expired.len(), links = reverted.len(), "expired");
            let news = reverted.into_iter().map(|link| Happening::Reverted { link });
            Step::new(old, new, "expire", String::new()).telling(news.collect())
        };
        let reservation = Reservation::new(self.shared.clone());
        match self.commit(step, reservation, None, Arc::clone(turn)).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.unwrap_or_else(|| Refusal::Busy("try again later".to_owned()))),
        }
    }
}
