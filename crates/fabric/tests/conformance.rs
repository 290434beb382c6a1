//! What every fabric promises, for the fake and for Linux alike.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use futures_util::StreamExt as _;
use support::{Netns, World, attachment, node, tcp};
use testyard_fabric::capture::{
    CaptureError, CaptureEvent, CaptureRequest, CaptureStream, CapturedLinks, EndReason, MOST_CAPTURES,
};
use testyard_fabric::fake::{Call, Failure, FakeFabric, Verb};
use testyard_fabric::links::probe::{ProbeEnd, ProbePath, ProbeRequest, ProbeTrain};
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_fabric::{Attached, Attachment, Fabric, FabricError, Forward, Links as _, Repair};
use testyard_model::id::Revision;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::probe::{Probed, Train};
use testyard_model::quantity::Span;

async fn conforms(fabric: &dyn Fabric) {
    let (one, two) = (attachment(1, 1), attachment(1, 2));
    let nodes = [node(), node()];
    let seen =
        |list: Vec<Attached>| list.into_iter().map(|a| (a.slice, a.sliver, a.alive)).collect::<Vec<_>>();
    fabric.prepare().await.unwrap();
    fabric.prepare().await.unwrap();
    assert_eq!(fabric.attached().await.unwrap(), []);
    for _ in 0..2 {
        fabric.attach(&one, &nodes[0].path()).await.unwrap();
    }
    fabric.attach(&two, &nodes[1].path()).await.unwrap();
    assert_eq!(
        seen(fabric.attached().await.unwrap()),
        [(one.slice, one.sliver, true), (two.slice, two.sliver, true)]
    );
    assert_eq!(fabric.repair().await.unwrap(), []);

    let mut greedy = attachment(2, 3);
    greedy.forwards.push(Forward { host_port: 30_001, port: tcp(80) });
    let refused = fabric.attach(&greedy, &nodes[1].path()).await;
    assert!(matches!(refused, Err(FabricError::PortTaken { port: 30_001 })), "{refused:?}");
    assert_eq!(fabric.attached().await.unwrap().len(), 2, "a refused node leaves nothing");

    for _ in 0..2 {
        fabric.detach(one.sliver).await.unwrap();
    }
    assert_eq!(seen(fabric.attached().await.unwrap()), [(two.slice, two.sliver, true)]);
    greedy.forwards.remove(0);
    fabric.attach(&greedy, &nodes[0].path()).await.unwrap();
    fabric.detach(greedy.sliver).await.unwrap();
    for _ in 0..2 {
        fabric.reset().await.unwrap();
        assert_eq!(fabric.attached().await.unwrap(), []);
    }
    links_conform(fabric).await;
    // And from the beginning.
    fabric.attach(&one, &nodes[0].path()).await.unwrap();
    fabric.reset().await.unwrap();
}

