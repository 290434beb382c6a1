//! What one direction of a link does to packets.
//!
//! The order in which it is done, which both back ends keep: duplicate, loss, corrupt, then the queue (limit and
//! discipline) that the rate drains, then delay with jitter; reordered packets skip the delay. Packets keep their order,
//! with jitter too: one that would overtake arrives with the one ahead. Only `reorder` changes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::quantity::{Probability, Rate, Size, Span};
use crate::setting::Setting;

/// What is done to the packets that go one way. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impairment {
    /// How fast packets leave; as fast as the machine can if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long each takes.
    #[serde(default, skip_serializing_if = "Span::is_zero")]
    pub delay: Span,
    /// How that varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// Which are lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// How likely a packet comes twice.
    #[serde(default, skip_serializing_if = "Probability::is_never")]
    pub duplicate: Probability,
    /// How likely a packet skips the delay and so overtakes those before it; it has no effect without a delay.
    #[serde(default, skip_serializing_if = "Probability::is_never")]
    pub reorder: Probability,
    /// How likely one bit of a packet is wrong.
    #[serde(default, skip_serializing_if = "Probability::is_never")]
    pub corrupt: Probability,
    /// What waits for its turn at the rate or, without a rate, for its delay to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
}

/// How a delay varies from packet to packet; it never makes one negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// By how much: the half width of `uniform`, the standard deviation of `normal`, the mean of what `exponential`
    /// adds.
    pub spread: Span,
    /// How it is spread.
    #[serde(default)]
    pub distribution: Distribution,
}

/// How jitter is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Each value between delay − spread and delay + spread alike.
    #[default]
    Uniform,
    /// A bell around the delay.
    Normal,
    /// Never less than the delay, with a long tail (DETER's LANs have it; netem has none of its own, and gets a table).
    Exponential,
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Each by itself.
    Random(Probability),
    /// In bursts (Gilbert's model): a burst begins at a packet with chance `enter`, and ends after one with `leave`;
    /// all within one are lost.
    Burst {
        /// How likely a burst begins at a packet.
        enter: Probability,
        /// How likely it ends after a packet; a burst has 1/`leave` packets on average.
        leave: Probability,
    },
    /// The last of every so many; 2 or more, or 1 for all.
    Every(std::num::NonZeroU32),
}

impl Loss {
    /// The share of packets that are lost in the long run.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Random(chance) => chance.ratio(),
            Self::Burst { enter, leave } => {
                let (enter, leave) = (enter.ratio(), leave.ratio());
                if enter + leave == 0.0 { 0.0 } else { enter / (enter + leave) }
            }
            Self::Every(nth) => 1.0 / f64::from(nth.get()),
        }
    }
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// The most that waits; what comes on top is dropped.
    pub limit: QueueLimit,
    /// What is dropped before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub red: Option<Red>,
}

/// The most that waits in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueLimit {
    /// So many packets, each what the wire would carry as one frame.
    Packets(u32),
    /// So many bytes.
    Bytes(Size),
}

/// Random early detection (Floyd and Jacobson, 1993), with NS's parameters: thresholds are in the limit's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Red {
    /// The average length from which packets may be dropped (NS: `thresh_`).
    pub min: u32,
    /// The average length from which all are dropped (NS: `maxthresh_`).
    pub max: u32,
    /// The chance just below `max` (NS: 1/`linterm_`).
    pub probability: Probability,
    /// How much the newest length counts in the average (NS: `q_weight_`).
    pub weight: Probability,
    /// Above `max` the chance rises on to 1 at twice `max`, instead of at once.
    #[serde(default)]
    pub gentle: bool,
}

impl Red {
    /// NS's defaults for a queue that counts so: thresholds in packets, or as many times the mean packet of 500 bytes.
    #[must_use]
    pub const fn for_limit(limit: QueueLimit) -> Self {
        match limit {
            QueueLimit::Packets(_) => Self::NS,
            QueueLimit::Bytes(_) => Self { min: Self::NS.min * 500, max: Self::NS.max * 500, ..Self::NS },
        }
    }

    /// NS's own defaults, for a queue of packets.
    pub const NS: Self = Self {
        min: 5,
        max: 15,
        probability: match Probability::from_parts_per_billion(100_000_000) {
            Some(tenth) => tenth,
            None => Probability::ALWAYS,
        },
        weight: match Probability::from_parts_per_billion(2_000_000) {
            Some(weight) => weight,
            None => Probability::ALWAYS,
        },
        gentle: false,
    };
}

/// Why an impairment cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpairmentError {
    /// Nothing would ever get through, which is what `link down` is for.
    #[error("a rate of {0} lets nothing through: give at least 1kbit, or take the link down instead")]
    Rate(Rate),
    /// Longer than anything that is still a network.
    #[error("a delay of {0} is too long: at most 100s")]
    Delay(Span),
    /// A queue that holds nothing.
    #[error("a queue of {0} holds no packet: give at least one packet, or 2kB")]
    Queue(String),
    /// The thresholds contradict each other.
    #[error("RED's thresholds {min} and {max} contradict: min must be below max, and max above 0")]
    Red {
        /// The lower.
        min: u32,
        /// The upper.
        max: u32,
    },
    /// Bursts that never end.
    #[error("a burst of losses that never ends: leave must be above 0%")]
    Burst,
}

