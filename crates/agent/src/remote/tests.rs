//! Connections that break, lie, stall and come twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use std::sync::Arc;
use testyard_fabric::capture::{
    CaptureEnd, CaptureError, CaptureEvent, CaptureRequest, CaptureStream, EndReason,
};
use testyard_model::host::HostLimits;
use testyard_model::host_table::{HostTable, NamedNode, NamedPlace};
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_model::probe::Probed;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::frame::Frame;
use super::message::{Answer, Call, FIRST_CREDIT, FromAgent, Greeting, ToAgent, Versions};
use super::*;
use crate::config::HostConfig;
use crate::contract::{Host, HostError, HostFacts, Standing};
use crate::facts::{Fact, Facts, NoFact};
use crate::node::tests::desired_node;
use crate::observed::LinksSeen;
use crate::probe::Probe;
use crate::{desired, observed};

/// A host that remembers what it was told, and has a capture of what a test wants.
#[derive(Default)]
struct Told {
    syncs: Mutex<Vec<usize>>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<observed::Slice>>>,
    /// Frames of each capture, and how many of them were taken.
    frames: usize,
    taken: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

const BLOCK: usize = 64 << 10;

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn seen(number: u64) -> observed::Slice {
    observed::Slice {
        slice: slice_id(),
        revision: Revision(number),
        nodes: Vec::new(),
        links: LinksSeen::default(),
        schedule: None,
        images: Vec::new(),
    }
}

fn slice_id() -> SliceId {
    SliceId::from_uuid(Uuid::from_u128(77))
}

#[async_trait]
impl Host for Told {
    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError> {
        self.syncs.lock().unwrap().push(slices.len());
        Ok(())
    }

    async fn apply(&self, _: desired::Slice) -> Result<(), HostError> {
        Err(HostError("not today".into()))
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(seen(1));
        self.watchers.lock().unwrap().push(sender);
        receiver
    }

    async fn observe(&self, _: SliceId) -> Result<Option<observed::Slice>, HostError> {
        Ok(Some(seen(5)))
    }

