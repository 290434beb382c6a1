//! Links between nodes, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use support::links::{cable, carrier, identity, impaired, link, plug, ports, round_trip, slice, two, wanted};
use support::{Netns, World, ip, node};
use testyard_fabric::links::{HostLink, NodeRoute};
use testyard_fabric::{Emulator, Fabric as _, FabricConfig, Links as _, LinuxFabric, Repair};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;

#[tokio::test]
async fn a_cable() {
    let world = World::new();
    let fabric = world.fabric("links");
    fabric.join(&wanted(1, vec![cable(&[])])).await.unwrap();
    let [a, b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3") && b.pings("10.1.1.2"));
    let features = a.command("ethtool -k eth1");
    let on: Vec<&str> =
        features.lines().filter(|line| line.contains("tnl") && line.contains(": on")).collect();
    assert!(on.is_empty() && features.contains("tx-udp_tnl-segmentation: off"), "{on:?}");
    assert!(features.contains("tx-tcp-segmentation: on"), "only what a wire cannot read: {features}");
    assert_eq!(fabric.joined().await.unwrap(), [slice()]);
    for _ in 0..2 {
        fabric.part(slice()).await.unwrap();
        assert_eq!(fabric.joined().await.unwrap(), []);
    }
    // The kernel ends a namespace in its own time.
    let deadline = Instant::now() + Duration::from_secs(10);
    while a.try_command("ip link show eth1", "").is_ok() {
        assert!(Instant::now() < deadline, "the interface goes with its link");
    }
}

#[tokio::test]
async fn a_node_that_restarts_takes_only_its_own_half_away() {
    for settings in [[].as_slice(), &["delay=1ms"]] {
        let world = World::new();
        let fabric = world.fabric("links");
        fabric.join(&wanted(1, vec![cable(settings)])).await.unwrap();
        let [a, b] = two(&fabric).await;
        assert!(a.pings("10.1.1.3"));
        let before = identity(&a);
        drop(b);
        assert!(carrier(&a), "{settings:?}");
        let b = node();
        plug(&fabric, 2, "10.1.1.3/24", &b).await;
        // The first echo asks for the address again: the new half may have been the answer's.
        assert!(a.pings("10.1.1.3") && b.pings("10.1.1.2"), "{settings:?}");
        assert_eq!(identity(&a), before, "{settings:?}");
        fabric.part(slice()).await.unwrap();
    }
}

#[tokio::test]
async fn impairments_change_while_it_runs() {
    let world = World::new();
    let fabric = world.fabric("links");
    fabric.join(&wanted(1, vec![cable(&[])])).await.unwrap();
    let [a, b] = two(&fabric).await;
    let before = identity(&a);
    assert!(round_trip(&a, "10.1.1.3") < 10.0);
    fabric.join(&wanted(2, vec![cable(&["delay=20ms"])])).await.unwrap();
    let time = round_trip(&a, "10.1.1.3");
    assert!((40.0..48.0).contains(&time), "{time}");
    fabric.join(&wanted(1, vec![cable(&[])])).await.unwrap();
    assert!(round_trip(&a, "10.1.1.3") >= 40.0, "an older wish is not taken");
    fabric.join(&wanted(3, vec![cable(&["delay=5ms", "loss=100%"])])).await.unwrap();
    assert!(!a.pings("10.1.1.3"));
    let lost: u64 = fabric.traffic(slice()).await.unwrap().iter().map(|way| way.passed.lost).sum();
    assert!(lost > 0);
    fabric.join(&wanted(4, vec![cable(&[])])).await.unwrap();
    assert!(round_trip(&a, "10.1.1.3") < 10.0);
    assert_eq!(identity(&a), before);
    assert!(b.pings("10.1.1.2"));
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn a_link_that_is_down_has_no_carrier() {
    for settings in [[].as_slice(), &["delay=1ms"]] {
        let world = World::new();
        let fabric = world.fabric("links");
        let mut down = cable(settings);
        down.up = false;
        fabric.join(&wanted(1, vec![down.clone()])).await.unwrap();
        let [a, b] = two(&fabric).await;
        assert!(!carrier(&a) && !carrier(&b) && !a.pings("10.1.1.3"));
        fabric.join(&wanted(2, vec![cable(settings)])).await.unwrap();
        assert!(carrier(&a) && carrier(&b));
        // It has asked in vain for its neighbour meanwhile, and would ask again within a second only.
        a.command("ip neigh flush dev eth1");
        assert!(a.pings("10.1.1.3"));
        fabric.join(&wanted(3, vec![down])).await.unwrap();
        assert!(!carrier(&a) && !a.pings("10.1.1.3"));
        fabric.part(slice()).await.unwrap();
    }
}

#[tokio::test]
async fn a_lan_with_one_slow_member() {
    let world = World::new();
    let fabric = world.fabric("links");
    let mut lan = link(1, LinkKind::Lan, &[(1, "eth1"), (2, "eth1"), (3, "eth1")], &[]);
    lan.ends[2].to_link = impaired(&["delay=10ms"]);
    lan.ends[2].from_link = impaired(&["delay=5ms"]);
    fabric.join(&wanted(1, vec![lan.clone()])).await.unwrap();
    let [a, b] = two(&fabric).await;
    let c = node();
    plug(&fabric, 3, "10.1.1.4/24", &c).await;
    assert!(round_trip(&a, "10.1.1.3") < 10.0);
    let time = round_trip(&b, "10.1.1.4");
    assert!((15.0..22.0).contains(&time), "{time}");

    // A member less, and the slow one fast.
    lan.ends.remove(1);
    lan.ends[1].to_link = Impairment::default();
    lan.ends[1].from_link = Impairment::default();
    fabric.join(&wanted(2, vec![lan])).await.unwrap();
    assert!(round_trip(&a, "10.1.1.4") < 10.0);
    assert!(b.try_command("ip link show eth1", "").is_err());
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn routes_lead_over_a_node_that_forwards() {
    let world = World::new();
    let fabric = world.fabric("links");
    let links = vec![
        link(1, LinkKind::PointToPoint, &[(1, "eth1"), (2, "eth1")], &[]),
        link(2, LinkKind::PointToPoint, &[(2, "eth2"), (3, "eth1")], &[]),
    ];
    fabric.join(&wanted(1, links)).await.unwrap();
    let nodes = [node(), node(), node()];
    let route =
        |to: &str, via: &str| NodeRoute { to: to.parse().unwrap(), via: ip(via), device: "eth1".to_owned() };
    let mut all = [
        ports(1, &[("eth1", "10.1.1.2/24")]),
        ports(2, &[("eth1", "10.1.1.3/24"), ("eth2", "10.1.2.2/24")]),
        ports(3, &[("eth1", "10.1.2.3/24")]),
    ];
    all[0].routes = vec![route("10.1.2.0/24", "10.1.1.3")];
    all[1].forwarding = true;
    all[2].routes = vec![route("10.1.1.0/24", "10.1.2.2")];
    for (ports, netns) in all.iter().zip(&nodes) {
        fabric.plug(slice(), ports, &netns.path()).await.unwrap();
    }
    assert!(nodes[0].pings("10.1.2.3") && nodes[2].pings("10.1.1.2"));
    // What is not wanted any more goes, what users have made stays.
    nodes[0].command("ip route add 10.9.0.0/16 via 10.1.1.3");
    all[0].routes.clear();
    fabric.plug(slice(), &all[0], &nodes[0].path()).await.unwrap();
    let routes = nodes[0].command("ip route");
    assert!(!routes.contains("10.1.2.0/24") && routes.contains("10.9.0.0/16"), "{routes}");
    all[0].ports[0].addresses = vec!["10.1.1.9/24".parse().unwrap()];
    fabric.plug(slice(), &all[0], &nodes[0].path()).await.unwrap();
    let addresses = nodes[0].command("ip -4 -o address show dev eth1");
    assert!(addresses.contains("10.1.1.9/24") && !addresses.contains("10.1.1.2/24"), "{addresses}");
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn a_wire_that_is_killed_is_replaced_and_nobody_notices() {
    let world = World::new();
    let fabric = world.fabric_by("links", Emulator::Wire);
    fabric.prepare().await.unwrap();
    let mut disturbances = fabric.disturbances();
    fabric.join(&wanted(1, vec![cable(&["delay=1ms"])])).await.unwrap();
    let [a, b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3"));
    let (before, peer) = (identity(&a), identity(&b));
    kill_wires(&world);
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            disturbances.next().await.unwrap();
            if fabric.repair().await.unwrap().contains(&Repair::Wire(slice())) {
                return;
            }
        }
    })
    .await
    .expect("its end is noticed");
    assert!(a.pings("10.1.1.3"));
    assert_eq!((identity(&a), identity(&b)), (before, peer));
    assert!(carrier(&a));
    fabric.reset().await.unwrap();
    assert_eq!(fabric.joined().await.unwrap(), []);
}

#[tokio::test]
async fn a_fabric_that_comes_back_finds_its_links() {
    for settings in [[].as_slice(), &["delay=1ms"]] {
        let world = World::new();
        let fabric = world.fabric("links");
        fabric.join(&wanted(1, vec![cable(settings)])).await.unwrap();
        let [a, b] = two(&fabric).await;
        let before = (identity(&a), identity(&b));
        drop(fabric);
        assert!(a.pings("10.1.1.3"), "links outlive who made them: {settings:?}");
        let fabric = world.fabric("links");
        fabric.join(&wanted(1, vec![cable(settings)])).await.unwrap();
        plug(&fabric, 1, "10.1.1.2/24", &a).await;
        plug(&fabric, 2, "10.1.1.3/24", &b).await;
        assert!(a.pings("10.1.1.3"), "{settings:?}");
        assert_eq!((identity(&a), identity(&b)), before, "{settings:?}");
        let began = Instant::now();
        fabric.part(slice()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

/// Ends the wires of this world, which nobody else's have the folder of.
fn kill_wires(world: &World) {
    let folder = world.run_folder().to_string_lossy().into_owned();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read_to_string(process.path().join("cmdline")) else { continue };
        if line.contains("--socket") && line.contains(&folder) {
            let number: i32 = process.file_name().to_string_lossy().parse().unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), nix::sys::signal::SIGKILL).unwrap();
        }
    }
}

#[tokio::test]
async fn links_of_one_revision_change_as_a_schedule_goes_on() {
    let world = World::new();
    let fabric = world.fabric("schedule");
    fabric.join(&wanted(1, vec![cable(&["delay=1ms"])])).await.unwrap();
    let [a, b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3"));
    let mut took = Vec::new();
    for round in 1..=10 {
        let delay = if round % 2 == 0 { "delay=1ms" } else { "delay=20ms" };
        let began = Instant::now();
        fabric.join(&wanted(1, vec![cable(&[delay])])).await.unwrap();
        took.push(began.elapsed());
        let measured = round_trip(&a, "10.1.1.3");
        assert_eq!(measured >= 40.0, round % 2 == 1, "{measured} ms with {delay}");
    }
    took.sort();
    eprintln!("a changed delay: median {:?}, most {:?}", took[5], took[9]);
    for up in [false, true] {
        let began = Instant::now();
        fabric.join(&wanted(1, vec![HostLink { up, ..cable(&["delay=1ms"]) }])).await.unwrap();
        eprintln!("a link that is to be {}: {:?}", if up { "up" } else { "down" }, began.elapsed());
        assert_eq!((carrier(&a), carrier(&b)), (up, up));
    }
    assert!(a.pings("10.1.1.3"));
}

#[tokio::test]
async fn a_wire_that_cannot_start_is_tried_again_and_keeps_no_other_slice_waiting() {
    let world = World::new();
    let flag = world.run_folder().join("broken");
    let mut config = world.config("links");
    let wire = config.wire[0].to_string_lossy().into_owned();
    let script = format!("test ! -e {} && exec {wire} \"$@\"", flag.display());
    config.wire = ["sh", "-c", &script, "wire"].map(Into::into).into();
    let fabric =
        LinuxFabric::in_netns(FabricConfig { emulator: Emulator::Wire, ..config }, world.host.path());
    fabric.prepare().await.unwrap();
    fabric.join(&wanted(1, vec![cable(&["delay=1ms"])])).await.unwrap();
    let [a, _b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3"));
    std::fs::write(&flag, "").unwrap();
    kill_wires(&world);
    let began = Instant::now();
    let error = fabric.repair().await.unwrap_err().to_string();
    assert!(error.contains("starting the wire") && began.elapsed() < Duration::from_secs(5), "{error}");
    assert!(fabric.repair().await.is_err(), "it is still not there");
    std::fs::remove_file(&flag).unwrap();
    assert_eq!(fabric.repair().await.unwrap(), [Repair::Wire(slice())]);
    assert!(a.pings("10.1.1.3"));
    fabric.reset().await.unwrap();
}

#[tokio::test]
async fn nodes_of_a_namespace_that_nobody_finds_any_more_get_their_interfaces_anew() {
    for settings in [[].as_slice(), &["delay=1ms"]] {
        loses_its_namespace(settings).await;
    }
}

async fn loses_its_namespace(settings: &[&str]) {
    let world = World::new();
    let fabric = world.fabric_by("links", Emulator::Wire);
    let links = || wanted(1, vec![cable(settings)]);
    fabric.join(&links()).await.unwrap();
    let [a, b] = two(&fabric).await;
    let lost = world.run_folder().join("links/links").join(slice().to_string()).join("netns");
    // Somebody still has it: its halves, and the nodes' interfaces, live on.
    let _held = Netns::open(&lost);
    drop(fabric);
    nix::mount::umount2(&lost, nix::mount::MntFlags::MNT_DETACH).unwrap();
    let fabric = world.fabric_by("links", Emulator::Wire);
    fabric.join(&links()).await.unwrap();
    plug(&fabric, 1, "10.1.1.2/24", &a).await;
    plug(&fabric, 2, "10.1.1.3/24", &b).await;
    assert!(a.pings("10.1.1.3"));
    fabric.part(slice()).await.unwrap();
    assert_eq!(a.command("ip -o link show type veth"), "", "what has parted is gone when that is said");
}

#[tokio::test]
async fn a_wire_that_ends_before_nodes_are_plugged_is_another_that_knows_all() {
    let world = World::new();
    let fabric = world.fabric_by("links", Emulator::Wire);
    fabric.join(&wanted(1, vec![cable(&["delay=1ms"])])).await.unwrap();
    kill_wires(&world);
    // Nobody has looked since: whoever plugs finds out.
    let [a, _b] = two(&fabric).await;
    assert!(a.pings("10.1.1.3"));
    fabric.part(slice()).await.unwrap();
}
