//! The host that is this machine: one task a node, and a janitor for what has no task.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use testyard_fabric::links::SliceLinks;
use testyard_fabric::{Fabric, FabricError};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{NodeKey, NodeSeen, Runtime, RuntimeEvent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::contract::{Host, HostError, HostFacts};
use crate::facts::{Desk, Facts};
use crate::ledger::{Ledger, LedgerError};
use crate::links::SliceLinksHandle;
use crate::node::inside::InstallLimits;
use crate::node::task::{Context, Found, Report, Task, Wanted};
use crate::node::wake::Wake;
use crate::pool::{Pool, PoolSettings, keeper};
use crate::{desired, observed};

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
}

#[derive(Default)]
struct State {
    /// The controller has said what should be here; whatever else is marked may be removed.
    synced: bool,
    /// The runtimes have been listed once; what they did not show is not there.
    listed: bool,
    slices: HashMap<SliceId, SliceEntry>,
    /// Slices that have no task, to be reported gone once nothing of them is found.
    leaving: Vec<observed::Slice>,
    watchers: Vec<mpsc::UnboundedSender<observed::Slice>>,
}

struct SliceEntry {
    revision: Revision,
    /// In the order of the desired state.
    nodes: Vec<(SliverId, NodeEntry)>,
    links: SliceLinksHandle,
    /// Makes and ends the links, while there are any.
    keeper: Option<JoinHandle<()>>,
}

struct NodeEntry {
    wanted: watch::Sender<Option<Wanted>>,
    wake: Arc<Wake>,
    seen: Option<observed::Node>,
    task: JoinHandle<()>,
}

/// How soon a sweep that failed is tried again.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

/// How soon what could not be mended is looked at again.
const MEND_AGAIN: Duration = Duration::from_secs(1);

