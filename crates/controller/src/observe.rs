//! What hosts report, and what follows from it: another operational state, a sliver that has left, ports that an image
//! turned out to EXPOSE.
//!
//! A host that has gone silent marks nothing lost: what it saw last stays until it reports again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testyard_agent::observed::{self, Carried, LinksSeen, ProgramReport, ScheduleSeen};
use testyard_fabric::Forward;
use testyard_guest_protocol::ServiceState;
use testyard_model::id::{HostName, SliceId};
use testyard_plan::PortForward;
use testyard_plan::ports::exposed;
use testyard_store::SliverState;
use tokio::task::JoinSet;

use crate::commit::Step;
use crate::core::Core;
use crate::event::Happening;
use crate::hosts::Driver;
use crate::reservation::Reservation;
use crate::run;
use crate::slice::{Slice, Sliver};
use crate::state::State;

/// The pause before a report is listened for again, and before a chore that failed is done again.
const PAUSE: Duration = Duration::from_millis(500);

/// Slices about which something is to be done since a host reported; each at most once at a time.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    pending: Mutex<HashSet<SliceId>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Chores {
    fn pending(&self) -> MutexGuard<'_, HashSet<SliceId>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts off what is being done, without waiting.
    pub(crate) fn abort(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Cuts off what is being done. The next reports begin it again.
    pub(crate) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl Core {
    /// Listens to a host. Never returns.
    pub(crate) async fn listen(self: Arc<Self>, driver: Arc<Driver>) {
        loop {
            let mut reports = driver.host.watch();
            while let Some(report) = reports.recv().await {
                self.observe(&driver.name, report);
            }
            tracing::warn!(host = %driver.name, "the host does not report any more; listening again");
            tokio::time::sleep(PAUSE).await;
            // It may have forgotten what should be on it.
            driver.wake_for_all();
        }
    }

    /// Takes note of what a host reports of one slice.
    pub(crate) fn observe(self: &Arc<Self>, host: &HostName, report: observed::Slice) {
        let now = self.clock.now();
        let mut state = self.shared.write();
        // A host has nothing to say of slices that it has no part in.
        let slice = state.life(report.slice).filter(|slice| slice.hosts().contains(host)).cloned();
        let Some(slice) = slice else { return };
        let newest = state.reported.entry((slice.id, host.clone())).or_default();
        if report.revision < *newest {
            return;
        }
        let taken = std::mem::replace(newest, report.revision) != report.revision;
        let key = (slice.id, host.clone());
        let mut happened = Vec::new();
        let run = match report.schedule {
            Some(seen) => {
                happened.extend(carried(&state, &slice, &seen));
                state.runs.insert(key.clone(), seen.clone()).as_ref() != Some(&seen)
            }
            None => state.runs.remove(&key).is_some(),
        };
        match report.images.is_empty() {
            true => drop(state.images.remove(&key)),
            false => drop(state.images.insert(key.clone(), report.images)),
        }
        let joined = state.links.insert(key, report.links.clone()).as_ref() != Some(&report.links);
        happened.extend(Some(&report.links).filter(|_| joined).and_then(in_links));
        let left = |sliver: &Sliver| match sliver.state {
            SliverState::Leaving(since) => since <= report.revision,
            _ => false,
        };
        let here: HashSet<_> = report.nodes.iter().map(|node| node.sliver).collect();
        let gone: Vec<_> = slice
            .slivers
            .iter()
            .filter(|sliver| sliver.host == *host && left(sliver) && !here.contains(&sliver.id))
            .map(|sliver| sliver.id)
            .collect();
        let chore = !gone.is_empty();
        state.gone.extend(gone);
        let known: HashMap<_, _> = slice
            .slivers
            .iter()
            .filter(|sliver| sliver.host == *host && !sliver.is_leaving())
            .map(|sliver| (sliver.id, sliver))
            .collect();
        let mut fresh = Vec::new();
        for node in report.nodes {
            let Some(sliver) = known.get(&node.sliver) else { continue };
            let seen = state.seen.entry(sliver.id).or_default();
            if seen.observed.as_deref() != Some(&node) {
                happened.extend(in_programs(sliver, seen.observed.as_deref(), &node));
                seen.observed = Some(Arc::new(node));
                fresh.push(*sliver);
            }
        }
        self.announce(&slice, now, happened);
        self.derive(&mut state, &slice, fresh.iter().copied(), now);
        let news = taken || joined || run || !fresh.is_empty();
        if news {
            self.take_stock(&mut state, &slice, now);
        }
        let chore = chore
            || !run::due(&state, &slice, now).is_empty()
            || slice.slivers.iter().any(|sliver| !unpublished(&state, sliver).is_empty());
        drop(state);
        if !fresh.is_empty() {
            self.keeper.mark(fresh.iter().map(|sliver| sliver.id));
        }
        if news {
            self.changed();
        }
        if chore {
            self.begin_chore(slice.id);
        }
    }

    pub(crate) fn begin_chore(self: &Arc<Self>, id: SliceId) {
        if self.chores.pending().insert(id) {
            let mut tasks = self.chores.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(Arc::clone(self).chore(id));
        }
    }

    async fn chore(self: Arc<Self>, id: SliceId) {
        loop {
            let Some(urn) = self.shared.read().life(id).map(|slice| slice.urn.clone()) else { break };
            let turn = self.turns.take(&urn).await;
            // From here on a report begins the chore anew.
            self.chores.pending().remove(&id);
            let mut reservation = Reservation::new(self.shared.clone());
            let step = tidy(&self, &mut self.shared.write(), id, &mut reservation);
            let Some(step) = step else { return };
            match self.commit(step, reservation, None, turn).await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        self.chores.pending().remove(&id);
    }
}

/// What people are told of links on a host.
fn in_links(seen: &LinksSeen) -> Option<Happening> {
    match seen {
        LinksSeen::None | LinksSeen::Joining => None,
        LinksSeen::Joined => Some(Happening::Links { problem: None }),
        LinksSeen::Failed(why) => Some(Happening::Links { problem: Some(why.clone()) }),
    }
}

/// Programs of a node that have begun or ended since it was seen last.
fn in_programs(
    sliver: &Sliver,
    before: Option<&observed::Node>,
    now: &observed::Node,
) -> impl Iterator<Item = Happening> {
    let standing = |report: &ProgramReport| (report.start, report.state);
    let is_news = |report: &&ProgramReport| {
        let known = || before?.programs.iter().find(|known| known.program == report.program);
        report.state != ServiceState::Waiting && known().map(standing) != Some(standing(report))
    };
    let happening = |report: &ProgramReport| Happening::Program {
        node: sliver.client_id.clone(),
        report: report.clone(),
    };
    now.programs.iter().filter(is_news).map(happening).collect::<Vec<_>>().into_iter()
}

/// Events of a schedule that a host has carried out, as far as no host has told of them before.
fn carried(state: &State, slice: &Slice, seen: &ScheduleSeen) -> Vec<Happening> {
    let scheduled =
        slice.networks.values().map(|network| network.run()).find(|(events, _)| !events.is_empty());
    let Some((events, Some(run))) = scheduled else { return vec![] };
    if run.number != seen.number {
        return vec![];
    }
    let known = state.runs.iter().filter(|((id, _), known)| *id == slice.id && known.number == seen.number);
    let known: HashSet<u32> = known.flat_map(|(_, known)| &known.recent).map(|known| known.event).collect();
    let news = seen.recent.iter().filter(|carried| !known.contains(&carried.event));
    // Changes that were made meanwhile are in no schedule; they have been told.
    let happening = |carried: &Carried| {
        let event = events.get(carried.event as usize)?;
        let late = carried.at.duration_since(run.zero).as_nanos() - i128::from(event.at.as_nanos());
        let late_ms = u64::try_from(late / 1_000_000).unwrap_or(0);
        Some(Happening::Scheduled { run: run.number, due: event.at, action: event.action.clone(), late_ms })
    };
    news.filter_map(happening).collect()
}

/// Forgets slivers that have left, publishes ports, and begins schedules.
fn tidy(core: &Core, state: &mut State, id: SliceId, reservation: &mut Reservation) -> Option<Step> {
    let old = Arc::clone(state.life(id)?);
    let gone: BTreeSet<_> =
        old.slivers.iter().filter(|sliver| state.gone.contains(&sliver.id)).map(|sliver| sliver.id).collect();
    let mut new = old.next();
    new.forget(&gone);
    let published = publish(core, state, &mut new, reservation);
    let now = core.clock.now();
    let due = run::due(state, &old, now);
    run::begin(&mut new, &due, now);
    (published || !gone.is_empty() || !due.is_empty()).then(|| Step::new(&old, new, "tidy", String::new()))
}

fn publish(core: &Core, state: &mut State, slice: &mut Slice, reservation: &mut Reservation) -> bool {
    let settings = core.settings.load();
    let mut any = false;
    for sliver in &mut slice.slivers {
        let missing = unpublished(state, sliver);
        let Some(host) = settings.host(&sliver.host).filter(|_| !missing.is_empty()) else { continue };
        let Some(usage) = state.usage.get(&sliver.host) else { continue };
        let has: Vec<_> = sliver
            .body
            .node
            .forwards
            .iter()
            .map(|forward| PortForward { host_port: forward.host_port, port: forward.port })
            .collect();
        let (forwards, left_out) = exposed(&host.resources, usage, &has, &missing);
        if !left_out.is_empty() {
            tracing::warn!(sliver = %sliver.id, ports = left_out.len(), "no free port of the host for exposed ports");
        }
        let ports = forwards.iter().map(|forward| forward.host_port).collect::<Vec<_>>();
        if ports.is_empty() || reservation.ports(state, &sliver.host, ports).is_err() {
            continue;
        }
        let forward = |forward: PortForward| Forward { host_port: forward.host_port, port: forward.port };
        Arc::make_mut(sliver).body.node.forwards.extend(forwards.into_iter().map(forward));
        any = true;
    }
    any
}

/// Ports of the image that are to be led to and are not.
fn unpublished(state: &State, sliver: &Sliver) -> Vec<testyard_model::sliver_type::Port> {
    if !sliver.body.publish_exposed || sliver.state != SliverState::Provisioned {
        return vec![];
    }
    let image = state.seen.get(&sliver.id).and_then(|seen| seen.observed.as_ref()?.image.as_ref());
    let has = |port| sliver.body.node.forwards.iter().any(|forward| forward.port == port);
    image
        .into_iter()
        .flat_map(|image| &image.exposed)
        .copied()
        .filter(|port| !has(*port))
        .take(MOST_EXPOSED)
        .collect()
}

/// Exposed ports of one node that are led to at most: an image may name thousands.
const MOST_EXPOSED: usize = 50;
