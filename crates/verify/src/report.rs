//! What links really do against what was asked: the whole, as data and as a table.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use testyard_model::name::ClientId;
use testyard_model::probe::{Others, Probed, Samples};
use testyard_plan::table::table;

use crate::finding::{Finding, Quantity, Verdict};
use crate::judge::{self, Busy, Ground, median_of, moved};
use crate::schedule::{End, Purpose, Schedule, Subject, Trial};
use crate::stats;
use crate::units;

/// The version of [`Report`] as JSON. It changes when a reader of the old one could be misled.
pub const VERSION: u32 = 1;

/// A report about links. As JSON its fields stay; others may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Of all findings together.
    pub outcome: Outcome,
    /// How likely it is, by chance alone, that links which do as asked have a report that says otherwise.
    pub error: f64,
    /// How many findings share that chance.
    pub tests: usize,
    /// How many ways there are that could have been measured.
    pub ways_there: usize,
    /// What everything is compared to.
    pub reference: Reference,
    /// In the order of the plan.
    pub ways: Vec<WayReport>,
}

/// Of all findings together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Something was measured, and all of that is as asked.
    Holds,
    /// Something is not.
    Broken,
    /// Nothing was measured.
    NotMeasured,
}

/// A pair of interfaces of this machine without a link between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The median of what frames take, in nanoseconds: before the links were measured and behind. It is taken off all delays.
    pub delay: Option<f64>,
    /// How far the two are apart: much of it says that the machine was busy.
    pub drift: Option<f64>,
    /// What the machine moves, in bits per second; none if no rate was to be measured.
    pub moves: Option<f64>,
}

/// From one interface of a link to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WayReport {
    /// The link.
    pub link: ClientId,
    /// Who sent.
    pub from: End,
    /// Who received.
    pub to: End,
    /// What was asked, as settings.
    pub asked: String,
    /// What was seen.
    pub findings: Vec<Finding>,
    /// What others sent meanwhile, packets and bytes, at most.
    pub others: (u64, u64),
}

/// What a schedule's trains say. `taken` has for each step, as far as they were taken, what came of its trains.
#[must_use]
pub fn report(schedule: &Schedule, taken: &[Vec<Probed>]) -> Report {
    let mut of_ways: Vec<[Option<&Probed>; 2]> = vec![[None; 2]; schedule.ways.len()];
    let mut compared: Vec<(&Trial, &Samples)> = Vec::new();
    for (step, came) in schedule.steps.iter().zip(taken) {
        for (trial, probed) in step.trials.iter().zip(came) {
            match (trial.subject, probed) {
                (Subject::Way(place), _) => {
                    let slot = usize::from(trial.purpose == Purpose::Rate);
                    if let Some(way) = of_ways.get_mut(place) {
                        way[slot] = Some(probed);
                    }
                }
                (Subject::Reference, Probed::Sent(samples)) => compared.push((trial, samples)),
                (Subject::Reference, Probed::Failed(_)) => {}
            }
        }
    }
    let reference = compare(&compared).rounded();
    let tests = schedule.ways.iter().map(|way| judge::tests(&way.asked)).sum();
    let ground = Ground {
        baseline: reference.delay,
        moves: reference.moves,
        error: stats::each(schedule.error, tests),
        busy: Busy::of(taken.iter().flatten().filter_map(|probed| match probed {
            Probed::Sent(samples) => Some(samples),
            Probed::Failed(_) => None,
        })),
    };
    let ways: Vec<WayReport> = schedule
        .ways
        .iter()
        .zip(&of_ways)
        .map(|(way, [frames, rate])| WayReport {
            link: way.link.clone(),
            from: way.from.clone(),
            to: way.to.clone(),
            asked: way.asked.text(),
            findings: judge::way(way, *frames, *rate, &ground).into_iter().map(Finding::rounded).collect(),
            others: others([*frames, *rate]),
        })
        .collect();
    let outcome = Outcome::of(&ways);
    let (error, ways_there) = (schedule.error, schedule.ways_there);
    Report { version: VERSION, outcome, error, tests, ways_there, reference, ways }
}

