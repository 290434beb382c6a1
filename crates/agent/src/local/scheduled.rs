//! A slice's schedule as it runs: what is asked for is kept, and given on as the events have left it.
//!
//! ```text
//! set ─► Scheduled::take_up ─► links, nodes as of now ─► keepers, tasks
//!            └─► clock: sleeps until the next event is due ─► turn ─► only what is new ─► keepers, tasks
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use testyard_fabric::links::SliceLinks;
use testyard_model::id::{SliceId, SliverId};
use tokio::task::JoinHandle;

use super::roster::{Shared, SliceEntry, lock};
use crate::desired;
use crate::node::task::{Context, Report};
use crate::observed::{Carried, ScheduleSeen};
use crate::schedule::{Plays, Progress, Timetable, waiting};

/// The longest sleep, so that a clock that is set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// What is asked for of a slice with a schedule, and how far that has come.
pub(super) struct Scheduled {
    slice: desired::Slice,
    table: Timetable,
    progress: Progress,
    recent: VecDeque<Carried>,
    /// Until all events have been carried out.
    clock: Option<Clock>,
}

/// Ends with whoever holds it.
struct Clock(JoinHandle<()>);

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Scheduled ===

impl Scheduled {
    /// Takes up what is asked for, at the point that its run has reached: as `before` knows it, or the ledger. None, if it
    /// has no schedule; then nothing is remembered of one either.
    pub(super) fn take_up(context: &Context, slice: &desired::Slice, before: Option<Self>) -> Option<Self> {
        let Some(run) = slice.schedule.as_ref().filter(|_| !slice.nodes.is_empty()) else {
            context.ledger.forget_run(slice.slice);
            return None;
        };
        let (progress, recent) = match before {
            Some(before) => (Some(before.progress), before.recent),
            None => (context.ledger.run(slice.slice), VecDeque::new()),
        };
        let known = progress.filter(|progress| progress.is_of(run));
        let recent = if known.is_some() { recent } else { VecDeque::new() };
        let progress = known.unwrap_or_else(|| Progress::new(run));
        let table = Timetable::new(run);
        // The table has the events.
        let slice = desired::Slice { schedule: None, ..slice.clone() };
        let mut scheduled = Self { slice, table, progress, recent, clock: None };
        scheduled.advance(context);
        Some(scheduled)
    }

    /// Goes on to what is due now; what is new.
    fn advance(&mut self, context: &Context) -> crate::schedule::Passed {
        let passed = self.progress.advance(&self.table, (context.now)());
        if !passed.carried.is_empty() {
            context.ledger.store_run(self.slice.slice, &self.progress);
            self.recent.extend(&passed.carried);
            let surplus = self.recent.len().saturating_sub(ScheduleSeen::RECENT);
            self.recent.drain(..surplus);
        }
        passed
    }

    /// How long until the next event; none if there is none any more.
    fn pause(&self, context: &Context) -> Option<Duration> {
        let next = self.table.next(&self.progress)?;
        Some(Duration::try_from(next.duration_since((context.now)())).unwrap_or_default())
    }

    pub(super) fn links(&self) -> SliceLinks {
        SliceLinks {
            slice: self.slice.slice,
            revision: self.slice.revision,
            links: self.table.links(&self.slice.links, &self.progress),
        }
    }

    pub(super) fn plays(&self, node: &desired::Node) -> Plays {
        self.table.plays(node.sliver, &node.programs, &self.progress)
    }

    pub(super) fn seen(&self) -> ScheduleSeen {
        self.table.seen(&self.progress, &self.recent)
    }

    fn node(&self, sliver: SliverId) -> Option<&desired::Node> {
        self.slice.nodes.iter().find(|node| node.sliver == sliver)
    }
}

/// What is added to a node by the schedule of its slice, if it has one.
pub(super) fn plays_of(scheduled: Option<&Scheduled>, node: &desired::Node) -> Plays {
    scheduled.map_or_else(
        || Plays { programs: waiting(&node.programs), ..Plays::default() },
        |scheduled| scheduled.plays(node),
    )
}

// === the clock ===

/// Starts the clock of a slice whose run has events left.
pub(super) fn start_clock(context: &Arc<Context>, state: &Shared, entry: &mut SliceEntry) {
    if let Some(scheduled) = &mut entry.scheduled
        && scheduled.table.next(&scheduled.progress).is_some()
    {
        let keep = keep(Arc::clone(context), Arc::clone(state), scheduled.slice.slice);
        scheduled.clock = Some(Clock(tokio::spawn(keep)));
    }
}

async fn keep(context: Arc<Context>, state: Shared, slice: SliceId) {
    loop {
        let pause = {
            let mut state = lock(&state);
            let Some(entry) = state.slices.get_mut(&slice) else { return };
            turn(&context, entry)
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause.min(LONGEST_SLEEP)).await,
            None => return,
        }
    }
}

/// Carries out what is due; how long until there is more to do.
fn turn(context: &Arc<Context>, entry: &mut SliceEntry) -> Option<Duration> {
    let scheduled = entry.scheduled.as_mut()?;
    let slice = scheduled.slice.slice;
    let passed = scheduled.advance(context);
    let pause = scheduled.pause(context);
    if passed.carried.is_empty() {
        return pause;
    }
    for sliver in passed.nodes {
        let Some(node) = scheduled.node(sliver) else { continue };
        let plays = scheduled.plays(node);
        if let Some((_, there)) = entry.nodes.iter().find(|(id, _)| *id == sliver) {
            there
                .wanted
                .send_if_modified(|wanted| wanted.as_mut().is_some_and(|wanted| wanted.play(node, plays)));
        }
    }
    if passed.links {
        let links = scheduled.links();
        entry.set_links(context, links);
    }
    let _ = context.reports.send(Report::Slice(slice));
    pause
}
