//! How long frames may take, as asked: the distribution of what the delays of a way's stages add up to.

use testyard_model::impairment::{Distribution, Impairment};

use crate::stats::{Interval, normal_quantile};

/// Values that stand for one stage's distribution.
const GRID: usize = 512;

/// The distribution of the delay of a way, in nanoseconds, without what a frame takes at a rate.
#[derive(Clone, Debug)]
pub struct Delays {
    /// Equally likely, sorted.
    values: Vec<f64>,
    /// How far the distribution of the values may be from the true one.
    grain: f64,
}

impl Delays {
    /// Of stages one after the other.
    #[must_use]
    pub fn of(stages: &[Impairment]) -> Self {
        let mut values = vec![0.0];
        let mut grain = 0.0;
        for stage in stages {
            let grid = grid(stage);
            grain += if grid.len() > 1 { 1.0 / GRID as f64 } else { 0.0 };
            values = values.iter().flat_map(|before| grid.iter().map(move |one| before + one)).collect();
        }
        values.sort_by(f64::total_cmp);
        Self { values, grain }
    }

    /// Half of the frames take longer.
    #[must_use]
    pub fn median(&self) -> f64 {
        crate::stats::median(&self.values)
    }

    /// Which part of the frames takes at most so long.
    #[must_use]
    pub fn share_up_to(&self, nanoseconds: f64) -> f64 {
        self.values.partition_point(|value| *value <= nanoseconds) as f64 / self.values.len() as f64
    }

    /// Practically none takes less.
    #[must_use]
    pub fn shortest(&self) -> f64 {
        self.values[0]
    }

    /// Where the middle nine tenths are.
    #[must_use]
    pub fn middle(&self) -> Interval {
        let at = |share: f64| self.values[((self.values.len() - 1) as f64 * share).round() as usize];
        Interval { low: at(0.05), high: at(0.95) }
    }

    /// How far the shares may be off.
    #[must_use]
    pub const fn grain(&self) -> f64 {
        self.grain
    }
}

/// Delays of one stage, equally likely: the middle of each of [`GRID`] parts of the distribution.
fn grid(stage: &Impairment) -> Vec<f64> {
    let delay = stage.delay.as_nanos() as f64;
    let Some(jitter) = stage.jitter.filter(|jitter| !jitter.spread.is_zero()) else { return vec![delay] };
    let spread = jitter.spread.as_nanos() as f64;
    let offset = |chance: f64| match jitter.distribution {
        Distribution::Uniform => spread * (2.0 * chance - 1.0),
        Distribution::Normal => spread * normal_quantile(chance),
        Distribution::Exponential => -spread * (-chance).ln_1p(),
    };
    (0..GRID).map(|i| (delay + offset((i as f64 + 0.5) / GRID as f64)).max(0.0)).collect()
}

/// How far apart two frames must leave so that the second is practically never held up by the first, which would have
/// arrived later: packets keep their order. In nanoseconds.
#[must_use]
pub fn apart(stages: &[Impairment]) -> f64 {
    let one = |stage: &Impairment| {
        stage.jitter.map_or(0.0, |jitter| {
            let spreads = match jitter.distribution {
                Distribution::Uniform => 2.0,
                // One in 10⁵, and one in 6 000, is held up.
                Distribution::Normal => 6.0,
                Distribution::Exponential => 8.0,
            };
            jitter.spread.as_nanos() as f64 * spreads
        })
    };
    stages.iter().map(one).sum()
}

/// A time that practically no frame's delay exceeds, in nanoseconds.
#[must_use]
pub fn longest(stages: &[Impairment]) -> f64 {
    let one = |stage: &Impairment| {
        let jitter = stage.jitter.map_or(0.0, |jitter| {
            let spreads = match jitter.distribution {
                Distribution::Uniform => 1.0,
                Distribution::Normal => 6.0,
                Distribution::Exponential => 20.0,
            };
            jitter.spread.as_nanos() as f64 * spreads
        });
        stage.delay.as_nanos() as f64 + jitter
    };
    stages.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::tests::stage;

    const MS: f64 = 1e6;

    fn near(value: f64, wanted: f64) {
        assert!((value - wanted).abs() < 0.01 * MS + wanted.abs() * 0.005, "{value} {wanted}");
    }

    #[test]
    fn medians_and_shares() {
        let plain = Delays::of(&[stage("delay=5ms"), stage("delay=2ms")]);
        assert_eq!((plain.median(), plain.grain()), (7.0 * MS, 0.0));
        assert_eq!((plain.share_up_to(6.9 * MS), plain.share_up_to(7.0 * MS)), (0.0, 1.0));
        assert_eq!(Delays::of(&[]).median(), 0.0);

        let uniform = Delays::of(&[stage("delay=5ms; jitter=2ms")]);
        near(uniform.median(), 5.0 * MS);
        near(uniform.share_up_to(4.0 * MS) * MS, 0.25 * MS);
        near(uniform.middle().low, 3.2 * MS);
        // What would be negative is none at all.
        let cut = Delays::of(&[stage("delay=1ms; jitter=4ms")]);
        near(cut.share_up_to(0.0) * MS, 0.375 * MS);

        let exponential = Delays::of(&[stage("delay=5ms; jitter=2ms exponential")]);
        near(exponential.median(), (5.0 + 2.0 * std::f64::consts::LN_2) * MS);
        let normal = Delays::of(&[stage("delay=50ms; jitter=2ms normal")]);
        near(normal.share_up_to(52.0 * MS) * MS, 0.841 * MS);
        // Two exponentials: the median of Gamma(2, 1) is 1.678.
        let two = Delays::of(&[stage("jitter=2ms exponential"), stage("jitter=2ms exponential")]);
        near(two.median(), 2.0 * 1.678 * MS);
    }

    #[test]
    fn far_enough_apart() {
        assert_eq!(apart(&[stage("delay=5ms"), stage("delay=5ms; jitter=1ms")]), 2.0 * MS);
        assert_eq!(longest(&[stage("delay=5ms"), stage("delay=5ms; jitter=1ms")]), 11.0 * MS);
    }
}
