//! Links whose nodes are on several hosts: what each host is told of them.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use support::topology::{chain, set, up, update};
use support::{ScriptedHost, Yard, ann, settings, slice_urn, user};
use testyard_agent::probe::{Path, Probe};
use testyard_controller::api::{Allocate, Effort, Provision, Refusal, Verify};
use testyard_fabric::links::{Beyond, HostLink};
use testyard_model::impairment::Impairment;
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::probe::{Arrival, ClockDomain, Probed, Samples};
use testyard_model::topology::{Interface, Topology};
use testyard_verify::Outcome;

/// Where tunnels of the hosts of tests lead to, by their places.
fn address(place: u8) -> IpAddr {
    [192, 0, 2, place + 1].into()
}

/// What a host has of a link, if anything.
fn at(yard: &Yard, place: usize, link: &str) -> Option<HostLink> {
    let slices = yard.hosts[place].1.slices();
    slices.into_iter().flat_map(|slice| slice.links).find(|known| known.name == link)
}

fn beyond(yard: &Yard, place: usize, link: &str) -> Beyond {
    at(yard, place, link).unwrap().beyond.unwrap()
}

/// A LAN of these nodes, each bound to a host or not.
fn lan(nodes: &[(&str, Option<&str>)]) -> Topology {
    let mut topology = Topology::default();
    let mut lan = Link::new("lan".parse().unwrap(), LinkKind::Lan);
    for (name, host) in nodes {
        let mut node = support::node(name);
        node.partition = host.map(str::to_owned);
        node.interfaces.push(Interface::new(format!("{name}:lan").parse().unwrap()));
        topology.nodes.push(node);
        lan.members.push(Member::clear(format!("{name}:lan").parse().unwrap()));
    }
    topology.links.push(lan);
    topology
}

#[tokio::test]
async fn each_host_has_its_end_of_a_cable_and_the_way_to_the_other() {
    let yard = Yard::new(&[("one", 2), ("two", 1)]).await;
    let view = up(&yard, chain(&["a", "b", "c"])).await;
    assert!(view.links.iter().any(|link| link.now.crosses_hosts && link.now.mtu == 1450));
    let crossing = view.links.iter().find(|link| link.now.crosses_hosts).unwrap();
    let name = crossing.client_id.as_str();
    let (one, two) = (beyond(&yard, 0, name), beyond(&yard, 1, name));
    assert_eq!(one.vni, two.vni);
    assert_eq!((one.local, two.local), (address(0), address(1)));
    assert_eq!((one.peers, two.peers), ([address(1)].into(), [address(0)].into()));
    let (here, there) = (at(&yard, 0, name).unwrap(), at(&yard, 1, name).unwrap());
    assert_eq!((here.ends.len(), there.ends.len()), (1, 1));
    let (far_of_one, far_of_two) = (one.far.unwrap(), two.far.unwrap());
    assert_eq!((&far_of_one.port, &far_of_two.port), (&there.ends[0].port, &here.ends[0].port));
    assert!(far_of_one.is_first != far_of_two.is_first, "one of them is the first");
    let near = view.links.iter().find(|link| !link.now.crosses_hosts).unwrap();
    assert_eq!(at(&yard, 0, near.client_id.as_str()).unwrap().beyond, None);
    assert!(at(&yard, 1, near.client_id.as_str()).is_none());

    // A change reaches both, and neither the number nor the peers change.
    yard.controller.change_link(&ann(), set(name, "delay=5ms")).await.unwrap();
    yard.settle().await;
    for place in [0, 1] {
        let link = at(&yard, place, name).unwrap();
        assert_eq!(link.ends[0].to_link.to_string(), "delay=5ms");
        assert_eq!(link.beyond.unwrap().vni, two.vni);
    }
}

#[tokio::test]
async fn a_lan_leads_to_hosts_with_members_only() {
    let yard = Yard::new(&[("one", 3), ("two", 3), ("three", 3)]).await;
    up(&yard, lan(&[("a", Some("one")), ("b", Some("one")), ("c", Some("two"))])).await;
    assert_eq!(beyond(&yard, 0, "lan").peers, [address(1)].into());
    assert_eq!(at(&yard, 0, "lan").unwrap().ends.len(), 2);
    let vni = beyond(&yard, 1, "lan").vni;
    assert!(at(&yard, 2, "lan").is_none());

    // One more: all hear of it, though their own nodes stay as they are.
    let nodes = [("a", Some("one")), ("b", Some("one")), ("c", Some("two")), ("d", Some("three"))];
    up(&yard, lan(&nodes)).await;
    let peers = |place| beyond(&yard, place, "lan").peers;
    assert_eq!([peers(0), peers(1), peers(2)].map(|peers| peers.len()), [2, 2, 2]);
    assert_eq!(beyond(&yard, 2, "lan").vni, vni);
    // One less.
    up(&yard, lan(&[("a", Some("one")), ("b", Some("one")), ("d", Some("three"))])).await;
    assert_eq!(beyond(&yard, 0, "lan").peers, [address(2)].into());
    assert!(at(&yard, 1, "lan").is_none());
    assert_eq!(beyond(&yard, 0, "lan").vni, vni, "who left has been told so");
    // All on one host: no tunnel any more.
    up(&yard, lan(&[("a", Some("one")), ("b", Some("one"))])).await;
    assert_eq!(at(&yard, 0, "lan").unwrap().beyond, None);
}

