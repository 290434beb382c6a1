//! Networks: what is chosen, what is kept, and what is said about what does not fit.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use testyard_model::diagnostic::Severity;
use testyard_model::impairment::Impairment;
use testyard_model::link::{Capture, Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::route::{Destination, NextHop, Route, Routing};
use testyard_model::setting::Setting;
use testyard_model::topology::{Interface, InterfaceAddress, Topology};
use testyard_plan::network::mtu::Underlay;
use testyard_plan::network::parts::NetworkMember;
use testyard_plan::network::{Conditions, Planned, plan, seed_of};
use testyard_plan::{NetworkPlan, render};
use testyard_testkit::topologies::{add_lan, connect, fat_tree, grid, lan, loose, random, ring, star};

fn id(text: &str) -> ClientId {
    text.parse().unwrap()
}

fn good(topology: &Topology) -> Planned {
    plan(topology, &Conditions::default()).unwrap()
}

fn network(topology: &Topology) -> NetworkPlan {
    good(topology).network
}

/// Everything that is said, with the severity's first letter.
fn told(topology: &Topology) -> Vec<String> {
    told_in(topology, &Conditions::default())
}

fn told_in(topology: &Topology, conditions: &Conditions<'_>) -> Vec<String> {
    let diagnostics = match plan(topology, conditions) {
        Ok(planned) => planned.diagnostics,
        Err(refused) => refused.diagnostics,
    };
    let letter = |severity| match severity {
        Severity::Notice => 'N',
        Severity::Warning => 'W',
        Severity::Error => 'E',
    };
    diagnostics.iter().map(|diagnostic| format!("{} {diagnostic}", letter(diagnostic.severity))).collect()
}

fn interface<'t>(topology: &'t mut Topology, name: &str) -> &'t mut Interface {
    let mut all = topology.nodes.iter_mut().flat_map(|node| &mut node.interfaces);
    all.find(|interface| interface.client_id.as_str() == name).unwrap()
}

fn address(topology: &mut Topology, name: &str, text: &str) {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().unwrap())),
        None => (text, None),
    };
    let address = InterfaceAddress { address: address.parse().unwrap(), prefix_length: length };
    interface(topology, name).addresses.push(address);
}

fn subnets(plan: &NetworkPlan) -> Vec<String> {
    let shown = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    plan.links().iter().map(|link| shown(&link.subnets)).collect()
}

fn addresses(plan: &NetworkPlan, link: usize) -> Vec<String> {
    let members = plan.links()[link].members.iter();
    members.flat_map(|member| &member.addresses).map(ToString::to_string).collect()
}

/// A network is as large as its link asks for, from where DETER's begin (deter.md §7.1).
#[test]
fn networks_are_as_large_as_is_asked_for() {
    let mut topology = ring(4);
    topology.links[0].prefix_length = Some(29);
    topology.links[2].prefix_length = Some(29);
    topology.links[3].prefix_length = Some(22);
    let plan = network(&topology);
    assert_eq!(subnets(&plan), ["10.1.1.8/29", "10.1.2.0/24", "10.1.1.16/29", "10.1.4.0/22"]);
    assert_eq!(addresses(&plan, 0), ["10.1.1.10/29", "10.1.1.11/29"]);
    // One that runs keeps its network only as long as it is that large.
    let conditions = Conditions { previous: Some(&plan), ..Conditions::default() };
    topology.links[1].prefix_length = Some(29);
    let again = testyard_plan::network::plan(&topology, &conditions).unwrap().network;
    assert_eq!(subnets(&again), ["10.1.1.8/29", "10.1.1.24/29", "10.1.1.16/29", "10.1.4.0/22"]);
    let mut crowd = lan(3);
    crowd.links[0].prefix_length = Some(30);
    assert!(told(&crowd)[0].contains("has no address left"), "{:?}", told(&crowd));
}

#[test]
fn addresses_come_in_the_order_of_the_file() {
    let plan = network(&ring(4));
    assert_eq!(subnets(&plan), ["10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24"]);
    assert_eq!(addresses(&plan, 0), ["10.1.1.2/24", "10.1.1.3/24"]);
    let member = &plan.links()[3].members[1];
    assert_eq!((member.node.as_str(), member.device.to_string().as_str()), ("n0", "eth2"));
    assert_eq!((plan.links()[0].mtu, plan.links()[0].seed), (1500, seed_of(&id("l0"))));
}

