//! Nodes that talk to each other, and notice whatever happens to their link.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::support::{Bed, run};

/// From one number to the next.
const PACE: Duration = Duration::from_millis(10);

/// The network namespace of a node that runs.
fn netns(bed: &mut Bed, node: &str) -> File {
    let label = format!("label=testyard.instance={}", bed.testbed().instance());
    let ids = run("docker", &["ps", "--quiet", "--filter", &label]);
    let found = ids.lines().find_map(|id| {
        let shown = run("docker", &["inspect", "--format", "{{.Config.Hostname}} {{.State.Pid}}", id]);
        let (name, pid) = shown.trim().split_once(' ')?;
        (name == node).then(|| pid.to_owned())
    });
    let pid = found.unwrap_or_else(|| panic!("{node} does not run"));
    File::open(format!("/proc/{pid}/ns/net")).expect("a process has a namespace")
}

/// A TCP connection from one node to another, over which numbers go at a pace.
pub(crate) struct Talk {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u32>,
    receiver: JoinHandle<(u32, Duration)>,
}

impl Talk {
    pub(crate) fn begin(bed: &mut Bed, from: &str, to: &str, address: &str) -> Self {
        let (from, to) = (netns(bed, from), netns(bed, to));
        let inside =
            |netns: File| setns(netns, CloneFlags::CLONE_NEWNET).expect("a namespace can be entered");
        let (listening, heard) = std::sync::mpsc::channel();
        let receiver = std::thread::spawn(move || {
            inside(to);
            let listener = TcpListener::bind("0.0.0.0:0").expect("a port is free");
            listening.send(listener.local_addr().expect("it has one").port()).expect("somebody listens");
            let (mut stream, _) = listener.accept().expect("somebody comes");
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
            let (mut next, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
            let mut number = [0; 4];
            while stream.read_exact(&mut number).is_ok() {
                assert_eq!(u32::from_be_bytes(number), next, "what is sent arrives in order");
                next += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            (next, longest)
        });
        let to = format!("{address}:{}", heard.recv().expect("a port"));
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            inside(from);
            let mut stream = TcpStream::connect(to).expect("it answers");
            stream.set_nodelay(true).expect("a setting");
            let mut next: u32 = 0;
            while !told.load(Ordering::SeqCst) {
                stream.write_all(&next.to_be_bytes()).expect("the connection lasts");
                next += 1;
                std::thread::park_timeout(PACE);
            }
            stream.shutdown(Shutdown::Write).expect("the connection lasts");
            next
        });
        Self { stop, sender, receiver }
    }

    /// All that was sent has arrived; the longest silence between.
    pub(crate) fn end(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.sender.join().expect("the sender has lived");
        let (received, longest) = self.receiver.join().expect("the receiver has lived");
        assert_eq!(received, sent);
        assert!(received > 10, "{received}");
        longest
    }
}

/// What of a node's interfaces a peer's restart must not touch.
pub(crate) fn identity(bed: &mut Bed, node: &str) -> String {
    bed.ok(&format!("exec {node} -- ip -o address show dev eth1")).replace(" tentative", "")
        + &bed.ok(&format!("exec {node} -- ip -o link show dev eth1"))
}
