//! What netem is told of impairments that it can do ([`Said`]). Pure.
//!
//! ```text
//!  frames to an interface ─► tbf 7401: ─► netem 7402: ─────────────────────► netem 7403: ──► the interface
//!                            cuts what    loss, corrupt, delay, jitter,      queue, rate
//!                            is uncut     reorder
//! ```
//!
//! Two netems, because in one the limit counts what is delayed, too. The rate is the inner one's: kernels of 2026 have an outer
//! netem count what is inside of it, those before have not. So a delay comes before the rate, which is the same as behind it as
//! long as it is the same for all packets; a jitter is not.
//!
//! The tree is always this one, so that every change is one of numbers, in place. Both netems have a rate, if need be one that
//! takes no time: with one they keep the order of delayed packets.

mod distribution;

use sha2::{Digest as _, Sha256};
use testyard_model::impairment::Impairment;
use testyard_model::netem::{ByChance, Said, Unsaid, end_of_table};
use testyard_model::quantity::{Probability, Rate};
use testyard_wire::emulator::Grain;

use crate::netlink::{Change, Discipline, Netem, NetemLoss, Queueing, Seen, TokenBucket};

const CUTTER: u16 = 0x7401;
const LINE_PART: u16 = 0x7402;
const RATE_PART: u16 = 0x7403;

/// Bytes a second that take no time: a frame of 64 KiB is less than a nanosecond.
const AT_ONCE: u64 = 1 << 50;
/// An Ethernet header with two tags.
const HEADERS: u32 = 22;
/// Longer than anything that the kernel leaves uncut.
const WHOLE: u32 = 1 << 20;
/// What waits at most for a rate if no queue is given, as in the wire.
const DEFAULT_LIMIT: u32 = 1_000;
/// What waits at most for its delay if no queue is given: the kernel counts no bytes, and its memory has an end.
const LINE: u32 = 65_536;
/// Likewise of frames that may be uncut.
const WHOLE_LINE: u32 = 16_384;

/// What else than the impairment decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) mtu: u32,
    pub(super) seed: u64,
    /// The user has chosen the seed, and with it every verdict.
    pub(super) is_seed_chosen: bool,
}

/// The disciplines of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    cutter: TokenBucket,
    line: Netem,
    rate: Netem,
}

impl Tree {
    /// What does the same as these stages, one after the other.
    pub(super) fn of(stages: &[Impairment], terms: Terms) -> Result<Self, Unsaid> {
        let Said { whole: all, loss, limit } = Said::of(stages, terms.is_seed_chosen)?;
        let loss = loss.map(|loss| match loss {
            ByChance::Random(chance) => NetemLoss::Random(share(chance)),
            ByChance::Burst { enter, leave } => {
                NetemLoss::Gilbert { enter: share(enter), leave: share(leave) }
            }
        });
        let is_whole = Grain::of(&[all]) == Grain::Whole;
        let longest = if is_whole { WHOLE_LINE } else { LINE };
        let limits = match all.rate {
            Some(_) => [longest, limit.unwrap_or(DEFAULT_LIMIT)],
            // Without a delay nothing waits, but what comes at once is here for a moment.
            None if all.delay.is_zero() && all.jitter.is_none() => [longest, longest],
            None => [limit.unwrap_or(longest), longest],
        };
        let line = Netem { loss, corrupt: share(all.corrupt), ..line(&all, limits[0], terms.seed) };
        let rate =
            Netem { limit: limits[1], rate: all.rate.map_or(AT_ONCE, bytes_a_second), ..Netem::default() };
        let burst = if is_whole { WHOLE } else { terms.mtu + HEADERS };
        let cutter = TokenBucket { rate: AT_ONCE, burst };
        let mut tree = Self { cutter, line, rate };
        let mark = tree.mark();
        (tree.line.mark, tree.rate.mark) = (mark, mark);
        Ok(tree)
    }

