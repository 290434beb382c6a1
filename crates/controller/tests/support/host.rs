//! A host that does one thing at a time, when it is told to: it lags, reports late, and crashes on demand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use async_trait::async_trait;
use testyard_agent::Ahead;
use testyard_agent::desired::{self, Power};
use testyard_agent::observed::{self, ImageSeen, LinksSeen, Phase, ProgramReport, ScheduleSeen};
use testyard_agent::probe::Probe;
use testyard_agent::{Host, HostError, HostFacts, Standing};
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_model::host::HostLimits;
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::probe::Probed;
use testyard_model::sliver_type::Port;
use tokio::sync::{mpsc, watch};

#[derive(Default)]
pub struct ScriptedHost(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    desired: BTreeMap<SliceId, desired::Slice>,
    nodes: BTreeMap<SliverId, (SliceId, observed::Node)>,
    watchers: Vec<mpsc::UnboundedSender<observed::Slice>>,
    late: VecDeque<observed::Slice>,
    down: bool,
    shut_down: bool,
    fails: Option<String>,
    exposes: Vec<Port>,
    limits: HostLimits,
    trouble: Option<String>,
    schedule: Option<ScheduleSeen>,
    standing: Option<watch::Sender<Standing>>,
    /// What it answers who has links measured.
    measure: Option<Measure>,
    asked: Vec<Probe>,
    ahead: Vec<Ahead>,
}

type Measure = std::sync::Arc<dyn Fn(&Probe) -> Probed + Send + Sync>;

impl ScriptedHost {
    /// It answers so who has links measured.
    pub fn measure_by(&self, measure: impl Fn(&Probe) -> Probed + Send + Sync + 'static) {
        self.0.lock().unwrap().measure = Some(std::sync::Arc::new(measure));
    }

    /// The images that it was told of ahead of their nodes.
    pub fn told_ahead(&self) -> Vec<String> {
        self.0.lock().unwrap().ahead.iter().map(|ahead| ahead.image.to_string()).collect()
    }

    /// What was to be measured.
    pub fn asked(&self) -> Vec<Probe> {
        self.0.lock().unwrap().asked.clone()
    }

    /// Whether whoever used it is done with it.
    pub fn is_shut_down(&self) -> bool {
        self.0.lock().unwrap().shut_down
    }

    /// It cannot be spoken to, for this reason, or can again: then it has forgotten what it was told.
    pub fn set_away(&self, why: Option<&str>) {
        let mut inner = self.0.lock().unwrap();
        inner.down = why.is_some();
        let standing = why.map_or(Standing::Here, |why| Standing::Away(why.to_owned()));
        inner.standing().send_replace(standing);
    }

    /// How many slices it was told of when it was told everything last.
    pub fn told(&self) -> usize {
        self.0.lock().unwrap().desired.len()
    }

    /// It forgets what it was told.
    pub fn forget(&self) {
        self.0.lock().unwrap().desired.clear();
    }

    /// Links cannot be joined for this reason, or can again; reported at once.
    pub fn trouble_links(&self, why: Option<&str>) {
        let mut inner = self.0.lock().unwrap();
        inner.trouble = why.map(str::to_owned);
        inner.report_all();
    }

    /// This is how far schedules have come; reported at once.
    pub fn carry_out(&self, schedule: ScheduleSeen) {
        let mut inner = self.0.lock().unwrap();
        inner.schedule = Some(schedule);
        inner.report_all();
    }

    /// Programs of every node stand like this; reported at once.
    pub fn run_programs(&self, programs: &[ProgramReport]) {
        let mut inner = self.0.lock().unwrap();
        inner.nodes.values_mut().for_each(|(_, node)| node.programs = programs.to_vec());
        inner.report_all();
    }

    /// Does one thing for the node that `choice` falls on, and reports, perhaps late. Whether there was one to do.
    pub fn step(&self, choice: usize, report_late: bool) -> bool {
        let mut inner = self.0.lock().unwrap();
        let work = inner.work();
        let Some(sliver) = work.get(choice % work.len().max(1)).copied() else { return false };
        inner.advance(sliver, report_late);
        true
    }

    /// Does everything that is to be done and reports it; whether there was anything.
    pub fn converge(&self) -> bool {
        let mut inner = self.0.lock().unwrap();
        if inner.down {
            return false;
        }
        let mut busy = inner.deliver(usize::MAX);
        while let Some(sliver) = inner.work().first().copied() {
            inner.advance(sliver, false);
            busy = true;
        }
        busy
    }

    /// Delivers reports that are late.
    pub fn deliver(&self, count: usize) {
        self.0.lock().unwrap().deliver(count);
    }

    /// The agent dies: reports that are late are lost, listeners hear nothing more, what should be is forgotten.
    pub fn crash(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.late.clear();
        inner.watchers.clear();
        inner.desired.clear();
    }

