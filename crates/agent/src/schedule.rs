//! What a schedule has made of a slice's part on this host, so far. Pure: what holds follows from what is asked for and
//! how far the run has come, so an agent that was away works it out anew and needs no other recovery.
//!
//! ```text
//! desired::Slice ─► links, nodes ───────────────┐
//!       └─ Run ─► Timetable ─► the first `done` ─┴─► links now, what is added to a node: restarts, reloads, programs
//! clock ─► Progress ──────────────┘
//! ```

use std::collections::{BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_fabric::links::HostLink;
use testyard_guest_protocol::ScheduledProgram;
use testyard_model::id::SliverId;
use testyard_model::quantity::{Probability, Span};
use testyard_model::service::Program;
use testyard_model::setting::Setting;

use crate::desired::{HostAction, HostEvent, LinkChange, NodeChange, ProgramChange, Run};
use crate::observed::{Carried, ScheduleSeen};

/// An event that is carried out so many milliseconds after its time is told as late.
const LATE_MS: u64 = 1000;

/// The events of a run in the order of their times.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    zero: Timestamp,
    events: Vec<HostEvent>,
    /// By node: those of it and of its programs.
    of_nodes: HashMap<SliverId, Vec<usize>>,
}

/// How far a run has come. It never goes back, whatever the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) number: u32,
    pub(crate) zero: Timestamp,
    /// Everything up to here has been carried out.
    until: Option<Span>,
    late_ms_max: u64,
    late: u32,
}

/// What is new since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Some link is concerned.
    pub(crate) links: bool,
    /// Nodes that are concerned, themselves or by their programs.
    pub(crate) nodes: BTreeSet<SliverId>,
    /// The newest of the events.
    pub(crate) carried: Vec<Carried>,
}

/// What a schedule adds to a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plays {
    /// The run; none if there is none.
    pub(crate) run: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) reloads: u32,
    /// How each program of the node should be.
    pub(crate) programs: Vec<ScheduledProgram>,
}

// === impl Timetable ===

impl Timetable {
    pub(crate) fn new(run: &Run) -> Self {
        let mut events = run.events.clone();
        // Stable: those of one time stay in their order.
        events.sort_by_key(|event| event.at);
        let mut of_nodes: HashMap<SliverId, Vec<usize>> = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Some(node) = event.action.node() {
                of_nodes.entry(node).or_default().push(index);
            }
        }
        Self { zero: run.zero, events, of_nodes }
    }

    /// How many events are up to a time.
    fn up_to(&self, until: Option<Span>) -> usize {
        until.map_or(0, |until| self.events.partition_point(|event| event.at <= until))
    }

    /// When the next event is due; none if there is none any more.
    pub(crate) fn next(&self, progress: &Progress) -> Option<Timestamp> {
        let next = self.events.get(self.up_to(progress.until))?;
        Some(self.zero.saturating_add(next.at.duration()).unwrap_or(Timestamp::MAX))
    }

    /// The links as the events have left them.
    pub(crate) fn links(&self, links: &[HostLink], progress: &Progress) -> Vec<HostLink> {
        let mut links = links.to_vec();
        let at: HashMap<SliverId, usize> =
            links.iter().enumerate().map(|(index, link)| (link.sliver, index)).collect();
        for event in &self.events[..self.up_to(progress.until)] {
            if let HostAction::Link { link, change } = &event.action
                && let Some(index) = at.get(link)
            {
                apply(change, &mut links[*index]);
            }
        }
        links
    }

    /// What the events have added to a node with these programs.
    pub(crate) fn plays(&self, node: SliverId, programs: &[Program], progress: &Progress) -> Plays {
        let mut plays = Plays { run: Some(progress.number), programs: waiting(programs), ..Plays::default() };
        let done = self.up_to(progress.until);
        let events = self.of_nodes.get(&node).map_or(&[][..], Vec::as_slice);
        for event in events.iter().take_while(|index| **index < done).map(|index| &self.events[*index]) {
            match &event.action {
                HostAction::Link { .. } => {}
                HostAction::Node { change, .. } => {
                    match change {
                        NodeChange::Restart => plays.restarts += 1,
                        NodeChange::Reload => plays.reloads += 1,
                    }
                    plays.programs.iter_mut().filter(|program| program.runs).for_each(stop);
                }
                HostAction::Program { program, change, .. } => {
                    let both = plays.programs.iter_mut().zip(programs);
                    if let Some((now, own)) = both.into_iter().find(|(_, own)| own.client_id == *program) {
                        play(change, own, now);
                    }
                }
            }
        }
        plays
    }

    /// How far it has come, for the controller.
    pub(crate) fn seen(&self, progress: &Progress, recent: &VecDeque<Carried>) -> ScheduleSeen {
        let notice = (progress.late > 0).then(|| {
            let (late, seconds) = (progress.late, progress.late_ms_max.div_ceil(1000));
            let what = if late == 1 { "an event was".to_owned() } else { format!("{late} events were") };
            format!(
                "{what} carried out more than a second late, up to {seconds} s: the host was busy or its agent away; of \
                 what came due meanwhile only what still holds was carried out"
            )
        });
        ScheduleSeen {
            number: progress.number,
            done: self.up_to(progress.until),
            late_ms_max: progress.late_ms_max,
            late: progress.late,
            recent: recent.iter().copied().collect(),
            notice,
        }
    }
}

