//! A fabric that remembers instead of talking to a kernel.
//!
//! It behaves as [`Fabric`] promises: calls are idempotent, a node that has ended is [`FabricError::Gone`], a port that
//! leads to one node cannot lead to another. Tests make it fail, end nodes and disturb it.

mod capture;
mod links;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use testyard_model::id::{SliceId, SliverId};
use tokio::sync::broadcast;

use crate::links::probe::ProbeRequest;
use crate::links::{LinkTraffic, NodePorts, SliceLinks};
use crate::{Attached, Attachment, Fabric, FabricError, Repair};
use links::Prober;

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Fabric::prepare`].
    Prepare,
    /// [`Fabric::attach`], with the path of the namespace.
    Attach(SliverId, PathBuf),
    /// [`Fabric::detach`].
    Detach(SliverId),
    /// [`Fabric::repair`].
    Repair,
    /// [`Fabric::reset`].
    Reset,
    /// [`Links::join`](crate::Links::join).
    Join(SliceId),
    /// [`Links::plug`](crate::Links::plug), with the path of the namespace.
    Plug(SliverId, PathBuf),
    /// [`Links::part`](crate::Links::part).
    Part(SliceId),
    /// [`Links::capture`](crate::Links::capture).
    Capture(SliceId),
    /// [`Links::probe`](crate::Links::probe), with what was to be sent.
    Probe(SliceId, ProbeRequest),
}

/// Which calls a failure is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// [`Fabric::prepare`].
    Prepare,
    /// [`Fabric::attach`].
    Attach,
    /// [`Fabric::detach`].
    Detach,
    /// [`Fabric::attached`].
    Attached,
    /// [`Fabric::repair`].
    Repair,
    /// [`Fabric::reset`].
    Reset,
    /// [`Links::join`](crate::Links::join).
    Join,
    /// [`Links::plug`](crate::Links::plug).
    Plug,
    /// [`Links::part`](crate::Links::part).
    Part,
    /// [`Links::joined`](crate::Links::joined).
    Joined,
    /// [`Links::capture`](crate::Links::capture).
    Capture,
    /// [`Links::try_filter`](crate::Links::try_filter).
    TryFilter,
    /// [`Links::probe`](crate::Links::probe).
    Probe,
}

/// What a call fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`FabricError::Lacking`].
    Lacking(String),
    /// [`FabricError::Gone`].
    Gone(SliverId),
    /// [`FabricError::PortTaken`].
    PortTaken(u16),
    /// [`FabricError::Kernel`], with these words of the kernel.
    Kernel(String),
}

/// See the module. Clones share everything: one goes to the agent, one stays with the test.
#[derive(Clone, Debug)]
pub struct FakeFabric {
    inner: Arc<Mutex<Inner>>,
    disturbed: broadcast::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    attached: BTreeMap<SliverId, (Attachment, bool)>,
    joined: BTreeMap<SliceId, SliceLinks>,
    plugged: BTreeMap<SliverId, (SliceId, NodePorts)>,
    traffic: BTreeMap<SliceId, Vec<LinkTraffic>>,
    captures: Vec<capture::FakeCapture>,
    prober: Prober,
    gone: BTreeSet<PathBuf>,
    taken: BTreeSet<u16>,
    name_servers: Vec<IpAddr>,
    repairs: Vec<Repair>,
    calls: Vec<Call>,
    counts: Vec<(Verb, u32)>,
    failures: Vec<(Verb, u32, Failure)>,
}

impl Default for FakeFabric {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeFabric {
    /// With nothing attached, and 192.0.2.53 as name server.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner { name_servers: vec![[192, 0, 2, 53].into()], ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), disturbed: broadcast::Sender::new(16) }
    }

    /// What is attached, in order of slivers.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.lock().attached.values().map(|(attachment, _)| attachment.clone()).collect()
    }

    /// Every call that changes something, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Makes the `nth` call of the kind from now on (1 is the next) fail, once.
    pub fn fail(&self, verb: Verb, nth: u32, failure: Failure) {
        let mut inner = self.lock();
        let so_far = inner.count(verb);
        inner.failures.push((verb, so_far + nth, failure));
    }

    /// Ends a node's namespace: its interface is gone, and attaching to the path fails until [`Self::boot`].
    pub fn end(&self, sliver: SliverId, netns: impl Into<PathBuf>) {
        let mut inner = self.lock();
        if let Some((_, alive)) = inner.attached.get_mut(&sliver) {
            *alive = false;
        }
        inner.plugged.remove(&sliver);
        inner.gone.insert(netns.into());
    }

    /// There is a namespace at the path again.
    pub fn boot(&self, netns: &Path) {
        self.lock().gone.remove(netns);
    }

    /// A service of the host takes a port.
    pub fn take_port(&self, port: u16) {
        self.lock().taken.insert(port);
    }

    /// What [`Fabric::name_servers`] answers.
    pub fn set_name_servers(&self, servers: Vec<IpAddr>) {
        self.lock().name_servers = servers;
    }

    /// Something outside changes: streams tick, and the next [`Fabric::repair`] mends this.
    pub fn disturb(&self, repairs: Vec<Repair>) {
        self.lock().repairs.extend(repairs);
        let _ = self.disturbed.send(());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&self, verb: Verb) -> u32 {
        self.counts.iter().find(|(v, _)| *v == verb).map_or(0, |(_, count)| *count)
    }

    /// Counts a call and fails it if a test wants that.
    fn enter(&mut self, verb: Verb) -> Result<(), FabricError> {
        let now = self.count(verb) + 1;
        self.counts.retain(|(v, _)| *v != verb);
        self.counts.push((verb, now));
        let Some(position) = self.failures.iter().position(|(v, nth, _)| *v == verb && *nth == now) else {
            return Ok(());
        };
        Err(match self.failures.remove(position).2 {
            Failure::Lacking(text) => FabricError::Lacking(text),
            Failure::Gone(sliver) => FabricError::Gone { sliver },
            Failure::PortTaken(port) => FabricError::PortTaken { port },
            Failure::Kernel(detail) => {
                FabricError::Kernel { action: "doing as the test says".to_owned(), detail }
            }
        })
    }

    fn attach(&mut self, attachment: &Attachment, netns: &Path) -> Result<(), FabricError> {
        if self.gone.contains(netns) {
            return Err(FabricError::Gone { sliver: attachment.sliver });
        }
        for forward in &attachment.forwards {
            let same = |other: &Attachment| {
                other.sliver != attachment.sliver
                    && other
                        .forwards
                        .iter()
                        .any(|f| f.host_port == forward.host_port && f.port.protocol == forward.port.protocol)
            };
            if self.taken.contains(&forward.host_port) || self.attached.values().any(|(other, _)| same(other))
            {
                return Err(FabricError::PortTaken { port: forward.host_port });
            }
        }
        self.attached.insert(attachment.sliver, (attachment.clone(), true));
        Ok(())
    }
}

#[async_trait]
impl Fabric for FakeFabric {
    async fn prepare(&self) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Prepare);
        inner.enter(Verb::Prepare)
    }

    async fn attach(&self, attachment: &Attachment, netns: &Path) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Attach(attachment.sliver, netns.to_owned()));
        inner.enter(Verb::Attach)?;
        inner.attach(attachment, netns)
    }

    async fn detach(&self, sliver: SliverId) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Detach(sliver));
        inner.enter(Verb::Detach)?;
        inner.attached.remove(&sliver);
        Ok(())
    }

    async fn attached(&self) -> Result<Vec<Attached>, FabricError> {
        let mut inner = self.lock();
        inner.enter(Verb::Attached)?;
        let list = inner.attached.values();
        Ok(list.map(|(a, alive)| Attached { slice: a.slice, sliver: a.sliver, alive: *alive }).collect())
    }

    async fn repair(&self) -> Result<Vec<Repair>, FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Repair);
        inner.enter(Verb::Repair)?;
        Ok(std::mem::take(&mut inner.repairs))
    }

    fn disturbances(&self) -> BoxStream<'static, ()> {
        stream::unfold(self.disturbed.subscribe(), |mut receiver| async move {
            match receiver.recv().await {
                Err(broadcast::error::RecvError::Closed) => None,
                Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => Some(((), receiver)),
            }
        })
        .boxed()
    }

    async fn name_servers(&self) -> Result<Vec<IpAddr>, FabricError> {
        Ok(self.lock().name_servers.clone())
    }

    async fn reset(&self) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Reset);
        inner.enter(Verb::Reset)?;
        inner.attached.clear();
        let parted: Vec<SliceId> = std::mem::take(&mut inner.joined).into_keys().collect();
        parted.into_iter().for_each(|slice| capture::end(&mut inner.captures, slice));
        inner.plugged.clear();
        Ok(())
    }
}
