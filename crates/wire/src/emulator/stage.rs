//! One stage: see the drawing in the module above.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use testyard_model::impairment::{Distribution, Impairment, Jitter, Loss, QueueLimit};
use testyard_model::quantity::Rate;

use super::random::Stream;
use super::red::Average;
use super::{Nanos, Packet};

/// What waits at most for its turn at a rate if no queue is given, in packets, as in netem.
const DEFAULT_LIMIT: u64 = 1_000;

/// What became of packets; every one is a frame that a wire would carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Taken.
    pub offered: u64,
    /// Given out; `offered + duplicated = delivered + lost + full + early + cut + waiting`.
    pub delivered: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Made in addition.
    pub duplicated: u64,
    /// With a wrong bit.
    pub corrupted: u64,
    /// That overtook.
    pub reordered: u64,
    /// Lost as asked.
    pub lost: u64,
    /// That found the queue full.
    pub full: u64,
    /// Dropped by RED.
    pub early: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stage<P> {
    impairment: Impairment,
    streams: Streams,
    in_burst: bool,
    counted: u32,
    average: Average,
    /// What waits for the rate; the first is being sent.
    queue: VecDeque<P>,
    sent: Finish,
    /// What is on its way, with when it arrives; ordered, because nothing arrives before the one ahead of it.
    line: VecDeque<(Nanos, P)>,
    queue_size: Size,
    line_size: Size,
}

/// Each purpose has its own stream: see `random`.
#[derive(Clone, Debug)]
struct Streams {
    duplicate: Stream,
    loss: Stream,
    corrupt: Stream,
    red: Stream,
    jitter: Stream,
    reorder: Stream,
}

/// When the packet that is being sent is out: nanoseconds, and what is left over in units of 1/rate ns.
#[derive(Clone, Copy, Debug, Default)]
struct Finish {
    at: Nanos,
    rest: u64,
}

impl Finish {
    fn add(&mut self, bytes: u64, rate: Rate) {
        let rate = rate.bits_per_second().max(1);
        let bits = u128::from(bytes) * 8_000_000_000 + u128::from(self.rest);
        let (whole, rest) = (bits / u128::from(rate), bits % u128::from(rate));
        self.at = self.at.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        self.rest = rest as u64;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    packets: u64,
    bytes: u64,
}

impl Size {
    fn add<P: Packet>(&mut self, packet: &P) {
        self.packets += u64::from(packet.packets());
        self.bytes += packet.bytes();
    }

    fn subtract<P: Packet>(&mut self, packet: &P) {
        self.packets -= u64::from(packet.packets());
        self.bytes -= packet.bytes();
    }
}

impl<P: Packet> Stage<P> {
    pub(super) fn new(impairment: Impairment, seed: u64, index: u64) -> Self {
        let stream = |purpose: u64| Stream::new(seed, index * 16 + purpose);
        Self {
            impairment,
            streams: Streams {
                duplicate: stream(0),
                loss: stream(1),
                corrupt: stream(2),
                red: stream(3),
                jitter: stream(4),
                reorder: stream(5),
            },
            in_burst: false,
            counted: 0,
            average: Average::default(),
            queue: VecDeque::new(),
            sent: Finish::default(),
            line: VecDeque::new(),
            queue_size: Size::default(),
            line_size: Size::default(),
        }
    }

    pub(super) fn waiting(&self) -> (u64, u64) {
        (self.queue_size.packets + self.line_size.packets, self.queue_size.bytes + self.line_size.bytes)
    }

    /// Takes a packet; what leaves at once is given back: the packet, its duplicate.
    pub(super) fn offer(&mut self, at: Nanos, packet: P, counts: &mut Counts) -> (Option<P>, Option<P>) {
        let twin = self.streams.duplicate.chance(self.impairment.duplicate).then(|| packet.copy());
        if let Some(twin) = &twin {
            counts.duplicated += u64::from(twin.packets());
        }
        let first = self.one(at, packet, counts);
        (first, twin.and_then(|twin| self.one(at, twin, counts)))
    }

    fn one(&mut self, at: Nanos, mut packet: P, counts: &mut Counts) -> Option<P> {
        let frames = u64::from(packet.packets());
        if self.loses() {
            counts.lost += frames;
            return None;
        }
        if self.streams.corrupt.chance(self.impairment.corrupt) {
            packet.damage(self.streams.corrupt.next());
            counts.corrupted += frames;
        }
        if !self.has_room(&packet) {
            counts.full += frames;
            return None;
        }
        if self.drops_early(at) {
            counts.early += frames;
            return None;
        }
        match self.impairment.rate {
            None => self.travel(at, packet, counts),
            Some(rate) => {
                if self.queue.is_empty() {
                    self.sent = Finish { at, rest: 0 };
                    self.sent.add(packet.bytes(), rate);
                }
                self.queue_size.add(&packet);
                self.queue.push_back(packet);
                None
            }
        }
    }

    /// Gilbert's model: the packet meets the state as it is, then the state may change.
    fn loses(&mut self) -> bool {
        match self.impairment.loss {
            None => false,
            Some(Loss::Random(chance)) => self.streams.loss.chance(chance),
            Some(Loss::Burst { enter, leave }) => {
                let lost = self.in_burst;
                let change = self.streams.loss.chance(if lost { leave } else { enter });
                self.in_burst = lost != change;
                lost
            }
            Some(Loss::Every(nth)) => {
                self.counted = (self.counted + 1) % nth.get();
                self.counted == 0
            }
        }
    }