    /// What its kernel has left from now on.
    pub fn set_limits(&self, limits: HostLimits) {
        self.0.lock().unwrap().limits = limits;
    }

    pub fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    /// Nodes that boot from now on fail for this reason.
    pub fn fail_boots(&self, reason: Option<&str>) {
        self.0.lock().unwrap().fails = reason.map(str::to_owned);
    }

    /// Images EXPOSE these ports.
    pub fn expose(&self, ports: &[&str]) {
        self.0.lock().unwrap().exposes = ports.iter().map(|port| port.parse().unwrap()).collect();
    }

    pub fn nodes(&self) -> usize {
        self.0.lock().unwrap().nodes.len()
    }

    pub fn slices(&self) -> Vec<desired::Slice> {
        self.0.lock().unwrap().desired.values().cloned().collect()
    }

    pub fn desired(&self) -> Vec<desired::Node> {
        self.0.lock().unwrap().desired.values().flat_map(|slice| slice.nodes.clone()).collect()
    }
}

impl Inner {
    fn standing(&mut self) -> &watch::Sender<Standing> {
        self.standing.get_or_insert_with(|| watch::channel(Standing::Here).0)
    }

    /// Slivers with something to do; a slice of which nothing is left is there as a nil sliver of its own id.
    fn work(&self) -> Vec<SliverId> {
        let wanted: BTreeMap<SliverId, &desired::Node> =
            self.desired.values().flat_map(|slice| &slice.nodes).map(|node| (node.sliver, node)).collect();
        let all: BTreeSet<SliverId> = wanted.keys().chain(self.nodes.keys()).copied().collect();
        let open = |id: &SliverId| match (wanted.get(id), self.nodes.get(id)) {
            (Some(desired), Some((_, seen))) => !done(desired, seen),
            // Before it has been told what should be, a host touches nothing.
            (None, Some((slice, _))) => self.desired.contains_key(slice),
            _ => true,
        };
        let mut work: Vec<_> = all.into_iter().filter(open).collect();
        let empty = |slice: &&desired::Slice| {
            slice.nodes.is_empty() && !self.nodes.values().any(|(id, _)| *id == slice.slice)
        };
        work.extend(self.desired.values().filter(empty).map(|slice| SliverId::from_uuid(slice.slice.uuid())));
        work
    }

    fn advance(&mut self, sliver: SliverId, report_late: bool) {
        let wanted = self.desired.values().find_map(|slice| {
            let node = slice.nodes.iter().find(|node| node.sliver == sliver)?;
            Some((slice.slice, node.clone()))
        });
        let slice = match (wanted, self.nodes.get_mut(&sliver)) {
            (Some((slice, desired)), None) => {
                self.nodes.insert(sliver, (slice, fresh(&desired)));
                slice
            }
            (Some((slice, desired)), Some((_, seen))) => {
                advance(&desired, seen, self.fails.as_deref(), &self.exposes);
                slice
            }
            (None, Some((slice, _))) => {
                let slice = *slice;
                self.nodes.remove(&sliver);
                slice
            }
            (None, None) => SliceId::from_uuid(sliver.uuid()),
        };
        self.report(slice, report_late);
    }

    fn report_all(&mut self) {
        let slices: Vec<SliceId> = self.desired.keys().copied().collect();
        slices.into_iter().for_each(|slice| self.report(slice, false));
    }

    fn report(&mut self, slice: SliceId, late: bool) {
        let Some(desired) = self.desired.get(&slice) else { return };
        let wanted = |id: SliverId| desired.nodes.iter().find(|node| node.sliver == id);
        let seen = |node: &observed::Node| observed::Node {
            converged: wanted(node.sliver)
                .is_some_and(|wanted| node.phase != Phase::Failed && done(wanted, node)),
            ..node.clone()
        };
        let report = observed::Slice {
            slice,
            revision: desired.revision,
            nodes: self.nodes.values().filter(|(id, _)| *id == slice).map(|(_, node)| seen(node)).collect(),
            links: match &self.trouble {
                _ if desired.links.is_empty() => LinksSeen::None,
                None => LinksSeen::Joined,
                Some(why) => LinksSeen::Failed(why.clone()),
            },
            schedule: self.schedule.clone(),
            images: Vec::new(),
        };
        if desired.nodes.is_empty() && report.nodes.is_empty() {
            self.desired.remove(&slice);
        }
        self.late.push_back(report);
        if !late {
            self.deliver(usize::MAX);
        }
    }

    fn deliver(&mut self, count: usize) -> bool {
        let count = count.min(self.late.len());
        for report in self.late.drain(..count).collect::<Vec<_>>() {
            self.watchers.retain(|watcher| watcher.send(report.clone()).is_ok());
        }
        count > 0
    }
}