type Shared = Arc<Mutex<State>>;

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
        let context = Arc::new(Context {
            runtimes,
            fabric: config.fabric,
            ledger,
            now: config.now,
            stop_grace: config.stop_grace,
            domain: config.domain,
            name_servers,
            install_limits: InstallLimits { download, unpacked },
            facts: config.facts.map(Desk::new),
            pool: Pool::new(config.pool, &config.state),
            reports,
        });
        let state = Shared::default();
        let background = vec![
            tokio::spawn(gather(Arc::clone(&state), reported)),
            tokio::spawn(watch_runtimes(Arc::clone(&context), Arc::clone(&state))),
            tokio::spawn(watch_fabric(Arc::clone(&context))),
        ];
        Ok(Arc::new(Self { context, state, background: Mutex::new(background) }))
    }

    /// What to keep in the pool from now on.
    pub fn set_pool(&self, settings: Option<PoolSettings>) {
        self.context.pool.set(settings);
    }

    /// Sets the desired state of one slice; `found` is what a list of the runtimes has just shown.
    fn set(&self, state: &mut State, slice: desired::Slice, found: &mut HashMap<SliverId, Found>) {
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
        let links = SliceLinks { slice: slice.slice, revision: slice.revision, links: slice.links };
        entry.set_links(&self.context, links);
        let about = Arc::new(slice.about);
        for node in slice.nodes {
            let sliver = node.sliver;
            let about = Arc::clone(&about);
            let wanted = Some(Wanted { tag: slice.tag, slice_name: slice.name.clone(), about, node });
            match entry.nodes.iter().find(|(id, _)| *id == sliver) {
                Some((_, entry)) => {
                    entry.wanted.send_if_modified(|now| {
                        let new = *now != wanted;
                        *now = wanted;
                        new
                    });
                }
                None => {
                    let mut found = found.remove(&sliver).unwrap_or_default();
                    found.known |= listed;
                    let entry_node = self.spawn(slice.slice, sliver, wanted, entry.links.clone(), found);
                    entry.nodes.push((sliver, entry_node));
                }
            }
        }
        if entry.is_gone() {
            let gone = entry.observed(slice.slice);
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
        let (wanted, receiver) = watch::channel(wanted);
        let wake = Arc::new(Wake::default());
        let context = Arc::clone(&self.context);
        let task = Task::new(context, slice, sliver, receiver, Arc::clone(&wake), links, found);
        NodeEntry { wanted, wake, seen: None, task: tokio::spawn(task.run()) }
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
            let mut state = lock(&self.state);
            state.listed = listed.is_ok();
            let missing: Vec<SliceId> = state
                .slices
                .keys()
                .copied()
                .filter(|known| !slices.iter().any(|slice| slice.slice == *known))
                .collect();
            for known in missing {
                if let Some(entry) = state.slices.get(&known) {
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
            let _ = sender.send(entry.observed(*slice));
        }
        state.watchers.push(sender);
        receiver
    }

    async fn observe(&self, slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        Ok(lock(&self.state).slices.get(&slice).map(|entry| entry.observed(slice)))
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        let mut facts = HostFacts { engines: Vec::new(), healthy: true };
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

// === impl State ===

impl State {
    fn tell(&mut self, slice: &observed::Slice) {
        self.watchers.retain(|watcher| watcher.send(slice.clone()).is_ok());
    }

    fn node(&self, key: &NodeKey) -> Option<&NodeEntry> {
        let entry = self.slices.get(&key.slice)?;
        entry.nodes.iter().find(|(sliver, _)| *sliver == key.sliver).map(|(_, node)| node)
    }

    fn has_sliver(&self, sliver: SliverId) -> bool {
        self.slices.values().any(|entry| entry.nodes.iter().any(|(id, _)| *id == sliver))
    }
}

impl SliceEntry {
    fn new(revision: Revision) -> Self {
        Self { revision, nodes: Vec::new(), links: SliceLinksHandle::new(), keeper: None }
    }

    fn set_links(&mut self, context: &Arc<Context>, links: SliceLinks) {
        let slice = links.slice;
        let wanted = (!links.links.is_empty()).then_some(links);
        if wanted.is_none() && self.keeper.is_none() {
            return;
        }
        self.links.set(wanted);
        self.keeper.get_or_insert_with(|| self.links.start(Arc::clone(context), slice));
    }

    /// Nothing of it is left: no node, no link.
    fn is_gone(&self) -> bool {
        self.nodes.is_empty() && (self.keeper.is_none() || self.links.seen() == observed::LinksSeen::None)
    }

    fn observed(&self, slice: SliceId) -> observed::Slice {
        let seen = |(sliver, node): &(SliverId, NodeEntry)| {
            // A node that is not in a report counts as gone, and what it holds is given to others.
            node.seen.clone().unwrap_or_else(|| observed::Node::waiting(*sliver))
        };
        let nodes = self.nodes.iter().map(seen).collect();
        observed::Slice { slice, revision: self.revision, nodes, links: self.links.seen() }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // The state is only ever replaced piece by piece, so a panic elsewhere leaves it usable.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what the node tasks say together, a slice at a time.
async fn gather(state: Shared, mut reported: mpsc::UnboundedReceiver<Report>) {
    let mut batch = Vec::new();
    while reported.recv_many(&mut batch, 10_000).await > 0 {
        let mut state = lock(&state);
        let mut changed: Vec<SliceId> = Vec::new();
        for report in batch.drain(..) {
            let slice = match report {
                Report::Links(slice) => slice,
                Report::Node(report) => {
                    let Some(entry) = state.slices.get_mut(&report.slice) else { continue };
                    match report.node {
                        Some(seen) => {
                            let mut nodes = entry.nodes.iter_mut();
                            if let Some((_, node)) = nodes.find(|(id, _)| *id == report.sliver) {
                                node.seen = Some(seen);
                            }
                        }
                        None => entry.nodes.retain(|(id, _)| *id != report.sliver),
                    }
                    report.slice
                }
            };
            if !changed.contains(&slice) {
                changed.push(slice);
            }
        }
        for slice in changed {
            let Some(entry) = state.slices.get(&slice) else { continue };
            let observed = entry.observed(slice);
            // Nothing may be reported as gone that is still there.
            if entry.nodes.is_empty() && !entry.is_gone() {
                continue;
            }
            if entry.is_gone() {
                state.slices.remove(&slice);
            }
            state.tell(&observed);
        }
    }
}

/// Wakes the tasks of nodes that something has happened to, and removes what nobody wants.
async fn watch_runtimes(context: Arc<Context>, state: Shared) {
    let streams = context.runtimes.values().map(|runtime| {
        let kind = runtime.kind();
        runtime.events().map(move |event| (kind, event))
    });
    let mut events = futures_util::stream::select_all(streams);
    while let Some((kind, event)) = events.next().await {
        match event {
            RuntimeEvent::Changed(key) if key.is_spare() => context.pool.look(key),
            RuntimeEvent::Changed(key) => {
                let orphan = {
                    let state = lock(&state);
                    match state.node(&key) {
                        Some(node) => {
                            node.wake.look();
                            false
                        }
                        None => state.synced,
                    }
                };
                if orphan && let Some(runtime) = context.runtimes.get(&kind) {
                    remove_orphan(&**runtime, &key).await;
                }
            }
            RuntimeEvent::Resync => {
                let wakes: Vec<Arc<Wake>> = {
                    let state = lock(&state);
                    state
                        .slices
                        .values()
                        .flat_map(|entry| &entry.nodes)
                        .map(|(_, node)| Arc::clone(&node.wake))
                        .collect()
                };
                wakes.iter().for_each(|wake| wake.look_after_absence());
                context.pool.look_at_all();
                // If it fails, another resync is on its way, or whoever asked for the sweep tries again.
                sweep(&context, &state).await;
            }
        }
    }
}

/// Mends packet rules when something outside has changed them.
async fn watch_fabric(context: Arc<Context>) {
    let mut disturbances = context.fabric.disturbances();
    let mut mended = true;
    loop {
        let again = async {
            if mended { std::future::pending().await } else { tokio::time::sleep(MEND_AGAIN).await }
        };
        tokio::select! {
            disturbance = disturbances.next() => if disturbance.is_none() { return },
            () = again => {}
        }
        let outcome = context.fabric.repair().await;
        mended = outcome.is_ok();
        match outcome {
            Ok(repairs) if repairs.is_empty() => {}
            Ok(repairs) => {
                tracing::warn!(?repairs, "something outside had changed the network of nodes; mended")
            }
            Err(error) => tracing::error!(%error, "cannot mend the network of nodes; will look again"),
        }
    }
}

/// What the runtimes have, spares aside: those are the pool's.
async fn list(context: &Context) -> Result<Vec<(RuntimeKind, NodeSeen)>, String> {
    let mut all = Vec::new();
    for runtime in context.runtimes.values() {
        let seen = runtime.list().await.map_err(|error| error.to_string())?;
        let nodes = seen.into_iter().filter(|seen| !seen.key.is_spare());
        all.extend(nodes.map(|seen| (runtime.kind(), seen)));
    }
    Ok(all)
}

/// Removes what carries this testbed's mark and nobody wants, then reports the slices that nothing is left of. Nothing,
/// before the controller has said what it wants. False if it has to be done again.
async fn sweep(context: &Context, state: &Shared) -> bool {
    let leaving = std::mem::take(&mut lock(state).leaving);
    let clean = sweep_nodes(context, state).await
        && sweep_interfaces(context, state).await
        && sweep_links(context, state).await;
    let mut state = lock(state);
    if clean {
        for gone in leaving {
            state.tell(&gone);
        }
    } else {
        state.leaving.extend(leaving);
    }
    clean
}

async fn sweep_nodes(context: &Context, state: &Shared) -> bool {
    let Ok(all) = list(context).await else { return false };
    // The list is older than this look at the state: a node that is in the list and in no task has lost its task.
    let orphans: Vec<(RuntimeKind, NodeKey)> = {
        let mut state = lock(state);
        state.listed = true;
        if !state.synced {
            return false;
        }
        let wanted = |key: &NodeKey| match state.node(key) {
            None => false,
            Some(node) => node
                .wanted
                .borrow()
                .as_ref()
                .is_none_or(|wanted| key.disk >= wanted.node.disk || node.seen.is_none()),
        };
        all.into_iter().filter(|(_, seen)| !wanted(&seen.key)).map(|(kind, seen)| (kind, seen.key)).collect()
    };
    let mut clean = true;
    for (kind, key) in orphans {
        if let Some(runtime) = context.runtimes.get(&kind) {
            clean &= remove_orphan(&**runtime, &key).await;
        }
    }
    clean
}

async fn sweep_interfaces(context: &Context, state: &Shared) -> bool {
    let attached = match context.fabric.attached().await {
        Ok(attached) => attached,
        Err(error) => {
            tracing::warn!(%error, "cannot look for interfaces that nobody wants");
            return false;
        }
    };
    let mut clean = true;
    for attached in attached {
        if lock(state).has_sliver(attached.sliver) {
            continue;
        }
        if let Err(error) = context.fabric.detach(attached.sliver).await {
            tracing::warn!(%error, "cannot remove an interface that nobody wants");
            clean = false;
        }
    }
    clean
}

async fn sweep_links(context: &Context, state: &Shared) -> bool {
    let joined = match context.fabric.joined().await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(%error, "cannot look for links that nobody wants");
            return false;
        }
    };
    let mut clean = true;
    for slice in joined {
        if lock(state).slices.get(&slice).is_some_and(|entry| entry.keeper.is_some()) {
            continue;
        }
        if let Err(error) = context.fabric.part(slice).await {
            tracing::warn!(%error, "cannot remove links that nobody wants");
            clean = false;
        }
    }
    clean
}

async fn remove_orphan(runtime: &dyn Runtime, key: &NodeKey) -> bool {
    match runtime.remove(key).await {
        Ok(()) => {
            tracing::info!(%key, "removed what nobody wants any more");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot remove what nobody wants any more");
            false
        }
    }
}
