//! What callers are shown.

use std::collections::HashMap;

use jiff::Timestamp;
use testyard_model::diagnostic::Diagnostic;
use testyard_model::id::SliverId;
use testyard_model::sliver_type::Protocol;
use testyard_model::state::Allocation;
use testyard_model::urn::{SliceUrn, SliverUrn};

use crate::api::{LinkView, ScheduleView, SliceView, SliverView};
use crate::convergence::{Standing, has_converged, links_have_converged};
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::state::State;

/// What a call has to say beside how the slivers are.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The slivers to show.
    pub(crate) slivers: Vec<SliverId>,
    /// What went wrong for some of them.
    pub(crate) errors: HashMap<SliverId, String>,
    /// Named and not there.
    pub(crate) missing: Vec<(SliverUrn, String)>,
    /// Remarks.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The slivers of a slice that a call is about.
pub(crate) fn slice_view(
    state: &State,
    settings: &Settings,
    urn: &SliceUrn,
    slice: Option<&Slice>,
    told: Told,
    now: Timestamp,
) -> SliceView {
    let Told { slivers: shown, mut errors, missing, diagnostics } = told;
    let shown: std::collections::HashSet<SliverId> = shown.into_iter().collect();
    let slivers: Vec<SliverView> = slice
        .into_iter()
        .flat_map(|slice| slice.slivers.iter().map(move |sliver| (slice, sliver)))
        .filter(|(_, sliver)| shown.contains(&sliver.id))
        .map(|(slice, sliver)| {
            let mut view = sliver_view(state, settings, slice, sliver);
            if let Some(error) = errors.remove(&sliver.id) {
                view.error = error;
            }
            view
        })
        .collect();
    let documents = slice
        .into_iter()
        .flat_map(|slice| &slice.documents)
        .filter(|document| slivers.iter().any(|sliver| sliver.document == document.id))
        .map(|document| document.as_ref().clone())
        .collect();
    let networks = slice.into_iter().flat_map(|slice| &slice.networks);
    let shown = networks.filter(|(document, _)| slivers.iter().any(|sliver| sliver.document == **document));
    let standing = slice.map(|slice| Standing::of(state, slice, now));
    let Standing { converged, problem: trouble } =
        standing.unwrap_or(Standing { converged: true, problem: None });
    let links_converged = slice.is_none_or(|slice| links_have_converged(state, slice, now));
    let problems: Vec<&str> = state.link_problems_of(slice.map(|slice| slice.id)).collect();
    let problem = (!problems.is_empty()).then(|| problems.join("; "));
    let links = shown.flat_map(|(document, network)| {
        let plan = network.at(now);
        let links: Vec<_> = network.links().zip(plan.links().iter().cloned()).collect();
        links.into_iter().map(|((client_id, sliver), now)| LinkView {
            urn: settings.sliver_urn(sliver),
            document: *document,
            client_id: client_id.clone(),
            now,
            reverts: network.changes_of(client_id).filter_map(|change| change.until).min(),
            changed: network.changes_of(client_id).next().is_some(),
            converged: links_converged,
            problem: problem.clone(),
        })
    });
    let links = links.collect();
    let schedule = slice.and_then(|slice| schedule_view(state, slice, now));
    SliceView {
        urn: urn.clone(),
        documents,
        slivers,
        links,
        schedule,
        converged,
        problem: trouble,
        missing,
        diagnostics,
    }
}

fn schedule_view(state: &State, slice: &Slice, now: Timestamp) -> Option<ScheduleView> {
    let (schedule, begun) =
        slice.networks.values().map(|network| network.run()).find(|(events, _)| !events.is_empty())?;
    let seen = state
        .runs
        .iter()
        .filter(|((id, _), seen)| *id == slice.id && begun.is_some_and(|begun| begun.number == seen.number));
    let seen: Vec<_> = seen.map(|(_, seen)| seen).collect();
    // Hosts count changes of links that were made meanwhile, too.
    let due = begun.map_or(0, |begun| begun.due(schedule, now));
    Some(ScheduleView {
        events: schedule.len(),
        run: begun.map(|begun| (begun.number, begun.zero)),
        done: seen.iter().map(|seen| seen.done).max().unwrap_or(0).min(due),
        late_ms_max: seen.iter().map(|seen| seen.late_ms_max).max().unwrap_or(0),
        notice: seen.iter().find_map(|seen| seen.notice.clone()),
    })
}

/// A sliver as it is.
fn sliver_view(state: &State, settings: &Settings, slice: &Slice, sliver: &Sliver) -> SliverView {
    let network = slice.networks.get(&sliver.document);
    let seen = state.seen.get(&sliver.id);
    let (operational, error) = state.operational(sliver);
    let node = &sliver.body.node;
    let provisioned = sliver.allocation() == Allocation::Provisioned;
    let ssh = node
        .forwards
        .iter()
        .find(|forward| forward.port.protocol == Protocol::Tcp && forward.port.number.get() == 22);
    let mut events = sliver.body.events.clone();
    events.extend(seen.into_iter().flat_map(|seen| seen.events.iter().cloned()));
    events.sort_by_key(|event| event.at);
    SliverView {
        id: sliver.id,
        urn: settings.sliver_urn(sliver.id),
        document: sliver.document,
        client_id: sliver.client_id.clone(),
        allocation: sliver.allocation(),
        operational,
        converged: has_converged(state, slice, sliver),
        on_failure: sliver.body.on_failure,
        expires: sliver.expires,
        error,
        host: sliver.host.clone(),
        host_address: settings
            .host(&sliver.host)
            .map_or_else(|| sliver.host.to_string(), |host| host.public_name.clone()),
        sliver_type: sliver.body.sliver_type.clone(),
        image: node.image.clone(),
        hostname: node.hostname.clone(),
        address: node.address,
        ssh_port: ssh.filter(|_| provisioned).map(|forward| forward.host_port),
        forwards: node.forwards.iter().filter(|forward| Some(*forward) != ssh).copied().collect(),
        interfaces: network.map(|network| network.interfaces(sliver)).unwrap_or_default(),
        accounts: node.accounts.clone(),
        host_keys: node.host_keys.iter().map(|key| key.public.clone()).collect(),
        services: node.services.clone(),
        observed: seen.and_then(|seen| seen.observed.as_deref().cloned()),
        events,
    }
}
