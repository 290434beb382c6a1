//! How much the agent takes from one node's guest: a bucket of bytes that fills again with time. Pure.
//!
//! An honest guest says little: a few kilobytes whenever something changes, and where the agent reads slowly it leaves
//! out what is old by then. So the bucket is nearly always full; who floods is slowed to what the bucket is filled with,
//! over however many connections.

use std::time::Duration;

use tokio::time::Instant;

/// What may be said at once, in bytes.
pub(crate) const BURST: u64 = 4 << 20;

/// What may be said for ever, in bytes a second.
pub(crate) const RATE: u64 = 128 << 10;

/// What a message or a connection costs beside its bytes: reading, judging and passing on one of ten bytes is work too.
pub(crate) const EACH: u64 = 4 << 10;

/// What is left for one node.
#[derive(Debug)]
pub(crate) struct Ration {
    left: i128,
    at: Instant,
}

impl Ration {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: i128::from(BURST), at: now }
    }

    /// Takes a message of so many bytes; how long to pause before the next one is read.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let filled = i128::try_from(passed).unwrap_or(i128::MAX / 2).saturating_mul(i128::from(RATE)) / 1000;
        // What is less than a byte is not lost: the clock is moved on only by what was filled.
        if filled > 0 {
            self.at = now;
        }
        let cost = i128::try_from(bytes).unwrap_or(i128::MAX / 2).saturating_add(i128::from(EACH));
        self.left = self.left.saturating_add(filled).min(i128::from(BURST)).saturating_sub(cost);
        let debt = u64::try_from(-self.left).unwrap_or(0);
        Duration::from_millis(debt.saturating_mul(1000).div_ceil(RATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn little_costs_nothing_and_floods_wait() {
        let mut now = Instant::now();
        let mut ration = Ration::new(now);
        // A minute of a report of 2 KB ten times a second.
        for _ in 0..600 {
            assert_eq!(ration.take(2 << 10, now), Duration::ZERO);
            now += Duration::from_millis(100);
        }
        for _ in 0..4 {
            ration.take(1 << 20, now);
        }
        let pause = ration.take(1 << 20, now);
        assert!((8..9).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(ration.take(0, now + Duration::from_secs(60)), Duration::ZERO, "it fills again");
    }

    proptest! {
        /// Whatever the messages are, who waits as told has been given no more than the burst and what time has filled.
        #[test]
        fn nobody_gets_more_than_the_ration(sizes in prop::collection::vec((0_usize..2 << 20, 0_u64..50), 1..200)) {
            let begun = Instant::now();
            let (mut now, mut ration, mut given) = (begun, Ration::new(begun), 0);
            for (bytes, idle) in sizes {
                given += bytes as u64 + EACH;
                now += ration.take(bytes, now) + Duration::from_millis(idle);
                let fair = BURST + u64::try_from((now - begun).as_millis()).unwrap() * RATE / 1000 + RATE / 100;
                prop_assert!(given <= fair, "{given} in {:?}, {fair} would be fair", now - begun);
            }
        }
    }
}
