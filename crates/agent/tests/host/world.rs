//! A host on the fake runtime and the fake fabric, and its world, which outlives the agent.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use testyard_agent::observed::Phase;
use testyard_agent::remote::{ConnectionError, Introduction, RemoteFacts, RemoteHost, join, serve};
use testyard_agent::{
    Facts, Host, HostConfig, ImageSettings, LocalHost, LocalHostConfig, PoolSettings, Standing, desired,
    observed,
};
use testyard_fabric::fake::FakeFabric;
use testyard_fabric::{ControlAddress, Forward};
use testyard_model::account::Account;
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_model::service::Services;
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use testyard_runtime::NodeKey;
use testyard_runtime::fake::FakeRuntime;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A host, its world, and what should be on it. The world outlives the agent.
pub(crate) struct World {
    pub(crate) runtime: FakeRuntime,
    pub(crate) fabric: FakeFabric,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) slice: desired::Slice,
    pub(crate) facts: Option<Arc<dyn Facts>>,
    pub(crate) now: fn() -> Timestamp,
}

/// An agent that has been told what should be.
pub(crate) struct Running {
    /// As a controller sees it.
    pub(crate) host: Arc<dyn Host>,
    pub(crate) seen: mpsc::UnboundedReceiver<observed::Slice>,
    local: Arc<LocalHost>,
}

/// What is wanted of the node of this number.
pub(crate) fn node(number: u8) -> desired::Node {
    desired::Node {
        sliver: SliverId::from_uuid(Uuid::from_u128(u128::from(number) + 1)),
        client_id: format!("node{number}").parse().unwrap(),
        hostname: format!("node{number}").parse().unwrap(),
        runtime: RuntimeKind::Fake,
        image: "debian:12".parse().unwrap(),
        limits: Limits::default(),
        privileges: Privileges::default(),
        power: desired::Power::On,
        boot: 0,
        disk: 0,
        address: ControlAddress { ipv4: [10, 77, 0, number + 2].into(), ipv6: None },
        forwards: vec![Forward { host_port: 12_000 + u16::from(number), port: "22".parse().unwrap() }],
        host_keys: Vec::new(),
        accounts_revision: 1,
        accounts: vec![Account {
            user: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
            login: "ann".parse().unwrap(),
            keys: Vec::new(),
            sudo: true,
        }],
        services: Services::default(),
        storage: Vec::new(),
        programs: Vec::new(),
        network: desired::NodeNetwork::default(),
    }
}

/// The time on tokio's clock, which a paused test sets going.
pub(crate) fn paused_now() -> Timestamp {
    thread_local! {
        static BEGAN: (Timestamp, tokio::time::Instant) = (Timestamp::now(), tokio::time::Instant::now());
    }
    BEGAN.with(|(time, instant)| *time + jiff::SignedDuration::try_from(instant.elapsed()).unwrap())
}

impl World {
    pub(crate) fn new(nodes: u8) -> Self {
        let slice = desired::Slice {
            slice: SliceId::from_uuid(Uuid::from_u128(77)),
            tag: SliceTag(NonZeroU32::MIN),
            name: "demo".into(),
            about: desired::About {
                urn: "urn:publicid:IDN+a+slice+demo".parse().unwrap(),
                creator: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
                testbed: "testbed.example.net".parse().unwrap(),
            },
            revision: Revision(1),
            nodes: (0..nodes).map(node).collect(),
            host_tables: Vec::new(),
            links: Vec::new(),
            environment: Vec::new(),
            schedule: None,
        };
        let folder = tempfile::tempdir().unwrap();
        Self {
            runtime: FakeRuntime::new(),
            fabric: FakeFabric::new(),
            folder,
            slice,
            facts: None,
            now: Timestamp::now,
        }
    }

    /// Starts an agent.
    pub(crate) async fn begin(&self, pool: Option<PoolSettings>) -> Arc<LocalHost> {
        self.begin_asking(pool, self.facts.clone()).await
    }