    async fn capture(&self, slice: SliceId, _: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        if self.frames == 0 {
            return Err(CaptureError::NotJoined { slice });
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let (open, taken) = (Open(Arc::clone(&self.open)), Arc::clone(&self.taken));
        let end = CaptureEnd { reason: EndReason::Parted, received: 9, dropped: 1 };
        let blocks = stream::iter(0..self.frames).map(move |number| {
            let _ = &open;
            taken.fetch_add(1, Ordering::SeqCst);
            CaptureEvent::Blocks(vec![number as u8; BLOCK])
        });
        Ok(CaptureStream::relayed(blocks.chain(stream::iter([CaptureEvent::Ended(end)]))))
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        Err(CaptureError::Filter { expression: expression.into(), reason: "no".into() })
    }

    async fn probe(&self, _: SliceId, _: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        std::future::pending().await
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        Ok(HostFacts { engines: vec!["fake".into()], healthy: true, limits: HostLimits::UNKNOWN })
    }

    async fn shut_down(&self) {}
}

fn own(instance: u128) -> Introduction {
    Introduction { program: "testyard 1".into(), instance: Uuid::from_u128(instance) }
}

fn remote() -> Arc<RemoteHost> {
    RemoteHost::new("h1".parse().unwrap(), HostConfig::pretending())
}

/// An agent that is connected, and how its connection ends on both sides.
async fn connect(
    remote: &Arc<RemoteHost>,
    host: Arc<Told>,
    facts: Arc<RemoteFacts>,
    instance: u128,
) -> (JoinHandle<ConnectionError>, JoinHandle<ConnectionError>) {
    let (near, far) = duplex(1 << 16);
    let mut standing = remote.standing();
    standing.mark_unchanged();
    let remote = Arc::clone(remote);
    let controller = tokio::spawn(async move { remote.attend(near, "testyard 1").await });
    let agent = tokio::spawn(async move {
        match join(far, &own(instance)).await {
            Ok(joined) => serve(host, &facts, joined).await,
            Err(error) => error,
        }
    });
    standing.changed().await.unwrap();
    assert_eq!(*standing.borrow(), Standing::Here);
    (controller, agent)
}

async fn raw(remote: &Arc<RemoteHost>) -> (DuplexStream, JoinHandle<ConnectionError>) {
    let (near, far) = duplex(1 << 22);
    let remote = Arc::clone(remote);
    (far, tokio::spawn(async move { remote.attend(near, "testyard 1").await }))
}

fn greeting() -> Vec<u8> {
    let versions = Versions { least: 1, most: 7 };
    let greeting = Greeting { versions, program: "other 2".into(), instance: Uuid::from_u128(3) };
    frame::message(&greeting).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_host_over_a_connection() {
    let (remote, host) = (remote(), Arc::new(Told::default()));
    assert_eq!(remote.facts().await, Err(HostError("its agent has not connected yet".into())));
    let mut reports = remote.watch();
    let (controller, agent) = connect(&remote, Arc::clone(&host), Arc::default(), 1).await;
    assert_eq!(reports.recv().await, Some(seen(1)));
    remote.sync(Vec::new()).await.unwrap();
    assert_eq!(*host.syncs.lock().unwrap(), [0]);
    assert_eq!(remote.observe(slice_id()).await, Ok(Some(seen(5))));
    assert_eq!(remote.facts().await.unwrap().engines, ["fake"]);
    let filter = remote.try_filter("tcp prot").await;
    assert!(matches!(filter, Err(CaptureError::Filter { expression, .. }) if expression == "tcp prot"));
    let capture = remote.capture(slice_id(), CaptureRequest::default()).await;
    assert!(matches!(capture, Err(CaptureError::NotJoined { .. })));

    // For days nothing is said.
    tokio::time::sleep(Duration::from_secs(200_000)).await;
    assert!(remote.facts().await.is_ok());

    // What is asked when the connection ends is answered.
    let asked = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.probe(slice_id(), Vec::new()).await }
    });
    tokio::task::yield_now().await;
    agent.abort();
    assert!(matches!(controller.await.unwrap(), ConnectionError::Frame(_)));
    assert!(asked.await.unwrap().is_err());
    assert!(matches!(&*remote.standing().borrow(), Standing::Away(_)));

