//! A runtime that only pretends: nodes in memory, each with a guest that speaks the guest protocol.
//!
//! It keeps the contract as a real one does, so planning, demonstrations and the fast tests run on it. What a test
//! needs beyond the contract is here too: latencies (of tokio's clock, so a paused test takes no time), [`Fault`]s by
//! call, nodes that die or vanish, an engine that is away, and guests that fail, hang, lie or flood
//! ([`GuestScript`]).
//!
//! A clone is the same runtime. An agent that dies and comes back is: drop everything of the first, give the second a
//! clone. Nodes and their guests live on in between, as containers do.

mod fault;
mod guest;
mod image;
mod maker;
mod programs;
mod script;
mod socket;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use testyard_guest_protocol::{Desired, Report};
use testyard_model::image::ImageName;
use testyard_model::name::Hostname;
use testyard_model::sliver_type::RuntimeKind;
use tokio::io::DuplexStream;
use tokio::sync::{broadcast, watch};

use crate::contract::{GuestListener, NodeSeen, PowerSeen, Running, Runtime, RuntimeEvent, RuntimeFacts};
use crate::error::{ImageError, RuntimeError};
use crate::image::{Image, Pull, PullProgress};
use crate::maker::Maker;
use crate::spec::{NodeKey, NodeSpec};

pub use fault::{Fault, FaultKind, Moment, Op};
pub use image::FakeImage;
pub use script::{GuestScript, Manner, Outcome};

use image::Images;
use maker::FakeMaker;
use world::World;

/// The fake runtime. See the module.
#[derive(Clone)]
pub struct FakeRuntime {
    kind: RuntimeKind,
    images: Arc<Images>,
    maker: Arc<FakeMaker>,
    world: Arc<World>,
}

/// How long the calls take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// [`Runtime::create`].
    pub create: Duration,
    /// [`Runtime::start`].
    pub start: Duration,
    /// [`Runtime::stop`].
    pub stop: Duration,
    /// [`Runtime::remove`].
    pub remove: Duration,
}

