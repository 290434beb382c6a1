//! From what arrived to what it says of one way.

mod busy;
mod delay;
mod rate;
mod share;

use testyard_model::probe::{Probed, Samples};
use testyard_model::quantity::Span;

use crate::asked::{Asked, Losses};
use crate::finding::{Finding, Quantity, Verdict};
use crate::reason::Reason;
use crate::schedule::Way;

pub(crate) use busy::Busy;
pub(crate) use delay::median_of;
pub(crate) use rate::moved;

/// What all findings of a report stand on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// What a frame takes where there is no link, in nanoseconds.
    pub(crate) baseline: Option<f64>,
    /// What the machine moves where there is no link, in bits per second.
    pub(crate) moves: Option<f64>,
    /// How likely a single test may err.
    pub(crate) error: f64,
    /// How long whoever wanted a processor waited for one.
    pub(crate) busy: Busy,
}

/// How many tests of a way could err by chance.
pub(crate) fn tests(asked: &Asked) -> usize {
    if !asked.up {
        return 0;
    }
    let chance = |share: f64| usize::from(share > 0.0 && share < 1.0);
    let loss = match asked.losses() {
        Losses::Share(share, _) => chance(share),
        Losses::Every(_) | Losses::Untold(_) => 0,
    };
    let doubled = asked.doubled().map_or(0, chance);
    let overtaking = asked.overtaking().ok().flatten().map_or(0, |(share, _)| chance(share));
    let rate = usize::from(asked.slowest().is_some());
    // Delay and jitter always.
    2 + loss + doubled + overtaking + chance(asked.damaged()) + rate
}

/// All that is to be said about a way. `frames` and `rate` are what came of its trains, none if it was not their turn.
pub(crate) fn way(
    way: &Way,
    frames: Option<&Probed>,
    rate: Option<&Probed>,
    ground: &Ground,
) -> Vec<Finding> {
    let mut findings = match came_of(&way.experiment.frames, frames) {
        Ok(samples) => of_frames(&way.asked, samples, ground),
        Err(reason) => nothing(&way.asked, &reason),
    };
    if let Some(experiment) = &way.experiment.rate {
        let asked = way.asked.bottleneck().ok().flatten().map_or_else(
            || way.asked.slowest().map_or(0.0, |rate| rate.bits_per_second() as f64),
            |bottleneck| bottleneck.arrives,
        );
        findings.push(match (came_of(experiment, rate), experiment, way.asked.bottleneck()) {
            (Ok(samples), Ok(train), Ok(Some(bottleneck))) => {
                let finding = rate::rate(&way.asked, &bottleneck, train, samples, ground);
                doubtful(finding, &way.asked, samples, ground)
            }
            (Err(reason), ..) | (.., Err(reason)) => Finding::unmeasured(Quantity::Rate, asked, reason),
            (_, Err(_), _) | (.., Ok(None)) => Finding::unmeasured(Quantity::Rate, asked, Reason::NotTaken),
        });
    }
    findings
}

fn came_of<'p, T>(experiment: &Result<T, Reason>, probed: Option<&'p Probed>) -> Result<&'p Samples, Reason> {
    match (experiment, probed) {
        (Err(reason), _) => Err(reason.clone()),
        (Ok(_), None) => Err(Reason::NotTaken),
        (Ok(_), Some(Probed::Failed(detail))) => Err(Reason::Failed { detail: detail.clone() }),
        (Ok(_), Some(Probed::Sent(samples))) => Ok(samples),
    }
}

/// What would have been said.
fn nothing(asked: &Asked, reason: &Reason) -> Vec<Finding> {
    let finding = |quantity, asked| Finding::unmeasured(quantity, asked, reason.clone());
    if !asked.up {
        return vec![finding(Quantity::Down, 0.0)];
    }
    vec![finding(Quantity::Delay, asked.delays().median()), finding(Quantity::Loss, asked.lost())]
}

fn of_frames(asked: &Asked, samples: &Samples, ground: &Ground) -> Vec<Finding> {
    if !asked.up {
        let arrived = samples.arrivals.len() as u64;
        let down = Finding::seen(Quantity::Down, 0.0, arrived as f64, samples.sent.len() as u64);
        return vec![down.judged(arrived == 0)];
    }
    let seen = share::Seen::of(samples);
    let mut findings = delay::findings(asked, samples, &seen, ground);
    findings.push(share::loss(asked, &seen, samples.others.packets(), ground.error));
    findings.extend(share::duplicate(asked, &seen, ground.error));
    findings.extend(share::reorder(asked, samples, &seen, ground));
    findings.extend(share::corrupt(asked, &seen, ground.error));
    findings.into_iter().map(|finding| doubtful(finding, asked, samples, ground)).collect()
}

/// Who waits for a frame on its way: an emulator for each side of the link.
pub(crate) const WAKES: f64 = 2.0;

/// Whether frames were late, and by no more than the machine is.
fn is_late(finding: &Finding, samples: &Samples) -> bool {
    let allowed = finding.asked + finding.tolerance;
    finding
        .interval
        .is_some_and(|(low, _)| low > allowed && low <= allowed + WAKES * samples.late.half as f64)
}

/// Others' packets are this part of what a rate carries, or of ours, before they matter.
const MATTERS: f64 = 0.01;

/// What does not agree may be somebody else's doing; then it says nothing.
fn doubtful(finding: Finding, asked: &Asked, samples: &Samples, ground: &Ground) -> Finding {
    if finding.verdict != Verdict::Broken {
        return finding;
    }
    if finding.quantity == Quantity::Loss && samples.overrun > 0 {
        return finding.doubted(Reason::Overrun { frames: samples.overrun });
    }
    if finding.quantity == Quantity::Delay && is_late(&finding, samples) {
        return finding.doubted(Reason::Busy { late: Span::from_nanos(samples.late.half) });
    }
    // Frames that come in a heap find the queue full, and who skips a delay is not seen to if the others wait for him.
    let is_in_heaps = match finding.quantity {
        Quantity::Loss => asked.stages.iter().any(|stage| stage.queue.is_some()),
        Quantity::Reorder => asked.overtaking().is_ok_and(|overtaking| overtaking.is_some()),
        _ => false,
    };
    if is_in_heaps && ground.busy.part_of(samples) > 0.0 {
        return finding.doubted(ground.busy.reason());
    }
    let (packets, bytes) = (samples.others.packets(), samples.others.bytes());
    let lasted = match (samples.sent.first(), samples.sent.last()) {
        (Some(first), Some(last)) => (last - first) as f64 / 1e9,
        _ => 0.0,
    };
    let load = asked
        .slowest()
        .map_or(0.0, |rate| bytes as f64 * 8.0 / (rate.bits_per_second() as f64 * lasted).max(1.0));
    let many = packets as f64 > samples.sent.len() as f64 * MATTERS * 10.0;
    let matters = match finding.quantity {
        Quantity::Delay | Quantity::Jitter | Quantity::Loss => asked.is_shared() && (load > MATTERS || many),
        Quantity::Rate => load > MATTERS,
        Quantity::Duplicate | Quantity::Reorder | Quantity::Corrupt | Quantity::Down => false,
    };
    if matters { finding.doubted(Reason::OtherTraffic { packets, bytes }) } else { finding }
}
