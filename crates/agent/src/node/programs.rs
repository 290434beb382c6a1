//! How a node's programs stand, as the guest says and the user means it. Pure.

use jiff::Timestamp;
use testyard_guest_protocol::{Report, ScheduledReport, ServiceState};
use testyard_model::service::Program;

use crate::desired;
use crate::node::notice::signal_name;
use crate::observed::ProgramReport;
use crate::schedule::Plays;

/// The most programs that notices are about.
const MAX_NOTICES: usize = 10;

/// One report for each program of the node, whatever its guest says: only what is about this run, and about a start that
/// there was, is taken from it.
pub(crate) fn reports(node: &desired::Node, plays: &Plays, report: Option<&Report>) -> Vec<ProgramReport> {
    let said = report.map_or(&[][..], |report| report.scheduled.as_slice());
    let both = node.programs.iter().zip(&plays.programs);
    both.map(|(program, wanted)| {
        let said = said.iter().find(|said| {
            said.name == wanted.name && said.run == plays.run && (1..=wanted.starts).contains(&said.start)
        });
        match said {
            Some(said) => told(program, said),
            None => ProgramReport {
                program: program.client_id.clone(),
                start: 0,
                state: ServiceState::Waiting,
                unexpected: false,
                began: None,
                ended: None,
                detail: String::new(),
                files: String::new(),
            },
        }
    })
    .collect()
}

fn told(program: &Program, said: &ScheduledReport) -> ProgramReport {
    let expected = |status| program.expected_exit.is_none_or(|expected| expected == status);
    let unexpected = match said.state {
        ServiceState::Waiting | ServiceState::Running | ServiceState::Interrupted => false,
        ServiceState::Failed => true,
        ServiceState::Exited(status) => !said.stopped && !expected(status),
        // As a shell would have told it.
        ServiceState::Signalled(signal) => !said.stopped && !expected(signal.saturating_add(128)),
    };
    let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    ProgramReport {
        program: program.client_id.clone(),
        start: said.start,
        state: said.state,
        unexpected,
        began: time(said.began_ms),
        ended: time(said.ended_ms),
        detail: said.detail.clone(),
        files: said.files.clone(),
    }
}

/// What people should know of programs that did not end as they were to.
pub(crate) fn notices(node: &desired::Node, programs: &[ProgramReport]) -> Vec<String> {
    let unexpected = node.programs.iter().zip(programs).filter(|(_, seen)| seen.unexpected);
    let text = |(program, seen): (&Program, &ProgramReport)| {
        let name = &program.client_id;
        let how = match seen.state {
            ServiceState::Exited(status) => format!("has ended with exit status {status}"),
            ServiceState::Signalled(signal) => format!("was ended by {}", signal_name(signal)),
            _ => return format!("the program {name} could not be started: {}", seen.detail),
        };
        let expected = program.expected_exit.unwrap_or_default();
        let (start, files) = (seen.start, &seen.files);
        format!(
            "the program {name} (start {start}) {how}, {expected} was expected: see {files}.out and .err in the node"
        )
    };
    unexpected.map(text).take(MAX_NOTICES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::desired_node;
    use testyard_guest_protocol::{ProgramState, ScheduledProgram, Stage};

    fn node(expected_exit: Option<i32>) -> desired::Node {
        let program = Program {
            client_id: "load".parse().unwrap(),
            command: "run".into(),
            directory: None,
            timeout: None,
            expected_exit,
        };
        desired::Node { programs: vec![program], ..desired_node() }
    }

    fn plays() -> Plays {
        let program = ScheduledProgram { name: "load".into(), starts: 2, ..ScheduledProgram::default() };
        Plays { run: Some(3), programs: vec![program], ..Plays::default() }
    }

    fn said(state: ServiceState) -> ScheduledReport {
        ScheduledReport {
            name: "load".into(),
            run: Some(3),
            start: 2,
            state,
            stopped: false,
            began_ms: Some(1500),
            ended_ms: Some(i64::MAX),
            detail: "why".into(),
            files: "/tmp/program-load".into(),
        }
    }

    fn seen(node: &desired::Node, said: Vec<ScheduledReport>) -> ProgramReport {
        let report = Report {
            revision: 1,
            stage: Stage::Ready,
            failure: None,
            ssh: true,
            ssh_server: None,
            notice: None,
            program: ProgramState::None,
            program_note: None,
            services: Vec::new(),
            scheduled: said,
        };
        let mut all = reports(node, &plays(), Some(&report));
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn only_what_is_about_this_run_and_a_start_that_was_is_taken() {
        let node = node(None);
        let good = said(ServiceState::Exited(1));
        let told = seen(&node, vec![good.clone()]);
        assert_eq!((told.start, told.state, told.unexpected), (2, ServiceState::Exited(1), false));
        assert_eq!((told.began, told.ended), (Some(Timestamp::from_millisecond(1500).unwrap()), None));
        for lie in [
            ScheduledReport { run: Some(2), ..good.clone() },
            ScheduledReport { start: 3, ..good.clone() },
            ScheduledReport { start: 0, ..good.clone() },
            ScheduledReport { name: "other".into(), ..good },
        ] {
            assert_eq!(seen(&node, vec![lie]).state, ServiceState::Waiting);
        }
        assert_eq!(reports(&node, &plays(), None)[0].start, 0);
    }

    #[test]
    fn an_end_that_was_not_expected_is_told() {
        use ServiceState::{Exited, Failed, Running, Signalled};
        let node = node(Some(0));
        let stopped = |state| ScheduledReport { stopped: true, ..said(state) };
        for (said, text) in [
            (said(Running), None),
            (said(Exited(0)), None),
            (stopped(Signalled(15)), None),
            (stopped(Exited(1)), None),
            (
                said(Exited(4)),
                Some("has ended with exit status 4, 0 was expected: see /tmp/program-load.out"),
            ),
            (said(Signalled(11)), Some("was ended by signal 11, SIGSEGV, 0 was expected")),
            (said(Failed), Some("could not be started: why")),
        ] {
            let notices = notices(&node, &[seen(&node, vec![said.clone()])]);
            match text {
                None => assert_eq!(notices, Vec::<String>::new(), "{said:?}"),
                Some(text) => assert!(notices.len() == 1 && notices[0].contains(text), "{notices:?}"),
            }
        }
    }
}
