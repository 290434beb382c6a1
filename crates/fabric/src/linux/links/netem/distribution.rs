//! How jitter is spread, as netem takes it: values at even steps of probability, of which each packet draws one. Pure.

use std::f64::consts::PI;
use std::sync::LazyLock;

use testyard_model::impairment::Distribution;
use testyard_model::netem::EXPONENTIAL_TAIL;

/// Values of a table: as many as iproute2's have.
const VALUES: usize = 4096;
/// What stands for 1 in a table (`NETEM_DIST_SCALE`).
const ONE: f64 = 8192.0;
/// Steps between two values of the integration below.
const FINE: usize = 64;

/// What netem takes for a distribution; [`end_of_table`](testyard_model::netem::end_of_table) is what its 1 stands for.
pub(crate) fn values(distribution: Distribution) -> &'static [i16] {
    match distribution {
        Distribution::Uniform => &UNIFORM,
        Distribution::Normal => &NORMAL,
        Distribution::Exponential => &EXPONENTIAL,
    }
}

static UNIFORM: LazyLock<Vec<i16>> =
    LazyLock::new(|| probabilities().map(|p| scaled(2.0 * p - 1.0)).collect());
static EXPONENTIAL: LazyLock<Vec<i16>> =
    LazyLock::new(|| probabilities().map(|p| scaled(-(1.0 - p).ln() / EXPONENTIAL_TAIL as f64)).collect());
static NORMAL: LazyLock<Vec<i16>> = LazyLock::new(|| {
    let upper = upper_normal();
    let lower = upper.iter().rev().map(|z| scaled(-z));
    lower.chain(upper.iter().map(|z| scaled(*z))).collect()
});

/// The middle of each step.
fn probabilities() -> impl Iterator<Item = f64> {
    (0..VALUES).map(|step| (step as f64 + 0.5) / VALUES as f64)
}

fn scaled(value: f64) -> i16 {
    // Saturates, which no value above needs.
    (value * ONE).round() as i16
}

/// The normal distribution's quantiles of the probabilities above one half. They solve dz/dp = 1/φ(z) from z(½) = 0, which
/// Runge and Kutta's method does to six digits with these steps.
fn upper_normal() -> Vec<f64> {
    let slope = |z: f64| (2.0 * PI).sqrt() * (z * z / 2.0).exp();
    let step = 1.0 / (VALUES * FINE) as f64;
    let mut z = 0.0;
    let mut all = Vec::with_capacity(VALUES / 2);
    for count in 1..=VALUES / 2 * FINE - FINE / 2 {
        let a = slope(z);
        let b = slope(z + step / 2.0 * a);
        let c = slope(z + step / 2.0 * b);
        let d = slope(z + step * c);
        z += step / 6.0 * (a + 2.0 * b + 2.0 * c + d);
        if count % FINE == FINE / 2 {
            all.push(z);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use testyard_model::impairment::Jitter;
    use testyard_model::netem::end_of_table;
    use testyard_model::quantity::Span;

    use super::*;

    fn moments(distribution: Distribution) -> (f64, f64) {
        let spread = Span::from_nanos(1_000_000);
        let one = end_of_table(Jitter { spread, distribution }) as f64 / spread.as_nanos() as f64;
        let values: Vec<f64> = values(distribution).iter().map(|v| f64::from(*v) / ONE * one).collect();
        assert_eq!(values.len(), VALUES);
        assert!(values.is_sorted(), "{distribution}");
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn tables_have_the_mean_and_deviation_of_what_they_stand_for() {
        for (distribution, mean, deviation) in [
            (Distribution::Uniform, 0.0, 1.0 / 3_f64.sqrt()),
            (Distribution::Normal, 0.0, 1.0),
            (Distribution::Exponential, 1.0, 1.0),
        ] {
            let found = moments(distribution);
            assert!((found.0 - mean).abs() < 0.001, "{distribution}: {found:?}");
            assert!((found.1 - deviation).abs() < 0.005, "{distribution}: {found:?}");
        }
    }

    #[test]
    fn quantiles_of_the_normal_distribution() {
        // Abramowitz and Stegun, table 26.5: z(0.975) = 1.95996, z(0.8413) = 1.
        let at = |p: f64| f64::from(values(Distribution::Normal)[(p * VALUES as f64) as usize]) / ONE;
        for (p, z) in [(0.5, 0.0), (0.8413, 1.0), (0.975, 1.95996), (0.999, 3.0902), (0.0228, -2.0)] {
            assert!((at(p) - z).abs() < 0.05, "{p}: {}", at(p));
        }
        assert!((values(Distribution::Normal)[VALUES - 1] as f64 / ONE - 3.669).abs() < 0.01);
    }
}
