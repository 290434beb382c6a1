//! What part of the frames was lost, doubled, overtook or was damaged.

use testyard_model::link::LinkKind;
use testyard_model::probe::{Arrival, SHORTEST, Samples};

use super::{Ground, delay};
use crate::asked::{Asked, Losses};
use crate::finding::{Finding, Quantity};
use crate::stats::{Interval, proportion};

/// What arrived, by frame.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The first copy of each frame.
    pub(crate) first: Vec<Option<Arrival>>,
    arrived: u64,
    doubled: u64,
    damaged: u64,
    overtaken: u64,
}

impl Seen {
    pub(crate) fn of(samples: &Samples) -> Self {
        let mut seen =
            Self { first: vec![None; samples.sent.len()], arrived: 0, doubled: 0, damaged: 0, overtaken: 0 };
        let mut copies = vec![0_u8; samples.sent.len()];
        let mut latest = 0;
        for arrival in &samples.arrivals {
            let number = arrival.number as usize;
            let Some(first) = seen.first.get_mut(number) else { continue };
            copies[number] = copies[number].saturating_add(1);
            match copies[number] {
                1 => {
                    *first = Some(*arrival);
                    seen.arrived += 1;
                    seen.damaged += u64::from(arrival.damaged);
                    seen.overtaken += u64::from(arrival.number < latest);
                    latest = latest.max(arrival.number);
                }
                2 => seen.doubled += 1,
                _ => {}
            }
        }
        seen
    }

    fn sent(&self) -> u64 {
        self.first.len() as u64
    }
}

/// One bit of a frame, as a part of it.
const BIT: f64 = 1.0 / (8.0 * SHORTEST as f64);

pub(super) fn loss(asked: &Asked, seen: &Seen, others: u64, error: f64) -> Finding {
    let (sent, lost) = (seen.sent(), seen.sent() - seen.arrived);
    let measured = lost as f64 / sent.max(1) as f64;
    match asked.losses() {
        Losses::Untold(reason) => Finding::unmeasured(Quantity::Loss, asked.lost(), reason),
        Losses::Every(nth) => every(seen, nth, measured, others),
        Losses::Share(share, Some(chain)) => {
            let tails = chain.tails(lost, sent);
            let worth = chain.worth(sent);
            let interval = proportion((measured * worth as f64).round() as u64, worth, error);
            Finding::seen(Quantity::Loss, share, measured, sent)
                .within(interval)
                .judged(tails.at_most >= error / 2.0 && tails.at_least >= error / 2.0)
        }
        Losses::Share(share, None) => {
            // A switch drops frames whose sender's address has become that of a group.
            let switch = if asked.kind == LinkKind::Lan { asked.damaged() * BIT } else { 0.0 };
            proportional(Quantity::Loss, Interval::new(share, share + switch), lost, sent, error)
        }
    }
}

/// The last of every so many: where counting began nobody knows, but from the first lost on there is no doubt. What others
/// sent was counted too; how many of theirs it takes to explain what was seen must not be more than there were.
fn every(seen: &Seen, nth: u32, measured: f64, others: u64) -> Finding {
    let frames = seen.first.iter().zip(0_u64..);
    let lost: Vec<u64> = frames.filter(|(first, _)| first.is_none()).map(|(_, number)| number).collect();
    let nth = u64::from(nth);
    let between: u64 = lost.windows(2).map(|pair| of_others(pair[1] - pair[0], nth)).sum();
    // Before the first and behind the last: whenever it was time, it was one of theirs.
    let outside = match (lost.first(), lost.last()) {
        (Some(first), Some(last)) => first / nth + (seen.sent() - 1 - last) / nth,
        _ => seen.sent() / nth,
    };
    Finding::seen(Quantity::Loss, 1.0 / nth as f64, measured, seen.sent())
        .within(Interval::new(measured, measured))
        .judged(between + outside <= others)
}

