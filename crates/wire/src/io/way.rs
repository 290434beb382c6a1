//! One direction of a pipe at work: frames in, frames out, what became of them.

use crate::emulator::{Emulator, Grain, Nanos, Packet as _};
use crate::frame::{Frame, split};
use crate::pipe::Direction;
use crate::protocol::ObservedDirection;

/// A direction.
#[derive(Debug)]
pub(crate) struct Way {
    emulator: Emulator<Frame>,
    grain: Grain,
    /// Whether frames may have to wait.
    holds: bool,
    cut: u64,
    memory: u64,
    pub(crate) refused: u64,
    pub(crate) unreadable: u64,
    /// The deadline that the worker has noted for it.
    pub(crate) noted: Option<Nanos>,
}

impl Way {
    pub(crate) fn new(does: &Direction, seed: u64, index: u64) -> Self {
        // Both directions of a pipe get what is their own out of one seed.
        let seed = seed ^ index.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mut way = Self {
            emulator: Emulator::new(&does.stages, seed),
            grain: Grain::Whole,
            holds: false,
            cut: 0,
            memory: 0,
            refused: 0,
            unreadable: 0,
            noted: None,
        };
        way.look(does);
        way
    }

    fn look(&mut self, does: &Direction) {
        self.grain = Grain::of(&does.stages);
        self.holds = does
            .stages
            .iter()
            .any(|stage| stage.rate.is_some() || !stage.delay.is_zero() || stage.jitter.is_some());
    }

    /// Takes a frame; what may go is added to `out`. `room` is how many bytes may be added to what waits. A buffer
    /// that is free again is given back.
    pub(crate) fn take(
        &mut self,
        now: Nanos,
        mut frame: Frame,
        up: bool,
        room: u64,
        out: &mut Vec<Frame>,
    ) -> Option<Vec<u8>> {
        if !up {
            self.cut += u64::from(frame.packets());
            return Some(frame.into_buffer());
        }
        if self.holds && frame.bytes() > room {
            self.memory += u64::from(frame.packets());
            return Some(frame.into_buffer());
        }
        let emulator = &mut self.emulator;
        if self.grain == Grain::Whole || frame.packets() == 1 && frame.offload().is_single() {
            // What waits must not keep a buffer for the longest of frames.
            let free = if self.holds { frame.shrink() } else { None };
            emulator.offer(now, frame, out);
            return free;
        }
        split(frame, self.grain, |piece| emulator.offer(now, piece, out))
    }

    /// What is due.
    pub(crate) fn due(&mut self, now: Nanos, out: &mut Vec<Frame>) {
        self.emulator.advance(now, out);
    }

    pub(crate) fn deadline(&self) -> Option<Nanos> {
        self.emulator.next_deadline()
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.emulator.waiting().1
    }

    pub(crate) fn change(&mut self, now: Nanos, does: &Direction, out: &mut Vec<Frame>) {
        self.emulator.change(now, &does.stages, out);
        self.look(does);
    }

    pub(crate) fn cut(&mut self) {
        self.cut += self.emulator.cut();
    }

    pub(crate) fn observed(&self) -> ObservedDirection {
        let (waiting, waiting_bytes) = self.emulator.waiting();
        ObservedDirection {
            counts: self.emulator.counts().clone(),
            cut: self.cut,
            memory: self.memory,
            refused: self.refused,
            unreadable: self.unreadable,
            waiting,
            waiting_bytes,
        }
    }
}