    // And it comes back, with all that is there now.
    host.watchers.lock().unwrap().clear();
    let _connection = connect(&remote, host, Arc::default(), 2).await;
    assert_eq!(reports.recv().await, Some(seen(1)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_hears_how_its_host_is_to_be_run_and_connects_again_when_that_changes() {
    let remote = remote();
    let joined = |instance| {
        let (near, far) = duplex(1 << 16);
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.attend(near, "testyard 1").await });
        async move { join(far, &own(instance)).await }
    };
    let first = joined(1).await.unwrap();
    assert_eq!((first.config.clone(), first.program.as_str()), (HostConfig::pretending(), "testyard 1"));
    let (host, facts) = (Arc::new(Told::default()), RemoteFacts::default());
    let serving = serve(Arc::clone(&host) as Arc<dyn Host>, &facts, first);
    tokio::pin!(serving);
    // The same again changes nothing.
    remote.configure(HostConfig::pretending());
    assert!((&mut serving).now_or_never().is_none());
    let other = HostConfig { domain: "other.example.net".into(), ..HostConfig::pretending() };
    remote.configure(other.clone());
    assert!(matches!(serving.await, ConnectionError::Reconfigured));
    assert_eq!(joined(1).await.unwrap().config, other);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_run_its_host_says_why() {
    let remote = remote();
    let (near, far) = duplex(1 << 16);
    let controller = {
        let remote = Arc::clone(&remote);
        tokio::spawn(async move { remote.attend(near, "testyard 1").await })
    };
    join(far, &own(1)).await.unwrap().unable("the guest program is not there".into()).await;
    assert!(matches!(controller.await.unwrap(), ConnectionError::Unable(_)));
    let away = Standing::Away("its agent cannot run it: the guest program is not there".into());
    assert_eq!(*remote.standing().borrow(), away);
}

#[tokio::test(start_paused = true)]
async fn the_newest_connection_of_an_agent_counts_and_no_other_agent_takes_its_name() {
    let (remote, host) = (remote(), Arc::new(Told::default()));
    let (first, _agent) = connect(&remote, Arc::clone(&host), Arc::default(), 1).await;
    let (near, far) = duplex(1 << 16);
    let stranger = tokio::spawn(async move { join(far, &own(2)).await.unwrap_err() });
    let refused = remote.attend(near, "testyard 1").await;
    assert!(matches!(&refused, ConnectionError::Refusing(_)), "{refused}");
    let told = stranger.await.unwrap().to_string();
    assert_eq!(
        told,
        "the controller refuses: another agent is connected as host h1: each machine needs a host of its own \
         (testyard host add)"
    );
    assert!(remote.facts().await.is_ok());
    let (_second, _agent) = connect(&remote, host, Arc::default(), 1).await;
    assert!(matches!(first.await.unwrap(), ConnectionError::Replaced));
    assert!(remote.facts().await.is_ok());
    assert_eq!(*remote.standing().borrow(), Standing::Here);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stalls_or_lies_is_away() {
    let remote = remote();
    let mut says: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("half a message", frame::message(&FromAgent::Alive).unwrap()[..7].to_vec()),
        ("no JSON", [&[1, 0, 0, 0, 2][..], b"{!"].concat()),
        ("what nobody says", [&[1, 0, 0, 0, 15][..], br#"{"say":"other"}"#].concat()),
        ("too much", vec![1, 0xff, 0xff, 0xff, 0xff]),
    ];
    // What nobody waits for harms nobody.
    let stray = FromAgent::Answer { id: 99, answer: Answer::Done(Ok(())) };
    let stray = [frame::message(&stray).unwrap(), frame::packets(7, &[1; 99]).unwrap(), vec![9, 0, 0, 0, 0]];
    says.push(("an answer to nothing, then a strange frame", stray.concat()));
    for (what, bytes) in says {
        let (mut agent, connection) = raw(&remote).await;
        agent.write_all(&greeting()).await.unwrap();
        agent.write_all(&bytes).await.unwrap();
        let end = connection.await.unwrap();
        assert!(matches!(end, ConnectionError::Frame(_)), "{what}: {end}");
        assert!(matches!(&*remote.standing().borrow(), Standing::Away(_)), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_greet_as_one_does_never_is_there() {
    let remote = remote();
    let old =
        Greeting { versions: Versions { least: 8, most: 9 }, program: "new 9".into(), instance: Uuid::nil() };
    let long = Greeting { program: "x".repeat(20 << 10), ..old.clone() };
    for bytes in [
        frame::message(&old).unwrap(),
        frame::message(&long).unwrap(),
        frame::packets(1, b"x").unwrap(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        Vec::new(),
    ] {
        let (mut agent, connection) = raw(&remote).await;
        agent.write_all(&bytes).await.unwrap();
        println!("{}", connection.await.unwrap());
        assert_eq!(*remote.standing().borrow(), Standing::Away("its agent has not connected yet".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_capture_holds_up_nobody() {
    let frames = 200;
    let host = Arc::new(Told { frames, ..Told::default() });
    let remote = remote();
    let _connection = connect(&remote, Arc::clone(&host), Arc::default(), 1).await;
    let mut capture = remote.capture(slice_id(), CaptureRequest::default()).await.unwrap();
    // Nobody reads; the others are heard.
    for _ in 0..50 {
        assert!(remote.facts().await.is_ok());
    }
    let on_the_way = host.taken.load(Ordering::SeqCst) * BLOCK;
    assert!(on_the_way <= FIRST_CREDIT as usize + BLOCK, "{on_the_way}");
    let (mut bytes, mut end) = (0, None);
    while let Some(event) = capture.next().await {
        match event {
            CaptureEvent::Blocks(blocks) => bytes += blocks.len(),
            CaptureEvent::Ended(ended) => end = Some(ended),
        }
    }
    assert_eq!(bytes, frames * BLOCK);
    assert_eq!(end, Some(CaptureEnd { reason: EndReason::Parted, received: 9, dropped: 1 }));

    // Who goes ends it at the host.
    let mut capture = remote.capture(slice_id(), CaptureRequest::default()).await.unwrap();
    assert!(matches!(capture.next().await, Some(CaptureEvent::Blocks(_))));
    drop(capture);
    while host.open.load(Ordering::SeqCst) > 0 {
        assert!(remote.facts().await.is_ok());
    }
    // Who is left when the connection ends hears that.
    let mut capture = remote.capture(slice_id(), CaptureRequest::default()).await.unwrap();
    remote.shut_down().await;
    let mut last = None;
    while let Some(event) = capture.next().await {
        last = Some(event);
    }
    let Some(CaptureEvent::Ended(CaptureEnd { reason: EndReason::Failed(why), .. })) = last else {
        panic!("{last:?}")
    };
    assert_eq!(why, "the connection to host h1 was lost");
}

/// An agent may not fill the controller's memory with packets that nobody has room for.
#[tokio::test(start_paused = true)]
async fn packets_beyond_the_credit_end_the_connection() {
    let remote = remote();
    let (mut agent, connection) = raw(&remote).await;
    agent.write_all(&greeting()).await.unwrap();
    let capture = tokio::spawn({
        let remote = Arc::clone(&remote);
        let mut standing = remote.standing();
        async move {
            standing.wait_for(|standing| *standing == Standing::Here).await.unwrap();
            remote.capture(slice_id(), CaptureRequest::default()).await
        }
    });
    let mut welcome = frame::read(&mut agent, 1 << 20).await.unwrap();
    let call = loop {
        if let frame::Frame::Message(body) = &welcome
            && let Ok(ToAgent::Call { id, .. }) = serde_json::from_slice(body)
        {
            break id;
        }
        welcome = frame::read(&mut agent, 1 << 20).await.unwrap();
    };
    let begun = FromAgent::Answer { id: call, answer: Answer::Capture(Ok(())) };
    agent.write_all(&frame::message(&begun).unwrap()).await.unwrap();
    let reader = capture.await.unwrap().unwrap();
    for _ in 0..4 {
        let _ = agent.write_all(&frame::packets(call, &vec![0; 1 << 20]).unwrap()).await;
    }
    let end = connection.await.unwrap();
    assert!(matches!(end, ConnectionError::Protocol(_)), "{end}");
    drop(reader);
}

/// Two nodes on a link, whose names they share.
fn named() -> desired::Slice {
    let node = |(number, hostname): (u32, &str)| desired::Node {
        sliver: SliverId::from_uuid(Uuid::from_u128(number.into())),
        hostname: hostname.parse().unwrap(),
        network: desired::NodeNetwork {
            named: Some(desired::Named { table: 0, node: number }),
            ..desired::NodeNetwork::default()
        },
        ..desired_node()
    };
    let place = |number: u8, hostname: &str| NamedPlace {
        link: 0,
        addresses: vec![[10, 1, 1, number].into()],
        names: format!("{hostname}-l0").into(),
    };
    let named = |(number, hostname): (u8, &str)| NamedNode {
        hostname: hostname.parse().unwrap(),
        places: vec![place(number, hostname)],
    };
    desired::Slice {
        slice: slice_id(),
        tag: SliceTag(std::num::NonZeroU32::MIN),
        name: "demo".into(),
        about: desired::About {
            urn: "urn:publicid:IDN+a+slice+demo".parse().unwrap(),
            creator: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
            testbed: "testbed.example.net".parse().unwrap(),
        },
        revision: Revision(1),
        nodes: [(0, "a"), (1, "b")].map(node).into(),
        host_tables: vec![HostTable::new([(1, "a"), (2, "b")].map(named).into())],
        links: Vec::new(),
        environment: Vec::new(),
        schedule: None,
    }
}

/// The next message but that somebody is there.
async fn said(agent: &mut DuplexStream) -> ToAgent {
    loop {
        let Frame::Message(body) = frame::read(agent, 1 << 20).await.unwrap() else { panic!("packets") };
        match serde_json::from_slice(&body).unwrap() {
            ToAgent::Alive => {}
            message => return message,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_before_gets_names_as_it_knows_them() {
    for (most, shared) in [(2, false), (3, true)] {
        let remote = remote();
        let (mut agent, _connection) = raw(&remote).await;
        let versions = Versions { least: 1, most };
        let greeting = Greeting { versions, program: "other 1".into(), instance: Uuid::from_u128(3) };
        agent.write_all(&frame::message(&greeting).unwrap()).await.unwrap();
        remote.standing().wait_for(|standing| *standing == Standing::Here).await.unwrap();
        let Frame::Message(_welcome) = frame::read(&mut agent, 1 << 20).await.unwrap() else { panic!() };
        assert!(matches!(said(&mut agent).await, ToAgent::Config(_)));
        let telling = Arc::clone(&remote);
        tokio::spawn(async move {
            let _ = telling.apply(named()).await;
        });
        let ToAgent::Call { call: Call::Apply(applied), .. } = said(&mut agent).await else { panic!() };
        let telling = Arc::clone(&remote);
        tokio::spawn(async move {
            let _ = telling.sync(vec![named()]).await;
        });
        let ToAgent::Part(part) = said(&mut agent).await else { panic!() };
        assert_eq!(applied, part);
        if shared {
            assert_eq!(*part, named());
        } else {
            assert!(part.host_tables.is_empty());
            let names = part.nodes.iter().map(|node| &node.network.names);
            let names: Vec<Vec<&str>> = names
                .map(|lines| lines.iter().flat_map(|line| &line.names).map(String::as_str).collect())
                .collect();
            assert_eq!(names, [["a-l0", "a", "b-l0", "b"]; 2]);
        }
    }
}

struct Knows;

#[async_trait]
impl Facts for Knows {
    async fn fact(&self, _: SliceId, _: SliverId, fact: Fact) -> Result<String, NoFact> {
        Ok(format!("the {}", fact.as_str()))
    }
}

#[tokio::test(start_paused = true)]
async fn only_nodes_of_the_host_are_told_about_themselves() {
    let (remote, facts) = (remote(), Arc::new(RemoteFacts::default()));
    remote.answer_by(Arc::new(Knows));
    let node = SliverId::from_uuid(Uuid::from_u128(4));
    let ask = || facts.fact(slice_id(), node, Fact::Manifest);
    assert!(ask().await.unwrap_err().to_string().contains("cannot be reached"));
    let (_controller, agent) = connect(&remote, Arc::default(), Arc::clone(&facts), 1).await;
    assert_eq!(ask().await, Err(NoFact("the testbed knows no such node".into())));
    remote.tell_of(slice_id(), node);
    assert_eq!(ask().await, Ok("the manifest".into()));
    let late = ask();
    let mut late = std::pin::pin!(late);
    assert_eq!(late.as_mut().now_or_never(), None);
    agent.abort();
    let _ = agent.await;
    // An agent that is cut off does not come to its end, but the next one does away with what it has left.
    drop(facts.clone());
}