/// What a host that is away still has of a link must not become part of it again.
#[tokio::test]
async fn a_member_left_behind_on_a_host_that_is_away_haunts_nobody() {
    let yard = Yard::new(&[("one", 3), ("two", 3), ("three", 3)]).await;
    up(&yard, lan(&[("a", Some("one")), ("b", Some("two"))])).await;
    let before = beyond(&yard, 0, "lan").vni;
    yard.hosts[1].1.set_away(Some("its cable is cut"));
    yard.settle().await;
    up(&yard, lan(&[("a", Some("one")), ("c", Some("three"))])).await;
    let after = beyond(&yard, 0, "lan");
    assert_ne!(after.vni, before);
    assert_eq!((after.vni, after.peers), (beyond(&yard, 2, "lan").vni, [address(2)].into()));
    assert_eq!(beyond(&yard, 1, "lan").vni, before, "it has not heard of it");
    // One of that name comes back elsewhere, while the old one is still there.
    up(&yard, lan(&[("a", Some("one")), ("c", Some("three")), ("b", Some("three"))])).await;
    assert_eq!(beyond(&yard, 0, "lan").peers, [address(2)].into());
    yard.hosts[1].1.set_away(None);
    yard.settle().await;
    assert!(at(&yard, 1, "lan").is_none(), "it is told");
}

#[tokio::test]
async fn numbers_are_nobody_elses_and_rest_over_restarts() {
    let mut yard = Yard::new(&[("one", 4), ("two", 4)]).await;
    let two = [("a", Some("one")), ("b", Some("two"))];
    up(&yard, lan(&two)).await;
    let first = beyond(&yard, 0, "lan").vni;
    let mut seen = BTreeSet::from([first]);
    for round in 0..3 {
        yard.delete("s").await.unwrap();
        yard.settle().await;
        yard.controller.wait_until_gone(&slice_urn("s")).await;
        yard.restart(round % 2 == 0).await;
        yard.settle().await;
        up(&yard, lan(&two)).await;
        assert!(seen.insert(beyond(&yard, 0, "lan").vni), "a number was used twice: {seen:?}");
    }
    // That of a slice that runs is known after a restart.
    let kept = beyond(&yard, 0, "lan").vni;
    yard.restart(false).await;
    yard.settle().await;
    assert_eq!(beyond(&yard, 0, "lan").vni, kept);
    yard.controller.update(&ann(), update("t", lan(&two))).await.unwrap();
    yard.settle().await;
    let slices = yard.hosts[0].1.slices();
    let numbers = slices.iter().flat_map(|slice| &slice.links).filter_map(|link| link.beyond.as_ref());
    let numbers: Vec<_> = numbers.map(|beyond| beyond.vni).collect();
    assert_eq!(numbers.len(), 2);
    assert_ne!(numbers[0], numbers[1]);
}

/// By the AM API a slice is provisioned sliver by sliver: hosts hear of those that come later.
#[tokio::test]
async fn who_comes_later_is_led_to() {
    let yard = Yard::new(&[("one", 1), ("two", 1)]).await;
    let topology = chain(&["a", "b"]);
    let request = Allocate { slice: slice_urn("s"), topology, document: "<rspec/>".to_owned(), end: None };
    let view = yard.controller.allocate(&ann(), request).await.unwrap();
    let provision = async |sliver| {
        let selection = support::some("s", &[sliver]);
        let users = vec![user("ann")];
        let request = Provision { selection, users, end: None, effort: Effort::AllOrNothing };
        yard.controller.provision(&ann(), request).await.unwrap();
        yard.settle().await;
    };
    provision(&view.slivers[0].urn).await;
    let first = usize::from(view.slivers[0].host.as_str() == "two");
    assert_eq!(at(&yard, first, "a-b").unwrap().beyond, None, "nobody is there yet");
    provision(&view.slivers[1].urn).await;
    assert_eq!(beyond(&yard, first, "a-b").peers.len(), 1);
    assert_eq!(beyond(&yard, 1 - first, "a-b").peers.len(), 1);
}

