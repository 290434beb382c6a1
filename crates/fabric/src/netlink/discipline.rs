//! Queueing disciplines: what the kernel does to frames that leave an interface (linux/pkt_sched.h).
//!
//! A discipline is told by its handle. What is written replaces the settings of the one that has this handle at this place,
//! in place: what waits in it stays. Where there is none, or another, it is made.

use super::wire::{Message, Reply, attribute, text, u32_at};

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

/// `struct tcmsg`.
pub(super) const TRAFFIC_HEADER: usize = 20;
const ROOT: u32 = 0xffff_ffff;
/// The only class of these disciplines.
const CLASS: u32 = 1;

const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: rates are computed, not looked up in a table that we would have to give.
const ETHERNET: u8 = 1;

const NETEM_CORRELATION: u16 = 1;
const NETEM_DISTRIBUTION: u16 = 2;
const NETEM_REORDER: u16 = 3;
const NETEM_CORRUPT: u16 = 4;
const NETEM_LOSS: u16 = 5;
const NETEM_RATE: u16 = 6;
const NETEM_RATE64: u16 = 8;
const NETEM_LATENCY64: u16 = 10;
const NETEM_JITTER64: u16 = 11;
const NETEM_SEED: u16 = 14;
/// Gilbert and Elliott's, in [`NETEM_LOSS`].
const LOSS_GE: u16 = 2;
/// Each packet by itself may overtake.
const EVERY_PACKET: u32 = 1;
/// Where the mark is in `struct tc_netem_corr`, behind the correlations of delay and loss.
const MARK_AT: usize = 8;

/// linux/gen_stats.h.
const STATS_BASIC: u16 = 1;
const STATS_QUEUE: u16 = 3;
const STATS_PACKETS64: u16 = 8;

/// A discipline and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discipline {
    /// Its own number (the major one).
    pub(crate) handle: u16,
    /// The one that it is inside of; none for an interface's first.
    pub(crate) parent: Option<u16>,
    pub(crate) does: Queueing,
}

/// What a discipline does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Queueing {
    TokenBucket(TokenBucket),
    Netem(Netem),
}

/// `tbf`: what is longer than the bucket is cut into frames, if the kernel has left it uncut, and dropped otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Bytes.
    pub(crate) burst: u32,
}

/// `netem`. Chances are shares of 2³².
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netem {
    /// Nanoseconds.
    pub(crate) delay: i64,
    /// Nanoseconds, below 2³¹; what the distribution is multiplied by.
    pub(crate) jitter: i64,
    /// A value of this table, of 8192ths, is drawn; as the kernel has it if empty.
    pub(crate) distribution: &'static [i16],
    pub(crate) loss: Option<NetemLoss>,
    pub(crate) reorder: u32,
    pub(crate) corrupt: u32,
    /// Packets.
    pub(crate) limit: u32,
    /// Bytes a second. With one, delayed packets keep their order.
    pub(crate) rate: u64,
    /// Kernels before 6.6 take none.
    pub(crate) seed: u64,
    /// Ours: the kernel keeps it, tells it again and has no use for it. It is where the correlation of duplicates would be,
    /// and we never have netem make any.
    pub(crate) mark: u32,
}

/// Which packets netem loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetemLoss {
    Random(u32),
    /// Bursts: how likely they begin and end at a packet; all within are lost.
    Gilbert {
        enter: u32,
        leave: u32,
    },
}

/// A discipline that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The interface's.
    pub(crate) index: u32,
    /// The major number; 0 for those that the kernel has made by itself.
    pub(crate) handle: u16,
    pub(crate) kind: String,
    /// netem's; 0 for others.
    pub(crate) mark: u32,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: u64,
}

