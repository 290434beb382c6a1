//! What is asked of one way over a link: from one interface to another.

use testyard_model::impairment::{Impairment, Loss, QueueLimit};
use testyard_model::link::LinkKind;
use testyard_model::quantity::Rate;
use testyard_plan::network::parts::NetworkLink;

use crate::delays::Delays;
use crate::reason::Reason;
use crate::stats::Chain;

/// What a way should do to frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What is done, in this order: by the sender's side of the link, then by the receiver's. Those that do nothing are left
    /// out.
    pub stages: Vec<Impairment>,
    /// Whether anything should get through.
    pub up: bool,
    /// The largest packet, in bytes without the Ethernet header.
    pub mtu: u16,
    /// What the link looks like.
    pub kind: LinkKind,
}

/// Which probes should be lost.
#[derive(Clone, Debug)]
pub enum Losses {
    /// This share of them; a chain if they depend on each other.
    Share(f64, Option<Chain>),
    /// The last of every so many.
    Every(u32),
    /// Nobody can tell from what arrives.
    Untold(Reason),
}

/// Where the rate of a way comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bottleneck {
    /// What should arrive at most, in bits per second: the rate, less what is lost behind it.
    pub arrives: f64,
    /// What must be sent to see that: more than the rate, and what is lost before it.
    pub needs: f64,
    /// What chances behind the rate make of that: the variance of what a frame counts there, over its mean's square.
    pub noise: f64,
    /// Bytes that its queue holds at least, and packets; none if there is no limit but the usual one.
    pub queue: Option<QueueLimit>,
}

/// How much more than the rate is sent, so that there is always something waiting.
pub(crate) const PRESSURE: f64 = 1.25;
/// Whoever loses more than this cannot be driven to its rate.
const LEAST_LEFT: f64 = 0.05;

impl Asked {
    /// Of the way from one member of a link to another, by their places. None if the link has no such members.
    #[must_use]
    pub fn of(link: &NetworkLink, from: usize, to: usize) -> Option<Self> {
        let stages = [link.members.get(from)?.to_link, link.members.get(to)?.from_link];
        let stages = stages.into_iter().filter(|stage| !stage.is_clear()).collect();
        Some(Self { stages, up: !link.down, mtu: link.mtu, kind: link.kind })
    }

    /// As settings, a stage after the other; `clear` if nothing is to be done.
    #[must_use]
    pub fn text(&self) -> String {
        if !self.up {
            return "down".to_owned();
        }
        let stages: Vec<String> = self.stages.iter().map(Impairment::to_string).collect();
        if stages.is_empty() { "clear".to_owned() } else { stages.join(", then ") }
    }

    /// How long frames should take.
    #[must_use]
    pub fn delays(&self) -> Delays {
        Delays::of(&self.stages)
    }

    /// What a frame of so many bytes takes at the rates, in nanoseconds, if nothing waits before it.
    #[must_use]
    pub fn sending(&self, bytes: u16) -> f64 {
        let rates = self.stages.iter().filter_map(|stage| stage.rate);
        rates.map(|rate| f64::from(bytes) * 8e9 / rate.bits_per_second() as f64).sum()
    }

    /// Whether frames vary in what they take.
    #[must_use]
    pub fn has_jitter(&self) -> bool {
        self.stages.iter().any(|stage| stage.jitter.is_some_and(|jitter| !jitter.spread.is_zero()))
    }

    /// The slowest rate.
    #[must_use]
    pub fn slowest(&self) -> Option<Rate> {
        self.stages.iter().filter_map(|stage| stage.rate).min()
    }

