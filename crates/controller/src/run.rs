//! Runs of a slice's schedule: when its clock began, and what happens to what is on a host.
//!
//! ```text
//! no run ── all nodes are ready ──► run 1 ── replay ──► run 2 ── …
//! ```
//!
//! What a run does is its hosts' affair (docs/reference/schedule.md): here is only its number and its zero.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use testyard_agent::desired::{HostAction, HostEvent, LinkChange, NodeChange, ProgramChange, Run};
use testyard_fabric::links::PortId;
use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_model::quantity::Span;
use testyard_model::schedule::{Action, Event};
use testyard_model::state::Operational;
use testyard_plan::NetworkPlan;
use testyard_store::SliverState;

use crate::api::LinkAction;
use crate::network::Live;
use crate::slice::Slice;
use crate::state::State;

/// The number of events that are in no schedule.
const LIVE: u32 = u32::MAX;

/// Which run it is, and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunBegun {
    /// Counts replays.
    pub(crate) number: u32,
    /// When its clock began.
    pub(crate) zero: Timestamp,
}

impl RunBegun {
    /// How long after its zero a change was made; nothing if that was before.
    pub(crate) fn since(self, change: &Live) -> Option<Span> {
        let elapsed = change.made?.duration_since(self.zero);
        let elapsed = std::time::Duration::try_from(elapsed).ok()?;
        Some(Span::from_nanos(u64::try_from(elapsed.as_nanos()).ok()?))
    }

    /// How many events of its schedule are due.
    pub(crate) fn due(self, schedule: &[Event], now: Timestamp) -> usize {
        let elapsed = now.duration_since(self.zero);
        schedule.iter().filter(|event| is_over(event.at, elapsed)).count()
    }

    /// What of it is on the host that has these nodes, with what was changed since it began, and how long after that.
    /// `link` gives a link's sliver.
    pub(crate) fn on_host<'a>(
        self,
        schedule: &[Event],
        live: impl Iterator<Item = (Span, &'a Live)>,
        plan: &NetworkPlan,
        nodes: &HashMap<&ClientId, SliverId>,
        link: impl Fn(&ClientId) -> Option<SliverId>,
    ) -> Run {
        let here = Here { plan, nodes, link };
        let event = |(number, event): (u32, &Event)| {
            Some(HostEvent { event: number, at: event.at, action: here.action(&event.action)? })
        };
        let mut events: Vec<HostEvent> = (0..).zip(schedule).filter_map(event).collect();
        for (at, change) in live {
            // They are nobody's in the schedule, and told by no number of it.
            let event = |action| HostEvent { event: LIVE, at, action };
            events.extend(here.live(change).into_iter().map(event));
        }
        Run { number: self.number, zero: self.zero, events }
    }
}

/// What of a topology is on a host.
struct Here<'a, L> {
    plan: &'a NetworkPlan,
    nodes: &'a HashMap<&'a ClientId, SliverId>,
    link: L,
}

