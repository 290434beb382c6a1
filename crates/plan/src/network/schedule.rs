//! A schedule, tried out before it runs: what cannot be done when its time comes is refused now.

use std::collections::BTreeSet;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::name::ClientId;
use testyard_model::schedule::{Action, Event};
use testyard_model::suggest::closest;
use testyard_model::topology::Topology;

use crate::network::parts::NetworkPlan;

/// Goes through the events in the order of time, and tells of each that it is impossible. What comes after goes on from
/// what was possible.
pub(crate) fn check(topology: &Topology, network: &NetworkPlan) -> Vec<Diagnostic> {
    if topology.schedule.is_empty() {
        return Vec::new();
    }
    let names = Names {
        nodes: topology.nodes.iter().map(|node| &node.client_id).collect(),
        programs: topology
            .nodes
            .iter()
            .flat_map(|node| node.programs.iter().map(|program| &program.client_id))
            .collect(),
    };
    let mut events: Vec<&Event> = topology.schedule.iter().collect();
    events.sort_by_key(|event| event.at);
    let mut network = network.clone();
    let mut told = Vec::new();
    for event in events {
        if let Err(why) = names.check(&mut network, &event.action) {
            told.push(Diagnostic::new(Severity::Error, format!("schedule, at {}: {why}", event.at)));
        }
    }
    told
}

struct Names<'t> {
    nodes: BTreeSet<&'t ClientId>,
    programs: BTreeSet<&'t ClientId>,
}

impl Names<'_> {
    fn check(&self, network: &mut NetworkPlan, action: &Action) -> Result<(), String> {
        let unsaid = |error: crate::network::live::LiveError| error.to_string();
        match action {
            Action::LinkUp(link) => network.set_down(link, false).map_err(unsaid),
            Action::LinkDown(link) => network.set_down(link, true).map_err(unsaid),
            Action::LinkSet { link, from, settings } => {
                network.set(link, from.as_ref(), settings).map_err(unsaid)
            }
            Action::ProgramStart { program, .. }
            | Action::ProgramStop(program)
            | Action::ProgramSignal { program, .. } => known("program", program, &self.programs),
            Action::NodeRestart(node) | Action::NodeReload(node) => known("node", node, &self.nodes),
        }
    }
}

fn known(what: &str, name: &ClientId, names: &BTreeSet<&ClientId>) -> Result<(), String> {
    if names.contains(name) {
        return Ok(());
    }
    let meant = closest(name.as_str(), names.iter().map(|known| known.as_str()));
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    Err(format!("there is no {what} {name:?}{meant}", name = name.as_str()))
}
