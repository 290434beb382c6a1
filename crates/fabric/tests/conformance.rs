//! What every fabric promises, for the fake and for Linux alike.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use support::{World, attachment, node, tcp};
use testyard_fabric::fake::{Call, Failure, FakeFabric, Verb};
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_fabric::{Attached, Fabric, FabricError, Forward, Repair};
use testyard_model::id::Revision;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;

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
    for _ in 0..2 {
        fabric.join(&wanted(2, vec![link.clone()])).await.unwrap();
        fabric.plug(one.slice, &ports, &netns.path()).await.unwrap();
    }
    fabric.join(&wanted(1, vec![])).await.unwrap();
    assert_eq!(fabric.joined().await.unwrap(), [one.slice]);
    assert_eq!(fabric.traffic(one.slice).await.unwrap(), [], "nothing is impaired");
    let gone = fabric.plug(one.slice, &ports, std::path::Path::new("/proc/0/ns/net")).await;
    assert!(matches!(gone, Err(FabricError::Gone { sliver }) if sliver == one.sliver), "{gone:?}");
    for _ in 0..2 {
        fabric.part(one.slice).await.unwrap();
        let late = fabric.plug(one.slice, &ports, &netns.path()).await;
        assert!(
            matches!(late, Err(FabricError::NotJoined { slice }) if slice == one.slice),
            "the node came late: {late:?}"
        );
        let unlinked = NodePorts { ports: vec![], ..ports.clone() };
        fabric.plug(one.slice, &unlinked, &netns.path()).await.unwrap();
        assert_eq!(fabric.joined().await.unwrap(), []);
    }
    // From the beginning, without being told to part.
    fabric.join(&wanted(1, vec![link])).await.unwrap();
    fabric.reset().await.unwrap();
    assert_eq!(fabric.joined().await.unwrap(), []);
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
    assert_eq!(test.attachments(), [one]);
    assert_eq!(test.calls().last(), Some(&Call::Repair));
}
