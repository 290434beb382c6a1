//! What the kernel remembers of flows: nothing of nodes that are gone, and not too many of one node.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::net::UdpSocket;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use support::{HOST4, HOST6, Netns, OUTSIDE4, World, attachment, node};
use testyard_fabric::{Attachment, Fabric as _, FabricError, Forward};
use testyard_model::sliver_type::{Port, Protocol};

const HOST_PORT: u16 = 30_500;
const PATIENCE: Duration = Duration::from_secs(5);

/// A node with one UDP port behind [`HOST_PORT`].
fn with_udp(slice: u32, number: u16, port: u16) -> Attachment {
    let port = Port { protocol: Protocol::Udp, number: port.try_into().unwrap() };
    Attachment { forwards: vec![Forward { host_port: HOST_PORT, port }], ..attachment(slice, number) }
}

/// Sends over both families from fixed ports, without a pause longer than a few milliseconds, while `work` runs.
async fn while_sending<T>(world: &World, work: impl Future<Output = T>) -> T {
    let senders = [("0.0.0.0:5000", HOST4), ("[::]:5001", HOST6)].map(|(from, to)| {
        let socket = world.outside.run(|| UdpSocket::bind(from)).unwrap();
        (socket, (support::ip(to), HOST_PORT))
    });
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
            for (socket, to) in &senders {
                // A refused one is what happens while the port leads nowhere.
                let _ = socket.send_to(b"on and on", to);
            }
        }
    });
    let result = work.await;
    drop(stop);
    thread.join().unwrap();
    result
}

/// Whether packets of both flows come in on a node's port; answers them, so that the kernel takes them for lasting.
fn receives(node: &Netns, port: u16) -> bool {
    let socket = node.run(|| UdpSocket::bind(("::", port))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (mut v4, mut v6) = (0, 0);
    let start = Instant::now();
    while (v4 < 10 || v6 < 10) && start.elapsed() < PATIENCE {
        let Ok((_, from)) = socket.recv_from(&mut [0; 64]) else { continue };
        *(if from.ip().to_canonical().is_ipv4() { &mut v4 } else { &mut v6 }) += 1;
        let _ = socket.send_to(b"heard", from);
    }
    v4 >= 10 && v6 >= 10
}

#[tokio::test]
async fn a_running_flow_follows_its_port_to_another_node() {
    let world = World::new();
    let fabric = world.fabric("flows");
    fabric.prepare().await.unwrap();
    let (a, b) = (node(), node());
    while_sending(&world, async {
        // It has been going on before the port led anywhere.
        tokio::time::sleep(Duration::from_millis(50)).await;
        fabric.attach(&with_udp(1, 1, 9000), &a.path()).await.unwrap();
        assert!(receives(&a, 9000), "the first node");
        fabric.attach(&with_udp(1, 1, 9001), &a.path()).await.unwrap();
        assert!(receives(&a, 9001), "its other port");
        fabric.detach(attachment(1, 1).sliver).await.unwrap();
        let flows = || world.host.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
        if let Ok(flows) = flows() {
            assert!(!flows.contains("10.77.0.1"), "{flows}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Another slice's node now.
        fabric.attach(&with_udp(2, 2, 9000), &b.path()).await.unwrap();
        assert!(receives(&b, 9000), "the second node");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_goes_and_comes_elsewhere_at_once_takes_no_flow_along() {
    let world = World::new();
    let fabric = world.fabric("flows");
    let (a, b) = (node(), node());
    while_sending(&world, async {
        fabric.attach(&with_udp(1, 1, 9000), &a.path()).await.unwrap();
        assert!(receives(&a, 9000));
        // The next node has the first one's address, and no forwarded port.
        fabric.detach(attachment(1, 1).sliver).await.unwrap();
        let next = Attachment { sliver: attachment(2, 7).sliver, ..attachment(2, 1) };
        fabric.attach(&next, &b.path()).await.unwrap();
        let socket = b.run(|| UdpSocket::bind("[::]:9000")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(socket.recv_from(&mut [0; 64]).is_err(), "it gets what was meant for another slice");
    })
    .await;
}

/// UDP packets to the ports of a spray that have come through, and to the one of a stream.
fn seen(world: &World) -> (u64, u64) {
    let rules = world.outside.command("nft list table inet seen");
    let count = |name: &str| {
        let line = rules.lines().find(|l| l.contains(name)).unwrap();
        line.split_whitespace().skip_while(|w| *w != "packets").nth(1).unwrap().parse().unwrap()
    };
    (count("spray"), count("stream"))
}

#[tokio::test]
async fn one_node_cannot_fill_the_table_of_flows() {
    const SPRAY: u16 = 12_000;
    const STREAM: u64 = 4000;
    let world = World::new();
    world
        .outside
        .try_command(
            "nft -f -",
            "table inet seen { chain input { type filter hook input priority 0;
             udp dport 20000-31999 counter drop comment \"spray\"
             udp dport 7000 counter drop comment \"stream\"
             }
             }",
        )
        .unwrap();
    let fabric = world.fabric("flows");
    let (greedy, modest) = (node(), node());
    fabric.attach(&attachment(1, 1), &greedy.path()).await.unwrap();
    fabric.attach(&attachment(1, 2), &modest.path()).await.unwrap();
    let _web = world.outside.serve("[::]:80", "outside");
    let send = |node: &Netns, ports: &mut dyn Iterator<Item = u16>| {
        let socket = node.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        for port in ports {
            socket.send_to(b"x", (OUTSIDE4, port)).unwrap();
        }
    };

    let start = Instant::now();
    send(&greedy, &mut (20_000..20_000 + SPRAY));
    let most = 2000 + 500 * (start.elapsed().as_secs() + 2);
    assert!(most < u64::from(SPRAY), "the machine is too slow for this test");
    let (spray, _) = seen(&world);
    assert!((1900..most).contains(&spray), "{spray} of {SPRAY} new flows came through");
    let rules = world.host.command("nft list chain inet testyard_flows from_node");
    let count = rules.lines().find(|l| l.contains("too many new flows")).unwrap();
    assert!(!count.contains("packets 0"), "{count}");

    // The neighbour is not hindered, nor is a stream that nobody answers: it is one flow.
    assert_eq!(modest.who(format!("{OUTSIDE4}:80")), "outside");
    send(&modest, &mut std::iter::repeat_n(7000, usize::try_from(STREAM).unwrap()));
    let (_, stream) = seen(&world);
    assert!(stream > STREAM * 9 / 10, "{stream} of {STREAM} packets of one flow came through");
    assert_eq!(fabric.repair().await.unwrap(), [], "what was counted is no damage");
}

#[tokio::test]
async fn the_hosts_own_namespace_is_no_node() {
    let world = World::new();
    let fabric = world.fabric("flows");
    fabric.prepare().await.unwrap();
    let before = (world.traces(), world.host.command("ip -o address"));
    let refused = fabric.attach(&attachment(1, 1), &world.host.path()).await;
    assert!(matches!(refused, Err(FabricError::Gone { .. })), "{refused:?}");
    assert_eq!((world.traces(), world.host.command("ip -o address")), before);
    assert_eq!(fabric.attached().await.unwrap(), []);
}
