//! Promise S3: a ring of 1,000 nodes with 1,000 links, up in 3 s and gone in 2 s on two cores.
//!
//! `cargo bench -p testyard-fabric --bench many` as root, with `-- alone` without the peer (for traces). Up: the namespaces are made, the slice is joined, every node has its
//! two interfaces with addresses and answers its neighbour. Gone: no interface is left in any node when `part` returns. Beside
//! it, in the same run: `ip -batch` making as many veths between as many namespaces, without addresses or anything that joins
//! them, and removing them one by one.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run may panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use support::{Netns, World};
use testyard_fabric::Links as _;
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use uuid::Uuid;

const NODES: u32 = 1000;
const ROUNDS: usize = 3;
/// As many as a host's agent converges at a time.
const AT_A_TIME: usize = 8;

fn main() {
    let is_alone = std::env::args().any(|argument| argument == "alone");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut ours = [Duration::MAX; 2];
    let mut theirs = [Duration::MAX; 2];
    for round in 1..=ROUNDS {
        let took = runtime.block_on(ring());
        print!("round {round}: up {:.2?}, gone {:.2?}", took[0], took[1]);
        ours = keep(ours, took);
        if !is_alone {
            let took = raw();
            print!("; ip -batch: up {:.2?}, gone {:.2?}", took[0], took[1]);
            theirs = keep(theirs, took);
        }
        println!();
    }
    println!("S3  {NODES} nodes in a ring, best of {ROUNDS}: up {:.2?}, gone {:.2?}", ours[0], ours[1]);
    if !is_alone {
        println!("    bare veths by ip -batch:       up {:.2?}, gone {:.2?}", theirs[0], theirs[1]);
    }
}

/// The better of each.
fn keep(best: [Duration; 2], took: [Duration; 2]) -> [Duration; 2] {
    [best[0].min(took[0]), best[1].min(took[1])]
}

async fn ring() -> [Duration; 2] {
    let world = World::new();
    let fabric = world.fabric("many");
    let began = Instant::now();
    let slice = SliceId::from_uuid(Uuid::from_u128(3));
    let links = (0..NODES).map(link).collect();
    fabric.join(&SliceLinks { slice, revision: Revision(1), links }).await.expect("the slice is joined");
    let fabric = &fabric;
    let plugged = stream::iter(0..NODES).map(|number| async move {
        let netns = tokio::task::spawn_blocking(Netns::new).await.expect("a namespace");
        fabric.plug(slice, &ports(number), &netns.path()).await.expect("a node is plugged");
        netns
    });
    let nodes: Vec<Netns> = plugged.buffered(AT_A_TIME).collect().await;
    let up = began.elapsed();
    for number in [0, 1, NODES / 2, NODES - 1] {
        let neighbour = address((number + 1) % NODES, Side::Left);
        assert!(nodes[number as usize].pings(&neighbour), "node {number} does not reach {neighbour}");
    }
    let began = Instant::now();
    fabric.part(slice).await.expect("the slice parts");
    let gone = began.elapsed();
    for number in [0, NODES / 2, NODES - 1] {
        let left = nodes[number as usize].command("ip -o link show type veth");
        assert_eq!(left, "", "node {number} has interfaces left");
    }
    [up, gone]
}

/// As many veths, each between two namespaces, by the tool that everybody has.
fn raw() -> [Duration; 2] {
    let host = Netns::new();
    let began = Instant::now();
    let nodes: Vec<Netns> = (0..NODES).map(|_| Netns::new()).collect();
    let mut batch = String::new();
    for number in 0..NODES {
        let (here, there) = (&nodes[number as usize], &nodes[((number + 1) % NODES) as usize]);
        let (here, there) = (here.path(), there.path());
        let (here, there) = (here.display(), there.display());
        let _ = writeln!(batch, "link add right netns {here} type veth peer name left netns {there}\n");
    }
    host.try_command("ip -batch -", &batch).expect("ip makes veths");
    let up = began.elapsed();
    let began = Instant::now();
    for node in &nodes {
        node.command("ip link del right");
    }
    [up, began.elapsed()]
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

fn sliver(number: u32) -> SliverId {
    SliverId::from_uuid(Uuid::from_u128(1 << 100 | u128::from(number)))
}

/// Link N is between the right of node N and the left of the next.
fn link(number: u32) -> HostLink {
    let end = |node: u32, device: &str| LinkEnd {
        port: PortId { node: sliver(node), device: device.to_owned() },
        to_link: Impairment::default(),
        from_link: Impairment::default(),
    };
    HostLink {
        sliver: sliver(NODES + number),
        name: format!("link{number}"),
        kind: LinkKind::PointToPoint,
        up: true,
        mtu: 1500,
        seed: 1,
        is_seed_chosen: false,
        capture: None,
        ends: vec![end(number, "eth2"), end((number + 1) % NODES, "eth1")],
        beyond: None,
    }
}

fn address(node: u32, side: Side) -> String {
    let (link, last) = match side {
        Side::Left => ((node + NODES - 1) % NODES, 3),
        Side::Right => (node, 2),
    };
    format!("10.{}.{}.{last}", 1 + link / 250, 1 + link % 250)
}

fn ports(number: u32) -> NodePorts {
    let port = |(index, side): (u8, Side)| NodePort {
        device: format!("eth{index}"),
        mac: format!("02:00:00:{:02x}:{:02x}:{index:02x}", number >> 8, number & 0xff)
            .parse()
            .expect("an Ethernet address"),
        mtu: 1500,
        addresses: vec![format!("{}/24", address(number, side)).parse().expect("an address")],
    };
    NodePorts {
        node: sliver(number),
        ports: [(1, Side::Left), (2, Side::Right)].map(port).into(),
        routes: Vec::new(),
        forwarding: true,
    }
}