#[test]
fn explicit_networks_are_reserved_before_any_is_chosen() {
    let mut topology = loose(6);
    connect(&mut topology, 0, 1);
    connect(&mut topology, 1, 2);
    add_lan(&mut topology, &[2, 3, 4, 5]);
    address(&mut topology, "n3:0", "10.1.1.3");
    address(&mut topology, "n2:0", "10.1.2.9/28");
    let plan = network(&topology);
    assert_eq!(subnets(&plan), ["10.1.3.0/24", "10.1.2.0/28", "10.1.1.0/24"]);
    assert_eq!(addresses(&plan, 1), ["10.1.2.2/28", "10.1.2.9/28"]);
    assert_eq!(addresses(&plan, 2), ["10.1.1.2/24", "10.1.1.3/24", "10.1.1.4/24", "10.1.1.5/24"]);
    // An address without a mask belongs to the network of its link that holds it.
    address(&mut topology, "n4:0", "10.1.1.200");
    interface(&mut topology, "n3:0").addresses[0].prefix_length = Some(25);
    address(&mut topology, "n5:0", "10.1.1.100");
    let plan = network(&topology);
    assert_eq!(subnets(&plan)[2], "10.1.1.0/25 10.1.1.0/24");
    assert!(addresses(&plan, 2).contains(&"10.1.1.100/25".to_owned()));
}

#[test]
fn ipv6_is_kept_and_filled_only_where_there_is_nothing_else() {
    let mut topology = ring(3);
    address(&mut topology, "n0:0", "fd00::1");
    address(&mut topology, "n1:1", "10.5.0.1/16");
    address(&mut topology, "n1:1", "fd00:1::1/48");
    let plan = network(&topology);
    assert_eq!(subnets(&plan), ["fd00::/64", "10.5.0.0/16 fd00:1::/48", "10.1.1.0/24"]);
    assert_eq!(addresses(&plan, 0), ["fd00::1/64", "fd00::2/64"]);
    assert_eq!(addresses(&plan, 1), ["10.5.0.1/16", "fd00:1::1/48", "10.5.0.2/16"]);
}

#[test]
fn large_lans_and_control_networks() {
    let plan = network(&lan(300));
    assert_eq!(subnets(&plan), ["10.1.2.0/23"]);
    assert_eq!(addresses(&plan, 0).last().unwrap(), "10.1.3.45/23");
    let avoid: Vec<IpNet> = vec!["10.1.0.0/16".parse().unwrap(), "10.2.1.128/25".parse().unwrap()];
    let conditions = Conditions { avoid: &avoid, ..Conditions::default() };
    let planned = testyard_plan::network::plan(&ring(3), &conditions).unwrap().network;
    assert_eq!(subnets(&planned), ["10.2.2.0/24", "10.2.3.0/24", "10.2.4.0/24"]);
    let mut topology = ring(3);
    address(&mut topology, "n0:0", "10.1.7.1");
    assert_eq!(
        told_in(&topology, &conditions),
        [
            "E link \"l0\": 10.1.7.0/24 is in use here already, by 10.1.0.0/16 of the control network (use other addresses, or give the testbed another control network)"
        ]
    );
}

#[test]
fn no_more_links_are_captured_than_can_be() {
    let mut topology = ring(17);
    for link in &mut topology.links {
        link.capture = Some(Capture { snap_length: 64, filter: None });
    }
    let told = told(&topology);
    assert_eq!(
        told,
        [
            "E 17 links are to be captured, of a slice 16 can be at a time (capture fewer, or all in one while they run: testyard capture --all)"
        ]
    );
    topology.links[0].capture = None;
    good(&topology);
}

#[test]
fn addresses_that_cannot_be() {
    for (text, part) in [
        ("10.1.1.0", "is the address of the network itself"),
        ("10.1.1.255", "is the broadcast address"),
        ("10.1.1.1/33", "has no prefix of 33 bits"),
        ("10.1.1.1/32", "has no room for a neighbour"),
        ("127.0.0.1", "is no address of an interface"),
        ("224.0.0.5", "is no address of an interface"),
        ("fd00::", "is the address of the network itself"),
        ("fd00::1/128", "has no room for a neighbour"),
        ("ff02::1", "is no address of an interface"),
    ] {
        let mut topology = ring(2);
        address(&mut topology, "n0:0", text);
        let told = told(&topology);
        assert!(told[0].starts_with('E') && told[0].contains(part), "{text}: {told:?}");
    }
    let mut topology = ring(2);
    address(&mut topology, "n0:0", "10.7.0.0/31");
    assert_eq!(
        told(&topology),
        ["E link \"l0\": 10.7.0.0/31 has no address left for its members (use a shorter prefix)"]
    );
    address(&mut topology, "n1:0", "10.7.0.1/31");
    assert!(told(&topology).is_empty());
}