#[tokio::test]
async fn a_host_that_moves_is_led_to_where_it_is() {
    let yard = Yard::new(&[("one", 1), ("two", 1)]).await;
    up(&yard, chain(&["a", "b"])).await;
    let moved = |address: Option<IpAddr>| {
        let mut hosts = settings(&[("one", 1), ("two", 1)]).hosts().to_vec();
        hosts[1].tunnel = address;
        let kinds = vec![support::kind("plain", false), support::kind("open", true)];
        testyard_controller::Settings::new("am.example.net".parse().unwrap(), hosts, kinds).unwrap()
    };
    let elsewhere: IpAddr = [198, 51, 100, 7].into();
    yard.controller.reconfigure(moved(Some(elsewhere)), yard.contracts()).await.unwrap();
    yard.settle().await;
    assert_eq!(beyond(&yard, 0, "a-b").peers, [elsewhere].into());
    assert_eq!(beyond(&yard, 1, "a-b").local, elsewhere);
}

#[tokio::test]
async fn a_host_without_an_address_for_tunnels_keeps_its_links() {
    let mut hosts = settings(&[("one", 2), ("two", 2)]).hosts().to_vec();
    hosts[1].tunnel = None;
    let kinds = vec![support::kind("plain", false)];
    let settings =
        testyard_controller::Settings::new("am.example.net".parse().unwrap(), hosts, kinds).unwrap();
    let scripted = ["one", "two"].map(|name| (name, Arc::new(ScriptedHost::default())));
    let yard = Yard::with(settings, scripted.into()).await;
    let far = yard.controller.update(&ann(), update("s", chain(&["a", "b", "c"]))).await.unwrap_err();
    let Refusal::TooBig(text) = &far else { panic!("{far}") };
    assert!(text.contains("links cannot leave two") && text.contains("address for tunnels"), "{text}");
    up(&yard, chain(&["a", "b"])).await;
}

/// A host that measures: its clock is so far ahead of this process's, and what it sends takes so long.
fn measures(ahead: u64, domain: &'static str) -> impl Fn(&Probe) -> Probed + Send + Sync + 'static {
    let origin = *ORIGIN;
    move |probe| {
        let now = origin.elapsed().as_nanos() as u64 + ahead;
        let pace = probe.train.interval.as_nanos();
        // Both halves agree on when the train began by the meeting: what is asked of both at one time.
        let begin = |meeting: u32| u64::from(meeting % 1_000) + ahead;
        let clock = ClockDomain(domain.to_owned());
        let sent = |at: u64| (0..u64::from(probe.train.frames)).map(|n| at + n * pace).collect::<Vec<u64>>();
        let arrived = |at: u64, took: u64| {
            let all = sent(at).into_iter().zip(0..);
            all.map(|(at, number)| Arrival { number, at: at + took, damaged: false }).collect::<Vec<_>>()
        };
        let (sent, arrivals) = match &probe.path {
            Path::Clock => (vec![now], vec![]),
            Path::Out { meeting, .. } => (sent(begin(*meeting)), vec![]),
            Path::In { meeting, .. } => (vec![], arrived(begin(*meeting), 5_020_000)),
            Path::Reference => (sent(0), arrived(0, 20_000)),
            Path::Link { .. } => (sent(0), arrived(0, 5_020_000)),
        };
        Probed::Sent(Samples { sent, arrivals, ..Samples::none(clock) })
    }
}

static ORIGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);

#[tokio::test]
async fn links_between_hosts_are_measured_by_both() {
    // One clock, and two that are an hour apart.
    for (ahead, domains) in [(0, ["same", "same"]), (3_600_000_000_000, ["one's", "two's"])] {
        let yard = Yard::new(&[("one", 1), ("two", 1)]).await;
        yard.hosts[0].1.measure_by(measures(0, domains[0]));
        yard.hosts[1].1.measure_by(measures(ahead, domains[1]));
        let mut topology = chain(&["a", "b"]);
        for member in &mut topology.links[0].members {
            member.to_link = Impairment { delay: "5ms".parse().unwrap(), ..Impairment::default() };
        }
        up(&yard, topology).await;
        let request = Verify { slice: slice_urn("s"), options: testyard_verify::Options::default() };
        let report = yard.controller.verify(&ann(), request, |_, _| {}).await.unwrap();
        assert_eq!(report.outcome, Outcome::Holds, "{report:#?}");
        let delays: Vec<f64> = report
            .ways
            .iter()
            .flat_map(|way| &way.findings)
            .filter(|finding| finding.quantity == testyard_verify::Quantity::Delay)
            .map(|finding| finding.measured.unwrap())
            .collect();
        assert!(delays.len() == 2 && delays.iter().all(|delay| (4e6..6e6).contains(delay)), "{delays:?}");
        // Either host was asked for its half, and for what it can do without a link.
        for (_, host) in &yard.hosts {
            let asked = host.asked();
            let kinds = |is: fn(&Path) -> bool| asked.iter().any(|probe| is(&probe.path));
            assert!(
                kinds(|path| matches!(path, Path::Out { .. }))
                    && kinds(|path| matches!(path, Path::In { .. }))
            );
            assert!(kinds(|path| matches!(path, Path::Reference)));
        }
    }
}
