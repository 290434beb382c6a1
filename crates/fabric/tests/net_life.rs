//! Nodes, agents, firewalls and engines come and go.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use support::{HOST4, Netns, OUTSIDE4, World, attachment, node, tcp};
use testyard_fabric::{Fabric as _, FabricError, Forward, Repair};

#[tokio::test]
async fn attaching_again_changes_nothing_and_detaching_leaves_nothing() {
    let world = World::new();
    let fabric = world.fabric("life");
    fabric.prepare().await.unwrap();
    let before = (world.traces(), world.elements("life"));
    let nodes = [node(), node()];
    for (number, node) in (1..).zip(&nodes) {
        fabric.attach(&attachment(1, number), &node.path()).await.unwrap();
    }
    let state = |node: &Netns| {
        let links = node.command("ip -o link") + &world.host.command("ip -o link");
        links
            + &node.command("ip address")
            + &node.command("ip route")
            + &node.command("ip -6 route")
            + &world.traces()
    };
    let (first, elements) = (state(&nodes[0]), world.elements("life"));
    fabric.attach(&attachment(1, 1), &nodes[0].path()).await.unwrap();
    assert_eq!((state(&nodes[0]), world.elements("life")), (first, elements));

    let attached = fabric.attached().await.unwrap();
    assert_eq!(
        attached.iter().map(|a| (a.sliver, a.alive)).collect::<Vec<_>>(),
        [1, 2].map(|n| (attachment(1, n).sliver, true))
    );
    for number in [1, 2, 2, 3] {
        fabric.detach(attachment(1, number).sliver).await.unwrap();
    }
    assert_eq!((world.traces(), world.elements("life")), before);
    assert_eq!(fabric.attached().await.unwrap(), []);
    assert!(nodes[0].try_command("ip link show eth0", "").is_err());
    assert!(
        world.host.run(|| std::net::TcpListener::bind("0.0.0.0:30001")).is_ok(),
        "the port is free again"
    );

    fabric.reset().await.unwrap();
    assert_eq!(world.host.command("nft list ruleset"), "");
}

#[tokio::test]
async fn a_restarted_node_gets_a_new_interface_and_its_peers_notice_nothing() {
    let world = World::new();
    let fabric = world.fabric("life");
    let (old, peer) = (node(), node());
    fabric.attach(&attachment(1, 1), &old.path()).await.unwrap();
    fabric.attach(&attachment(1, 2), &peer.path()).await.unwrap();
    let peers_link = peer.command("ip -o link show eth0");
    drop(old);
    let mut late = 0;
    for round in 0..20 {
        // The old half may be dying, or still be there: all of it must work.
        let new = node();
        fabric.attach(&attachment(1, 1), &new.path()).await.unwrap();
        let _ssh = new.serve("0.0.0.0:22", "new");
        let start = std::time::Instant::now();
        assert_eq!(peer.who("10.77.0.1:22"), "new", "round {round}");
        // A lost first packet is sent again after a second.
        late += u32::from(start.elapsed() > Duration::from_millis(900));
        assert_eq!(world.outside.who(format!("{HOST4}:30001")), "new", "round {round}");
    }
    assert!(late <= 1, "the first packet was lost {late} times of 20");
    assert_eq!(peer.command("ip -o link show eth0"), peers_link);
}

