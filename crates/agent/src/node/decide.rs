//! What to do next for a node. Pure: all that is known goes in, one step comes out, and the task in
//! [`super::task`] carries it out and asks again.
//!
//! ```text
//! not there ─FetchImage→ ─Create→ created ─Boot→ running ─Attach→ attached ─(guest)→ ready
//!     │ was there once                   ↑          │ stopped by itself: Boot again, with back-off;
//!     └──► GiveUp: disk lost             └──────────┘ GiveUp after three times in a minute
//!
//! another disk: Discard        a higher restart counter, or power off: Stop
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use testyard_model::sliver_type::Limits;
use testyard_runtime::PowerSeen;

use crate::desired;
use crate::ledger::Record;
use crate::node::notice::{more_memory, signal_name};

/// What is known about a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What the runtime has of this sliver, by disk.
    pub(crate) disks: BTreeMap<u32, PowerSeen>,
    /// What the host remembers.
    pub(crate) record: Option<Record>,
    /// Whether the image for the next disk is on the host.
    pub(crate) image_ready: bool,
    /// The run whose interfaces are set up.
    pub(crate) attached: Option<Timestamp>,
    /// They are set up as was wanted before: the node goes on with them until they are changed.
    pub(crate) outdated: bool,
    /// The run whose guest is listened to.
    pub(crate) listening: Option<Timestamp>,
    /// Why it was given up, and for what.
    pub(crate) given_up: Option<(Attempt, String)>,
    /// What was given up must not go on running either.
    pub(crate) must_end: bool,
    /// How many processes of the present run were killed for want of memory.
    pub(crate) killed: u64,
    /// The present run has been refused a process or thread, since it had as many as it may.
    pub(crate) crowded: bool,
    /// How many bytes it kept on disk when that was last counted.
    pub(crate) disk_used: Option<u64>,
    /// When it stopped by itself, since the last restart that was asked for.
    pub(crate) deaths: Vec<Timestamp>,
}

/// What was tried when a node was given up: anything that the user asks for anew is a new attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) boot: u32,
    pub(crate) disk: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Remove the node with this disk.
    Discard(u32),
    /// Have the image on the host.
    FetchImage,
    /// Make the node.
    Create,
    /// Boot it, after this pause.
    Boot(Duration),
    /// Set up its interfaces.
    Attach,
    /// Listen to the guest of a node that was found running.
    Listen,
    /// End it, keep its disk.
    Stop,
    /// It will not get on by itself.
    GiveUp(String),
    /// Nothing: it is as it should be, or the next move is somebody else's.
    Rest,
}

/// How often a node may stop by itself within [`DEATH_WINDOW`].
pub(crate) const MAX_DEATHS: usize = 3;

/// See [`MAX_DEATHS`].
pub(crate) const DEATH_WINDOW: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

impl Attempt {
    pub(crate) fn of(desired: &desired::Node) -> Self {
        Self { boot: desired.boot, disk: desired.disk }
    }
}

