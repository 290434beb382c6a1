//! Verify: what the links of a slice really do is measured by its hosts, judged, and kept with the slice.

mod clocks;
mod spread;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use testyard_model::id::SliceId;
use testyard_model::name::ClientId;
use testyard_model::quantity::Span;
use testyard_model::state::Operational;
use testyard_model::urn::SliceUrn;
use testyard_plan::NetworkPlan;
use testyard_store::{AuditObject, Change, ChangeError, WriteError};
use testyard_verify::report::Reference;
use testyard_verify::{Options, Outcome, Report, Schedule, report, schedule};

use crate::api::{Caller, KeptReport, Refusal, Verify};
use crate::core::Core;
use crate::network::{ChangeError as NoLink, Network};
use crate::select::nothing;
use crate::slice::{Slice, Sliver};
use crate::state::State;
use spread::{Place, Spread};

/// Slices whose links are being measured: two at a time would measure each other.
#[derive(Debug, Default)]
pub(crate) struct Verifying(Mutex<HashSet<SliceId>>);

/// A slice's links are being measured as long as this is there.
pub(crate) struct Measuring<'a> {
    all: &'a Verifying,
    slice: SliceId,
}

impl Verifying {
    fn begin(&self, slice: SliceId) -> Option<Measuring<'_>> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slice);
        new.then_some(Measuring { all: self, slice })
    }
}

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slice);
    }
}

/// What is to be measured, and by whom.
struct Task {
    slice: SliceId,
    /// One after the other.
    parts: Vec<Part>,
}

/// What is to be measured of one request of the slice: each has its own links.
struct Part {
    document: i64,
    network: NetworkPlan,
    schedule: Schedule,
    places: HashMap<ClientId, Place>,
}

impl Core {
    /// Measures step by step; `progress` hears how many of all are done.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        caller: &Caller,
        request: Verify,
        mut progress: impl FnMut(usize, usize) + Send,
    ) -> Result<Report, Refusal> {
        self.admit(caller, &request.slice)?;
        let task = self.task(&request)?;
        let _only_one = self.verifying.begin(task.slice).ok_or_else(|| {
            Refusal::Busy(format!("the links of slice {} are being measured already", request.slice))
        })?;
        self.audit(caller, AuditObject::Slice(request.slice.clone()), "verify", String::new()).await?;
        let all = task.parts.iter().map(|part| part.schedule.steps.len()).sum();
        let (mut done, mut reports) = (0, Vec::with_capacity(task.parts.len()));
        for part in &task.parts {
            let spread = Spread::of(&part.schedule, &part.network, &part.places);
            let mut taken = Vec::with_capacity(part.schedule.steps.len());
            for step in &part.schedule.steps {
                progress(done, all);
                if !task.stands(&self.shared.read(), self.clock.now()) {
                    return Err(Refusal::Busy(
                        "links were changed, or ended, while they were measured: measure them again"
                            .to_owned(),
                    ));
                }
                taken.push(self.measure(task.slice, &spread, step).await);
                done += 1;
            }
            reports.push(report(&part.schedule, &taken));
        }
        if !task.stands(&self.shared.read(), self.clock.now()) {
            return Err(Refusal::Busy(
                "links were changed while they were measured: measure them again".to_owned(),
            ));
        }
        progress(all, all);
        let report = reports.into_iter().reduce(together).ok_or_else(|| nothing(&request.slice))?;
        self.keep_report(task.slice, &report).await?;
        Ok(report)
    }

    /// The newest report of a slice.
    pub(crate) async fn report(&self, caller: &Caller, slice: &SliceUrn) -> Result<KeptReport, Refusal> {
        self.admit(caller, slice)?;
        let id = self.shared.read().slice(slice).map(|slice| slice.id).ok_or_else(|| nothing(slice))?;
        let kept = self.store.report(id).await.map_err(|error| self.internal("report", &error))?;
        let (at, text) =
            kept.ok_or_else(|| Refusal::NotFound(format!("slice {slice} has not been verified yet")))?;
        let report = serde_json::from_str(&text).map_err(|error| self.internal("report", &error))?;
        Ok(KeptReport { at, report })
    }

    async fn keep_report(&self, slice: SliceId, report: &Report) -> Result<(), Refusal> {
        let text = serde_json::to_string(report).map_err(|error| self.internal("verify", &error))?;
        let at = self.clock.now();
        let write = move |change: &Change<'_>| change.put_report(slice, at, &text);
        let written: Result<(), WriteError<ChangeError>> = self.store.write(write, |&()| ()).await;
        written.map_err(|error| self.internal("verify", &error))
    }

    fn task(&self, request: &Verify) -> Result<Task, Refusal> {
        let now = self.clock.now();
        let state = self.shared.read();
        let slice = state.slice(&request.slice).ok_or_else(|| nothing(&request.slice))?;
        let networks = choose(slice, &request.options.links)?;
        let nodes: Vec<_> =
            slice.living(now).filter(|sliver| networks.contains_key(&sliver.document)).collect();
        let members: BTreeSet<(i64, &ClientId)> = networks
            .iter()
            .flat_map(|(document, network)| {
                let links = network.now().links().iter();
                let chosen = links.filter(|link| {
                    request.options.links.is_empty() || request.options.links.contains(&link.client_id)
                });
                chosen.flat_map(|link| &link.members).map(|member| (*document, &member.node))
            })
            .collect();
        let is_late = |sliver: &Sliver| {
            members.contains(&(sliver.document, &sliver.client_id))
                && state.operational(sliver).0 != Operational::Ready
        };
        if let Some(late) = nodes.iter().find(|sliver| is_late(sliver)) {
            let (name, is) = (&late.client_id, state.operational(late).0);
            return Err(Refusal::Unsupported(format!(
                "{name} is {is}: a link is verified when all nodes on it are ready; --link measures others"
            )));
        }
        let plans: Vec<(i64, NetworkPlan)> = networks
            .into_iter()
            .map(|(document, network)| (document, network.at(now).into_owned()))
            .collect();
        let shares = shares(plans.iter().map(|(_, plan)| plan), &request.options);
        let part = |((document, network), options): ((i64, NetworkPlan), Options)| {
            let of_it = nodes.iter().filter(|sliver| sliver.document == document);
            let place = |sliver: &Sliver| Place { host: sliver.host.clone(), sliver: sliver.id };
            let places = of_it.map(|sliver| (sliver.client_id.clone(), place(sliver))).collect();
            Part { document, schedule: schedule(&network, &options), network, places }
        };
        // Of a small sample a network may have no share; its reference need not be measured then.
        let is_nobodys = shares.iter().all(|options| options.sample == Some(0));
        let has_share = |(_, options): &(_, Options)| is_nobodys || options.sample != Some(0);
        let parts = plans.into_iter().zip(shares).filter(has_share).map(part);
        Ok(Task { slice: slice.id, parts: parts.collect() })
    }
}

