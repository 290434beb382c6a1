//! Whether what is asked of a slice is so: a host says of each revision how far its nodes and links have come to it, and here
//! that is held against the revision that the host was last asked for. Pure; nothing of it is stored.
//!
//! What a sliver is doing ([`crate::lifecycle`]) is another question: a node is ready while its routes change.

use std::collections::BTreeSet;

use jiff::Timestamp;
use testyard_agent::observed::LinksSeen;
use testyard_model::id::HostName;
use testyard_model::state::Operational;
use testyard_store::SliverState;

use crate::slice::{Slice, Sliver};
use crate::state::State;

/// Nodes whose trouble is told one by one.
const MOST_TOLD: usize = 3;

/// How a slice stands to what is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// All of it is so.
    pub(crate) converged: bool,
    /// What keeps it from being so, for people; nothing as long as all is well.
    pub(crate) problem: Option<String>,
}

impl Standing {
    pub(crate) fn of(state: &State, slice: &Slice, now: Timestamp) -> Self {
        let mut late = given(slice, now).filter(|sliver| !has_converged(state, slice, sliver)).peekable();
        if late.peek().is_none() && links_have_converged(state, slice, now) {
            return Self { converged: true, problem: None };
        }
        let mut problems: BTreeSet<String> =
            state.link_problems_of(Some(slice.id)).map(|why| format!("links: {why}")).collect();
        let mut troubled = Vec::new();
        for sliver in late {
            match state.hosts.get(&sliver.host) {
                Some(health) if !health.healthy && !has_taken(state, slice, &sliver.host) => {
                    problems.insert(format!("host {} does not answer; it is asked again", sliver.host));
                }
                _ => troubled.push(sliver),
            }
        }
        let mut problems: Vec<String> = problems.into_iter().collect();
        let told = troubled.into_iter().map(|sliver| (&sliver.client_id, state.operational(sliver).1));
        let mut told = told.filter(|(_, error)| !error.is_empty());
        problems.extend(told.by_ref().take(MOST_TOLD).map(|(name, error)| format!("{name}: {error}")));
        match told.count() {
            0 => {}
            more => problems.push(format!("and {more} more nodes")),
        }
        Self { converged: false, problem: (!problems.is_empty()).then(|| problems.join("; ")) }
    }
}

/// Whether a sliver is all that is asked of it.
pub(crate) fn has_converged(state: &State, slice: &Slice, sliver: &Sliver) -> bool {
    let observed = || state.observed(sliver.id);
    // The rest is what was asked for without a node whose failure is not to matter.
    let is_let_go =
        || !sliver.body.on_failure.is_fatal() && state.operational(sliver).0 == Operational::Failed;
    sliver.state != SliverState::Provisioned
        || is_let_go()
        || has_taken(state, slice, &sliver.host) && observed().is_some_and(|node| node.converged)
}

/// Whether the links of a slice are, on all of its hosts.
pub(crate) fn links_have_converged(state: &State, slice: &Slice, now: Timestamp) -> bool {
    let hosts: BTreeSet<&HostName> = given(slice, now).map(|sliver| &sliver.host).collect();
    hosts.into_iter().all(|host| {
        let seen = state.links.get(&(slice.id, host.clone()));
        has_taken(state, slice, host) && matches!(seen, None | Some(LinksSeen::None | LinksSeen::Joined))
    })
}

/// Slivers that a host is to have.
fn given(slice: &Slice, now: Timestamp) -> impl Iterator<Item = &Sliver> {
    slice.living(now).map(AsRef::as_ref).filter(|sliver| sliver.state == SliverState::Provisioned)
}

/// Whether the host works on what it was asked for last.
fn has_taken(state: &State, slice: &Slice, host: &HostName) -> bool {
    let key = (slice.id, host.clone());
    state.asked.get(&key).is_none_or(|asked| state.reported.get(&key).is_some_and(|seen| seen >= asked))
}
