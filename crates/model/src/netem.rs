//! What the kernel's netem can do as the wire does it. What it cannot, hosts that are to have nothing but netem refuse when it is
//! planned. Pure.

use std::fmt;

use crate::impairment::{Distribution, Impairment, Jitter, Loss, QueueLimit};
use crate::quantity::Probability;

/// How many means the end of netem's table for exponential jitter is: it has 4096 values, of which the last is 9 means, and a
/// value is less than 4.
pub const EXPONENTIAL_TAIL: u64 = 3;
/// The longest jitter in nanoseconds: the kernel takes more for as much as it can.
const LONGEST_JITTER: u64 = i32::MAX as u64;

/// What happens to packets that go one way, as far as netem can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// All stages as one.
    pub whole: Impairment,
    /// Which packets are lost.
    pub loss: Option<ByChance>,
    /// How many packets wait at most.
    pub limit: Option<u32>,
}

/// A loss that is decided by chance, packet by packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByChance {
    /// Each for itself.
    Random(Probability),
    /// In bursts, as [`Loss::Burst`].
    Burst {
        /// How likely one begins.
        enter: Probability,
        /// How likely one ends.
        leave: Probability,
    },
}

/// Why netem cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Display says what each is")]
pub enum Unsaid {
    Every,
    Duplicate,
    Bytes,
    Red,
    Jitter,
    Order,
    Stages,
    Seed,
}

impl Said {
    /// What does the same as these stages, one after the other. `is_seed_chosen`: the user has chosen the seed, and with it every
    /// verdict.
    ///
    /// # Errors
    /// [`Unsaid`] if nothing of netem's does.
    pub fn of(stages: &[Impairment], is_seed_chosen: bool) -> Result<Self, Unsaid> {
        let whole = one(stages)?;
        if is_seed_chosen && has_chances(&whole) {
            return Err(Unsaid::Seed);
        }
        if !whole.duplicate.is_never() {
            return Err(Unsaid::Duplicate);
        }
        let limit = match whole.queue {
            Some(queue) if queue.red.is_some() => return Err(Unsaid::Red),
            Some(queue) => match queue.limit {
                QueueLimit::Packets(count) => Some(count),
                QueueLimit::Bytes(_) => return Err(Unsaid::Bytes),
            },
            None => None,
        };
        let loss = match whole.loss {
            None => None,
            Some(Loss::Random(chance)) => Some(ByChance::Random(chance)),
            Some(Loss::Burst { enter, leave }) => Some(ByChance::Burst { enter, leave }),
            Some(Loss::Every(_)) => return Err(Unsaid::Every),
        };
        if whole.rate.is_some() && (whole.jitter.is_some() || !whole.reorder.is_never()) {
            return Err(Unsaid::Order);
        }
        if whole.jitter.is_some_and(|jitter| end_of_table(jitter) > LONGEST_JITTER) {
            return Err(Unsaid::Jitter);
        }
        Ok(Self { whole, loss, limit })
    }
}

/// Nanoseconds that the 1 of the jitter's table stands for.
#[must_use]
pub fn end_of_table(jitter: Jitter) -> u64 {
    let spreads = match jitter.distribution {
        Distribution::Uniform | Distribution::Normal => 1,
        Distribution::Exponential => EXPONENTIAL_TAIL,
    };
    jitter.spread.as_nanos().saturating_mul(spreads)
}

/// Two stages as one, where that is the same: a delay that is the same for all can be added to any other.
fn one(stages: &[Impairment]) -> Result<Impairment, Unsaid> {
    let is_delay = |stage: &Impairment| *stage == Impairment { delay: stage.delay, ..Impairment::default() };
    match stages {
        [] => Ok(Impairment::default()),
        [only] => Ok(*only),
        [delay, other] | [other, delay] if is_delay(delay) => {
            let is_line_limited = other.rate.is_none() && other.queue.is_some();
            // What skips one delay must not skip both, nor what is cut off at 0 take from the other.
            if !other.reorder.is_never() || other.jitter.is_some() || is_line_limited {
                return Err(Unsaid::Stages);
            }
            Ok(Impairment { delay: other.delay.plus(delay.delay), ..*other })
        }
        _ => Err(Unsaid::Stages),
    }
}

