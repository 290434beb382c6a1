//! Operational actions. Each is a change of what should be, so an action that is asked for twice, or while another one
//! is on its way, needs no special care: the last word counts.
//!
//! | action | pending | configuring, ready, busy, updating | stopping, notready | failed |
//! | --- | --- | --- | --- | --- |
//! | start | no | nothing to do | power on | power on, boot anew |
//! | stop | no | power off | nothing to do | power off |
//! | restart | no | boot anew | power on, boot anew | power on, boot anew |
//! | reload | no | fresh disk | power on, fresh disk | power on, fresh disk |
//! | update users | no | only ready, busy, updating | refused | refused |
//! | cancel update | no | nothing to do | nothing to do | nothing to do |

use std::collections::BTreeSet;
use std::sync::Arc;

use testyard_agent::desired::Power;
use testyard_model::account::Account;
use testyard_model::state::{Action, Allocation, Operational};

use super::allocate::shorten;
use super::provision::only_missing;
use super::users;
use crate::api::{Caller, Effort, Perform, Refusal, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::select::{nothing, pick};
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::view::Told;

impl Core {
    pub(crate) async fn perform(
        self: &Arc<Self>,
        caller: &Caller,
        request: Perform,
    ) -> Result<SliceView, Refusal> {
        let urn = request.selection.slice();
        if request.action == Action::UpdateUsers && request.users.is_empty() {
            return Err(Refusal::BadRequest(
                "geni_update_users needs users (geni_users): none were given".to_owned(),
            ));
        }
        let verb = |context: Context<'_>| propose(context, &request);
        self.change_and_show(urn, caller, verb).await
    }
}

fn propose(context: Context<'_>, request: &Perform) -> Result<Proposal<Told>, Refusal> {
    let Context { state, settings, slice, now, .. } = context;
    let (urn, effort) = (request.selection.slice(), request.effort);
    let picked = pick(state, settings.authority(), slice.as_deref(), &request.selection, effort, now)?;
    let Some(old) = slice else {
        return if picked.whole { Err(nothing(urn)) } else { Ok(only_missing(picked)) };
    };
    picked.not_empty(urn)?;
    let mut told = Told { missing: picked.missing, ..Told::default() };
    let mut able = BTreeSet::new();
    // A slice means those of its slivers that anything can be done to.
    let provisioned = |sliver: &Arc<Sliver>| sliver.allocation() == Allocation::Provisioned;
    let some = picked.slivers.iter().any(provisioned);
    let about = picked.slivers.iter().filter(|sliver| !picked.whole || !some || provisioned(sliver));
    for sliver in about.clone() {
        told.slivers.push(sliver.id);
        match possible(request.action, state.operational(sliver).0) {
            Ok(()) => {
                able.insert(sliver.id);
            }
            Err(refusal) if effort == Effort::AllOrNothing => return Err(refusal.about(sliver)),
            Err(refusal) => {
                told.errors.insert(sliver.id, refusal.to_string());
            }
        }
    }
    let mut new = old.next();
    let merged = users::merge(&request.users);
    let accounts = match request.action {
        Action::UpdateUsers if !able.is_empty() => {
            let accounts = users::accounts_for(&mut new, settings, &merged)?;
            users::in_order(&merged, &accounts, false)
        }
        _ => vec![],
    };
    let mut changed = Vec::new();
    for sliver in old.slivers.iter().filter(|sliver| able.contains(&sliver.id)) {
        let failed = state.operational(sliver).0 == Operational::Failed;
        let mut after = sliver.as_ref().clone();
        after.body.catch_up(state.observed(sliver.id));
        let before = after.clone();
        act(&mut after, request.action, failed, &accounts);
        if after.body.node.accounts.len() > settings.quotas.users_per_node as usize {
            return Err(too_many_users(settings));
        }
        if after != before {
            after.note(event_word(request.action), now);
            changed.push(after);
        }
    }
    if changed.is_empty() {
        return Ok(Proposal { step: None, told });
    }
    let names = shorten(changed.iter().map(|sliver| sliver.client_id.as_str()));
    put(&mut new, changed);
    let detail = format!("{}: {names}", request.action);
    Ok(Proposal { step: Some(Step::new(&old, new, "perform", detail)), told })
}

fn put(slice: &mut Slice, changed: Vec<Sliver>) {
    for after in changed {
        if let Some(place) = slice.slivers.iter_mut().find(|sliver| sliver.id == after.id) {
            *place = Arc::new(after);
        }
    }
}

fn possible(action: Action, state: Operational) -> Result<(), Refusal> {
    use Operational::{PendingAllocation, Ready, ReadyBusy, UpdatingUsers};
    match (action, state) {
        (_, PendingAllocation) => {
            Err(Refusal::Unsupported("it is not provisioned yet, so nothing can be done to it".to_owned()))
        }
        (Action::UpdateUsers, Ready | ReadyBusy | UpdatingUsers) => Ok(()),
        (Action::UpdateUsers, state) => {
            Err(Refusal::Refused(format!("it is {state}; its users can be updated when it is geni_ready")))
        }
        _ => Ok(()),
    }
}

/// Makes the action so in what should be.
fn act(sliver: &mut Sliver, action: Action, failed: bool, accounts: &[Account]) {
    let sudo = sliver.body.sudo;
    let node = &mut sliver.body.node;
    match action {
        Action::Start => {
            node.power = Power::On;
            node.boot += u32::from(failed);
        }
        Action::Stop => node.power = Power::Off,
        Action::Restart => {
            node.power = Power::On;
            node.boot += 1;
        }
        Action::Reload => {
            node.power = Power::On;
            node.boot += 1;
            node.disk += 1;
        }
        Action::UpdateUsers => {
            let before = node.accounts.clone();
            for account in accounts {
                let account = Account { sudo, ..account.clone() };
                match node.accounts.iter_mut().find(|known| known.user == account.user) {
                    Some(known) => *known = account,
                    None => node.accounts.push(account),
                }
            }
            node.accounts_revision += u64::from(node.accounts != before);
        }
        // An update is a new state of the accounts, whole, and there is no way back to a state that nobody named.
        Action::CancelUpdateUsers => {}
    }
}

fn event_word(action: Action) -> &'static str {
    match action {
        Action::Start => "start asked for",
        Action::Stop => "stop asked for",
        Action::Restart => "restart asked for",
        Action::Reload => "reload asked for",
        Action::UpdateUsers | Action::CancelUpdateUsers => "new users asked for",
    }
}

