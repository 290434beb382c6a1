//! Static routes: every node reaches every other one that links lead to, over a shortest way, and never in a circle.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::topology::{InterfaceAddress, Topology};
use testyard_plan::NetworkPlan;
use testyard_plan::network::routes::PlannedRoute;
use testyard_plan::network::{Conditions, plan};
use testyard_testkit::topologies;

fn network(topology: &Topology) -> NetworkPlan {
    plan(topology, &Conditions::default()).unwrap().network
}

/// What every node's kernel would know.
struct World {
    routes: HashMap<ClientId, Vec<PlannedRoute>>,
    /// Networks that a node is on itself.
    on: HashMap<ClientId, Vec<IpNet>>,
    owner: HashMap<IpAddr, ClientId>,
    costs: HashMap<(ClientId, String), u32>,
    addresses: HashMap<ClientId, Vec<IpAddr>>,
}

impl World {
    fn new(plan: &NetworkPlan) -> Self {
        let mut router = plan.router();
        let mut world = Self {
            routes: HashMap::new(),
            on: HashMap::new(),
            owner: HashMap::new(),
            costs: HashMap::new(),
            addresses: HashMap::new(),
        };
        for node in plan.nodes() {
            world.routes.insert(node.client_id.clone(), router.routes_of(&node.client_id));
            for (_, member) in plan.interfaces_of(&node.client_id) {
                for address in &member.addresses {
                    world.on.entry(node.client_id.clone()).or_default().push(address.trunc());
                    world.owner.insert(address.addr(), node.client_id.clone());
                    world.addresses.entry(node.client_id.clone()).or_default().push(address.addr());
                }
                world.costs.insert((node.client_id.clone(), member.device.to_string()), member.cost);
            }
        }
        world
    }

    /// The way of a packet, by the longest prefix: its nodes, and what its steps cost but for the last,
    /// which the kernel takes without a route.
    fn walk(&self, from: &ClientId, to: IpAddr) -> Result<(Vec<ClientId>, u64), String> {
        let (mut at, mut way, mut cost) = (from.clone(), vec![from.clone()], 0_u64);
        while self.owner.get(&to) != Some(&at) {
            if way.len() > 2_000 {
                return Err(format!("{from} to {to} walks in a circle: {:?}", &way[..10]));
            }
            let connected = self.on.get(&at).into_iter().flatten().filter(|net| net.contains(&to));
            let connected = connected.map(IpNet::prefix_len).max();
            let route =
                self.routes[&at].iter().filter(|r| r.to.contains(&to)).max_by_key(|r| r.to.prefix_len());
            let next = match (connected, route) {
                (Some(bits), Some(route)) if route.to.prefix_len() > bits => route.via,
                (Some(_), _) => to,
                (None, Some(route)) => route.via,
                (None, None) => return Err(format!("{at} has no route to {to}")),
            };
            if next != to {
                let device = route.unwrap().device.to_string();
                cost += u64::from(self.costs[&(at.clone(), device)]);
            }
            at = self.owner.get(&next).ok_or(format!("{next} is nobody's"))?.clone();
            way.push(at.clone());
        }
        Ok((way, cost))
    }
}

/// How many steps it is from a node to each other one.
fn steps(plan: &NetworkPlan, from: &ClientId) -> BTreeMap<ClientId, usize> {
    let mut steps = BTreeMap::from([(from.clone(), 0)]);
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(node) = queue.pop_front() {
        for (link, _) in plan.interfaces_of(&node) {
            for member in &link.members {
                if !steps.contains_key(&member.node) {
                    steps.insert(member.node.clone(), steps[&node] + 1);
                    queue.push_back(member.node.clone());
                }
            }
        }
    }
    steps
}

fn everybody_reaches_everybody(topology: &Topology) {
    let plan = network(topology);
    let world = World::new(&plan);
    for node in plan.nodes() {
        let reached = steps(&plan, &node.client_id);
        for other in plan.nodes() {
            let addresses = world.addresses.get(&other.client_id).cloned().unwrap_or_default();
            match reached.get(&other.client_id) {
                Some(least) => {
                    let lengths = addresses
                        .iter()
                        .map(|address| world.walk(&node.client_id, *address).unwrap().0.len() - 1);
                    let shortest = lengths.min().unwrap_or(0);
                    assert_eq!(shortest, *least, "{} to {}", node.client_id, other.client_id);
                }
                None => {
                    for address in addresses {
                        assert!(world.walk(&node.client_id, address).is_err());
                    }
                }
            }
        }
    }
}

#[test]
fn every_shape() {
    for topology in [
        topologies::ring(21),
        topologies::star(20),
        topologies::grid(4, 5),
        topologies::fat_tree(4),
        topologies::lan(10),
        topologies::loose(3),
        // Automatic networks that go on in the next /16.
        topologies::random(40, 300, 5),
    ] {
        everybody_reaches_everybody(&topology);
    }
}

#[test]
fn like_routes_become_one() {
    let most = |topology: &Topology| {
        let plan = network(topology);
        plan.nodes().iter().map(|node| plan.routes_of(&node.client_id).len()).max().unwrap()
    };
    assert_eq!(most(&topologies::lan(20)), 0);
    assert!(most(&topologies::star(1_000)) <= 20, "{}", most(&topologies::star(1_000)));
    assert!(most(&topologies::ring(500)) <= 40, "{}", most(&topologies::ring(500)));
}