fn has_chances(all: &Impairment) -> bool {
    let chances = [all.duplicate, all.reorder, all.corrupt];
    let is_random_loss = matches!(all.loss, Some(Loss::Random(_) | Loss::Burst { .. }));
    let has_red = all.queue.is_some_and(|queue| queue.red.is_some());
    is_random_loss || has_red || all.jitter.is_some() || chances.iter().any(|chance| !chance.is_never())
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Every => "netem loses by chance only, not every Nth packet",
            Self::Duplicate => "netem duplicates only where it is alone, and judges copies twice",
            Self::Bytes => "netem's queues count packets, not bytes",
            Self::Red => "the kernel's RED counts bytes, and has weights of powers of two only",
            Self::Jitter => "netem's jitter ends at 2.1 s, and for exponential jitter at 0.7 s",
            Self::Order => "netem's jitter and reordering come before its rate, not behind it",
            Self::Stages => "of two stages one after the other netem can only add a delay",
            Self::Seed => "a seed was given, and netem's chances are not the seed's",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Setting;

    fn stage(settings: &str) -> Impairment {
        let mut impairment = Impairment::default();
        for setting in settings.split(", ").filter(|setting| !setting.is_empty()) {
            setting.parse::<Setting>().unwrap().apply(&mut impairment);
        }
        impairment
    }

    fn said(stages: &[&str], is_seed_chosen: bool) -> Result<Said, Unsaid> {
        let stages: Vec<Impairment> = stages.iter().map(|settings| stage(settings)).collect();
        Said::of(&stages, is_seed_chosen)
    }

    #[test]
    fn what_netem_says_it_says_whole() {
        assert_eq!(said(&[], false).unwrap().whole, Impairment::default());
        let all = "rate=10mbit, delay=5ms, loss=1%, corrupt=1%, queue=20 packets";
        let told = said(&[all], false).unwrap();
        assert_eq!((told.whole, told.limit), (stage(all), Some(20)));
        assert_eq!(told.loss, Some(ByChance::Random("1%".parse().unwrap())));
        let burst = said(&["loss=burst 1% 25%"], false).unwrap().loss;
        assert!(matches!(burst, Some(ByChance::Burst { .. })), "{burst:?}");
        let together = said(&["delay=5ms", "delay=7ms, rate=1mbit"], false).unwrap().whole;
        assert_eq!(together, stage("delay=12ms, rate=1mbit"));
        said(&["delay=5ms, rate=1mbit"], true).expect("no chance in it, so any seed will do");
    }

    #[test]
    fn what_netem_has_no_words_for_is_refused_with_the_reason() {
        for (stages, is_seed_chosen, why) in [
            (&["loss=every 7"][..], false, Unsaid::Every),
            (&["duplicate=1%"], false, Unsaid::Duplicate),
            (&["queue=64KiB"], false, Unsaid::Bytes),
            (&["queue=20 packets red"], false, Unsaid::Red),
            (&["delay=5s, jitter=3s"], false, Unsaid::Jitter),
            (&["delay=2s, jitter=800ms exponential"], false, Unsaid::Jitter),
            (&["rate=1mbit, delay=5ms, jitter=1ms"], false, Unsaid::Order),
            (&["rate=1mbit, delay=5ms, reorder=1%"], false, Unsaid::Order),
            (&["loss=1%", "loss=1%"], false, Unsaid::Stages),
            (&["delay=5ms", "delay=5ms, reorder=1%"], false, Unsaid::Stages),
            (&["delay=5ms", "delay=5ms, jitter=1ms"], false, Unsaid::Stages),
            (&["delay=5ms", "queue=20 packets"], false, Unsaid::Stages),
            (&["loss=1%"], true, Unsaid::Seed),
            (&["delay=5ms, jitter=1ms"], true, Unsaid::Seed),
        ] {
            assert_eq!(said(stages, is_seed_chosen), Err(why), "{stages:?}");
        }
    }
}