    /// Whether others' packets matter to what happens to ours: they are before us in a queue, or are counted with us.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let counts = |stage: &Impairment| matches!(stage.loss, Some(Loss::Every(_)));
        self.stages.iter().any(|stage| stage.rate.is_some() || stage.queue.is_some() || counts(stage))
    }

    fn losses_of_stages(&self) -> Vec<Loss> {
        let loses = |loss: &Loss| match loss {
            Loss::Random(chance) | Loss::Burst { enter: chance, .. } => !chance.is_never(),
            Loss::Every(_) => true,
        };
        self.stages.iter().filter_map(|stage| stage.loss).filter(loses).collect()
    }

    /// The share that is lost in the long run, less than exactly where there are copies.
    #[must_use]
    pub fn lost(&self) -> f64 {
        1.0 - self.losses_of_stages().iter().map(|loss| 1.0 - loss.share()).product::<f64>()
    }

    /// The share that is doubled in the long run, less than exactly where there are losses.
    #[must_use]
    pub fn copied(&self) -> f64 {
        1.0 - self.stages.iter().map(|stage| 1.0 - stage.duplicate.ratio()).product::<f64>()
    }

    fn duplicates(&self) -> bool {
        self.stages.iter().any(|stage| !stage.duplicate.is_never())
    }

    /// Which probes should be lost.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let drops_from_nothing =
            |stage: &Impairment| stage.queue.and_then(|queue| queue.red).is_some_and(|red| red.min == 0);
        if self.stages.iter().any(drops_from_nothing) {
            return Losses::Untold(Reason::EarlyDrops);
        }
        let losses = self.losses_of_stages();
        match losses.as_slice() {
            [Loss::Every(nth)] if !self.duplicates() => return Losses::Every(nth.get()),
            _ if losses.iter().any(|loss| matches!(loss, Loss::Every(_))) => {
                return Losses::Untold(Reason::Mixed);
            }
            _ => {}
        }
        if !losses.iter().any(|loss| matches!(loss, Loss::Burst { .. })) {
            return Losses::Share(self.copies()[0], None);
        }
        if self.duplicates() {
            return Losses::Untold(Reason::Mixed);
        }
        let kept: f64 = losses.iter().map(|loss| 1.0 - loss.share()).product();
        Losses::Share(1.0 - kept, Chain::new(&losses))
    }

    /// The share of probes of which more than one copy should arrive.
    ///
    /// # Errors
    /// If nobody can tell.
    pub fn doubled(&self) -> Result<f64, Reason> {
        if self.duplicates() && self.losses_of_stages().iter().any(|loss| !matches!(loss, Loss::Random(_))) {
            return Err(Reason::Mixed);
        }
        Ok(self.copies()[2..].iter().sum())
    }

    /// How likely no, one, two… copies of a probe arrive, if each copy is lost by itself.
    fn copies(&self) -> Vec<f64> {
        // As a polynomial whose factors are the chances, a stage is put into the one before it.
        let mut all = vec![0.0, 1.0];
        for stage in &self.stages {
            let lost = match stage.loss {
                Some(Loss::Random(chance)) => chance.ratio(),
                _ => 0.0,
            };
            let doubled = stage.duplicate.ratio();
            let one = [lost, 1.0 - lost];
            let two = multiply(&one, &one);
            let stage: Vec<f64> = (0..3)
                .map(|i| (1.0 - doubled) * one.get(i).copied().unwrap_or(0.0) + doubled * two[i])
                .collect();
            let mut power = vec![1.0];
            let mut next = vec![0.0; (all.len() - 1) * 2 + 1];
            for chance in &all {
                for (into, from) in next.iter_mut().zip(&power) {
                    *into += chance * from;
                }
                power = multiply(&power, &stage);
            }
            all = next;
        }
        all.resize(all.len().max(3), 0.0);
        all
    }

    /// The share of frames that should arrive with wrong bits.
    #[must_use]
    pub fn damaged(&self) -> f64 {
        1.0 - self.stages.iter().map(|stage| 1.0 - stage.corrupt.ratio()).product::<f64>()
    }

    /// The share of frames that should skip a delay.
    #[must_use]
    pub fn skipping(&self) -> f64 {
        let stages = self.stages.iter().filter(|stage| skips(stage));
        1.0 - stages.map(|stage| 1.0 - stage.reorder.ratio()).product::<f64>()
    }

    /// The share of frames that should skip a delay, and what their delay is below, in nanoseconds. None if none should.
    ///
    /// # Errors
    /// If those that skip it cannot be told from the others.
    pub fn overtaking(&self) -> Result<Option<(f64, f64)>, Reason> {
        let shorter = self.stages.iter().enumerate().filter(|(_, stage)| skips(stage)).map(|(skipped, _)| {
            let others: Vec<Impairment> = self
                .stages
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != skipped)
                .map(|(_, stage)| *stage)
                .collect();
            crate::delays::longest(&others)
        });
        let Some(longest) = shorter.reduce(f64::max) else { return Ok(None) };
        let shortest = self.delays().shortest();
        if shortest - longest < TELLING {
            return Err(Reason::Ambiguous);
        }
        Ok(Some((self.skipping(), f64::midpoint(shortest, longest))))
    }

    /// Where its rate comes from, if it has one.
    ///
    /// # Errors
    /// If so much is lost that it cannot be driven to its rate.
    pub fn bottleneck(&self) -> Result<Option<Bottleneck>, Reason> {
        let mut found: Option<Bottleneck> = None;
        let mut kept = 1.0;
        for stage in &self.stages {
            let lost = stage.loss.map_or(0.0, Loss::share);
            let doubled = stage.duplicate.ratio();
            kept *= (1.0 - lost) * (1.0 + doubled);
            if let Some(found) = &mut found {
                found.arrives *= (1.0 - lost) * (1.0 + doubled);
                let inflation =
                    stage.loss.and_then(|loss| Chain::new(&[loss])).map_or(1.0, |chain| chain.inflation());
                found.noise += inflation * lost / (1.0 - lost).max(0.001)
                    + doubled * (1.0 - doubled) / (1.0 + doubled).powi(2);
            }
            let Some(rate) = stage.rate.map(|rate| rate.bits_per_second() as f64) else { continue };
            if found.is_none_or(|found| rate <= found.arrives) {
                let queue = stage.queue.map(|queue| queue.limit);
                found = Some(Bottleneck { arrives: rate, needs: 0.0, noise: 0.0, queue });
            }
        }
        let Some(mut found) = found else { return Ok(None) };
        if kept < LEAST_LEFT {
            return Err(Reason::LosesTooMuch);
        }
        found.needs = PRESSURE * found.arrives / kept.min(1.0);
        Ok(Some(found))
    }
}

