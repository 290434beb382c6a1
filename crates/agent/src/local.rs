//! The host that is this machine: one task a node, and a janitor for what has no task.

mod background;
mod roster;
mod scheduled;
mod sweep;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_fabric::links::SliceLinks;
use testyard_fabric::links::probe::TRAINS;
use testyard_fabric::{Fabric, FabricError};
use testyard_model::host::HostLimits;
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::image::ImageSource;
use testyard_model::probe::Probed;
use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{Pull, PullProgress, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use self::background::{gather, watch_fabric, watch_runtimes};
use self::roster::{NodeEntry, Shared, SliceEntry, State, lock};
use self::scheduled::{Scheduled, plays_of, start_clock};
use self::sweep::{list, sweep};
use crate::contract::{Ahead, Host, HostError, HostFacts};
use crate::facts::{Desk, Facts};
use crate::images::{ImageSettings, Images, Workshop};
use crate::ledger::{Ledger, LedgerError};
use crate::links::SliceLinksHandle;
use crate::node::inside::InstallLimits;
use crate::node::task::{Context, Found, Report, Task, Wanted};
use crate::node::wake::Wake;
use crate::pool::{Pool, PoolSettings, keeper};
use crate::probe::{Places, Probe, together};
use crate::schedule::Plays;
use crate::{desired, limits, observed};

/// What a [`LocalHost`] is made of.
pub struct LocalHostConfig {
    /// What runs nodes; at most one of each kind.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// What connects them.
    pub fabric: Arc<dyn Fabric>,
    /// A folder for what must be remembered while the agent is not there.
    pub state: PathBuf,
    /// The testbed's domain: nodes are named `<node>.<slice>.<domain>`.
    pub domain: String,
    /// Name servers for nodes; empty takes those of the host.
    pub name_servers: Vec<IpAddr>,
    /// What a node gets to end by itself before it is killed.
    pub stop_grace: Duration,
    /// The most bytes that an install may download and unpack.
    pub install_limits: (u64, u64),
    /// What users may bring as images.
    pub images: ImageSettings,
    /// Whether links are impaired by the kernel's netem alone.
    pub only_netem: bool,
    /// What to keep ready before anybody wants it; without, nothing.
    pub pool: Option<PoolSettings>,
    /// Who answers what nodes ask about themselves; without, they are told only what came with the desired state.
    pub facts: Option<Arc<dyn Facts>>,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// The host cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its own records cannot be kept.
    #[error("cannot keep records of nodes")]
    Ledger(#[from] LedgerError),
    /// The kernel lacks something that no node can do without.
    #[error("cannot set up the network of nodes")]
    Fabric(#[from] FabricError),
}

/// The host that is this machine.
pub struct LocalHost {
    context: Arc<Context>,
    state: Arc<Mutex<State>>,
    background: Mutex<Vec<JoinHandle<()>>>,
    /// Numbers of what is measured, so that nobody takes frames of others for their own.
    probes: AtomicU32,
    only_netem: bool,
}

/// The most images that are fetched ahead at one advice.
const MOST_AHEAD: usize = 32;

/// How soon a sweep that failed is tried again.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

// === impl LocalHost ===

impl LocalHost {
    /// Prepares the fabric and begins to watch the runtimes. An engine that does not answer is waited for.
    ///
    /// # Errors
    /// [`StartError`] if no node could ever work here.
    pub async fn start(config: LocalHostConfig) -> Result<Arc<Self>, StartError> {
        let ledger = Ledger::open(&config.state)?;
        config.fabric.prepare().await?;
        let name_servers = match config.name_servers {
            servers if servers.is_empty() => config.fabric.name_servers().await?,
            servers => servers,
        };
        let (reports, reported) = mpsc::unbounded_channel();
        let (download, unpacked) = config.install_limits;
        let runtimes: HashMap<RuntimeKind, Arc<dyn Runtime>> =
            config.runtimes.into_iter().map(|runtime| (runtime.kind(), runtime)).collect();
        let workshop = Workshop {
            settings: config.images,
            folder: config.state.clone(),
            fabric: Arc::clone(&config.fabric),
            name_servers: name_servers.clone(),
            reports: reports.clone(),
        };
        let context = Arc::new(Context {
            runtimes,
            images: Images::new(workshop, &ledger.load()),
            fabric: config.fabric,
            ledger,
            now: config.now,
            stop_grace: config.stop_grace,
            domain: config.domain,
            name_servers,
            install_limits: InstallLimits { download, unpacked },
            facts: config.facts.map(Desk::new),
            pool: Pool::new(config.pool, &config.state),
            places: Places::default(),
            reports,
        });
        let (state, probes) = (Shared::default(), AtomicU32::new(0));
        let background = vec![
            tokio::spawn(gather(Arc::clone(&context.images), Arc::clone(&state), reported)),
            tokio::spawn(watch_runtimes(Arc::clone(&context), Arc::clone(&state))),
            tokio::spawn(watch_fabric(Arc::clone(&context), Arc::clone(&state))),
        ];
        let (background, only_netem) = (Mutex::new(background), config.only_netem);
        Ok(Arc::new(Self { context, state, background, probes, only_netem }))
    }

    /// What to keep in the pool from now on.
    pub fn set_pool(&self, settings: Option<PoolSettings>) {
        self.context.pool.set(settings);
    }

    /// Sets the desired state of one slice; `found` is what a list of the runtimes has just shown.
    fn set(&self, state: &mut State, mut slice: desired::Slice, found: &mut HashMap<SliverId, Found>) {
        let listed = state.listed;
        let entry = state.slices.entry(slice.slice).or_insert_with(|| SliceEntry::new(slice.revision));
        if slice.revision < entry.revision {
            return;
        }
        entry.revision = slice.revision;
        for (sliver, node) in &entry.nodes {
            if !slice.nodes.iter().any(|wanted| wanted.sliver == *sliver) {
                node.wanted.send_replace(None);
            }
        }
        // Before the nodes, which wait for them.
        entry.scheduled = Scheduled::take_up(&self.context, &slice, entry.scheduled.take());
        let links = match &entry.scheduled {
            Some(scheduled) => scheduled.links(),
            None => {
                let links = std::mem::take(&mut slice.links);
                SliceLinks { slice: slice.slice, revision: slice.revision, links }
            }
        };
        entry.set_links(&self.context, links);
        let about = Arc::new(slice.about);
        let environment: Arc<[String]> =
            slice.environment.iter().map(|of| format!("{}={}", of.name, of.value)).collect();
        entry.share(slice.host_tables);
        for node in slice.nodes {
            let sliver = node.sliver;
            let plays = plays_of(entry.scheduled.as_ref(), &node);
            let mut wanted = Wanted {
                tag: slice.tag,
                slice_name: slice.name.clone(),
                about: Arc::clone(&about),
                environment: Arc::clone(&environment),
                host_table: entry.host_table(&node),
                node: node.clone(),
                plays: Plays::default(),
                issue: 0,
            };
            match entry.nodes.iter().find(|(id, _)| *id == sliver) {
                Some((_, entry)) => {
                    entry.wanted.send_if_modified(|now| {
                        wanted.follow(now.as_ref());
                        wanted.play(&node, plays);
                        let new = wanted.renew(now.as_ref());
                        *now = Some(wanted);
                        new
                    });
                }
                None => {
                    let mut found = found.remove(&sliver).unwrap_or_default();
                    wanted.follow_found(&found);
                    wanted.play(&node, plays);
                    let wanted = Some(wanted);
                    found.known |= listed;
                    let entry_node = self.spawn(slice.slice, sliver, wanted, entry.links.clone(), found);
                    entry.nodes.push((sliver, entry_node));
                }
            }
        }
        start_clock(&self.context, &self.state, entry);
        // Also where nothing is to be done for it: whoever has asked waits to hear that it has been taken.
        let _ = self.context.reports.send(Report::Slice(slice.slice));
        if entry.is_gone() {
            let gone = entry.observed(slice.slice, &self.context.images);
            self.context.images.forget(slice.slice);
            state.slices.remove(&slice.slice);
            state.leaving.push(gone);
        }
    }

    /// The runtime of a node of which only the record is known, as far as there is but one real one.
    fn only_runtime(&self) -> Option<RuntimeKind> {
        let mut kinds = self.context.runtimes.keys().copied();
        kinds.clone().find(|kind| *kind != RuntimeKind::Fake).or_else(|| kinds.next())
    }

    /// Sweeps now, and again in the background until it succeeds.
    async fn sweep_soon(&self) {
        if sweep(&self.context, &self.state).await {
            return;
        }
        let (context, state) = (Arc::clone(&self.context), Arc::clone(&self.state));
        let retry = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_AGAIN).await;
                if sweep(&context, &state).await {
                    return;
                }
            }
        });
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        background.retain(|task| !task.is_finished());
        background.push(retry);
    }

    fn spawn(
        &self,
        slice: SliceId,
        sliver: SliverId,
        wanted: Option<Wanted>,
        links: SliceLinksHandle,
        found: Found,
    ) -> NodeEntry {
        // So that whatever is said of the node says of which slice it is.
        let name = wanted.as_ref().map(|wanted| wanted.slice_name.clone());
        let span = tracing::info_span!("node", slice = name);
        let (wanted, receiver) = watch::channel(wanted);
        let wake = Arc::new(Wake::default());
        let context = Arc::clone(&self.context);
        let task = Task::new(context, slice, sliver, receiver, Arc::clone(&wake), links, found);
        NodeEntry { wanted, wake, seen: None, task: tokio::spawn(task.run().instrument(span)) }
    }
}