/// The programs of a node without a schedule.
pub(crate) fn waiting(programs: &[Program]) -> Vec<ScheduledProgram> {
    let program = |program: &Program| ScheduledProgram {
        name: program.client_id.to_string(),
        command: program.command.clone(),
        directory: program.directory.clone().unwrap_or_default(),
        max_seconds: program.timeout.map(|seconds| u64::from(seconds.get())),
        ..ScheduledProgram::default()
    };
    programs.iter().map(program).collect()
}

fn play(change: &ProgramChange, own: &Program, now: &mut ScheduledProgram) {
    match change {
        ProgramChange::Start { command } => {
            now.starts += 1;
            now.runs = true;
            now.command = command.as_ref().unwrap_or(&own.command).clone();
            now.signals = 0;
            now.newest_signals.clear();
        }
        ProgramChange::Stop => stop(now),
        // What was not to run had nothing that could be signalled.
        ProgramChange::Signal(_) if !now.runs => {}
        ProgramChange::Signal(signal) => {
            now.signals += 1;
            now.newest_signals.push(signal.clone());
            let surplus = now.newest_signals.len().saturating_sub(ScheduledProgram::MAX_SIGNALS);
            now.newest_signals.drain(..surplus);
        }
    }
}

fn stop(now: &mut ScheduledProgram) {
    now.stops += 1;
    now.runs = false;
    now.signals = 0;
    now.newest_signals.clear();
}

fn apply(change: &LinkChange, link: &mut HostLink) {
    let (from, settings) = match change {
        LinkChange::Up => return link.up = true,
        LinkChange::Down => return link.up = false,
        LinkChange::Set { from, settings } => (from, settings),
    };
    for end in link.ends.iter_mut().filter(|end| from.as_ref().is_none_or(|from| *from == end.port)) {
        let (mut to_link, mut from_link) = (end.to_link, end.from_link);
        for setting in settings {
            setting.apply(&mut to_link);
            if from.is_none() {
                cleared(*setting).apply(&mut from_link);
            }
        }
        // Front doors check each event alone; what cannot be together with another one leaves the link as it was.
        if to_link.check().is_ok() {
            (end.to_link, end.from_link) = (to_link, from_link);
        }
    }
}

/// The setting of the same kind that does nothing.
const fn cleared(setting: Setting) -> Setting {
    match setting {
        Setting::Rate(_) => Setting::Rate(None),
        Setting::Delay(_) => Setting::Delay(Span::ZERO),
        Setting::Jitter(_) => Setting::Jitter(None),
        Setting::Loss(_) => Setting::Loss(None),
        Setting::Duplicate(_) => Setting::Duplicate(Probability::NEVER),
        Setting::Reorder(_) => Setting::Reorder(Probability::NEVER),
        Setting::Corrupt(_) => Setting::Corrupt(Probability::NEVER),
        Setting::Queue(_) => Setting::Queue(None),
    }
}

// === impl Progress ===

impl Progress {
    /// A run at its beginning.
    pub(crate) const fn new(run: &Run) -> Self {
        Self { number: run.number, zero: run.zero, until: None, late_ms_max: 0, late: 0 }
    }

    /// Whether this is about that run.
    pub(crate) fn is_of(&self, run: &Run) -> bool {
        (self.number, self.zero) == (run.number, run.zero)
    }

    /// Goes on to what is due now.
    pub(crate) fn advance(&mut self, table: &Timetable, now: Timestamp) -> Passed {
        let mut passed = Passed::default();
        let elapsed = u64::try_from(now.duration_since(self.zero).as_nanos()).ok().map(Span::from_nanos);
        let Some(elapsed) = elapsed.max(self.until) else { return passed };
        let new = table.up_to(self.until)..table.up_to(Some(elapsed));
        if new.is_empty() {
            return passed;
        }
        self.until = Some(elapsed);
        let tell_from = new.end.saturating_sub(ScheduleSeen::RECENT);
        for index in new {
            let event = &table.events[index];
            let late = (elapsed.as_nanos() - event.at.as_nanos()) / 1_000_000;
            self.late_ms_max = self.late_ms_max.max(late);
            self.late += u32::from(late > LATE_MS);
            passed.links |= matches!(event.action, HostAction::Link { .. });
            passed.nodes.extend(event.action.node());
            if index >= tell_from {
                passed.carried.push(Carried { event: event.event, at: now });
            }
        }
        passed
    }
}

impl HostAction {
    /// The node that it is about, or whose program it is about.
    fn node(&self) -> Option<SliverId> {
        match self {
            Self::Link { .. } => None,
            Self::Program { node, .. } | Self::Node { node, .. } => Some(*node),
        }
    }
}

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
