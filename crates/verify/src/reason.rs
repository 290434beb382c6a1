//! Why something could not be measured.

use std::fmt;

use serde::{Deserialize, Serialize};
use testyard_model::quantity::{Rate, Span};

use crate::units;

/// Why something could not be measured, or what was measured says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The host could not send.
    Failed {
        /// Its words.
        detail: String,
    },
    /// It was not its turn before the end.
    NotTaken,
    /// It would take longer than the report may.
    TooLong {
        /// How long.
        needs: Span,
    },
    /// Too few frames arrived.
    TooFew {
        /// How many.
        arrived: u64,
    },
    /// The pair of interfaces without a link, which everything is compared to, could not be measured.
    NoReference,
    /// Sender and receiver go by different clocks.
    OtherClock,
    /// The machine's clock was set meanwhile.
    ClockWasSet,
    /// Frames took longer by no more than it takes this machine to wake who waits.
    Busy {
        /// How late its timers were, the median.
        late: Span,
    },
    /// Others sent so much over the link that what happened to our frames says nothing.
    OtherTraffic {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Frames arrived that the receiver had no room for.
    Overrun {
        /// How many.
        frames: u64,
    },
    /// The rate is more than what this machine can tell from a faster one.
    MachineLimit {
        /// What it moved over a pair of interfaces without a link.
        moves: Rate,
    },
    /// The sender did not send more than the rate.
    SenderLimit {
        /// What it sent.
        sends: Rate,
    },
    /// The sender was held up so long that the rate had nothing to do.
    SenderPaused {
        /// How long that was.
        idle: Span,
    },
    /// The queue before the rate is so short that it runs empty between two of our frames.
    ShortQueue,
    /// So much is lost that the rate cannot be reached.
    LosesTooMuch,
    /// Losses that are counted or come in bursts, together with others or with copies: what arrives does not tell.
    Mixed,
    /// RED drops from an empty queue on.
    EarlyDrops,
    /// Frames that skip the delay cannot be told from those that are quick.
    Ambiguous,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { detail } => f.write_str(detail),
            Self::NotTaken => f.write_str("the measurement ended before"),
            Self::TooLong { needs } => write!(f, "would take {}", rounded(*needs)),
            Self::TooFew { arrived } => write!(f, "only {arrived} frames arrived"),
            Self::NoReference => f.write_str("the reference could not be measured"),
            Self::OtherClock => f.write_str("its ends have different clocks"),
            Self::ClockWasSet => f.write_str("the clock was set meanwhile"),
            Self::Busy { late } => {
                write!(f, "the machine is busy: its timers are {} late", units::time(late.as_nanos() as f64))
            }
            Self::OtherTraffic { packets, .. } => write!(f, "{packets} packets of others on the link"),
            Self::Overrun { frames } => write!(f, "{frames} frames too many for the receiver"),
            Self::MachineLimit { moves } => {
                write!(f, "this machine moves at most {}", units::rate(*moves))
            }
            Self::SenderLimit { sends } => {
                write!(f, "this machine sent at most {}", units::rate(*sends))
            }
            Self::SenderPaused { idle } => {
                write!(f, "the sender was held up for {}", units::time(idle.as_nanos() as f64))
            }
            Self::ShortQueue => f.write_str("its queue is too short to keep it busy"),
            Self::LosesTooMuch => f.write_str("loses too much to reach its rate"),
            Self::Mixed => f.write_str("several causes of loss cannot be told apart"),
            Self::EarlyDrops => f.write_str("RED drops from an empty queue on"),
            Self::Ambiguous => f.write_str("frames that overtake cannot be told from quick ones"),
        }
    }
}

fn rounded(span: Span) -> Span {
    Span::from_millis(span.as_nanos().div_ceil(1_000_000))
}