impl<L: Fn(&ClientId) -> Option<SliverId>> Here<'_, L> {
    fn action(&self, action: &Action) -> Option<HostAction> {
        let link = |link: &ClientId, change| Some(HostAction::Link { link: self.link_here(link)?, change });
        let node = |node: &ClientId, change| Some(HostAction::Node { node: *self.nodes.get(node)?, change });
        match action {
            Action::LinkUp(name) => link(name, LinkChange::Up),
            Action::LinkDown(name) => link(name, LinkChange::Down),
            Action::LinkSet { link: name, from, settings } => {
                let from = match from {
                    None => None,
                    // A direction whose sender is on another host is that host's affair.
                    Some(from) => Some(self.port(name, from)?),
                };
                link(name, LinkChange::Set { from, settings: settings.clone() })
            }
            Action::ProgramStart { program, command } => {
                self.program(program, ProgramChange::Start { command: command.clone() })
            }
            Action::ProgramStop(program) => self.program(program, ProgramChange::Stop),
            Action::ProgramSignal { program, signal } => {
                self.program(program, ProgramChange::Signal(signal.clone()))
            }
            Action::NodeRestart(name) => node(name, NodeChange::Restart),
            Action::NodeReload(name) => node(name, NodeChange::Reload),
        }
    }

    /// What a change that was made while the run runs does here.
    fn live(&self, change: &Live) -> Vec<HostAction> {
        let link =
            |change_to| self.link_here(&change.link).map(|link| HostAction::Link { link, change: change_to });
        match &change.what {
            LinkAction::Up => link(LinkChange::Up).into_iter().collect(),
            LinkAction::Down => link(LinkChange::Down).into_iter().collect(),
            LinkAction::Reset => Vec::new(),
            LinkAction::Set(settings) => {
                let set = |from| link(LinkChange::Set { from, settings: settings.clone() });
                match &change.from {
                    None => set(None).into_iter().collect(),
                    Some(from) => self.ports(&change.link, from).filter_map(|port| set(Some(port))).collect(),
                }
            }
        }
    }

    /// Members of a link that are here, by the name of interface or node.
    fn ports(&self, link: &ClientId, from: &ClientId) -> impl Iterator<Item = PortId> {
        let members = self.plan.link(link).ok().into_iter().flat_map(|link| &link.members);
        members.filter(move |member| member.interface == *from || member.node == *from).filter_map(|member| {
            Some(PortId { node: *self.nodes.get(&member.node)?, device: member.device.to_string() })
        })
    }

    /// A link that has an end here.
    fn link_here(&self, link: &ClientId) -> Option<SliverId> {
        let planned = self.plan.link(link).ok()?;
        let here = planned.members.iter().any(|member| self.nodes.contains_key(&member.node));
        if here { (self.link)(link) } else { None }
    }

    fn port(&self, link: &ClientId, interface: &ClientId) -> Option<PortId> {
        let planned = self.plan.link(link).ok()?;
        let member = planned.members.iter().find(|member| member.interface == *interface)?;
        Some(PortId { node: *self.nodes.get(&member.node)?, device: member.device.to_string() })
    }

    fn program(&self, program: &ClientId, change: ProgramChange) -> Option<HostAction> {
        let mut nodes = self.plan.nodes().iter();
        let node = nodes.find(|node| node.programs.iter().any(|known| known.client_id == *program))?;
        let node = *self.nodes.get(&node.client_id)?;
        Some(HostAction::Program { node, program: program.clone(), change })
    }
}

/// Whether all nodes of a request are ready.
pub(crate) fn is_ready(state: &State, slice: &Slice, document: i64, now: Timestamp) -> bool {
    let mut nodes = slice.living(now).filter(|sliver| sliver.document == document).peekable();
    nodes.peek().is_some()
        && nodes.all(|sliver| {
            let operational = || state.operational(sliver).0;
            // Who said that the rest goes on without it waits for it no longer.
            let is_let_go = || operational() == Operational::Failed && !sliver.body.on_failure.is_fatal();
            sliver.state == SliverState::Provisioned && (operational() == Operational::Ready || is_let_go())
        })
}

/// Requests of a slice whose schedule waits for its nodes, which are all ready now.
pub(crate) fn due(state: &State, slice: &Slice, now: Timestamp) -> Vec<i64> {
    let waiting = slice.networks.iter().filter(|(_, network)| network.waits_to_run());
    waiting.map(|(document, _)| *document).filter(|document| is_ready(state, slice, *document, now)).collect()
}

/// Begins the schedules of these requests, or begins them anew.
pub(crate) fn begin(slice: &mut Slice, documents: &[i64], now: Timestamp) {
    for document in documents {
        end(slice, *document, now);
        if let Some(network) = slice.networks.get_mut(document) {
            *network = Arc::new(network.begun(now));
        }
    }
}

/// Whether what is to be so long after a zero is due by now.
pub(crate) fn is_over(at: Span, elapsed: SignedDuration) -> bool {
    SignedDuration::try_from(at.duration()).is_ok_and(|at| at <= elapsed)
}

/// Ends a run: restarts and reloads that it has carried out are its nodes' own from now on. Otherwise their counters would
/// fall, and later restarts be taken for those that have been.
pub(crate) fn end(slice: &mut Slice, document: i64, now: Timestamp) {
    let Some(network) = slice.networks.get(&document) else { return };
    let (schedule, Some(run)) = network.run() else { return };
    let elapsed = now.duration_since(run.zero);
    let mut restarted: HashMap<ClientId, (u32, u32)> = HashMap::new();
    for event in schedule.iter().filter(|event| is_over(event.at, elapsed)) {
        match &event.action {
            Action::NodeRestart(node) => restarted.entry(node.clone()).or_default().0 += 1,
            Action::NodeReload(node) => restarted.entry(node.clone()).or_default().1 += 1,
            _ => {}
        }
    }
    for sliver in &mut slice.slivers {
        let Some((boots, disks)) = restarted.get(&sliver.client_id).copied() else { continue };
        if sliver.document == document && !sliver.is_leaving() {
            let sliver = Arc::make_mut(sliver);
            sliver.body.node.boot += boots;
            sliver.body.node.disk += disks;
        }
    }
}