fn fresh(desired: &desired::Node) -> observed::Node {
    observed::Node {
        sliver: desired.sliver,
        phase: Phase::Waiting,
        converged: false,
        boot: desired.boot,
        disk: desired.disk,
        accounts_revision: 0,
        problem: None,
        notices: Vec::new(),
        image: None,
        pull: None,
        making: None,
        program: testyard_guest_protocol::ProgramState::None,
        services: vec![],
        programs: vec![],
        timeline: vec![],
    }
}

fn done(desired: &desired::Node, seen: &observed::Node) -> bool {
    match desired.power {
        Power::Off => seen.phase == Phase::Stopped,
        Power::On => {
            (seen.boot, seen.disk) == (desired.boot, desired.disk)
                && (seen.phase == Phase::Failed
                    || seen.phase == Phase::Ready && seen.accounts_revision == desired.accounts_revision)
        }
    }
}

fn advance(desired: &desired::Node, seen: &mut observed::Node, fails: Option<&str>, exposes: &[Port]) {
    if desired.power == Power::Off {
        seen.phase = if seen.phase == Phase::Stopping { Phase::Stopped } else { Phase::Stopping };
        seen.problem = None;
        return;
    }
    if (seen.boot, seen.disk) != (desired.boot, desired.disk) {
        (seen.boot, seen.disk, seen.phase, seen.problem) = (desired.boot, desired.disk, Phase::Booting, None);
        return;
    }
    seen.phase = match seen.phase {
        Phase::Waiting => Phase::Pulling,
        Phase::Pulling => {
            seen.image =
                Some(ImageSeen { id: "sha256:0".to_owned(), digest: None, exposed: exposes.to_vec() });
            Phase::Booting
        }
        Phase::Booting if fails.is_some() => {
            seen.problem = fails.map(str::to_owned);
            Phase::Failed
        }
        Phase::Booting => Phase::Configuring,
        Phase::Configuring => Phase::Installing,
        Phase::Installing | Phase::Ready => {
            seen.accounts_revision = desired.accounts_revision;
            Phase::Ready
        }
        Phase::Stopping | Phase::Stopped => Phase::Booting,
        Phase::Failed => Phase::Failed,
    };
}

#[async_trait]
impl Host for ScriptedHost {
    fn ahead(&self, images: Vec<Ahead>) {
        self.0.lock().unwrap().ahead.extend(images);
    }

    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError> {
        let mut inner = self.0.lock().unwrap();
        if inner.down {
            return Err(HostError("it is down".to_owned()));
        }
        let named: BTreeSet<SliceId> = slices.iter().map(|slice| slice.slice).collect();
        inner.nodes.retain(|_, (slice, _)| named.contains(slice));
        inner.desired = slices.into_iter().map(|slice| (slice.slice, slice)).collect();
        let named = named.into_iter().filter(|slice| !inner.desired[slice].nodes.is_empty());
        named.collect::<Vec<_>>().into_iter().for_each(|slice| inner.report(slice, true));
        Ok(())
    }

    async fn apply(&self, slice: desired::Slice) -> Result<(), HostError> {
        let mut inner = self.0.lock().unwrap();
        if inner.down {
            return Err(HostError("it is down".to_owned()));
        }
        let known = inner.desired.get(&slice.slice).map_or(Revision(0), |known| known.revision);
        if slice.revision >= known {
            let id = slice.slice;
            inner.desired.insert(id, slice);
            inner.report(id, true);
        }
        Ok(())
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut inner = self.0.lock().unwrap();
        let slices: BTreeSet<SliceId> = inner.desired.keys().copied().collect();
        inner.watchers.push(sender);
        slices.into_iter().for_each(|slice| inner.report(slice, false));
        receiver
    }

    async fn observe(&self, _slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        Ok(None)
    }

    async fn capture(&self, slice: SliceId, _request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        Err(CaptureError::NotJoined { slice })
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        if expression.contains("prot ") {
            let reason = "syntax error".to_owned();
            return Err(CaptureError::Filter { expression: expression.to_owned(), reason });
        }
        Ok(())
    }

    async fn probe(&self, _slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        let measure = {
            let mut inner = self.0.lock().unwrap();
            inner.asked.extend(probes.iter().cloned());
            inner.measure.clone()
        };
        let pretends = |_: &Probe| Probed::Failed("it only pretends".to_owned());
        Ok(probes
            .iter()
            .map(|probe| measure.as_ref().map_or_else(|| pretends(probe), |measure| measure(probe)))
            .collect())
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        let inner = self.0.lock().unwrap();
        Ok(HostFacts { engines: vec!["scripted".to_owned()], healthy: !inner.down, limits: inner.limits })
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.0.lock().unwrap().standing().subscribe()
    }

    async fn shut_down(&self) {
        self.0.lock().unwrap().shut_down = true;
    }
}
