//! Describe and Status, and what nodes are told of their slice: answered from memory.

use testyard_model::id::{SliceId, SliverId};

use crate::api::{Caller, Effort, Refusal, Selection, SliceView, Surroundings};
use crate::core::Core;
use crate::select::pick;
use crate::view::{Told, slice_view};

impl Core {
    pub(crate) fn describe(&self, caller: &Caller, selection: &Selection) -> Result<SliceView, Refusal> {
        self.look(caller, selection, Effort::AllOrNothing, true)
    }

    pub(crate) fn status(
        &self,
        caller: &Caller,
        selection: &Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        self.look(caller, selection, effort, false)
    }

    pub(crate) fn around(&self, slice: SliceId, sliver: SliverId) -> Option<Surroundings> {
        let (settings, now) = (self.settings.load(), self.clock.now());
        let state = self.shared.read();
        let slice = state.slice_of(sliver).filter(|found| found.id == slice)?;
        let slivers: Vec<SliverId> = slice.living(now).map(|sliver| sliver.id).collect();
        if !slivers.contains(&sliver) {
            return None;
        }
        let told = Told { slivers, ..Told::default() };
        let view = slice_view(&state, &settings, &slice.urn, Some(slice), told);
        Some(Surroundings { creator: slice.creator.clone(), view })
    }

    fn look(
        &self,
        caller: &Caller,
        selection: &Selection,
        effort: Effort,
        nothing_is_fine: bool,
    ) -> Result<SliceView, Refusal> {
        let urn = selection.slice();
        self.admit(caller, urn)?;
        let (settings, now) = (self.settings.load(), self.clock.now());
        let state = self.shared.read();
        let slice = state.slice(urn).cloned();
        let picked = pick(&state, settings.authority(), slice.as_deref(), selection, effort, now)?;
        if !nothing_is_fine {
            picked.not_empty(urn)?;
        }
        let told =
            Told { slivers: picked.ids().into_iter().collect(), missing: picked.missing, ..Told::default() };
        Ok(slice_view(&state, &settings, urn, slice.as_deref(), told))
    }
}