/// A node as the fake has it, for tests.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeNode {
    /// What it was made from.
    pub spec: NodeSpec,
    /// Whether it runs.
    pub power: PowerSeen,
    /// How often it has booted.
    pub boots: u32,
    /// What its guest was last asked for in this boot.
    pub desired: Option<Desired>,
    /// What its guest last had to say in this boot.
    pub report: Option<Report>,
    /// The files on its disk that tests have written.
    pub files: BTreeMap<String, String>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// A host without nodes, whose registry has every image.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kind: RuntimeKind::Fake,
            images: Arc::default(),
            maker: Arc::default(),
            world: Arc::new(World::new()),
        }
    }

    /// The same under the flag of another kind, for tests of what is meant for that kind.
    #[must_use]
    pub fn posing_as(mut self, kind: RuntimeKind) -> Self {
        self.kind = kind;
        self
    }

    /// The runtime of another testbed on the same host: other nodes, the same images.
    #[must_use]
    pub fn neighbour(&self) -> Self {
        Self {
            kind: self.kind,
            images: Arc::clone(&self.images),
            maker: Arc::default(),
            world: Arc::new(World::new()),
        }
    }

    /// From now on there are only the images that were added.
    pub fn only_added_images(&self) {
        self.images.only_added();
    }

    /// Adds an image, or replaces the one of its name.
    pub fn add_image(&self, image: FakeImage) {
        self.images.add(image);
    }

    /// How often an image has been pulled.
    #[must_use]
    pub fn pulls(&self, name: &ImageName) -> usize {
        self.images.pulls(name)
    }

    /// The contents that images have been made of, and that are there.
    #[must_use]
    pub fn made_images(&self) -> Vec<testyard_model::image::Content> {
        self.maker.contents()
    }

    /// How often an image was to be made.
    #[must_use]
    pub fn builds(&self) -> usize {
        self.maker.builds()
    }

    /// Builds that wait need not any more.
    pub fn release_builds(&self) {
        self.maker.release();
    }

    /// How long calls take from now on.
    pub fn set_latency(&self, latency: Latency) {
        self.world.lock().latency = latency;
    }

    /// How the guests of nodes behave that boot from now on.
    pub fn set_guest(&self, script: GuestScript) {
        self.world.lock().script = script;
    }

    /// The same for the nodes of one host name.
    pub fn set_guest_of(&self, hostname: &Hostname, script: GuestScript) {
        self.world.lock().scripts.insert(hostname.clone(), script);
    }

    /// From now on nodes are made with another guest.
    pub fn upgrade_guest(&self, version: &str) {
        version.clone_into(&mut self.world.lock().guest);
    }

    /// Gives the host a device file, beside `/dev/null` and `/dev/net/tun`.
    pub fn add_device(&self, path: &str) {
        self.world.lock().devices.push(path.to_owned());
    }

    /// Makes calls fail. Of several faults that fit a call, the first injected acts.
    pub fn inject(&self, fault: Fault) {
        self.world.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn mend(&self) {
        self.world.lock().faults.clear();
    }

    /// How often a method of the contract has been called.
    #[must_use]
    pub fn calls(&self, op: Op) -> usize {
        self.world.lock().calls.get(&op).copied().unwrap_or(0)
    }

    /// The engine stops answering; nodes run on.
    pub fn engine_away(&self) {
        self.world.lock().away = true;
    }

    /// The engine answers again.
    pub fn engine_back(&self) {
        self.world.lock().away = false;
        self.world.tell(RuntimeEvent::Resync);
    }

    /// A node ends by itself. Gives whether it ran.
    pub fn kill(&self, key: &NodeKey, exit: i64, out_of_memory: bool) -> bool {
        self.world.end(key, None, exit, out_of_memory)
    }

    /// Somebody removes a node behind everyone's back. Gives whether it was there.
    pub fn vanish(&self, key: &NodeKey) -> bool {
        let was_there = self.world.lock().nodes.remove(key).is_some();
        if was_there {
            self.world.tell(RuntimeEvent::Changed(*key));
        }
        was_there
    }

    /// The host boots again: every node has ended, every socket is gone, disks are kept.
    pub fn reboot_host(&self) {
        self.world.reboot();
        self.world.tell(RuntimeEvent::Resync);
    }

    /// A node, for tests.
    #[must_use]
    pub fn node(&self, key: &NodeKey) -> Option<FakeNode> {
        self.world.lock().nodes.get(key).map(world::Node::snapshot)
    }

    /// All nodes, for tests.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeKey> {
        self.world.lock().nodes.keys().copied().collect()
    }

    /// The kernel ends a process of a node that runs, for want of memory. Gives whether it runs.
    pub fn kill_inside(&self, key: &NodeKey) -> bool {
        let runs = self.world.lock().nodes.get_mut(key).is_some_and(|node| {
            node.usage.killed += 1;
            matches!(node.power, PowerSeen::Running(_))
        });
        if runs {
            self.world.tell(RuntimeEvent::Changed(*key));
        }
        runs
    }

    /// The kernel refuses a node that runs another process. Nothing tells of it. Gives whether it runs.
    pub fn crowd(&self, key: &NodeKey) -> bool {
        self.world.lock().nodes.get_mut(key).is_some_and(|node| {
            node.usage.refused += 1;
            matches!(node.power, PowerSeen::Running(_))
        })
    }

    /// A node keeps so many bytes on disk from now on. Gives whether there is such a node.
    pub fn fill_disk(&self, key: &NodeKey, bytes: u64) -> bool {
        self.world.lock().nodes.get_mut(key).is_some_and(|node| {
            node.usage.disk = bytes;
            true
        })
    }

    /// Writes a file on a node's disk. Gives whether there is such a node.
    pub fn write_file(&self, key: &NodeKey, path: &str, text: &str) -> bool {
        self.world.lock().nodes.get(key).is_some_and(|node| {
            node.disk().files.insert(path.to_owned(), text.to_owned());
            true
        })
    }

    /// Connects to the agent as somebody inside the node; waits until it listens.
    pub async fn connect(&self, key: &NodeKey) -> DuplexStream {
        let mut door = self.world.lock().door(key);
        door.connect().await
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        self.kind
    }

    async fn facts(&self) -> Result<RuntimeFacts, RuntimeError> {
        let call = self.world.enter(Op::Facts, None, Duration::ZERO).await?;
        call.leave(RuntimeFacts { engine: "Fake Engine 1".to_owned() }).await
    }

    async fn image(
        &self,
        name: &ImageName,
        pull: Pull,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Image, ImageError> {
        let trouble = |error| fault::of_image(name, &error);
        let call = self.world.enter(Op::Image, None, Duration::ZERO).await.map_err(trouble)?;
        let image = self.images.image(name, pull, progress).await?;
        call.leave(image).await.map_err(trouble)
    }

    fn maker(&self) -> Option<&dyn Maker> {
        Some(&*self.maker)
    }

    async fn create(&self, spec: &NodeSpec) -> Result<(), RuntimeError> {
        let latency = self.world.lock().latency.create;
        let call = self.world.enter(Op::Create, Some(&spec.key), latency).await?;
        self.world.lock().create(spec)?;
        call.leave(()).await
    }

    async fn listen(&self, key: &NodeKey) -> Result<Box<dyn GuestListener>, RuntimeError> {
        let call = self.world.enter(Op::Listen, Some(key), Duration::ZERO).await?;
        let listener = self.world.lock().listen(key);
        call.leave(Box::new(listener) as Box<dyn GuestListener>).await
    }

    async fn start(&self, key: &NodeKey) -> Result<Running, RuntimeError> {
        let latency = self.world.lock().latency.start;
        let call = self.world.enter(Op::Start, Some(key), latency).await?;
        let (running, is_new) = self.world.start(key)?;
        if is_new {
            self.world.tell(RuntimeEvent::Changed(*key));
        }
        call.leave(running).await
    }

    async fn stop(&self, key: &NodeKey, _grace: Duration) -> Result<(), RuntimeError> {
        let latency = self.world.lock().latency.stop;
        let call = self.world.enter(Op::Stop, Some(key), latency).await?;
        self.world.end(key, None, 137, false);
        call.leave(()).await
    }

    async fn hand_over(&self, spare: &NodeKey, key: &NodeKey) -> Result<PowerSeen, RuntimeError> {
        let call = self.world.enter(Op::HandOver, Some(spare), Duration::ZERO).await?;
        let power = self.world.lock().hand_over(spare, key)?;
        call.leave(power).await
    }

    async fn name(&self, key: &NodeKey, running: &Running, hostname: &Hostname) -> Result<(), RuntimeError> {
        let call = self.world.enter(Op::Name, Some(key), Duration::ZERO).await?;
        self.world.lock().name(key, running, hostname);
        call.leave(()).await
    }

    fn guest(&self) -> String {
        self.world.lock().guest.clone()
    }

    async fn remove(&self, key: &NodeKey) -> Result<(), RuntimeError> {
        let latency = self.world.lock().latency.remove;
        let call = self.world.enter(Op::Remove, Some(key), latency).await?;
        self.world.lock().sockets.remove(key);
        self.vanish(key);
        call.leave(()).await
    }

    async fn list(&self) -> Result<Vec<NodeSeen>, RuntimeError> {
        let call = self.world.enter(Op::List, None, Duration::ZERO).await?;
        let nodes = self
            .world
            .lock()
            .nodes
            .iter()
            .map(|(key, node)| NodeSeen { key: *key, power: node.power.clone() })
            .collect();
        call.leave(nodes).await
    }

    async fn killed_for_memory(&self, running: &Running) -> Option<u64> {
        self.world.lock().usage_of_run(running).map(|usage| usage.killed)
    }

    async fn too_many_processes(&self, running: &Running) -> Option<u64> {
        self.world.lock().usage_of_run(running).map(|usage| usage.refused)
    }

    async fn disk_used(&self, key: &NodeKey) -> Result<Option<u64>, RuntimeError> {
        let call = self.world.enter(Op::DiskUsed, Some(key), Duration::ZERO).await?;
        let used = self.world.lock().nodes.get(key).map(world::Node::disk_used);
        call.leave(used).await
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        // The world is kept alive, so the stream never ends.
        let state = (self.world.subscribe(), Arc::clone(&self.world));
        futures_util::stream::unfold(state, |(mut events, world)| async move {
            let event = match events.recv().await {
                Ok(event) => event,
                Err(broadcast::error::RecvError::Lagged(_)) => RuntimeEvent::Resync,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            };
            Some((event, (events, world)))
        })
        .boxed()
    }
}
