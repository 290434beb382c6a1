//! Differences of plans: complete, told once, and in words.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use testyard_model::host::HostLimits;
use testyard_model::route::Routing;
use testyard_model::service::{Execute, Program, Shell};
use testyard_model::setting::Setting;
use testyard_model::topology::{InterfaceAddress, Topology, Variable};
use testyard_plan::network::mtu::Underlay;
use testyard_plan::network::{Conditions, plan as plan_network};
use testyard_plan::{
    Change, Existing, Host, HostStanding, HostView, LinkPolicy, NetworkPlan, Plan, PlanError, PortRange,
    Site, Usage, diff, diff_networks, plan, render,
};
use testyard_testkit::kinds::plain;
use testyard_testkit::topologies::{connect, loose, random, ring};

fn network(topology: &Topology) -> NetworkPlan {
    plan_network(topology, &Conditions::default()).unwrap().network
}

fn whole(topology: &Topology, capacities: &[u32]) -> Result<Plan, PlanError> {
    let types = [plain("plain")];
    let hosts: Vec<Host> = capacities
        .iter()
        .zip(0..)
        .map(|(slots, number)| {
            let (ports, network) = (PortRange::new(2000, 3000).unwrap(), format!("172.16.{number}.0/24"));
            let name = format!("h{number}").parse().unwrap();
            Host::new(name, *slots, ports, network.parse().unwrap(), None, None).unwrap()
        })
        .collect();
    let usage = Usage::default();
    let views: Vec<_> = hosts
        .iter()
        .map(|host| HostView {
            host,
            usage: &usage,
            standing: HostStanding::Ready,
            limits: &HostLimits::UNKNOWN,
        })
        .collect();
    let authority = "am.example.net".parse().unwrap();
    let site = Site {
        authority: &authority,
        sliver_types: &types,
        nodes_per_slice: 10_000,
        links: LinkPolicy::Make(Underlay::default()),
    };
    plan(topology, site, &views, &Existing::default())
}

/// A topology and many changes of it.
fn before_and_after() -> (Topology, Topology) {
    let old = ring(7);
    let mut new = old.clone();
    // n6 goes and n7 comes; links l5 and l6 go with n6, and l7 comes.
    new.links.truncate(5);
    new.nodes.truncate(6);
    for node in &mut new.nodes {
        let used = |name: &_| new.links.iter().any(|link| link.members.iter().any(|m| m.interface == *name));
        node.interfaces.retain(|interface| used(&interface.client_id));
    }
    let mut extra = loose(8).nodes.pop().unwrap();
    extra.image = Some("alpine:3".parse().unwrap());
    new.nodes.push(extra);
    connect(&mut new, 0, 6);
    new.links.last_mut().unwrap().client_id = "l7".parse().unwrap();
    // And what stays changes.
    new.nodes[1].image = Some("alpine:3".parse().unwrap());
    new.nodes[2].services.executes.push(Execute { shell: Shell::Sh, command: "id".into(), timeout: None });
    new.nodes[3].ports.push("80".parse().unwrap());
    new.nodes[4].programs.push(Program {
        client_id: "traffic".parse().unwrap(),
        command: "ping n1".into(),
        directory: None,
        timeout: None,
        expected_exit: None,
    });
    let link = &mut new.links[0];
    (link.mtu, link.down, link.seed) = (Some(1400), true, Some(7));
    for setting in ["delay=50ms", "loss=1%"] {
        setting.parse::<Setting>().unwrap().apply(&mut link.members[0].to_link);
    }
    let chosen = InterfaceAddress { address: "10.9.0.7".parse().unwrap(), prefix_length: None };
    new.nodes[2].interfaces[1].addresses.push(chosen);
    new.nodes[3].interfaces[0].cost = Some(5);
    new.environment.push(Variable { name: "RATE".into(), value: "5".into() });
    (old, new)
}

#[test]
fn in_words() {
    let (old, new) = before_and_after();
    let (old, new) = (whole(&old, &[10, 2]).unwrap(), whole(&new, &[10, 2]).unwrap());
    let changes = diff(&old, &new);
    assert!(changes.disturbs() && !changes.is_empty());
    insta::assert_snapshot!(format!("{changes}\nback:\n{}", diff(&new, &old)));
    assert_eq!(diff(&old, &old).to_string(), "nothing changes\n");
    insta::assert_snapshot!(serde_json::to_string_pretty(&diff(&old, &new).0[..3]).unwrap());
}

