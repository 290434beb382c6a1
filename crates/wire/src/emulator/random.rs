//! Randomness that is the same on every machine: a seed gives the same verdicts for the same packets.
//!
//! SplitMix64 (Steele, Lea, Flood, 2014), a stream for each purpose, so that switching one impairment on does not change
//! what another does. Nothing but IEEE's exact operations is used, so no C library has a say in the numbers.

use testyard_model::quantity::Probability;

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of a seed for one purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(purpose.wrapping_add(1).wrapping_mul(GAMMA))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Whether what is so likely happens. What never or always happens takes no number from the stream.
    pub(crate) fn chance(&mut self, probability: Probability) -> bool {
        match probability {
            Probability::NEVER => false,
            Probability::ALWAYS => true,
            some => {
                let billionth = (u128::from(self.next()) * 1_000_000_000) >> 64;
                billionth < u128::from(some.parts_per_billion())
            }
        }
    }

    /// From 0 to just below 1.
    pub(crate) fn ratio(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, standard deviation 1 (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.ratio() - 1.0, 2.0 * self.ratio() - 1.0);
            let square = u * u + v * v;
            if square < 1.0 && square > 0.0 {
                return u * (-2.0 * ln(square) / square).sqrt();
            }
        }
    }

    /// Mean 1, never negative.
    pub(crate) fn exponential(&mut self) -> f64 {
        -ln(1.0 - self.ratio())
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The natural logarithm of a normal number above 0: the series of artanh around 1, after the exponent.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as f64 - 1023.0;
    let mut mantissa = f64::from_bits((bits & FRACTION) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let (square, mut power, mut sum) = (t * t, t, 0.0);
    for odd in (1..=23).step_by(2) {
        sum += power / f64::from(odd);
        power *= square;
    }
    2.0 * sum + exponent * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut stream = Stream::new(42, 3);
        let first: Vec<u64> = (0..3).map(|_| stream.next() >> 48).collect();
        let mut again = Stream::new(42, 3);
        assert_eq!(first, (0..3).map(|_| again.next() >> 48).collect::<Vec<_>>());
        assert_eq!(first, [8832, 55534, 22954], "a seed of last year must mean the same today");
    }

    #[test]
    fn logarithm() {
        for x in [1e-16, 1e-9, 0.1, 0.5, 0.70, 0.71, 0.99, 1.0, 1.5, 10.0] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-12 * (1.0 + f64::ln(x).abs()), "{x}");
        }
    }

    #[test]
    fn moments() {
        let mut stream = Stream::new(1, 0);
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let mean = (0..n).map(|_| stream.exponential()).sum::<f64>() / f64::from(n);
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn chances() {
        let mut stream = Stream::new(7, 0);
        let tenth = Probability::from_ratio(0.1).unwrap();
        let hits = (0..100_000).filter(|_| stream.chance(tenth)).count();
        assert!((9_600..10_400).contains(&hits), "{hits}");
        assert!(!stream.chance(Probability::NEVER) && stream.chance(Probability::ALWAYS));
    }
}
