//! What is measured when.
//!
//! ```text
//!  reference, speed │ frames of several ways at a time │ rates, one way at a time │ reference
//! ```
//!
//! Trains of single frames ask little of a machine, so several run at a time, as many as [`FRAMES_PER_SECOND`] allows. A
//! rate takes what the machine has, and runs alone. In a step no interface sends twice, and none receives twice.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use testyard_model::link::LinkKind;
use testyard_model::name::ClientId;
use testyard_model::probe::Train;
use testyard_model::quantity::Span;
use testyard_plan::NetworkPlan;
use testyard_plan::network::device::Device;
use testyard_plan::network::parts::NetworkLink;

use crate::asked::Asked;
use crate::experiment::{Experiment, greets, reference, speed};

/// What a report is to be about.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// These links; all if none are named.
    pub links: BTreeSet<ClientId>,
    /// At most so many ways, chosen by [`Self::seed`]; as many as the time allows if not given.
    pub sample: Option<usize>,
    /// How long the whole may take, if every train keeps its time.
    pub budget: Span,
    /// How long one train may take: what is seldom is seen less often in a shorter one.
    pub longest: Span,
    /// Chooses the ways of a sample.
    pub seed: u64,
    /// How likely it is that a slice whose links do as asked has a report that says otherwise, by chance.
    pub error: f64,
}

impl Default for Options {
    /// All links, in at most five minutes; one report in a hundred errs.
    fn default() -> Self {
        Self {
            links: BTreeSet::new(),
            sample: None,
            budget: Span::from_millis(300_000),
            longest: Span::from_millis(12_000),
            seed: 0,
            error: 0.01,
        }
    }
}

/// One interface on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct End {
    /// Its node.
    pub node: ClientId,
    /// Its name in the node.
    pub device: Device,
}

/// From one interface of a link to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The link.
    pub link: ClientId,
    /// Who sends.
    pub from: End,
    /// Who receives.
    pub to: End,
    /// What should happen in between.
    pub asked: Asked,
    /// What is sent.
    pub experiment: Experiment,
}

/// What a train is sent over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A way of [`Schedule::ways`], by its place.
    Way(usize),
    /// A pair of interfaces without a link between, which the host makes for it.
    Reference,
}

/// What a train is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What happens to single frames.
    Frames,
    /// How many pass.
    Rate,
}

/// One train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Over what.
    pub subject: Subject,
    /// What for.
    pub purpose: Purpose,
    /// What is sent.
    pub train: Train,
    /// Whether the receiver should send a frame first, so that a switch knows it.
    pub greeting: bool,
}

/// Trains that run at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// They begin together.
    pub trials: Vec<Trial>,
}

/// What is measured when, and about what.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Ways that are measured, and those of which is only said why not.
    pub ways: Vec<Way>,
    /// How many ways there are that could have been.
    pub ways_there: usize,
    /// One after the other.
    pub steps: Vec<Step>,
    /// See [`Options::error`].
    pub error: f64,
}

/// Frames that all trains of a step together may send in a second: a few per cent of a core for sender, link and receiver.
pub const FRAMES_PER_SECOND: f64 = 4_000.0;
/// Trains of a step: each has two threads.
pub const AT_ONCE: usize = 32;

impl Step {
    /// How long it takes.
    #[must_use]
    pub fn lasts(&self) -> Span {
        self.trials.iter().map(|trial| trial.train.lasts()).max().unwrap_or_default()
    }
}

impl Schedule {
    /// How long it takes, if the machine keeps up.
    #[must_use]
    pub fn lasts(&self) -> Span {
        self.steps.iter().map(Step::lasts).fold(Span::ZERO, Span::plus)
    }
}

/// What to measure of a network when.
#[must_use]
pub fn schedule(plan: &NetworkPlan, options: &Options) -> Schedule {
    let wanted = |link: &&NetworkLink| options.links.is_empty() || options.links.contains(&link.client_id);
    let mut ways: Vec<Way> =
        plan.links().iter().filter(wanted).flat_map(|link| ways(link, options.longest)).collect();
    let ways_there = ways.len();
    let mut keep = options.sample.unwrap_or(ways_there).min(ways_there);
    // In an order of chance; what is kept goes back to the plan's.
    let mut order: Vec<usize> = (0..ways_there).collect();
    order.sort_by_key(|place| mix(options.seed ^ mix(*place as u64)));
    loop {
        let mut kept: Vec<usize> = order[..keep].to_vec();
        kept.sort_unstable();
        let steps = steps(&ways, &kept);
        let schedule = Schedule { ways: Vec::new(), ways_there, steps, error: options.error };
        let (takes, may) = (schedule.lasts().as_nanos() as f64, options.budget.as_nanos() as f64);
        if takes <= may || keep <= 1 {
            let mut place = 0;
            ways.retain(|_| {
                place += 1;
                kept.binary_search(&(place - 1)).is_ok()
            });
            let steps = schedule.steps.into_iter().map(|step| renumbered(step, &kept)).collect();
            return Schedule { ways, steps, ..schedule };
        }
        // Proportionally fewer, and always fewer.
        keep = ((keep as f64 * (may / takes).max(0.1)) as usize).clamp(1, keep - 1);
    }
}