/// The next step towards `desired`.
pub(crate) fn decide(desired: &desired::Node, facts: &Facts, now: Timestamp) -> Step {
    if let Some(other) = facts.disks.keys().find(|disk| **disk != desired.disk) {
        return Step::Discard(*other);
    }
    let off = desired.power == desired::Power::Off;
    let given_up = facts.given_up.as_ref().is_some_and(|(attempt, _)| *attempt == Attempt::of(desired));
    let record = facts.record.as_ref().filter(|record| record.disk == desired.disk);
    match facts.disks.get(&desired.disk) {
        Some(PowerSeen::Running(running)) => {
            let booted = record.and_then(|record| record.boot);
            // Somebody else may have started this run, but nobody can have booted it for a counter that the newest
            // boot of the agent had not reached; that one is written down before it begins.
            if off || (given_up && facts.must_end) || booted.is_some_and(|boot| boot.counter < desired.boot) {
                Step::Stop
            } else if given_up {
                Step::Rest
            } else if facts.listening != Some(running.since) {
                Step::Listen
            } else if facts.attached != Some(running.since) || facts.outdated {
                Step::Attach
            } else {
                Step::Rest
            }
        }
        _ if off || given_up => Step::Rest,
        Some(PowerSeen::Created) => Step::Boot(Duration::ZERO),
        Some(PowerSeen::Stopped { exit, out_of_memory }) => {
            let recent =
                facts.deaths.iter().filter(|death| now.duration_since(**death) < DEATH_WINDOW).count();
            if recent >= MAX_DEATHS {
                return Step::GiveUp(format!(
                    "the node stopped by itself {recent} times within a minute ({}); geni_restart tries again, \
                     geni_reload gives it a fresh disk",
                    ending(*exit, *out_of_memory, desired.limits)
                ));
            }
            Step::Boot(match recent {
                0 | 1 => Duration::ZERO,
                _ => Duration::from_secs(2),
            })
        }
        None if record.is_some() => Step::GiveUp(
            "the node's disk is lost: something removed it from the host; geni_reload gives it a fresh one"
                .into(),
        ),
        None if !facts.image_ready => Step::FetchImage,
        None => Step::Create,
    }
}

