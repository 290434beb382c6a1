//! Programs that the events of a schedule start and stop.
//!
//! The agent tells the guest counters, not commands: how often a program was to start and to stop so far in this run. A
//! guest that has missed some of it does what is left of it, and one that is told the same again does nothing.

use serde::{Deserialize, Serialize};

use crate::message::ServiceState;

/// A program that events start and stop, as it should be now. Counters, not commands: a guest that has missed some of them
/// does what is left of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledProgram {
    /// Its name, unique in the node.
    pub name: String,
    /// The text that `sh` reads: that of the newest start.
    pub command: String,
    /// The folder that it runs in; the root folder if empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// The most seconds that it may run; as long as it likes if nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u64>,
    /// How often it was to start in this run. A start while it runs does nothing.
    pub starts: u32,
    /// How often it was to stop in this run.
    pub stops: u32,
    /// Whether the newest start has no stop behind it.
    pub runs: bool,
    /// How many signals it was to get since the newest start.
    #[serde(default)]
    pub signals: u32,
    /// The newest of those, [`Self::MAX_SIGNALS`] at most, by name without SIG, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newest_signals: Vec<String>,
}

/// What a guest has done of a program's counters in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledDone {
    /// Starts that were carried out, or came while it ran.
    pub starts: u32,
    /// Stops that were carried out, or came while it did not run.
    pub stops: u32,
    /// Signals that were sent since the newest start.
    pub signals: u32,
}

/// How a program stands where its next move is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduledStand {
    /// It does not run.
    Idle,
    /// It runs.
    Running,
    /// It has been told to end, and has not yet.
    Ending,
}

/// What is to be done with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduledMove<'a> {
    /// Start it.
    Begin,
    /// End it: SIGTERM, later SIGKILL, to its process group.
    End,
    /// Send its process group these, by name without SIG, in order.
    Signal(&'a [String]),
    /// Nothing.
    Rest,
}

impl ScheduledProgram {
    /// The most signals that are told by name.
    pub const MAX_SIGNALS: usize = 16;

    /// What is to be done next; `done` is what it is once that is done. A start while the program runs is none, as with
    /// Emulab's program agents; a start whose stop has come as well is none either.
    pub fn next(&self, done: &mut ScheduledDone, stand: ScheduledStand) -> ScheduledMove<'_> {
        let started = self.starts > done.starts;
        match stand {
            ScheduledStand::Ending => ScheduledMove::Rest,
            ScheduledStand::Running if self.stops > done.stops => {
                done.stops = self.stops;
                ScheduledMove::End
            }
            ScheduledStand::Running => {
                let before = if started { 0 } else { done.signals };
                *done = ScheduledDone { starts: self.starts, stops: self.stops, signals: self.signals };
                let missed = usize::try_from(self.signals.saturating_sub(before)).unwrap_or(usize::MAX);
                let newest = &self.newest_signals;
                match &newest[newest.len().saturating_sub(missed)..] {
                    [] => ScheduledMove::Rest,
                    signals => ScheduledMove::Signal(signals),
                }
            }
            ScheduledStand::Idle => {
                let begins = started && self.runs;
                // What it was sent before it could begin, it gets when it has begun.
                let signals = if begins { 0 } else { self.signals };
                *done = ScheduledDone { starts: self.starts, stops: self.stops, signals };
                if begins { ScheduledMove::Begin } else { ScheduledMove::Rest }
            }
        }
    }
}

/// How a program of the schedule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledReport {
    /// Which.
    pub name: String,
    /// The run that this is about.
    pub run: Option<u32>,
    /// The start that this is about: the first is 1, and 0 says that there was none.
    pub start: u32,
    /// How it stands.
    pub state: ServiceState,
    /// It has ended because it was to stop.
    #[serde(default)]
    pub stopped: bool,
    /// When it began, in milliseconds since 1970.
    #[serde(default)]
    pub began_ms: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default)]
    pub ended_ms: Option<i64>,
    /// The end of its output, or the reason of its failure, for people; a few hundred characters.
    #[serde(default)]
    pub detail: String,
    /// Its files in the node without their extensions (`/tmp/program-load`); empty before it has begun.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub files: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScheduledMove::{Begin, End, Rest, Signal};
    use ScheduledStand::{Ending, Idle, Running};

    fn program(starts: u32, stops: u32, runs: bool) -> ScheduledProgram {
        ScheduledProgram { name: "load".into(), starts, stops, runs, ..ScheduledProgram::default() }
    }

    #[test]
    fn counters_become_moves_once() {
        let mut done = ScheduledDone::default();
        assert_eq!(program(0, 0, false).next(&mut done, Idle), Rest);
        assert_eq!(program(1, 0, true).next(&mut done, Idle), Begin);
        assert_eq!(program(1, 0, true).next(&mut done, Running), Rest);
        // It has ended by itself, or with its node.
        assert_eq!(program(1, 0, true).next(&mut done, Idle), Rest);
        assert_eq!(program(2, 0, true).next(&mut done, Idle), Begin);
        assert_eq!(program(2, 1, false).next(&mut done, Running), End);
        assert_eq!(program(2, 1, false).next(&mut done, Ending), Rest);
        assert_eq!(program(2, 1, false).next(&mut done, Idle), Rest);
    }

    #[test]
    fn what_was_missed_is_made_up_for() {
        let mut done = ScheduledDone::default();
        assert_eq!(program(1, 1, false).next(&mut done, Idle), Rest, "its stop has come as well");
        assert_eq!(program(3, 2, true).next(&mut done, Idle), Begin, "once");
        // Stopped and started again before anybody looked.
        assert_eq!(program(4, 3, true).next(&mut done, Running), End);
        assert_eq!(program(4, 3, true).next(&mut done, Ending), Rest);
        assert_eq!(program(4, 3, true).next(&mut done, Idle), Begin);
    }

    #[test]
    fn a_start_while_it_runs_is_none() {
        let mut done = ScheduledDone { starts: 1, ..ScheduledDone::default() };
        assert_eq!(program(2, 0, true).next(&mut done, Running), Rest);
        assert_eq!(program(2, 0, true).next(&mut done, Idle), Rest);
    }

    #[test]
    fn signals_come_once_each() {
        let with = |starts, names: &[&str]| ScheduledProgram {
            signals: u32::try_from(names.len()).unwrap(),
            newest_signals: names.iter().map(|name| (*name).to_owned()).collect(),
            ..program(starts, 0, true)
        };
        let mut done = ScheduledDone::default();
        assert_eq!(with(1, &["USR1"]).next(&mut done, Idle), Begin);
        assert_eq!(with(1, &["USR1"]).next(&mut done, Running), Signal(&["USR1".into()]));
        assert_eq!(with(1, &["USR1"]).next(&mut done, Running), Rest);
        let more = with(1, &["USR1", "USR2", "HUP"]);
        assert_eq!(more.next(&mut done, Running), Signal(&["USR2".into(), "HUP".into()]));
        // A start that is none begins the count anew.
        assert_eq!(with(2, &["INT"]).next(&mut done, Running), Signal(&["INT".into()]));
        // Of very many only the newest are told.
        let many = ScheduledProgram { signals: 100, ..with(2, &["INT", "INT"]) };
        assert!(matches!(many.next(&mut done, Running), Signal(two) if two.len() == 2));
        assert_eq!(with(2, &["INT"]).next(&mut done, Idle), Rest);
    }
}