/// Ways by their places among those that are kept.
fn renumbered(mut step: Step, kept: &[usize]) -> Step {
    for trial in &mut step.trials {
        if let Subject::Way(place) = &mut trial.subject {
            *place = kept.binary_search(place).unwrap_or(*place);
        }
    }
    step
}

/// Both ways of a cable; in a LAN from each member to the next, so that each sends once and receives once.
fn ways(link: &NetworkLink, longest: Span) -> Vec<Way> {
    let count = link.members.len();
    let pairs = match (link.kind, count) {
        (_, 0 | 1) => Vec::new(),
        (LinkKind::PointToPoint, _) => vec![(0, 1), (1, 0)],
        (LinkKind::Lan, _) => (0..count).map(|from| (from, (from + 1) % count)).collect(),
    };
    let end = |place: usize| {
        let member = &link.members[place];
        End { node: member.node.clone(), device: member.device }
    };
    let way = |(from, to): (usize, usize)| {
        let asked = Asked::of(link, from, to)?;
        let experiment = Experiment::of(&asked, longest);
        Some(Way { link: link.client_id.clone(), from: end(from), to: end(to), asked, experiment })
    };
    pairs.into_iter().filter_map(way).collect()
}

fn steps(ways: &[Way], kept: &[usize]) -> Vec<Step> {
    let of_way = |place: usize, purpose, train| Trial {
        subject: Subject::Way(place),
        purpose,
        train,
        greeting: greets(&ways[place].asked),
    };
    let compared = |purpose, train| Step {
        trials: vec![Trial { subject: Subject::Reference, purpose, train, greeting: false }],
    };
    let mut frames: Vec<Trial> = kept
        .iter()
        .filter_map(|place| {
            Some(of_way(*place, Purpose::Frames, ways[*place].experiment.frames.clone().ok()?))
        })
        .collect();
    let rates: Vec<Step> = kept
        .iter()
        .filter_map(|place| {
            let train = ways[*place].experiment.rate.clone()?.ok()?;
            Some(Step { trials: vec![of_way(*place, Purpose::Rate, train)] })
        })
        .collect();
    if frames.is_empty() && rates.is_empty() {
        return Vec::new();
    }
    // Those that take about as long run together.
    frames.sort_by_key(|trial| std::cmp::Reverse(trial.train.lasts()));
    let mut steps = vec![compared(Purpose::Frames, reference())];
    if !rates.is_empty() {
        steps.push(compared(Purpose::Rate, speed()));
    }
    steps.extend(packed(ways, &frames));
    steps.extend(rates);
    steps.push(compared(Purpose::Frames, reference()));
    steps
}

/// Trains put together, each into the first step that has room and none of its interfaces.
fn packed(ways: &[Way], frames: &[Trial]) -> Vec<Step> {
    struct Filling<'w> {
        step: Step,
        pace: f64,
        senders: BTreeSet<&'w End>,
        receivers: BTreeSet<&'w End>,
    }
    let mut fillings: Vec<Filling<'_>> = Vec::new();
    let mut full = 0;
    for trial in frames {
        let Subject::Way(place) = trial.subject else { continue };
        let (from, to) = (&ways[place].from, &ways[place].to);
        let pace = 1e9 / trial.train.interval.as_nanos().max(1) as f64;
        let fits = |filling: &Filling<'_>| {
            filling.pace + pace <= FRAMES_PER_SECOND
                && filling.step.trials.len() < AT_ONCE
                && !filling.senders.contains(from)
                && !filling.receivers.contains(to)
        };
        let found = fillings[full..].iter().position(fits).map(|at| at + full);
        let at = found.unwrap_or_else(|| {
            fillings.push(Filling {
                step: Step { trials: Vec::new() },
                pace: 0.0,
                senders: BTreeSet::new(),
                receivers: BTreeSet::new(),
            });
            fillings.len() - 1
        });
        let filling = &mut fillings[at];
        filling.step.trials.push(*trial);
        filling.pace += pace;
        filling.senders.insert(from);
        filling.receivers.insert(to);
        // Looking at full ones again and again would take long in large slices.
        while fillings.get(full).is_some_and(|filling| {
            filling.step.trials.len() == AT_ONCE || filling.pace > FRAMES_PER_SECOND * 0.999
        }) {
            full += 1;
        }
    }
    fillings.into_iter().map(|filling| filling.step).collect()
}

/// Spreads a number over all bits (the finisher of SplitMix64).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