/// How a node ended, for people.
pub(crate) fn ending(exit: Option<i64>, out_of_memory: bool, limits: Limits) -> String {
    let ended = match exit {
        Some(137) | None if out_of_memory => return format!("it ran out of memory: {}", more_memory(limits)),
        Some(137) => "it was killed".into(),
        Some(status @ 129..=192) => {
            // So do shells and engines tell of signals.
            format!(
                "it was ended by {}",
                i32::try_from(status - 128).map_or_else(|_| "a signal".into(), signal_name)
            )
        }
        Some(status) => format!("exit status {status}"),
        None => "exit status unknown".into(),
    };
    if out_of_memory { format!("{ended}, after memory had run out: {}", more_memory(limits)) } else { ended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Boot;
    use crate::node::tests::{desired_node, image};
    use testyard_model::id::SliceId;
    use testyard_runtime::Running;
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn running(second: i64) -> PowerSeen {
        PowerSeen::Running(Running { netns: "/proc/1/ns/net".into(), since: at(second) })
    }

    fn record(disk: u32, counter: u32, since: Option<i64>) -> Option<Record> {
        Some(Record {
            slice: SliceId::from_uuid(Uuid::nil()),
            disk,
            image: image(),
            url: None,
            boot: Some(Boot { counter, since: since.map(at) }),
            timeline: Vec::new(),
            ended: None,
        })
    }

    #[test]
    fn from_nothing_to_rest() {
        let desired = desired_node();
        let mut facts = Facts::default();
        let now = at(100);
        assert_eq!(decide(&desired, &facts, now), Step::FetchImage);
        facts.image_ready = true;
        assert_eq!(decide(&desired, &facts, now), Step::Create);
        facts.disks.insert(0, PowerSeen::Created);
        assert_eq!(decide(&desired, &facts, now), Step::Boot(Duration::ZERO));
        facts.disks.insert(0, running(5));
        facts.record = record(0, 0, Some(5));
        assert_eq!(decide(&desired, &facts, now), Step::Listen);
        facts.listening = Some(at(5));
        assert_eq!(decide(&desired, &facts, now), Step::Attach);
        facts.attached = Some(at(5));
        assert_eq!(decide(&desired, &facts, now), Step::Rest);
        facts.outdated = true;
        assert_eq!(decide(&desired, &facts, now), Step::Attach);
    }

    #[test]
    fn counters() {
        let mut desired = desired_node();
        let mut facts = Facts { record: record(0, 0, Some(5)), ..Facts::default() };
        facts.disks.insert(0, running(5));
        (facts.listening, facts.attached) = (Some(at(5)), Some(at(5)));
        desired.boot = 1;
        assert_eq!(decide(&desired, &facts, at(9)), Step::Stop);
        desired.disk = 1;
        assert_eq!(decide(&desired, &facts, at(9)), Step::Discard(0));
    }

    #[test]
    fn a_boot_that_nobody_saw_the_end_of_is_the_one_that_was_asked_for() {
        let mut desired = desired_node();
        desired.boot = 1;
        let mut facts = Facts { record: record(0, 1, None), ..Facts::default() };
        facts.disks.insert(0, running(7));
        assert_eq!(decide(&desired, &facts, at(9)), Step::Listen);
    }

    #[test]
    fn a_restart_is_done_also_if_somebody_else_has_started_the_node() {
        let mut desired = desired_node();
        let mut facts = Facts { record: record(0, 0, Some(5)), ..Facts::default() };
        facts.disks.insert(0, running(7));
        assert_eq!(decide(&desired, &facts, at(9)), Step::Listen);
        desired.boot = 1;
        assert_eq!(decide(&desired, &facts, at(9)), Step::Stop);
    }

    #[test]
    fn stopping_by_itself() {
        let desired = desired_node();
        let mut facts = Facts { record: record(0, 0, Some(5)), ..Facts::default() };
        facts.disks.insert(0, PowerSeen::Stopped { exit: Some(1), out_of_memory: false });
        facts.deaths = vec![at(50)];
        assert_eq!(decide(&desired, &facts, at(50)), Step::Boot(Duration::ZERO));
        facts.deaths = vec![at(50), at(51), at(52)];
        assert!(matches!(decide(&desired, &facts, at(53)), Step::GiveUp(text) if text.contains("3 times")));
        assert_eq!(decide(&desired, &facts, at(113)), Step::Boot(Duration::ZERO));
    }

    #[test]
    fn a_lost_disk_does_not_come_back_empty() {
        let mut desired = desired_node();
        let facts = Facts { record: record(0, 0, Some(5)), ..Facts::default() };
        assert!(
            matches!(decide(&desired, &facts, at(9)), Step::GiveUp(text) if text.contains("disk is lost"))
        );
        desired.disk = 1;
        assert_eq!(decide(&desired, &facts, at(9)), Step::FetchImage);
    }

    #[test]
    fn how_it_ended_comes_with_what_to_do() {
        let limits = Limits { memory: Some(100 << 20), ..Limits::default() };
        for (exit, out_of_memory, expected) in [
            (
                Some(137),
                true,
                "it ran out of memory: ask for a sliver type with more memory (it has 100 MiB)",
            ),
            (Some(137), false, "it was killed"),
            (Some(139), false, "signal 11, SIGSEGV"),
            (Some(3), false, "exit status 3"),
            (Some(3), true, "exit status 3, after memory had run out"),
            (None, false, "unknown"),
        ] {
            let text = ending(exit, out_of_memory, limits);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn what_must_not_go_on_is_stopped_and_stays_so() {
        let desired = desired_node();
        let mut facts = Facts { record: record(0, 0, Some(5)), must_end: true, ..Facts::default() };
        facts.given_up = Some((Attempt::of(&desired), "its disk is full".into()));
        facts.disks.insert(0, running(5));
        assert_eq!(decide(&desired, &facts, at(9)), Step::Stop);
        facts.disks.insert(0, PowerSeen::Stopped { exit: Some(0), out_of_memory: false });
        assert_eq!(decide(&desired, &facts, at(9)), Step::Rest);
    }

    #[test]
    fn off_means_off() {
        let desired = desired::Node { power: desired::Power::Off, ..desired_node() };
        let mut facts = Facts::default();
        assert_eq!(decide(&desired, &facts, at(9)), Step::Rest);
        facts.disks.insert(0, running(5));
        assert_eq!(decide(&desired, &facts, at(9)), Step::Stop);
        facts.disks.insert(0, PowerSeen::Stopped { exit: Some(0), out_of_memory: false });
        assert_eq!(decide(&desired, &facts, at(9)), Step::Rest);
    }
}