    /// What the queue's limit is about: what waits for the rate or, where there is none, for its delay.
    fn limited(&self) -> Size {
        if self.impairment.rate.is_some() { self.queue_size } else { self.line_size }
    }

    fn has_room(&self, packet: &P) -> bool {
        let waits = self.limited();
        match (self.impairment.queue.map(|queue| queue.limit), self.impairment.rate) {
            (Some(QueueLimit::Packets(limit)), _) => {
                waits.packets + u64::from(packet.packets()) <= u64::from(limit)
            }
            (Some(QueueLimit::Bytes(limit)), _) => waits.bytes + packet.bytes() <= limit.bytes(),
            (None, Some(_)) => waits.packets + u64::from(packet.packets()) <= DEFAULT_LIMIT,
            (None, None) => true,
        }
    }

    fn drops_early(&mut self, at: Nanos) -> bool {
        let Some(queue) = self.impairment.queue else { return false };
        let Some(red) = queue.red else { return false };
        let waits = self.limited();
        let length = match queue.limit {
            QueueLimit::Packets(_) => waits.packets,
            QueueLimit::Bytes(_) => waits.bytes,
        };
        self.average.drops(&red, self.impairment.rate, at, length, &mut self.streams.red)
    }

    /// Onto the delay line; given back if it is through at once.
    fn travel(&mut self, at: Nanos, packet: P, counts: &mut Counts) -> Option<P> {
        let delay = self.impairment.delay;
        if !delay.is_zero() && self.streams.reorder.chance(self.impairment.reorder) {
            counts.reordered += u64::from(packet.packets());
            return Some(packet);
        }
        let delay = match self.impairment.jitter {
            None => delay.as_nanos(),
            Some(jitter) => self.vary(delay.as_nanos(), jitter),
        };
        let ahead = self.line.back().map_or(0, |(due, _)| *due);
        let due = at.saturating_add(delay).max(ahead);
        if due <= at && self.line.is_empty() {
            return Some(packet);
        }
        self.line_size.add(&packet);
        self.line.push_back((due, packet));
        None
    }

    fn vary(&mut self, delay: Nanos, jitter: Jitter) -> Nanos {
        let spread = jitter.spread.as_nanos() as f64;
        let random = &mut self.streams.jitter;
        let offset = match jitter.distribution {
            Distribution::Uniform => spread * (2.0 * random.ratio() - 1.0),
            Distribution::Normal => spread * random.normal(),
            Distribution::Exponential => spread * random.exponential(),
        };
        // Saturates at both ends.
        (delay as f64 + offset).round() as Nanos
    }

    /// When something is to be done here.
    pub(super) fn next(&self) -> Option<Nanos> {
        let sent = (!self.queue.is_empty()).then_some(self.sent.at);
        let due = self.line.front().map(|(due, _)| *due);
        match (sent, due) {
            (Some(sent), Some(due)) => Some(sent.min(due)),
            (one, other) => one.or(other),
        }
    }

    /// Does what is to be done at [`Self::next`]; what leaves.
    pub(super) fn step(&mut self, at: Nanos, counts: &mut Counts) -> Option<P> {
        if self.line.front().is_some_and(|(due, _)| *due <= at) {
            let (_, packet) = self.line.pop_front()?;
            self.line_size.subtract(&packet);
            if self.impairment.rate.is_none() && self.line.is_empty() {
                self.average.emptied(at);
            }
            return Some(packet);
        }
        let packet = self.queue.pop_front()?;
        self.queue_size.subtract(&packet);
        match (self.queue.front(), self.impairment.rate) {
            (Some(next), Some(rate)) => self.sent.add(next.bytes(), rate),
            _ => self.average.emptied(at),
        }
        self.travel(at, packet, counts)
    }

    /// Another impairment from now on; what leaves at once.
    pub(super) fn change(&mut self, now: Nanos, new: &Impairment, counts: &mut Counts) -> Vec<P> {
        let old = std::mem::replace(&mut self.impairment, *new);
        let sooner = old.delay.as_nanos().saturating_sub(new.delay.as_nanos());
        if sooner > 0 {
            for (due, _) in &mut self.line {
                *due = due.saturating_sub(sooner).max(now);
            }
        }
        if !matches!(new.loss, Some(Loss::Burst { .. })) {
            self.in_burst = false;
        }
        if !matches!(new.loss, Some(Loss::Every(_))) {
            self.counted = 0;
        }
        match (old.rate, new.rate) {
            (Some(old), Some(new)) if old != new && !self.queue.is_empty() => {
                // What is left of the packet that is being sent, at the new rate.
                let left = u128::from(self.sent.at.saturating_sub(now)) * u128::from(old.bits_per_second());
                let left = left / u128::from(new.bits_per_second().max(1));
                let at = now.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
                self.sent = Finish { at, rest: 0 };
                Vec::new()
            }
            (Some(_), None) => {
                self.queue_size = Size::default();
                let queue = std::mem::take(&mut self.queue);
                queue.into_iter().filter_map(|packet| self.travel(now, packet, counts)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What waits, in the order in which it would have left.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = P> {
        self.line.into_iter().map(|(_, packet)| packet).chain(self.queue)
    }

    pub(super) fn clear(&mut self, now: Nanos) {
        self.queue.clear();
        self.line.clear();
        self.queue_size = Size::default();
        self.line_size = Size::default();
        self.average.emptied(now);
    }
}
