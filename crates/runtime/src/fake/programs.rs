//! Programs of a fake node that events start and stop: the counters of the protocol, with ends as the script says.

use std::collections::BTreeMap;

use testyard_guest_protocol::{
    Desired, ScheduledDone, ScheduledMove, ScheduledProgram, ScheduledReport, ScheduledStand, ServiceState,
};
use tokio::time::Instant;

use super::script::{GuestScript, Outcome};

/// What a disk knows of them.
#[derive(Default)]
pub(super) struct Programs {
    run: Option<u32>,
    known: BTreeMap<String, Known>,
}

#[derive(Default)]
struct Known {
    done: ScheduledDone,
    begun: Option<Begun>,
}

/// The newest start.
struct Begun {
    start: u32,
    state: ServiceState,
    stopped: bool,
    detail: String,
    /// How it will end by itself, and when.
    end: Option<(Instant, ServiceState, String)>,
}

impl Programs {
    /// Makes the programs so, and ends those whose time has come.
    pub(super) fn turn(&mut self, desired: &Desired, script: &GuestScript) {
        if self.run != desired.run {
            self.run = desired.run;
            self.known.clear();
        }
        self.known.retain(|name, _| desired.scheduled.iter().any(|program| program.name == *name));
        let now = Instant::now();
        for program in &desired.scheduled {
            let known = self.known.entry(program.name.clone()).or_default();
            known.end_by_itself(now);
            while known.turn(program, script, now) {}
        }
    }

    /// When the next one ends by itself.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let begun = self.known.values().filter_map(|known| known.begun.as_ref());
        begun
            .filter(|begun| begun.state == ServiceState::Running)
            .filter_map(|begun| Some(begun.end.as_ref()?.0))
            .min()
    }

    /// The node has ended.
    pub(super) fn interrupt(&mut self) {
        let begun = self.known.values_mut().filter_map(|known| known.begun.as_mut());
        begun
            .filter(|begun| begun.state == ServiceState::Running)
            .for_each(|begun| begun.state = ServiceState::Interrupted);
    }

    pub(super) fn reports(&self, desired: &Desired) -> Vec<ScheduledReport> {
        let report = |program: &ScheduledProgram| {
            let begun = self.known.get(&program.name).and_then(|known| known.begun.as_ref());
            ScheduledReport {
                name: program.name.clone(),
                run: desired.run,
                start: begun.map_or(0, |begun| begun.start),
                state: begun.map_or(ServiceState::Waiting, |begun| begun.state),
                stopped: begun.is_some_and(|begun| begun.stopped),
                began_ms: None,
                ended_ms: None,
                detail: begun.map(|begun| begun.detail.clone()).unwrap_or_default(),
                files: String::new(),
            }
        };
        desired.scheduled.iter().map(report).collect()
    }
}

impl Known {
    /// Makes one move; whether there may be another.
    fn turn(&mut self, program: &ScheduledProgram, script: &GuestScript, now: Instant) -> bool {
        let running = self.begun.as_ref().is_some_and(|begun| begun.state == ServiceState::Running);
        let stand = if running { ScheduledStand::Running } else { ScheduledStand::Idle };
        match program.next(&mut self.done, stand) {
            ScheduledMove::Begin => {
                let end = match script.outcome(&program.command) {
                    Outcome::Exits { status, after } => {
                        Some((after, ServiceState::Exited(status), String::new()))
                    }
                    Outcome::Signalled { signal, after } => {
                        Some((after, ServiceState::Signalled(signal), String::new()))
                    }
                    Outcome::Fails { detail, after } => Some((after, ServiceState::Failed, detail)),
                    Outcome::Hangs => None,
                };
                self.begun = Some(Begun {
                    start: program.starts,
                    state: ServiceState::Running,
                    stopped: false,
                    detail: String::new(),
                    end: end.map(|(after, state, detail)| (now + after, state, detail)),
                });
                true
            }
            ScheduledMove::End => {
                if let Some(begun) = &mut self.begun {
                    (begun.state, begun.stopped) = (ServiceState::Signalled(15), true);
                }
                true
            }
            ScheduledMove::Signal(signals) => {
                if let Some(begun) = &mut self.begun {
                    // It shows what it has heard.
                    begun.detail = signals.join(" ");
                }
                false
            }
            ScheduledMove::Rest => false,
        }
    }

    fn end_by_itself(&mut self, now: Instant) {
        if let Some(begun) = self.begun.as_mut().filter(|begun| begun.state == ServiceState::Running)
            && let Some((_, state, detail)) = begun.end.take_if(|(at, ..)| *at <= now)
        {
            (begun.state, begun.detail) = (state, detail);
        }
    }
}
