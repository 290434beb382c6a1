//! How much passed.

use testyard_model::impairment::QueueLimit;
use testyard_model::probe::{Arrival, Samples, Train};
use testyard_model::quantity::{Rate, Span};

use super::Ground;
use super::delay::SINGLE;
use crate::asked::{Asked, Bottleneck, PRESSURE};
use crate::finding::{Finding, Quantity};
use crate::reason::Reason;
use crate::stats::{Interval, normal_quantile};

/// How far a rate may be from what was asked, as a part of it.
const TOLERANCE: f64 = 0.02;
/// How far the time between two arrivals may be off, in nanoseconds.
const CLOCK: f64 = 100_000.0;
/// What the machine must be able to move, in rates: sender, link and receiver share it.
const REACH: f64 = 2.0;
/// A sender that reaches less of what it should send has not driven the link.
const DRIVEN: f64 = 0.85;
/// A queue that is shorter runs empty while the sender sleeps: frames, and nanoseconds at the rate.
const SHORT_FRAMES: f64 = 4.0;
const SHORT_TIME: f64 = 2e6;
/// Fewer frames say nothing.
const LEAST: usize = 5;

/// What the machine moved where nothing held it up, in bits per second.
pub(crate) fn moved(samples: &Samples, train: &Train) -> Option<f64> {
    let (first, last) = (samples.arrivals.first()?, samples.arrivals.last()?);
    per_second(samples.arrivals.len() - 1, train.length, last.at.checked_sub(first.at)?)
}

pub(super) fn rate(
    asked: &Asked,
    bottleneck: &Bottleneck,
    train: &Train,
    samples: &Samples,
    ground: &Ground,
) -> Finding {
    let wanted = bottleneck.arrives;
    let unmeasured = |reason| Finding::unmeasured(Quantity::Rate, wanted, reason);
    if samples.clock_was_set {
        return unmeasured(Reason::ClockWasSet);
    }
    let arrived = samples.arrivals.len();
    let Some((first, last)) = ends(&samples.arrivals) else {
        return unmeasured(Reason::TooFew { arrived: arrived as u64 });
    };
    let between = first.number + 1..=last.number;
    let count = samples.arrivals.iter().filter(|arrival| between.contains(&arrival.number)).count();
    let time = last.at.saturating_sub(first.at);
    let Some(measured) = per_second(count, train.length, time).filter(|_| count >= LEAST) else {
        return unmeasured(Reason::TooFew { arrived: arrived as u64 });
    };
    let delays = asked.delays();
    let varies = crate::delays::longest(&asked.stages) - delays.shortest();
    let off = (CLOCK + varies) / time as f64;
    let chance = -normal_quantile(ground.error / 2.0) * (bottleneck.noise / count as f64).sqrt();
    let interval = Interval::new(measured / (1.0 + off) * (1.0 - chance).max(0.0), {
        measured / (1.0 - off).max(0.01) * (1.0 + chance)
    });
    let finding = Finding::seen(Quantity::Rate, wanted, measured, count as u64)
        .within(interval)
        .tolerating(wanted * TOLERANCE);
    let holds = interval.meets(Interval::around(wanted, wanted * TOLERANCE));
    let sends = match (samples.sent.first(), samples.sent.last()) {
        (Some(first), Some(last)) => per_second(samples.sent.len() - 1, train.length, last - first),
        _ => None,
    };
    if let Some(sends) = sends.filter(|sends| *sends < bottleneck.needs * DRIVEN) {
        return finding.doubted(Reason::SenderLimit { sends: whole(sends) });
    }
    if holds {
        return finding.judged(true);
    }
    let idle = idle(bottleneck, train, &samples.sent);
    if measured < wanted && idle > time as f64 * TOLERANCE / 4.0 {
        return finding.doubted(Reason::SenderPaused { idle: Span::from_nanos(idle as u64) });
    }
    // What was held up comes too late, and what comes behind it may come too soon.
    let stalled = stalled(asked, &samples.arrivals, train.length, wanted, varies);
    if stalled > time as f64 * TOLERANCE / 4.0 {
        return finding.doubted(Reason::Busy { late: Span::from_nanos(stalled as u64) });
    }
    if measured > wanted {
        return finding.judged(false);
    }
    match ground.moves {
        None => finding.doubted(Reason::NoReference),
        Some(moves) if moves < bottleneck.needs * REACH => {
            finding.doubted(Reason::MachineLimit { moves: whole(moves) })
        }
        Some(_) if is_short(bottleneck, train) => finding.doubted(Reason::ShortQueue),
        Some(_) => finding.judged(false),
    }
}