/// Delays that differ by less cannot be told apart one by one, in nanoseconds.
const TELLING: f64 = 500_000.0;

fn skips(stage: &Impairment) -> bool {
    !stage.reorder.is_never() && !stage.delay.is_zero()
}

fn multiply(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] += x * y;
        }
    }
    product
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use testyard_model::setting::Setting;

    /// From settings with `; ` between.
    pub(crate) fn stage(settings: &str) -> Impairment {
        let mut impairment = Impairment::default();
        for setting in settings.split("; ").filter(|setting| !setting.is_empty()) {
            setting.parse::<Setting>().unwrap().apply(&mut impairment);
        }
        impairment
    }

    pub(crate) fn asked(stages: &[&str]) -> Asked {
        let stages = stages.iter().map(|settings| stage(settings)).collect();
        Asked { stages, up: true, mtu: 1500, kind: LinkKind::PointToPoint }
    }

    fn share(stages: &[&str]) -> f64 {
        match asked(stages).losses() {
            Losses::Share(share, _) => share,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn losses() {
        assert_eq!(share(&[]), 0.0);
        assert!((share(&["loss=10%", "loss=20%"]) - 0.28).abs() < 1e-12);
        // The original and its copy are judged alone.
        assert!((share(&["loss=10%; duplicate=50%"]) - (0.5 * 0.1 + 0.5 * 0.01)).abs() < 1e-12);
        assert!((share(&["loss=burst 1% 24%"]) - 0.04).abs() < 1e-12);
        assert!(matches!(asked(&["loss=every 4"]).losses(), Losses::Every(4)));
        assert!(matches!(asked(&["loss=every 4", "loss=1%"]).losses(), Losses::Untold(Reason::Mixed)));
        assert!(matches!(asked(&["loss=every 4; duplicate=1%"]).losses(), Losses::Untold(Reason::Mixed)));
    }

    #[test]
    fn copies() {
        assert_eq!(asked(&["duplicate=10%"]).doubled(), Ok(0.1));
        // A second stage doubles both: at least two arrive if either stage doubles.
        let twice = asked(&["duplicate=10%", "duplicate=10%"]).doubled().unwrap();
        assert!((twice - 0.19).abs() < 1e-12);
        assert_eq!(asked(&["loss=5%"]).doubled(), Ok(0.0));
    }

    #[test]
    fn overtaking() {
        assert_eq!(asked(&["delay=10ms"]).overtaking(), Ok(None));
        let (share, below) = asked(&["delay=10ms; reorder=25%", "delay=3ms"]).overtaking().unwrap().unwrap();
        assert_eq!((share, below), (0.25, 8e6));
        assert_eq!(asked(&["delay=10ms; jitter=10ms; reorder=25%"]).overtaking(), Err(Reason::Ambiguous));
        assert_eq!(asked(&["reorder=25%"]).overtaking(), Ok(None), "there is nothing to skip");
    }

    #[test]
    fn bottlenecks() {
        let of = |stages: &[&str]| asked(stages).bottleneck().unwrap().unwrap();
        let one = of(&["rate=10Mbit; loss=20%"]);
        assert_eq!((one.arrives, one.needs, one.noise), (1e7, 1.25e7 / 0.8, 0.0));
        let behind = of(&["rate=10Mbit", "loss=20%"]);
        assert!((behind.arrives - 8e6).abs() < 1.0 && (behind.noise - 0.25).abs() < 1e-9);
        assert_eq!(of(&["rate=10Mbit", "rate=4Mbit"]).arrives, 4e6);
        assert_eq!(of(&["rate=4Mbit", "rate=10Mbit"]).arrives, 4e6);
        assert_eq!(asked(&["delay=1ms"]).bottleneck(), Ok(None));
        assert_eq!(asked(&["rate=4Mbit; loss=99%"]).bottleneck(), Err(Reason::LosesTooMuch));
    }

    proptest! {
        #[test]
        fn chances_of_copies_add_up(loss in 0.0_f64..=1.0, doubled in 0.0_f64..=1.0) {
            let settings = format!("loss={loss:.4}; duplicate={doubled:.4}");
            let copies = asked(&[&settings, &settings]).copies();
            prop_assert!((copies.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{copies:?}");
        }
    }
}
