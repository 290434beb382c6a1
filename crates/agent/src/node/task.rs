//! Carries out what [`decide`] says for one node, step by step, until it rests; then waits for something to change:
//! the desired state, the node (an event of the runtime), the guest's word, or the time to try again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use testyard_fabric::links::NodePorts;
use testyard_fabric::{Attachment, Fabric};
use testyard_model::host_table::HostTable;
use testyard_model::id::{SliceId, SliceTag, SliverId};
use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{Image, NodeKey, PowerSeen, PullProgress, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::desired;
use crate::facts;
use crate::guest::{Conversation, Heard, Inside, Names};
use crate::images::Images;
use crate::ledger::{Ended, Ledger, Record};
use crate::links::SliceLinksHandle;
use crate::node::decide::{Attempt, Facts, Step, decide, ending};
use crate::node::disk;
use crate::node::inside::InstallLimits;
use crate::node::notice;
use crate::node::programs::reports;
use crate::node::report::{Doing, has_all, program, stand};
use crate::node::steps::Setback;
use crate::node::wake::Wake;
use crate::observed::{self, Milestone, Phase, Stage};
use crate::pool::Pool;
use crate::pool::rush::Hurry;
use crate::probe::Places;
use crate::schedule::Plays;

/// A guest that has not said hello this long after its node's start is called silent.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// How soon the runtime is asked again after it could not be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What all nodes of a host share.
pub(crate) struct Context {
    pub(crate) runtimes: HashMap<RuntimeKind, Arc<dyn Runtime>>,
    pub(crate) fabric: Arc<dyn Fabric>,
    pub(crate) ledger: Ledger,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) stop_grace: Duration,
    pub(crate) domain: String,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) install_limits: InstallLimits,
    pub(crate) facts: Option<Arc<facts::Desk>>,
    pub(crate) images: Arc<Images>,
    pub(crate) pool: Pool,
    pub(crate) places: Places,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

/// What the tasks of a host have to say.
#[derive(Debug)]
pub(crate) enum Report {
    /// About a node.
    Node(Box<NodeReport>),
    /// What a slice's nodes share, links and schedule, stands otherwise than before.
    Slice(SliceId),
}

/// What a node's task has to say: how the node stands, or that nothing of it is left.
#[derive(Debug)]
pub(crate) struct NodeReport {
    pub(crate) slice: SliceId,
    pub(crate) sliver: SliverId,
    pub(crate) node: Option<observed::Node>,
    /// What is said is said of this [`Wanted::issue`].
    pub(crate) issue: u64,
}

/// A node as it should be, with what it shares with its slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) tag: SliceTag,
    pub(crate) slice_name: String,
    pub(crate) about: Arc<desired::About>,
    /// `NAME=value` of the topology.
    pub(crate) environment: Arc<[String]>,
    /// Names of the slice's interfaces, if the node knows its own as part of them.
    pub(crate) host_table: Option<(HostTable, u32)>,
    /// With the restarts and reloads of the schedule.
    pub(crate) node: desired::Node,
    /// What the schedule has added.
    pub(crate) plays: Plays,
    /// Counts changes of all this, so that a report says which of them it is about.
    pub(crate) issue: u64,
}

impl Wanted {
    pub(crate) fn names(&self) -> Names {
        match &self.host_table {
            Some((table, node)) => Names::Of(table.clone(), *node),
            None => Names::Spelled(self.node.network.names.clone()),
        }
    }

    /// Counts on from what was wanted before: a counter that fell would be a disk thrown away.
    pub(crate) fn follow(&mut self, before: Option<&Self>) {
        if let Some(before) = before {
            self.node.boot = self.node.boot.max(before.node.boot);
            self.node.disk = self.node.disk.max(before.node.disk);
        }
    }

    /// Counts on from what is there: it may have come further than a controller knows that was given an older store.
    pub(crate) fn follow_found(&mut self, found: &Found) {
        let record = found.record.as_ref();
        let boot = record.and_then(|record| record.boot).map(|boot| boot.counter);
        let disk = record.map(|record| record.disk).max(found.disks.keys().next_back().copied());
        self.node.boot = self.node.boot.max(boot.unwrap_or_default());
        self.node.disk = self.node.disk.max(disk.unwrap_or_default());
    }