#[async_trait]
impl Host for LocalHost {
    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError> {
        let listed = list(&self.context).await;
        let mut found: HashMap<SliverId, Found> = HashMap::new();
        let mut records = self.context.ledger.load();
        for (kind, seen) in listed.as_deref().unwrap_or_default() {
            let found = found.entry(seen.key.sliver).or_default();
            found.disks.insert(seen.key.disk, seen.power.clone());
            found.runtime = Some(*kind);
        }
        for slice in &slices {
            for node in &slice.nodes {
                found.entry(node.sliver).or_default().record = records.remove(&node.sliver);
            }
        }
        // Nodes that are to go and were not yet gone when the agent ended get a task that removes them; until then
        // their slices are reported with them, so that nobody else is given what they hold.
        let mut leaving: Vec<(SliceId, SliverId, Found)> = Vec::new();
        for (kind, seen) in listed.as_deref().unwrap_or_default() {
            let wanted =
                slices.iter().any(|slice| slice.nodes.iter().any(|node| node.sliver == seen.key.sliver));
            if !wanted && let Some(mut found) = found.remove(&seen.key.sliver) {
                found.record = records.remove(&seen.key.sliver);
                found.runtime = Some(*kind);
                leaving.push((seen.key.slice, seen.key.sliver, found));
            }
        }
        for (sliver, record) in std::mem::take(&mut records) {
            // The engine does not answer, or has forgotten it; the interface may still be there.
            let found = Found { runtime: self.only_runtime(), record: Some(record), ..Found::default() };
            let slice = found.record.as_ref().map(|record| record.slice);
            leaving.extend(slice.map(|slice| (slice, sliver, found)));
        }
        {
            let scheduled: Vec<SliceId> =
                slices.iter().filter(|slice| slice.schedule.is_some()).map(|slice| slice.slice).collect();
            self.context.ledger.keep_runs(&scheduled);
            let mut state = lock(&self.state);
            state.listed = listed.is_ok();
            let missing: Vec<SliceId> = state
                .slices
                .keys()
                .copied()
                .filter(|known| !slices.iter().any(|slice| slice.slice == *known))
                .collect();
            for known in missing {
                if let Some(entry) = state.slices.get_mut(&known) {
                    entry.scheduled = None;
                    entry.links.set(None);
                    entry.nodes.iter().for_each(|(_, node)| {
                        node.wanted.send_replace(None);
                    });
                }
            }
            for (slice, sliver, found) in leaving {
                let revision =
                    slices.iter().find(|of| of.slice == slice).map_or(Revision(0), |of| of.revision);
                let entry = state.slices.entry(slice).or_insert_with(|| SliceEntry::new(revision));
                let node = self.spawn(slice, sliver, None, entry.links.clone(), found);
                entry.nodes.push((sliver, node));
            }
            for slice in slices {
                self.set(&mut state, slice, &mut found);
            }
            let first = !std::mem::replace(&mut state.synced, true);
            drop(state);
            if first {
                // Not before the nodes that are wanted have been taken up.
                let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
                background.push(tokio::spawn(keeper::keep(Arc::clone(&self.context))));
                for runtime in self.context.runtimes.values() {
                    let (images, runtime) = (Arc::clone(&self.context.images), Arc::clone(runtime));
                    background.push(tokio::spawn(async move { images.settle(&runtime).await }));
                }
            }
        }
        if let Err(error) = listed {
            tracing::warn!(error, "an engine does not answer; waiting for it");
        }
        self.sweep_soon().await;
        Ok(())
    }

