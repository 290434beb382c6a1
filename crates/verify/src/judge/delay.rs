//! How long frames took.

use testyard_model::probe::Samples;

use super::share::Seen;
use super::{Ground, WAKES};
use crate::asked::Asked;
use crate::finding::{Finding, Quantity, Verdict};
use crate::reason::Reason;
use crate::stats::{Interval, distance, median, median_interval};

/// How far a median may be from what was asked, in nanoseconds, or as a part of it, whichever is more.
const TOLERANCE: f64 = 100_000.0;
const TOLERANCE_PART: f64 = 0.01;
/// The same for each single frame: machines are late at times.
pub(super) const SINGLE: f64 = 500_000.0;
/// Fewer say nothing.
const LEAST: usize = 10;

/// The median of what frames took, in nanoseconds, where nothing is asked; none if too few arrived.
pub(crate) fn median_of(samples: &[&Samples]) -> Option<f64> {
    let mut all: Vec<f64> = samples
        .iter()
        .filter(|samples| times(samples).is_ok())
        .flat_map(|samples| taken(samples, &Seen::of(samples), f64::MIN))
        .collect();
    all.sort_by(f64::total_cmp);
    (all.len() >= LEAST).then(|| median(&all))
}

/// Delay and jitter.
pub(super) fn findings(asked: &Asked, samples: &Samples, seen: &Seen, ground: &Ground) -> Vec<Finding> {
    let delays = asked.delays();
    let middle = delays.middle();
    let wanted = [(Quantity::Delay, delays.median()), (Quantity::Jitter, middle.high - middle.low)];
    let values = times(samples).and_then(|()| {
        let baseline = ground.baseline.ok_or(Reason::NoReference)?;
        // Those that skip a delay are another matter.
        let above = asked.overtaking()?.map_or(f64::MIN, |(_, below)| below);
        let own = baseline + asked.sending(samples_length());
        let mut values: Vec<f64> =
            taken(samples, seen, above + own).into_iter().map(|value| value - own).collect();
        values.sort_by(f64::total_cmp);
        if values.len() < LEAST { Err(Reason::TooFew { arrived: values.len() as u64 }) } else { Ok(values) }
    });
    let values = match values {
        Ok(values) => values,
        Err(reason) => {
            let none =
                |(quantity, asked): (Quantity, f64)| Finding::unmeasured(quantity, asked, reason.clone());
            return wanted.map(none).into();
        }
    };
    let count = values.len();
    let [(_, target), (_, width)] = wanted;
    // What the clocks of two hosts may be apart moves all values by as much.
    let doubt = samples.doubt as f64;
    let tolerance = TOLERANCE.max(target * TOLERANCE_PART) + doubt;
    let interval = median_interval(&values, ground.error);
    let far = distance(count, ground.error) + delays.grain();
    let at = |share: f64| values[((count - 1) as f64 * share.clamp(0.0, 1.0)).round() as usize];
    let held = ground.busy.part_of(samples);
    let delay = Finding::seen(Quantity::Delay, target, median(&values), count as u64)
        .within(interval)
        .tolerating(tolerance)
        .judged(interval.meets(Interval::around(target, tolerance)));
    // Of the frames that nobody kept waiting the median is further to the front.
    let prompt = at(0.5 * (1.0 - held) - far);
    let excused = prompt <= target + tolerance + WAKES * samples.late.half as f64;
    let delay = if delay.verdict == Verdict::Broken && interval.low > target && held > 0.0 && excused {
        delay.doubted(ground.busy.reason())
    } else {
        delay
    };

    let single = SINGLE.max(target * TOLERANCE_PART) + doubt;
    // The distribution of what was seen lies between the asked one, moved by the tolerance to either side, give or take
    // how far so many values may be from where they come from.
    let follows = |late: f64| {
        values.iter().enumerate().all(|(index, value)| {
            let (below, up_to) = (index as f64 / count as f64, (index + 1) as f64 / count as f64);
            up_to <= delays.share_up_to(value + single) + far
                && below >= delays.share_up_to(value - single) - far - late
        })
    };
    let jitter = Finding::seen(Quantity::Jitter, width, at(0.95) - at(0.05), count as u64)
        .within(Interval::new((at(0.95 - far) - at(0.05 + far)).max(0.0), at(0.95 + far) - at(0.05 - far)))
        .tolerating(2.0 * single)
        .judged(follows(0.0));
    // So many frames may be late because the machine is.
    let late = held.max(WAKES * samples.late.share_beyond((single / WAKES) as u64));
    let jitter = if jitter.verdict == Verdict::Broken && follows(late) {
        jitter.doubted(ground.busy.reason())
    } else {
        jitter
    };
    vec![delay, jitter]
}

/// What is sent to measure delays is always the shortest.
const fn samples_length() -> u16 {
    testyard_model::probe::SHORTEST
}

/// Whether times of sending and arrival can be compared.
fn times(samples: &Samples) -> Result<(), Reason> {
    if samples.sender != samples.receiver {
        Err(Reason::OtherClock)
    } else if samples.clock_was_set {
        Err(Reason::ClockWasSet)
    } else {
        Ok(())
    }
}

/// What each frame that arrived took, of which those at most `above` are left out.
pub(super) fn taken(samples: &Samples, seen: &Seen, above: f64) -> Vec<f64> {
    seen.first
        .iter()
        .zip(&samples.sent)
        .filter_map(|(first, sent)| first.map(|first| first.at as f64 - *sent as f64))
        .filter(|taken| *taken > above)
        .collect()
}
