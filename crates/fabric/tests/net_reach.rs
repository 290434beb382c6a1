//! Who reaches whom, with real packets.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use support::{HOST4, HOST6, Netns, OUTSIDE4, OUTSIDE6, World, attachment, node, tcp};
use testyard_fabric::{Fabric as _, FabricError, Forward};

/// Three nodes with something on port 22: a1 and a2 of one slice, b1 of another.
struct Slices {
    world: World,
    fabric: testyard_fabric::LinuxFabric,
    nodes: [Netns; 3],
    _servers: Vec<testyard_testkit::netns::Server>,
}

async fn slices() -> Slices {
    let world = World::new();
    let fabric = world.fabric("reach");
    fabric.prepare().await.unwrap();
    let nodes = [node(), node(), node()];
    for (node, (slice, number)) in nodes.iter().zip([(1, 1), (1, 2), (2, 3)]) {
        fabric.attach(&attachment(slice, number), &node.path()).await.unwrap();
    }
    let servers = vec![
        nodes[0].serve("[::]:22", "a1"),
        nodes[1].serve("[::]:22", "a2"),
        nodes[2].serve("[::]:22", "b1"),
        nodes[2].serve("[::]:80", "b1-web"),
        world.outside.serve("[::]:80", "outside"),
        world.host.serve("[::]:80", "host"),
        world.host.serve("127.0.0.1:81", "host-local"),
    ];
    Slices { world, fabric, nodes, _servers: servers }
}

#[tokio::test]
async fn nodes_reach_out_and_are_reached_by_their_forwarded_ports() {
    let s = slices().await;
    let [a1, ..] = &s.nodes;
    assert_eq!(
        a1.ask(format!("{OUTSIDE4}:80")).as_deref(),
        Some("outside ::ffff:198.51.100.2"),
        "behind the host's address"
    );
    assert_eq!(a1.ask(format!("[{OUTSIDE6}]:80")).as_deref(), Some("outside 2001:db8:a::1"), "with its own");
    assert!(a1.pings(OUTSIDE4) && a1.pings(OUTSIDE6));
    assert!(a1.pings("169.254.1.1"), "its router answers");
    for (from, to) in [
        (&s.world.outside, "198.51.100.2:30001"),
        (&s.world.outside, "[2001:db8:f::2]:30001"),
        (&s.world.outside, "[2001:db8:a::1]:22"),
        (&s.world.host, "198.51.100.2:30001"),
        (&s.world.host, "127.0.0.1:30001"),
        (&s.world.host, "10.77.0.1:22"),
        (&s.world.host, "[2001:db8:f::2]:30001"),
        (&s.world.host, "[2001:db8:a::1]:22"),
    ] {
        assert_eq!(from.who(to), "a1", "{to}");
    }
    assert_eq!(s.world.outside.who("[2001:db8:a::3]:80"), "-", "not forwarded, so not open over IPv6 either");
    assert!(s.world.outside.pings("2001:db8:a::3"));
    let mtu = a1.command("ip -o link show eth0");
    assert!(mtu.contains("mtu 1400"), "the uplink's: {mtu}");
    drop(s.fabric);
}

#[tokio::test]
async fn slices_are_apart() {
    let s = slices().await;
    let [a1, a2, b1] = &s.nodes;
    for to in [
        "10.77.0.2:22",
        "[2001:db8:a::2]:22",
        "198.51.100.2:30002",
        "[2001:db8:f::2]:30002",
        "169.254.1.1:30002",
    ] {
        assert_eq!(a1.who(to), "a2", "same slice, {to}");
    }
    assert_eq!(a1.who(format!("{HOST4}:30001")), "a1", "itself, by the host's port");
    assert_eq!(a1.who(format!("[{HOST6}]:30001")), "a1");
    for (from, to) in [
        (a1, "10.77.0.3:22"),
        (a1, "10.77.0.3:80"),
        (a1, "[2001:db8:a::3]:22"),
        (a1, "198.51.100.2:30003"),
        (a1, "[2001:db8:f::2]:30003"),
        (a1, "169.254.1.1:30003"),
        (b1, "10.77.0.1:22"),
        (b1, "198.51.100.2:30001"),
        (a2, "127.0.0.1:30003"),
    ] {
        assert_eq!(from.who(to), "-", "{to}");
    }
    assert!(!a1.pings("10.77.0.3") && !a1.pings("2001:db8:a::3"));
    assert!(a1.pings("10.77.0.2") && a1.pings("2001:db8:a::2"));
}

