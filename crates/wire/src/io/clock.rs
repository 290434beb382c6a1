//! The clock of deadlines, and how long a thread may turn on the spot.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::emulator::Nanos;

/// The monotonic clock, in nanoseconds.
pub(crate) fn now() -> Nanos {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// An absolute timer: it fires when it should, however long the thread was at something else.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: TimerFd,
    set: Option<Nanos>,
}

impl Alarm {
    pub(crate) fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, set: None })
    }

    /// At this time, or never.
    pub(crate) fn set(&mut self, at: Option<Nanos>) {
        if at == self.set {
            return;
        }
        let done = match at {
            Some(at) => {
                // A time of zero would switch it off.
                let at = at.max(1);
                let time =
                    TimeSpec::new((at / 1_000_000_000).cast_signed(), (at % 1_000_000_000).cast_signed());
                self.timer.set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.timer.unset(),
        };
        if let Err(error) = done {
            tracing::error!(%error, "the timer cannot be set");
        }
        self.set = at;
    }

    /// It has fired.
    pub(crate) fn fired(&mut self) {
        self.set = None;
        // Reading makes it quiet; it does not block.
        let _ = self.timer.wait();
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Turning on the spot finds a frame or a deadline some 50 µs sooner than sleeping, and takes the processor from those
/// whose frames these are: at most a tenth of the time goes into it.
#[derive(Debug)]
pub(crate) struct Patience {
    credit: u64,
    seen: Nanos,
    spinning: bool,
}

/// One in so many.
const SHARE: u64 = 10;
/// The most that is saved up.
const SAVINGS: u64 = 2_000_000;
/// So much is needed to begin.
const LEAST: u64 = 100_000;

impl Patience {
    pub(crate) fn new(now: Nanos) -> Self {
        Self { credit: SAVINGS, seen: now, spinning: false }
    }

    /// Time has passed, at work or asleep or, since the last [`Self::spins`] said so, on the spot.
    pub(crate) fn pass(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.seen);
        self.seen = now;
        self.credit = (self.credit + passed / SHARE).min(SAVINGS);
        if self.spinning {
            self.credit = self.credit.saturating_sub(passed);
        }
    }

    /// Whether to turn on the spot, if there is a reason to.
    pub(crate) fn spins(&mut self, reason: bool) -> bool {
        self.spinning = reason && self.credit >= if self.spinning { 1 } else { LEAST };
        self.spinning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_time() {
        let mut patience = Patience::new(0);
        let (mut now, mut spun) = (0, 0);
        while now < 1_000_000_000 {
            let step = if patience.spins(true) { 1_000 } else { 60_000 };
            spun += if step == 1_000 { step } else { 0 };
            now += step;
            patience.pass(now);
        }
        assert!((90_000_000..115_000_000).contains(&spun), "{spun}");
    }
}
