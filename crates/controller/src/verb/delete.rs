//! Delete: slivers are gone for callers as soon as it is durable, and go from their hosts after that.

use std::sync::Arc;

use testyard_model::state::{Allocation, Operational};

use super::allocate::shorten;
use super::provision::only_missing;
use crate::api::{Caller, Effort, Refusal, Selection, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::select::{nothing, pick};
use crate::view::{Told, slice_view};

impl Core {
    pub(crate) async fn delete(
        self: &Arc<Self>,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        let urn = selection.slice();
        self.admit_to_any(caller, urn)?;
        let verb = |context: Context<'_>| propose(context, &selection, effort);
        let turn = self.turns.take(urn).await;
        // It may have been shut down while this call waited.
        self.admit_to_any(caller, urn)?;
        let (_, view) = self.change_in_turn(urn, caller, turn, verb).await?;
        Ok(view)
    }
}

fn propose(
    context: Context<'_>,
    selection: &Selection,
    effort: Effort,
) -> Result<Proposal<SliceView>, Refusal> {
    let Context { state, settings, slice, now, .. } = context;
    let urn = selection.slice();
    let picked = pick(state, settings.authority(), slice.as_deref(), selection, effort, now)?;
    let Some(old) = slice else {
        if picked.whole {
            return Err(nothing(urn));
        }
        let told = only_missing(picked).told;
        return Ok(Proposal { step: None, told: slice_view(state, settings, urn, None, told, now) });
    };
    picked.not_empty(urn)?;
    let ids = picked.ids();
    let told = Told { slivers: ids.iter().copied().collect(), missing: picked.missing, ..Told::default() };
    let mut view = slice_view(state, settings, urn, Some(&old), told, now);
    for sliver in &mut view.slivers {
        sliver.allocation = Allocation::Unallocated;
        sliver.operational = Operational::PendingAllocation;
        sliver.error = String::new();
    }
    if ids.is_empty() {
        return Ok(Proposal { step: None, told: view });
    }
    let mut new = old.next();
    new.remove(&ids);
    let detail = shorten(picked.slivers.iter().map(|sliver| sliver.client_id.as_str()));
    Ok(Proposal { step: Some(Step::new(&old, new, "delete", detail)), told: view })
}
