//! The runtime: what the contract's calls mean for the engine.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use testyard_model::image::ImageName;
use testyard_model::name::Hostname;
use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{
    GuestListener, Image, ImageError, MakeError, Maker, NodeKey, NodeSeen, NodeSpec, PowerSeen, Pull,
    PullProgress, Running, Runtime, RuntimeError, RuntimeEvent, RuntimeFacts,
};
use tokio::io::AsyncRead;
use tokio::sync::{OnceCell, watch};

use crate::config::DockerConfig;
use crate::engine::{self, Engine};
use crate::import::{self, ImportError};
use crate::listen::Sockets;
use crate::mark;
use crate::own_files::Looked;
use crate::pull::Pulls;
use crate::spare::Claims;
use crate::stuck::Storage;
use crate::turns::Turns;
use crate::usage::{self, Counter};
use crate::{events, image, power, seen, spare};

/// Runs nodes as containers of the Docker Engine behind one socket.
pub struct DockerRuntime {
    pub(crate) config: DockerConfig,
    pub(crate) engine: Arc<Engine>,
    pub(crate) sockets: Sockets,
    pub(crate) pulls: Arc<Pulls>,
    /// Held by who makes the image that holds builds' networks.
    pub(crate) importing: tokio::sync::Mutex<()>,
    /// Bounds how many containers are made and started at the same time.
    pub(crate) boots: Turns,
    pub(crate) claims: Claims,
    /// Bounds how many are removed at the same time.
    pub(crate) removals: Turns,
    /// Whether the host's kernel has IPv6.
    pub(crate) ipv6: bool,
    /// Whether the engine's storage can bound what a node writes, as far as known.
    pub(crate) quota: AtomicBool,
    pub(crate) counter: Counter,
    pub(crate) looked: Looked,
    pub(crate) storage: OnceCell<Storage>,
    /// Whether root inside nodes is another user outside.
    mapped: OnceCell<bool>,
}

/// Not everything of this testbed has been removed.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A node is still there.
    #[error(transparent)]
    Node(#[from] RuntimeError),
    /// An image that was made for a slice is still there.
    #[error("images that were made here: {0}")]
    Images(#[from] MakeError),
    /// The folder of the nodes' sockets is still there.
    #[error("cannot empty {}", path.display())]
    Folder {
        /// The run folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DockerRuntime {
    /// The runtime; nothing is asked of the engine yet, which may come later.
    #[must_use]
    pub fn new(config: DockerConfig) -> Self {
        Self {
            engine: Arc::new(Engine::new(config.socket.clone())),
            sockets: Sockets::new(&config.run_folder),
            pulls: Arc::default(),
            importing: tokio::sync::Mutex::default(),
            boots: Turns::new(config.parallel),
            claims: Claims::default(),
            removals: Turns::new(config.parallel),
            ipv6: Path::new("/proc/sys/net/ipv6/conf/all/disable_ipv6").exists(),
            quota: AtomicBool::new(true),
            counter: Counter::new(),
            looked: Looked::default(),
            storage: OnceCell::new(),
            mapped: OnceCell::new(),
            config,
        }
    }

    /// The same, after the engine has answered.
    ///
    /// # Errors
    /// [`RuntimeError::Unreachable`].
    pub async fn connect(config: DockerConfig) -> Result<Self, RuntimeError> {
        let runtime = Self::new(config);
        runtime.facts().await?;
        Ok(runtime)
    }

    /// Makes an image from a root file system in a tar archive. `changes` are Dockerfile lines (`CMD`, `ENTRYPOINT`,
    /// `ENV`, `EXPOSE`, `USER`, `VOLUME`, `WORKDIR`). An image that had the name loses it.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn import_rootfs(
        &self,
        name: &ImageName,
        tar: impl AsyncRead + Send + 'static,
        changes: &[&str],
    ) -> Result<Image, ImportError> {
        import::rootfs(&self.engine, name, tar, changes).await
    }

    /// Removes every node of this testbed, whoever made it, and everything in the run folder. Gives how many nodes
    /// there were.
    ///
    /// # Errors
    /// The first [`ResetError`]; what could be removed has been.
    pub async fn reset(&self) -> Result<usize, ResetError> {
        let nodes = seen::keys(self).await?;
        let removals = nodes.iter().map(|key| self.remove(key));
        let results = futures_util::future::join_all(removals).await;
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.forget_images().await?;
        self.sockets
            .remove_all()
            .map_err(|source| ResetError::Folder { path: self.config.run_folder.clone(), source })?;
        Ok(nodes.len())
    }

    /// The name of a node's container, for people.
    #[must_use]
    pub fn container_name(&self, key: &NodeKey) -> String {
        mark::container_name(&self.config.instance, key)
    }

    /// Whether the engine gives nodes' users other numbers on the host (userns-remap). No program of the host's can be
    /// root in such a node.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn maps_users(&self) -> Result<bool, RuntimeError> {
        self.mapped().await
    }

    async fn mapped(&self) -> Result<bool, RuntimeError> {
        let ask = || async {
            let info = self
                .engine
                .call(async |docker| docker.info().await)
                .await
                .map_err(engine::Fault::anywhere)?;
            Ok(info
                .security_options
                .unwrap_or_default()
                .iter()
                .any(|option| option.starts_with("name=userns")))
        };
        self.mapped.get_or_try_init(ask).await.copied()
    }
}

