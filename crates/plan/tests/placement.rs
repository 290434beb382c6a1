//! Placement over several hosts: never over capacity, pins and partitions kept, links inside of hosts where that can be.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;
use testyard_model::host::HostLimits;
use testyard_model::id::HostName;
use testyard_model::name::SliverTypeName;
use testyard_model::setting::Setting;
use testyard_model::topology::Topology;
use testyard_plan::place::{Need, Placement, Unplaceable, place, traffic_between_hosts};
use testyard_plan::plan::cables;
use testyard_plan::{Host, HostStanding, HostView, PortRange, Usage};
use testyard_testkit::topologies::{connect, fat_tree, grid, loose, random, ring};

fn host(name: &str, capacity: u32, only: Option<&str>) -> Host {
    let ports = PortRange::new(2000, 60_000).unwrap();
    let types = only.map(|name| vec![name.parse().unwrap()]);
    Host::new(name.parse().unwrap(), capacity, ports, "10.0.0.0/16".parse().unwrap(), None, types).unwrap()
}

struct Yard {
    hosts: Vec<Host>,
    usage: Usage,
    kind: SliverTypeName,
    bound: HashMap<usize, HostName>,
    partitions: HashMap<usize, String>,
}

impl Yard {
    fn new(capacities: &[u32]) -> Self {
        let hosts = capacities.iter().zip('a'..).map(|(slots, name)| host(&name.to_string(), *slots, None));
        Self {
            hosts: hosts.collect(),
            usage: Usage::default(),
            kind: "plain".parse().unwrap(),
            bound: HashMap::new(),
            partitions: HashMap::new(),
        }
    }

    fn place(&self, topology: &Topology) -> Result<Placement, Unplaceable> {
        let views: Vec<_> = self
            .hosts
            .iter()
            .map(|host| HostView {
                host,
                usage: &self.usage,
                standing: HostStanding::Ready,
                limits: &HostLimits::UNKNOWN,
            })
            .collect();
        let needs: Vec<_> = (0..topology.nodes.len())
            .map(|node| Need {
                sliver_type: &self.kind,
                ports: 1,
                bound: self.bound.get(&node).cloned(),
                runs: false,
                partition: self.partitions.get(&node).map(String::as_str),
            })
            .collect();
        place(&needs, &cables(topology), &views)
    }

    fn traffic(&self, topology: &Topology) -> u64 {
        traffic_between_hosts(&cables(topology), &self.place(topology).unwrap().hosts)
    }
}

#[test]
fn a_group_stays_together_where_it_fits() {
    let yard = Yard::new(&[10, 20, 12]);
    assert_eq!(yard.place(&ring(15)).unwrap().hosts, [1; 15]);
    // Two groups spread, as single nodes do.
    let mut topology = loose(12);
    for node in [0, 1, 2, 3, 4, 6, 7, 8, 9, 10] {
        connect(&mut topology, node, node + 1);
    }
    let hosts = yard.place(&topology).unwrap().hosts;
    assert_eq!(hosts, [[1; 6], [1; 6]].concat());
    let yard = Yard::new(&[8, 8]);
    assert_eq!(yard.place(&topology).unwrap().hosts, [[0; 6], [1; 6]].concat());
}

#[test]
fn a_group_too_large_is_cut_where_little_passes() {
    // Links carry 1,000 Mbit/s each where nothing limits them.
    assert_eq!(Yard::new(&[20, 20]).traffic(&ring(40)), 2_000);
    assert_eq!(Yard::new(&[30, 20]).traffic(&ring(40)), 2_000);
    assert!(Yard::new(&[50, 50]).traffic(&grid(10, 10)) <= 12_000);
    assert!(Yard::new(&[25, 25, 25, 25]).traffic(&grid(10, 10)) <= 28_000);
    // Two dense halves with one slow link between them.
    let mut topology = random(20, 60, 3);
    let (nodes, links) = (topology.nodes.len(), topology.links.clone());
    for _ in 0..nodes {
        topology.nodes.push(loose(topology.nodes.len() + 1).nodes.pop().unwrap());
    }
    for link in &links {
        let ends: Vec<usize> = link
            .members
            .iter()
            .map(|m| {
                topology
                    .nodes
                    .iter()
                    .position(|n| n.interfaces.iter().any(|i| i.client_id == m.interface))
                    .unwrap()
            })
            .collect();
        connect(&mut topology, nodes + ends[0], nodes + ends[1]);
    }
    connect(&mut topology, 3, 30);
    for member in &mut topology.links.last_mut().unwrap().members {
        "rate=2Mbit".parse::<Setting>().unwrap().apply(&mut member.to_link);
    }
    assert_eq!(Yard::new(&[20, 20]).traffic(&topology), 2);
}

#[test]
fn pins_pull_their_neighbours() {
    let mut yard = Yard::new(&[30, 20]);
    yard.bound.insert(0, "b".parse().unwrap());
    assert_eq!(yard.place(&ring(10)).unwrap().hosts, [1; 10]);
}

