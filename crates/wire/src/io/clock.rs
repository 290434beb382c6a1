//! The clock of deadlines, and how long a thread may turn on the spot.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::emulator::Nanos;

/// The monotonic clock, in nanoseconds.
pub(crate) fn now() -> Nanos {
    read(nix::time::ClockId::CLOCK_MONOTONIC)
}

fn read(clock: nix::time::ClockId) -> Nanos {
    let time = nix::time::clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0));
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Longer than this no frame has waited to be taken: the real-time clock has been set.
const LONGEST_WAIT: Nanos = 1_000_000_000;

/// Says when frames came, which the kernel tells by the real-time clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    now: Nanos,
    real: Nanos,
}

impl Moment {
    pub(crate) fn this() -> Self {
        Self { now: now(), real: read(nix::time::ClockId::CLOCK_REALTIME) }
    }

    /// On the monotonic clock; now, if the kernel's time cannot be.
    pub(crate) fn of(self, came: Option<Nanos>) -> Nanos {
        let ago = came.and_then(|came| self.real.checked_sub(came)).filter(|ago| *ago < LONGEST_WAIT);
        self.now.saturating_sub(ago.unwrap_or(0))
    }
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
    fn when_frames_came() {
        let moment = Moment { now: 5_000_000, real: 1_000_000_000_000 };
        for (came, at) in [
            (None, 5_000_000),
            (Some(999_999_999_000), 4_999_000),
            (Some(1_000_000_000_001), 5_000_000),
            (Some(900_000_000_000), 5_000_000),
        ] {
            assert_eq!(moment.of(came), at, "{came:?}");
        }
    }

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