async fn links_conform(fabric: &dyn Fabric) {
    let (one, two) = (attachment(1, 1), attachment(1, 2));
    let netns = node();
    let end = |node| LinkEnd {
        port: PortId { node, device: "eth1".into() },
        to_link: Impairment::default(),
        from_link: Impairment::default(),
    };
    let link = HostLink {
        sliver: attachment(1, 9).sliver,
        name: "cable".into(),
        kind: LinkKind::PointToPoint,
        up: true,
        mtu: 1500,
        seed: 0,
        is_seed_chosen: false,
        ends: vec![end(one.sliver), end(two.sliver)],
        beyond: None,
        capture: None,
    };
    let port = NodePort {
        device: "eth1".into(),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        mtu: 1500,
        addresses: vec!["10.1.1.2/24".parse().unwrap()],
    };
    let ports = NodePorts { node: one.sliver, ports: vec![port], routes: vec![], forwarding: false };
    let wanted = |revision, links| SliceLinks { slice: one.slice, revision: Revision(revision), links };
    assert_eq!(fabric.joined().await.unwrap(), []);
    let early = fabric.capture(one.slice, CaptureRequest::default()).await;
    assert!(matches!(early, Err(CaptureError::NotJoined { slice }) if slice == one.slice), "{early:?}");
    for _ in 0..2 {
        fabric.join(&wanted(2, vec![link.clone()])).await.unwrap();
        fabric.plug(one.slice, &ports, &netns.path()).await.unwrap();
    }
    fabric.join(&wanted(1, vec![])).await.unwrap();
    assert_eq!(fabric.joined().await.unwrap(), [one.slice]);
    assert_eq!(fabric.traffic(one.slice).await.unwrap(), [], "nothing is impaired");
    let gone = fabric.plug(one.slice, &ports, std::path::Path::new("/proc/0/ns/net")).await;
    assert!(matches!(gone, Err(FabricError::Gone { sliver }) if sliver == one.sliver), "{gone:?}");
    probes_conform(fabric, &one, &ports, &netns).await;
    for _ in 0..2 {
        fabric.part(one.slice).await.unwrap();
        let probed = fabric.probe(one.slice, &ProbeRequest { run: 1, trains: vec![] }).await;
        assert!(matches!(probed, Err(FabricError::NotJoined { slice }) if slice == one.slice), "{probed:?}");
        let late = fabric.plug(one.slice, &ports, &netns.path()).await;
        assert!(
            matches!(late, Err(FabricError::NotJoined { slice }) if slice == one.slice),
            "the node came late: {late:?}"
        );
        let unlinked = NodePorts { ports: vec![], ..ports.clone() };
        fabric.plug(one.slice, &unlinked, &netns.path()).await.unwrap();
        assert_eq!(fabric.joined().await.unwrap(), []);
    }
    // A node of its own: of the other one the kernel may still be taking interfaces away.
    captures_conform(fabric, &wanted(1, vec![link.clone()]), &ports, &node()).await;
    // From the beginning, without being told to part.
    fabric.join(&wanted(1, vec![link])).await.unwrap();
    fabric.reset().await.unwrap();
    assert_eq!(fabric.joined().await.unwrap(), []);
}

/// What a capture says until it ends: its bytes, and why.
async fn listen(mut capture: CaptureStream) -> (Vec<u8>, EndReason) {
    let mut bytes = Vec::new();
    loop {
        match capture.next().await.expect("it says why it ends") {
            CaptureEvent::Blocks(more) => bytes.extend(more),
            CaptureEvent::Ended(end) => {
                assert!(capture.next().await.is_none(), "that is the last event");
                assert!(end.received >= end.dropped);
                return (bytes, end.reason);
            }
        }
    }
}

async fn captures_conform(fabric: &dyn Fabric, wanted: &SliceLinks, ports: &NodePorts, netns: &Netns) {
    let (slice, link) = (wanted.slice, wanted.links[0].sliver);
    fabric.join(wanted).await.unwrap();
    let names = [(ports.node, "alice".to_owned())].into();
    let one = CaptureRequest { links: CapturedLinks::One(link), names, ..Default::default() };
    let foreign = CaptureRequest { links: CapturedLinks::One(ports.node), ..one.clone() };
    let none = fabric.capture(slice, foreign).await;
    assert!(matches!(none, Err(CaptureError::NoLink { link, .. }) if link == ports.node), "{none:?}");
    // Before the node is there, and by many at once.
    let of_link = fabric.capture(slice, one.clone()).await.unwrap();
    let of_all = fabric.capture(slice, CaptureRequest::default()).await.unwrap();
    let mut others = Vec::new();
    for _ in 2..MOST_CAPTURES {
        others.push(fabric.capture(slice, one.clone()).await.unwrap());
    }
    let more = fabric.capture(slice, one.clone()).await;
    assert!(matches!(more, Err(CaptureError::TooMany { .. })), "{more:?}");
    others.pop();
    others.push(fabric.capture(slice, one).await.unwrap());
    fabric.plug(slice, ports, &netns.path()).await.unwrap();
    // The link goes; the slice's links have not ended.
    fabric.join(&SliceLinks { revision: Revision(2), links: vec![], ..wanted.clone() }).await.unwrap();
    let (bytes, reason) = listen(of_link).await;
    assert_eq!(reason, EndReason::LinkGone);
    let names = support::capture::read(&bytes).interfaces;
    assert_eq!(names[0], ("alice:eth1".to_owned(), "cable".to_owned()));
    assert_eq!(names.len(), 2, "also those that are not there yet: {names:?}");
    fabric.part(slice).await.unwrap();
    let (bytes, reason) = listen(of_all).await;
    assert_eq!(reason, EndReason::Parted);
    assert!(support::capture::read(&bytes).interfaces[0].0.ends_with(":eth1"));
    drop(others);
    let late = fabric.capture(slice, CaptureRequest::default()).await;
    assert!(matches!(late, Err(CaptureError::NotJoined { .. })), "{late:?}");
}

