//! Frames that are sent over a link to see what it does to them, and what was seen.
//!
//! A [`Train`] is what one interface sends to another; [`Samples`] is what became of it. What they say of the link is
//! worked out elsewhere: here is only what host and controller tell each other.

use serde::{Deserialize, Serialize};

use crate::quantity::{Rate, Span};

/// The shortest frame of a train, in bytes with the Ethernet header: it has three copies of what it says of itself, so
/// that it is known for what it is with two wrong bits.
pub const SHORTEST: u16 = 80;

/// What one interface sends to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// How many frames.
    pub frames: u32,
    /// How long each is: bytes with the Ethernet header, at least [`SHORTEST`].
    pub length: u16,
    /// From the beginning of one to that of the next; none: as fast as the machine can.
    pub interval: Span,
    /// How long frames are awaited after the last one has been sent.
    pub patience: Span,
}

impl Train {
    /// How long it takes from the first frame to the end of waiting, if the sender keeps up.
    #[must_use]
    pub const fn lasts(&self) -> Span {
        Span::from_nanos(self.interval.as_nanos().saturating_mul(self.frames as u64)).plus(self.patience)
    }

    /// What it asks of the link, if it has a pace.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        let bits = u64::from(self.length) * 8_000_000_000;
        bits.checked_div(self.interval.as_nanos()).and_then(Rate::from_bits_per_second)
    }
}

/// A clock that times are told by: those of one clock can be compared. A host's is known by the boot that it counts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClockDomain(pub String);

/// What became of a train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// The clock that the sender's times are of.
    pub sender: ClockDomain,
    /// The clock that the receiver's times are of.
    pub receiver: ClockDomain,
    /// When each frame was handed to the interface: nanoseconds of the sender's clock since a moment before the first.
    pub sent: Vec<u64>,
    /// What arrived, in the order of arrival, copies too.
    pub arrivals: Vec<Arrival>,
    /// Frames that the sender's interface did not take.
    pub refused: u32,
    /// Frames, of whomever, that arrived but found no room at the receiver's socket.
    pub overrun: u64,
    /// How late the sender's own timers fired: as late as this machine wakes whoever waits, the link emulator too.
    #[serde(default)]
    pub late: Lateness,
    /// Whether a clock was set meanwhile: then times of arrival mean nothing.
    pub clock_was_set: bool,
    /// By how much all arrivals together may be earlier or later than is said, in nanoseconds: they were told by another clock.
    #[serde(default, skip_serializing_if = "is_none")]
    pub doubt: u64,
    /// What others sent over the same interfaces meanwhile.
    pub others: Others,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(nanoseconds: &u64) -> bool {
    *nanoseconds == 0
}

/// A frame that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Which: its place in the train, from 0.
    pub number: u32,
    /// When: nanoseconds of the receiver's clock since the same moment as [`Samples::sent`], if both clocks are one.
    pub at: u64,
    /// Whether it had other bits than were sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

impl Samples {
    /// Of a train of which nothing was sent or got, with times of one clock.
    #[must_use]
    pub fn none(clock: ClockDomain) -> Self {
        Self {
            sender: clock.clone(),
            receiver: clock,
            sent: Vec::new(),
            arrivals: Vec::new(),
            refused: 0,
            overrun: 0,
            late: Lateness::default(),
            clock_was_set: false,
            doubt: 0,
            others: Others::default(),
        }
    }
}

/// How late timers fired, in nanoseconds. All 0 for a train that waits for no timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Half of them were later.
    pub half: u64,
    /// One in ten was later.
    pub tenth: u64,
    /// One in twenty was later.
    pub twentieth: u64,
    /// One in a hundred was later.
    pub hundredth: u64,
    /// The latest.
    #[serde(default)]
    pub latest: u64,
    /// Those that were later than [`Lateness::WAITED`] together.
    #[serde(default)]
    pub waited: u64,
}

impl Lateness {
    /// Whoever is later than this has waited for a processor, in nanoseconds: to wake takes less.
    pub const WAITED: u64 = 200_000;

    /// Of timers that were so late, in any order.
    #[must_use]
    pub fn of(mut late: Vec<u64>) -> Self {
        late.sort_unstable();
        // From the latest down; of none, nothing.
        let later = |one_in: usize| late.iter().rev().nth(late.len() / one_in).copied().unwrap_or(0);
        Self {
            half: later(2),
            tenth: later(10),
            twentieth: later(20),
            hundredth: later(100),
            latest: late.last().copied().unwrap_or(0),
            waited: late
                .iter()
                .filter(|late| **late > Self::WAITED)
                .fold(0, |sum, late| sum.saturating_add(*late)),
        }
    }

    /// Which part of the timers was later than this, rounded up to one of those that are known.
    #[must_use]
    pub const fn share_beyond(&self, nanoseconds: u64) -> f64 {
        if self.half > nanoseconds {
            1.0
        } else if self.tenth > nanoseconds {
            0.5
        } else if self.twentieth > nanoseconds {
            0.1
        } else if self.hundredth > nanoseconds {
            0.05
        } else {
            0.01
        }
    }
}

/// Traffic that was not the train's, by the interfaces' counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    /// Packets that the sender's interface sent beside the train.
    pub sent_packets: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Packets that the receiver's interface got beside the train.
    pub received_packets: u64,
    /// Bytes of those.
    pub received_bytes: u64,
}

impl Others {
    /// Packets that may have been on the way of the train.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.sent_packets.max(self.received_packets)
    }

    /// Bytes that may have been on the way of the train.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sent_bytes.max(self.received_bytes)
    }
}

/// What came of the wish to send a train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probed {
    /// It was sent.
    Sent(Samples),
    /// It could not be sent; why, for people.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness() {
        let late = Lateness::of((0..1_000).collect());
        assert_eq!((late.half, late.tenth, late.twentieth, late.hundredth), (499, 899, 949, 989));
        assert_eq!((late.latest, late.waited), (999, 0));
        assert_eq!(Lateness::of(vec![3_000_000, 100, 200_001, 200_000]).waited, 3_200_001);
        for (beyond, share) in [(0, 1.0), (600, 0.5), (900, 0.1), (960, 0.05), (995, 0.01)] {
            assert_eq!(late.share_beyond(beyond), share);
        }
        assert_eq!(Lateness::of(Vec::new()), Lateness::default());
    }

    #[test]
    fn what_a_train_asks_of_a_link() {
        let train = Train {
            frames: 100,
            length: 1_250,
            interval: Span::from_millis(1),
            patience: Span::from_millis(50),
        };
        assert_eq!(train.rate(), "10Mbit".parse().ok());
        assert_eq!(train.lasts(), Span::from_millis(150));
        assert_eq!(Train { interval: Span::ZERO, ..train }.rate(), None);
    }
}
