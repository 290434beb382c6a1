//! Describe and Status, and what nodes are told of their slice: answered from memory.

use std::collections::BTreeMap;

use testyard_agent::observed::{Made, MadeState};
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_model::urn::{SliceUrn, UserUrn};

use crate::api::{Caller, Effort, ImageView, Refusal, Selection, SliceSummary, SliceView, Surroundings};
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
        let view = slice_view(&state, &settings, &slice.urn, Some(slice), told, now);
        Some(Surroundings { creator: slice.creator.clone(), view })
    }

    /// The images that a slice has had made of URLs, with the host of each.
    pub(crate) fn images(&self, caller: &Caller, slice: &SliceUrn) -> Result<Vec<ImageView>, Refusal> {
        self.admit_to_any(caller, slice)?;
        let state = self.shared.read();
        let slice = state
            .slice(slice)
            .ok_or_else(|| Refusal::NotFound(format!("slice {} is not here", slice.name())))?;
        let of_slice = state.images.iter().filter(|((id, _), _)| *id == slice.id);
        Ok(of_slice.flat_map(|((_, host), made)| made.iter().map(|made| image_view(host, made))).collect())
    }

    /// Living slices, by name.
    pub(crate) fn summaries(&self) -> Vec<SliceSummary> {
        let now = self.clock.now();
        let state = self.shared.read();
        let mut summaries: Vec<SliceSummary> = state
            .slices()
            .filter(|slice| !slice.ended())
            .map(|slice| {
                let mut nodes = BTreeMap::new();
                for sliver in slice.living(now) {
                    *nodes.entry(state.operational(sliver).0).or_insert(0) += 1;
                }
                SliceSummary {
                    urn: slice.urn.clone(),
                    creator: slice.creator.clone(),
                    created: slice.created,
                    expires: slice.living(now).map(|sliver| sliver.expires).min(),
                    nodes,
                    links: slice.networks.values().map(|network| network.links().count()).sum(),
                    shut_down: state.shutdowns.contains(&slice.urn),
                }
            })
            .collect();
        summaries.sort_by(|a, b| a.urn.cmp(&b.urn));
        summaries
    }

    /// Who made a living slice.
    pub(crate) fn creator(&self, slice: &SliceUrn) -> Option<UserUrn> {
        self.shared.read().slice(slice).map(|slice| slice.creator.clone())
    }

    fn look(
        &self,
        caller: &Caller,
        selection: &Selection,
        effort: Effort,
        nothing_is_fine: bool,
    ) -> Result<SliceView, Refusal> {
        let urn = selection.slice();
        self.admit_to_any(caller, urn)?;
        let (settings, now) = (self.settings.load(), self.clock.now());
        let state = self.shared.read();
        let slice = state.slice(urn).cloned();
        let picked = pick(&state, settings.authority(), slice.as_deref(), selection, effort, now)?;
        if !nothing_is_fine {
            picked.not_empty(urn)?;
        }
        let told =
            Told { slivers: picked.ids().into_iter().collect(), missing: picked.missing, ..Told::default() };
        Ok(slice_view(&state, &settings, urn, slice.as_deref(), told, now))
    }
}

fn image_view(host: &HostName, made: &Made) -> ImageView {
    let (state, detail) = match &made.state {
        MadeState::Making(step) => ("making", step.clone()),
        MadeState::Made => ("made", String::new()),
        MadeState::Failed(why) => ("failed", why.clone()),
    };
    let (url, content, log) = (made.url.clone(), made.content.clone(), made.log.clone());
    ImageView { host: host.clone(), url, content, state, detail, log }
}
