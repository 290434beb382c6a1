//! What is asked of each pair of a link's members, as what its members do: exactly where that is possible.
//!
//! A point-to-point link keeps all of a direction where it is sent. On a LAN, what is the same for all pairs is split
//! in halves; what depends on the source alone, or on the destination alone, is done there; and a general table is taken
//! apart if each entry is what its source and its destination do together (delays add, the lower rate counts, packets
//! survive both losses).

use std::collections::BTreeMap;

use testyard_model::link::{LinkKind, Member};
use testyard_model::quantity::{Rate, Span};

use crate::shape::{Shape, WHOLE};

/// What is asked, by the numbers of source and destination; what is not there is clear.
pub(crate) type Pairs = BTreeMap<(usize, usize), Shape>;

/// Members of which a table is taken apart in general; more take too long.
const MANY: usize = 200;

/// Shapes the members; whether that is exactly what is asked. If it is not, what a source sends gets the worst that is
/// asked from it to any other.
pub(crate) fn apply(pairs: &Pairs, kind: LinkKind, members: &mut [Member]) -> bool {
    if kind == LinkKind::PointToPoint {
        for ((from, _), shape) in pairs {
            members[*from].to_link = shape.impairment();
        }
        return true;
    }
    let (mut ends, exact) = split(pairs, members.len());
    // What was rounded may be taken apart in another way the next time: what stays the same is what is meant.
    for _ in 0..3 {
        let (again, _) = split(&join(&ends), members.len());
        if again == ends {
            break;
        }
        ends = again;
    }
    for (member, (to, from)) in members.iter_mut().zip(ends) {
        (member.to_link, member.from_link) = (to.impairment(), from.impairment());
    }
    exact
}

/// What members do, as what they can hold: losses are rounded.
type Ends = Vec<(Shape, Shape)>;

/// What each pair gets of what its ends do.
pub(crate) fn join(ends: &[(Shape, Shape)]) -> Pairs {
    let mut pairs = Pairs::new();
    // Most LANs do nothing, and large ones have many pairs.
    if ends.iter().all(|(to, from)| to.is_clear() && from.is_clear()) {
        return pairs;
    }
    for (from, (to_link, _)) in ends.iter().enumerate() {
        for (to, (_, from_link)) in ends.iter().enumerate().filter(|(to, _)| *to != from) {
            let shape = to_link.then(from_link);
            if !shape.is_clear() {
                pairs.insert((from, to), shape);
            }
        }
    }
    pairs
}

fn split(pairs: &Pairs, count: usize) -> (Ends, bool) {
    let mut ends = vec![(Shape::default(), Shape::default()); count];
    let delays = table(pairs, |shape| shape.delay.as_nanos());
    let rates = table(pairs, |shape| shape.rate.map_or(0, Rate::bits_per_second));
    let losses = table(pairs, |shape| shape.loss);
    let delay = class(&delays, count).or_else(|| delay_ends(&delays, count));
    let rate = class(&rates, count).or_else(|| rate_ends(&rates, count));
    let loss = class(&losses, count).or_else(|| loss_ends(&losses, count));
    let exact = delay.is_some() && rate.is_some() && loss.is_some();
    let worst = |pick: fn(&Shape) -> Shape| {
        let mut worst = vec![Shape::default(); count];
        for ((from, _), shape) in pairs {
            worst[*from] = worst[*from].worse(&pick(shape));
        }
        worst
    };
    let shape = |delay: u64| Shape { delay: Span::from_nanos(delay), ..Shape::default() };
    set(
        &mut ends,
        delay.unwrap_or_else(|| {
            each(worst(|s| Shape { delay: s.delay, ..Shape::default() }), |s| s.delay.as_nanos())
        }),
        shape,
        |whole, part| whole.delay = part.delay,
    );
    let shape =
        |bits: u64| Shape { rate: Rate::from_bits_per_second(bits).filter(|_| bits > 0), ..Shape::default() };
    set(
        &mut ends,
        rate.unwrap_or_else(|| {
            each(worst(|s| Shape { rate: s.rate, ..Shape::default() }), |s| {
                s.rate.map_or(0, Rate::bits_per_second)
            })
        }),
        shape,
        |whole, part| whole.rate = part.rate,
    );
    let shape = |loss: u128| Shape { loss, ..Shape::default() };
    set(
        &mut ends,
        loss.unwrap_or_else(|| each(worst(|s| Shape { loss: s.loss, ..Shape::default() }), |s| s.loss)),
        shape,
        |whole, part| whole.loss = u128::from(part.probability().parts_per_billion()) * 1_000_000_000,
    );
    (ends, exact)
}

type Table<T> = BTreeMap<(usize, usize), T>;

fn table<T: Default + PartialEq>(pairs: &Pairs, of: impl Fn(&Shape) -> T) -> Table<T> {
    pairs.iter().map(|(pair, shape)| (*pair, of(shape))).filter(|(_, value)| *value != T::default()).collect()
}

