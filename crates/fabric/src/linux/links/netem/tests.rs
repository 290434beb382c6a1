use testyard_model::setting::Setting;

use super::*;
use crate::netlink::Routing as _;
use crate::netlink::recorded::Recorder;

const TERMS: Terms = Terms { mtu: 1500, seed: 7, is_seed_chosen: false };

fn impairment(settings: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings.split(';').filter(|text| !text.is_empty()) {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment.check().unwrap();
    impairment
}

fn tree(stages: &[&str]) -> Result<Tree, Unsaid> {
    let stages: Vec<Impairment> = stages.iter().map(|text| impairment(text)).collect();
    Tree::of(&stages, TERMS)
}

fn said(settings: &str) -> Tree {
    tree(&[settings]).unwrap()
}

#[test]
fn the_table_of_what_netem_can_say() {
    for settings in [
        "",
        "rate=10Mbit",
        "rate=10Mbit;queue=50",
        "delay=5ms",
        "delay=5ms;queue=50",
        "delay=5ms;jitter=1ms",
        "delay=5ms;jitter=1ms normal",
        "delay=5ms;jitter=700ms exponential",
        "delay=5ms;reorder=1%",
        "loss=1%",
        "loss=burst 1% 10%;rate=1Mbit;delay=5ms",
        "corrupt=1%",
    ] {
        assert!(tree(&[settings]).is_ok(), "{settings}");
    }
    for (settings, why) in [
        ("loss=every 10", Unsaid::Every),
        ("duplicate=1%", Unsaid::Duplicate),
        ("rate=1Mbit;queue=10kB", Unsaid::Bytes),
        ("rate=1Mbit;queue=50 red", Unsaid::Red),
        ("rate=1Mbit;jitter=1ms", Unsaid::Order),
        ("rate=1Mbit;delay=5ms;reorder=1%", Unsaid::Order),
        ("delay=5s;jitter=3s", Unsaid::Jitter),
        ("delay=5s;jitter=800ms exponential", Unsaid::Jitter),
    ] {
        assert_eq!(tree(&[settings]).unwrap_err(), why, "{settings}");
    }
}

#[test]
fn a_seed_that_was_chosen_is_the_wires_where_it_decides_something() {
    let terms = Terms { is_seed_chosen: true, ..TERMS };
    for settings in
        ["loss=1%", "loss=burst 1% 10%", "delay=5ms;jitter=1ms", "delay=5ms;reorder=1%", "corrupt=1%"]
    {
        assert_eq!(Tree::of(&[impairment(settings)], terms).unwrap_err(), Unsaid::Seed, "{settings}");
    }
    assert!(Tree::of(&[impairment("delay=5ms;rate=1Mbit;queue=10")], terms).is_ok(), "nothing is by chance");
}

#[test]
fn stages_are_one_where_that_is_the_same() {
    assert_eq!(tree(&["delay=20ms", "delay=10ms"]), tree(&["delay=30ms"]));
    assert_eq!(
        tree(&["rate=1Mbit;loss=1%;delay=1ms", "delay=10ms"]),
        tree(&["rate=1Mbit;loss=1%;delay=11ms"])
    );
    assert_eq!(tree(&["delay=10ms", "rate=1Mbit"]), tree(&["rate=1Mbit;delay=10ms"]));
    for stages in [
        ["rate=1Mbit", "rate=2Mbit"],
        ["loss=1%", "loss=1%"],
        ["delay=10ms", "delay=10ms;reorder=1%"],
        ["delay=10ms", "delay=10ms;jitter=1ms"],
        ["delay=10ms", "delay=10ms;queue=5"],
    ] {
        assert_eq!(tree(&stages).unwrap_err(), Unsaid::Stages, "{stages:?}");
    }
}

#[test]
fn each_part_has_its_place() {
    let tree = said("rate=8Mbit;delay=5ms;loss=50%;queue=50");
    assert_eq!((tree.rate.rate, tree.rate.limit), (1_000_000, 50));
    assert_eq!((tree.rate.delay, tree.rate.loss), (0, None));
    assert_eq!((tree.line.delay, tree.line.loss), (5_000_000, Some(NetemLoss::Random(1 << 31))));
    assert_eq!((tree.line.limit, tree.line.rate), (LINE, AT_ONCE));
    let tree = said("delay=5ms;jitter=1ms;reorder=10%");
    assert!(tree.line.reorder > 0 && tree.line.jitter == 1_000_000 && !tree.line.distribution.is_empty());
    // Without a rate the limit is of what is delayed; without a delay nothing waits.
    assert_eq!(said("delay=5ms;queue=50").line.limit, 50);
    assert_eq!(said("queue=50").line.limit, LINE);
    assert_eq!(said("rate=8Mbit").rate.limit, DEFAULT_LIMIT);
    assert_eq!(said("reorder=10%").line.reorder, 0);
}

#[test]
fn frames_are_cut_where_each_packet_is_judged_alone() {
    for settings in ["loss=1%", "rate=1Gbit", "delay=5ms;jitter=1ms", "corrupt=1%", "delay=1ms;queue=50"] {
        assert_eq!(said(settings).cutter.burst, 1_522, "{settings}");
    }
    for settings in ["", "delay=5ms", "rate=20Gbit"] {
        assert_eq!(said(settings).cutter.burst, WHOLE, "{settings}");
    }
}

#[test]
fn marks_tell_trees_apart() {
    let all =
        ["", "delay=5ms", "delay=6ms", "delay=5ms;jitter=1ms", "delay=5ms;jitter=1ms normal", "rate=1Mbit"];
    let marks: std::collections::BTreeSet<u32> =
        all.iter().map(|settings| said(settings).line.mark).collect();
    assert_eq!(marks.len(), all.len());
    assert!(!marks.contains(&0));
    assert_eq!(said("delay=5ms").line.mark, said("delay=5ms").rate.mark);
}

/// What the kernel would say after these changes.
fn seen(changes: &[Change]) -> Vec<Seen> {
    let seen = |change: &Change| {
        let Change::Discipline { index, discipline } = change else { panic!("{change}") };
        let mark = match &discipline.does {
            Queueing::Netem(netem) => netem.mark,
            Queueing::TokenBucket(_) => 0,
        };
        Seen { index: *index, handle: discipline.handle, mark, ..Seen::default() }
    };
    changes.iter().map(seen).collect()
}

#[test]
fn what_is_right_stays_and_what_is_half_done_is_done_again() {
    let (old, new) = (said("delay=5ms"), said("delay=6ms"));
    let mut kernel = Recorder::default();
    kernel.apply(&old.changes(3, Found::Nothing)).unwrap();
    let there = seen(&kernel.changes);
    assert_eq!(Found::at(3, &there), old.found());
    assert_eq!(Found::at(4, &there), Found::Nothing);
    assert_eq!(old.changes(3, old.found()), []);
    let changes = new.changes(3, old.found());
    assert_eq!(
        seen(&changes).iter().map(|seen| seen.handle).collect::<Vec<_>>(),
        [LINE_PART, CUTTER, RATE_PART]
    );
    // Refused after the first or the second.
    for done in 1..=2 {
        let mut half = seen(&changes[..done]);
        half.extend(
            there
                .iter()
                .filter(|old| !seen(&changes[..done]).iter().any(|new| new.handle == old.handle))
                .cloned(),
        );
        assert_eq!(Found::at(3, &half), Found::Part);
    }
    assert_eq!(Found::at(3, &there[..2]), Found::Part, "not all were made");
    assert_eq!(seen(&old.changes(3, Found::Part))[0].handle, CUTTER, "the others need it");
}
