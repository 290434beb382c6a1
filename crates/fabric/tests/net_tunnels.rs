//! Links across hosts, on the real kernel: each host is a namespace with a fabric of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::{Duration, Instant};

use support::hosts::{Hosts, TUNNEL_PORT};
use support::links::{cable, carrier, link, ports, round_trip, slice, sliver};
use support::{Netns, node};
use testyard_fabric::links::probe::{ProbeEnd, ProbePath, ProbeRequest, ProbeTrain};
use testyard_fabric::links::{HostLink, PortId};
use testyard_fabric::{Fabric as _, FabricError, Links as _, LinuxFabric};
use testyard_model::link::LinkKind;
use testyard_model::probe::{Probed, Train};
use testyard_model::quantity::Span;

/// What fits between hosts over IPv6, and over IPv4 as well.
const MTU: u16 = 1430;

async fn plug(fabric: &LinuxFabric, number: u8, netns: &Netns) {
    let mut wanted = ports(number, &[("eth1", &format!("10.1.1.{number}/24"))]);
    wanted.ports[0].mtu = MTU;
    fabric.plug(slice(), &wanted, &netns.path()).await.unwrap();
}

/// Nodes 1, 2, ... on these hosts, at 10.1.1.1 and so on.
async fn nodes(fabrics: &[LinuxFabric], places: &[usize]) -> Vec<Netns> {
    let mut nodes = Vec::new();
    for (number, place) in (1..).zip(places) {
        let node = node();
        plug(&fabrics[place - 1], number, &node).await;
        nodes.push(node);
    }
    nodes
}

fn narrow(link: HostLink) -> HostLink {
    HostLink { mtu: MTU, ..link }
}

fn lan(members: u8, settings: &[&str]) -> HostLink {
    let ends: Vec<(u8, &str)> = (1..=members).map(|node| (node, "eth1")).collect();
    narrow(link(1, LinkKind::Lan, &ends, settings))
}

/// Whether a packet of this size, headers included, goes there whole.
fn passes_whole(from: &Netns, to: &str, size: u16) -> bool {
    from.try_command(&format!("ping -c 1 -W 1 -M do -s {} {to}", size - 28), "").is_ok()
}

async fn part(fabrics: &[LinuxFabric]) {
    for fabric in fabrics {
        fabric.part(slice()).await.unwrap();
    }
}

/// Until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

