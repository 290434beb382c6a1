//! One file a verb. Each works out what a slice becomes and changes nothing itself.

mod allocate;
mod capture;
mod delete;
mod host;
mod link;
mod offer;
mod perform;
mod provision;
mod read;
mod renew;
mod replay;
mod shutdown;
mod sketch;
mod update;
mod users;
mod verify;

use std::sync::Arc;

use testyard_model::urn::SliceUrn;
use testyard_plan::Plan;

pub(crate) use verify::Verifying;

use crate::api::{Caller, Refusal, SliceView};
use crate::commit::{Context, Proposal};
use crate::core::Core;
use crate::slice::Slice;
use crate::view::{Told, slice_view};

/// A plan whose links each stay on one host: none are made between hosts.
fn within_hosts(plan: Plan) -> Result<Plan, Refusal> {
    let mut links = plan.network.iter().flat_map(|network| network.links());
    match links.find(|link| link.crosses_hosts) {
        None => Ok(plan),
        Some(link) => Err(Refusal::Unsupported(format!(
            "link {}: no host has room for all of its nodes, and links between hosts cannot be made: bind these nodes to one \
             host, or make the topology smaller",
            link.client_id
        ))),
    }
}

impl Core {
    /// What most verbs are: a caller who may, a change in the slice's turn, and the slice as it is then.
    async fn change_and_show(
        self: &Arc<Self>,
        slice: &SliceUrn,
        caller: &Caller,
        verb: impl FnMut(Context<'_>) -> Result<Proposal<Told>, Refusal>,
    ) -> Result<SliceView, Refusal> {
        self.admit(caller, slice)?;
        let (changed, told) = self.change(slice, caller, verb).await?;
        Ok(self.show(slice, changed.as_deref(), told))
    }

    /// What is shown of a slice that was changed.
    fn show(&self, slice: &SliceUrn, changed: Option<&Slice>, told: Told) -> SliceView {
        let (state, settings) = (self.shared.read(), self.settings.load());
        slice_view(&state, &settings, slice, changed, told, self.clock.now())
    }
}
