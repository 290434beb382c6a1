//! How many of so many, each with the same chance.

use super::Interval;

/// The binomial distribution.
#[derive(Clone, Copy, Debug)]
pub struct Binomial {
    count: u64,
    chance: f64,
}

impl Binomial {
    /// Of so many, each with this chance.
    #[must_use]
    pub const fn new(count: u64, chance: f64) -> Self {
        Self { count, chance }
    }

    /// How likely it is at most so many.
    #[must_use]
    pub fn at_most(&self, hits: u64) -> f64 {
        if hits >= self.count {
            return 1.0;
        }
        if hits as f64 > self.count as f64 * self.chance {
            return (1.0 - self.at_least_above_mean(hits + 1)).clamp(0.0, 1.0);
        }
        // The same from the other side, so that terms fall from the first on.
        let misses = Self { count: self.count, chance: 1.0 - self.chance };
        misses.at_least_above_mean(self.count - hits).clamp(0.0, 1.0)
    }

    /// How likely it is at least so many.
    #[must_use]
    pub fn at_least(&self, hits: u64) -> f64 {
        if hits == 0 {
            return 1.0;
        }
        Self { count: self.count, chance: 1.0 - self.chance }
            .at_most(self.count.saturating_sub(hits))
            .min(1.0)
            * f64::from(u8::from(hits <= self.count))
    }

    /// The sum of the terms from `hits` on, of which each is smaller than the one before.
    fn at_least_above_mean(&self, hits: u64) -> f64 {
        if self.chance <= 0.0 {
            return f64::from(u8::from(hits == 0));
        }
        if self.chance >= 1.0 {
            return 1.0;
        }
        let odds = self.chance / (1.0 - self.chance);
        let mut term = self.term(hits);
        let mut sum = 0.0;
        for at in hits..=self.count {
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
            term *= odds * (self.count - at) as f64 / (at + 1) as f64;
        }
        sum
    }

    fn term(&self, hits: u64) -> f64 {
        let few = hits.min(self.count - hits);
        let ways: f64 = (0..few).map(|i| ((self.count - i) as f64 / (few - i) as f64).ln()).sum();
        let misses = (self.count - hits) as f64;
        (ways + hits as f64 * self.chance.ln() + misses * (-self.chance).ln_1p()).exp()
    }
}

/// The chances with which `hits` of `count` is not too unlikely: Clopper and Pearson's interval, which misses the true
/// chance at most with `error`.
#[must_use]
pub fn proportion(hits: u64, count: u64, error: f64) -> Interval {
    if count == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    // Both tails are monotonous in the chance.
    let bisect = |is_below: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if is_below(middle) { low = middle } else { high = middle }
        }
        (low, high)
    };
    let low = match hits {
        0 => 0.0,
        _ => bisect(&|chance| Binomial::new(count, chance).at_least(hits) < error / 2.0).0,
    };
    let high = match count - hits {
        0 => 1.0,
        _ => bisect(&|chance| Binomial::new(count, chance).at_most(hits) >= error / 2.0).1,
    };
    Interval { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every outcome, one after the other.
    fn brute(count: u64, chance: f64) -> Vec<f64> {
        let mut chances = vec![1.0];
        for _ in 0..count {
            let mut next = vec![0.0; chances.len() + 1];
            for (hits, was) in chances.iter().enumerate() {
                next[hits] += was * (1.0 - chance);
                next[hits + 1] += was * chance;
            }
            chances = next;
        }
        chances
    }

    #[test]
    fn intervals_of_tables() {
        let near = |interval: Interval, low: f64, high: f64| {
            assert!((interval.low - low).abs() < 1e-4 && (interval.high - high).abs() < 1e-4, "{interval:?}");
        };
        near(proportion(0, 10, 0.05), 0.0, 0.308_5);
        near(proportion(10, 10, 0.05), 0.691_5, 1.0);
        near(proportion(5, 10, 0.05), 0.187_1, 0.812_9);
        near(proportion(81, 263, 0.05), 0.252_7, 0.367_6);
        near(proportion(0, 0, 0.05), 0.0, 1.0);
    }

    proptest! {
        #[test]
        fn tails_are_sums(count in 0_u64..80, part in 0.0_f64..=1.0, chance in 0.0_f64..=1.0) {
            let hits = (part * count as f64) as u64;
            let all = brute(count, chance);
            let split = hits as usize;
            let binomial = Binomial::new(count, chance);
            let at_most: f64 = all[..=split].iter().sum();
            let at_least: f64 = all[split..].iter().sum();
            prop_assert!((binomial.at_most(hits) - at_most).abs() < 1e-9, "{} {at_most}", binomial.at_most(hits));
            prop_assert!((binomial.at_least(hits) - at_least).abs() < 1e-9, "{} {at_least}", binomial.at_least(hits));
        }

        /// What the name promises, exactly: over all outcomes, those whose interval misses the chance are rare enough.
        #[test]
        fn intervals_miss_rarely(count in 1_u64..60, chance in 0.0_f64..=1.0) {
            let missed: f64 = brute(count, chance).iter().enumerate().filter(|(hits, _)| {
                let interval = proportion(*hits as u64, count, 0.01);
                chance < interval.low - 1e-12 || chance > interval.high + 1e-12
            }).map(|(_, chance)| chance).sum();
            prop_assert!(missed <= 0.01 + 1e-9, "{missed}");
        }
    }
}
