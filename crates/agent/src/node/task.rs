//! Carries out what [`decide`] says for one node, step by step, until it rests; then waits for something to change:
//! the desired state, the node (an event of the runtime), the guest's word, or the time to try again.
//!
//! Steps run to their end, since a step that is dropped half-way may still happen in the engine; only the fetching of
//! an image, which can take minutes, gives way to a new desired state.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use testyard_fabric::{Attachment, Fabric, FabricError};
use testyard_guest_protocol as guest;
use testyard_model::id::{SliceId, SliceTag, SliverId};
use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{
    Image, ImageError, NodeKey, NodeSpec, PowerSeen, Pull, PullProgress, Runtime, RuntimeError,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::desired;
use crate::guest::{Conversation, Heard};
use crate::ledger::{Boot, Ledger, Record};
use crate::node::decide::{Attempt, Facts, Step, decide, ending};
use crate::node::inside::{InstallLimits, inside};
use crate::node::report::{Doing, program, stand};
use crate::observed::{self, Milestone, Phase, Stage};

/// A guest that has not said hello this long after its node's start is called silent.
const SILENCE: Duration = Duration::from_secs(60);

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
    pub(crate) reports: mpsc::UnboundedSender<NodeReport>,
}

/// What a node's task has to say: how the node stands, or that nothing of it is left.
#[derive(Debug)]
pub(crate) struct NodeReport {
    pub(crate) slice: SliceId,
    pub(crate) sliver: SliverId,
    pub(crate) node: Option<observed::Node>,
}

/// Wakes the task of a node to look at what the runtime has.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    notify: Notify,
    engine_was_away: AtomicBool,
}

impl Wake {
    /// Something has happened to the node.
    pub(crate) fn look(&self) {
        self.notify.notify_one();
    }

    /// The engine was away: what has ended meanwhile has not ended by itself.
    pub(crate) fn look_after_absence(&self) {
        self.engine_was_away.store(true, Ordering::Relaxed);
        self.notify.notify_one();
    }
}

/// A node as it should be, with what it shares with its slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) tag: SliceTag,
    pub(crate) slice_name: String,
    pub(crate) node: desired::Node,
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

/// One node of this host.
pub(crate) struct Task {
    context: Arc<Context>,
    slice: SliceId,
    sliver: SliverId,
    wanted: watch::Receiver<Option<Wanted>>,
    wake: Arc<Wake>,
    /// The runtime that has the node; the wanted one unless nothing is wanted any more.
    kind: Option<RuntimeKind>,
    /// Whether the runtime has been asked what it has of this node.
    known: bool,
    /// The last look failed: what is known may be old.
    blind: bool,
    facts: Facts,
    /// What is tried now; deaths and giving up are counted for one attempt.
    attempt: Option<Attempt>,
    /// What was given to the fabric in this run.
    attachment: Option<Attachment>,
    doing: Doing,
    image: Option<Image>,
    conversation: Option<Conversation>,
    told: Option<guest::Desired>,
    told_accounts: u64,
    accounts_done: u64,
    timeline: Vec<Milestone>,
    pull: Option<PullProgress>,
    silent_from: Option<Instant>,
    failures: u32,
    published: Option<observed::Node>,
}

/// A step could not be carried out.
enum Setback {
    /// Try again after a while.
    Passing(String),
    /// Never for this attempt.
    Final(String),
    /// The desired state has changed meanwhile: decide again.
    Overtaken,
}

