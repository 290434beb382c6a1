//! Shutdown: an operator's emergency stop. Nodes are stopped with their disks kept, and every call on the slice is
//! refused from then on, until an operator lifts it. Leases go on: what expires is removed.

use std::sync::Arc;

use testyard_agent::desired::Power;
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::SliceUrn;
use testyard_store::{AuditObject, Change, ChangeError, ShutdownRow, SliverState, WriteError};

use crate::api::{Caller, Refusal};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::state::State;

const SHUTDOWN: &str = "shutdown";

impl Core {
    /// Whether nothing of it runs any more when this returns.
    pub(crate) async fn shutdown_slice(
        self: &Arc<Self>,
        caller: &Caller,
        urn: SliceUrn,
    ) -> Result<bool, Refusal> {
        self.admit_shut_down(caller)?;
        let row = ShutdownRow { slice: urn.clone(), user: caller.user.clone(), at: self.clock.now() };
        let turn = self.turns.take(&urn).await;
        self.change_in_turn(&urn, caller, turn, |context| Ok(propose(context, &row))).await?;
        if !self.shared.read().shutdowns.contains(&urn) {
            self.remember(caller, row).await?;
        }
        let stopped = self.wait_for(|state| !runs(state, &urn));
        Ok(tokio::time::timeout(self.settings.load().shutdown_wait, stopped).await.is_ok())
    }

    /// A slice that has nothing here is shut down all the same.
    async fn remember(self: &Arc<Self>, caller: &Caller, row: ShutdownRow) -> Result<(), Refusal> {
        let (core, urn) = (Arc::clone(self), row.slice.clone());
        let line = caller.did(row.at, AuditObject::Slice(urn.clone()), SHUTDOWN, String::new());
        let write = move |change: &Change<'_>| {
            change.put_shutdown(&row)?;
            change.audit(&line)
        };
        let committed = move |&(): &()| {
            core.shared.write().shutdowns.insert(urn);
            core.changed();
        };
        let written: Result<(), WriteError<ChangeError>> = self.store.write(write, committed).await;
        written.map_err(|error| self.internal(SHUTDOWN, &error))
    }

    /// Lets users of a slice use it again. Its nodes stay stopped until they start them.
    pub(crate) async fn lift_shutdown(
        self: &Arc<Self>,
        caller: &Caller,
        urn: SliceUrn,
    ) -> Result<bool, Refusal> {
        let turn = self.turns.take(&urn).await;
        let was = self.shared.read().shutdowns.contains(&urn);
        let (core, slice) = (Arc::clone(self), urn.clone());
        let row =
            caller.did(self.clock.now(), AuditObject::Slice(urn.clone()), "lift shutdown", String::new());
        let write = move |change: &Change<'_>| {
            change.delete_shutdown(&slice)?;
            if was { change.audit(&row) } else { Ok(()) }
        };
        let committed = move |&(): &()| {
            core.shared.write().shutdowns.remove(&urn);
            core.changed();
            drop(turn);
        };
        let written: Result<(), WriteError<ChangeError>> = self.store.write(write, committed).await;
        written.map(|()| was).map_err(|error| self.internal("lift shutdown", &error))
    }
}

fn propose(context: Context<'_>, row: &ShutdownRow) -> Proposal<()> {
    let Context { state, slice, now, .. } = context;
    let Some(old) = slice.filter(|_| !state.shutdowns.contains(&row.slice)) else {
        return Proposal { step: None, told: () };
    };
    let mut new = old.next();
    let ids = old.slivers.iter().filter(|s| s.state == SliverState::Provisioned).map(|s| s.id).collect();
    new.edit(&ids, |sliver| {
        sliver.body.node.power = Power::Off;
        sliver.note("shut down by the testbed's operators", now);
    });
    let mut step = Step::new(&old, new, SHUTDOWN, String::new());
    step.shutdown = Some(row.clone());
    Proposal { step: Some(step), told: () }
}

fn runs(state: &State, urn: &SliceUrn) -> bool {
    let slivers = state.slice(urn).into_iter().flat_map(|slice| &slice.slivers);
    slivers
        .filter(|sliver| sliver.allocation() == Allocation::Provisioned)
        .any(|sliver| !matches!(state.operational(sliver).0, Operational::NotReady | Operational::Failed))
}