/// One topology for each thing that may be wrong.
#[test]
fn remarks() {
    let with = |mut topology: Topology, change: &dyn Fn(&mut Topology)| {
        change(&mut topology);
        told(&topology).join("\n")
    };
    let lan_of = |members: &[&str]| {
        let mut link = Link::new(id("extra"), LinkKind::Lan);
        link.members = members.iter().map(|name| Member::clear(id(name))).collect();
        link
    };
    let mut shown = Vec::new();
    let mut case = |name: &str, topology: Topology, change: &dyn Fn(&mut Topology)| {
        shown.push(format!("{name}:\n{}", with(topology, change)));
    };
    case("nothing wrong", ring(3), &|_| {});
    case("two nodes of a name", ring(2), &|t| t.nodes[1].client_id = id("n0"));
    case("two links of a name", ring(3), &|t| t.links[1].client_id = id("l0"));
    case("two interfaces of a name", ring(3), &|t| t.nodes[1].interfaces[0].client_id = id("n0:0"));
    case("a member nobody has", ring(3), &|t| t.links[0].members[0].interface = id("n0:00"));
    case("an interface on two links", ring(3), &|t| t.links[1].members[0].interface = id("n0:0"));
    case("an interface twice", ring(3), &|t| t.links[0].members[1].interface = id("n0:0"));
    case("a loose interface", ring(3), &|t| t.nodes[0].interfaces.push(Interface::new(id("spare"))));
    case("a cable of three", ring(3), &|t| {
        t.nodes[2].interfaces.push(Interface::new(id("third")));
        t.links[0].members.push(Member::clear(id("third")));
    });
    case("an empty LAN", ring(3), &|t| t.links.push(lan_of(&[])));
    case("a LAN of one", ring(3), &|t| {
        t.nodes[2].interfaces.push(Interface::new(id("alone")));
        t.links.push(lan_of(&["alone"]));
    });
    case("a node on a LAN twice", lan(3), &|t| {
        t.nodes[2].interfaces.push(Interface::new(id("again")));
        t.links[0].members.push(Member::clear(id("again")));
    });
    case("impossible impairments", ring(3), &|t| {
        for setting in ["rate=1bit", "delay=200s"] {
            setting.parse::<Setting>().unwrap().apply(&mut t.links[0].members[0].to_link);
        }
        "queue=0".parse::<Setting>().unwrap().apply(&mut t.links[1].members[1].from_link);
    });
    case("overlapping networks", ring(4), &|t| {
        address(t, "n0:0", "10.9.0.1/16");
        address(t, "n1:1", "10.9.7.1/24");
    });
    case("an address on two links", ring(4), &|t| {
        address(t, "n0:0", "10.9.0.1");
        address(t, "n2:1", "10.9.0.1");
    });
    case("an address twice on a link", ring(3), &|t| {
        address(t, "n0:0", "10.9.0.1");
        address(t, "n1:0", "10.9.0.1");
    });
    case("two networks on a link", ring(3), &|t| {
        address(t, "n0:0", "10.9.0.1");
        address(t, "n1:0", "10.9.1.1");
    });
    case("Ethernet addresses", ring(4), &|t| {
        for name in ["n0:0", "n1:0", "n3:0"] {
            interface(t, name).mac = Some("02:00:00:00:00:01".parse().unwrap());
        }
    });
    case("a node on no link", ring(3), &|t| t.nodes.extend(loose(4).nodes.pop()));
    case("two islands", loose(6), &|t| {
        for (one, other) in [(0, 1), (1, 2), (4, 5), (5, 3)] {
            connect(t, one, other);
        }
    });
    case("no routes", ring(5), &|t| t.routing = Routing::None);
    case("no routes needed", ring(3), &|t| t.routing = Routing::None);
    case("session", ring(3), &|t| t.routing = Routing::Session);
    case("many of a kind", ring(12), &|t| t.links.iter_mut().for_each(|link| link.mtu = Some(20)));
    case("a LAN larger than a bridge", lan(1_100), &|_| {});
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn mtu_of_links_between_hosts() {
    let mut topology = ring(3);
    topology.links[2].mtu = Some(1500);
    let conditions = Conditions { hosts: &[0, 0, 1], underlay: Underlay::default(), ..Conditions::default() };
    let planned = plan(&topology, &conditions).unwrap();
    let links = planned.network.links();
    assert_eq!(
        links.iter().map(|link| (link.mtu, link.crosses_hosts)).collect::<Vec<_>>(),
        [(1500, false), (1450, true), (1500, true)]
    );
    assert_eq!(planned.diagnostics.len(), 1);
}

#[test]
fn manual_routes() {
    // n0 - n1 - n2 - n3, and n1 - n2 once more.
    let mut topology = loose(4);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (1, 2)] {
        connect(&mut topology, one, other);
    }
    topology.routing = Routing::Manual;
    let via = |name: &str| NextHop::Node(id(name));
    let node = |name: &str| Destination::Node(id(name));
    let link = |name: &str| Destination::Link(id(name));
    topology.nodes[0].routes = vec![
        Route { to: node("n3"), via: via("n1") },
        Route { to: link("l1"), via: via("n1") },
        Route { to: Destination::Interface(id("n2:1")), via: NextHop::Address("10.1.1.3".parse().unwrap()) },
    ];
    let plan = network(&topology);
    let shown: Vec<String> = plan
        .routes_of(&id("n0"))
        .iter()
        .map(|route| format!("{} via {} dev {}", route.to, route.via, route.device))
        .collect();
    assert_eq!(
        shown,
        [
            "10.1.3.3/32 via 10.1.1.3 dev eth1",
            "10.1.2.0/24 via 10.1.1.3 dev eth1",
            "10.1.3.2/32 via 10.1.1.3 dev eth1"
        ]
    );
    assert!(plan.routes_of(&id("n3")).is_empty(), "no way back is implied");
    let everywhere = Destination::Network { address: "0.0.0.0".parse().unwrap(), prefix_length: 0 };
    let wrong = [
        (node("n2"), via("n1")),
        (node("n3"), via("n2")),
        (node("n3"), via("n0")),
        (node("n33"), via("n1")),
        (link("l9"), via("n1")),
        (link("l1"), via("nn1")),
        (everywhere, via("n1")),
        (link("l1"), NextHop::Address("10.1.2.2".parse().unwrap())),
        (link("l1"), NextHop::Address("10.1.1.2".parse().unwrap())),
        (link("l1"), NextHop::Address("10.1.1.77".parse().unwrap())),
    ];
    let mut shown = Vec::new();
    for (to, via) in wrong {
        topology.nodes[0].routes = vec![Route { to, via }];
        shown.extend(told(&topology));
    }
    topology.nodes[0].routes = vec![Route { to: link("l1"), via: via("n1") }; 2];
    shown.extend(told(&topology));
    topology.routing = Routing::Static;
    shown.extend(told(&topology));
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn hosts_files() {
    // A node whose name looks like another's port, and a bare name that prefers the link in common.
    let mut topology = loose(4);
    for (node, name) in topology.nodes.iter_mut().zip(["web", "web-1", "db", "Far Away"]) {
        node.client_id = id(name);
    }
    connect(&mut topology, 0, 1);
    connect(&mut topology, 0, 2);
    connect(&mut topology, 2, 3);
    connect(&mut topology, 1, 2);
    let plan = network(&topology);
    let all: Vec<String> = plan
        .nodes()
        .iter()
        .map(|node| format!("on {}:\n{}", node.hostname, plan.hosts_of(&node.client_id)))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
    assert!(network(&loose(2)).hosts_of(&id("n1")).ends_with("127.0.1.1\tn1\n"));
    assert_eq!(plan.hosts_of(&id("nobody")), "");
}

#[test]
fn hosts_files_of_large_topologies_list_neighbours() {
    let plan = network(&ring(3_000));
    let text = plan.hosts_of(&id("n7"));
    assert_eq!(text.lines().filter(|line| line.starts_with("10.")).count(), 6, "{text}");
    assert!(text.contains("# the topology is large"));
    assert!(text.contains(" n7\n") && text.contains(" n8\n") && text.contains(" n6\n"));
    assert_eq!(network(&star(5_000)).hosts_lines(&id("n0")).len(), 4096);
    assert!(good(&ring(3_000)).diagnostics.iter().any(|told| told.message.contains("/etc/hosts")));
}

#[test]
fn a_plan_as_text_and_as_json() {
    let mut topology = loose(4);
    connect(&mut topology, 0, 1);
    add_lan(&mut topology, &[1, 2, 3]);
    for setting in ["delay=50ms", "jitter=5ms normal", "rate=10Mbit", "loss=burst 1% 25%", "queue=50 red"] {
        setting.parse::<Setting>().unwrap().apply(&mut topology.links[0].members[0].to_link);
    }
    "loss=every 100".parse::<Setting>().unwrap().apply(&mut topology.links[1].members[2].from_link);
    topology.links[1].down = true;
    let plan = network(&topology);
    let text = render::network(&plan);
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(text);
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn what_is_written_is_checked_when_it_is_read() {
    let mut value = serde_json::to_value(network(&ring(3))).unwrap();
    value["links"][0]["members"][0]["node"] = "nobody".into();
    let error = serde_json::from_value::<NetworkPlan>(value).unwrap_err().to_string();
    assert!(error.contains("nobody"), "{error}");
}

#[test]
fn a_plan_that_continues_another_keeps_its_addresses() {
    let old = network(&ring(5));
    let mut topology = ring(5);
    // A link in front of all others, and one that goes.
    topology.links.remove(2);
    add_lan(&mut topology, &[0, 1, 2]);
    topology.links.last_mut().unwrap().client_id = id("new");
    topology.links.rotate_right(1);
    let conditions = Conditions { previous: Some(&old), ..Conditions::default() };
    let new = plan(&topology, &conditions).unwrap().network;
    for link in new.links().iter().filter(|link| link.client_id.as_str() != "new") {
        let before = old.links().iter().find(|before| before.client_id == link.client_id).unwrap();
        assert_eq!(before.subnets, link.subnets);
    }
    assert_eq!(subnets(&new)[0], "10.1.3.0/24");
}

proptest! {
    #[test]
    fn addresses_are_unique_and_inside_of_their_networks(
        nodes in 1_usize..40, links in 0_usize..80, seed: u64,
        given in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, 1_u8..255, prop::option::of(20_u8..30)), 0..10),
        size in 0_usize..300,
    ) {
        let mut topology = random(nodes, links, seed);
        if size < nodes { add_lan(&mut topology, &(0..size).collect::<Vec<_>>()); }
        let names: Vec<ClientId> = topology.nodes.iter().flat_map(|node| &node.interfaces).map(|i| i.client_id.clone()).collect();
        let mut chosen = HashSet::new();
        for (index, third, fourth, length) in given {
            if names.is_empty() || !chosen.insert((third, fourth)) { continue; }
            let name = index.get(&names).as_str().to_owned();
            let length = length.map_or(String::new(), |length| format!("/{length}"));
            address(&mut topology, &name, &format!("10.1.{third}.{fourth}{length}"));
        }
        let Ok(planned) = plan(&topology, &Conditions::default()) else { return Ok(()) };
        let mut macs = HashSet::new();
        for link in planned.network.links() {
            let mut seen: HashSet<IpAddr> = HashSet::new();
            for member in &link.members {
                prop_assert!(macs.insert(member.mac));
                prop_assert!(!member.addresses.is_empty());
                for address in &member.addresses {
                    prop_assert!(seen.insert(address.addr()), "{} twice on {}", address, link.client_id);
                    prop_assert!(link.subnets.contains(&address.trunc()));
                }
            }
            if link.automatic {
                let others = planned.network.links().iter().filter(|other| other.client_id != link.client_id);
                let mut others = others.flat_map(|other| &other.subnets);
                prop_assert!(others.all(|other| !other.contains(&link.subnets[0]) && !link.subnets[0].contains(other)));
            }
        }
        // The same in, the same out; and what is written reads again.
        prop_assert_eq!(&plan(&topology, &Conditions::default()).unwrap(), &planned);
        let text = serde_json::to_string(&planned.network).unwrap();
        prop_assert_eq!(&serde_json::from_str::<NetworkPlan>(&text).unwrap(), &planned.network);
    }

    /// Every name stands for one interface, and a node's own bare name and its neighbours' are on links that they share.
    #[test]
    fn names_are_unique(nodes in 1_usize..30, links in 0_usize..50, seed: u64) {
        let plan = network(&random(nodes, links, seed));
        for node in plan.nodes() {
            let mut seen = HashSet::new();
            let lines = plan.hosts_lines(&node.client_id);
            for line in &lines {
                for name in &line.names {
                    prop_assert!(seen.insert(name.clone()), "{} twice on {}", name, node.hostname);
                }
            }
            for (link, own) in plan.interfaces_of(&node.client_id) {
                let canonical = format!("{}-{}", node.hostname, link.client_id);
                let line = lines.iter().find(|line| line.names.contains(&canonical)).unwrap();
                prop_assert_eq!(line.address, own.addresses[0].addr());
                for peer in link.members.iter().filter(|peer| peer.node != node.client_id) {
                    let name = plan.node(&peer.node).unwrap().hostname.to_string();
                    let line = lines.iter().find(|line| line.names.contains(&name)).unwrap();
                    let near = plan.interfaces_of(&node.client_id).any(|(link, _)| link.subnets[0].contains(&line.address));
                    prop_assert!(near, "{} on {} is {}", name, node.hostname, line.address);
                }
            }
        }
    }
}

