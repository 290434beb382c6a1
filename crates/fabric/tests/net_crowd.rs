//! Many nodes of one slice at the same time, while its links change and nodes end.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use futures_util::future::{join, join_all};
use support::links::{cable, link, plug, ports, slice, two, wanted};
use support::{Netns, World, node};
use testyard_fabric::links::{HostLink, NodePorts};
use testyard_fabric::{Links as _, LinuxFabric};
use testyard_model::link::LinkKind;

const NODES: u8 = 6;

/// Link N is between eth2 of node N and eth1 of the next.
fn ring() -> Vec<HostLink> {
    (0..NODES)
        .map(|n| link(n, LinkKind::PointToPoint, &[(n, "eth2"), ((n + 1) % NODES, "eth1")], &[]))
        .collect()
}

fn both(number: u8) -> NodePorts {
    let left = format!("10.1.{}.3/24", (number + NODES - 1) % NODES);
    let right = format!("10.1.{number}.2/24");
    ports(number, &[("eth1", &left), ("eth2", &right)])
}

async fn plug_all(fabric: &LinuxFabric, nodes: &[Netns]) {
    let plugs = (0..NODES).zip(nodes).map(|(number, node)| async move {
        fabric.plug(slice(), &both(number), &node.path()).await.unwrap();
    });
    join_all(plugs).await;
}

#[tokio::test]
async fn a_link_that_goes_while_its_nodes_come_leaves_no_interface() {
    let world = World::new();
    let fabric = world.fabric("crowd");
    for round in 0..12_u64 {
        fabric.join(&wanted(2 * round + 1, ring())).await.unwrap();
        let nodes: Vec<Netns> = (0..NODES).map(|_| node()).collect();
        let mut less = ring();
        let gone = usize::try_from(round).unwrap() % less.len();
        less.remove(gone);
        let (_, joined) = join(plug_all(&fabric, &nodes), fabric.join(&wanted(2 * round + 2, less))).await;
        joined.unwrap();
        let next = (gone + 1) % nodes.len();
        for (node, device) in [(&nodes[gone], "eth2"), (&nodes[next], "eth1")] {
            let left = node.try_command(&format!("ip -o link show {device}"), "");
            assert!(
                left.is_err(),
                "round {round}: the node keeps an interface of a link that is gone: {left:?}"
            );
        }
        let other = (gone + 2) % nodes.len();
        assert!(nodes[other].pings(&format!("10.1.{other}.3")), "round {round}: the others are joined");
    }
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn nodes_that_restart_together_find_each_other_again() {
    let world = World::new();
    let fabric = world.fabric("crowd");
    fabric.join(&wanted(1, ring())).await.unwrap();
    let restarts = (0..NODES).map(|number| {
        let fabric = &fabric;
        async move {
            let mut last = node();
            for _ in 0..8 {
                fabric.plug(slice(), &both(number), &last.path()).await.unwrap();
                // The kernel takes the old halves away in its own time, also while others are joined to them.
                last = node();
            }
            fabric.plug(slice(), &both(number), &last.path()).await.unwrap();
            last
        }
    });
    let nodes = join_all(restarts).await;
    for (number, node) in nodes.iter().enumerate() {
        assert!(node.pings(&format!("10.1.{number}.3")), "node {number}");
    }
    fabric.part(slice()).await.unwrap();
}

/// An agent of an older version has joined the halves by another discipline of the same place.
#[tokio::test]
async fn what_an_older_version_joined_is_taken_over() {
    let world = World::new();
    let fabric = world.fabric("crowd");
    fabric.join(&wanted(1, vec![cable(&[])])).await.unwrap();
    let [a, b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3"));
    let space = Netns::open(&world.run_folder().join("links/crowd").join(slice().to_string()).join("netns"));
    let halves = space.command("ip -o link show type veth");
    let halves: Vec<&str> = halves.lines().filter_map(|line| line.split([' ', '@']).nth(1)).collect();
    assert_eq!(halves.len(), 2, "{halves:?}");
    for half in &halves {
        space.command(&format!("tc qdisc del dev {half} ingress"));
        space.command(&format!("tc qdisc add dev {half} clsact"));
    }
    assert!(!a.pings("10.1.1.3"), "nothing joins them");
    drop(fabric);
    let fabric = world.fabric("crowd");
    fabric.join(&wanted(2, vec![cable(&[])])).await.unwrap();
    assert!(a.pings("10.1.1.3") && b.pings("10.1.1.2"));
    // And loosened: what a wire forwards passes once.
    for half in &halves {
        space.command(&format!("tc qdisc del dev {half} ingress"));
        space.command(&format!("tc qdisc add dev {half} clsact"));
    }
    let fabric = world.fabric("crowd");
    fabric.join(&wanted(3, vec![cable(&["delay=1ms"])])).await.unwrap();
    let left = space.command("tc qdisc show");
    assert!(!left.contains("clsact") && !left.contains("ingress"), "{left}");
    assert!(a.pings("10.1.1.3"));
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn a_node_forwards_only_as_it_is_told() {
    let world = World::new();
    let fabric = world.fabric("crowd");
    fabric.join(&wanted(1, vec![cable(&[])])).await.unwrap();
    let a = node();
    // Kernels give new namespaces what the host has.
    a.command("sysctl -qw net.ipv4.ip_forward=1");
    plug(&fabric, 1, "10.1.1.2/24", &a).await;
    let forwards = || {
        let one = |path: &str| a.run(|| std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap());
        (one("ipv4/ip_forward").trim() == "1", one("ipv6/conf/all/forwarding").trim() == "1")
    };
    assert_eq!(forwards(), (false, false));
    // What the node's user does stays.
    a.command("sysctl -qw net.ipv4.ip_forward=1");
    plug(&fabric, 1, "10.1.1.2/24", &a).await;
    assert_eq!(forwards(), (true, false));
    let mut told = ports(1, &[("eth1", "10.1.1.2/24")]);
    told.forwarding = true;
    fabric.plug(slice(), &told, &a.path()).await.unwrap();
    assert_eq!(forwards(), (true, true));
    told.forwarding = false;
    fabric.plug(slice(), &told, &a.path()).await.unwrap();
    assert_eq!(forwards(), (false, false));
    fabric.part(slice()).await.unwrap();
}
