//! Links of the fake.

use std::collections::VecDeque;
use std::path::Path;

use async_trait::async_trait;
use testyard_model::id::{SliceId, SliverId};
use testyard_model::probe::{Arrival, ClockDomain, Probed, Samples, Train};

use super::{Call, FakeFabric, Verb, capture};
use crate::FabricError;
use crate::capture::{CaptureError, CaptureRequest, CaptureStream};
use crate::links::probe::{ProbeEnd, ProbePath, ProbeRequest};
use crate::links::{LinkTraffic, Links, NodePorts, SliceLinks};

/// What the next trains are answered with.
#[derive(Debug, Default)]
pub(super) struct Prober {
    answers: VecDeque<Probed>,
}

impl FakeFabric {
    /// The links of a slice as they were last wanted.
    #[must_use]
    pub fn links(&self, slice: SliceId) -> Option<SliceLinks> {
        self.lock().joined.get(&slice).cloned()
    }

    /// A node's interfaces, if it has any and has not ended.
    #[must_use]
    pub fn ports(&self, node: SliverId) -> Option<NodePorts> {
        self.lock().plugged.get(&node).map(|(_, ports)| ports.clone())
    }

    /// What [`Links::traffic`] answers for a slice.
    pub fn set_traffic(&self, slice: SliceId, traffic: Vec<LinkTraffic>) {
        self.lock().traffic.insert(slice, traffic);
    }

    /// What [`Links::probe`] answers the next trains with, in their order. Those of which nothing is said find links that
    /// do nothing.
    pub fn answer_probes(&self, answers: impl IntoIterator<Item = Probed>) {
        self.lock().prober.answers.extend(answers);
    }
}

/// What a link that does nothing makes of a train: all arrive at once. Of one between hosts, what this one has of it.
fn unharmed(path: &ProbePath, train: &Train) -> Probed {
    let clock = ClockDomain("fake".to_owned());
    let sent: Vec<u64> =
        (0..train.frames).map(|number| u64::from(number) * train.interval.as_nanos()).collect();
    let arrivals = (0..train.frames)
        .zip(&sent)
        .map(|(number, at)| Arrival { number, at: *at, damaged: false })
        .collect();
    let (sent, arrivals) = match path {
        ProbePath::Link { .. } | ProbePath::Reference => (sent, arrivals),
        ProbePath::Out { .. } => (sent, Vec::new()),
        ProbePath::In { .. } => (Vec::new(), arrivals),
        ProbePath::Clock => (vec![0], Vec::new()),
    };
    Probed::Sent(Samples { sent, arrivals, ..Samples::none(clock) })
}

#[async_trait]
impl Links for FakeFabric {
    async fn join(&self, wanted: &SliceLinks) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Join(wanted.slice));
        inner.enter(Verb::Join)?;
        if inner.joined.get(&wanted.slice).is_some_and(|there| there.revision > wanted.revision) {
            return Ok(());
        }
        inner.joined.insert(wanted.slice, wanted.clone());
        capture::follow(&mut inner.captures, wanted.slice, &wanted.links);
        Ok(())
    }

    async fn plug(&self, slice: SliceId, ports: &NodePorts, netns: &Path) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Plug(ports.node, netns.to_owned()));
        inner.enter(Verb::Plug)?;
        if inner.gone.contains(netns) {
            return Err(FabricError::Gone { sliver: ports.node });
        }
        if !inner.joined.contains_key(&slice) {
            if ports.ports.is_empty() {
                return Ok(());
            }
            return Err(FabricError::NotJoined { slice });
        }
        inner.plugged.insert(ports.node, (slice, ports.clone()));
        Ok(())
    }

    async fn part(&self, slice: SliceId) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Part(slice));
        inner.enter(Verb::Part)?;
        inner.joined.remove(&slice);
        capture::end(&mut inner.captures, slice);
        inner.plugged.retain(|_, (of, _)| *of != slice);
        Ok(())
    }

    async fn joined(&self) -> Result<Vec<SliceId>, FabricError> {
        let mut inner = self.lock();
        inner.enter(Verb::Joined)?;
        let mut slices: Vec<SliceId> = inner.joined.keys().copied().collect();
        slices.extend(inner.plugged.values().map(|(slice, _)| *slice));
        slices.sort_unstable();
        slices.dedup();
        Ok(slices)
    }

    async fn traffic(&self, slice: SliceId) -> Result<Vec<LinkTraffic>, FabricError> {
        Ok(self.lock().traffic.get(&slice).cloned().unwrap_or_default())
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Capture(slice));
        inner.enter(Verb::Capture)?;
        let links = match inner.joined.get(&slice) {
            Some(joined) => joined.links.clone(),
            None => return Err(CaptureError::NotJoined { slice }),
        };
        capture::begin(&mut inner.captures, slice, request, &links)
    }

    async fn try_filter(&self, _expression: &str) -> Result<(), CaptureError> {
        Ok(self.lock().enter(Verb::TryFilter)?)
    }

    async fn probe(&self, slice: SliceId, request: &ProbeRequest) -> Result<Vec<Probed>, FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Probe(slice, request.clone()));
        inner.enter(Verb::Probe)?;
        if !inner.joined.contains_key(&slice) {
            return Err(FabricError::NotJoined { slice });
        }
        let mut answers = Vec::with_capacity(request.trains.len());
        for train in &request.trains {
            let ends: Vec<&ProbeEnd> = match &train.path {
                ProbePath::Link { from, to } => vec![from, to],
                ProbePath::Out { from: end, .. } | ProbePath::In { to: end, .. } => vec![end],
                ProbePath::Reference | ProbePath::Clock => Vec::new(),
            };
            let gone = ends.into_iter().find(|end| {
                let plugged = inner.plugged.get(&end.port.node);
                let has = plugged.is_some_and(|(of, ports)| {
                    *of == slice && ports.ports.iter().any(|port| port.device == end.port.device)
                });
                inner.gone.contains(&end.netns) || !has
            });
            answers.push(match (gone, inner.prober.answers.pop_front()) {
                (Some(end), _) => {
                    Probed::Failed(format!("{} has no interface {}", end.port.node, end.port.device))
                }
                (None, Some(answer)) => answer,
                (None, None) => unharmed(&train.path, &train.train),
            });
        }
        Ok(answers)
    }
}
