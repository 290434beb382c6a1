//! Random early detection: Floyd and Jacobson, "Random Early Detection Gateways for Congestion Avoidance", 1993, section
//! 4, with the gentle variant of Floyd's note of 2000. Between two early drops the count makes the gaps even, as in the
//! paper and in Linux's `red`.

use testyard_model::impairment::Red;
use testyard_model::quantity::Rate;

use super::random::Stream;

/// NS's `mean_pktsize_`: how fast the average falls while nothing is there.
const TYPICAL_BYTES: u64 = 500;

/// What RED remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Average {
    length: f64,
    /// Packets since the last early drop.
    count: u32,
    /// Since when nothing has been waiting.
    idle_since: Option<u64>,
}

impl Average {
    /// The last packet went at this time, in nanoseconds.
    pub(crate) fn emptied(&mut self, at: u64) {
        self.idle_since = Some(at);
    }

    /// Whether a packet that comes while so much waits, in the limit's unit, is to be dropped.
    pub(crate) fn drops(
        &mut self,
        red: &Red,
        rate: Option<Rate>,
        at: u64,
        waiting: u64,
        random: &mut Stream,
    ) -> bool {
        let drop = self.judge(red, rate, at, waiting, random);
        if drop && waiting == 0 {
            // Still nothing there, so the average goes on falling.
            self.idle_since = Some(at);
        }
        drop
    }

    fn judge(&mut self, red: &Red, rate: Option<Rate>, at: u64, waiting: u64, random: &mut Stream) -> bool {
        let weight = red.weight.ratio();
        match self.idle_since.take() {
            Some(since) => {
                // As if small packets had come to an empty queue; without a rate none can be counted.
                let packets = rate.map_or(u64::MAX, |rate| {
                    let one = rate.time_of(TYPICAL_BYTES).as_nanos().max(1);
                    u64::try_from(u128::from(at.saturating_sub(since)) / one).unwrap_or(u64::MAX)
                });
                self.length *= power(1.0 - weight, packets);
            }
            None => self.length += weight * (waiting as f64 - self.length),
        }
        let (min, max) = (f64::from(red.min), f64::from(red.max));
        let steepest = red.probability.ratio();
        let chance = if self.length < min {
            self.count = 0;
            return false;
        } else if self.length < max {
            steepest * (self.length - min) / (max - min)
        } else if red.gentle && self.length < 2.0 * max {
            steepest + (1.0 - steepest) * (self.length - max) / max
        } else {
            self.count = 0;
            return true;
        };
        let counted = f64::from(self.count) * chance;
        let chance = if counted < 1.0 { chance / (1.0 - counted) } else { 1.0 };
        let drop = random.ratio() < chance;
        self.count = if drop { 0 } else { self.count.saturating_add(1) };
        drop
    }
}

/// By squaring, so that it is the same on every machine.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent > 0 && result > 1e-12 {
        if exponent & 1 == 1 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(average: &mut Average, red: &Red, waiting: u64, packets: u32) -> u32 {
        let mut random = Stream::new(1, 0);
        (0..packets).map(|_| u32::from(average.drops(red, None, 0, waiting, &mut random))).sum()
    }

    #[test]
    fn the_average_follows_slowly() {
        let mut average = Average::default();
        assert_eq!(drops(&mut average, &Red::NS, 10, 300), 0, "the average is still below 5 of 10");
        assert!((4.0..5.0).contains(&average.length), "{}", average.length);
        average.length = 16.0;
        assert_eq!(drops(&mut average, &Red::NS, 20, 10), 10, "above max all are dropped");
    }

    #[test]
    fn early_drops_are_about_as_many_as_asked() {
        let mut average = Average { length: 10.0, ..Average::default() };
        // Half way between 5 and 15 the chance is 5 %; evenly spread gaps from 1 to 20 have 10.5 on average.
        let count = drops(&mut average, &Red::NS, 10, 10_000);
        assert!((850..1_050).contains(&count), "{count}");
    }

    #[test]
    fn gentle_rises_on() {
        let red = Red { gentle: true, ..Red::NS };
        let mut average = Average { length: 16.0, ..Average::default() };
        let count = drops(&mut average, &red, 16, 1_000);
        assert!(count < 600, "{count}");
    }

    #[test]
    fn a_drop_does_not_end_the_idle_time() {
        let rate = "8Mbit".parse().ok();
        let mut average = Average { length: 1_000.0, ..Average::default() };
        average.emptied(0);
        let mut random = Stream::new(1, 0);
        let dropped =
            (1..=100).filter(|n| average.drops(&Red::NS, rate, n * 100_000_000, 0, &mut random)).count();
        assert!(dropped < 15, "{dropped}");
    }

    #[test]
    fn it_falls_while_idle() {
        let rate = "8Mbit".parse().ok();
        let mut average = Average { length: 10.0, ..Average::default() };
        average.emptied(0);
        let _ = average.drops(&Red::NS, rate, 500_000_000, 0, &mut Stream::new(1, 0));
        // 1000 packets of 500 bytes: 10 × 0.998^1000.
        assert!((average.length - 1.3506).abs() < 0.001, "{}", average.length);
    }
}
