//! What is sent over a way to see whether it does as asked: few enough frames that they do not disturb each other, many
//! enough that what is seen means something.

use testyard_model::impairment::{Impairment, Loss, QueueLimit};
use testyard_model::link::LinkKind;
use testyard_model::probe::{SHORTEST, Train};
use testyard_model::quantity::Span;

use crate::asked::Asked;
use crate::delays;
use crate::reason::Reason;

/// What is sent over one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Frames far enough apart that none waits for another: for delay, jitter, loss, copies, damage, order. Over a link
    /// that is down: frames that must not arrive.
    pub frames: Result<Train, Reason>,
    /// More than the rate, if there is one.
    pub rate: Option<Result<Train, Reason>>,
}

/// From one frame to the next, at least.
const PACE: f64 = 1e6;
/// Frames if nothing asks for more, and at most.
const USUAL: f64 = 400.0;
const MOST: f64 = 4_000.0;
/// Fewer say nothing.
const LEAST: f64 = 20.0;
/// So many of what is seldom are wanted.
const WANTED: f64 = 100.0;
/// Longer than asked this is waited for the last frames, on a busy machine.
const PATIENCE: f64 = 300e6;
/// Frames that must not arrive.
const SILENT: u32 = 20;

/// How long a rate is driven, in nanoseconds, and as many times the jitter at least; and the frames of it.
const DRIVE: f64 = 300e6;
const DRIVE_JITTERS: f64 = 50.0;
const LONGEST_DRIVE: f64 = 3e9;
const LEAST_DRIVEN: f64 = 24.0;
const MOST_DRIVEN: f64 = 60_000.0;

impl Experiment {
    /// For what is asked. `longest` is how long one train may take.
    #[must_use]
    pub fn of(asked: &Asked, longest: Span) -> Self {
        if !asked.up {
            let pause = span(PACE);
            let silent =
                Train { frames: SILENT, length: SHORTEST, interval: pause, patience: span(PATIENCE) };
            return Self { frames: Ok(silent), rate: None };
        }
        let rate = match asked.bottleneck() {
            Ok(None) => None,
            Ok(Some(bottleneck)) => Some(Ok(drive(asked, bottleneck.needs))),
            Err(reason) => Some(Err(reason)),
        };
        Self { frames: frames(asked, longest), rate }
    }
}

/// Frames that do not disturb each other.
fn frames(asked: &Asked, longest: Span) -> Result<Train, Reason> {
    let stages = &asked.stages;
    let through = delays::longest(stages) + asked.sending(SHORTEST);
    // What waits for its delay fills a queue that has no rate.
    let held = stages.iter().filter(|stage| stage.rate.is_none()).filter_map(room).fold(f64::MAX, f64::min);
    let interval = PACE
        .max(delays::apart(stages))
        .max(2.0 * asked.sending(SHORTEST))
        .max(if through > 0.0 { 2.0 * through / held } else { 0.0 })
        .ceil();
    let wanted = stages.iter().map(wanted).fold(USUAL, f64::max);
    let time = longest.as_nanos() as f64;
    let count = wanted.min(time / interval).max(LEAST).round();
    let train = Train {
        frames: count as u32,
        length: SHORTEST,
        interval: span(interval),
        patience: span(through + PATIENCE),
    };
    // The least that says anything may still be too much.
    let needs = train.lasts();
    if needs.as_nanos() > longest.as_nanos().saturating_mul(4) {
        return Err(Reason::TooLong { needs });
    }
    Ok(train)
}

/// How many of our frames a queue without a rate may hold, of which half are ours to use; none if it has no limit.
fn room(stage: &Impairment) -> Option<f64> {
    let queue = stage.queue?;
    let limit = match queue.limit {
        QueueLimit::Packets(packets) => f64::from(packets),
        QueueLimit::Bytes(size) => size.bytes() as f64 / f64::from(SHORTEST),
    };
    let unit = if matches!(queue.limit, QueueLimit::Packets(_)) { 1.0 } else { f64::from(SHORTEST) };
    let early = queue.red.map_or(f64::MAX, |red| f64::from(red.min) / unit);
    Some(limit.min(early).max(1.0))
}

/// How many frames are wanted for what is seldom to be seen.
fn wanted(stage: &Impairment) -> f64 {
    let seldom = |share: f64| match share {
        share if share <= 0.0 || share >= 1.0 => 0.0,
        share => WANTED * (1.0 - share) / share,
    };
    let (loss, memory) = match stage.loss {
        None => (0.0, 1.0),
        Some(Loss::Burst { leave, .. }) => {
            (seldom(stage.loss.map_or(0.0, Loss::share)), 2.0 / leave.ratio().max(0.01))
        }
        Some(Loss::Every(nth)) => (4.0 * f64::from(nth.get()), 1.0),
        Some(Loss::Random(chance)) => (seldom(chance.ratio()), 1.0),
    };
    let others = [stage.duplicate, stage.reorder, stage.corrupt].map(|chance| seldom(chance.ratio()));
    others.into_iter().fold(loss * memory, f64::max).min(MOST)
}