fn compare(compared: &[(&Trial, &Samples)]) -> Reference {
    let frames: Vec<&Samples> = compared
        .iter()
        .filter(|(trial, _)| trial.purpose == Purpose::Frames)
        .map(|(_, samples)| *samples)
        .collect();
    let each: Vec<f64> = frames.iter().filter_map(|samples| median_of(&[samples])).collect();
    let drift = match each.as_slice() {
        [first, .., last] => Some((last - first).abs()),
        _ => None,
    };
    let speed = compared.iter().find(|(trial, _)| trial.purpose == Purpose::Rate);
    Reference {
        delay: median_of(&frames),
        drift,
        moves: speed.and_then(|(trial, samples)| moved(samples, &trial.train)),
    }
}

fn others(trains: [Option<&Probed>; 2]) -> (u64, u64) {
    let of = |probed: &Probed| match probed {
        Probed::Sent(samples) => samples.others,
        Probed::Failed(_) => Others::default(),
    };
    trains
        .into_iter()
        .flatten()
        .map(of)
        .fold((0, 0), |(packets, bytes), others| (packets + others.packets(), bytes + others.bytes()))
}

// === impl Reference ===

impl Reference {
    fn rounded(self) -> Self {
        let whole = |value: Option<f64>| value.map(f64::round);
        Self { delay: whole(self.delay), drift: whole(self.drift), moves: whole(self.moves) }
    }
}

// === impl Outcome ===

impl Outcome {
    fn of(ways: &[WayReport]) -> Self {
        let verdicts = || ways.iter().flat_map(|way| &way.findings).map(|finding| &finding.verdict);
        if verdicts().any(|verdict| *verdict == Verdict::Broken) {
            Self::Broken
        } else if verdicts().any(|verdict| *verdict == Verdict::Holds) {
            Self::Holds
        } else {
            Self::NotMeasured
        }
    }
}

// === impl Report ===

impl Report {
    /// How many findings hold, are broken, were not measured.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for finding in self.ways.iter().flat_map(|way| &way.findings) {
            counts[match finding.verdict {
                Verdict::Holds => 0,
                Verdict::Broken => 1,
                Verdict::NotMeasured(_) => 2,
            }] += 1;
        }
        counts
    }

    /// For people, at most 100 columns wide.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<[String; 6]> = Vec::new();
        for way in &self.ways {
            let mut head = format!("{} {} > {}", way.link, way.from.node, way.to.node);
            for finding in &way.findings {
                rows.push([
                    std::mem::take(&mut head),
                    finding.quantity.to_string(),
                    wanted(finding),
                    finding.measured.map_or_else(|| "-".to_owned(), |value| finding.shown(value)),
                    finding.interval.map_or_else(
                        || "-".to_owned(),
                        |(low, high)| format!("{} .. {}", finding.shown(low), finding.shown(high)),
                    ),
                    finding.verdict.to_string(),
                ]);
            }
        }
        let mut text = table(["WAY", "WHAT", "ASKED", "MEASURED", "INTERVAL", "VERDICT"], &rows);
        let [hold, broken, unmeasured] = self.counts();
        let _ = write!(
            text,
            "\n{} of {} ways: {hold} findings hold, {broken} ",
            self.ways.len(),
            self.ways_there
        );
        let _ = writeln!(
            text,
            "{}, {unmeasured} not measured.",
            if broken == 1 { "is broken" } else { "are broken" }
        );
        if let Some(delay) = self.reference.delay {
            let _ = write!(text, "Without a link a frame takes {}", units::time(delay));
            if let Some(drift) = self.reference.drift {
                let _ = write!(text, " (before and behind: {} apart)", units::time(drift));
            }
            let _ = writeln!(text, "; that is taken off.");
        }
        text
    }
}

/// With the tolerance where it is more than what chance allows.
fn wanted(finding: &Finding) -> String {
    match finding.quantity {
        Quantity::Delay | Quantity::Rate if finding.tolerance > 0.0 => {
            format!("{} ± {}", finding.shown(finding.asked), finding.shown(finding.tolerance))
        }
        _ => finding.shown(finding.asked),
    }
}