    /// The changes that make it so. `found` is what is there.
    pub(super) fn changes(&self, index: u32, found: Found) -> Vec<Change> {
        let change = |handle, parent, does| {
            let discipline = Discipline { handle, parent, does };
            Change::Discipline { index, discipline }
        };
        let cutter = change(CUTTER, None, Queueing::TokenBucket(self.cutter));
        let line = change(LINE_PART, Some(CUTTER), Queueing::Netem(self.line.clone()));
        let rate = change(RATE_PART, Some(LINE_PART), Queueing::Netem(self.rate.clone()));
        match found {
            Found::Tree(mark) if mark == self.line.mark => Vec::new(),
            // A mark first and one last: if a change between them is refused they differ, and all is told again.
            Found::Tree(_) => vec![line, cutter, rate],
            Found::Nothing | Found::Part => vec![cutter, line, rate],
        }
    }

    /// What the kernel says of itself once it is so.
    pub(super) fn found(&self) -> Found {
        Found::Tree(self.line.mark)
    }

    /// A number that differs where anything else does. The kernel keeps it, but not the tables, nor all in our units.
    fn mark(&self) -> u32 {
        let text = format!("{self:?}");
        let digest = Sha256::digest(text.as_bytes());
        // 0 is what the kernel says of those that are not ours.
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
    }
}

/// The disciplines of ours that an interface has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Found {
    #[default]
    Nothing,
    /// Not all, or not all alike: we were refused half-way.
    Part,
    /// All, with this mark.
    Tree(u32),
}

impl Found {
    /// What an interface has, with what the kernel says of all.
    pub(super) fn at(index: u32, all: &[Seen]) -> Self {
        let of = |handle: u16| all.iter().find(|seen| seen.index == index && seen.handle == handle);
        match (of(CUTTER), of(LINE_PART), of(RATE_PART)) {
            (None, None, None) => Self::Nothing,
            (Some(_), Some(line), Some(rate)) if line.mark == rate.mark && line.mark != 0 => {
                Self::Tree(line.mark)
            }
            _ => Self::Part,
        }
    }
}

/// What has passed an interface's disciplines, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) delivered: u64,
    /// Of those that came out.
    pub(super) bytes: u64,
    /// What the first netem has not let through: lost as asked, or too many that are delayed.
    pub(super) lost: u64,
    /// What the second has not: too many that wait for the rate.
    pub(super) full: u64,
    pub(super) waiting: u64,
}

impl Counted {
    pub(super) fn at(index: u32, all: &[Seen]) -> Option<Self> {
        let of = |handle: u16| all.iter().find(|seen| seen.index == index && seen.handle == handle);
        let (cutter, line, rate) = (of(CUTTER)?, of(LINE_PART)?, of(RATE_PART)?);
        Some(Self {
            delivered: cutter.packets,
            bytes: cutter.bytes,
            // What the inner one drops the outer one counts once more.
            lost: line.dropped.saturating_sub(rate.dropped),
            full: rate.dropped,
            waiting: cutter.waiting,
        })
    }
}

fn line(all: &Impairment, limit: u32, seed: u64) -> Netem {
    let (jitter, distribution): (i64, &'static [i16]) = match all.jitter {
        None => (0, &[]),
        Some(jitter) => (
            i64::try_from(end_of_table(jitter)).unwrap_or(i64::MAX),
            distribution::values(jitter.distribution),
        ),
    };
    Netem {
        delay: all.delay.as_nanos().try_into().unwrap_or(i64::MAX),
        jitter,
        distribution,
        reorder: if all.delay.is_zero() { 0 } else { share(all.reorder) },
        limit,
        rate: AT_ONCE,
        seed,
        ..Netem::default()
    }
}

/// Of 2³².
fn share(chance: Probability) -> u32 {
    let parts = u128::from(chance.parts_per_billion()) * u128::from(u32::MAX);
    u32::try_from((parts + 500_000_000) / 1_000_000_000).unwrap_or(u32::MAX)
}

fn bytes_a_second(rate: Rate) -> u64 {
    (rate.bits_per_second() / 8).max(1)
}

#[cfg(test)]
mod tests;
