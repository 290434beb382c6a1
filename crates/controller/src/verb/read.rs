//! Describe and Status: answered from memory.

use crate::api::{Caller, Effort, Refusal, Selection, SliceView};
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