#[test]
fn partitions() {
    let mut yard = Yard::new(&[10, 6, 6]);
    yard.partitions = [(0, "b"), (2, "b"), (1, "left"), (5, "left")].map(|(n, p)| (n, p.to_owned())).into();
    let placement = yard.place(&loose(6)).unwrap();
    assert_eq!((placement.hosts[0], placement.hosts[2]), (1, 1));
    assert_eq!(placement.hosts[1], placement.hosts[5]);
    let told: Vec<String> = placement.notices.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["there is no host \"left\" here: nodes of that partition are together on a"]);
    // A partition that fits nowhere, one that does not fit on its host, and one that is torn apart by pins.
    yard.partitions = (0..12).map(|node| (node, "all".to_owned())).collect();
    assert!(matches!(yard.place(&loose(12)), Err(Unplaceable::Partition { nodes: 12, .. })));
    yard.partitions = (0..7).map(|node| (node, "b".to_owned())).collect();
    let Err(Unplaceable::Partition { why, .. }) = yard.place(&loose(7)) else { panic!() };
    assert_eq!(why, "no host has room for it as a whole; free 6 on b (58001 ports)");
    yard.partitions = [(0, "x".to_owned()), (1, "x".to_owned())].into();
    yard.bound = [(0, "a".parse().unwrap()), (1, "b".parse().unwrap())].into();
    let Err(Unplaceable::Partition { why, .. }) = yard.place(&loose(2)) else { panic!() };
    assert!(why.contains("bound to b, others to a"), "{why}");
}

#[test]
fn links_do_not_leave_a_host_that_has_no_way_out() {
    // `c` has the most room, and a whole ring fits; what does not fit there is split among the others.
    let mut yard = Yard::new(&[10, 10, 16]);
    yard.hosts[2] = yard.hosts[2].clone().alone();
    assert_eq!(yard.place(&ring(16)).unwrap().hosts, [2; 16]);
    let hosts = yard.place(&ring(18)).unwrap().hosts;
    assert!(hosts.iter().all(|host| *host < 2), "{hosts:?}");
    // Nodes without links are anywhere.
    assert!(yard.place(&loose(36)).is_ok());
    // No room for it together, and none without: the link is named.
    let Err(Unplaceable::Apart(apart)) = yard.place(&ring(30)) else { panic!("it fits nowhere") };
    assert_eq!(apart.alone.as_str(), "c");
    yard.bound = [(0, "a".parse().unwrap()), (1, "c".parse().unwrap())].into();
    let Err(Unplaceable::Apart(apart)) = yard.place(&ring(4)) else { panic!("they are bound apart") };
    assert_eq!((apart.alone.as_str(), apart.other.as_str()), ("c", "a"));
}

#[test]
fn choosy_nodes_find_their_host_though_others_came_first() {
    let hosts = [host("a", 3, Some("plain")), host("b", 4, None)];
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
    let (plain, web) = ("plain".parse().unwrap(), "web".parse().unwrap());
    let need = |kind| Need { sliver_type: kind, ports: 1, bound: None, runs: false, partition: None };
    let needs = [&plain, &plain, &plain, &web, &web, &web, &web].map(need);
    assert_eq!(place(&needs, &[], &views).unwrap().hosts, [0, 0, 0, 1, 1, 1, 1]);
}

proptest! {
    #[test]
    fn never_over_capacity_and_pins_are_kept(
        nodes in 1_usize..60, links in 0_usize..120, seed: u64, capacities in prop::collection::vec(0_u32..40, 1..5),
        bound in prop::collection::hash_map(0_usize..60, 0_usize..5, 0..6), groups in prop::collection::vec(prop::collection::btree_set(0_usize..60, 1..5), 0..3),
    ) {
        let topology = random(nodes, links, seed);
        let mut yard = Yard::new(&capacities);
        yard.bound = bound.into_iter().filter(|(node, host)| *node < nodes && *host < capacities.len()).map(|(node, host)| (node, yard.hosts[host].name().clone())).collect();
        for (number, group) in groups.iter().enumerate() {
            for node in group.iter().filter(|node| **node < nodes) {
                yard.partitions.insert(*node, format!("p{number}"));
            }
        }
        let placed = yard.place(&topology);
        prop_assert_eq!(&placed, &yard.place(&topology));
        match placed {
            Ok(Placement { hosts, .. }) => {
                for (host, capacity) in capacities.iter().enumerate() {
                    prop_assert!(hosts.iter().filter(|on| **on == host).count() <= *capacity as usize);
                }
                for (node, host) in &yard.bound {
                    prop_assert_eq!(yard.hosts[hosts[*node]].name(), host);
                }
                for (one, partition) in &yard.partitions {
                    for (other, _) in yard.partitions.iter().filter(|(_, other)| *other == partition) {
                        prop_assert_eq!(hosts[*one], hosts[*other]);
                    }
                }
            }
            // Without pins and partitions there is a refusal only where there is no room.
            Err(_) if yard.bound.is_empty() && yard.partitions.is_empty() => {
                prop_assert!(capacities.iter().sum::<u32>() < nodes as u32);
            }
            Err(_) => {}
        }
    }

    /// Never worse than dealing nodes out in their order.
    #[test]
    fn placing_helps(seed: u64, k in 1_usize..4) {
        for topology in [random(60, 90, seed), fat_tree(2 * k + 2), grid(6, 2 * k + 3)] {
            let slots = topology.nodes.len().div_ceil(3) as u32;
            let yard = Yard::new(&[slots, slots, slots]);
            let dealt: Vec<usize> = (0..topology.nodes.len()).map(|node| node / slots as usize).collect();
            prop_assert!(yard.traffic(&topology) <= traffic_between_hosts(&cables(&topology), &dealt));
        }
    }
}