#[test]
fn shapes_have_nothing_to_tell() {
    for topology in [ring(20), star(20), grid(5, 5), fat_tree(4), lan(200)] {
        assert_eq!(told(&topology), [""; 0]);
    }
}

/// A host that has netem and nothing else: what that cannot do is refused before anything runs, with the link and the reason.
#[test]
fn what_only_a_wire_can_do_is_refused_where_there_is_none() {
    let only = |number: &'static [usize]| Conditions { only_netem: number, ..Conditions::default() };
    let mut topology = ring(3);
    topology.links[1].members[0].to_link = impairment(&["delay=5ms", "loss=1%"]);
    let network = plan(&topology, &only(&[0])).unwrap().network;
    // Also while it runs.
    let mut running = network.clone();
    let every = ["loss=every 10".parse().unwrap()];
    let refused = running.set(&id("l1"), None, &every).unwrap_err().to_string();
    assert_eq!(
        refused,
        "link l1: netem loses by chance only, not every Nth packet; its host has netem alone, and with the emulator auto \
         the wire does it"
    );
    assert_eq!(running, network, "a refused change changes nothing");
    topology.links[1].members[1].from_link = impairment(&["duplicate=1%"]);
    let refused = plan(&topology, &only(&[0])).unwrap_err().to_string();
    assert!(
        refused.contains("link l1: of two stages one after the other netem can only add a delay"),
        "{refused}"
    );
    for elsewhere in [only(&[]), only(&[1])] {
        assert!(plan(&topology, &elsewhere).is_ok(), "another host's emulator");
    }
}