#[test]
fn a_whole_plan_as_text_and_back() {
    let topology = ring(5);
    let plan = whole(&topology, &[3, 2]).unwrap();
    let text = render::plan(&plan);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    insta::assert_snapshot!(text);
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn one_call_refuses_what_the_network_refuses() {
    let mut topology = ring(3);
    topology.links[1].members.pop();
    let error = whole(&topology, &[9]).unwrap_err();
    assert!(matches!(&error, PlanError::Network(_)));
    assert_eq!(
        error.to_string(),
        "link \"l1\" is point-to-point but has 1 member (such a link has two; make it a LAN)"
    );
    topology = ring(3);
    topology.nodes.iter_mut().for_each(|node| node.partition = Some("h9".into()));
    let error = whole(&topology, &[2, 2]).unwrap_err();
    assert!(
        error.to_string().starts_with("partition \"h9\" of 3 nodes has to be on one host: no host"),
        "{error}"
    );
    assert_eq!(whole(&topology, &[3, 2]).unwrap().diagnostics.len(), 1);
}

#[test]
fn only_those_that_are_concerned_get_routes() {
    // A chain of five; the cost of its last link is nobody's matter, one in a ring is.
    let mut old = loose(5);
    (0..4).for_each(|node| connect(&mut old, node, node + 1));
    let mut new = old.clone();
    new.nodes[4].interfaces[0].cost = Some(9);
    let changes = diff_networks(&network(&old), &network(&new));
    assert!(!changes.0.iter().any(|change| matches!(change, Change::RoutesChanged { .. })), "{changes}");
    let (old, mut new) = (ring(5), ring(5));
    new.nodes[0].interfaces[0].cost = Some(9);
    let changes = diff_networks(&network(&old), &network(&new));
    let routes = changes.0.iter().find_map(|change| match change {
        Change::RoutesChanged { nodes } => Some(nodes.len()),
        _ => None,
    });
    assert!(routes.is_some_and(|nodes| nodes < 5), "{changes}");
    new.routing = Routing::None;
    assert!(diff_networks(&network(&old), &network(&new)).to_string().contains("routing static → none"));
}

#[test]
fn the_same_in_another_order() {
    let mut topology = ring(4);
    for (number, node) in topology.nodes.iter_mut().enumerate() {
        for (port, interface) in node.interfaces.iter_mut().enumerate() {
            let link = if port == 0 { number } else { (number + 3) % 4 };
            let (link, host) = if number == 0 { ([0, 3][port], 1 + port) } else { (link, 10 + number) };
            let address = format!("10.9.{link}.{host}").parse().unwrap();
            interface.addresses.push(InterfaceAddress { address, prefix_length: Some(24) });
        }
    }
    let Ok(old) = plan_network(&topology, &Conditions::default()) else { return };
    topology.links.reverse();
    let new = network(&topology);
    assert_ne!(old.network, new);
    assert!(!diff_networks(&old.network, &new).is_empty());
}

fn change(topology: &mut Topology, what: u8, at: prop::sample::Index) {
    let nodes = topology.nodes.len();
    let node = at.index(nodes);
    let link = (!topology.links.is_empty()).then(|| at.index(topology.links.len()));
    match (what, link) {
        (0, _) => topology.nodes.push(loose(nodes + 50).nodes.pop().unwrap()),
        (1, Some(link)) => {
            let gone = topology.links.remove(link);
            for node in &mut topology.nodes {
                node.interfaces.retain(|i| gone.members.iter().all(|member| member.interface != i.client_id));
            }
        }
        (2, Some(link)) => topology.links[link].mtu = Some(1300),
        (3, Some(link)) => topology.links[link].down ^= true,
        (4, Some(link)) => topology.links[link].seed = Some(4),
        (5, Some(link)) => {
            "delay=3ms".parse::<Setting>().unwrap().apply(&mut topology.links[link].members[1].from_link);
        }
        (6, Some(link)) => topology.links.swap(0, link),
        (7, Some(link)) => topology.links[link].members.reverse(),
        (8, _) => topology.nodes[node].interfaces.iter_mut().for_each(|interface| interface.cost = Some(3)),
        (9, _) => topology.nodes[node].interfaces.reverse(),
        (10, _) => topology.nodes.swap(0, node),
        (11, _) => topology.routing = Routing::Session,
        (12, _) => topology.environment.push(Variable { name: "A".into(), value: at.index(9).to_string() }),
        (13, _) => {
            let mac = format!("02:00:00:00:00:{:02x}", at.index(200)).parse().unwrap();
            topology.nodes[node]
                .interfaces
                .iter_mut()
                .take(1)
                .for_each(|interface| interface.mac = Some(mac));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn empty_if_and_only_if_equal(nodes in 1_usize..12, links in 0_usize..20, seed: u64, changes in prop::collection::vec((0_u8..16, any::<prop::sample::Index>()), 0..4)) {
        let old = random(nodes, links, seed);
        let mut new = old.clone();
        for (what, at) in changes {
            change(&mut new, what, at);
        }
        let (old, new) = (network(&old), network(&new));
        prop_assert!(diff_networks(&old, &old).is_empty());
        prop_assert_eq!(diff_networks(&old, &new).is_empty(), old == new);
        prop_assert_eq!(diff_networks(&new, &old).is_empty(), old == new);
        // What is told of routes and names is what is different, and nothing else.
        let told = diff_networks(&old, &new);
        for node in new.nodes().iter().filter(|node| old.node(&node.client_id).is_some()) {
            let routes = told.0.iter().any(|change| matches!(change, Change::RoutesChanged { nodes } if nodes.contains(&node.client_id)));
            prop_assert_eq!(routes, old.routes_of(&node.client_id) != new.routes_of(&node.client_id));
            let names = told.0.iter().any(|change| matches!(change, Change::NamesChanged { nodes } if nodes.contains(&node.client_id)));
            prop_assert_eq!(names, old.hosts_lines(&node.client_id) != new.hosts_lines(&node.client_id));
        }
        // Nodes and links that are told to come and go lead from the old ones to the new ones.
        let names = |plan: &NetworkPlan| plan.nodes().iter().map(|node| node.client_id.clone()).collect::<std::collections::BTreeSet<_>>();
        let links = |plan: &NetworkPlan| plan.links().iter().map(|link| link.client_id.clone()).collect::<std::collections::BTreeSet<_>>();
        let (mut have, mut wired) = (names(&old), links(&old));
        for change in &told.0 {
            match change {
                Change::NodeAdded { node } => prop_assert!(have.insert(node.clone())),
                Change::NodeRemoved { node } => prop_assert!(have.remove(node)),
                Change::LinkAdded { link, .. } => prop_assert!(wired.insert(link.clone())),
                Change::LinkRemoved { link } => prop_assert!(wired.remove(link)),
                _ => {}
            }
        }
        prop_assert_eq!((have, wired), (names(&new), links(&new)));
    }
}

#[test]
fn a_schedule_is_part_of_a_plan() {
    use testyard_model::schedule::{Action, Event};
    let down = |at: &str| Event { at: at.parse().unwrap(), action: Action::LinkDown("l0".parse().unwrap()) };
    let with = |schedule: Vec<Event>| whole(&Topology { schedule, ..ring(3) }, &[9]).unwrap();
    let (none, one, other) = (with(vec![]), with(vec![down("3s")]), with(vec![down("4s")]));
    let told = |old, new| diff(old, new).to_string();
    assert_eq!(told(&none, &one), "+ schedule of 1 events\n");
    assert_eq!(told(&one, &other), "~ schedule of 1 events begins anew\n");
    assert_eq!(told(&one, &none), "- schedule\n");
    assert_eq!(told(&one, &one.clone()), "nothing changes\n");
}

#[test]
fn what_cannot_be_when_its_time_comes_is_refused_now() {
    use testyard_model::schedule::{Action, Event};
    let set = |at: &str, link: &str, settings: &[&str]| Event {
        at: at.parse().unwrap(),
        action: Action::LinkSet {
            link: link.parse().unwrap(),
            from: None,
            settings: settings.iter().map(|setting| setting.parse().unwrap()).collect(),
        },
    };
    let schedule = vec![
        // In the order of time, not of the file: by then the delay is there that the reordering needs.
        set("9s", "l0", &["reorder=1%"]),
        set("2s", "l0", &["delay=5ms"]),
        set("3s", "l0", &["queue=30B"]),
        set("4s", "l9", &["delay=5ms"]),
        Event { at: "5s".parse().unwrap(), action: Action::NodeRestart("n7".parse().unwrap()) },
        Event { at: "6s".parse().unwrap(), action: Action::ProgramStop("cbr".parse().unwrap()) },
    ];
    let refused = whole(&Topology { schedule, ..ring(3) }, &[9]).unwrap_err();
    let PlanError::Network(refused) = refused else { panic!("{refused}") };
    let told: Vec<&str> = refused.diagnostics.iter().map(|told| told.message.as_str()).collect();
    insta::assert_snapshot!(told.join("\n"));
}