/// Networks of a slice that have some of these links, or any if none is named.
fn choose<'s>(slice: &'s Slice, links: &BTreeSet<ClientId>) -> Result<BTreeMap<i64, &'s Network>, Refusal> {
    let with_links: BTreeMap<i64, &Network> = slice
        .networks
        .iter()
        .filter(|(_, network)| network.links().next().is_some())
        .map(|(document, network)| (*document, &**network))
        .collect();
    let Some(first) = with_links.values().next() else {
        return Err(Refusal::Unsupported(format!("slice {} has no links", slice.urn)));
    };
    let has = |network: &Network, link: &ClientId| network.now().link(link).is_ok();
    let unknown = links.iter().find(|link| !with_links.values().any(|network| has(network, link)));
    if let Some(Err(error)) = unknown.map(|link| first.now().link(link)) {
        return Err(Refusal::from(NoLink::Live(error)));
    }
    let wanted = |network: &Network| links.is_empty() || links.iter().any(|link| has(network, link));
    Ok(with_links.into_iter().filter(|(_, network)| wanted(network)).collect())
}

/// What is asked for, shared out among networks by how many ways each has: the sample, the time, and the chance to err.
fn shares<'p>(plans: impl Iterator<Item = &'p NetworkPlan>, options: &Options) -> Vec<Options> {
    let ways = |plan| schedule(plan, &Options { sample: Some(0), ..options.clone() }).ways_there;
    let ways: Vec<usize> = plans.map(ways).collect();
    let all = ways.iter().sum::<usize>().max(1);
    let (mut before, mut shares) = (0, Vec::with_capacity(ways.len()));
    for ways in ways {
        // Up to here rounded, less what went to those before: together it is the whole.
        let up_to = |ways: usize, sample: usize| ways * sample.min(all) / all;
        let sample = options.sample.map(|sample| up_to(before + ways, sample) - up_to(before, sample));
        let share = ways as f64 / all as f64;
        let budget = Span::from_nanos((options.budget.as_nanos() as f64 * share) as u64);
        shares.push(Options { sample, budget, error: options.error * share, ..options.clone() });
        before += ways;
    }
    shares
}

/// Reports of two networks as one: each way was held against its own reference, of which the worse is told.
fn together(one: Report, other: Report) -> Report {
    let worse = |one: Option<f64>, other: Option<f64>, by: fn(f64, f64) -> f64| match (one, other) {
        (Some(one), Some(other)) => Some(by(one, other)),
        (one, other) => one.or(other),
    };
    let outcome = match (one.outcome, other.outcome) {
        (Outcome::Broken, _) | (_, Outcome::Broken) => Outcome::Broken,
        (Outcome::Holds, _) | (_, Outcome::Holds) => Outcome::Holds,
        (Outcome::NotMeasured, Outcome::NotMeasured) => Outcome::NotMeasured,
    };
    Report {
        version: one.version,
        outcome,
        error: one.error + other.error,
        tests: one.tests + other.tests,
        ways_there: one.ways_there + other.ways_there,
        reference: Reference {
            delay: worse(one.reference.delay, other.reference.delay, f64::max),
            drift: worse(one.reference.drift, other.reference.drift, f64::max),
            moves: worse(one.reference.moves, other.reference.moves, f64::min),
        },
        ways: one.ways.into_iter().chain(other.ways).collect(),
    }
}

impl Task {
    /// Whether the links are still those that are measured.
    fn stands(&self, state: &State, now: Timestamp) -> bool {
        let slice = state.life(self.slice);
        self.parts.iter().all(|part| {
            let network = slice.and_then(|slice| slice.networks.get(&part.document));
            network.is_some_and(|network| *network.at(now) == part.network)
        })
    }
}
