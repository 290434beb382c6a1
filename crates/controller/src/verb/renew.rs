//! Renew: another end for slivers, later or earlier.

use std::collections::HashMap;
use std::sync::Arc;

use testyard_model::time::format;

use super::allocate::shorten;
use super::provision::only_missing;
use crate::api::{Caller, Effort, Refusal, Renew, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::select::{nothing, pick};
use crate::view::Told;

impl Core {
    pub(crate) async fn renew(
        self: &Arc<Self>,
        caller: &Caller,
        request: Renew,
    ) -> Result<SliceView, Refusal> {
        let urn = request.selection.slice();
        let verb = |context: Context<'_>| propose(context, caller, &request);
        self.change_and_show(urn, caller, verb).await
    }
}

fn propose(context: Context<'_>, caller: &Caller, request: &Renew) -> Result<Proposal<Told>, Refusal> {
    let Context { state, settings, slice, now, .. } = context;
    let (urn, effort) = (request.selection.slice(), request.effort);
    let picked = pick(state, settings.authority(), slice.as_deref(), &request.selection, effort, now)?;
    let Some(old) = slice else {
        return if picked.whole { Err(nothing(urn)) } else { Ok(only_missing(picked)) };
    };
    picked.not_empty(urn)?;
    let mut ends = HashMap::new();
    let mut told = Told {
        slivers: picked.slivers.iter().map(|sliver| sliver.id).collect(),
        missing: picked.missing,
        ..Told::default()
    };
    for sliver in &picked.slivers {
        let (state, alap) = (sliver.allocation(), request.as_late_as_possible);
        match settings.leases.renew(state, request.end, alap, caller.until, now) {
            Ok(end) => {
                ends.insert(sliver.id, end);
            }
            Err(error) if effort == Effort::AllOrNothing => return Err(error.into()),
            Err(error) => {
                told.errors.insert(sliver.id, error.to_string());
            }
        }
    }
    let changed: std::collections::BTreeSet<_> = picked
        .slivers
        .iter()
        .filter(|sliver| ends.get(&sliver.id).is_some_and(|end| *end != sliver.expires))
        .map(|sliver| sliver.id)
        .collect();
    if changed.is_empty() {
        return Ok(Proposal { step: None, told });
    }
    let mut new = old.next();
    new.edit(&changed, |sliver| sliver.expires = ends.get(&sliver.id).copied().unwrap_or(sliver.expires));
    let names =
        picked.slivers.iter().filter(|s| changed.contains(&s.id)).map(|sliver| sliver.client_id.as_str());
    let detail = format!("until {}: {}", format(request.end), shorten(names));
    Ok(Proposal { step: Some(Step::new(&old, new, "renew", detail)), told })
}