/// The first frame behind the beginning, when there may have been nothing waiting yet, and the last; none that overtook
/// others, which would be too early.
fn ends(arrivals: &[Arrival]) -> Option<(Arrival, Arrival)> {
    let mut lowest = u32::MAX;
    let mut in_order: Vec<Arrival> = arrivals
        .iter()
        .rev()
        .filter(|arrival| {
            let in_order = arrival.number < lowest;
            lowest = lowest.min(arrival.number);
            in_order
        })
        .copied()
        .collect();
    in_order.reverse();
    let first = in_order.get(in_order.len() / 10)?;
    let last = in_order.last()?;
    (last.number > first.number).then_some((*first, *last))
}

/// How long nothing came although the rate would have let something pass, in nanoseconds.
fn stalled(asked: &Asked, arrivals: &[Arrival], length: u16, rate: f64, varies: f64) -> f64 {
    // Between two that arrive others may have been lost, but hardly more than a few.
    let most = if asked.lost() > 0.0 { 8 } else { 1 };
    let gap = |pair: &[Arrival]| {
        let frames = pair[1].number.saturating_sub(pair[0].number).clamp(1, most);
        (pair[1].at.saturating_sub(pair[0].at) as f64, f64::from(frames))
    };
    // A link that is slow for good does not stall.
    let mut each: Vec<f64> = arrivals.windows(2).map(gap).map(|(time, frames)| time / frames).collect();
    each.sort_by(f64::total_cmp);
    let Some(usual) = each.get(each.len() / 2) else { return 0.0 };
    let each = usual.max(f64::from(length) * 8e9 / rate);
    let late = arrivals.windows(2).map(gap).map(|(time, frames)| time - frames * each);
    late.filter(|late| *late > SINGLE + varies).sum()
}

/// How long the rate would have had nothing to do, with frames sent when they were, in nanoseconds.
fn idle(bottleneck: &Bottleneck, train: &Train, sent: &[u64]) -> f64 {
    let each = f64::from(train.length) * 8e9 * PRESSURE / bottleneck.needs;
    let (mut idle, mut done) = (0.0, sent.first().map_or(0.0, |at| *at as f64));
    for at in sent {
        let at = *at as f64;
        idle += (at - done).max(0.0);
        done = at.max(done) + each;
    }
    idle
}

fn is_short(bottleneck: &Bottleneck, train: &Train) -> bool {
    let length = f64::from(train.length);
    let frames = match bottleneck.queue {
        None => return false,
        Some(QueueLimit::Packets(packets)) => f64::from(packets),
        Some(QueueLimit::Bytes(size)) => size.bytes() as f64 / length,
    };
    frames < SHORT_FRAMES || frames * length * 8e9 / bottleneck.arrives < SHORT_TIME
}

fn per_second(frames: usize, length: u16, nanoseconds: u64) -> Option<f64> {
    (nanoseconds > 0).then(|| frames as f64 * f64::from(length) * 8e9 / nanoseconds as f64)
}

fn whole(bits: f64) -> Rate {
    // What is beyond a terabit is shown as one.
    Rate::from_bits_per_second((bits as u64).min(1_000_000_000_000)).expect("a terabit at most")
}
