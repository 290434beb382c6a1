//! The whole way through this door: client, socket, server, controller, and a host whose nodes and links are pretended.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use testyard_agent::{Host, LocalHost, LocalHostConfig};
use testyard_capture::pcapng::Direction;
use testyard_controller::{Controller, HostResources, HostSettings, PortRange, Settings, Store, SystemClock};
use testyard_fabric::fake::{Call, FakeFabric};
use testyard_fabric::links::PortId;
use testyard_model::id::SliceId;
use testyard_runtime::fake::FakeRuntime;
use testyard_testkit::kinds::plain;
use testyard_web::api::{Act, ChangeLink, Event, Slice, Update};
use testyard_web::client::Blocks;
use testyard_web::{Client, ClientError, SOCKET, Server, server};
use tokio_util::sync::CancellationToken;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// What is waited for is there within this time, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

struct Door {
    client: Client,
    runtime: FakeRuntime,
    fabric: FakeFabric,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Door {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, fabric) = (FakeRuntime::new(), FakeFabric::new());
        let host = LocalHostConfig {
            runtimes: vec![Arc::new(runtime.clone())],
            fabric: Arc::new(fabric.clone()),
            state: folder.path().join("host"),
            domain: "lab.example.net".to_owned(),
            name_servers: vec![],
            stop_grace: Duration::from_secs(1),
            install_limits: (1 << 20, 1 << 20),
            images: testyard_agent::ImageSettings::default(),
            only_netem: false,
            pool: None,
            facts: None,
            now: Timestamp::now,
        };
        let host: Arc<dyn Host> = LocalHost::start(host).await.unwrap();
        let hosts = vec![("local".parse().unwrap(), host)];
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        let controller = Controller::open(store, settings(), hosts, Arc::new(SystemClock)).await.unwrap();
        let shutdown = CancellationToken::new();
        let listener = server::listen(folder.path()).unwrap();
        let server = Server::new(
            controller,
            "lab.example.net".parse().unwrap(),
            "urn:publicid:IDN+lab.example.net+authority+am".parse().unwrap(),
            Arc::new(ArcSwap::from_pointee(BTreeMap::new())),
            Arc::new(testyard_web::NoAgents),
            shutdown.clone(),
        );
        tokio::spawn(server.serve(listener));
        let client = Client::new(folder.path().join(SOCKET), Some("ann".to_owned()));
        Self { client, runtime, fabric, shutdown, _folder: folder }
    }

    /// Has the slice be so, and waits until its nodes are ready.
    async fn up(&self, topology: Value) -> Slice {
        let update = Update { topology, only: None, keys: vec![KEY.to_owned()], end: None, revision: None };
        self.client.update("lab", &update).await.unwrap();
        self.until(|slice| slice.state == "ready").await
    }

    /// Waits until the slice is so.
    async fn until(&self, is_so: impl Fn(&Slice) -> bool) -> Slice {
        let looked = async {
            let mut events = self.client.events(Some("lab")).await.unwrap();
            loop {
                let slice = self.client.slice("lab").await.unwrap();
                if is_so(&slice) {
                    return slice;
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), events.next::<Event>()).await;
            }
        };
        tokio::time::timeout(PATIENCE, looked).await.unwrap()
    }

    /// A capture of the link that has begun.
    async fn capture(&self) -> Blocks {
        let mut blocks = self.client.capture("lab", Some("line"), None, None).await.unwrap();
        assert!(blocks.next().await.unwrap().is_some(), "what every capture begins with");
        blocks
    }

    fn slice_id(&self) -> SliceId {
        let joined = |call: &Call| if let Call::Join(slice) = call { Some(*slice) } else { None };
        self.fabric.calls().iter().find_map(joined).unwrap()
    }
}

fn settings() -> Settings {
    let ports = PortRange::new(10_000, 10_100).unwrap();
    let network = "10.9.0.0/16".parse().unwrap();
    let resources = HostResources::new("local".parse().unwrap(), 20, ports, network, None, None).unwrap();
    let host =
        HostSettings { resources, public_name: "lab.example.net".to_owned(), location: None, tunnel: None };
    let kind = plain("plain");
    Settings::new("lab.example.net".parse().unwrap(), vec![host], vec![kind]).unwrap()
}

fn lab() -> Value {
    json!({
        "testyard": 1,
        "nodes": {"a": {}, "b": {}, "c": {}},
        "links": [{"name": "line", "between": ["a", "b"]}, {"name": "other", "between": ["b", "c"]}],
    })
}