/// Frames of the largest length, or shorter ones where few of those would pass.
fn drive(asked: &Asked, needs: f64) -> Train {
    let jitter = delays::apart(&asked.stages);
    let lasts = DRIVE.max(DRIVE_JITTERS * jitter).min(LONGEST_DRIVE);
    let bits = needs * lasts / 1e9;
    let largest = f64::from(asked.mtu) + 14.0;
    let length = (bits / 8.0 / LEAST_DRIVEN).clamp(f64::from(SHORTEST), largest).floor();
    let count = (bits / 8.0 / length).clamp(LEAST_DRIVEN, MOST_DRIVEN).ceil();
    let interval = length * 8e9 / needs;
    // What still waits when the last is sent, at most all.
    let waits = count * interval;
    Train {
        frames: count as u32,
        length: length as u16,
        interval: span(interval.max(1.0)),
        patience: span(delays::longest(&asked.stages) + waits + PATIENCE),
    }
}

/// As fast as the machine can, where there is no link: what it can measure at all.
#[must_use]
pub fn speed() -> Train {
    Train { frames: 8_000, length: 1_514, interval: Span::ZERO, patience: span(PATIENCE / 3.0) }
}

/// What is compared to.
#[must_use]
pub fn reference() -> Train {
    Train { frames: 300, length: SHORTEST, interval: span(PACE), patience: span(PATIENCE / 3.0) }
}

/// Whether a frame is flooded to all of a LAN unless its switch has heard of the receiver.
#[must_use]
pub fn greets(asked: &Asked) -> bool {
    asked.kind == LinkKind::Lan
}

fn span(nanoseconds: f64) -> Span {
    // Saturates.
    Span::from_nanos(nanoseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::tests::asked;
    use proptest::prelude::*;

    fn longest() -> Span {
        Span::from_millis(12_000)
    }

    fn frames_of(stages: &[&str]) -> Train {
        Experiment::of(&asked(stages), longest()).frames.unwrap()
    }

    #[test]
    fn frames_do_not_disturb_each_other() {
        let clear = frames_of(&[]);
        assert_eq!((clear.frames, clear.interval), (400, Span::from_millis(1)));
        assert_eq!(frames_of(&["delay=50ms; jitter=4ms"]).interval, Span::from_millis(8));
        // 640 bits at 64 kbit/s take 10 ms.
        assert_eq!(frames_of(&["rate=64kbit"]).interval, Span::from_millis(20));
        assert_eq!(frames_of(&["delay=100ms; queue=10"]).interval, Span::from_millis(20));
        assert_eq!(frames_of(&["loss=5%"]).frames, 1_900);
        assert_eq!(frames_of(&["loss=0.01%"]).frames, 4_000);
        assert_eq!(frames_of(&["loss=every 300"]).frames, 1_200);
        assert_eq!(frames_of(&["rate=1kbit"]).frames, 20, "the least, which takes 26 s");
        let slow = Experiment::of(&asked(&["jitter=50s"]), longest());
        assert!(matches!(slow.frames, Err(Reason::TooLong { .. })), "{slow:?}");
    }

    #[test]
    fn rates_are_driven() {
        let rate = |text: &str| Experiment::of(&asked(&[text]), longest()).rate.unwrap().unwrap();
        let usual = rate("rate=10Mbit");
        assert_eq!((usual.length, usual.frames), (1_514, 310));
        assert!(usual.rate().unwrap() >= "12.49Mbit".parse().unwrap());
        let slow = rate("rate=1kbit");
        assert_eq!((slow.length, slow.frames), (SHORTEST, 24));
        assert_eq!(rate("rate=100Gbit").frames, 60_000);
        assert_eq!(Experiment::of(&asked(&["delay=1ms"]), longest()).rate, None);
    }

    #[test]
    fn nothing_may_arrive_over_a_link_that_is_down() {
        let mut down = asked(&["rate=10Mbit"]);
        down.up = false;
        let experiment = Experiment::of(&down, longest());
        assert_eq!((experiment.frames.unwrap().frames, experiment.rate), (20, None));
    }

    proptest! {
        /// Whatever is asked, a train can be sent and has an end.
        #[test]
        fn trains_are_bounded(rate in 1_000_u64..1_000_000_000_000, delay in 0_u64..100_000, jitter in 0_u64..10_000, loss in 0.0_f64..=1.0, mtu in 68_u16..9_000) {
            let stages = format!("rate={rate}bit; delay={delay}ms; jitter={jitter}ms exponential; loss={loss:.5}");
            let asked = Asked { mtu, ..asked(&[&stages]) };
            let Experiment { frames, rate } = Experiment::of(&asked, longest());
            for train in [frames.ok(), rate.and_then(Result::ok)].into_iter().flatten() {
                prop_assert!(train.frames >= 20 && train.frames <= 60_000);
                prop_assert!(train.length >= SHORTEST && u32::from(train.length) <= u32::from(mtu) + 14);
                prop_assert!(train.lasts() < Span::from_millis(600_000), "{train:?}");
            }
        }
    }
}