/// What is asked of a table in a simple way.
enum Split<T> {
    /// The same for all.
    Even(T),
    /// By source and destination.
    Ends(Vec<T>, Vec<T>),
}

fn each<T: Default + Clone>(worst: Vec<Shape>, of: impl Fn(&Shape) -> T) -> Split<T> {
    let none = vec![T::default(); worst.len()];
    Split::Ends(worst.iter().map(of).collect(), none)
}

fn set<T: Copy>(
    ends: &mut Ends,
    split: Split<T>,
    shape: impl Fn(T) -> Shape,
    put: impl Fn(&mut Shape, Shape),
) {
    match split {
        Split::Even(value) => {
            let (first, second) = shape(value).halves();
            for (to, from) in ends {
                put(to, first);
                put(from, second);
            }
        }
        Split::Ends(sources, destinations) => {
            for ((to, from), (source, destination)) in
                ends.iter_mut().zip(sources.into_iter().zip(destinations))
            {
                put(to, shape(source));
                put(from, shape(destination));
            }
        }
    }
}

/// A table that is even, or depends on one end alone.
fn class<T: Copy + Default + PartialEq>(table: &Table<T>, count: usize) -> Option<Split<T>> {
    let Some(first) = table.values().next() else { return Some(Split::Even(T::default())) };
    if table.len() == count * (count - 1) && table.values().all(|value| value == first) {
        return Some(Split::Even(*first));
    }
    let none = vec![T::default(); count];
    let by = |end: fn(&(usize, usize)) -> usize| {
        let mut values: Vec<Option<(T, usize)>> = vec![None; count];
        for (pair, value) in table {
            match &mut values[end(pair)] {
                Some((known, _)) if *known != *value => return None,
                Some((_, times)) => *times += 1,
                empty => *empty = Some((*value, 1)),
            }
        }
        let whole = values.iter().flatten().all(|(_, times)| *times == count - 1);
        whole.then(|| {
            values.into_iter().map(|value| value.map_or(T::default(), |(value, _)| value)).collect::<Vec<T>>()
        })
    };
    match by(|pair| pair.0) {
        Some(sources) => Some(Split::Ends(sources, none)),
        None => by(|pair| pair.1).map(|destinations| Split::Ends(none, destinations)),
    }
}

fn at<T: Copy + Default>(table: &Table<T>, from: usize, to: usize) -> T {
    table.get(&(from, to)).copied().unwrap_or_default()
}

fn all_pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// A third number than these two.
fn third(a: usize, b: usize) -> usize {
    (0..3).find(|n| *n != a && *n != b).unwrap_or(0)
}

/// Sums of what a source and a destination do: alike for a member's both ways if the table is symmetric, else as much
/// as can be at the source.
fn delay_ends(table: &Table<u64>, count: usize) -> Option<Split<u64>> {
    if !(3..=MANY).contains(&count) {
        return None;
    }
    let get = |from, to| i128::from(at(table, from, to));
    // Up to a number that can be moved from all sources to all destinations.
    let source: Vec<i128> =
        (0..count).map(|i| if i == 0 { 0 } else { get(i, third(i, 0)) - get(0, third(i, 0)) }).collect();
    let destination: Vec<i128> =
        (0..count).map(|j| if j == 0 { get(1, 0) - source[1] } else { get(0, j) }).collect();
    let is_symmetric = source.iter().zip(&destination).all(|(s, d)| d - s == destination[0] - source[0]);
    let difference = destination[0] - source[0];
    let moved = if is_symmetric && difference % 2 == 0 {
        difference / 2
    } else {
        destination.iter().copied().min().unwrap_or_default()
    };
    let source: Vec<i128> = source.iter().map(|s| s + moved).collect();
    let destination: Vec<i128> = destination.iter().map(|d| d - moved).collect();
    let fits = source.iter().chain(&destination).all(|value| *value >= 0)
        && all_pairs(count).all(|(i, j)| source[i] + destination[j] == get(i, j));
    let whole =
        |values: Vec<i128>| values.into_iter().map(|v| u64::try_from(v).unwrap_or_default()).collect();
    fits.then(|| Split::Ends(whole(source), whole(destination)))
}

/// The lower of what a source and a destination can; 0 is no limit.
fn rate_ends(table: &Table<u64>, count: usize) -> Option<Split<u64>> {
    if !(2..=MANY).contains(&count) {
        return None;
    }
    let get = |from, to| table.get(&(from, to)).copied().unwrap_or(u64::MAX);
    let largest = |values: &mut dyn Iterator<Item = u64>| values.max().unwrap_or(u64::MAX);
    let others = |i: usize| (0..count).filter(move |j| *j != i);
    let source: Vec<u64> = (0..count).map(|i| largest(&mut others(i).map(|j| get(i, j)))).collect();
    let destination: Vec<u64> = (0..count).map(|j| largest(&mut others(j).map(|i| get(i, j)))).collect();
    let fits = all_pairs(count).all(|(i, j)| source[i].min(destination[j]) == get(i, j));
    let limit = |values: Vec<u64>| values.into_iter().map(|v| if v == u64::MAX { 0 } else { v }).collect();
    fits.then(|| Split::Ends(limit(source), limit(destination)))
}