#[tokio::test]
async fn a_node_that_has_ended_is_gone() {
    let world = World::new();
    let fabric = world.fabric("life");
    let mut process = std::process::Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", process.id()).into();
    let path: &std::path::PathBuf = &path;
    process.kill().unwrap();
    // Until it is waited for it is a zombie, which is what the agent may meet.
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while std::fs::File::open(path).is_ok() {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let zombie = fabric.attach(&attachment(1, 1), path).await;
    process.wait().unwrap();
    let none = fabric.attach(&attachment(1, 1), path).await;
    assert!(matches!(zombie, Err(FabricError::Gone { .. })), "{zombie:?}");
    assert!(matches!(none, Err(FabricError::Gone { .. })), "{none:?}");
}

#[tokio::test]
async fn changed_forwards_and_slices_replace_the_old_ones() {
    let world = World::new();
    let fabric = world.fabric("life");
    let node = node();
    let mut attachment = attachment(1, 1);
    fabric.attach(&attachment, &node.path()).await.unwrap();
    let _ssh = node.serve("0.0.0.0:22", "ssh");
    attachment.forwards = vec![Forward { host_port: 31_000, port: tcp(22) }];
    fabric.attach(&attachment, &node.path()).await.unwrap();
    assert_eq!(
        (
            world.outside.who(format!("{HOST4}:31000")).as_str(),
            world.outside.who(format!("{HOST4}:30001")).as_str()
        ),
        ("ssh", "-")
    );
    assert!(
        world.host.run(|| std::net::TcpListener::bind("0.0.0.0:30001")).is_ok(),
        "the old port is free again"
    );
}

#[tokio::test]
async fn a_restarted_agent_finds_what_is_there() {
    let world = World::new();
    let nodes = [node(), node()];
    let first = world.fabric("life");
    first.attach(&attachment(1, 1), &nodes[0].path()).await.unwrap();
    first.attach(&attachment(1, 2), &nodes[1].path()).await.unwrap();
    let _ssh = nodes[0].serve("0.0.0.0:22", "one");
    drop(first);
    let second = world.fabric("life");
    let by = |list: Vec<testyard_fabric::Attached>| {
        list.into_iter().map(|a| (a.sliver, a.alive)).collect::<Vec<_>>()
    };
    let (one, two) = (attachment(1, 1).sliver, attachment(1, 2).sliver);
    assert_eq!(by(second.attached().await.unwrap()), [(one, true), (two, true)]);
    second.prepare().await.unwrap();
    assert_eq!(world.outside.who(format!("{HOST4}:30001")), "one", "nothing was interrupted");
    // A node whose namespace went while no agent looked: its rules are still there, and say so.
    let [kept, gone] = nodes;
    drop(gone);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while by(second.attached().await.unwrap()) != [(one, true), (two, false)] {
        assert!(std::time::Instant::now() < deadline, "{:?}", second.attached().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    second.detach(two).await.unwrap();
    assert_eq!(by(second.attached().await.unwrap()), [(one, true)]);
    second.attach(&attachment(1, 1), &kept.path()).await.unwrap();
    second.detach(one).await.unwrap();
    assert_eq!(world.elements("life"), "");
    assert_eq!(world.traces(), "");
}

#[tokio::test]
async fn flushed_rules_are_noticed_and_made_again() {
    let world = World::new();
    let fabric = world.fabric("life");
    fabric.prepare().await.unwrap();
    let nodes = [node(), node()];
    fabric.attach(&attachment(1, 1), &nodes[0].path()).await.unwrap();
    fabric.attach(&attachment(2, 2), &nodes[1].path()).await.unwrap();
    let (_web, _ssh) = (world.outside.serve("0.0.0.0:80", "outside"), nodes[0].serve("0.0.0.0:22", "one"));
    assert_eq!(fabric.repair().await.unwrap(), [], "nothing to mend");
    let mut disturbances = fabric.disturbances();
    for (harm, expected) in [
        ("nft flush ruleset", vec![Repair::Rules]),
        ("nft flush chain inet testyard_life from_node", vec![Repair::Rules]),
        ("nft insert rule inet testyard_life forward accept", vec![Repair::Rules]),
        ("nft flush set inet testyard_life source4", vec![Repair::Rules]),
    ] {
        world.host.command(harm);
        tokio::time::timeout(Duration::from_secs(5), disturbances.next()).await.expect("announced");
        assert_eq!(fabric.repair().await.unwrap(), expected, "{harm}");
        assert_eq!(nodes[0].who(format!("{OUTSIDE4}:80")), "outside", "{harm}");
        assert_eq!(world.outside.who(format!("{HOST4}:30001")), "one", "{harm}");
        assert_eq!(nodes[1].who("10.77.0.1:22"), "-", "{harm}");
        assert_eq!(fabric.repair().await.unwrap(), [], "{harm}");
    }
    // Our own work is no disturbance.
    while tokio::time::timeout(Duration::from_millis(200), disturbances.next()).await.is_ok() {}
    fabric.attach(&attachment(1, 3), &node().path()).await.unwrap();
    fabric.detach(attachment(1, 3).sliver).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), disturbances.next()).await.is_err());
}