pub(crate) fn folder_error(key: &NodeKey, action: &'static str, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed { key: *key, action, detail: format!("its folder for the agent's socket: {error}") }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    async fn facts(&self) -> Result<RuntimeFacts, RuntimeError> {
        let version =
            self.engine.call(async |docker| docker.version().await).await.map_err(engine::Fault::anywhere)?;
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        let engine =
            format!("{} {} (API {})", engine::NAME, known(version.version), known(version.api_version));
        Ok(RuntimeFacts { engine })
    }

    async fn image(
        &self,
        name: &ImageName,
        pull: Pull,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Image, ImageError> {
        image::image(self, name, pull, progress).await
    }

    fn maker(&self) -> Option<&dyn Maker> {
        Some(self)
    }

    async fn create(&self, spec: &NodeSpec) -> Result<(), RuntimeError> {
        power::create(self, spec).await
    }

    async fn listen(&self, key: &NodeKey) -> Result<Box<dyn GuestListener>, RuntimeError> {
        let mapped = self.mapped().await?;
        spare::folder(self, key, "listening").await?;
        self.sockets.listen(key, mapped).map_err(|error| folder_error(key, "listening", &error))
    }

    async fn start(&self, key: &NodeKey) -> Result<Running, RuntimeError> {
        power::start(self, key).await
    }

    async fn stop(&self, key: &NodeKey, grace: Duration) -> Result<(), RuntimeError> {
        power::stop(self, key, grace).await
    }

    async fn hand_over(&self, spare: &NodeKey, key: &NodeKey) -> Result<PowerSeen, RuntimeError> {
        spare::hand_over(self, spare, key).await
    }

    async fn name(&self, key: &NodeKey, running: &Running, hostname: &Hostname) -> Result<(), RuntimeError> {
        spare::name(key, running, hostname).await
    }

    fn guest(&self) -> String {
        self.config.guest_folder.display().to_string()
    }

    async fn remove(&self, key: &NodeKey) -> Result<(), RuntimeError> {
        self.counter.forget(key);
        power::remove(self, key).await
    }

    async fn list(&self) -> Result<Vec<NodeSeen>, RuntimeError> {
        seen::list(self).await
    }

    async fn look(&self, key: &NodeKey) -> Result<Option<NodeSeen>, RuntimeError> {
        seen::look(self, key).await
    }

    async fn killed_for_memory(&self, running: &Running) -> Option<u64> {
        usage::killed_for_memory(&running.netns)
    }

    async fn too_many_processes(&self, running: &Running) -> Option<u64> {
        usage::too_many_processes(&running.netns)
    }

    async fn disk_used(&self, key: &NodeKey) -> Result<Option<u64>, RuntimeError> {
        usage::disk(self, key).await
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        events::stream(Arc::clone(&self.engine), self.config.instance.clone())
    }
}
