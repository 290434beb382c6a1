//! Links of a slice: joined before its nodes are plugged in, at each boot of each, parted after them.

use std::path::PathBuf;

use testyard_agent::desired::{self, Named};
use testyard_agent::observed::{self, LinksSeen, Phase};
use testyard_fabric::Repair;
use testyard_fabric::fake::{Call, Failure, Verb};
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodeRoute, PortId};
use testyard_guest_protocol::HostsLine;
use testyard_model::host_table::{HostTable, NamedNode, NamedPlace};
use testyard_model::id::{Revision, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_runtime::fake::Op;
use uuid::Uuid;

use crate::world::World;

/// Two nodes and a cable between them.
pub(crate) fn cabled() -> World {
    let mut world = World::new(2);
    let end = |node: &desired::Node| LinkEnd {
        port: PortId { node: node.sliver, device: "eth1".into() },
        to_link: Impairment::default(),
        from_link: Impairment::default(),
    };
    let link = HostLink {
        sliver: SliverId::from_uuid(Uuid::from_u128(99)),
        name: "cable".into(),
        kind: LinkKind::PointToPoint,
        up: true,
        mtu: 1500,
        seed: 0,
        is_seed_chosen: false,
        ends: world.slice.nodes.iter().map(end).collect(),
        beyond: None,
        capture: None,
    };
    world.slice.links = vec![link];
    for (node, number) in world.slice.nodes.iter_mut().zip(2_u8..) {
        node.network.ports = vec![NodePort {
            device: "eth1".into(),
            mac: format!("02:00:00:00:00:{number:02x}").parse().unwrap(),
            mtu: 1500,
            addresses: vec![format!("10.1.1.{number}/24").parse().unwrap()],
        }];
    }
    world
}

fn all(slice: &observed::Slice) -> bool {
    slice.nodes.iter().all(|node| node.converged)
}

fn plugs(world: &World, number: usize) -> Vec<PathBuf> {
    let node = world.slice.nodes[number].sliver;
    let plug = |call: &Call| match call {
        Call::Plug(sliver, netns) if *sliver == node => Some(netns.clone()),
        _ => None,
    };
    world.fabric.calls().iter().filter_map(plug).collect()
}

#[tokio::test(start_paused = true)]
async fn from_nothing_to_links_and_back() {
    let mut world = cabled();
    let mut running = world.start().await;
    let seen = running.until_phase(Phase::Ready).await;
    assert_eq!(seen.links, LinksSeen::Joined);
    let calls = world.fabric.calls();
    let join = calls.iter().position(|call| matches!(call, Call::Join(_))).unwrap();
    let plug = calls.iter().position(|call| matches!(call, Call::Plug(..))).unwrap();
    assert!(join < plug, "{calls:?}");
    assert_eq!(world.fabric.links(world.slice.slice).unwrap().links, world.slice.links);

    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running
        .until("restarted", |slice| slice.nodes[0].boot == 1 && slice.nodes[0].phase == Phase::Ready)
        .await;
    assert_eq!((plugs(&world, 0).len(), plugs(&world, 1).len()), (2, 1), "only the one that has booted");
    let attached = |node: SliverId| {
        let calls = world.fabric.calls();
        calls.iter().filter(|call| matches!(call, Call::Attach(sliver, _) if *sliver == node)).count()
    };
    assert_eq!(attached(world.slice.nodes[0].sliver), 2, "its control interface, too");

    world
        .change(&running, |slice| {
            slice.nodes.clear();
            slice.links.clear();
        })
        .await;
    running.until("gone", |slice| slice.nodes.is_empty() && slice.links == LinksSeen::None).await;
    assert!(world.fabric.calls().contains(&Call::Part(world.slice.slice)));
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn a_link_that_changes_disturbs_no_node() {
    let mut world = cabled();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.change(&running, |slice| slice.links[0].ends[0].to_link.delay = "5ms".parse().unwrap()).await;
    let slice = world.slice.slice;
    running
        .until("joined again", |seen| seen.links == LinksSeen::Joined && seen.revision == Revision(2))
        .await;
    assert_eq!(world.fabric.links(slice).unwrap().links, world.slice.links);
    assert_eq!((plugs(&world, 0).len(), plugs(&world, 1).len()), (1, 1));
    assert_eq!(world.runtime.node(&world.key(0)).unwrap().boots, 1);
}

#[tokio::test(start_paused = true)]
async fn links_in_trouble_are_told_and_tried_again() {
    for verb in [Verb::Join, Verb::Plug] {
        let world = cabled();
        world.fabric.fail(verb, 1, Failure::Kernel("no room".into()));
        world.fabric.fail(verb, 2, Failure::Kernel("no room".into()));
        let mut running = world.start().await;
        if verb == Verb::Join {
            let trouble =
                |seen: &LinksSeen| matches!(seen, LinksSeen::Failed(why) if why.contains("no room"));
            running.until("told", |slice| trouble(&slice.links)).await;
        }
        running.until_phase(Phase::Ready).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_joins_again_and_ends_what_nobody_wants() {
    let mut world = cabled();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.calls(Op::Create), 2, "nodes stay");
    running.crash();
    world.slice.nodes.clear();
    world.slice.links.clear();
    let running = world.start().await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while world.fabric.links(world.slice.slice).is_some() {
        assert!(tokio::time::Instant::now() < deadline, "links of nobody are left");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    running.shut_down().await;
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_mended_is_mended_later() {
    let world = cabled();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.fabric.fail(Verb::Repair, 1, Failure::Kernel("not now".into()));
    world.fabric.disturb(vec![Repair::Wire(world.slice.slice)]);
    let repairs = || world.fabric.calls().iter().filter(|call| **call == Call::Repair).count();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while repairs() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "nobody looks again");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn links_that_cannot_be_mended_say_so_and_come_back() {
    let world = cabled();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    for verb in [Verb::Repair, Verb::Join] {
        world.fabric.fail(verb, 1, Failure::Kernel("no wire".into()));
    }
    world.fabric.disturb(vec![Repair::Wire(world.slice.slice)]);
    running
        .until("told", |seen| matches!(&seen.links, LinksSeen::Failed(why) if why.contains("no wire")))
        .await;
    running.until("joined again", |seen| seen.links == LinksSeen::Joined).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_while_it_runs_is_told_as_done_when_it_is_and_the_node_is_ready_all_the_while() {
    let mut world = cabled();
    let mut running = world.start().await;
    running.until("made", all).await;
    for failures in [0, 2] {
        (1..=failures).for_each(|at| world.fabric.fail(Verb::Plug, at, Failure::Kernel("no route".into())));
        let via = format!("10.1.1.{}", 100 + failures).parse().unwrap();
        let route = NodeRoute { to: "10.9.0.0/16".parse().unwrap(), via, device: "eth1".into() };
        world.change(&running, |slice| slice.nodes[0].network.routes = vec![route.clone()]).await;
        let (revision, mut problems) = (world.slice.revision, Vec::new());
        running
            .until("changed", |slice| {
                assert!(slice.nodes.iter().all(|node| node.phase == Phase::Ready), "{slice:#?}");
                problems.extend(slice.nodes[0].problem.clone());
                let has = world.fabric.ports(slice.nodes[0].sliver).unwrap().routes == [route.clone()];
                assert!(has || slice.revision < revision || !slice.nodes[0].converged, "not before it is so");
                slice.revision == revision && all(slice)
            })
            .await;
        assert_eq!(problems.is_empty(), failures == 0);
        assert!(problems.iter().all(|problem| problem.contains("no route")), "{problems:?}");
    }
    // What the guest alone has to do is done when it says so.
    let line = desired::HostsLine { address: "10.1.1.9".parse().unwrap(), names: vec!["x".into()] };
    world.change(&running, |slice| slice.nodes[0].network.names = vec![line]).await;
    let revision = world.slice.revision;
    let mut underway = false;
    running
        .until("told inside", |slice| {
            underway |= slice.revision == revision && !slice.nodes[0].converged;
            slice.revision == revision && all(slice)
        })
        .await;
    assert!(underway, "a host has to be told before a node can be");
}

#[tokio::test(start_paused = true)]
async fn names_that_all_nodes_share() {
    let mut world = World::new(3);
    let mut running = world.start().await;
    running.until("ready", all).await;
    let hosts = |world: &World, number: usize| {
        let desired = world.runtime.node(&world.key(number)).unwrap().desired.unwrap();
        let line = |line: &HostsLine| format!("{} {}", line.address, line.names.join(" "));
        desired.hosts.iter().map(line).collect::<Vec<_>>()
    };
    let alone = hosts(&world, 2);
    assert!(alone[0].ends_with(" node2"), "{alone:?}");
    let named = |number: u8| NamedNode {
        hostname: format!("node{number}").parse().unwrap(),
        places: vec![NamedPlace {
            link: 7,
            addresses: vec![[10, 1, 1, number].into()],
            names: format!("node{number}-cable").into(),
        }],
    };
    for addresses in 2..5 {
        let table = HostTable::new((0..addresses).map(named).collect());
        world
            .change(&running, |slice| {
                slice.host_tables = vec![table.clone()];
                // The last one's place is not there.
                for (node, number) in slice.nodes.iter_mut().zip(0..) {
                    node.network.named = Some(Named { table: number / 2, node: number });
                }
            })
            .await;
        let revision = world.slice.revision;
        running.until("told", |slice| slice.revision == revision && all(slice)).await;
        for number in [0, 1] {
            let lines = hosts(&world, number);
            let shared =
                (0..addresses).map(|number| format!("10.1.1.{number} node{number}-cable node{number}"));
            assert_eq!(lines[1..], shared.collect::<Vec<_>>());
            // A bare name is a link's where the node has one.
            assert_eq!(
                lines[0].ends_with(&format!(" node{number}")),
                number >= addresses.into(),
                "{lines:?}"
            );
        }
        assert_eq!(hosts(&world, 2), alone);
    }
}

#[tokio::test(start_paused = true)]
async fn every_desired_state_that_was_taken_is_told() {
    let mut world = cabled();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.change(&running, |_| {}).await;
    let seen = running.until("taken", |slice| slice.revision == Revision(2)).await;
    assert_eq!(seen.links, LinksSeen::Joined);
    assert!(seen.nodes.iter().all(|node| node.converged));
    world.fabric.fail(Verb::Join, 1, Failure::Kernel("no room".into()));
    world.change(&running, |slice| slice.links[0].up = false).await;
    let mut seen = Vec::new();
    running
        .until("joined", |slice| {
            seen.extend((slice.revision == Revision(3)).then(|| slice.links.clone()));
            seen.last() == Some(&LinksSeen::Joined)
        })
        .await;
    assert_ne!(seen[0], LinksSeen::Joined, "what was joined before is not what is wanted now");
    assert!(seen.iter().any(|seen| matches!(seen, LinksSeen::Failed(why) if why.contains("no room"))));
}