#[tokio::test]
async fn settings_and_routes_are_mended() {
    let world = World::new();
    let fabric = world.fabric("life");
    fabric.prepare().await.unwrap();
    let node = node();
    fabric.attach(&attachment(1, 1), &node.path()).await.unwrap();
    let _web = world.outside.serve("[::]:80", "outside");
    world.host.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap());
    world.host.commands(&["ip route del 10.77.0.1", "ip -6 route del 2001:db8:a::1"]);
    let repairs = fabric.repair().await.unwrap();
    assert_eq!(repairs.len(), 2, "{repairs:?}");
    assert_eq!(repairs[0], Repair::Setting("net/ipv4/ip_forward".into()));
    assert_eq!(node.who(format!("{OUTSIDE4}:80")), "outside");
    assert_eq!(node.who(format!("[{}]:80", support::OUTSIDE6)), "outside");
    assert_eq!(fabric.repair().await.unwrap(), []);
}

/// What Docker's engine does when it starts.
fn docker(host: &Netns) {
    for program in ["iptables", "ip6tables"] {
        for rule in
            ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-I FORWARD 1 -j DOCKER-USER"]
        {
            host.command(&format!("{program} -w {rule}"));
        }
    }
}

#[tokio::test]
async fn dockers_forward_drop_is_passed_by_one_jump() {
    let world = World::new();
    docker(&world.host);
    let fabric = world.fabric("life");
    fabric.prepare().await.unwrap();
    let nodes = [node(), node()];
    fabric.attach(&attachment(1, 1), &nodes[0].path()).await.unwrap();
    fabric.attach(&attachment(1, 2), &nodes[1].path()).await.unwrap();
    let _servers = [world.outside.serve("[::]:80", "outside"), nodes[0].serve("[::]:22", "one")];
    let check = |when: &str| {
        assert_eq!(nodes[0].who(format!("{OUTSIDE4}:80")), "outside", "{when}");
        assert_eq!(nodes[0].who(format!("[{}]:80", support::OUTSIDE6)), "outside", "{when}");
        assert_eq!(world.outside.who(format!("{HOST4}:30001")), "one", "{when}");
        assert_eq!(nodes[1].who("10.77.0.1:22"), "one", "{when}");
    };
    check("at first");
    assert!(world.host.command("iptables -w -S").contains("-P FORWARD DROP"), "others' policy is theirs");
    let mut disturbances = fabric.disturbances();
    for harm in [
        "iptables -w -F DOCKER-USER",
        "iptables -w -I DOCKER-USER 1 -j RETURN",
        "iptables -w -F TESTYARD-life",
        "ip6tables -w -F DOCKER-USER",
    ] {
        world.host.command(harm);
        tokio::time::timeout(Duration::from_secs(5), disturbances.next()).await.expect("announced");
        assert_eq!(fabric.repair().await.unwrap(), [Repair::Jump], "{harm}");
        check(harm);
        assert_eq!(fabric.repair().await.unwrap(), [], "{harm}");
        world.host.commands(&["iptables -w -F DOCKER-USER", "iptables -w -A DOCKER-USER -j RETURN"]);
        fabric.repair().await.unwrap();
        while tokio::time::timeout(Duration::from_millis(100), disturbances.next()).await.is_ok() {}
    }
    assert_eq!(fabric.repair().await.unwrap(), []);
    let quiet = tokio::time::timeout(Duration::from_millis(200), disturbances.next()).await;
    assert!(quiet.is_err(), "looking is no disturbance, or repairs would never end");
    fabric.reset().await.unwrap();
    assert!(!world.host.command("iptables-save").to_lowercase().contains("testyard"));
    assert!(!world.host.command("ip6tables-save").to_lowercase().contains("testyard"));
}