    /// Adds what the schedule adds to what is asked for of the node; whether that is news. A counter never falls: a run
    /// that is over may have done more than whoever began the next one knew of.
    pub(crate) fn play(&mut self, asked: &desired::Node, plays: Plays) -> bool {
        let boot = self.node.boot.max(asked.boot.saturating_add(plays.restarts));
        let disk = self.node.disk.max(asked.disk.saturating_add(plays.reloads));
        let new = (self.node.boot, self.node.disk, &self.plays) != (boot, disk, &plays);
        (self.node.boot, self.node.disk, self.plays) = (boot, disk, plays);
        self.issue += u64::from(new);
        new
    }

    /// Takes the number that is due after `before`; whether it is another than that.
    pub(crate) fn renew(&mut self, before: Option<&Self>) -> bool {
        self.issue = before.map_or(0, |before| before.issue);
        let new = before != Some(&*self);
        self.issue += u64::from(new);
        new
    }
}

/// What was found of a node when the host came up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) disks: std::collections::BTreeMap<u32, PowerSeen>,
    pub(crate) record: Option<Record>,
    pub(crate) runtime: Option<RuntimeKind>,
    /// Whether the runtimes have been asked: what is not in `disks` is not there.
    pub(crate) known: bool,
}

/// How a node is connected.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connection {
    pub(super) control: Attachment,
    pub(super) ports: NodePorts,
}

/// One node of this host.
pub(crate) struct Task {
    pub(super) context: Arc<Context>,
    pub(super) slice: SliceId,
    pub(super) sliver: SliverId,
    pub(super) wanted: watch::Receiver<Option<Wanted>>,
    pub(super) wake: Arc<Wake>,
    /// The runtime that has the node; the wanted one unless nothing is wanted any more.
    pub(super) kind: Option<RuntimeKind>,
    /// Whether the runtime has been asked what it has of this node.
    pub(super) known: bool,
    /// The last look failed: what is known may be old.
    pub(super) blind: bool,
    pub(super) facts: Facts,
    /// What is tried now; deaths and giving up are counted for one attempt.
    pub(super) attempt: Option<Attempt>,
    /// What was given to the fabric in this run.
    pub(super) connection: Option<Connection>,
    /// Where what its slice's nodes share is made.
    pub(super) links: SliceLinksHandle,
    pub(super) doing: Doing,
    pub(super) image: Option<Image>,
    pub(super) conversation: Option<Conversation>,
    pub(super) told: Option<Inside>,
    pub(super) told_accounts: u64,
    pub(super) accounts_done: u64,
    pub(super) timeline: Vec<Milestone>,
    pub(super) pull: Option<PullProgress>,
    /// What is being done for its image, while that is made of a URL.
    pub(super) making: Option<String>,
    pub(super) silent_from: Option<Instant>,
    pub(super) disk: disk::Watch,
    /// How often in a row the disk was found over its limit.
    pub(super) over: u32,
    /// When the runtime was last looked at.
    pub(super) looked: Option<Instant>,
    /// When it is to be looked at since something has happened.
    pub(super) look_due: Option<Instant>,
    pub(super) failures: u32,
    /// When the next try may be, unless something else is wanted.
    pub(super) held: Option<(Instant, Wanted)>,
    /// What was said last, and of which [`Wanted::issue`].
    pub(super) published: Option<(u64, observed::Node)>,
    /// Somebody waits for this node.
    pub(super) hurry: Option<Hurry>,
}

impl Task {
    pub(crate) fn new(
        context: Arc<Context>,
        slice: SliceId,
        sliver: SliverId,
        wanted: watch::Receiver<Option<Wanted>>,
        wake: Arc<Wake>,
        links: SliceLinksHandle,
        found: Found,
    ) -> Self {
        let timeline = found.record.as_ref().map(|record| record.timeline.clone()).unwrap_or_default();
        let image = found.record.as_ref().map(|record| record.image.clone());
        let facts = Facts { disks: found.disks, record: found.record, ..Facts::default() };
        Self {
            context,
            slice,
            sliver,
            wanted,
            wake,
            kind: found.runtime,
            known: found.known,
            blind: false,
            facts,
            attempt: None,
            connection: None,
            links,
            doing: Doing::default(),
            image,
            conversation: None,
            told: None,
            told_accounts: 0,
            accounts_done: 0,
            timeline,
            pull: None,
            making: None,
            silent_from: None,
            disk: disk::Watch::new(),
            over: 0,
            looked: None,
            look_due: None,
            failures: 0,
            held: None,
            published: None,
            hurry: None,
        }
    }

