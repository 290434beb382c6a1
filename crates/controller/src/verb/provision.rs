//! Provision: allocated slivers become provisioned, and their hosts hear of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use testyard_model::state::Allocation;
use testyard_model::time::format;
use testyard_store::SliverState;

use super::allocate::{cut_notice, shorten};
use super::users;
use crate::api::{Caller, Effort, Provision, Refusal, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::select::{Picked, nothing, pick};
use crate::slice::Sliver;
use crate::view::Told;

impl Core {
    pub(crate) async fn provision(
        self: &Arc<Self>,
        caller: &Caller,
        request: Provision,
    ) -> Result<SliceView, Refusal> {
        let urn = request.selection.slice();
        let verb = |context: Context<'_>| propose(context, caller, &request);
        self.change_and_show(urn, caller, verb).await
    }
}

fn propose(context: Context<'_>, caller: &Caller, request: &Provision) -> Result<Proposal<Told>, Refusal> {
    let Context { state, settings, slice, now, .. } = context;
    let (urn, effort) = (request.selection.slice(), request.effort);
    let picked = pick(state, settings.authority(), slice.as_deref(), &request.selection, effort, now)?;
    let Some(old) = slice else {
        return if picked.whole { Err(nothing(urn)) } else { Ok(only_missing(picked)) };
    };
    picked.not_empty(urn)?;
    let is_allocated = |sliver: &Arc<Sliver>| sliver.state == SliverState::Allocated;
    let already = "it is provisioned already: to change it, delete it and allocate it again";
    let mut told = Told { missing: picked.missing, ..Told::default() };
    let allocated: BTreeSet<_> =
        picked.slivers.iter().filter(|s| is_allocated(s)).map(|sliver| sliver.id).collect();
    if picked.whole {
        if allocated.is_empty() {
            return Err(Refusal::Unsupported(format!("all slivers of slice {urn} are provisioned already")));
        }
        told.slivers = allocated.iter().copied().collect();
    } else {
        told.slivers = picked.slivers.iter().map(|sliver| sliver.id).collect();
        for sliver in picked.slivers.iter().filter(|sliver| !is_allocated(sliver)) {
            if effort == Effort::AllOrNothing {
                return Err(Refusal::Unsupported(format!(
                    "sliver {} ({}): {already}",
                    sliver.id, sliver.client_id
                )));
            }
            told.errors.insert(sliver.id, already.to_owned());
        }
    }
    let (expires, cut) = settings.leases.begin(Allocation::Provisioned, request.end, caller.until, now)?;
    if allocated.is_empty() {
        return Ok(Proposal { step: None, told });
    }
    let mut new = old.next();
    let users = users::merge(&request.users);
    let accounts = users::accounts_for(&mut new, settings, &users)?;
    new.edit(&allocated, |sliver| {
        sliver.state = SliverState::Provisioned;
        sliver.expires = expires;
        sliver.body.node.accounts = users::in_order(&users, &accounts, sliver.body.sudo);
        sliver.body.node.accounts_revision += 1;
        sliver.note("provisioned", now);
    });
    told.diagnostics.extend(cut_notice(cut, expires));
    let names =
        picked.slivers.iter().filter(|sliver| is_allocated(sliver)).map(|sliver| sliver.client_id.as_str());
    let detail = format!("until {} for {} users: {}", format(expires), users.len(), shorten(names));
    Ok(Proposal { step: Some(Step::new(&old, new, "provision", detail)), told })
}

/// Best effort for slivers none of which is there.
pub(super) fn only_missing(picked: Picked) -> Proposal<Told> {
    let told = Told { missing: picked.missing, errors: HashMap::new(), ..Told::default() };
    Proposal { step: None, told }
}