    async fn apply(&self, slice: desired::Slice) -> Result<(), HostError> {
        let leaving = {
            let mut state = lock(&self.state);
            self.set(&mut state, slice, &mut HashMap::new());
            !state.leaving.is_empty()
        };
        if leaving {
            self.sweep_soon().await;
        }
        Ok(())
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = lock(&self.state);
        for (slice, entry) in &state.slices {
            let _ = sender.send(entry.observed(*slice, &self.context.images));
        }
        state.watchers.push(sender);
        receiver
    }

    async fn observe(&self, slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        Ok(lock(&self.state).slices.get(&slice).map(|entry| entry.observed(slice, &self.context.images)))
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        self.context.fabric.capture(slice, request).await
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        self.context.fabric.try_filter(expression).await
    }

    async fn probe(&self, slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        // Each train adds its place to the number.
        let run = self.probes.fetch_add(TRAINS as u32, Ordering::Relaxed);
        let (request, known) = self.context.places.request(run, &probes);
        let answered = self.context.fabric.probe(slice, &request).await;
        Ok(together(known, answered.map_err(|error| HostError(error.to_string()))?))
    }

    fn ahead(&self, images: Vec<Ahead>) {
        for Ahead { runtime, image } in images.into_iter().take(MOST_AHEAD) {
            let image = match image {
                ImageSource::Name(image) => image,
                ImageSource::Url(url) => {
                    self.context.images.fetch_early(url);
                    continue;
                }
            };
            let Some(runtime) = self.context.runtimes.get(&runtime).cloned() else { continue };
            // Nodes that come meanwhile wait for the same pull, and are told what goes wrong.
            tokio::spawn(async move {
                let progress = watch::Sender::new(PullProgress::default());
                if let Err(error) = runtime.image(&image, Pull::Missing, &progress).await {
                    tracing::debug!(%error, "an image could not be fetched ahead of its nodes");
                }
            });
        }
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        // It looks at every process of the machine.
        let observed = tokio::task::spawn_blocking(limits::observe).await.unwrap_or(HostLimits::UNKNOWN);
        let limits = HostLimits { only_netem: self.only_netem, ..observed };
        let mut facts = HostFacts { engines: Vec::new(), healthy: true, limits };
        for runtime in self.context.runtimes.values() {
            match runtime.facts().await {
                Ok(runtime) => facts.engines.push(runtime.engine),
                Err(error) => {
                    facts.healthy = false;
                    facts.engines.push(error.to_string());
                }
            }
        }
        Ok(facts)
    }

    async fn shut_down(&self) {
        let tasks: Vec<JoinHandle<()>> = {
            let mut state = lock(&self.state);
            state.watchers.clear();
            // Tasks end when the sender of their desired state is dropped, after the step that they are at.
            let slices = std::mem::take(&mut state.slices);
            slices.into_values().flat_map(|entry| entry.nodes).map(|(_, node)| node.task).collect()
        };
        for handle in self.background.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            handle.abort();
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl std::fmt::Debug for LocalHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalHost").finish_non_exhaustive()
    }
}
