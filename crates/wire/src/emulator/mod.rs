//! One direction of a pipe in virtual time: packets in, verdicts out. Pure: the time is an argument, randomness comes
//! from the seed.
//!
//! ```text
//!           stage                                                  (up to two, one after the other)
//! offer ──► duplicate ► loss ► corrupt ► queue ══rate══► delay line ──► next stage, or out
//!                         │                │ full, RED     │ reordered: past the line
//!                         ▼                ▼
//!                       lost             dropped
//! ```
//!
//! What comes out of one part enters the next at the instant it was due, not at the instant somebody looked: no drift,
//! however late or seldom the emulator is asked. Delayed packets keep their order, with jitter too; only `reorder`
//! changes it.

mod random;
mod red;
mod stage;

pub use stage::Counts;
use stage::Stage;
use testyard_model::impairment::Impairment;

/// Nanoseconds of a clock that never goes back.
pub type Nanos = u64;

/// What is carried: one packet, or several that stay together.
pub trait Packet {
    /// What the wire would carry: the bytes of all frames, with all their headers.
    fn bytes(&self) -> u64;
    /// How many frames the wire would carry.
    fn packets(&self) -> u32;
    /// The same once more.
    fn copy(&self) -> Self;
    /// Makes one bit wrong; which one, this number decides.
    fn damage(&mut self, random: u64);
}

/// How finely a direction looks at what it is given: how much may stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Whatever comes.
    Whole,
    /// So many bytes, or one packet if it is larger: what goes over in a moment at the rate.
    Bytes(u64),
    /// Single packets.
    Packet,
}

/// At a rate, what stays together is not longer than this: well below what anybody measures as a delay.
const MOMENT_NS: u64 = 50_000;
/// The largest that comes in one piece.
const LARGEST: u64 = 1 << 16;

impl Grain {
    /// How finely these stages must look.
    #[must_use]
    pub fn of(stages: &[Impairment]) -> Self {
        let mut least = u64::MAX;
        for stage in stages {
            let chances = [stage.duplicate, stage.reorder, stage.corrupt];
            let each = stage.loss.is_some() || stage.jitter.is_some() || stage.queue.is_some();
            if each || chances.iter().any(|chance| !chance.is_never()) {
                return Self::Packet;
            }
            if let Some(rate) = stage.rate {
                least = least.min(rate.bits_per_second().saturating_mul(MOMENT_NS) / 8_000_000_000);
            }
        }
        if least >= LARGEST { Self::Whole } else { Self::Bytes(least) }
    }
}

/// One direction.
#[derive(Clone, Debug)]
pub struct Emulator<P> {
    stages: Vec<Stage<P>>,
    seed: u64,
    counts: Counts,
    /// The latest time that was given.
    now: Nanos,
}

impl<P: Packet> Emulator<P> {
    /// Stages in the order in which packets meet them. The same seed, packets and times give the same verdicts.
    #[must_use]
    pub fn new(stages: &[Impairment], seed: u64) -> Self {
        let mut new = Self { stages: Vec::new(), seed, counts: Counts::default(), now: 0 };
        new.change(0, stages, &mut Vec::new());
        new
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Packets and bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> (u64, u64) {
        self.stages
            .iter()
            .map(Stage::waiting)
            .fold((0, 0), |(p, b), (packets, bytes)| (p + packets, b + bytes))
    }

    /// Takes a packet. What is due by then, maybe the packet itself, is added to `out`.
    pub fn offer(&mut self, now: Nanos, packet: P, out: &mut Vec<P>) {
        self.advance(now, out);
        self.counts.offered += u64::from(packet.packets());
        self.enter(0, self.now, packet, out);
    }

    /// Adds what is due by now to `out`.
    pub fn advance(&mut self, now: Nanos, out: &mut Vec<P>) {
        self.now = self.now.max(now);
        while let Some((index, at)) = self.next().filter(|(_, at)| *at <= self.now) {
            let left = self.stages[index].step(at, &mut self.counts);
            if let Some(packet) = left {
                self.enter(index + 1, at, packet, out);
            }
        }
    }

    /// When something will be due; none if nothing waits.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.next().map(|(_, at)| at)
    }

    /// Other impairments from now on. Nothing that waits is lost: a new rate serves what waits for it from now on; a
    /// shorter delay brings forward what is on its way; what waits in a stage that is no more goes on at once.
    pub fn change(&mut self, now: Nanos, stages: &[Impairment], out: &mut Vec<P>) {
        self.advance(now, out);
        while self.stages.len() > stages.len() {
            for packet in self.stages.pop().into_iter().flat_map(Stage::into_waiting) {
                self.count_out(packet, out);
            }
        }
        for (index, impairment) in stages.iter().enumerate() {
            match self.stages.get_mut(index) {
                Some(stage) => {
                    for packet in stage.change(self.now, impairment, &mut self.counts) {
                        self.enter(index + 1, self.now, packet, out);
                    }
                }
                None => self.stages.push(Stage::new(*impairment, self.seed, index as u64)),
            }
        }
        // A change can make due what was not.
        self.advance(now, out);
    }

    /// Drops everything that waits: the cable is cut. How many packets that were.
    pub fn cut(&mut self) -> u64 {
        let (packets, _) = self.waiting();
        for stage in &mut self.stages {
            stage.clear(self.now);
        }
        packets
    }

    /// Which stage has something to do next, and when. At the same instant the later stage comes first, so that it has
    /// room for what the earlier one gives it.
    fn next(&self) -> Option<(usize, Nanos)> {
        let times = self.stages.iter().enumerate().rev();
        times.filter_map(|(index, stage)| Some((index, stage.next()?))).min_by_key(|(_, at)| *at)
    }

    fn enter(&mut self, index: usize, at: Nanos, packet: P, out: &mut Vec<P>) {
        let Some(stage) = self.stages.get_mut(index) else {
            self.count_out(packet, out);
            return;
        };
        let (first, second) = stage.offer(at, packet, &mut self.counts);
        for packet in [first, second].into_iter().flatten() {
            self.enter(index + 1, at, packet, out);
        }
    }

    fn count_out(&mut self, packet: P, out: &mut Vec<P>) {
        self.counts.delivered += u64::from(packet.packets());
        self.counts.bytes += packet.bytes();
        out.push(packet);
    }
}

#[cfg(test)]
mod tests;
