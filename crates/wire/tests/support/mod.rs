//! Two nodes and a fabric in network namespaces that have no names and end with the test, and a wire between.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use testyard_model::impairment::Impairment;
use testyard_wire::conformance::{Backend, End, impairment};
use testyard_wire::{Client, Desired, Direction, Pipe};

/// A network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Netns(Arc<File>);

impl Netns {
    pub(crate) fn new() -> Self {
        testyard_testkit::needs::root();
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("its file")
        };
        let new = Self(Arc::new(std::thread::spawn(make).join().expect("no panic")));
        new.ip("link set lo up");
        new
    }

    /// Opens it, for as long as this value lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("the namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip` with lines of commands inside.
    pub(crate) fn ip(&self, lines: &str) {
        let ip = testyard_testkit::needs::program("ip", "iproute2");
        let done = self.run(|| {
            let mut child = Command::new(ip)
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .spawn()
                .expect("ip can be started");
            child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("input");
            child.wait().expect("ip ends")
        });
        assert!(done.success(), "ip: {lines}");
    }
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
            nodes: [Netns::new(), Netns::new()],
            fabric: Netns::new(),
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
        self.fabric.run(|| {
            // The peer goes to the node by the file that is open in this very process.
            let path = self.nodes[node].path();
            let ip = testyard_testkit::needs::program("ip", "iproute2");
            let args = format!("link add name {half} address 02:00:00:00:01:0{host} type veth peer name eth0 address 02:00:00:00:00:0{host} netns {}", path.display());
            let done = Command::new(ip).args(args.split(' ')).status().expect("ip can be started");
            assert!(done.success(), "{args}");
        });
        self.nodes[node].ip(&format!(
            "addr add 10.9.0.{host}/24 dev eth0\naddr add 2001:db8::{host}/64 dev eth0 nodad\nlink set eth0 up\n"
        ));
        self.fabric.ip(&format!("link set dev {half} up\n"));
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
