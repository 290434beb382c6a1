//! How a node stands, in the words of the controller. Pure.

use testyard_guest_protocol::{self as guest, ProgramState, Stage};
use testyard_runtime::PowerSeen;

use crate::desired;
use crate::guest::Heard;
use crate::node::decide::{Attempt, Facts};
use crate::observed::Phase;

/// What [`stand`] looks at beside the facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doing {
    /// The step that is being carried out, if one is.
    pub(crate) step: Option<Phase>,
    /// What went wrong the last time and is being tried again.
    pub(crate) trouble: Option<String>,
    /// What the guest has said in this boot.
    pub(crate) heard: Heard,
    /// The guest has been silent for too long.
    pub(crate) silent: bool,
}

/// How far the node has come, and what is wrong with it.
pub(crate) fn stand(desired: &desired::Node, facts: &Facts, doing: &Doing) -> (Phase, Option<String>) {
    if let Some((attempt, reason)) = &facts.given_up
        && *attempt == Attempt::of(desired)
        && desired.power == desired::Power::On
    {
        return (Phase::Failed, Some(reason.clone()));
    }
    if let Some(step) = doing.step {
        return (step, doing.trouble.clone());
    }
    let Some(PowerSeen::Running(running)) = facts.disks.get(&desired.disk) else {
        let phase = match desired.power {
            desired::Power::Off => Phase::Stopped,
            desired::Power::On => Phase::Waiting,
        };
        return (phase, doing.trouble.clone());
    };
    if desired.power == desired::Power::Off {
        return (Phase::Stopping, doing.trouble.clone());
    }
    if let Some(protocol) = doing.heard.foreign_protocol {
        let text =
            format!("the node's guest speaks version {protocol} of its protocol; geni_restart replaces it");
        return (Phase::Failed, Some(text));
    }
    let Some(report) = &doing.heard.report else {
        if doing.silent {
            let text = "the guest inside the node does not answer; geni_restart boots the node again";
            return (Phase::Failed, Some(text.to_owned()));
        }
        return (Phase::Configuring, doing.trouble.clone());
    };
    if let Some(failure) = &report.failure {
        return (Phase::Failed, Some(failure.clone()));
    }
    let connected = report.ssh && facts.attached == Some(running.since);
    let phase = match report.stage {
        Stage::Ready if connected => Phase::Ready,
        Stage::Installing if connected => Phase::Installing,
        _ => Phase::Configuring,
    };
    (phase, doing.trouble.clone())
}

/// Whether a node for which no step is left is all that is asked of it: its guest has done what it was told last.
pub(crate) fn has_all(
    desired: &desired::Node,
    phase: Phase,
    told: Option<&guest::Desired>,
    report: Option<&guest::Report>,
) -> bool {
    match (desired.power, phase) {
        (desired::Power::Off, _) => phase == Phase::Stopped,
        (desired::Power::On, Phase::Ready | Phase::Installing) => {
            told.is_some() && told.map(|told| told.revision) == report.map(|report| report.revision)
        }
        (desired::Power::On, _) => false,
    }
}

/// The state of the image's program, none before the guest has said it.
pub(crate) fn program(heard: &Heard) -> ProgramState {
    heard.report.as_ref().map_or(ProgramState::None, |report| report.program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::desired_node;
    use jiff::Timestamp;
    use testyard_guest_protocol::Report;
    use testyard_runtime::Running;

    fn report(stage: Stage, ssh: bool) -> Heard {
        let report = Report {
            revision: 1,
            stage,
            failure: None,
            ssh,
            ssh_server: None,
            notice: None,
            program: ProgramState::Running,
            program_note: None,
            services: Vec::new(),
            scheduled: Vec::new(),
        };
        Heard { spoken: true, foreign_protocol: None, report: Some(report) }
    }

    #[test]
    fn ready_needs_ssh_and_the_network() {
        let desired = desired_node();
        let since = Timestamp::UNIX_EPOCH;
        let mut facts = Facts::default();
        facts.disks.insert(0, PowerSeen::Running(Running { netns: "/x".into(), since }));
        let mut doing = Doing { heard: report(Stage::Ready, true), ..Doing::default() };
        assert_eq!(stand(&desired, &facts, &doing).0, Phase::Configuring);
        facts.attached = Some(since);
        assert_eq!(stand(&desired, &facts, &doing).0, Phase::Ready);
        doing.heard = report(Stage::Ready, false);
        assert_eq!(stand(&desired, &facts, &doing).0, Phase::Configuring);
        doing.heard = report(Stage::Installing, true);
        assert_eq!(stand(&desired, &facts, &doing).0, Phase::Installing);
        doing.heard.report.as_mut().unwrap().failure = Some("install failed".into());
        assert_eq!(stand(&desired, &facts, &doing), (Phase::Failed, Some("install failed".into())));
    }

    #[test]
    fn what_was_given_up_is_failed_until_something_new_is_asked_for() {
        let mut desired = desired_node();
        let facts = Facts { given_up: Some((Attempt::of(&desired), "no image".into())), ..Facts::default() };
        assert_eq!(stand(&desired, &facts, &Doing::default()), (Phase::Failed, Some("no image".into())));
        desired.boot += 1;
        assert_eq!(stand(&desired, &facts, &Doing::default()).0, Phase::Waiting);
    }
}
