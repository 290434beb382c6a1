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

pub(crate) use verify::Verifying;

use crate::api::{Caller, Refusal, SliceView};
use crate::commit::{Context, Proposal};
use crate::core::Core;
use crate::slice::Slice;
use crate::view::{Told, slice_view};

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