fn impairment(settings: &[&str]) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment
}

/// A link that is put in front touches none of those that run: not their devices, addresses or Ethernet addresses, also where
/// interfaces are called by their place in the file.
#[test]
fn a_link_put_in_between_moves_nobody() {
    let mut topology = loose(3);
    connect(&mut topology, 0, 1);
    add_lan(&mut topology, &[0, 1, 2]);
    address(&mut topology, "n2:0", "10.9.0.1");
    let before = network(&topology);
    let of = |plan: &NetworkPlan, link: &str| {
        let link = plan.links().iter().find(|one| one.client_id.as_str() == link).unwrap();
        let member = |member: &NetworkMember| {
            (member.node.clone(), member.device, member.mac, member.addresses.clone())
        };
        link.members.iter().map(member).collect::<Vec<_>>()
    };
    let mut later = loose(3);
    connect(&mut later, 2, 0);
    let new = later.links.pop().unwrap();
    let (lan, cable) = (topology.links[1].client_id.clone(), topology.links[0].client_id.clone());
    let mut all = loose(3);
    connect(&mut all, 2, 0);
    connect(&mut all, 0, 1);
    add_lan(&mut all, &[0, 1, 2]);
    all.links[0].client_id = id("new");
    all.links[1].client_id = cable.clone();
    all.links[2].client_id = lan.clone();
    address(&mut all, "n2:1", "10.9.0.1");
    drop(new);
    let after = plan(&all, &Conditions { previous: Some(&before), ..Conditions::default() }).unwrap().network;
    for link in [cable.as_str(), lan.as_str()] {
        assert_eq!(of(&before, link), of(&after, link), "{link}");
    }
    let macs: HashSet<_> =
        after.links().iter().flat_map(|link| &link.members).map(|member| member.mac).collect();
    assert_eq!(macs.len(), 7, "the new link's are its own");
    let devices: HashSet<_> = after
        .links()
        .iter()
        .flat_map(|link| &link.members)
        .map(|member| (member.node.clone(), member.device))
        .collect();
    assert_eq!(devices.len(), 7);
}

#[test]
fn the_last_address_of_a_small_network_is_the_first() {
    let mut topology = ring(3);
    topology.links[0].prefix_length = Some(30);
    let plan = network(&topology);
    assert_eq!(addresses(&plan, 0), ["10.1.1.6/30", "10.1.1.5/30"]);
}