#[tokio::test]
async fn the_host_and_denied_networks_are_closed() {
    let s = slices().await;
    let [a1, ..] = &s.nodes;
    for to in ["198.51.100.2:80", "169.254.1.1:80", "[2001:db8:f::2]:80", "[fe80::1%2]:80"] {
        let to = to.replace("%2", "");
        assert_eq!(a1.who(&to), "-", "{to}");
    }
    assert!(a1.pings(HOST4), "a host may be pinged");
    s.world.outside.command("ip route add 10.77.0.0/16 via 198.51.100.2");
    assert_eq!(s.world.outside.who("10.77.0.1:22"), "-", "only forwarded ports lead in");
    assert_eq!(s.world.host.who("203.0.113.9:80"), "outside");
    assert_eq!(a1.who("203.0.113.9:80"), "-", "denied");
    assert_eq!(a1.who("10.77.200.200:80"), "-", "unused addresses do not leave the host");
    // A bridge of an engine is a private network of the host.
    let other = Netns::new();
    s.world
        .host
        .command(&format!("ip link add private type veth peer name eth0 netns {}", other.path().display()));
    s.world.host.commands(&["ip address add 172.17.0.1/24 dev private", "ip link set private up"]);
    other.commands(&[
        "ip address add 172.17.0.2/24 dev eth0",
        "ip link set eth0 up",
        "ip route add default via 172.17.0.1",
    ]);
    let _web = other.serve("0.0.0.0:80", "private");
    assert_eq!(s.world.host.who("172.17.0.2:80"), "private");
    assert_eq!(a1.who("172.17.0.2:80"), "-");
    assert_eq!(other.who(format!("{HOST4}:30001")), "a1", "but it may use forwarded ports");
}

#[tokio::test]
async fn the_hosts_loopback_is_out_of_reach() {
    let s = slices().await;
    let [a1, ..] = &s.nodes;
    assert_eq!(s.world.host.who("127.0.0.1:81"), "host-local");
    // What a hostile root does to send to the host's 127.0.0.1: give the address away and route it out.
    a1.run(|| {
        for link in ["all", "eth0"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"), "1").unwrap();
        }
    });
    a1.commands(&[
        "ip address del 127.0.0.1/8 dev lo",
        "ip route add 127.0.0.1/32 via 169.254.1.1 dev eth0 onlink",
    ]);
    a1.commands(&[
        "ip rule add pref 1 lookup main",
        "ip rule del lookup local",
        "ip rule add pref 2 lookup local",
    ]);
    assert_eq!(a1.who("127.0.0.1:81"), "-");
}

#[tokio::test]
async fn forged_sources_are_dropped() {
    let s = slices().await;
    let [a1, a2, b1] = &s.nodes;
    a1.commands(&[
        "ip address add 10.77.0.99/32 dev eth0",
        "ip address add 2001:db8:a::99/128 dev eth0 nodad",
    ]);
    // Somebody else's address too: the victim must not get answers either.
    b1.commands(&["ip address add 10.77.0.2/32 dev eth0", "ip address add 2001:db8:a::2/128 dev eth0 nodad"]);
    a1.commands(&["ip route change default via 169.254.1.1 dev eth0 onlink src 10.77.0.99"]);
    a1.commands(&["ip -6 route change default via fe80::1 dev eth0 src 2001:db8:a::99"]);
    assert_eq!(a1.who("10.77.0.2:22"), "-");
    assert_eq!(a1.who(format!("{OUTSIDE4}:80")), "-");
    assert_eq!(a1.who(format!("[{OUTSIDE6}]:80")), "-");
    let dropped = s.world.host.command("nft list chain inet testyard_reach source");
    let count = dropped.lines().find(|l| l.contains("forged sources")).unwrap();
    assert!(!count.contains("packets 0"), "{count}");
    assert_eq!(a2.who(format!("{OUTSIDE4}:80")), "outside", "the honest one is not harmed");
    a1.commands(&["ip route change default via 169.254.1.1 dev eth0 onlink src 10.77.0.1"]);
    assert_eq!(a1.who(format!("{OUTSIDE4}:80")), "outside", "and neither is the node once it is honest");
}

#[tokio::test]
async fn a_node_that_forgets_its_neighbours_asks_again() {
    let s = slices().await;
    let [a1, ..] = &s.nodes;
    a1.commands(&[
        "ip neighbour flush dev eth0 nud permanent",
        "ip -6 neighbour flush dev eth0 nud permanent",
    ]);
    assert_eq!(a1.who(format!("{OUTSIDE4}:80")), "outside");
    assert_eq!(a1.who(format!("[{OUTSIDE6}]:80")), "outside");
}

#[tokio::test]
async fn ports_of_services_and_of_other_nodes_are_refused() {
    let s = slices().await;
    let _service = s.world.host.serve("127.0.0.1:30007", "service");
    let new = node();
    let refused = s.fabric.attach(&attachment(1, 7), &new.path()).await;
    assert!(matches!(refused, Err(FabricError::PortTaken { port: 30_007 })), "{refused:?}");
    let mut clash = attachment(2, 8);
    clash.forwards = vec![Forward { host_port: 30_001, port: tcp(22) }];
    let refused = s.fabric.attach(&clash, &new.path()).await;
    assert!(matches!(refused, Err(FabricError::PortTaken { port: 30_001 })), "{refused:?}");
    assert_eq!(s.fabric.attached().await.unwrap().len(), 3);
    assert!(
        s.world.host.run(|| std::net::TcpListener::bind("0.0.0.0:30001")).is_err(),
        "a node's port is held"
    );
}
