//! The contract.

use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::image::ImageName;
use testyard_model::name::Hostname;
use testyard_model::sliver_type::RuntimeKind;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::error::{ImageError, RuntimeError};
use crate::image::{Image, Pull, PullProgress};
use crate::maker::Maker;
use crate::spec::{NodeKey, NodeSpec};

/// What runs nodes of one kind on a host. See the crate for the rules.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Which kind of nodes.
    fn kind(&self) -> RuntimeKind;

    /// Whether the engine answers, and what it is.
    async fn facts(&self) -> Result<RuntimeFacts, RuntimeError>;

    /// The image of this name, fetched if `pull` allows and it is not there. Calls for one image at one time share
    /// one pull. `progress` is updated while it comes. An image whose program must be process 1 is
    /// [`ImageError::Unfit`]. What cannot work fails within seconds, not at the end of a long time-out.
    async fn image(
        &self,
        name: &ImageName,
        pull: Pull,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Image, ImageError>;

    /// What makes images of what users bring, where the runtime has something for it.
    fn maker(&self) -> Option<&dyn Maker> {
        None
    }

    /// Makes the node, stopped. A node of this key that is there already is left as it is.
    async fn create(&self, spec: &NodeSpec) -> Result<(), RuntimeError>;

    /// What the guest of this node will connect to. Called before each [`Self::start`] and after a restart of the
    /// agent; a later call replaces the listener of an earlier one without a gap for the guest, who tries again.
    async fn listen(&self, key: &NodeKey) -> Result<Box<dyn GuestListener>, RuntimeError>;

    /// Boots the node; one that runs already is left alone.
    async fn start(&self, key: &NodeKey) -> Result<Running, RuntimeError>;

    /// Ends the node and keeps its disk. The guest has been asked to stop before; what still runs after `grace` is
    /// killed. One that is stopped already, or not there, is left alone.
    async fn stop(&self, key: &NodeKey, grace: std::time::Duration) -> Result<(), RuntimeError>;

    /// Makes the spare the node of `key`, as it is: disk, run, stream to its guest. Gives how it is. At any instant
    /// it is the one or the other, and of several calls for one spare one succeeds; the others are
    /// [`RuntimeError::Missing`], as where there is no such spare. A call that has succeeded may be repeated. Refused if
    /// there is another node of this key.
    async fn hand_over(&self, spare: &NodeKey, key: &NodeKey) -> Result<PowerSeen, RuntimeError>;

    /// Gives a run of a node its own name, if it was made as a spare and so without one. Called for each run, before
    /// its guest is told to go on.
    async fn name(&self, key: &NodeKey, running: &Running, hostname: &Hostname) -> Result<(), RuntimeError>;

    /// What the guest is that nodes are made with from now on: another text when it is another guest.
    fn guest(&self) -> String;

    /// Removes the node with its disk and everything that the runtime made for it; gone already is fine.
    async fn remove(&self, key: &NodeKey) -> Result<(), RuntimeError>;

    /// All nodes of this testbed that the runtime has, whoever made them.
    async fn list(&self) -> Result<Vec<NodeSeen>, RuntimeError>;

    /// One node as it is now; none if it is not there. Runtimes that can look at one node without listing all do.
    async fn look(&self, key: &NodeKey) -> Result<Option<NodeSeen>, RuntimeError> {
        Ok(self.list().await?.into_iter().find(|seen| seen.key == *key))
    }

    /// How many processes of a run the kernel has ended for want of memory; none if that cannot be told.
    async fn killed_for_memory(&self, running: &Running) -> Option<u64>;

    /// How often the kernel has refused a run another process or thread, since it had as many as its limit allows; none if
    /// that cannot be told.
    async fn too_many_processes(&self, running: &Running) -> Option<u64>;

    /// Bytes that the node keeps on disk beside its image; none if that cannot be told, or it is not there. May take
    /// long.
    async fn disk_used(&self, key: &NodeKey) -> Result<Option<u64>, RuntimeError>;

    /// What happens to nodes from now on. The stream never ends; after a gap it says [`RuntimeEvent::Resync`].
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;
}

/// What a runtime's engine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeFacts {
    /// Name and version, for people: `Docker Engine 20.10.24 (API 1.41)`.
    pub engine: String,
}

/// A node that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// A path that opens its network namespace, good as long as this run lasts.
    pub netns: PathBuf,
    /// When this run began. Tells one run from the next: namespaces' numbers are used again.
    pub since: Timestamp,
}

/// A node as the runtime sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSeen {
    /// Which node.
    pub key: NodeKey,
    /// Whether it runs.
    pub power: PowerSeen,
}

/// Whether a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerSeen {
    /// Made, never started.
    Created,
    /// It runs.
    Running(Running),
    /// It has ended.
    Stopped {
        /// The exit status, if known.
        exit: Option<i64>,
        /// The kernel ended it for want of memory.
        out_of_memory: bool,
    },
}

/// Something has happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It has started, ended, or vanished: look at it again.
    Changed(NodeKey),
    /// Events may have been missed (the engine was away): look at everything again.
    Resync,
}

/// Accepts the streams of one node's guest. Dropping it closes it.
#[async_trait]
pub trait GuestListener: Send + 'static {
    /// The next stream. Whoever connects is somebody inside the node, not necessarily the guest.
    async fn accept(&mut self) -> std::io::Result<Box<dyn GuestStream>>;
}

/// A stream to something inside a node.
pub trait GuestStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> GuestStream for T {}
