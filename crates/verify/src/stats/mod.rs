//! The statistics that a report needs, exact where they can be.
//!
//! No crate is taken for them: what is needed is a binomial tail and a bisection, and `statrs` brings a matrix library.

mod binomial;
mod chain;

pub use binomial::{Binomial, proportion};
pub use chain::{Chain, Tails};

/// An interval of values, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// One with these ends, in whichever order.
    #[must_use]
    pub fn new(a: f64, b: f64) -> Self {
        Self { low: a.min(b), high: a.max(b) }
    }

    /// What is at most so far from a value.
    #[must_use]
    pub fn around(value: f64, distance: f64) -> Self {
        Self::new(value - distance, value + distance)
    }

    /// Whether any value is in both.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Both ends moved.
    #[must_use]
    pub fn moved(self, by: f64) -> Self {
        Self { low: self.low + by, high: self.high + by }
    }
}

/// How likely each of so many tests may err if all together may with `error`, whatever they have to do with each other
/// (Bonferroni; for independent ones Šidák's is larger by less than `error` of it).
#[must_use]
pub fn each(error: f64, tests: usize) -> f64 {
    error / tests.max(1) as f64
}

/// The median of sorted values, which must not be empty.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    let (half, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    if odd { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// Between which of sorted values the median of what they are drawn from is, but for a chance of `error`; whatever their
/// distribution, by the binomial distribution of how many are below it. All of them if they are too few to say.
#[must_use]
pub fn median_interval(sorted: &[f64], error: f64) -> Interval {
    let count = sorted.len() as u64;
    let half = Binomial::new(count, 0.5);
    // So many may be dropped at each end.
    let (mut drop, mut most) = (0, count.saturating_sub(1) / 2);
    while drop < most {
        let middle = (drop + most).div_ceil(2);
        if half.at_most(middle - 1) <= error / 2.0 { drop = middle } else { most = middle - 1 }
    }
    // With the first value the median would be below it only if all are above.
    let drop = drop.saturating_sub(1) as usize;
    Interval { low: sorted[drop], high: sorted[sorted.len() - 1 - drop] }
}

/// How far the distribution of so many values may be from the one that they are drawn from, anywhere, but for a chance of
/// `error` (Dvoretzky, Kiefer, Wolfowitz, with Massart's constant: good for any number and any distribution).
#[must_use]
pub fn distance(count: usize, error: f64) -> f64 {
    ((2.0 / error).ln() / (2.0 * count.max(1) as f64)).sqrt()
}

/// The value that a normal variable (mean 0, deviation 1) is below with this chance (Acklam's approximation, good to 10⁻⁹).
#[must_use]
pub fn normal_quantile(chance: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let tail = |chance: f64| {
        let q = (-2.0 * chance.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if chance <= 0.0 {
        f64::NEG_INFINITY
    } else if chance >= 1.0 {
        f64::INFINITY
    } else if chance < TAIL {
        tail(chance)
    } else if chance > 1.0 - TAIL {
        -tail(1.0 - chance)
    } else {
        let q = chance - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_quantiles() {
        for (chance, value) in
            [(0.5, 0.0), (0.975, 1.959_964), (0.025, -1.959_964), (0.999_9, 3.719_016), (0.01, -2.326_348)]
        {
            assert!((normal_quantile(chance) - value).abs() < 1e-5, "{chance}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        let all: Vec<f64> = (0..100).map(f64::from).collect();
        // As tables of the sign test have it: the 40th and the 61st of 100 for 95 %.
        assert_eq!(median_interval(&all, 0.05), Interval { low: 39.0, high: 60.0 });
        assert_eq!(median_interval(&[7.0], 0.05), Interval { low: 7.0, high: 7.0 });
    }

    #[test]
    fn distances() {
        assert!((distance(100, 0.05) - 0.135_8).abs() < 1e-3);
    }

    proptest! {
        /// Draws from a uniform distribution: its median is outside no more often than is allowed.
        #[test]
        fn the_interval_has_the_median(seed in any::<u64>()) {
            let mut state = seed;
            let mut misses = 0;
            for _ in 0..200 {
                let mut values: Vec<f64> = (0..30).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as f64 / f64::from(1_u32 << 31)
                }).collect();
                values.sort_by(f64::total_cmp);
                let interval = median_interval(&values, 0.01);
                misses += u32::from(interval.low > 0.5 || interval.high < 0.5);
            }
            // 200 at 1 %: 12 are less likely than one in 10^6.
            prop_assert!(misses < 12, "{misses}");
        }
    }
}
