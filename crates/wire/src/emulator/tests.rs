use proptest::prelude::*;
use testyard_model::impairment::{Distribution, Impairment, Jitter, Loss, Queue, QueueLimit, Red};
use testyard_model::quantity::{Probability, Rate, Span};
use testyard_model::setting::Setting;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ball {
    number: u32,
    bytes: u64,
    damaged: bool,
}

impl Packet for Ball {
    fn bytes(&self) -> u64 {
        self.bytes
    }
    fn packets(&self) -> u32 {
        1
    }
    fn copy(&self) -> Self {
        self.clone()
    }
    fn damage(&mut self, _: u64) {
        self.damaged = true;
    }
}

const MS: u64 = 1_000_000;

fn set(settings: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings.split(';').filter(|text| !text.is_empty()) {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment.check().unwrap();
    impairment
}

/// Offers packets at a steady pace; everything that comes out, with the instant.
fn drive(
    stages: &[Impairment],
    seed: u64,
    packets: u32,
    pace: u64,
    bytes: u64,
) -> (Vec<(u64, Ball)>, Counts) {
    let mut emulator = Emulator::new(stages, seed);
    let mut got = Vec::new();
    let mut out = Vec::new();
    let until = |emulator: &mut Emulator<Ball>, limit: u64, got: &mut Vec<(u64, Ball)>| {
        let mut out = Vec::new();
        while let Some(at) = emulator.next_deadline().filter(|at| *at <= limit) {
            emulator.advance(at, &mut out);
            got.extend(out.drain(..).map(|ball| (at, ball)));
        }
    };
    for number in 0..packets {
        let now = u64::from(number) * pace;
        until(&mut emulator, now, &mut got);
        emulator.offer(now, Ball { number, bytes, damaged: false }, &mut out);
        got.extend(out.drain(..).map(|ball| (now, ball)));
    }
    until(&mut emulator, u64::MAX, &mut got);
    assert_eq!(emulator.waiting(), (0, 0));
    (got, emulator.counts().clone())
}

fn numbers(got: &[(u64, Ball)]) -> Vec<u32> {
    got.iter().map(|(_, ball)| ball.number).collect()
}

/// Whether `hits` of `tries` is what a chance gives, but for one run in a million.
fn plausible(hits: u64, tries: u64, chance: f64) -> bool {
    let (mean, tries) = (tries as f64 * chance, tries as f64);
    (hits as f64 - mean).abs() <= 4.9 * (tries * chance * (1.0 - chance)).sqrt() + 1.0
}

#[test]
fn nothing_asked_nothing_done() {
    let (got, counts) = drive(&[], 1, 10, MS, 100);
    assert_eq!(got.iter().map(|(at, _)| at / MS).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!((counts.offered, counts.delivered, counts.bytes), (10, 10, 1000));
}

#[test]
fn a_delay_is_exact() {
    let (got, _) = drive(&[set("delay=5ms"), set("delay=2ms")], 1, 100, MS / 3, 100);
    for (at, ball) in &got {
        assert_eq!(*at, u64::from(ball.number) * (MS / 3) + 7 * MS);
    }
}

#[test]
fn a_rate_is_exact_over_time_and_does_not_drift() {
    // 1000 bytes at 3 Mbit/s are 2 666 666 and two thirds of a nanosecond.
    let (got, _) = drive(&[set("rate=3Mbit;queue=5000 packets;delay=1ms")], 1, 3_000, 1, 1_000);
    assert_eq!(got.len(), 3_000);
    assert_eq!(got[2_999].0, 8_000 * MS + MS);
    assert!(
        got.windows(2)
            .all(|two| (2_666_666..=2_666_667).contains(&(two[1].0 - two[0].0)) || two[1].0 < 3 * MS + MS)
    );
}

#[test]
fn the_queue_is_limited() {
    let (got, counts) = drive(&[set("rate=8Mbit;queue=10")], 1, 100, 0, 1_000);
    assert_eq!(numbers(&got), (0..10).collect::<Vec<_>>());
    assert_eq!((counts.full, counts.delivered), (90, 10));
    let (got, counts) = drive(&[set("rate=8Mbit;queue=4500")], 1, 4_600, 0, 100);
    assert_eq!((got.len(), counts.full), (4_500, 100), "a bare number is packets");
    let (got, _) = drive(&[set("rate=8Mbit;queue=4500B")], 1, 100, 0, 1_000);
    assert_eq!(got.len(), 4, "4500 bytes");
    let (got, counts) = drive(&[set("delay=10ms;queue=3")], 1, 100, MS, 100);
    assert_eq!(got.len() as u64 + counts.full, 100);
    assert!((29..=32).contains(&got.len()), "three in 10 ms: {}", got.len());
}

#[test]
fn without_a_queue_a_rate_keeps_a_thousand() {
    let (got, counts) = drive(&[set("rate=8Mbit")], 1, 3_000, 0, 100);
    assert_eq!((got.len(), counts.full), (1_000, 2_000));
}

#[test]
fn losses_are_as_many_as_asked() {
    let n = 200_000;
    for (settings, share) in [("loss=1%", 0.01), ("loss=30%", 0.3), ("loss=100%", 1.0)] {
        let (_, counts) = drive(&[set(settings)], 3, n, 10, 100);
        assert!(plausible(counts.lost, u64::from(n), share), "{settings}: {counts:?}");
    }
    let (_, counts) = drive(&[set("duplicate=2%;corrupt=3%")], 3, n, 10, 100);
    assert!(plausible(counts.duplicated, u64::from(n), 0.02), "{counts:?}");
    assert!(plausible(counts.corrupted, u64::from(n) + counts.duplicated, 0.03), "{counts:?}");
}

#[test]
fn every_nth_is_exact() {
    let (got, counts) = drive(&[set("loss=every 10")], 1, 1_000, 10, 100);
    assert_eq!(counts.lost, 100);
    assert!(got.iter().all(|(_, ball)| ball.number % 10 != 9));
}

#[test]
fn bursts_have_their_length_and_share() {
    let impairment = set("loss=burst 1% 25%");
    let n = 400_000;
    let (got, counts) = drive(&[impairment], 5, n, 10, 100);
    let gaps: Vec<u32> =
        numbers(&got).windows(2).map(|two| two[1] - two[0] - 1).filter(|gap| *gap > 0).collect();
    let mean = counts.lost as f64 / gaps.len() as f64;
    assert!((mean - 4.0).abs() < 0.2, "{mean}");
    let share = counts.lost as f64 / f64::from(n);
    let asked = impairment.loss.map(Loss::share).unwrap();
    assert!((share / asked - 1.0).abs() < 0.06, "{share} {asked}");
}

#[test]
fn jitter_keeps_the_order_and_its_moments() {
    for (settings, mean, deviation) in [
        ("delay=50ms;jitter=10ms", 50.0, 10.0 / 3_f64.sqrt()),
        ("delay=50ms;jitter=5ms normal", 50.0, 5.0),
        ("delay=50ms;jitter=5ms exponential", 55.0, 5.0),
    ] {
        // So seldom that none has to wait for the one before.
        let (got, _) = drive(&[set(settings)], 9, 20_000, 1_000 * MS, 100);
        let took: Vec<f64> =
            got.iter().map(|(at, b)| (at - u64::from(b.number) * 1_000 * MS) as f64 / MS as f64).collect();
        let average = took.iter().sum::<f64>() / took.len() as f64;
        let spread = (took.iter().map(|t| (t - average).powi(2)).sum::<f64>() / took.len() as f64).sqrt();
        assert!((average - mean).abs() < 0.2, "{settings}: {average}");
        assert!((spread - deviation).abs() < 0.2, "{settings}: {spread}");
        let (got, _) = drive(&[set(settings)], 9, 10_000, MS / 10, 100);
        assert_eq!(numbers(&got), (0..10_000).collect::<Vec<_>>(), "{settings}");
    }
}

#[test]
fn reordered_packets_skip_the_delay_and_the_others_keep_their_order() {
    let (got, counts) = drive(&[set("delay=10ms;reorder=10%")], 2, 10_000, MS, 100);
    assert!(plausible(counts.reordered, 10_000, 0.1), "{counts:?}");
    let (early, late): (Vec<_>, Vec<_>) =
        got.iter().partition(|(at, ball)| *at == u64::from(ball.number) * MS);
    assert_eq!(early.len() as u64, counts.reordered);
    assert!(late.windows(2).all(|two| two[0].1.number < two[1].1.number));
    let (got, _) = drive(&[set("reorder=50%")], 2, 1_000, MS, 100);
    assert_eq!(numbers(&got), (0..1_000).collect::<Vec<_>>(), "without a delay there is nothing to skip");
}

#[test]
fn red_keeps_the_queue_short() {
    let (_, plain) = drive(&[set("rate=8Mbit;queue=200")], 2, 20_000, MS * 9 / 10, 1_000);
    let (got, red) = drive(&[set("rate=8Mbit;queue=200 red")], 2, 20_000, MS * 9 / 10, 1_000);
    assert_eq!((plain.early, red.full), (0, 0));
    assert!(red.early > 1_000, "{red:?}");
    let late = &got[got.len() / 2..];
    let mean =
        late.iter().map(|(at, b)| at - u64::from(b.number) * (MS * 9 / 10)).sum::<u64>() / late.len() as u64;
    assert!((5 * MS..20 * MS).contains(&mean), "the average stays between 5 and some 15 packets: {mean}");
}

#[test]
fn a_seed_means_the_same_whatever_else_is_on() {
    let lost = |settings: &str, seed| {
        let (got, _) = drive(&[set(settings)], seed, 1_000, MS, 100);
        let mut numbers = numbers(&got);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    assert_eq!(lost("loss=10%", 4), lost("loss=10%", 4));
    assert_eq!(lost("loss=10%", 4), lost("loss=10%;delay=5ms;jitter=3ms;corrupt=1%;reorder=20%", 4));
    assert_ne!(lost("loss=10%", 4), lost("loss=10%", 5));
}

#[test]
fn changes_lose_nothing() {
    let mut out = Vec::new();
    let mut emulator = Emulator::new(&[set("rate=8Mbit;delay=10ms")], 1);
    for number in 0..10 {
        emulator.offer(0, Ball { number, bytes: 1_000, damaged: false }, &mut out);
    }
    // Half of the first is out; the rest of it takes twice as long, like all others.
    emulator.change(MS / 2, &[set("rate=4Mbit;delay=10ms")], &mut out);
    emulator.advance(11 * MS + MS / 2, &mut out);
    assert_eq!(out.len(), 1);
    emulator.advance(29 * MS + MS / 2, &mut out);
    assert_eq!(out.len(), 10);
    emulator.offer(30 * MS, Ball { number: 10, bytes: 1_000, damaged: false }, &mut out);
    emulator.advance(32 * MS, &mut out);
    emulator.change(33 * MS, &[set("delay=1ms")], &mut out);
    assert_eq!(out.len(), 11, "on its way since 32 ms, so a delay of 1 ms is over");
    emulator.change(33 * MS, &[set("rate=8Mbit"), set("delay=1s")], &mut out);
    emulator.offer(33 * MS, Ball { number: 11, bytes: 1_000, damaged: false }, &mut out);
    emulator.change(33 * MS + 1, &[], &mut out);
    assert_eq!(numbers(&out.iter().map(|b| (0, b.clone())).collect::<Vec<_>>()), (0..12).collect::<Vec<_>>());
    assert_eq!(emulator.cut(), 0);
}

#[test]
fn a_cut_drops_all() {
    let mut out = Vec::new();
    let mut emulator = Emulator::new(&[set("rate=8Mbit;delay=10ms")], 1);
    for number in 0..10 {
        emulator.offer(0, Ball { number, bytes: 1_000, damaged: false }, &mut out);
    }
    emulator.advance(2 * MS, &mut out);
    assert_eq!(emulator.cut(), 10);
    assert_eq!((emulator.waiting(), emulator.next_deadline(), out.len()), ((0, 0), None, 0));
}

#[test]
fn grains() {
    for (settings, grain) in [
        ("", Grain::Whole),
        ("delay=5ms", Grain::Whole),
        ("rate=20Gbit", Grain::Whole),
        ("rate=1Gbit", Grain::Bytes(6_250)),
        ("rate=1Gbit;queue=50", Grain::Packet),
        ("loss=1%", Grain::Packet),
        ("delay=1ms;jitter=1ms", Grain::Packet),
    ] {
        assert_eq!(Grain::of(&[set(settings)]), grain, "{settings}");
    }
}

fn chance() -> impl Strategy<Value = Probability> {
    prop_oneof![Just(0), 0..=1_000_000_000_u64].prop_map(|p| Probability::from_parts_per_billion(p).unwrap())
}

fn impairment() -> impl Strategy<Value = Impairment> {
    let rate = proptest::option::of(
        (1_000_u64..10_000_000_000).prop_map(|r| Rate::from_bits_per_second(r).unwrap()),
    );
    let kind =
        prop_oneof![Just(Distribution::Uniform), Just(Distribution::Normal), Just(Distribution::Exponential)];
    let jitter = proptest::option::of((0_u64..20_000_000, kind)).prop_map(|j| {
        j.map(|(spread, distribution)| Jitter { spread: Span::from_nanos(spread), distribution })
    });
    let loss = proptest::option::of(prop_oneof![
        chance().prop_map(Loss::Random),
        (chance(), 1_u64..=1_000_000_000).prop_map(|(enter, leave)| Loss::Burst {
            enter,
            leave: Probability::from_parts_per_billion(leave).unwrap()
        }),
        (1_u32..5).prop_map(|n| Loss::Every(n.try_into().unwrap())),
    ]);
    let queue = proptest::option::of((1_u32..50, any::<bool>()))
        .prop_map(|q| q.map(|(n, red)| Queue { limit: QueueLimit::Packets(n), red: red.then_some(Red::NS) }));
    (rate, 0_u64..20_000_000, jitter, loss, chance(), chance(), queue).prop_map(
        |(rate, delay, jitter, loss, duplicate, reorder, queue)| Impairment {
            rate,
            delay: Span::from_nanos(delay),
            jitter,
            loss,
            duplicate,
            reorder,
            corrupt: Probability::NEVER,
            queue,
        },
    )
}

proptest! {
    #[test]
    fn nothing_appears_or_vanishes(
        stages in proptest::collection::vec(impairment(), 0..=2),
        changed in proptest::collection::vec(impairment(), 0..=2),
        gaps in proptest::collection::vec((0_u64..3_000_000, 60_u64..2_000), 1..200),
        change_at in 0_usize..200,
        seed in any::<u64>(),
    ) {
        let run = || {
            let mut emulator = Emulator::new(&stages, seed);
            let (mut out, mut now) = (Vec::new(), 0);
            for (number, (gap, bytes)) in gaps.iter().enumerate() {
                now += gap;
                if number == change_at {
                    emulator.change(now, &changed, &mut out);
                }
                emulator.offer(now, Ball { number: number as u32, bytes: *bytes, damaged: false }, &mut out);
                prop_assert!(emulator.next_deadline().is_none_or(|at| at > now));
                let counts = emulator.counts();
                prop_assert_eq!(
                    counts.offered + counts.duplicated,
                    counts.delivered + counts.lost + counts.full + counts.early + emulator.waiting().0
                );
                prop_assert_eq!(counts.delivered, out.len() as u64);
            }
            emulator.advance(u64::MAX - 1, &mut out);
            prop_assert_eq!(emulator.waiting(), (0, 0));
            Ok(out)
        };
        let first = run()?;
        if change_at >= gaps.len() && stages.iter().all(|s| s.reorder.is_never()) {
            prop_assert!(first.windows(2).all(|two| two[0].number <= two[1].number));
        }
        prop_assert_eq!(first, run()?);
    }

    #[test]
    fn it_does_not_matter_when_one_looks(
        stages in proptest::collection::vec(impairment(), 1..=2),
        gaps in proptest::collection::vec((0_u64..3_000_000, 60_u64..2_000), 1..100),
        looks in proptest::collection::vec(0_u64..300_000_000, 0..100),
    ) {
        let (mut seldom, mut often) = (Emulator::new(&stages, 1), Emulator::new(&stages, 1));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut looks = looks.clone();
        looks.sort_unstable();
        let (mut now, mut looks) = (0, looks.into_iter().peekable());
        for (number, (gap, bytes)) in gaps.iter().enumerate() {
            now += gap;
            while let Some(look) = looks.next_if(|look| *look <= now) {
                often.advance(look, &mut b);
            }
            let ball = Ball { number: number as u32, bytes: *bytes, damaged: false };
            seldom.offer(now, ball.clone(), &mut a);
            often.offer(now, ball, &mut b);
        }
        seldom.advance(u64::MAX - 1, &mut a);
        often.advance(u64::MAX - 1, &mut b);
        prop_assert_eq!(a, b);
    }
}