fn too_many_users(settings: &Settings) -> Refusal {
    Refusal::Refused(format!("too many users: a node has at most {}", settings.quotas.users_per_node))
}

impl Refusal {
    /// The same, naming the sliver.
    fn about(self, sliver: &Sliver) -> Self {
        let named = |text: String| format!("sliver {} ({}): {text}", sliver.id, sliver.client_id);
        match self {
            Self::Unsupported(text) => Self::Unsupported(named(text)),
            Self::Refused(text) => Self::Refused(named(text)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operational as O;

    #[test]
    fn what_is_possible_when() {
        for action in Action::ALL {
            assert!(matches!(possible(*action, O::PendingAllocation), Err(Refusal::Unsupported(_))));
            for state in [
                O::NotReady,
                O::Configuring,
                O::Stopping,
                O::Ready,
                O::ReadyBusy,
                O::UpdatingUsers,
                O::Failed,
            ] {
                let users = matches!(state, O::Ready | O::ReadyBusy | O::UpdatingUsers);
                match possible(*action, state) {
                    Ok(()) => assert!(*action != Action::UpdateUsers || users),
                    Err(refusal) => {
                        assert!(matches!(refusal, Refusal::Refused(_)));
                        assert!(*action == Action::UpdateUsers && !users);
                    }
                }
            }
        }
    }
}
