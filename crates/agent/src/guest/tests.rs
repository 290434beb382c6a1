//! Whoever is root in a node may be on the other end of the socket: real sockets, and clients that lie, flood and hang.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use testyard_guest_protocol::{
    Desired, Hello, ProgramState, ServiceId, ServiceReport, ServiceState, Stage, encode, read_async,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::ration::{BURST, EACH, RATE};

/// The agent's end for one node, and the way to it.
struct Node {
    conversation: Conversation,
    path: PathBuf,
    accepted: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

struct Listener(UnixListener, Arc<AtomicUsize>);

#[async_trait]
impl GuestListener for Listener {
    async fn accept(&mut self) -> std::io::Result<Box<dyn GuestStream>> {
        let stream = self.0.accept().await?.0;
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(stream))
    }
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let accepted = Arc::default();
        let listener = Listener(UnixListener::bind(&path).unwrap(), Arc::clone(&accepted));
        Self {
            conversation: Conversation::start(Box::new(listener), Asker::nobody()),
            path,
            accepted,
            _folder: folder,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    async fn hello(&self) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(&hello("1".into())).await.unwrap();
        stream
    }

    /// Waits until a report of this revision has been heard.
    async fn hears(&mut self, revision: u64) -> Report {
        let heard = async {
            loop {
                if let Some(report) =
                    self.conversation.heard().report.filter(|report| report.revision == revision)
                {
                    return report;
                }
                self.conversation.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), heard).await.expect("it is heard")
    }

    /// An honest guest is heard, after whatever happened before.
    async fn is_well(&mut self, revision: u64) {
        let mut stream = self.hello().await;
        stream.write_all(&report(revision, Vec::new())).await.unwrap();
        self.hears(revision).await;
    }
}

fn hello(version: String) -> Vec<u8> {
    encode(&FromGuest::Hello(Hello { protocol: PROTOCOL, version, boot: "b".into() })).unwrap()
}

fn report(revision: u64, services: Vec<ServiceReport>) -> Vec<u8> {
    let report = Report {
        revision,
        stage: Stage::Ready,
        failure: None,
        ssh: true,
        ssh_server: None,
        notice: None,
        program: ProgramState::None,
        program_note: None,
        services,
        scheduled: Vec::new(),
    };
    encode(&FromGuest::Report(Box::new(report))).unwrap()
}

fn chatty(count: u32) -> Vec<ServiceReport> {
    let service = |number| ServiceReport {
        id: ServiceId::Execute(number),
        state: ServiceState::Running,
        detail: "x".repeat(400),
        folder: String::new(),
    };
    (0..count).map(service).collect()
}

/// Whether the agent has hung up.
async fn is_closed(stream: &mut UnixStream) -> bool {
    let read = async {
        let mut sink = [0; 4096];
        while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {}
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.is_ok()
}

#[tokio::test]
async fn what_is_no_message_ends_only_its_connection() {
    let mut node = Node::new();
    let too_long = u32::try_from(LONGEST + 1).unwrap().to_be_bytes();
    let frame = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    for bytes in [
        b"\xff\xff\xff\xff".to_vec(),
        too_long.to_vec(),
        frame("not JSON"),
        frame(r#"{"say":"desired","value":{}}"#),
        frame(&format!("{{\"say\":\"report\",\"value\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000))),
        frame(r#"{"say":"report","value":{"revision":-1}}"#),
    ] {
        for mut stream in [node.connect().await, node.hello().await] {
            // The first may have been hung up on for the second.
            let _ = stream.write_all(&bytes).await;
            assert!(
                is_closed(&mut stream).await,
                "{:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
            );
        }
    }
    node.is_well(7).await;
}

#[tokio::test]
async fn half_a_frame_does_not_keep_the_next_guest_waiting() {
    let mut node = Node::new();
    let mut half = node.hello().await;
    let bytes = report(1, chatty(100));
    half.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
    node.is_well(2).await;
    assert!(is_closed(&mut half).await, "the newest connection wins");
}

#[tokio::test]
async fn who_never_reads_gets_no_more_than_one_state_and_the_next_gets_the_newest() {
    let mut node = Node::new();
    let _deaf = node.hello().await;
    for revision in 0..50 {
        let hostname = "x".repeat(2 << 20);
        node.conversation.tell(Desired { revision, hostname, ..Desired::default() }.into());
        tokio::task::yield_now().await;
    }
    let mut stream = node.hello().await;
    let told = read_async::<ToGuest>(&mut stream).await.unwrap();
    assert!(matches!(told, ToGuest::Desired(desired) if desired.revision == 49));
    stream.write_all(&report(49, Vec::new())).await.unwrap();
    node.hears(49).await;
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_kept() {
    let mut node = Node::new();
    node.conversation
        .tell(Desired { installs: Vec::new(), executes: Vec::new(), ..Desired::default() }.into());
    let mut stream = node.hello().await;
    stream.write_all(&report(u64::MAX, chatty(900))).await.unwrap();
    assert_eq!(node.hears(u64::MAX).await.services, Vec::new());
}

/// Whatever is said, of which kind and over how many connections, costs no more than the ration; another node is
/// heard at once meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_slowed_and_harm_nobody_else() {
    let long_hello = hello("x".repeat(LONGEST - 100));
    let long_report = report(1, chatty(2000));
    let short_report = report(1, Vec::new());
    for (what, flood) in [("hellos", long_hello), ("reports", long_report), ("small reports", short_report)] {
        let (node, mut other) = (Node::new(), Node::new());
        let mut stream = node.hello().await;
        let begun = Instant::now();
        let said = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&said);
        let flooding = tokio::spawn(async move {
            while stream.write_all(&flood).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (asked, before) = (Instant::now(), begun.elapsed());
        other.is_well(3).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{what}: {:?}", asked.elapsed());
        flooding.abort();
        let size = match what {
            "hellos" => LONGEST,
            "reports" => 800 << 10,
            _ => 100,
        } as u64;
        let ration = BURST + RATE * (before.as_secs() + 1);
        // What lies in the socket's buffer, in the agent's hands and in the test's own is not taken yet.
        let most = ration / (size + EACH) + (512 << 10) / size + 3;
        let said = said.load(Ordering::Relaxed) as u64;
        assert!(said <= most, "{what}: {said} were taken, {most} are fair");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_without_end_is_slowed_and_harms_nobody_else() {
    let (node, mut other) = (Node::new(), Node::new());
    let path = node.path.clone();
    let begun = Instant::now();
    let connecting = tokio::spawn(async move {
        loop {
            // A full queue refuses.
            if let Ok(mut stream) = UnixStream::connect(&path).await {
                let _ = stream.write_all(&hello("1".into())).await;
            }
            tokio::task::yield_now().await;
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = Instant::now();
    other.is_well(3).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    connecting.abort();
    let most = BURST / EACH + RATE / EACH * (begun.elapsed().as_secs() + 1);
    let accepted = node.accepted.load(Ordering::Relaxed) as u64;
    assert!((10..=most).contains(&accepted), "{accepted} connections, {most} are fair");
}
