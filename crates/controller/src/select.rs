//! Which slivers a call is about.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use testyard_model::id::SliverId;
use testyard_model::urn::{Authority, SliceUrn, SliverUrn};

use crate::api::{Effort, Refusal, Selection};
use crate::slice::{Slice, Sliver};
use crate::state::State;

/// The slivers that a call is about, living ones, in the order of their allocation.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) slivers: Vec<Arc<Sliver>>,
    /// Named and not there, with the reason; best effort only.
    pub(crate) missing: Vec<(SliverUrn, String)>,
    /// The whole slice was named.
    pub(crate) whole: bool,
}

impl Picked {
    pub(crate) fn ids(&self) -> BTreeSet<SliverId> {
        self.slivers.iter().map(|sliver| sliver.id).collect()
    }

    /// Refuses a slice that has nothing; slivers that were named have been found or are told as missing.
    pub(crate) fn not_empty(&self, slice: &SliceUrn) -> Result<(), Refusal> {
        if self.whole && self.slivers.is_empty() { Err(nothing(slice)) } else { Ok(()) }
    }
}

/// The refusal for a slice without slivers.
pub(crate) fn nothing(slice: &SliceUrn) -> Refusal {
    Refusal::NotFound(format!("slice {slice} has no slivers here; they may have expired or been deleted"))
}

impl Selection {
    /// The slice that it is about.
    #[must_use]
    pub fn slice(&self) -> &SliceUrn {
        match self {
            Self::Slice(slice) | Self::Slivers { slice, .. } => slice,
        }
    }
}

/// Finds what is selected.
///
/// # Errors
/// `BadRequest` for an empty list or slivers of another slice; `NotFound` for one that is not there, unless best
/// effort is enough.
pub(crate) fn pick(
    state: &State,
    authority: &Authority,
    slice: Option<&Slice>,
    selection: &Selection,
    effort: Effort,
    now: Timestamp,
) -> Result<Picked, Refusal> {
    let living = || slice.into_iter().flat_map(|slice| slice.living(now));
    let living_ids: HashSet<SliverId> = living().map(|sliver| sliver.id).collect();
    let Selection::Slivers { slice: urn, slivers } = selection else {
        return Ok(Picked { slivers: living().cloned().collect(), missing: vec![], whole: true });
    };
    if slivers.is_empty() {
        return Err(Refusal::BadRequest("no sliver is named".to_owned()));
    }
    let (mut wanted, mut missing) = (BTreeSet::new(), Vec::new());
    for sliver in slivers {
        let id = if sliver.authority() == authority { sliver.name().parse::<SliverId>().ok() } else { None };
        if let Some(id) = id.filter(|id| living_ids.contains(id)) {
            wanted.insert(id);
            continue;
        }
        let elsewhere = id.and_then(|id| state.slice_of(id)).filter(|other| other.urn != *urn);
        if elsewhere.is_some() {
            return Err(Refusal::BadRequest(format!("sliver {sliver} is not of slice {urn}")));
        }
        let reason = "there is no such sliver here; it may have expired or been deleted";
        if effort == Effort::AllOrNothing {
            return Err(Refusal::NotFound(format!("{sliver}: {reason}")));
        }
        if !missing.iter().any(|(known, _)| known == sliver) {
            missing.push((sliver.clone(), reason.to_owned()));
        }
    }
    let slivers = living().filter(|sliver| wanted.contains(&sliver.id)).cloned().collect();
    Ok(Picked { slivers, missing, whole: false })
}