    /// Runs until nothing is wanted and nothing is left.
    pub(crate) async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let retry = match wanted {
                Some(wanted) => {
                    self.kind = Some(wanted.node.runtime);
                    self.converge(&wanted).await
                }
                None => match self.clear().await {
                    Ok(()) => {
                        let (slice, sliver) = (self.slice, self.sliver);
                        let gone = NodeReport { slice, sliver, node: None, issue: 0 };
                        let _ = self.context.reports.send(Report::Node(Box::new(gone)));
                        return;
                    }
                    Err(retry) => Some(retry),
                },
            };
            if !self.wait(self.soon(retry)).await {
                return;
            }
        }
    }

    /// When to come back: soon, if the runtime could not be asked the last time.
    fn soon(&self, retry: Option<Duration>) -> Option<Duration> {
        match (retry, self.blind) {
            (retry, false) => retry,
            (retry, true) => Some(retry.map_or(LOOK_AGAIN, |retry| retry.min(LOOK_AGAIN))),
        }
    }

    /// Takes steps until the node rests. Says when to try again if one failed.
    async fn converge(&mut self, wanted: &Wanted) -> Option<Duration> {
        if !self.known {
            self.look().await;
        }
        if !self.known {
            self.doing.trouble = Some("the engine of the node's host does not answer; waiting for it".into());
            self.publish(wanted);
            return Some(Duration::from_secs(1));
        }
        // A step that fails may itself cause events: they must not hurry the next try.
        if let Some((until, held)) = &self.held
            && held == wanted
            && let Some(pause) = until.checked_duration_since(Instant::now()).filter(|pause| !pause.is_zero())
        {
            return Some(pause);
        }
        self.held = None;
        let connection = self.connection_of(wanted);
        self.facts.outdated |= self.connection.as_ref().is_some_and(|there| *there != connection);
        let attempt = Attempt::of(&wanted.node);
        if self.attempt != Some(attempt) || wanted.node.power == desired::Power::Off {
            self.attempt = Some(attempt);
            self.facts.given_up = None;
            self.facts.must_end = false;
            self.over = 0;
            self.facts.deaths.clear();
        }
        loop {
            let step = decide(&wanted.node, &self.facts, (self.context.now)());
            if step == Step::Rest {
                self.doing.step = None;
                if let Err(reason) = self.tell(wanted) {
                    self.facts.given_up = Some((attempt, reason));
                }
                self.hear();
                self.publish_at(wanted, true);
                return None;
            }
            let done = self.carry_out(wanted, step).await;
            let setback = match done {
                Ok(()) => {
                    self.failures = 0;
                    self.doing.trouble = None;
                    continue;
                }
                Err(Setback::Overtaken) => return Some(Duration::ZERO),
                Err(Setback::Final(reason)) => {
                    tracing::info!(sliver = %self.sliver, reason, "given up");
                    self.facts.given_up = Some((Attempt::of(&wanted.node), reason));
                    continue;
                }
                Err(Setback::Passing(reason)) => reason,
            };
            tracing::warn!(sliver = %self.sliver, reason = setback, "will try again");
            self.failures += 1;
            self.doing.trouble = Some(format!("{setback}; trying again"));
            self.publish(wanted);
            let pause = Duration::from_millis(200 << self.failures.min(6));
            self.held = Some((Instant::now() + pause, wanted.clone()));
            return Some(pause);
        }
    }

    /// Looks at what the runtime has, since something may have changed.
    pub(super) async fn look(&mut self) {
        let Ok(runtime) = self.runtime() else { return };
        let wanted_disk = self.wanted.borrow().as_ref().map(|wanted| wanted.node.disk);
        let record_disk = self.facts.record.as_ref().map(|record| record.disk);
        let disks: std::collections::BTreeSet<u32> =
            self.facts.disks.keys().copied().chain(wanted_disk).chain(record_disk).collect();
        let mut answered = true;
        self.looked = Some(Instant::now());
        let by_itself = !self.wake.take_absence();
        for disk in disks {
            let key = NodeKey { slice: self.slice, sliver: self.sliver, disk };
            match runtime.look(&key).await {
                Ok(Some(seen)) => {
                    if let PowerSeen::Running(running) = &seen.power {
                        self.count_killed(runtime.killed_for_memory(running).await);
                    }
                    self.saw(disk, seen.power, by_itself);
                }
                Ok(None) => {
                    self.facts.disks.remove(&disk);
                }
                Err(error) => {
                    answered = false;
                    tracing::debug!(%error, "cannot look at a node");
                }
            }
        }
        self.known |= answered;
        self.blind = !answered;
        if !answered && !by_itself {
            self.wake.keep_absence();
        }
    }

    fn count_killed(&mut self, killed: Option<u64>) {
        let killed = killed.unwrap_or_default();
        if killed > self.facts.killed {
            tracing::info!(sliver = %self.sliver, killed, "processes of a node were killed for want of memory");
        }
        self.facts.killed = killed;
    }

    /// Notes whether the present run has been refused processes. The kernel counts, and tells nobody.
    pub(super) async fn count_refused(&mut self) {
        let disk = self.wanted.borrow().as_ref().map(|wanted| wanted.node.disk);
        let running = disk.and_then(|disk| self.facts.disks.get(&disk));
        let (Some(PowerSeen::Running(running)), Ok(runtime)) = (running, self.runtime()) else { return };
        let refused = runtime.too_many_processes(running).await.is_some_and(|count| count > 0);
        if refused && !self.facts.crowded {
            tracing::info!(sliver = %self.sliver, "a node has as many processes as it may");
        }
        self.facts.crowded |= refused;
    }

    fn saw(&mut self, disk: u32, power: PowerSeen, by_itself: bool) {
        let before = self.facts.disks.insert(disk, power.clone());
        let ran = matches!(before, Some(PowerSeen::Running(_)));
        if let (true, PowerSeen::Stopped { exit, out_of_memory }) = (ran, &power) {
            let limits = self.wanted.borrow().as_ref().map(|wanted| wanted.node.limits).unwrap_or_default();
            let how = ending(*exit, *out_of_memory, limits);
            if by_itself {
                tracing::info!(sliver = %self.sliver, how, "a node stopped by itself");
                self.doing.trouble =
                    Some(format!("the node stopped by itself ({how}) and was started again"));
                let at = (self.context.now)();
                self.facts.deaths.push(at);
                if let Some(record) = self.facts.record.clone() {
                    self.remember(Record { ended: Some(Ended { at, how }), ..record });
                }
            } else {
                tracing::info!(sliver = %self.sliver, "a node ended with its engine");
            }
            self.conversation = None;
            self.doing.heard = Heard::default();
        }
    }

    /// Removes everything of this node. Says when to try again if that failed.
    async fn clear(&mut self) -> Result<(), Duration> {
        self.conversation = None;
        let mut failed = None;
        if let Ok(runtime) = self.runtime() {
            let record_disk = self.facts.record.as_ref().map(|record| record.disk);
            let disks: std::collections::BTreeSet<u32> =
                self.facts.disks.keys().copied().chain(record_disk).collect();
            for disk in disks {
                match runtime.remove(&NodeKey { slice: self.slice, sliver: self.sliver, disk }).await {
                    Ok(()) => {
                        self.facts.disks.remove(&disk);
                    }
                    Err(error) => failed = Some(error.to_string()),
                }
            }
        }
        if let Err(error) = self.context.fabric.detach(self.sliver).await {
            failed = Some(error.to_string());
        }
        self.context.places.forget(self.sliver);
        if let Ok(runtime) = self.runtime() {
            self.context.images.leave(self.sliver, &runtime);
        }
        match failed {
            None => {
                self.context.ledger.forget(self.sliver);
                Ok(())
            }
            Some(reason) => {
                tracing::warn!(sliver = %self.sliver, reason, "cannot remove a node yet; will try again");
                self.failures += 1;
                Err(Duration::from_millis(200 << self.failures.min(6)))
            }
        }
    }

    /// Tells how the node stands while something is left to be done for it.
    pub(super) fn publish(&mut self, wanted: &Wanted) {
        self.publish_at(wanted, false);
    }

    fn publish_at(&mut self, wanted: &Wanted, at_rest: bool) {
        let node = &wanted.node;
        let (phase, problem) = stand(node, &self.facts, &self.doing);
        match (&self.hurry, matches!(phase, Phase::Booting | Phase::Configuring)) {
            (None, true) => self.hurry = Some(self.context.pool.rush.enter()),
            (Some(_), false) => self.hurry = None,
            _ => {}
        }
        let record = self.facts.record.as_ref();
        let boot = record.and_then(|record| record.boot);
        // What was given up is what was asked for, however far it came.
        let given_up = self.facts.given_up.as_ref().is_some_and(|(attempt, _)| *attempt == Attempt::of(node));
        let report = self.doing.heard.report.as_ref();
        let programs = reports(node, &wanted.plays, report);
        let known = notice::Known {
            ended: record.filter(|record| record.disk == node.disk).and_then(|record| record.ended.as_ref()),
            killed: self.facts.killed,
            crowded: self.facts.crowded,
            disk: self.facts.disk_used,
            heard: &self.doing.heard,
            programs: &programs,
            old_guest: self.is_old_guest(),
        };
        let (restarts, reloads) = (wanted.plays.restarts, wanted.plays.reloads);
        let (boot, disk) = if given_up {
            (node.boot, node.disk)
        } else {
            (boot.map_or(node.boot, |boot| boot.counter), record.map_or(node.disk, |record| record.disk))
        };
        let seen = observed::Node {
            sliver: self.sliver,
            phase,
            converged: at_rest && has_all(node, phase, self.told(), report),
            boot: boot.saturating_sub(restarts),
            disk: disk.saturating_sub(reloads),
            accounts_revision: self.accounts_done,
            problem,
            notices: notice::notices(node, &known),
            image: self.image.as_ref().map(|image| observed::ImageSeen {
                id: image.id.clone(),
                digest: image.digest.clone(),
                exposed: image.config.exposed.clone(),
            }),
            pull: self.pull,
            making: self.making.clone(),
            program: program(&self.doing.heard),
            services: report.map(|report| report.services.clone()).unwrap_or_default(),
            programs,
            timeline: self.timeline.clone(),
        };
        let said = (wanted.issue, seen);
        if self.published.as_ref() != Some(&said) {
            let (issue, seen) = said.clone();
            self.published = Some(said);
            let _ = self.context.reports.send(Report::Node(Box::new(NodeReport {
                slice: self.slice,
                sliver: self.sliver,
                node: Some(seen),
                issue,
            })));
        }
    }

    /// Notes a milestone of this boot; false if it was noted before.
    pub(super) fn reached(&mut self, stage: Stage) -> bool {
        let new = !self.timeline.iter().any(|milestone| milestone.stage == stage);
        if new {
            self.timeline.push(Milestone { stage, at: (self.context.now)() });
        }
        new
    }

    pub(super) fn remember(&mut self, record: Record) {
        self.context.ledger.store(self.sliver, &record);
        self.facts.record = Some(record);
    }

    pub(super) fn running_since(&self, disk: u32) -> Option<Timestamp> {
        match self.facts.disks.get(&disk) {
            Some(PowerSeen::Running(running)) => Some(running.since),
            _ => None,
        }
    }

    /// Whether the interfaces of the present run are set up, as wanted now or before.
    pub(super) fn is_connected(&self, disk: u32) -> bool {
        self.facts.attached.is_some() && self.facts.attached == self.running_since(disk)
    }

    pub(super) fn runtime(&self) -> Result<Arc<dyn Runtime>, Setback> {
        let kind = self.kind.ok_or(Setback::Overtaken)?;
        self.context.runtimes.get(&kind).cloned().ok_or_else(|| {
            Setback::Final(format!("this host has no {kind} runtime; ask for another sliver type"))
        })
    }
}
