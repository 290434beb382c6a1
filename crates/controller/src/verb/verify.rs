//! Verify: what the links of a slice really do is measured by its host, judged, and kept with the slice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use testyard_agent::probe::{Path, Probe};
use testyard_fabric::links::PortId;
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_model::name::ClientId;
use testyard_model::probe::Probed;
use testyard_model::state::Operational;
use testyard_model::urn::SliceUrn;
use testyard_plan::NetworkPlan;
use testyard_store::{Change, ChangeError, WriteError};
use testyard_verify::schedule::End;
use testyard_verify::{Report, Schedule, Step, Subject, report, schedule};

use crate::api::{Caller, KeptReport, Refusal, Verify};
use crate::core::Core;
use crate::network::ChangeError as NoLink;
use crate::select::nothing;
use crate::state::State;

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
    document: i64,
    network: NetworkPlan,
    host: HostName,
    schedule: Schedule,
    slivers: HashMap<ClientId, SliverId>,
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
        let driver = self.drivers.get(&task.host).ok_or_else(|| nothing(&request.slice))?;
        let (mut taken, all) = (Vec::with_capacity(task.schedule.steps.len()), task.schedule.steps.len());
        for step in &task.schedule.steps {
            progress(taken.len(), all);
            if !task.stands(&self.shared.read(), self.clock.now()) {
                return Err(Refusal::Busy(
                    "links were changed, or ended, while they were measured: measure them again".to_owned(),
                ));
            }
            let answers = driver.host.probe(task.slice, task.probes(step)).await;
            taken.push(answers.unwrap_or_else(|error| {
                step.trials.iter().map(|_| Probed::Failed(error.to_string())).collect()
            }));
        }
        if !task.stands(&self.shared.read(), self.clock.now()) {
            return Err(Refusal::Busy(
                "links were changed while they were measured: measure them again".to_owned(),
            ));
        }
        progress(all, all);
        let report = report(&task.schedule, &taken);
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
        let (document, network) = slice
            .networks
            .iter()
            .find(|(_, network)| network.links().next().is_some())
            .ok_or_else(|| Refusal::Unsupported(format!("slice {} has no links", request.slice)))?;
        for link in &request.options.links {
            network.now().link(link).map_err(|error| Refusal::from(NoLink::Live(error)))?;
        }
        let nodes: Vec<_> = slice.living(now).filter(|sliver| sliver.document == *document).collect();
        if let Some(late) = nodes.iter().find(|sliver| state.operational(sliver).0 != Operational::Ready) {
            let (name, is) = (&late.client_id, state.operational(late).0);
            return Err(Refusal::Unsupported(format!(
                "{name} is {is}: links are verified when all nodes are ready"
            )));
        }
        let hosts: BTreeSet<&HostName> = nodes.iter().map(|sliver| &sliver.host).collect();
        let mut hosts = hosts.into_iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal::Unsupported("the slice is on several hosts".to_owned()));
        };
        Ok(Task {
            slice: slice.id,
            document: *document,
            network: network.at(now).into_owned(),
            host: host.clone(),
            schedule: schedule(&network.at(now), &request.options),
            slivers: nodes.iter().map(|sliver| (sliver.client_id.clone(), sliver.id)).collect(),
        })
    }
}

impl Task {
    /// Whether the links are still those that are measured.
    fn stands(&self, state: &State, now: Timestamp) -> bool {
        let network = state.life(self.slice).and_then(|slice| slice.networks.get(&self.document));
        network.is_some_and(|network| *network.at(now) == self.network)
    }

    fn probes(&self, step: &Step) -> Vec<Probe> {
        let probe = |trial: &testyard_verify::Trial| Probe {
            path: match trial.subject {
                Subject::Reference => Path::Reference,
                Subject::Way(place) => {
                    let way = &self.schedule.ways[place];
                    Path::Link { from: self.port(&way.from), to: self.port(&way.to) }
                }
            },
            train: trial.train,
            greeting: trial.greeting,
        };
        step.trials.iter().map(probe).collect()
    }

    /// A node that does not run has no sliver: its host says so of a number that is nobody's.
    fn port(&self, end: &End) -> PortId {
        let nobody = || SliverId::from_uuid(uuid::Uuid::nil());
        PortId {
            node: self.slivers.get(&end.node).copied().unwrap_or_else(nobody),
            device: end.device.to_string(),
        }
    }
}