/// The rest of a capture.
async fn rest(blocks: &mut Blocks) {
    let read = async { while blocks.next().await.unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn a_capture_says_what_it_had_when_its_slice_ends() {
    let door = Door::open().await;
    let slice = door.up(lab()).await;
    let a = slice.nodes.iter().find(|node| node.name == "a").unwrap();
    let node = a.urn.rsplit('+').next().unwrap().parse().unwrap();
    let port = PortId { node, device: a.interfaces[0].device.clone() };
    let mut blocks = door.capture().await;
    for time in 1..=3 {
        door.fabric.inject(door.slice_id(), &port, Direction::Out, time, &[6; 60]);
    }
    door.client.delete("lab").await.unwrap();
    rest(&mut blocks).await;
    let end = blocks.end().unwrap();
    assert_eq!((end.reason.as_str(), end.received, end.dropped), ("parted", Some(3), Some(0)), "{end:?}");
}

#[tokio::test]
async fn a_capture_says_that_its_link_has_gone() {
    let door = Door::open().await;
    door.up(lab()).await;
    let mut blocks = door.capture().await;
    let mut without = lab();
    without["links"].as_array_mut().unwrap().remove(0);
    door.up(without).await;
    rest(&mut blocks).await;
    assert_eq!(blocks.end().unwrap().reason, "link_gone");
}

#[tokio::test]
async fn a_capture_says_that_the_testbed_ends() {
    let door = Door::open().await;
    door.up(lab()).await;
    let mut blocks = door.capture().await;
    door.shutdown.cancel();
    rest(&mut blocks).await;
    assert_eq!(blocks.end().unwrap().reason, "stopped");
}

#[tokio::test]
async fn remedies_are_commands_of_this_door() {
    let door = Door::open().await;
    door.up(lab()).await;
    let mut events = door.client.events(Some("lab")).await.unwrap();
    for key in door.runtime.nodes() {
        door.runtime.vanish(&key);
    }
    let slice = door.until(|slice| slice.nodes.iter().all(|node| node.state == "failed")).await;
    for node in &slice.nodes {
        let remedy = format!("`testyard reload {}.lab`", node.name);
        assert!(node.error.contains(&remedy) && !node.error.contains("geni_"), "{}", node.error);
    }
    let heard = async {
        loop {
            let event: Event = events.next().await.unwrap().unwrap();
            if event.state == "failed" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(PATIENCE, heard).await.unwrap();
    assert!(event.error.contains(&format!("`testyard reload {}.lab`", event.node)), "{}", event.error);
    // And they help.
    door.client.act("lab", &Act { action: "reload".to_owned(), nodes: vec![] }).await.unwrap();
    door.until(|slice| slice.state == "ready").await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let door = Door::open().await;
    door.up(lab()).await;
    let before = door.client.slice("lab").await.unwrap();
    let kind = |refused: Result<Slice, ClientError>| match refused {
        Err(ClientError::Refused(problem)) => problem.kind,
        other => panic!("{other:?}"),
    };
    let explode = Act { action: "explode".to_owned(), nodes: vec![] };
    assert_eq!(kind(door.client.act("lab", &explode).await), "bad_request");
    let stop = |node: &str| Act { action: "stop".to_owned(), nodes: vec![node.to_owned()] };
    assert_eq!(kind(door.client.act("lab", &stop("z")).await), "not_found");
    let change = |action: &str| ChangeLink { action: action.to_owned(), ..ChangeLink::default() };
    assert_eq!(kind(door.client.change_link("lab", "line", &change("set")).await), "bad_request");
    assert_eq!(kind(door.client.change_link("lab", "line", &change("melt")).await), "bad_request");
    let for_ever = ChangeLink { for_ms: Some(1), ..change("reset") };
    assert_eq!(kind(door.client.change_link("lab", "line", &for_ever).await), "bad_request");
    assert_eq!(kind(door.client.slice("a b/c").await), "bad_request");
    let nothing = Update {
        topology: json!({"nodes": {"a": {"colour": 7}}}),
        only: None,
        keys: vec![],
        end: None,
        revision: None,
    };
    assert_eq!(kind(door.client.update("lab", &nothing).await), "bad_request");
    assert_eq!(door.client.slice("lab").await.unwrap(), before);
}