/// The request that makes it so.
pub(super) fn encode(index: u32, discipline: &Discipline) -> Message {
    let parent = discipline.parent.map_or(ROOT, |parent| major(parent) | CLASS);
    let header = traffic_header(index, major(discipline.handle), parent, 0);
    let message = Message::new(libc::RTM_NEWQDISC, CREATE | REPLACE, &header);
    match &discipline.does {
        Queueing::TokenBucket(bucket) => {
            message.text(libc::TCA_KIND, "tbf").nest(libc::TCA_OPTIONS, |m| bucket.encode(m))
        }
        Queueing::Netem(netem) => {
            let fixed = netem.fixed();
            // Attributes follow the fixed part in the same attribute.
            message.text(libc::TCA_KIND, "netem").nest_with(libc::TCA_OPTIONS, &fixed, |m| netem.encode(m))
        }
    }
}

/// The request that removes an interface's first discipline, and all inside.
pub(super) fn removal(index: u32) -> Message {
    Message::new(libc::RTM_DELQDISC, 0, &traffic_header(index, 0, ROOT, 0))
}

pub(super) fn read(reply: &Reply) -> Option<Seen> {
    let body = reply.body.get(TRAFFIC_HEADER..).filter(|_| reply.kind == libc::RTM_NEWQDISC)?;
    let kind = text(attribute(body, libc::TCA_KIND)?);
    let options = attribute(body, libc::TCA_OPTIONS).unwrap_or_default();
    let inner = options.get(Netem::FIXED..).filter(|_| kind == "netem").unwrap_or_default();
    let mark = attribute(inner, NETEM_CORRELATION).map_or(0, |correlation| u32_at(correlation, MARK_AT));
    let stats = attribute(body, libc::TCA_STATS2).unwrap_or_default();
    let basic = attribute(stats, STATS_BASIC).unwrap_or_default();
    let queue = attribute(stats, STATS_QUEUE).unwrap_or_default();
    let packets = attribute(stats, STATS_PACKETS64).map_or_else(|| u32_at(basic, 8).into(), |v| u64_at(v, 0));
    Some(Seen {
        index: u32_at(&reply.body, 4),
        handle: (u32_at(&reply.body, 8) >> 16) as u16,
        kind,
        mark,
        packets,
        bytes: u64_at(basic, 0),
        dropped: u32_at(queue, 8).into(),
        waiting: u32_at(queue, 0).into(),
    })
}

// === impl TokenBucket ===

impl TokenBucket {
    fn encode(&self, message: Message) -> Message {
        let mut parms = [0; 36];
        parms[1] = ETHERNET;
        parms[8..12].copy_from_slice(&saturated(self.rate).to_ne_bytes());
        // The limit of the queue that the kernel makes for it, until there is one inside.
        parms[24..28].copy_from_slice(&self.burst.to_ne_bytes());
        message.attr(TBF_PARMS, &parms).attr(TBF_RATE64, &self.rate.to_ne_bytes()).u32(TBF_BURST, self.burst)
    }
}

// === impl Netem ===

impl Netem {
    /// `struct tc_netem_qopt`.
    const FIXED: usize = 24;

