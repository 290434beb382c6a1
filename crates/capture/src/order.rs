//! Packets of several interfaces, each in order, put in order of time.
//!
//! Interfaces are read one after the other, in rounds. What one round has read waits for the next: by then the kernel has
//! handed over what the other interfaces saw at the same time. So nothing waits longer than a round, and no clock is asked.

use std::ops::Range;

/// Blocks that wait, with their times.
#[derive(Debug, Default)]
pub struct Order {
    bytes: Vec<u8>,
    waiting: Vec<(u64, Range<usize>)>,
    /// The latest time of the round before this one; nothing is known of what came later.
    known: u64,
}

impl Order {
    /// Adds a block, which `write` appends.
    pub fn add(&mut self, time: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.waiting.push((time, start..self.bytes.len()));
    }

    /// Bytes that wait.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends a round: what is known to be in order, which is all that the rounds before have read.
    #[must_use]
    pub fn round(&mut self) -> Vec<u8> {
        self.waiting.sort_by_key(|(time, _)| *time);
        let latest = self.waiting.last().map_or(0, |(time, _)| *time);
        let ready = self.waiting.partition_point(|(time, _)| *time <= self.known);
        self.known = latest;
        self.take(ready)
    }

    /// All that waits: nothing else will come, or there is no room for more.
    #[must_use]
    pub fn flush(&mut self) -> Vec<u8> {
        self.waiting.sort_by_key(|(time, _)| *time);
        self.take(self.waiting.len())
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        if count == 0 {
            return Vec::new();
        }
        let ready: Vec<_> = self.waiting.drain(..count).collect();
        let mut out = Vec::with_capacity(ready.iter().map(|(_, range)| range.len()).sum());
        ready.iter().for_each(|(_, range)| out.extend_from_slice(&self.bytes[range.clone()]));
        let mut rest = Vec::with_capacity(self.bytes.len() - out.len());
        for (_, range) in &mut self.waiting {
            let start = rest.len();
            rest.extend_from_slice(&self.bytes[range.clone()]);
            *range = start..rest.len();
        }
        self.bytes = rest;
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(order: &mut Order, times: &[u8]) {
        for time in times {
            order.add(u64::from(*time), |out| out.push(*time));
        }
    }

    #[test]
    fn a_round_waits_for_the_next() {
        let mut order = Order::default();
        add(&mut order, &[1, 4, 2]);
        assert_eq!(order.round(), []);
        add(&mut order, &[5, 3]);
        assert_eq!(order.round(), [1, 2, 3, 4], "3 was read a round late");
        assert_eq!((order.size(), order.is_empty()), (1, false));
        assert_eq!(order.round(), [5], "nothing waits for what does not come");
        assert!(order.is_empty());
        add(&mut order, &[9, 8]);
        assert_eq!(order.flush(), [8, 9]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut order = Order::default();
        add(&mut order, &[200]);
        assert_eq!(order.round(), []);
        assert_eq!(order.round(), [200]);
        add(&mut order, &[1]);
        let first = order.round();
        let second = order.round();
        assert_eq!([first, second].concat(), [1]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_waits_longer_than_a_round(
            rounds in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10)
        ) {
            let (mut order, mut came, mut went) = (Order::default(), Vec::new(), 0);
            for round in &rounds {
                add(&mut order, round);
                let before = came.len();
                came.extend_from_slice(round);
                went += order.round().len();
                prop_assert!(went >= before);
            }
            went += order.round().len();
            prop_assert_eq!(went, came.len());
        }
    }
}