/// How many packets of others there were at least from one lost frame to the next, which is so many of ours behind it.
fn of_others(gap: u64, nth: u64) -> u64 {
    // All are lost: nobody is in between.
    if nth == 1 {
        return if gap == 1 { 0 } else { u64::from(u32::MAX) };
    }
    // So many times it was somebody's turn; but for the last, one of theirs.
    let turns = (gap - 1).div_ceil(nth - 1).max(1);
    turns * nth - gap
}

pub(super) fn duplicate(asked: &Asked, seen: &Seen, error: f64) -> Option<Finding> {
    match asked.doubled() {
        Err(reason) => Some(Finding::unmeasured(Quantity::Duplicate, asked.copied(), reason)),
        Ok(share) => (share > 0.0 || seen.doubled > 0).then(|| {
            let share = Interval::new(share, share);
            proportional(Quantity::Duplicate, share, seen.doubled, seen.sent(), error)
        }),
    }
}

pub(super) fn corrupt(asked: &Asked, seen: &Seen, error: f64) -> Option<Finding> {
    let share = asked.damaged();
    (share > 0.0 || seen.damaged > 0).then(|| {
        // A bit that is wrong twice is right; and see what a switch drops.
        let share = Interval::new(share * (1.0 - 2.0 * BIT), share);
        let mut finding = proportional(Quantity::Corrupt, share, seen.damaged, seen.arrived, error);
        finding.asked = share.high;
        finding
    })
}

pub(super) fn reorder(asked: &Asked, samples: &Samples, seen: &Seen, ground: &Ground) -> Option<Finding> {
    match asked.overtaking() {
        Err(reason) => Some(Finding::unmeasured(Quantity::Reorder, asked.skipping(), reason)),
        Ok(None) => (seen.overtaken > 0).then(|| {
            let none = Interval::new(0.0, 0.0);
            proportional(Quantity::Reorder, none, seen.overtaken, seen.arrived, ground.error)
        }),
        Ok(Some((share, below))) => {
            let own = ground.baseline.unwrap_or(0.0) + asked.sending(SHORTEST);
            let slow = delay::taken(samples, seen, below + own).len() as u64;
            let share = Interval::new(share, share);
            Some(proportional(Quantity::Reorder, share, seen.arrived - slow, seen.arrived, ground.error))
        }
    }
}

/// So many of so many where any of `asked` was asked.
fn proportional(quantity: Quantity, asked: Interval, hits: u64, count: u64, error: f64) -> Finding {
    let interval = proportion(hits, count, error);
    let measured = hits as f64 / count.max(1) as f64;
    // What never or always is to happen leaves no room for chance.
    let holds = match asked {
        Interval { high, .. } if high <= 0.0 => hits == 0,
        Interval { low, .. } if low >= 1.0 => hits == count,
        some => interval.meets(some),
    };
    Finding::seen(quantity, asked.low, measured, count)
        .within(interval)
        .tolerating(asked.high - asked.low)
        .judged(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_counted_too() {
        // gap between two of ours that are lost, every, how many of others explain it
        for (gap, nth, others) in
            [(9, 9, 0), (8, 9, 1), (1, 9, 8), (10, 9, 8), (17, 9, 1), (18, 9, 9), (1, 1, 0)]
        {
            assert_eq!(of_others(gap, nth), others, "{gap} {nth}");
        }
    }

    /// Against counting: ours and theirs in a row of chance.
    #[test]
    fn whatever_others_send_is_enough_to_explain_it() {
        let mut state = 1_u64;
        for nth in 2..12 {
            for _ in 0..200 {
                let (mut gap, mut theirs, mut first) = (0, 0, true);
                for packet in 0..200_u64 {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let ours = packet == 0 || (state >> 40) % 10 < 7;
                    let is_lost = packet % nth == 0;
                    match (ours, first) {
                        (true, true) => first = false,
                        (true, false) => {
                            gap += 1;
                            if is_lost {
                                assert!(of_others(gap, nth) <= theirs, "{gap} {nth} {theirs}");
                                (gap, theirs) = (0, 0);
                            }
                        }
                        (false, _) => theirs += 1,
                    }
                }
            }
        }
    }
}
