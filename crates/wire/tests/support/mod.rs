//! Two nodes and a fabric in network namespaces that have no names and end with the test, and a wire between.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use testyard_model::impairment::Impairment;
pub(crate) use testyard_testkit::netns::Netns;
use testyard_wire::conformance::{Backend, End, impairment};
use testyard_wire::{Client, Desired, Direction, Pipe};

/// A namespace whose `lo` is up.
fn namespace() -> Netns {
    let new = Netns::new();
    new.command("ip link set lo up");
    new
}

/// Two nodes, each with an interface `eth0` whose other half is `side0` or `side1` in the fabric.
pub(crate) struct Rig {
    pub(crate) nodes: [Netns; 2],
    pub(crate) fabric: Netns,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) wire: Option<Child>,
    pub(crate) revision: u64,
    pub(crate) extra: Vec<&'static str>,
}

pub(crate) const HALVES: [&str; 2] = ["side0", "side1"];

impl Rig {
    pub(crate) fn new() -> Self {
        let rig = Self {
            nodes: [namespace(), namespace()],
            fabric: namespace(),
            folder: tempfile::tempdir().expect("a folder"),
            wire: None,
            revision: 0,
            extra: Vec::new(),
        };
        for node in 0..2 {
            rig.attach(node);
        }
        rig
    }

    /// Makes a node's interface.
    pub(crate) fn attach(&self, node: usize) {
        let (half, host) = (HALVES[node], node + 1);
        // The peer goes to the node by the file that is open in this very process.
        self.fabric.command(&format!(
            "ip link add name {half} address 02:00:00:00:01:0{host} type veth \
             peer name eth0 address 02:00:00:00:00:0{host} netns {}",
            self.nodes[node].path().display()
        ));
        self.nodes[node].commands(&[
            &format!("ip addr add 10.9.0.{host}/24 dev eth0"),
            &format!("ip addr add 2001:db8::{host}/64 dev eth0 nodad"),
            "ip link set eth0 up",
        ]);
        self.fabric.command(&format!("ip link set dev {half} up"));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("wire.sock")
    }

    /// Starts a wire and connects to it.
    pub(crate) fn start(&mut self) -> Client {
        let child = Command::new(env!("CARGO_BIN_EXE_testyard-wire"))
            .arg("--socket")
            .arg(self.socket())
            .arg("--netns")
            .arg(self.fabric.path())
            .args(&self.extra)
            .spawn()
            .expect("the wire can be started");
        self.wire = Some(child);
        Client::wait(&self.socket(), Duration::from_secs(10)).expect("the wire answers")
    }

    /// Likewise, without waiting until the kernel has taken it apart.
    pub(crate) fn kill_and_go_on(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            wire.kill().expect("it runs");
            std::thread::spawn(move || wire.wait());
        }
    }

    /// Ends it with no chance to say good-bye.
    pub(crate) fn kill(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            wire.kill().expect("it runs");
            wire.wait().expect("it ends");
        }
    }

    pub(crate) fn pipe(&self) -> Pipe {
        let mut pipe =
            Pipe::new("link".parse().expect("a name"), HALVES.map(|half| half.parse().expect("a name")));
        pipe.seed = 1;
        pipe
    }

    /// The same both ways, from settings.
    pub(crate) fn apply(&mut self, client: &mut Client, settings: &str) {
        let mut pipe = self.pipe();
        pipe.directions = [0, 1].map(|_| Direction { stages: vec![impairment(settings)] });
        self.apply_pipes(client, vec![pipe]);
    }

    pub(crate) fn apply_pipes(&mut self, client: &mut Client, pipes: Vec<Pipe>) {
        self.revision += 1;
        client.apply(&Desired { revision: self.revision, pipes }).expect("it can be");
    }

    pub(crate) fn ends(&self) -> [End; 2] {
        self.nodes.each_ref().map(|node| node.run(|| End::open("eth0")))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            let _ = wire.kill();
            let _ = wire.wait();
        }
    }
}

/// The wire, for the suite.
pub(crate) struct WireBackend {
    pub(crate) client: Client,
    pub(crate) pipe: Pipe,
    pub(crate) revision: u64,
}

impl Backend for WireBackend {
    fn set(&mut self, up: bool, directions: [Vec<Impairment>; 2]) {
        self.revision += 1;
        self.pipe.up = up;
        self.pipe.directions = directions.map(|stages| Direction { stages });
        let pipes = vec![self.pipe.clone()];
        self.client.apply(&Desired { revision: self.revision, pipes }).expect("it can be");
    }

    fn exact(&self) -> bool {
        true
    }
}
