//! A testbed for tests: a store in a temporary folder, a clock that is set by hand, scripted hosts.
#![allow(dead_code, unreachable_pub)]

pub mod host;
pub mod topology;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use testyard_agent::Host;
use testyard_controller::api::{
    Allocate, Caller, Effort, Perform, Provision, Refusal, Renew, Selection, SliceView,
};
use testyard_controller::{
    Controller, HostResources, HostSettings, ManualClock, PortRange, SeededRandomness, Settings, Store,
};
use testyard_model::account::{PublicKey, User};
use testyard_model::id::HostName;
use testyard_model::sliver_type::SliverType;
use testyard_model::state::{Action, Operational};
use testyard_model::topology::{Node, Topology};
use testyard_model::urn::{SliceUrn, SliverUrn, UserUrn};
use testyard_testkit::kinds::plain;

pub use host::ScriptedHost;

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

pub struct Yard {
    pub controller: Arc<Controller>,
    pub clock: Arc<ManualClock>,
    pub hosts: Vec<(&'static str, Arc<ScriptedHost>)>,
    pub settings: Settings,
    pub store: Store,
    path: PathBuf,
    _folder: tempfile::TempDir,
    seed: u64,
}

pub fn kind(name: &str, publish_exposed: bool) -> SliverType {
    SliverType { publish_exposed, ..plain(name) }
}

pub fn settings(hosts: &[(&'static str, u32)]) -> Settings {
    settings_with(hosts, vec![kind("plain", false), kind("open", true)])
}

pub fn settings_with(hosts: &[(&'static str, u32)], kinds: Vec<SliverType>) -> Settings {
    let host = |(index, (name, capacity)): (usize, &(&str, u32))| HostSettings {
        resources: HostResources::new(
            name.parse().unwrap(),
            *capacity,
            PortRange::new(10_000, 10_000 + 2 * *capacity as u16).unwrap(),
            format!("10.{index}.0.0/16").parse().unwrap(),
            Some(format!("2001:db8:{index}::/112").parse().unwrap()),
            None,
        )
        .unwrap(),
        public_name: format!("{name}.example.net"),
        location: None,
        tunnel: Some([192, 0, 2, index as u8 + 1].into()),
    };
    let hosts = hosts.iter().enumerate().map(host).collect();
    Settings::new("am.example.net".parse().unwrap(), hosts, kinds).unwrap()
}

impl Yard {
    pub async fn new(hosts: &[(&'static str, u32)]) -> Self {
        let scripted = hosts.iter().map(|(name, _)| (*name, Arc::new(ScriptedHost::default()))).collect();
        Self::with(settings(hosts), scripted).await
    }

    pub async fn with(settings: Settings, hosts: Vec<(&'static str, Arc<ScriptedHost>)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = Store::open(&path).unwrap();
        let clock = Arc::new(ManualClock::new(now()));
        let controller = open(&store, &settings, &hosts, &clock, 0).await;
        Self { controller, clock, hosts, settings, store, path, _folder: folder, seed: 0 }
    }

    /// The hosts as the controller is given them.
    pub fn contracts(&self) -> Vec<(HostName, Arc<dyn Host>)> {
        contracts(&self.hosts)
    }

    pub fn host(&self) -> &ScriptedHost {
        &self.hosts[0].1
    }

    /// Ends the controller, well or badly, and opens the store again.
    pub async fn restart(&mut self, well: bool) {
        if well {
            self.controller.shut_down().await;
        } else {
            self.controller.abandon().await;
        }
        self.seed += 1;
        self.store.flush().await;
        self.controller = open(&self.store, &self.settings, &self.hosts, &self.clock, self.seed).await;
    }

    /// Lets tasks do what they are at; hosts do nothing.
    pub async fn breathe(&self) {
        for _ in 0..3 {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.store.flush().await;
        }
    }

    /// Lets hosts do what they are to do, until nothing more happens.
    pub async fn settle(&self) {
        for _ in 0..200 {
            // Wakes, reports and chores go through tasks and the writer's thread.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.store.flush().await;
            let busy = self.hosts.iter().any(|(_, host)| host.converge());
            if !busy {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                self.store.flush().await;
                if !self.hosts.iter().any(|(_, host)| host.converge()) {
                    return;
                }
            }
        }
        panic!("hosts do not come to rest");
    }

    pub async fn allocate(&self, slice: &str, nodes: &[&str]) -> Result<SliceView, Refusal> {
        self.controller.allocate(&ann(), request(slice, nodes)).await
    }

    pub async fn provision(&self, slice: &str) -> Result<SliceView, Refusal> {
        let users = vec![user("ann")];
        let request = Provision { selection: whole(slice), users, end: None, effort: Effort::AllOrNothing };
        self.controller.provision(&ann(), request).await
    }

    pub async fn ready(&self, slice: &str, nodes: &[&str]) -> SliceView {
        self.allocate(slice, nodes).await.unwrap();
        self.provision(slice).await.unwrap();
        self.settle().await;
        self.status(slice).await.unwrap()
    }

    pub async fn status(&self, slice: &str) -> Result<SliceView, Refusal> {
        self.controller.status(&ann(), whole(slice), Effort::AllOrNothing).await
    }

    pub async fn delete(&self, slice: &str) -> Result<SliceView, Refusal> {
        self.controller.delete(&ann(), whole(slice), Effort::AllOrNothing).await
    }

    pub async fn perform(&self, slice: &str, action: Action) -> Result<SliceView, Refusal> {
        let request = Perform {
            selection: whole(slice),
            action,
            users: vec![user("ann")],
            effort: Effort::AllOrNothing,
        };
        self.controller.perform(&ann(), request).await
    }

    pub async fn renew(&self, slice: &str, end: Timestamp) -> Result<SliceView, Refusal> {
        let request =
            Renew { selection: whole(slice), end, as_late_as_possible: false, effort: Effort::AllOrNothing };
        self.controller.renew(&ann(), request).await
    }

    pub async fn states(&self, slice: &str) -> Vec<Operational> {
        self.status(slice).await.unwrap().slivers.iter().map(|sliver| sliver.operational).collect()
    }

    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

async fn open(
    store: &Store,
    settings: &Settings,
    hosts: &[(&'static str, Arc<ScriptedHost>)],
    clock: &Arc<ManualClock>,
    seed: u64,
) -> Arc<Controller> {
    let randomness = Arc::new(SeededRandomness::new(seed));
    let clock = Arc::clone(clock) as Arc<dyn testyard_controller::Clock>;
    Controller::open_with(store.clone(), settings.clone(), contracts(hosts), clock, randomness).await.unwrap()
}

fn contracts(hosts: &[(&'static str, Arc<ScriptedHost>)]) -> Vec<(HostName, Arc<dyn Host>)> {
    hosts.iter().map(|(name, host)| (name.parse().unwrap(), Arc::clone(host) as Arc<dyn Host>)).collect()
}

/// A slice without what hosts have to say first after each start: whether it is as it was asked to be.
pub fn lasting(mut view: SliceView) -> SliceView {
    (view.converged, view.problem) = (false, None);
    view.slivers.iter_mut().for_each(|sliver| sliver.converged = false);
    view.links.iter_mut().for_each(|link| link.converged = false);
    view
}

pub fn slice_urn(name: &str) -> SliceUrn {
    format!("urn:publicid:IDN+ch.example.net+slice+{name}").parse().unwrap()
}

pub fn user_urn(name: &str) -> UserUrn {
    format!("urn:publicid:IDN+ch.example.net+user+{name}").parse().unwrap()
}

pub fn user(name: &str) -> User {
    User { urn: user_urn(name), keys: PublicKey::parse_all(&format!("{KEY} {name}")).unwrap() }
}

pub fn caller(name: &str) -> Caller {
    let until = now() + minutes(365 * 24 * 60);
    Caller { user: user_urn(name), tool: None, until, only_own: false, operator: false, request: None }
}

pub fn ann() -> Caller {
    caller("ann")
}

pub fn whole(slice: &str) -> Selection {
    Selection::Slice(slice_urn(slice))
}

pub fn some(slice: &str, slivers: &[&SliverUrn]) -> Selection {
    Selection::Slivers {
        slice: slice_urn(slice),
        slivers: slivers.iter().map(|urn| (*urn).clone()).collect(),
    }
}

pub fn node(client_id: &str) -> Node {
    Node::new(client_id.parse().unwrap())
}

pub fn request(slice: &str, nodes: &[&str]) -> Allocate {
    let topology = Topology { nodes: nodes.iter().map(|name| node(name)).collect(), ..Topology::default() };
    Allocate { slice: slice_urn(slice), topology, document: format!("<rspec>{nodes:?}</rspec>"), end: None }
}