/// Chances that together are those of the table, but for what rounding takes.
fn loss_ends(table: &Table<u128>, count: usize) -> Option<Split<u128>> {
    if !(3..=MANY).contains(&count) || table.values().any(|loss| *loss >= WHOLE) {
        return None;
    }
    let survive = |from, to| (WHOLE - at(table, from, to)) as f64 / 1e18;
    let source: Vec<f64> = (0..count)
        .map(|i| if i == 0 { 1.0 } else { survive(i, third(i, 0)) / survive(0, third(i, 0)) })
        .collect();
    let destination: Vec<f64> =
        (0..count).map(|j| if j == 0 { survive(1, 0) / source[1] } else { survive(0, j) }).collect();
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-8;
    let ratio = destination[0] / source[0];
    let is_symmetric = source.iter().zip(&destination).all(|(s, d)| near(d / s, ratio));
    let moved = if is_symmetric { ratio.sqrt() } else { destination.iter().copied().fold(0.0, f64::max) };
    let chance = |survive: f64| ((1.0 - survive).max(0.0) * 1e9).round() as u128 * 1_000_000_000;
    let fits = source.iter().all(|s| s * moved <= 1.0 + 1e-9)
        && destination.iter().all(|d| d / moved <= 1.0 + 1e-9)
        && all_pairs(count).all(|(i, j)| near(source[i] * destination[j], survive(i, j)));
    fits.then(|| {
        let source = source.iter().map(|s| chance(s * moved)).collect();
        Split::Ends(source, destination.iter().map(|d| chance(d / moved)).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(rate: u64, delay: u64, loss: u64) -> Shape {
        Shape {
            rate: (rate > 0).then(|| Rate::from_bits_per_second(rate * 1000).unwrap()),
            delay: Span::from_nanos(delay),
            loss: u128::from(loss) * 1_000_000_000,
        }
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        (0_u64..4, prop_oneof![0_u64..3, 0_u64..1_000_000_000], prop_oneof![Just(0), 0_u64..300_000_000])
            .prop_map(|(rate, delay, loss)| shape(rate, delay, loss))
    }

    fn members(pairs: &Pairs, count: usize) -> (Vec<Member>, bool) {
        let mut members: Vec<Member> =
            (0..count).map(|n| Member::clear(format!("i{n}").parse().unwrap())).collect();
        let exact = apply(pairs, LinkKind::Lan, &mut members);
        (members, exact)
    }

    fn ends(members: &[Member]) -> Ends {
        members.iter().map(|m| (Shape::of(&m.to_link).0, Shape::of(&m.from_link).0)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What members do together is taken apart so that it is the same together, and in one way.
        #[test]
        fn what_is_joined_is_split_again(given in prop::collection::vec((shapes(), shapes()), 3..6)) {
            let pairs = join(&given);
            let (first, exact) = members(&pairs, given.len());
            prop_assert!(exact);
            let again = join(&ends(&first));
            for (i, j) in all_pairs(given.len()) {
                let (asked, got) = (pairs.get(&(i, j)).copied().unwrap_or_default(), again.get(&(i, j)).copied().unwrap_or_default());
                prop_assert_eq!((asked.rate, asked.delay), (got.rate, got.delay));
                prop_assert!(asked.loss.abs_diff(got.loss) <= 12_000_000_000, "{} {}", asked.loss, got.loss);
            }
            prop_assert_eq!(members(&again, given.len()), (first, true));
        }

        /// Any table gives something that stays as it is.
        #[test]
        fn any_table_settles(given in prop::collection::vec(shapes(), 20), count in 2_usize..5) {
            let pairs: Pairs = all_pairs(count).zip(given).filter(|(_, s)| !s.is_clear()).collect();
            let (first, _) = members(&pairs, count);
            prop_assert_eq!(members(&join(&ends(&first)), count), (first, true));
        }
    }

    #[test]
    fn what_is_even_is_halved_and_what_is_one_sided_stays_there() {
        let even: Pairs = all_pairs(3).map(|pair| (pair, shape(100, 11, 190_000_000))).collect();
        let (members_, exact) = members(&even, 3);
        assert!(exact);
        assert_eq!(ends(&members_), vec![(shape(100, 6, 100_000_000), shape(100, 5, 100_000_000)); 3]);
        let by_source: Pairs =
            all_pairs(3).filter(|(i, _)| *i == 1).map(|pair| (pair, shape(5, 7, 9))).collect();
        let clear = (Shape::default(), Shape::default());
        assert_eq!(ends(&members(&by_source, 3).0), [clear, (shape(5, 7, 9), Shape::default()), clear]);
        let odd = Pairs::from([((0, 1), shape(0, 5, 0)), ((0, 2), shape(0, 9, 0))]);
        let (approximate, exact) = members(&odd, 3);
        assert!(!exact || join(&ends(&approximate)) == odd);
    }
}