#[test]
fn nothing_that_is_nobodys_is_covered() {
    let plan = network(&topologies::star(600));
    let own: Vec<IpNet> = plan.links().iter().flat_map(|link| link.subnets.clone()).collect();
    for node in plan.nodes() {
        for route in plan.routes_of(&node.client_id) {
            let IpNet::V4(net) = route.to else { panic!("{route:?}") };
            for part in net.subnets(24.max(net.prefix_len())).unwrap() {
                let third = part.network().octets()[2];
                let known = own.iter().any(|own| own.contains(&IpAddr::V4(part.network())));
                assert!(known || third == 0 || third == 255, "{} covers {part}", route.to);
            }
        }
    }
}

#[test]
fn cost_decides() {
    // A triangle whose direct side is dear: n0 goes to n1's other address over n2.
    let mut topology = topologies::ring(3);
    topology.nodes[0].interfaces[0].cost = Some(10);
    topology.nodes[1].interfaces[0].cost = Some(10);
    let plan = network(&topology);
    let world = World::new(&plan);
    let name = |text: &str| text.parse::<ClientId>().unwrap();
    let far = plan.interfaces_of(&name("n1")).nth(1).unwrap().1.addresses[0].addr();
    let (way, cost) = world.walk(&name("n0"), far).unwrap();
    assert_eq!(way, [name("n0"), name("n2"), name("n1")]);
    assert_eq!(cost, 1);
}

#[test]
fn both_families_get_routes_of_their_own() {
    let mut topology = topologies::ring(6);
    for (number, link) in topology.links.clone().iter().enumerate() {
        for (side, member) in link.members.iter().enumerate() {
            let all = topology.nodes.iter_mut().flat_map(|node| &mut node.interfaces);
            let interface = all.into_iter().find(|i| i.client_id == member.interface).unwrap();
            for (text, bits) in
                [(format!("10.9.{number}.{}", side + 1), 24), (format!("fd00:{number}::{}", side + 1), 64)]
            {
                let address = text.parse().unwrap();
                interface.addresses.push(InterfaceAddress { address, prefix_length: Some(bits) });
            }
        }
    }
    let plan = network(&topology);
    let world = World::new(&plan);
    for node in plan.nodes() {
        for address in world.owner.keys() {
            world.walk(&node.client_id, *address).unwrap();
        }
    }
}

#[test]
fn without_routing_there_are_none() {
    let mut topology = topologies::ring(5);
    topology.routing = Routing::None;
    let plan = network(&topology);
    assert!(plan.nodes().iter().all(|node| plan.routes_of(&node.client_id).is_empty() && !node.forwarding));
    topology.routing = Routing::Session;
    let plan = network(&topology);
    assert!(plan.nodes().iter().all(|node| !plan.routes_of(&node.client_id).is_empty() && node.forwarding));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_topology(nodes in 1_usize..20, links in 0_usize..40, seed: u64, lans in prop::collection::vec(prop::collection::btree_set(0_usize..20, 1..8), 0..4)) {
        let mut topology = topologies::random(nodes, links, seed);
        for lan in lans {
            let members: Vec<usize> = lan.into_iter().filter(|node| *node < nodes).collect();
            topologies::add_lan(&mut topology, &members);
        }
        everybody_reaches_everybody(&topology);
    }

    /// With any costs, also none at all: nobody walks in a circle, and no way is cheaper.
    #[test]
    fn any_costs(nodes in 2_usize..12, links in 0_usize..30, seed: u64, costs in prop::collection::vec(0_u32..5, 80)) {
        let mut topology = topologies::random(nodes, links, seed);
        let mut costs = costs.into_iter().cycle();
        for node in &mut topology.nodes {
            node.interfaces.iter_mut().for_each(|interface| interface.cost = costs.next());
        }
        let plan = network(&topology);
        let world = World::new(&plan);
        for link in plan.links() {
            let least = cheapest(&plan, link);
            for node in plan.nodes() {
                for member in &link.members {
                    let (_, cost) = world.walk(&node.client_id, member.addresses[0].addr()).unwrap();
                    prop_assert_eq!(cost, least[&node.client_id]);
                }
            }
        }
    }
}

/// What it costs each node at least to come to a node of a link: Bellman and Ford's way, to check Dijkstra's.
fn cheapest(
    plan: &NetworkPlan,
    target: &testyard_plan::network::parts::NetworkLink,
) -> HashMap<ClientId, u64> {
    let mut least: HashMap<ClientId, u64> =
        target.members.iter().map(|member| (member.node.clone(), 0)).collect();
    loop {
        let mut better = false;
        for node in plan.nodes() {
            for (link, own) in plan.interfaces_of(&node.client_id) {
                let behind = link.members.iter().filter_map(|member| least.get(&member.node).copied()).min();
                let Some(cost) = behind.map(|behind| behind + u64::from(own.cost)) else { continue };
                if least.get(&node.client_id).is_none_or(|known| cost < *known) {
                    least.insert(node.client_id.clone(), cost);
                    better = true;
                }
            }
        }
        if !better {
            return least;
        }
    }
}
