//! What other languages can say of a direction (rate, delay, chance of loss), and how it is split between the two ends
//! of a direction.
//!
//! A packet from A to B of a LAN meets what A's member does `to_link`, then what B's does `from_link` (see
//! [`testyard_model::link`]). So a pair's delays add, its rate is the lower one, and it survives both chances.

use testyard_model::impairment::{Impairment, Loss};
use testyard_model::link::Member;
use testyard_model::quantity::{Probability, Rate, Span};

/// All of a chance, in parts of 10¹⁸: the product of two [`Probability`]s is a whole number of them.
pub(crate) const WHOLE: u128 = 1_000_000_000_000_000_000;
const BILLION: u128 = 1_000_000_000;

/// What one direction does, as far as most languages can say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rate: Option<Rate>,
    pub(crate) delay: Span,
    /// In parts of 10¹⁸.
    pub(crate) loss: u128,
}

impl Shape {
    /// What of an impairment can be said so; whether that is all of it.
    pub(crate) fn of(impairment: &Impairment) -> (Self, bool) {
        let loss = match impairment.loss {
            None => 0,
            Some(Loss::Random(chance)) => u128::from(chance.parts_per_billion()) * BILLION,
            Some(other) => (other.share() * 1e9).round() as u128 * BILLION,
        };
        let shape = Self { rate: impairment.rate, delay: impairment.delay, loss };
        (shape, shape.impairment() == *impairment)
    }

    pub(crate) fn is_clear(&self) -> bool {
        *self == Self::default()
    }

    /// The chance of loss, rounded to what a model can hold.
    pub(crate) fn probability(&self) -> Probability {
        let parts = u64::try_from((self.loss.min(WHOLE) + BILLION / 2) / BILLION).unwrap_or_default();
        Probability::from_parts_per_billion(parts).unwrap_or(Probability::ALWAYS)
    }

    pub(crate) fn impairment(&self) -> Impairment {
        let chance = self.probability();
        let loss = (!chance.is_never()).then_some(Loss::Random(chance));
        Impairment { rate: self.rate, delay: self.delay, loss, ..Impairment::default() }
    }

    /// This and then that.
    pub(crate) fn then(&self, next: &Self) -> Self {
        Self {
            rate: slower(self.rate, next.rate),
            delay: self.delay.plus(next.delay),
            loss: both(self.loss, next.loss),
        }
    }

    /// Halves that together do this: the first gets the odd nanosecond; both have the rate.
    pub(crate) fn halves(&self) -> (Self, Self) {
        let second = Span::from_nanos(self.delay.as_nanos() / 2);
        let first = Span::from_nanos(self.delay.as_nanos() - second.as_nanos());
        let loss = half_of_loss(self.loss);
        (Self { rate: self.rate, delay: first, loss }, Self { rate: self.rate, delay: second, loss })
    }

    /// The worse of both in each respect.
    pub(crate) fn worse(&self, other: &Self) -> Self {
        Self {
            rate: slower(self.rate, other.rate),
            delay: self.delay.max(other.delay),
            loss: self.loss.max(other.loss),
        }
    }
}

/// The lower rate; none is as fast as can be.
pub(crate) fn slower(a: Option<Rate>, b: Option<Rate>) -> Option<Rate> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The chance that one of two independent losses hits, each in parts of 10¹⁸. Exact if both are whole parts of 10⁹.
fn both(a: u128, b: u128) -> u128 {
    let survive = |p: u128| WHOLE - p.min(WHOLE);
    let (a, b) = (survive(a), survive(b));
    let product = match (a % BILLION, b % BILLION) {
        (0, 0) => (a / BILLION) * (b / BILLION),
        // Nine digits less are finer than any chance that comes out.
        _ => ((a as f64 / 1e18) * (b as f64 / 1e18) * 1e18) as u128,
    };
    WHOLE - product.min(WHOLE)
}

/// The chance, a whole part of 10⁹, that twice comes nearest to this one.
fn half_of_loss(loss: u128) -> u128 {
    let survive = WHOLE - loss.min(WHOLE);
    let root = survive.isqrt();
    // The nearer of the two neighbours.
    let root = if (root + 1).pow(2) - survive < survive - root.pow(2) { root + 1 } else { root };
    (BILLION - root.min(BILLION)) * BILLION
}

/// What a frame from one member of a link to another meets, and whether that is said in full.
pub(crate) fn between(from: &Member, to: &Member) -> (Shape, bool) {
    let ((first, first_whole), (second, second_whole)) = (Shape::of(&from.to_link), Shape::of(&to.from_link));
    (first.then(&second), first_whole && second_whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn halves_make_the_whole_again(delay in any::<u64>(), parts in 0_u64..=1_000_000_000) {
            let shape = Shape { rate: None, delay: Span::from_nanos(delay), loss: u128::from(parts) * BILLION };
            let (first, second) = shape.halves();
            let whole = first.then(&second);
            prop_assert_eq!(whole.delay, shape.delay);
            prop_assert!(whole.loss.abs_diff(shape.loss) <= 2 * BILLION);
            prop_assert_eq!(whole.halves(), (first, second));
        }
    }

    #[test]
    fn chances() {
        assert_eq!(both(WHOLE / 2, WHOLE / 2), WHOLE / 4 * 3);
        assert_eq!(half_of_loss(WHOLE), WHOLE);
        assert_eq!(half_of_loss(0), 0);
        assert_eq!(half_of_loss(WHOLE / 100), 5_012_563 * BILLION);
    }
}
