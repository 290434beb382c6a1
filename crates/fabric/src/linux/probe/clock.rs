//! Clocks: trains go by the monotonic one, and the kernel tells arrivals by the real-time one.

use std::io;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use testyard_model::probe::ClockDomain;

/// If the clocks moved further apart in a train, one was set. A clock that is only slowed takes the other with it.
const SET: i64 = 50_000;

/// The monotonic clock, in nanoseconds.
pub(super) fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).unwrap_or(TimeSpec::new(0, 0));
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Until a time of the monotonic clock; a signal may end it before.
pub(super) fn sleep_until(at: u64) {
    let time = TimeSpec::new((at / 1_000_000_000).cast_signed(), (at % 1_000_000_000).cast_signed());
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &time);
}

/// This host's clock. It counts from its boot.
pub(super) fn domain() -> io::Result<ClockDomain> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(ClockDomain(boot.trim().to_owned()))
}

/// How far the real-time clock is ahead of the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offset(i64);

impl Offset {
    /// As it is now: the best of some looks, since the thread may be held up between two clocks.
    pub(super) fn measure() -> Self {
        let look = || {
            let before = now();
            let real = read(ClockId::CLOCK_REALTIME);
            let after = now();
            (after - before, real.cast_signed() - before.midpoint(after).cast_signed())
        };
        let best = (0..8).map(|_| look()).min();
        Self(best.map_or(0, |(_, ahead)| ahead))
    }

    /// A time of the real-time clock on the monotonic one.
    pub(super) fn monotonic(self, real: u64) -> u64 {
        real.cast_signed().saturating_sub(self.0).max(0).cast_unsigned()
    }

    /// Whether a clock was set between this and now.
    pub(super) fn was_set(self) -> bool {
        (Self::measure().0 - self.0).abs() > SET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_on_the_monotonic_clock() {
        let offset = Offset::measure();
        let before = now();
        let between = offset.monotonic(read(ClockId::CLOCK_REALTIME));
        let after = now();
        assert!((before..=after + 50_000).contains(&(between + 50_000)), "{before} {between} {after}");
        assert!(!offset.was_set());
        assert!(Offset(offset.0 + 1_000_000).was_set());
        sleep_until(after + 1_000_000);
        assert!(now() >= after + 1_000_000);
        assert_eq!(domain().unwrap(), domain().unwrap());
    }
}