#[tokio::test]
async fn another_firewalls_forward_drop_is_passed_too_and_docker_may_come_later() {
    let world = World::new();
    world.host.command("iptables -w -P FORWARD DROP");
    let fabric = world.fabric("life");
    let node = node();
    fabric.attach(&attachment(1, 1), &node.path()).await.unwrap();
    let _web = world.outside.serve("0.0.0.0:80", "outside");
    assert_eq!(node.who(format!("{OUTSIDE4}:80")), "outside");
    docker(&world.host);
    fabric.repair().await.unwrap();
    assert_eq!(node.who(format!("{OUTSIDE4}:80")), "outside");
    let rules = world.host.command("iptables -w -S");
    assert_eq!(rules.matches("-j TESTYARD-life").count(), 1, "{rules}");
    assert!(
        rules.contains("-A DOCKER-USER -m comment --comment \"testyard:life\" -j TESTYARD-life"),
        "{rules}"
    );
}

#[tokio::test]
async fn two_testbeds_share_a_host() {
    let world = World::new();
    docker(&world.host);
    let (a, b) = (world.fabric("a"), world.fabric("b"));
    a.prepare().await.unwrap();
    b.prepare().await.unwrap();
    let nodes = [node(), node()];
    a.attach(&attachment(1, 1), &nodes[0].path()).await.unwrap();
    // The same slice number, and another network would be usual, but is not needed.
    b.attach(&attachment(1, 2), &nodes[1].path()).await.unwrap();
    let _servers = [
        world.outside.serve("[::]:80", "outside"),
        nodes[0].serve("[::]:22", "a"),
        nodes[1].serve("[::]:22", "b"),
    ];
    assert_eq!(
        (a.repair().await.unwrap(), b.repair().await.unwrap()),
        (vec![], vec![]),
        "they do not quarrel"
    );
    for node in &nodes {
        assert_eq!(node.who(format!("{OUTSIDE4}:80")), "outside");
    }
    assert_eq!(world.outside.who(format!("{HOST4}:30001")), "a");
    assert_eq!(world.outside.who(format!("{HOST4}:30002")), "b");
    for to in ["10.77.0.2:22", "198.51.100.2:30002", "[2001:db8:a::2]:22"] {
        assert_eq!(nodes[0].who(to), "-", "{to}");
    }
    assert_eq!(a.attached().await.unwrap().len(), 1);
    a.reset().await.unwrap();
    assert_eq!(nodes[1].who(format!("{OUTSIDE4}:80")), "outside", "the other one lives on");
    assert_eq!(world.outside.who(format!("{HOST4}:30002")), "b");
    assert_eq!(b.repair().await.unwrap(), []);
}

#[tokio::test]
async fn addresses_of_a_prefix_on_the_link_are_answered_for() {
    let world = World::new();
    let config = testyard_fabric::FabricConfig {
        ipv6: Some("2001:db8:f:0:1::/80".parse().unwrap()),
        ipv6_proxy: true,
        ..world.config("life")
    };
    let fabric = testyard_fabric::LinuxFabric::in_netns(config, world.host.path());
    let node = node();
    let mut attachment = attachment(1, 1);
    attachment.address.ipv6 = Some("2001:db8:f:0:1::1".parse().unwrap());
    fabric.attach(&attachment, &node.path()).await.unwrap();
    let _ssh = node.serve("[::]:22", "one");
    assert_eq!(world.outside.who("[2001:db8:f:0:1::1]:22"), "one");
    fabric.detach(attachment.sliver).await.unwrap();
    assert_eq!(world.host.command("ip -6 neighbour show proxy"), "");
}

#[tokio::test]
async fn a_node_with_a_network_of_its_engine_is_refused() {
    let world = World::new();
    let fabric = world.fabric("life");
    let node = node();
    node.command("ip link add eth0 type veth peer name other");
    let refused = fabric.attach(&attachment(1, 1), &node.path()).await;
    assert!(
        matches!(&refused, Err(FabricError::Kernel { detail, .. }) if detail.contains("not ours")),
        "{refused:?}"
    );
    assert!(
        world
            .host
            .try_command("ip -o link show type veth", "")
            .unwrap()
            .lines()
            .all(|l| l.contains("uplink"))
    );
}