    async fn begin_asking(
        &self,
        pool: Option<PoolSettings>,
        facts: Option<Arc<dyn Facts>>,
    ) -> Arc<LocalHost> {
        let config = LocalHostConfig {
            runtimes: vec![Arc::new(self.runtime.clone())],
            fabric: Arc::new(self.fabric.clone()),
            state: self.folder.path().join("nodes"),
            domain: "testbed.example.net".into(),
            name_servers: Vec::new(),
            stop_grace: Duration::from_secs(1),
            install_limits: (1 << 20, 1 << 22),
            images: ImageSettings {
                allowed: vec!["127.0.0.1/32".parse().unwrap()],
                download: 1 << 20,
                per_slice: 3,
                ..ImageSettings::default()
            },
            only_netem: false,
            facts,
            pool,
            now: self.now,
        };
        LocalHost::start(config).await.unwrap()
    }

    /// Starts an agent and tells it what should be.
    pub(crate) async fn start(&self) -> Running {
        let (host, local) = if crate::CONNECTED {
            self.connect().await
        } else {
            let local = self.begin(None).await;
            (Arc::clone(&local) as Arc<dyn Host>, local)
        };
        let seen = host.watch();
        host.sync(self.slices()).await.unwrap();
        Running { host, seen, local }
    }

    /// Starts an agent that is spoken to over a connection.
    async fn connect(&self) -> (Arc<dyn Host>, Arc<LocalHost>) {
        let facts = Arc::new(RemoteFacts::default());
        let local = self.begin_asking(None, Some(Arc::clone(&facts) as Arc<dyn Facts>)).await;
        let remote = RemoteHost::new("h1".parse().unwrap(), HostConfig::pretending());
        if let Some(facts) = &self.facts {
            remote.answer_by(Arc::clone(facts));
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let mut standing = remote.standing();
        let (controller, host) = (Arc::clone(&remote), Arc::clone(&local));
        tokio::spawn(async move { controller.attend(near, "test").await });
        tokio::spawn(async move {
            let own = Introduction { program: "test".into(), instance: Uuid::from_u128(9) };
            serve(host, &facts, join(far, &own).await?).await;
            Ok::<_, ConnectionError>(())
        });
        standing.wait_for(|standing| *standing == Standing::Here).await.unwrap();
        (remote, local)
    }

    /// What should be, as an agent is told.
    pub(crate) fn slices(&self) -> Vec<desired::Slice> {
        if self.slice.nodes.is_empty() { Vec::new() } else { vec![self.slice.clone()] }
    }

    pub(crate) fn key(&self, number: usize) -> NodeKey {
        let node = &self.slice.nodes[number];
        NodeKey { slice: self.slice.slice, sliver: node.sliver, disk: node.disk }
    }

    /// Changes the desired state and tells the host.
    pub(crate) async fn change(&mut self, running: &Running, change: impl FnOnce(&mut desired::Slice)) {
        change(&mut self.slice);
        self.slice.revision = self.slice.revision.next();
        running.host.apply(self.slice.clone()).await.unwrap();
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.runtime.nodes(), Vec::new());
        assert_eq!(self.fabric.attachments(), Vec::new());
        let records = std::fs::read_dir(self.folder.path().join("nodes")).unwrap().count();
        assert_eq!(records, 0, "records are left");
    }
}

impl Running {
    /// Waits until the host has seen such a state.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        mut is: impl FnMut(&observed::Slice) -> bool,
    ) -> observed::Slice {
        let mut last = None;
        let wait = async {
            loop {
                let seen = self.seen.recv().await.expect("the host runs");
                if is(&seen) {
                    return seen;
                }
                last = Some(seen);
            }
        };
        match tokio::time::timeout(Duration::from_secs(300), wait).await {
            Ok(seen) => seen,
            Err(_) => panic!("not {what}; last seen: {last:#?}"),
        }
    }

    pub(crate) async fn until_phase(&mut self, phase: Phase) -> observed::Slice {
        self.until(&format!("{phase:?}"), |slice| {
            !slice.nodes.is_empty() && slice.nodes.iter().all(|node| node.phase == phase)
        })
        .await
    }

    /// Ends the agent.
    pub(crate) async fn shut_down(&self) {
        self.host.shut_down().await;
        self.local.shut_down().await;
    }

    /// Ends the agent as a crash would: nothing is said to anybody.
    pub(crate) fn crash(self) {
        // A crashed agent's tasks are gone at once; so are these with their runtime handle.
        tokio::spawn(async move { self.shut_down().await });
    }
}
