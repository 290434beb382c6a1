//! Which back end impairs which link, and what netem makes of it, on a kernel that has it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};

use support::links::{cable, identity, impaired, link, plug, round_trip, slice, two, wanted};
use support::netem::{disciplines, ends, has_netem, has_wire, is_emulated, passed, world};
use support::{World, node};
use testyard_fabric::links::HostLink;
use testyard_fabric::{Emulator, FabricError, Links as _};
use testyard_model::link::LinkKind;
use testyard_wire::conformance::number;

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_without_netem_is_told_of_or_done_without() {
    if has_netem().is_ok() {
        return;
    }
    let world = World::new();
    let refused =
        world.fabric_by("netem", Emulator::Netem).join(&wanted(1, vec![cable(&["delay=1ms"])])).await;
    assert!(matches!(&refused, Err(FabricError::Lacking(text)) if text.contains("sch_netem")), "{refused:?}");
    let fabric = world.fabric_by("netem", Emulator::Auto);
    fabric.join(&wanted(1, vec![cable(&["delay=1ms"])])).await.unwrap();
    assert!(has_wire(&world));
    fabric.part(slice()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_goes_from_one_back_end_to_the_other_and_back() {
    let Some(world) = world() else { return };
    let fabric = world.fabric("links");
    let lan = |settings: &[&str]| {
        let mut lan = link(1, LinkKind::Lan, &[(1, "eth1"), (2, "eth1")], &[]);
        (lan.ends[0].to_link, lan.ends[0].from_link) = (impaired(settings), impaired(settings));
        lan
    };
    let one_way = |settings: &[&str]| {
        let mut cable = cable(&[]);
        (cable.ends[0].to_link, cable.ends[0].from_link) = (impaired(settings), impaired(settings));
        cable
    };
    type Make<'a> = &'a dyn Fn(&[&str]) -> HostLink;
    let kinds: [Make<'_>; 2] = [&one_way, &lan];
    for make in kinds {
        fabric.join(&wanted(1, vec![make(&["delay=20ms"])])).await.unwrap();
        let [a, b] = two(&fabric).await;
        let before = [identity(&a), identity(&b)];
        let steps: [(&[&str], bool, bool); 5] = [
            (&["delay=20ms"], true, false),
            (&["delay=20ms", "loss=every 1000"], false, true),
            (&["delay=20ms", "loss=0.0001%", "rate=1Gbit"], true, false),
            (&[], false, false),
            (&["delay=20ms"], true, false),
        ];
        for (revision, (settings, by_netem, by_wire)) in (2..).zip(steps) {
            fabric.join(&wanted(revision, vec![make(settings)])).await.unwrap();
            let seen = disciplines(&world);
            assert_eq!(
                (seen.contains("netem"), has_wire(&world)),
                (by_netem, by_wire),
                "{settings:?}: {seen}"
            );
            let time = round_trip(&a, "10.1.1.3");
            let asked = if settings.is_empty() { 0.0 } else { 40.0 };
            assert!(time >= asked, "{settings:?}: {time} ms");
            // In an emulated machine a process gets its turn when it can.
            assert!(time < asked + 15.0 || is_emulated(), "{settings:?}: {time} ms");
        }
        assert_eq!([identity(&a), identity(&b)], before);
        fabric.part(slice()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_not_touched_by_a_fabric_that_comes_back() {
    let Some(world) = world() else { return };
    let settings = ["delay=1500ms", "jitter=1ms normal", "loss=0.0001%"];
    let fabric = world.fabric_by("netem", Emulator::Netem);
    fabric.join(&wanted(1, vec![cable(&settings)])).await.unwrap();
    let nodes = two(&fabric).await;
    let [a, b] = ends(&nodes);
    let numbered = |number: u32| {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
        bytes.extend(number.to_be_bytes());
        bytes.resize(100, 0);
        bytes
    };
    a.send(&(0..100).map(numbered).collect::<Vec<_>>());
    drop(fabric);
    let fabric = world.fabric_by("netem", Emulator::Netem);
    fabric.join(&wanted(1, vec![cable(&settings)])).await.unwrap();
    // And changed in place, while they are on their way.
    fabric.join(&wanted(2, vec![cable(&["delay=1400ms", "rate=1Gbit"])])).await.unwrap();
    let waiting: u64 = passed(&fabric).await.iter().map(|passed| passed.offered - passed.delivered).sum();
    assert!(waiting > 0, "they were still on their way");
    let got: Vec<u32> = b.numbered(3_000).iter().map(|arrival| number(&arrival.bytes)).collect();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    let counted = passed(&fabric).await;
    assert!(counted.iter().any(|passed| passed.delivered >= 100), "nothing was made anew: {counted:?}");
    fabric.part(slice()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_finds_its_impairment() {
    let Some(world) = world() else { return };
    for kind in [LinkKind::PointToPoint, LinkKind::Lan] {
        let fabric = world.fabric_by("netem", Emulator::Netem);
        let mut link = link(1, kind, &[(1, "eth1"), (2, "eth1")], &["delay=10ms"]);
        link.ends[1].from_link = impaired(&["delay=5ms"]);
        fabric.join(&wanted(1, vec![link])).await.unwrap();
        let [a, b] = two(&fabric).await;
        let before = identity(&a);
        drop(b);
        let b = node();
        plug(&fabric, 2, "10.1.1.3/24", &b).await;
        let time = round_trip(&a, "10.1.1.3");
        assert!(time >= 25.0 && (time < 33.0 || is_emulated()), "{kind:?}: {time} ms");
        assert_eq!(identity(&a), before);
        fabric.part(slice()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cannot_say_is_refused_with_the_reason() {
    let Some(world) = world() else { return };
    let fabric = world.fabric_by("netem", Emulator::Netem);
    let mut seeded = cable(&["loss=1%"]);
    seeded.is_seed_chosen = true;
    for (link, why) in [(cable(&["loss=every 10"]), "every Nth"), (seeded, "seed")] {
        let refused = fabric.join(&wanted(1, vec![link])).await;
        let said = |text: &String| text.contains("link1") && text.contains(why);
        assert!(matches!(&refused, Err(FabricError::Inexpressible(text)) if said(text)), "{refused:?}");
    }
    fabric.join(&wanted(1, vec![cable(&["loss=1%"])])).await.unwrap();
    fabric.part(slice()).await.unwrap();
}

/// What TCP leaves uncut is many packets, and each is judged alone.
#[tokio::test(flavor = "multi_thread")]
async fn uncut_frames_are_cut_where_packets_are_judged_alone() {
    const BYTES: usize = 4 << 20;
    let Some(world) = world() else { return };
    for (settings, is_cut) in [(&["delay=1ms", "loss=0.0001%"][..], true), (&["delay=1ms"], false)] {
        let fabric = world.fabric_by("netem", Emulator::Netem);
        fabric.join(&wanted(1, vec![cable(settings)])).await.unwrap();
        let [a, b] = two(&fabric).await;
        let [_, end] = ends(&[a.clone(), b.clone()]);
        let listener = b.run(|| TcpListener::bind("10.1.1.3:7000")).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut stream = a.run(|| TcpStream::connect("10.1.1.3:7000")).unwrap();
        stream.write_all(&vec![7; BYTES]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reader.join().unwrap(), BYTES);
        let longest = end.collect(200).iter().map(|arrival| arrival.bytes.len()).max().unwrap();
        assert_eq!(longest <= 1_514, is_cut, "{settings:?}: {longest} bytes");
        let all = passed(&fabric).await;
        let there = all.iter().max_by_key(|passed| passed.bytes).unwrap();
        assert!(there.bytes >= BYTES as u64 && there.delivered >= BYTES as u64 / 1_514, "{all:?}");
        fabric.part(slice()).await.unwrap();
    }
}