/// The other node of the cable joins, and each hears the other.
async fn probes_conform(fabric: &dyn Fabric, one: &Attachment, ports: &NodePorts, netns: &Netns) {
    let (two, peer) = (attachment(1, 2), node());
    let mut its = NodePorts { node: two.sliver, ..ports.clone() };
    its.ports[0].mac = "02:00:00:00:00:02".parse().unwrap();
    its.ports[0].addresses = vec!["10.1.1.3/24".parse().unwrap()];
    fabric.plug(one.slice, &its, &peer.path()).await.unwrap();
    let end =
        |node, netns: &Netns| ProbeEnd { port: PortId { node, device: "eth1".into() }, netns: netns.path() };
    let (a, b) = (end(one.sliver, netns), end(two.sliver, &peer));
    let nobody = ProbeEnd { port: PortId { device: "eth2".into(), ..b.port.clone() }, ..b.clone() };
    let train =
        Train { frames: 20, length: 80, interval: Span::from_millis(1), patience: Span::from_millis(200) };
    let trains = [
        ProbePath::Link { from: a.clone(), to: b.clone() },
        ProbePath::Link { from: b, to: a.clone() },
        ProbePath::Link { from: a, to: nobody },
        ProbePath::Reference,
    ];
    let trains = trains.map(|path| ProbeTrain { path, train, greeting: false });
    let request = ProbeRequest { run: 5, trains: trains.into() };
    let answers = fabric.probe(one.slice, &request).await.unwrap();
    assert_eq!(answers.len(), 4);
    assert!(matches!(&answers[2], Probed::Failed(text) if text.contains("eth2")), "{:?}", answers[2]);
    for answer in [&answers[0], &answers[1], &answers[3]] {
        let Probed::Sent(samples) = answer else { panic!("{answer:?}") };
        assert_eq!(samples.sender, samples.receiver, "one host, one clock");
        assert_eq!(samples.sent.len(), 20);
        let numbers: Vec<u32> = samples.arrivals.iter().map(|arrival| arrival.number).collect();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        assert!(samples.arrivals.iter().zip(&samples.sent).all(|(arrival, sent)| arrival.at >= *sent));
        assert!(samples.arrivals.iter().all(|arrival| !arrival.damaged));
        assert_eq!((samples.refused, samples.overrun, samples.clock_was_set), (0, 0, false));
    }
}

#[tokio::test]
async fn linux() {
    let world = World::new();
    conforms(&world.fabric("conform")).await;
    assert_eq!(world.host.command("nft list ruleset"), "");
    assert_eq!(world.traces(), "");
}

#[tokio::test]
async fn fake() {
    let fabric = FakeFabric::new();
    fabric.end(attachment(1, 1).sliver, "/proc/0/ns/net");
    conforms(&fabric).await;
}