#[tokio::test]
async fn a_cable_between_two_hosts() {
    for hosts in [Hosts::new(2), Hosts::over_ipv6(2)] {
        let fabrics = hosts.fabrics();
        hosts.join(&fabrics, 1, &narrow(cable(&[])), &[1, 2]).await;
        let nodes = nodes(&fabrics, &[1, 2]).await;
        let [a, b] = &nodes[..] else { panic!("two") };
        assert!(a.pings("10.1.1.2") && b.pings("10.1.1.1"));
        assert!(carrier(a) && carrier(b));
        assert!(passes_whole(a, "10.1.1.2", MTU), "what the plan promises");
        let server = b.serve("10.1.1.2:80", "b");
        assert_eq!(a.who("10.1.1.2:80"), "b");
        drop(server);
        for (number, host) in (1..).zip(&hosts.hosts) {
            let links = host.command("ip -o link");
            assert!(!links.contains("vxlan"), "tunnels are in the slice's namespace: {links}");
            let peer = hosts.address(3 - number);
            let known = host.command("nft list table inet testyard_hosts");
            assert!(known.contains(&format!("elements = {{ {peer} }}")), "{known}");
        }
        part(&fabrics).await;
        for host in &hosts.hosts {
            let known = host.command("nft list table inet testyard_hosts");
            assert!(!known.contains("elements = {"), "nobody's tunnels are let in any more: {known}");
        }
        for fabric in &fabrics {
            fabric.reset().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_done_to_packets_is_done_across_hosts() {
    let hosts = Hosts::new(2);
    let fabrics = hosts.fabrics();
    let mut delayed = narrow(cable(&["delay=20ms"]));
    delayed.ends[1].from_link = support::links::impaired(&["delay=5ms"]);
    hosts.join(&fabrics, 1, &delayed, &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    let time = round_trip(&nodes[0], "10.1.1.2");
    assert!((45.0..60.0).contains(&time), "20 + 5 there, 20 back: {time} ms");

    // In place, while it runs.
    let every_third = narrow(cable(&["loss=every 3"]));
    hosts.join(&fabrics, 2, &every_third, &[1, 2]).await;
    let said = nodes[0].try_command("ping -q -c 30 -i 0.02 -W 1 10.1.1.2", "").unwrap();
    // Of 30 requests 20 arrive, of 20 answers 14, give or take who asks for an address.
    let received = (12..=16).any(|count| said.contains(&format!(" {count} received")));
    assert!(received, "{said}");

    let mut down = narrow(cable(&[]));
    down.up = false;
    hosts.join(&fabrics, 3, &down, &[1, 2]).await;
    until("both lose their carrier", || !carrier(&nodes[0]) && !carrier(&nodes[1]));
    hosts.join(&fabrics, 4, &narrow(cable(&[])), &[1, 2]).await;
    until("and have it back", || carrier(&nodes[0]) && carrier(&nodes[1]));
    assert!(nodes[0].pings("10.1.1.2"));
    part(&fabrics).await;
}

#[tokio::test]
async fn a_lan_reaches_its_members_hosts_and_no_others() {
    for settings in [&[][..], &["delay=2ms"]] {
        let hosts = Hosts::new(4);
        let fabrics = hosts.fabrics();
        let places = [1, 1, 2, 3];
        hosts.join(&fabrics, 1, &lan(4, settings), &places).await;
        let nodes = nodes(&fabrics, &places).await;
        for (from, node) in (1..).zip(&nodes) {
            for to in (1..=4).filter(|to| *to != from) {
                assert!(node.pings(&format!("10.1.1.{to}")), "{from} to {to}");
            }
        }
        assert!(passes_whole(&nodes[0], "10.1.1.4", MTU));
        let before: Vec<u64> = (1..=4).map(|host| hosts.received(host)).collect();
        // To nobody in particular, and to one who was heard from.
        let _ = nodes[0].try_command("ping -q -b -c 20 -i 0.01 -W 1 10.1.1.255", "");
        nodes[0].command("ping -q -c 100 -i 0.002 10.1.1.3");
        let after: Vec<u64> = (1..=4).map(|host| hosts.received(host)).collect();
        let more: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        assert!(more[1] >= 120, "host 2 has the one who is asked: {more:?}");
        assert!(
            (20..60).contains(&more[2]),
            "host 3 gets what is for everybody, not what is for host 2: {more:?}"
        );
        assert_eq!(more[3], 0, "host 4 has no member: {more:?}");
        part(&fabrics).await;
    }
}

#[tokio::test]
async fn a_host_whose_last_member_goes_is_led_to_no_more() {
    let hosts = Hosts::new(3);
    let fabrics = hosts.fabrics();
    hosts.join(&fabrics, 1, &lan(3, &[]), &[1, 2, 3]).await;
    let nodes = nodes(&fabrics, &[1, 2, 3]).await;
    assert!(nodes[0].pings("10.1.1.2") && nodes[0].pings("10.1.1.3"));
    // Host 3 is away and hears nothing of it.
    let two = lan(2, &[]);
    for (fabric, part) in fabrics.iter().zip(hosts.split(&two, 77, &[1, 2])).take(2) {
        fabric.join(&support::links::wanted(2, part.into_iter().collect())).await.unwrap();
    }
    assert!(nodes[0].pings("10.1.1.2"));
    assert!(!nodes[0].pings("10.1.1.3"), "also what was learned of it is forgotten");
    assert!(!nodes[2].pings("10.1.1.1"));
    let let_in = hosts.hosts[0].command("nft list set inet testyard_hosts peers4");
    assert!(let_in.contains("192.0.2.2") && !let_in.contains("192.0.2.3"), "{let_in}");
    part(&fabrics).await;
}

#[tokio::test]
async fn a_host_that_was_cut_off_comes_back() {
    let hosts = Hosts::new(2);
    let fabrics = hosts.fabrics();
    hosts.join(&fabrics, 1, &narrow(cable(&[])), &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    assert!(nodes[0].pings("10.1.1.2"));
    hosts.cut(2, true);
    assert!(!nodes[0].pings("10.1.1.2"));
    hosts.cut(2, false);
    until("it is reached again", || nodes[0].pings("10.1.1.2"));
    part(&fabrics).await;
}

/// No packet is lost: neither the rules that let tunnels in nor the tunnels are ever away.
#[tokio::test]
async fn an_agent_that_restarts_disturbs_no_tunnel() {
    let hosts = Hosts::new(2);
    let mut fabrics = hosts.fabrics();
    let cable = narrow(cable(&["delay=1ms"]));
    hosts.join(&fabrics, 1, &cable, &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    assert!(nodes[0].pings("10.1.1.2"));
    let peers = |number: usize| hosts.hosts[number - 1].command("nft list set inet testyard_hosts peers4");
    let pinging = nodes[0].clone();
    let ping = std::thread::spawn(move || pinging.command("ping -q -c 400 -i 0.005 -W 2 10.1.1.2"));
    for number in [1, 2] {
        let fabric = hosts.fabric(number);
        let before = peers(number);
        assert!(before.contains("elements"), "{before}");
        fabric.prepare().await.unwrap();
        assert_eq!(peers(number), before);
        fabrics[number - 1] = fabric;
    }
    hosts.join(&fabrics, 1, &cable, &[1, 2]).await;
    let said = ping.join().unwrap();
    assert!(said.contains(" 0% packet loss"), "{said}");
    part(&fabrics).await;
}

#[tokio::test]
async fn strangers_are_not_let_in_and_nodes_forge_nothing() {
    let hosts = Hosts::new(3);
    let fabrics = hosts.fabrics();
    hosts.join(&fabrics, 1, &narrow(cable(&[])), &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    assert!(nodes[0].pings("10.1.1.2"));
    let is_clean = || {
        let rules = hosts.hosts[1].command("nft list chain inet testyard_hosts input");
        let line = rules.lines().find(|line| line.contains("@peers4")).map(str::to_owned);
        line.unwrap().contains("packets 0 ")
    };
    assert!(is_clean(), "nobody was kept out before");
    // The third has all that it takes, but is no host of the link.
    let stranger = &hosts.hosts[2];
    stranger.commands(&[
        &format!(
            "ip link add forged up type vxlan id 77 local 192.0.2.3 remote 192.0.2.2 dstport {TUNNEL_PORT}"
        ),
        "ip address add 10.1.1.66/24 dev forged",
    ]);
    assert!(!stranger.pings("10.1.1.2"));
    assert!(!is_clean(), "it was kept out");
    // From a node by its control interface.
    fabrics[0].attach(&support::attachment(9, 1), &nodes[0].path()).await.unwrap();
    let forge = || std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"forged", ("192.0.2.2", TUNNEL_PORT));
    nodes[0].run(forge).unwrap();
    let rules = hosts.hosts[0].command("nft list chain inet testyard_hosts from_node");
    let line = rules.lines().find(|line| line.contains("forged tunnels")).unwrap();
    assert!(!line.contains("packets 0 "), "{line}");
    part(&fabrics).await;
    for fabric in &fabrics {
        fabric.reset().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_made_is_said() {
    let hosts = Hosts::new(2);
    let fabric = hosts.fabric(1);
    let part = hosts.split(&narrow(cable(&[])), 77, &[1, 2]).remove(0).unwrap();
    hosts.hosts[0].command(&format!("ip link add others up type vxlan id 77 dstport {TUNNEL_PORT}"));
    let refused = fabric.join(&support::links::wanted(1, vec![part.clone()])).await.unwrap_err();
    let FabricError::Kernel { action, detail } = &refused else { panic!("{refused}") };
    assert!(action.contains("VNI 77") && detail.contains("another tunnels.port"), "{refused}");
    // What was in the way has gone.
    hosts.hosts[0].command("ip link delete others");
    fabric.join(&support::links::wanted(1, vec![part])).await.unwrap();
    fabric.part(slice()).await.unwrap();
}

/// A change of what cannot be changed in place makes the tunnel anew, and nobody's interface.
#[tokio::test]
async fn another_number_is_another_tunnel() {
    let hosts = Hosts::new(2);
    let fabrics = hosts.fabrics();
    let cable = narrow(cable(&[]));
    hosts.join(&fabrics, 1, &cable, &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    let before = nodes[0].command("ip -o link show eth1");
    for (fabric, part) in fabrics.iter().zip(hosts.split(&cable, 78, &[1, 2])) {
        fabric.join(&support::links::wanted(2, part.into_iter().collect())).await.unwrap();
    }
    assert!(nodes[0].pings("10.1.1.2"));
    assert_eq!(nodes[0].command("ip -o link show eth1"), before);
    // And back to one host: the other end has moved.
    fabrics[1].part(slice()).await.unwrap();
    fabrics[0].join(&support::links::wanted(3, vec![cable.clone()])).await.unwrap();
    let moved = node();
    plug(&fabrics[0], 2, &moved).await;
    assert!(nodes[0].pings("10.1.1.2") && moved.pings("10.1.1.1"));
    assert_eq!(nodes[0].command("ip -o link show eth1"), before);
    part(&fabrics).await;
}

/// Both halves of trains over the cable, there and back at one time.
async fn halves(fabrics: &[LinuxFabric], nodes: &[Netns]) -> [Vec<Probed>; 2] {
    let interval = Span::from_millis(1);
    let train = Train { frames: 100, length: 200, interval, patience: Span::from_millis(200) };
    let end = |place: usize| ProbeEnd {
        port: PortId { node: sliver(place as u8 + 1), device: "eth1".to_owned() },
        netns: nodes[place].path(),
    };
    let mac = |place: usize| ports(place as u8 + 1, &[("eth1", "10.1.1.9/24")]).ports[0].mac;
    let of = |here: usize| {
        let there = 1 - here;
        // The number of the train that begins at each.
        let meeting = [7_000, 8_000];
        let out = ProbePath::Out { from: end(here), to: mac(there), meeting: meeting[here] };
        let back = ProbePath::In { from: mac(there), to: end(here), meeting: meeting[there] };
        let trains = [out, back, ProbePath::Clock];
        let trains = trains.map(|path| ProbeTrain { path, train, greeting: false }).into();
        ProbeRequest { run: 1_000 * here as u32, trains }
    };
    let requests = [of(0), of(1)];
    let (one, other) =
        tokio::join!(fabrics[0].probe(slice(), &requests[0]), fabrics[1].probe(slice(), &requests[1]));
    [one.unwrap(), other.unwrap()]
}

#[tokio::test]
async fn a_cable_between_two_hosts_is_measured_by_halves() {
    let hosts = Hosts::new(2);
    let fabrics = hosts.fabrics();
    hosts.join(&fabrics, 1, &narrow(cable(&["delay=10ms"])), &[1, 2]).await;
    let nodes = nodes(&fabrics, &[1, 2]).await;
    let answers = halves(&fabrics, &nodes).await;
    for (sender, receiver) in [(0, 1), (1, 0)] {
        let [Probed::Sent(sent), Probed::Sent(got)] = [&answers[sender][0], &answers[receiver][1]] else {
            panic!("{answers:?}")
        };
        assert_eq!((sent.sent.len(), sent.arrivals.len(), got.sent.len()), (100, 0, 0));
        assert_eq!(sent.sender, got.receiver, "they are one machine, and tell times by one clock");
        let took = got.arrivals.iter().map(|arrival| arrival.at - sent.sent[arrival.number as usize]).min();
        assert!((10_000_000..13_000_000).contains(&took.unwrap()), "{took:?}");
        assert_eq!(got.arrivals.len(), 100);
        // What else there was of theirs, hellos among it, is nobody's traffic.
        assert!(sent.others.sent_packets < 20, "{:?}", sent.others);
        let Probed::Sent(clock) = &answers[sender][2] else { panic!("a clock tells its time") };
        assert!(clock.sent.len() == 1 && clock.sent[0] <= sent.sent[99]);
    }

    // Nobody hears anything over a link that is down.
    let mut down = narrow(cable(&[]));
    down.up = false;
    hosts.join(&fabrics, 2, &down, &[1, 2]).await;
    let answers = halves(&fabrics, &nodes).await;
    for host in &answers {
        assert!(matches!(&host[0], Probed::Failed(why) if why.contains("nothing was heard")), "{host:?}");
        assert!(matches!(&host[1], Probed::Sent(got) if got.arrivals.is_empty()), "{host:?}");
    }
    part(&fabrics).await;
}