impl Task {
    pub(crate) fn new(
        context: Arc<Context>,
        slice: SliceId,
        sliver: SliverId,
        wanted: watch::Receiver<Option<Wanted>>,
        wake: Arc<Wake>,
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
            attachment: None,
            doing: Doing::default(),
            image,
            conversation: None,
            told: None,
            told_accounts: 0,
            accounts_done: 0,
            timeline,
            pull: None,
            silent_from: None,
            failures: 0,
            published: None,
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
                        let gone = NodeReport { slice: self.slice, sliver: self.sliver, node: None };
                        let _ = self.context.reports.send(gone);
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

    /// Waits for something to change; false when the host is shutting down.
    async fn wait(&mut self, retry: Option<Duration>) -> bool {
        let guest_says = async {
            match &mut self.conversation {
                Some(conversation) => conversation.changed().await,
                None => std::future::pending().await,
            }
        };
        let silence = self.silent_from.filter(|_| !self.doing.silent);
        let again = async {
            match retry {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let falls_silent = async {
            match silence {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let look = tokio::select! {
            changed = self.wanted.changed() => {
                if changed.is_err() { return false; }
                false
            }
            () = self.wake.notify.notified() => true,
            () = guest_says => false,
            () = again => true,
            () = falls_silent => { self.doing.silent = true; false }
        };
        if look {
            self.look().await;
        }
        true
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
        if self.attachment.as_ref().is_some_and(|attachment| *attachment != self.attachment_of(wanted)) {
            self.facts.attached = None;
        }
        let attempt = Attempt::of(&wanted.node);
        if self.attempt != Some(attempt) || wanted.node.power == desired::Power::Off {
            self.attempt = Some(attempt);
            self.facts.given_up = None;
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
                self.publish(wanted);
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
            return Some(Duration::from_millis(200 << self.failures.min(6)));
        }
    }

    async fn carry_out(&mut self, wanted: &Wanted, step: Step) -> Result<(), Setback> {
        let node = &wanted.node;
        self.doing.step = match step {
            Step::FetchImage => Some(Phase::Pulling),
            Step::Create | Step::Boot(_) => Some(Phase::Booting),
            Step::Stop | Step::Discard(_) => Some(Phase::Stopping),
            Step::Listen | Step::Attach => Some(Phase::Configuring),
            Step::GiveUp(_) | Step::Rest => None,
        };
        self.publish(wanted);
        let runtime = self.runtime()?;
        let key = NodeKey { slice: self.slice, sliver: self.sliver, disk: node.disk };
        match step {
            Step::Rest => Ok(()),
            Step::GiveUp(reason) => Err(Setback::Final(reason)),
            Step::FetchImage => self.fetch_image(wanted, &*runtime).await,
            Step::Create => {
                let image = self.image.clone().ok_or(Setback::Overtaken)?;
                let spec = NodeSpec {
                    key,
                    hostname: node.hostname.clone(),
                    image: image.clone(),
                    limits: node.limits,
                    privileges: node.privileges.clone(),
                };
                // Whatever fails may fail because the image is gone or has changed: the next try looks at it again.
                self.facts.image_ready = false;
                runtime.create(&spec).await?;
                self.reached(Stage::Created);
                let record = Record {
                    slice: self.slice,
                    disk: node.disk,
                    image,
                    boot: None,
                    timeline: self.timeline.clone(),
                };
                self.remember(record);
                self.facts.disks.insert(node.disk, PowerSeen::Created);
                Ok(())
            }
            Step::Boot(pause) => {
                tokio::time::sleep(pause).await;
                self.boot(wanted, &*runtime, key).await
            }
            Step::Listen => {
                let since = self.running_since(node.disk).ok_or(Setback::Overtaken)?;
                self.known_image(wanted, &*runtime).await?;
                self.conversation = Some(Conversation::start(runtime.listen(&key).await?));
                self.facts.listening = Some(since);
                self.fresh_conversation();
                Ok(())
            }
            Step::Attach => self.attach(wanted).await,
            Step::Stop => {
                runtime.stop(&key, self.context.stop_grace).await?;
                self.conversation = None;
                self.facts.deaths.clear();
                self.facts.disks.insert(node.disk, PowerSeen::Stopped { exit: None, out_of_memory: false });
                Ok(())
            }
            Step::Discard(disk) => {
                runtime.remove(&NodeKey { disk, ..key }).await?;
                self.conversation = None;
                self.facts.disks.remove(&disk);
                self.facts.image_ready = false;
                self.facts.deaths.clear();
                Ok(())
            }
        }
    }

    async fn fetch_image(&mut self, wanted: &Wanted, runtime: &dyn Runtime) -> Result<(), Setback> {
        self.timeline.clear();
        self.reached(Stage::Begun);
        let (progress, mut progressed) = watch::channel(PullProgress::default());
        let mut overtaken = self.wanted.clone();
        let mut fetch = runtime.image(&wanted.node.image, Pull::Missing, &progress);
        let mut shown = Instant::now();
        let image = loop {
            tokio::select! {
                image = &mut fetch => break image,
                _ = overtaken.changed() => return Err(Setback::Overtaken),
                Ok(()) = progressed.changed() => {
                    self.pull = Some(*progressed.borrow_and_update());
                    // People read this; five times a second is enough.
                    if shown.elapsed() > Duration::from_millis(200) {
                        self.publish(wanted);
                        shown = Instant::now();
                    }
                }
            }
        };
        drop(fetch);
        self.pull = None;
        self.image = Some(image?);
        self.facts.image_ready = true;
        self.reached(Stage::ImageReady);
        Ok(())
    }

    /// What the node was made from; if the record of it is lost, what its image's name means now.
    async fn known_image(&mut self, wanted: &Wanted, runtime: &dyn Runtime) -> Result<Image, Setback> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let (progress, _) = watch::channel(PullProgress::default());
        let image = runtime.image(&wanted.node.image, Pull::Missing, &progress).await?;
        self.image = Some(image.clone());
        Ok(image)
    }

    async fn boot(&mut self, wanted: &Wanted, runtime: &dyn Runtime, key: NodeKey) -> Result<(), Setback> {
        let node = &wanted.node;
        if self.timeline.iter().any(|milestone| milestone.stage == Stage::Started) {
            self.timeline.clear();
            self.reached(Stage::Begun);
        }
        let image = self.known_image(wanted, runtime).await?;
        let record =
            |boot, timeline| Record { slice: self.slice, disk: node.disk, image, boot: Some(boot), timeline };
        // Written before the node starts: an agent that ends in between knows for which counter it was.
        let begun = record(Boot { counter: node.boot, since: None }, Vec::new());
        self.remember(begun.clone());
        self.conversation = Some(Conversation::start(runtime.listen(&key).await?));
        self.fresh_conversation();
        self.tell(wanted).map_err(Setback::Final)?;
        let running = match runtime.start(&key).await {
            Ok(running) => running,
            Err(error) => {
                if matches!(error, RuntimeError::EndedAtOnce { .. }) {
                    // What cannot stay up must not be started for ever.
                    self.facts.deaths.push((self.context.now)());
                }
                self.look().await;
                return Err(error.into());
            }
        };
        self.reached(Stage::Started);
        let boot = Some(Boot { counter: node.boot, since: Some(running.since) });
        self.remember(Record { boot, timeline: self.timeline.clone(), ..begun });
        self.facts.listening = Some(running.since);
        self.facts.disks.insert(node.disk, PowerSeen::Running(running));
        Ok(())
    }

    async fn attach(&mut self, wanted: &Wanted) -> Result<(), Setback> {
        let node = &wanted.node;
        let Some(PowerSeen::Running(running)) = self.facts.disks.get(&node.disk).cloned() else {
            return Err(Setback::Overtaken);
        };
        let attachment = self.attachment_of(wanted);
        match self.context.fabric.attach(&attachment, &running.netns).await {
            Ok(()) => {
                self.facts.attached = Some(running.since);
                self.attachment = Some(attachment);
                self.reached(Stage::Attached);
                Ok(())
            }
            Err(FabricError::Gone { .. }) => {
                self.look().await;
                Err(Setback::Passing("the node ended while its interface was being made".into()))
            }
            Err(error) => Err(Setback::Passing(error.to_string())),
        }
    }

    fn attachment_of(&self, wanted: &Wanted) -> Attachment {
        Attachment {
            slice: self.slice,
            tag: wanted.tag,
            sliver: self.sliver,
            address: wanted.node.address,
            forwards: wanted.node.forwards.clone(),
        }
    }

    /// Tells the guest what the inside should be, if that is news.
    ///
    /// # Errors
    /// If it is more than a message can hold; the guest keeps what it was told before.
    fn tell(&mut self, wanted: &Wanted) -> Result<(), String> {
        let (Some(conversation), Some(image)) = (&self.conversation, &self.image) else { return Ok(()) };
        let go = self.facts.attached.is_some() && self.facts.attached == self.running_since(wanted.node.disk);
        let domain = format!("{}.{}", wanted.slice_name.to_lowercase(), self.context.domain);
        let servers = &self.context.name_servers;
        let mut desired =
            inside(&wanted.node, &domain, &image.config, servers, self.context.install_limits, go);
        let last = self.told.as_ref().map_or(0, |told| told.revision);
        desired.revision = last;
        if self.told.as_ref() != Some(&desired) {
            // Counting from the clock keeps revisions growing over restarts of the agent.
            desired.revision =
                u64::try_from((self.context.now)().as_millisecond()).unwrap_or(0).max(last + 1);
            if let Err(error) = guest::encode(&desired) {
                return Err(format!(
                    "what is asked for inside the node is too much ({error}, at most {} are possible): shorten its \
                     services, or the users' keys",
                    guest::MAX_MESSAGE
                ));
            }
            conversation.tell(desired.clone());
            self.told = Some(desired);
            self.told_accounts = wanted.node.accounts_revision;
        }
        Ok(())
    }

    fn hear(&mut self) {
        let Some(conversation) = &self.conversation else { return };
        self.doing.heard = conversation.heard();
        if self.doing.heard.spoken {
            self.silent_from = None;
            self.doing.silent = false;
            self.reached(Stage::GuestUp);
        }
        if let (Some(report), Some(told)) = (&mut self.doing.heard.report, &self.told) {
            report.services.truncate(told.installs.len() + told.executes.len());
        }
        let Some(report) = self.doing.heard.report.clone() else { return };
        let current = self.told.as_ref().is_some_and(|told| told.revision == report.revision);
        if report.stage >= guest::Stage::Prepared {
            self.reached(Stage::Prepared);
        }
        if report.ssh {
            self.reached(Stage::SshUp);
        }
        if current && report.ssh {
            self.accounts_done = self.told_accounts;
        }
        if report.stage == guest::Stage::Ready
            && report.ssh
            && self.reached(Stage::Ready)
            && let Some(record) = self.facts.record.clone()
        {
            self.remember(Record { timeline: self.timeline.clone(), ..record });
        }
    }

    fn fresh_conversation(&mut self) {
        self.told = None;
        self.doing.heard = Heard::default();
        self.doing.silent = false;
        self.silent_from = Some(Instant::now() + SILENCE);
    }

    /// Looks at what the runtime has, since something may have changed.
    async fn look(&mut self) {
        let Ok(runtime) = self.runtime() else { return };
        let wanted_disk = self.wanted.borrow().as_ref().map(|wanted| wanted.node.disk);
        let record_disk = self.facts.record.as_ref().map(|record| record.disk);
        let disks: std::collections::BTreeSet<u32> =
            self.facts.disks.keys().copied().chain(wanted_disk).chain(record_disk).collect();
        let mut answered = true;
        let by_itself = !self.wake.engine_was_away.swap(false, Ordering::Relaxed);
        for disk in disks {
            let key = NodeKey { slice: self.slice, sliver: self.sliver, disk };
            match runtime.look(&key).await {
                Ok(Some(seen)) => self.saw(disk, seen.power, by_itself),
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
            self.wake.engine_was_away.store(true, Ordering::Relaxed);
        }
    }

    fn saw(&mut self, disk: u32, power: PowerSeen, by_itself: bool) {
        let before = self.facts.disks.insert(disk, power.clone());
        let ran = matches!(before, Some(PowerSeen::Running(_)));
        if let (true, PowerSeen::Stopped { exit, out_of_memory }) = (ran, &power) {
            let how = ending(*exit, *out_of_memory);
            if by_itself {
                tracing::info!(sliver = %self.sliver, how, "a node stopped by itself");
                self.doing.trouble =
                    Some(format!("the node stopped by itself ({how}) and was started again"));
                self.facts.deaths.push((self.context.now)());
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

    fn publish(&mut self, wanted: &Wanted) {
        let node = &wanted.node;
        let (phase, problem) = stand(node, &self.facts, &self.doing);
        let record = self.facts.record.as_ref();
        let boot = record.and_then(|record| record.boot);
        // What was given up is what was asked for, however far it came.
        let given_up = self.facts.given_up.as_ref().is_some_and(|(attempt, _)| *attempt == Attempt::of(node));
        let report = self.doing.heard.report.as_ref();
        let seen = observed::Node {
            sliver: self.sliver,
            phase,
            boot: if given_up { node.boot } else { boot.map_or(node.boot, |boot| boot.counter) },
            disk: if given_up { node.disk } else { record.map_or(node.disk, |record| record.disk) },
            accounts_revision: self.accounts_done,
            problem,
            image: self.image.as_ref().map(|image| observed::ImageSeen {
                id: image.id.clone(),
                digest: image.digest.clone(),
                exposed: image.config.exposed.clone(),
            }),
            pull: self.pull,
            program: program(&self.doing.heard),
            services: report.map(|report| report.services.clone()).unwrap_or_default(),
            timeline: self.timeline.clone(),
        };
        if self.published.as_ref() != Some(&seen) {
            self.published = Some(seen.clone());
            let _ = self.context.reports.send(NodeReport {
                slice: self.slice,
                sliver: self.sliver,
                node: Some(seen),
            });
        }
    }

    /// Notes a milestone of this boot; false if it was noted before.
    fn reached(&mut self, stage: Stage) -> bool {
        let new = !self.timeline.iter().any(|milestone| milestone.stage == stage);
        if new {
            self.timeline.push(Milestone { stage, at: (self.context.now)() });
        }
        new
    }

    fn remember(&mut self, record: Record) {
        self.context.ledger.store(self.sliver, &record);
        self.facts.record = Some(record);
    }

    fn running_since(&self, disk: u32) -> Option<Timestamp> {
        match self.facts.disks.get(&disk) {
            Some(PowerSeen::Running(running)) => Some(running.since),
            _ => None,
        }
    }

    fn runtime(&self) -> Result<Arc<dyn Runtime>, Setback> {
        let kind = self.kind.ok_or(Setback::Overtaken)?;
        self.context.runtimes.get(&kind).cloned().ok_or_else(|| {
            Setback::Final(format!("this host has no {kind} runtime; ask for another sliver type"))
        })
    }
}

impl From<RuntimeError> for Setback {
    fn from(error: RuntimeError) -> Self {
        if error.is_passing() { Self::Passing(error.to_string()) } else { Self::Final(error.to_string()) }
    }
}

impl From<ImageError> for Setback {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unreachable { .. } => Self::Passing(error.to_string()),
            ImageError::NotFound { .. } | ImageError::Unfit { .. } => Self::Final(error.to_string()),
        }
    }
}