    fn fixed(&self) -> [u8; Self::FIXED] {
        let loss = match self.loss {
            Some(NetemLoss::Random(chance)) => chance,
            Some(NetemLoss::Gilbert { .. }) | None => 0,
        };
        let gap = if self.reorder > 0 { EVERY_PACKET } else { 0 };
        let mut fixed = [0; Self::FIXED];
        // Delay and jitter come in nanoseconds, below; the two others are duplicates.
        for (at, value) in [(4, self.limit), (8, loss), (12, gap)] {
            fixed[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        fixed
    }

    /// Everything each time: what is left out stays as it was.
    fn encode(&self, message: Message) -> Message {
        let mut message = message
            .attr(NETEM_LATENCY64, &self.delay.to_ne_bytes())
            .attr(NETEM_JITTER64, &self.jitter.to_ne_bytes())
            .attr(NETEM_CORRELATION, &words([0, 0, self.mark]))
            .attr(NETEM_REORDER, &words([self.reorder, 0]))
            .attr(NETEM_CORRUPT, &words([self.corrupt, 0]))
            .attr(NETEM_RATE, &words([saturated(self.rate), 0, 0, 0]))
            .attr(NETEM_RATE64, &self.rate.to_ne_bytes())
            .attr(NETEM_SEED, &self.seed.to_ne_bytes());
        if let Some(NetemLoss::Gilbert { enter, leave }) = self.loss {
            // In good times none is lost, in bad ones none is spared.
            message = message.nest(NETEM_LOSS, |m| m.attr(LOSS_GE, &words([enter, leave, 0, 0])));
        }
        if !self.distribution.is_empty() {
            let table: Vec<u8> = self.distribution.iter().flat_map(|value| value.to_ne_bytes()).collect();
            message = message.attr(NETEM_DISTRIBUTION, &table);
        }
        message
    }
}

/// Of a queueing discipline or a filter (`struct tcmsg`).
pub(super) fn traffic_header(index: u32, handle: u32, parent: u32, info: u32) -> [u8; TRAFFIC_HEADER] {
    let mut header = [0; TRAFFIC_HEADER];
    for (at, value) in [(4, index), (8, handle), (12, parent), (16, info)] {
        header[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

fn major(handle: u16) -> u32 {
    u32::from(handle) << 16
}

/// A rate for kernels and attributes of 32 bits; the attribute of 64 says it in full.
fn saturated(rate: u64) -> u32 {
    u32::try_from(rate).unwrap_or(u32::MAX)
}

fn words<const N: usize>(values: [u32; N]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..offset + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::messages;

    const TABLE: [i16; 3] = [-8192, 0, 8192];

    fn netem() -> Netem {
        Netem {
            delay: 5_000_000,
            jitter: 1_000_000,
            distribution: &TABLE,
            loss: Some(NetemLoss::Random(0x1999_9999)),
            reorder: 0x0ccc_cccc,
            corrupt: 3,
            limit: 1000,
            rate: 125_000,
            seed: 7,
            mark: 0xdead_beef,
        }
    }

    fn bytes(discipline: &Discipline) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(3, discipline).write(1, 0, &mut bytes);
        bytes
    }

    /// In rows of 16, as people compare them with what tc(8) sends.
    fn hex(bytes: &[u8]) -> String {
        let row = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        bytes.chunks(16).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn what_the_kernel_is_told() {
        let bucket = Queueing::TokenBucket(TokenBucket { rate: 1 << 50, burst: 1522 });
        insta::assert_snapshot!(hex(&bytes(&Discipline { handle: 0x7401, parent: None, does: bucket })));
        let does = Queueing::Netem(netem());
        insta::assert_snapshot!(hex(&bytes(&Discipline { handle: 0x7402, parent: Some(0x7401), does })));
        let loss = Some(NetemLoss::Gilbert { enter: 1 << 24, leave: 1 << 30 });
        let does = Queueing::Netem(Netem { loss, limit: 10, rate: 1 << 50, ..Netem::default() });
        insta::assert_snapshot!(hex(&bytes(&Discipline { handle: 0x7403, parent: Some(0x7402), does })));
    }

    #[test]
    fn what_is_written_is_seen_again() {
        // The kernel tells disciplines in the form in which it is told them, and adds counters.
        let written =
            bytes(&Discipline { handle: 0x7402, parent: Some(0x7401), does: Queueing::Netem(netem()) });
        let mut reply = messages(&written).remove(0);
        reply.kind = libc::RTM_NEWQDISC;
        let stats = Message::new(0, 0, &[]).nest(libc::TCA_STATS2, |m| {
            let basic: Vec<u8> = 1_500_u64.to_ne_bytes().into_iter().chain(words([3])).collect();
            m.attr(STATS_BASIC, &basic).attr(STATS_QUEUE, &words([4, 0, 5, 0, 0]))
        });
        let mut counters = Vec::new();
        stats.write(1, 0, &mut counters);
        reply.body.extend_from_slice(&messages(&counters)[0].body);
        let seen = read(&reply).unwrap();
        assert_eq!(
            (seen.index, seen.handle, seen.kind.as_str(), seen.mark),
            (3, 0x7402, "netem", 0xdead_beef)
        );
        assert_eq!((seen.packets, seen.bytes, seen.dropped, seen.waiting), (3, 1_500, 5, 4));
        for length in 0..reply.body.len() {
            let cut = Reply { body: reply.body[..length].to_vec(), ..reply.clone() };
            let _ = read(&cut);
        }
    }
}
