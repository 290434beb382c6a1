//! How many packets of a train are lost where losses come in bursts: they depend on each other, so the binomial
//! distribution would be too narrow. The distribution is worked out packet by packet from the chain's states.

use testyard_model::impairment::Loss;

/// Losses of up to two stages, one after the other. A packet that the first loses does not reach the second.
#[derive(Clone, Debug)]
pub struct Chain {
    /// For each state where a packet may lead: the next state, whether it is lost, how likely that is.
    ways: Vec<Vec<(usize, bool, f64)>>,
    inflation: f64,
}

/// How likely it is that as few, and as many, are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tails {
    /// At most so many.
    pub at_most: f64,
    /// At least so many.
    pub at_least: f64,
}

impl Chain {
    /// None if a stage counts packets, which is no chance.
    #[must_use]
    pub fn new(stages: &[Loss]) -> Option<Self> {
        if stages.iter().any(|loss| matches!(loss, Loss::Every(_))) {
            return None;
        }
        // A bit of a state for each stage: whether it is in a burst.
        let ways = (0..1_usize << stages.len()).map(|state| ways(stages, state)).collect();
        let memory = |loss: &Loss| match loss {
            Loss::Burst { enter, leave } => (1.0 - enter.ratio() - leave.ratio()).clamp(0.0, 0.999_999),
            Loss::Random(_) | Loss::Every(_) => 0.0,
        };
        let memory = stages.iter().map(memory).fold(0.0, f64::max);
        Some(Self { ways, inflation: (1.0 + memory) / (1.0 - memory) })
    }

    /// How many packets of the chain say as much as one that is lost or not by itself; 1 and more.
    #[must_use]
    pub const fn inflation(&self) -> f64 {
        self.inflation
    }

    /// So many packets of the chain say as much of a share as this many independent ones.
    #[must_use]
    pub fn worth(&self, packets: u64) -> u64 {
        ((packets as f64 / self.inflation).round() as u64).max(1)
    }

    /// How likely so many losses are among so many packets, with whatever state is likeliest to give them at the first:
    /// nobody knows what went before.
    #[must_use]
    pub fn tails(&self, lost: u64, packets: u64) -> Tails {
        let mut worst = Tails { at_most: 0.0, at_least: 0.0 };
        for start in 0..self.ways.len() {
            let chances = self.chances(start, lost as usize, packets);
            let at_most: f64 = chances.iter().sum();
            let fewer: f64 = chances[..lost as usize].iter().sum();
            worst.at_most = worst.at_most.max(at_most.min(1.0));
            worst.at_least = worst.at_least.max((1.0 - fewer).max(0.0));
        }
        worst
    }

    /// How likely each number of losses up to `most` is.
    fn chances(&self, start: usize, most: usize, packets: u64) -> Vec<f64> {
        let states = self.ways.len();
        let mut now = vec![vec![0.0; most + 1]; states];
        let mut next = now.clone();
        now[start][0] = 1.0;
        for packet in 0..packets {
            let reached = usize::try_from(packet).unwrap_or(most).min(most);
            next.iter_mut().for_each(|row| row[..=(reached + 1).min(most)].fill(0.0));
            for (row, ways) in now.iter().zip(&self.ways) {
                for (to, lost, chance) in ways {
                    let shift = usize::from(*lost);
                    let target = &mut next[*to];
                    for (into, from) in target[shift..].iter_mut().zip(&row[..=reached]) {
                        *into += from * chance;
                    }
                }
            }
            std::mem::swap(&mut now, &mut next);
        }
        (0..=most).map(|lost| now.iter().map(|row| row[lost]).sum()).collect()
    }
}

fn ways(stages: &[Loss], state: usize) -> Vec<(usize, bool, f64)> {
    let (mut open, mut done) = (vec![(state, 1.0)], Vec::new());
    for (index, loss) in stages.iter().enumerate() {
        let bit = 1_usize << index;
        let mut on = Vec::new();
        for (state, chance) in open {
            match loss {
                Loss::Random(lost) => {
                    done.push((state, true, chance * lost.ratio()));
                    on.push((state, chance * (1.0 - lost.ratio())));
                }
                Loss::Burst { enter, leave } => {
                    let lost = state & bit != 0;
                    let change = if lost { leave.ratio() } else { enter.ratio() };
                    for (state, chance) in [(state ^ bit, chance * change), (state, chance * (1.0 - change))]
                    {
                        if lost { done.push((state, true, chance)) } else { on.push((state, chance)) }
                    }
                }
                // `new` refuses it.
                Loss::Every(_) => on.push((state, chance)),
            }
        }
        open = on;
    }
    done.extend(open.into_iter().map(|(state, chance)| (state, false, chance)));
    done.retain(|(_, _, chance)| *chance > 0.0);
    done
}

#[cfg(test)]
mod tests {
    use super::super::Binomial;
    use super::*;
    use proptest::prelude::*;
    use testyard_model::quantity::Probability;

    fn chance(ratio: f64) -> Probability {
        Probability::from_ratio(ratio).unwrap()
    }

    /// All ways that a few packets can go, one after the other.
    fn brute(ways: &[Vec<(usize, bool, f64)>], state: usize, packets: u64, lost: u64) -> f64 {
        if packets == 0 {
            return f64::from(u8::from(lost == 0));
        }
        let after = |(to, is_lost, chance): &(usize, bool, f64)| match lost.checked_sub(u64::from(*is_lost)) {
            Some(left) => chance * brute(ways, *to, packets - 1, left),
            None => 0.0,
        };
        ways[state].iter().map(after).sum()
    }

    proptest! {
        #[test]
        fn losses_by_themselves_are_binomial(p in 0.001_f64..0.999, q in 0.001_f64..0.5, packets in 1_u64..60, part in 0.0_f64..=1.0) {
            let lost = (part * packets as f64) as u64;
            let chain = Chain::new(&[Loss::Random(chance(p)), Loss::Random(chance(q))]).unwrap();
            let (p, q) = (chance(p).ratio(), chance(q).ratio());
            let both = Binomial::new(packets, 1.0 - (1.0 - p) * (1.0 - q));
            let tails = chain.tails(lost, packets);
            prop_assert!((tails.at_most - both.at_most(lost)).abs() < 1e-9);
            prop_assert!((tails.at_least - both.at_least(lost)).abs() < 1e-9);
            prop_assert_eq!(chain.worth(packets), packets);
        }

        #[test]
        fn bursts_are_what_all_ways_add_up_to(
            enter in 0.001_f64..0.999, leave in 0.01_f64..0.999, other in 0.0_f64..0.9, packets in 1_u64..7, part in 0.0_f64..=1.0,
        ) {
            let lost = (part * packets as f64) as u64;
            let stages = [
                Loss::Burst { enter: chance(enter), leave: chance(leave) },
                Loss::Burst { enter: chance(other), leave: chance(leave) },
            ];
            let chain = Chain::new(&stages).unwrap();
            for start in 0..4 {
                let chances = chain.chances(start, lost as usize, packets);
                let sum = brute(&chain.ways, start, packets, lost);
                prop_assert!((chances[lost as usize] - sum).abs() < 1e-9, "{start}: {} {sum}", chances[lost as usize]);
            }
        }
    }

    #[test]
    fn bursts_tell_less() {
        let chain = Chain::new(&[Loss::Burst { enter: chance(0.01), leave: chance(0.24) }]).unwrap();
        assert_eq!(chain.worth(1_000), 143);
        assert!(Chain::new(&[Loss::Every(std::num::NonZeroU32::MIN)]).is_none());
    }
}
