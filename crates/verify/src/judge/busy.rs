//! How busy the machine was.
//!
//! A sender that gets no processor is late once, and goes on from there; an emulator that gets none is late with all frames
//! that come meanwhile. Both wait for the same processors, so that the one's waiting tells of the other's.

use testyard_model::probe::Samples;
use testyard_model::quantity::Span;

use super::WAKES;
use super::delay::SINGLE;
use crate::reason::Reason;

/// How long senders waited for a processor while a report was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    /// Which part of the time.
    part: f64,
    /// The longest, in nanoseconds.
    longest: f64,
}

/// Of two who wait for the same processors one may wait so many times longer than the other.
const UNLIKE: f64 = 2.0;

impl Busy {
    /// Of all trains of a report.
    pub(crate) fn of<'s>(trains: impl Iterator<Item = &'s Samples>) -> Self {
        let (mut waited, mut lasted, mut longest) = (0.0, 0.0, 0.0_f64);
        for samples in trains.filter(|samples| samples.late.latest > 0) {
            waited += samples.late.waited as f64;
            lasted += self::lasted(samples);
            longest = longest.max(samples.late.latest as f64);
        }
        Self { part: if lasted > 0.0 { waited / lasted } else { 0.0 }, longest }
    }

    /// Which part of a train's frames may have waited for somebody who had no processor. 0 on a machine where nobody waits
    /// for long.
    pub(super) fn part_of(self, samples: &Samples) -> f64 {
        let lasted = lasted(samples);
        if lasted <= 0.0 || self.longest < SINGLE / WAKES {
            return 0.0;
        }
        let own = samples.late.waited as f64 / lasted;
        // A train may meet a wait that its sender has not met.
        (UNLIKE * (WAKES * own.max(self.part) + self.longest / lasted)).min(1.0)
    }

    /// What to say of it.
    pub(super) fn reason(self) -> Reason {
        Reason::Busy { late: Span::from_nanos(self.longest as u64) }
    }
}

/// From the first frame to the last, in nanoseconds.
fn lasted(samples: &Samples) -> f64 {
    match (samples.sent.first(), samples.sent.last()) {
        (Some(first), Some(last)) => last.saturating_sub(*first) as f64,
        _ => 0.0,
    }
}
