//! What the controller's methods and its tasks share.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use testyard_model::urn::SliceUrn;
use testyard_store::Store;
use tokio::sync::{Notify, broadcast, watch};

use crate::api::{Caller, Refusal};
use crate::clock::Clock;
use crate::convergence::Standing;
use crate::entropy::Randomness;
use crate::event::{Event, Happening};
use crate::hosts::Drivers;
use crate::keeper::Keeper;
use crate::observe::Chores;
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::state::{State, Turned};
use crate::turn::Turns;
use crate::verb::Verifying;

/// The state, for those who need nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<RwLock<State>>);

/// What the controller's methods and its tasks share.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) shared: Shared,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) turns: Turns,
    pub(crate) drivers: Drivers,
    pub(crate) events: broadcast::Sender<Event>,
    /// Counts changes of the state, for those who wait for one.
    pub(crate) changes: watch::Sender<u64>,
    /// The next expiry may be another than before.
    pub(crate) expiry: Notify,
    pub(crate) keeper: Keeper,
    pub(crate) chores: Chores,
    pub(crate) verifying: Verifying,
    /// Held by who changes which hosts are drained.
    pub(crate) draining: tokio::sync::Mutex<()>,
}

// === impl Shared ===

impl Shared {
    // A panic while the lock is held is a bug of ours, and every later call failing too would not mend it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses who may touch only what is the own.
fn own<'a>(
    caller: &Caller,
    slice: &SliceUrn,
    lives: impl IntoIterator<Item = &'a Arc<Slice>>,
) -> Result<(), Refusal> {
    let creators = lives.into_iter().map(|life| &life.creator).filter(|_| caller.only_own);
    match creators.into_iter().find(|creator| **creator != caller.user) {
        None => Ok(()),
        Some(creator) => Err(Refusal::Refused(format!(
            "slice {} is {creator}'s, and you are {}",
            slice.name(),
            caller.user
        ))),
    }
}

// === impl Core ===

impl Core {
    /// Whether the caller may do anything with the slice now.
    pub(crate) fn admit(&self, caller: &Caller, slice: &SliceUrn) -> Result<(), Refusal> {
        self.admit_shut_down(caller)?;
        let state = self.shared.read();
        own(caller, slice, state.slice(slice))?;
        if state.shutdowns.contains(slice) {
            return Err(Refusal::ShutDown(slice.clone()));
        }
        Ok(())
    }

    /// The same for what changes nothing, and for deleting: operators may do that to what they have shut down.
    pub(crate) fn admit_to_any(&self, caller: &Caller, slice: &SliceUrn) -> Result<(), Refusal> {
        if caller.operator { self.admit_shut_down(caller) } else { self.admit(caller, slice) }
    }

    /// The same for what is left of slices of that name that have ended.
    pub(crate) fn admit_to_ended(&self, caller: &Caller, slice: &SliceUrn) -> Result<(), Refusal> {
        self.admit_to_any(caller, slice)?;
        let state = self.shared.read();
        own(caller, slice, state.slices().filter(|life| life.urn == *slice))
    }

    /// The same for those who may also touch slices that have been shut down.
    pub(crate) fn admit_shut_down(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.until <= self.clock.now() {
            let until = testyard_model::time::format(caller.until);
            return Err(Refusal::Expired(format!(
                "the credential ended at {until}: get a new one from its authority"
            )));
        }
        Ok(())
    }

    /// Derives anew what slivers of a slice are doing, and tells those who listen.
    pub(crate) fn derive<'a>(
        &self,
        state: &mut State,
        slice: &Slice,
        slivers: impl IntoIterator<Item = &'a Arc<Sliver>>,
        now: Timestamp,
    ) {
        let turned = state.derive(slivers, now);
        self.keeper.mark(turned.iter().map(|turned| turned.sliver.id));
        let settings = self.settings.load();
        let happening = |Turned { sliver, state, error }| Happening::Sliver {
            sliver: settings.sliver_urn(sliver.id),
            client_id: sliver.client_id.clone(),
            allocation: sliver.allocation(),
            operational: state,
            error,
        };
        self.announce(slice, now, turned.into_iter().map(happening));
    }

    /// Looks anew at how a slice stands to what is asked of it, and tells those who listen.
    pub(crate) fn take_stock(&self, state: &mut State, slice: &Slice, now: Timestamp) {
        let standing = Standing::of(state, slice, now);
        if state.standings.get(&slice.id) == Some(&standing) {
            return;
        }
        state.standings.insert(slice.id, standing.clone());
        let Standing { converged, problem } = standing;
        self.announce(slice, now, [Happening::Converged { converged, problem }]);
    }

    /// Tells those who listen what has happened to a slice.
    pub(crate) fn announce(
        &self,
        slice: &Slice,
        at: Timestamp,
        happenings: impl IntoIterator<Item = Happening>,
    ) {
        for what in happenings {
            let (slice, creator) = (slice.urn.clone(), slice.creator.clone());
            // Nobody may be listening.
            let _ = self.events.send(Event { slice, creator, at, what });
        }
    }

    /// Tells those who wait that something has changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Returns once `done` of the state.
    pub(crate) async fn wait_for(&self, mut done: impl FnMut(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        while !done(&self.shared.read()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The refusal for what is our fault; the log gets the details.
    pub(crate) fn internal(&self, operation: &str, detail: &dyn std::fmt::Display) -> Refusal {
        let mut bytes = [0; 4];
        self.randomness.fill(&mut bytes);
        let reference = format!("{:08x}", u32::from_be_bytes(bytes));
        tracing::error!(%reference, operation, %detail, "a call failed inside");
        Refusal::Internal(reference)
    }
}