/// The slowest rate that is taken, in bits per second: one full frame in 12 seconds.
const SLOWEST: u64 = 1_000;
/// The longest delay, with its jitter.
const LONGEST: Span = Span::from_millis(100_000);
/// The least bytes that a queue holds: one full frame.
const LEAST_QUEUE: u64 = 2_000;

impl Impairment {
    /// Whether it does nothing.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it can be; every front door checks, so the fabric never meets one that cannot.
    ///
    /// # Errors
    /// [`ImpairmentError`] with what is wrong and what is good.
    pub fn check(&self) -> Result<(), ImpairmentError> {
        if let Some(rate) = self.rate.filter(|rate| rate.bits_per_second() < SLOWEST) {
            return Err(ImpairmentError::Rate(rate));
        }
        let longest = self.delay.plus(self.jitter.map_or(Span::ZERO, |jitter| jitter.spread));
        if longest > LONGEST {
            return Err(ImpairmentError::Delay(longest));
        }
        if let Some(Loss::Burst { enter, leave }) = self.loss
            && !enter.is_never()
            && leave.is_never()
        {
            return Err(ImpairmentError::Burst);
        }
        if let Some(queue) = self.queue {
            match queue.limit {
                QueueLimit::Packets(0) => return Err(ImpairmentError::Queue("0 packets".to_owned())),
                QueueLimit::Bytes(size) if size.bytes() < LEAST_QUEUE => {
                    return Err(ImpairmentError::Queue(size.to_string()));
                }
                QueueLimit::Packets(_) | QueueLimit::Bytes(_) => {}
            }
            if let Some(Red { min, max, .. }) = queue.red.filter(|red| red.min >= red.max) {
                return Err(ImpairmentError::Red { min, max });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Exponential => "exponential",
        })
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.spread, self.distribution)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(chance) => chance.fmt(f),
            Self::Burst { enter, leave } => write!(f, "burst {enter} {leave}"),
            Self::Every(nth) => write!(f, "every {nth}"),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            QueueLimit::Packets(count) => write!(f, "{count} packets")?,
            QueueLimit::Bytes(size) => size.fmt(f)?,
        }
        let Some(red) = self.red else { return Ok(()) };
        f.write_str(" red")?;
        let usual = Red::for_limit(self.limit);
        if (Red { gentle: usual.gentle, ..red }) != usual {
            write!(f, " {}-{} {} {}", red.min, red.max, red.probability, red.weight)?;
        }
        f.write_str(if red.gentle { " gentle" } else { "" })
    }
}

impl fmt::Display for Impairment {
    /// As settings, what differs from the default: `rate=10Mbit delay=5ms`; `none` if nothing does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut settings = Vec::new();
        if self.rate.is_some() {
            settings.push(Setting::Rate(self.rate));
        }
        if !self.delay.is_zero() {
            settings.push(Setting::Delay(self.delay));
        }
        if self.jitter.is_some() {
            settings.push(Setting::Jitter(self.jitter));
        }
        if self.loss.is_some() {
            settings.push(Setting::Loss(self.loss));
        }
        for (chance, setting) in [
            (self.duplicate, Setting::Duplicate(self.duplicate)),
            (self.reorder, Setting::Reorder(self.reorder)),
            (self.corrupt, Setting::Corrupt(self.corrupt)),
        ] {
            if !chance.is_never() {
                settings.push(setting);
            }
        }
        if self.queue.is_some() {
            settings.push(Setting::Queue(self.queue));
        }
        if settings.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<String> = settings.iter().map(Setting::to_string).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Setting;

    fn set(texts: &[&str]) -> Impairment {
        let mut impairment = Impairment::default();
        for text in texts {
            text.parse::<Setting>().unwrap().apply(&mut impairment);
        }
        impairment
    }

    #[test]
    fn impairments_that_cannot_be() {
        for texts in [
            ["rate=10bit"].as_slice(),
            &["delay=101s"],
            &["delay=99s", "jitter=2s"],
            &["queue=0"],
            &["queue=100B"],
            &["loss=burst 1% 0%"],
        ] {
            assert!(set(texts).check().is_err(), "{texts:?}");
        }
        assert_eq!(set(&["rate=1Mbit", "delay=5ms", "loss=100%", "queue=50 red"]).check(), Ok(()));
    }

    #[test]
    fn an_impairment_shows_what_it_does() {
        assert_eq!(Impairment::default().to_string(), "none");
        assert_eq!(set(&["delay=5ms", "rate=10Mbit"]).to_string(), "rate=10Mbit delay=5ms");
    }

    #[test]
    fn the_share_of_losses() {
        assert_eq!(set(&["loss=burst 1% 24%"]).loss.unwrap().share(), 0.04);
        assert_eq!(set(&["loss=every 4"]).loss.unwrap().share(), 0.25);
    }
}
