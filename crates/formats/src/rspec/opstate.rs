//! The operational states that the advertisement tells clients about, and what leads from one to the next
//! (am-api.md §4.3; the machine itself is drawn in `testyard_model::state`).

use testyard_model::name::SliverTypeName;
use testyard_model::state::{Action, Operational};
use testyard_model::urn::Urn;

use super::markup::Element;
use super::namespace::OPSTATE;

/// A state: what a caller may do in it, and where it leads by itself when what is going on succeeds. What goes on may
/// always fail.
struct Row {
    state: Operational,
    description: &'static str,
    actions: &'static [(Action, Operational)],
    success: Option<Operational>,
}

/// Provision leads here.
const START: Operational = Operational::Configuring;

use Operational as S;

const MACHINE: &[Row] = &[
    Row {
        state: S::NotReady,
        description: "stopped; the disk is kept",
        actions: &[
            (Action::Start, S::Configuring),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::NotReady),
        ],
        success: None,
    },
    Row {
        state: S::Configuring,
        description: "booting",
        actions: &[
            (Action::Start, S::Configuring),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
        ],
        success: Some(S::ReadyBusy),
    },
    Row {
        state: S::Stopping,
        description: "shutting down",
        actions: &[
            (Action::Start, S::Configuring),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
        ],
        success: Some(S::NotReady),
    },
    Row {
        state: S::ReadyBusy,
        description: "SSH answers; installs are running",
        actions: &[
            (Action::Start, S::ReadyBusy),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
        ],
        success: Some(S::Ready),
    },
    Row {
        state: S::Ready,
        description: "SSH answers with the users' keys, installs are done, executes are started",
        actions: &[
            (Action::Start, S::Ready),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
            (Action::UpdateUsers, S::UpdatingUsers),
        ],
        success: None,
    },
    Row {
        state: S::UpdatingUsers,
        description: "ready, with new accounts and keys on their way",
        actions: &[
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
            (Action::CancelUpdateUsers, S::Ready),
        ],
        success: Some(S::Ready),
    },
    Row {
        state: S::Failed,
        description: "it will not get ready by itself; geni_error says why",
        actions: &[
            (Action::Start, S::Configuring),
            (Action::Restart, S::Configuring),
            (Action::Reload, S::Configuring),
            (Action::Stop, S::Stopping),
        ],
        success: None,
    },
];

/// The markup.
pub(super) fn opstate(component_manager: &Urn, sliver_types: &[&SliverTypeName]) -> String {
    let new = |name| Element::new("", name, "");
    let mut content = String::from("\n");
    for name in sliver_types {
        content.push_str(&format!("    {}\n", new("sliver_type").attribute("name", name).empty()));
    }
    for row in MACHINE {
        let mut inside = format!("\n      {}\n", new("description").with(row.description));
        for (action, next) in row.actions {
            let action = new("action").attribute("name", action).attribute("next", next).empty();
            inside.push_str(&format!("      {action}\n"));
        }
        if let Some(next) = row.success {
            for (kind, next) in [("geni_success", next), ("geni_failure", S::Failed)] {
                let wait = new("wait").attribute("type", kind).attribute("next", next).empty();
                inside.push_str(&format!("      {wait}\n"));
            }
        }
        inside.push_str("    ");
        content.push_str(&format!("    {}\n", new("state").attribute("name", row.state).with(&inside)));
    }
    content.push_str("  ");
    Element::new("", "rspec_opstate", &format!(" xmlns=\"{OPSTATE}\""))
        .attribute("aggregate_manager_id", component_manager)
        .attribute("start", START)
        .with(&content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that the advertisement mentions and does not define would lead a client nowhere.
    #[test]
    fn every_state_but_the_one_before_provisioning_is_defined_once() {
        for state in Operational::ALL.iter().filter(|state| **state != S::PendingAllocation) {
            assert_eq!(MACHINE.iter().filter(|row| row.state == *state).count(), 1, "{state}");
        }
        for action in Action::ALL {
            assert!(
                MACHINE.iter().any(|row| row.actions.iter().any(|(known, _)| known == action)),
                "{action}"
            );
        }
    }
}
