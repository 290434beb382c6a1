//! What was seen of one property of a way, and whether it is as asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::stats::Interval;
use crate::units;

/// A property of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// The median of what frames take, in nanoseconds, without what they take at a rate.
    Delay,
    /// How wide the middle nine tenths of delays are, in nanoseconds.
    Jitter,
    /// The share of frames of which nothing arrives.
    Loss,
    /// The share of frames of which more than one copy arrives.
    Duplicate,
    /// The share of frames that overtake others.
    Reorder,
    /// The share of frames that arrive with other bits.
    Corrupt,
    /// Bits of Ethernet frames in a second.
    Rate,
    /// Frames that arrive over a link that is down.
    Down,
}

/// Whether it is as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What was seen agrees with what was asked.
    Holds,
    /// It does not.
    Broken,
    /// Nothing can be said.
    NotMeasured(Reason),
}

/// What was seen of one property of a way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which; its unit is that of all numbers here.
    pub quantity: Quantity,
    /// What should be.
    pub asked: f64,
    /// What was seen.
    pub measured: Option<f64>,
    /// Where the true value is, but for the chance that the report has of erring: lower and upper end.
    pub interval: Option<(f64, f64)>,
    /// How far the true value may be from what was asked.
    pub tolerance: f64,
    /// How many frames say so.
    pub samples: u64,
    /// What it means.
    pub verdict: Verdict,
}

impl Finding {
    /// One of which nothing is known.
    pub(crate) const fn unmeasured(quantity: Quantity, asked: f64, reason: Reason) -> Self {
        let verdict = Verdict::NotMeasured(reason);
        Self { quantity, asked, measured: None, interval: None, tolerance: 0.0, samples: 0, verdict }
    }

    /// One that was measured.
    pub(crate) fn seen(quantity: Quantity, asked: f64, measured: f64, samples: u64) -> Self {
        Self {
            quantity,
            asked,
            measured: Some(measured),
            interval: None,
            tolerance: 0.0,
            samples,
            verdict: Verdict::Holds,
        }
    }

    pub(crate) fn within(mut self, interval: Interval) -> Self {
        self.interval = Some((interval.low, interval.high));
        self
    }

    pub(crate) const fn tolerating(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    pub(crate) fn judged(mut self, holds: bool) -> Self {
        self.verdict = if holds { Verdict::Holds } else { Verdict::Broken };
        self
    }

    /// What was seen stays, and says nothing.
    pub(crate) fn doubted(mut self, reason: Reason) -> Self {
        self.verdict = Verdict::NotMeasured(reason);
        self
    }

    /// Times and rates in whole units, shares to nine places: more means nothing, and is not read again the same.
    pub(crate) fn rounded(mut self) -> Self {
        let one = |value: f64| match self.quantity {
            Quantity::Delay | Quantity::Jitter | Quantity::Rate | Quantity::Down => value.round() + 0.0,
            Quantity::Loss | Quantity::Duplicate | Quantity::Reorder | Quantity::Corrupt => {
                (value * 1e9).round() / 1e9
            }
        };
        self.interval = self.interval.map(|(low, high)| (one(low), one(high)));
        self.measured = self.measured.map(one);
        (self.asked, self.tolerance) = (one(self.asked), one(self.tolerance));
        self
    }

    /// A value of it for people.
    #[must_use]
    pub fn shown(&self, value: f64) -> String {
        match self.quantity {
            Quantity::Delay | Quantity::Jitter => units::time(value),
            Quantity::Loss | Quantity::Duplicate | Quantity::Reorder | Quantity::Corrupt => {
                units::share(value)
            }
            Quantity::Rate => units::bits(value),
            Quantity::Down => format!("{value:.0} frames"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::Rate => "rate",
            Self::Down => "down",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::Broken => f.write_str("BROKEN"),
            Self::NotMeasured(reason) => write!(f, "not measured: {reason}"),
        }
    }
}