#[tokio::test]
async fn the_fake_does_as_a_test_says() {
    use futures_util::StreamExt as _;
    let fabric = FakeFabric::new();
    let test = fabric.clone();
    let (one, path) = (attachment(1, 1), std::path::Path::new("/proc/7/ns/net"));
    test.fail(Verb::Attach, 2, Failure::Kernel("no memory".into()));
    fabric.attach(&one, path).await.unwrap();
    assert!(
        matches!(fabric.attach(&one, path).await, Err(FabricError::Kernel { detail, .. }) if detail == "no memory")
    );
    fabric.attach(&one, path).await.unwrap();
    test.end(one.sliver, path);
    assert!(!fabric.attached().await.unwrap()[0].alive);
    assert!(
        matches!(fabric.attach(&one, path).await, Err(FabricError::Gone { sliver }) if sliver == one.sliver)
    );
    test.boot(path);
    fabric.attach(&one, path).await.unwrap();
    test.take_port(30_002);
    assert!(matches!(
        fabric.attach(&attachment(1, 2), path).await,
        Err(FabricError::PortTaken { port: 30_002 })
    ));
    let mut disturbances = fabric.disturbances();
    test.disturb(vec![Repair::Jump]);
    disturbances.next().await.unwrap();
    assert_eq!(fabric.repair().await.unwrap(), [Repair::Jump]);
    assert_eq!(test.attachments(), std::slice::from_ref(&one));
    assert_eq!(test.calls().last(), Some(&Call::Repair));

    fabric.join(&SliceLinks { slice: one.slice, revision: Revision(1), links: vec![] }).await.unwrap();
    let train = Train { frames: 2, length: 80, interval: Span::ZERO, patience: Span::ZERO };
    let train = ProbeTrain { path: ProbePath::Reference, train, greeting: false };
    let request = ProbeRequest { run: 1, trains: vec![train.clone(), train] };
    test.answer_probes([Probed::Failed("no luck".to_owned())]);
    let answers = fabric.probe(one.slice, &request).await.unwrap();
    assert_eq!(answers[0], Probed::Failed("no luck".to_owned()));
    assert!(matches!(&answers[1], Probed::Sent(samples) if samples.arrivals.len() == 2), "{answers:?}");
    assert_eq!(test.calls().last(), Some(&Call::Probe(one.slice, request)));
}

#[tokio::test]
async fn the_fake_captures_what_a_test_injects() {
    use testyard_capture::pcapng::Direction;
    let fabric = FakeFabric::new();
    let (slice, node) = (attachment(1, 1).slice, attachment(1, 1).sliver);
    let port = PortId { node, device: "eth1".into() };
    let clear = Impairment::default();
    let link = HostLink {
        sliver: attachment(1, 9).sliver,
        name: "lan".into(),
        kind: LinkKind::Lan,
        up: true,
        mtu: 1500,
        seed: 0,
        is_seed_chosen: false,
        ends: vec![LinkEnd { port: port.clone(), to_link: clear, from_link: clear }],
        beyond: None,
        capture: None,
    };
    fabric.join(&SliceLinks { slice, revision: Revision(1), links: vec![link] }).await.unwrap();
    let request = CaptureRequest { snap_length: 4.into(), ..Default::default() };
    let capture = fabric.capture(slice, request.clone()).await.unwrap();
    assert_eq!(fabric.captures(slice), [request]);
    fabric.inject(slice, &port, Direction::Out, 7, &[1, 2, 3, 4, 5]);
    fabric.part(slice).await.unwrap();
    let (bytes, _) = listen(capture).await;
    let packets = support::capture::read(&bytes).packets;
    let seen: Vec<_> = packets.iter().map(|p| (p.time, p.is_out, p.length, p.data.as_slice())).collect();
    assert_eq!(seen, [(7, true, 5, [1, 2, 3, 4].as_slice())]);
    assert_eq!(fabric.captures(slice), []);
}
