//! What a node's users should know though it does not keep the node from going on. Pure.

use testyard_guest_protocol::ProgramState;
use testyard_model::sliver_type::Limits;

use crate::desired;
use crate::guest::Heard;
use crate::ledger::Ended;
use crate::node::disk::{self, Room};
use crate::node::programs;
use crate::observed::ProgramReport;

/// What [`notices`] looks at.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// How the node last ended by itself, if it did since it was last told to boot.
    pub(crate) ended: Option<&'a Ended>,
    /// Processes of the present run that were ended for want of memory.
    pub(crate) killed: u64,
    /// The present run has been refused a process or thread.
    pub(crate) crowded: bool,
    /// Bytes that it keeps on disk, if they were counted.
    pub(crate) disk: Option<u64>,
    /// What the guest has said in this boot.
    pub(crate) heard: &'a Heard,
    /// How its programs stand.
    pub(crate) programs: &'a [ProgramReport],
    /// The guest is of a version that runs no programs of schedules.
    pub(crate) old_guest: bool,
}

/// One text each, with what to do.
pub(crate) fn notices(desired: &desired::Node, known: &Known<'_>) -> Vec<String> {
    let ended = known.ended.map(|ended| {
        let (at, how) = (ended.at.strftime("%Y-%m-%d %H:%M:%S UTC"), &ended.how);
        format!("the node stopped by itself at {at} ({how}) and was started again")
    });
    let killed = (known.killed > 0).then(|| {
        let who = match known.killed {
            1 => "a process of the node was".to_owned(),
            count => format!("{count} processes of the node were"),
        };
        format!("{who} killed since it was booted, because memory ran out: {}", more_memory(desired.limits))
    });
    let disk = known.disk.and_then(|used| match disk::room(desired.limits.disk, used) {
        Room::Enough => None,
        Room::Little | Room::Over | Room::FarOver => Some(disk::notice(desired.limits.disk?, used)),
    });
    let crowded = known.crowded.then_some(desired.limits.pids).flatten().map(|limit| {
        format!(
            "the node has had as many processes and threads as it may ({limit}) since it was booted, so that some could \
             not be started: end some, or ask for a sliver type with more (`pids`)"
        )
    });
    let report = known.heard.report.as_ref();
    let program = report.and_then(|report| program(report.program, report.program_note.as_deref()));
    let guest = report.and_then(|report| report.notice.clone());
    let old_guest = known.old_guest.then(|| {
        "the node's guest is of an older version, which runs no programs of schedules; geni_restart replaces it"
            .to_owned()
    });
    let one_by_one = [ended, killed, crowded, disk, program, guest, old_guest].into_iter().flatten();
    one_by_one.chain(programs::notices(desired, known.programs)).collect()
}

/// What to do where a node has had too little memory.
pub(crate) fn more_memory(limits: Limits) -> String {
    match limits.memory {
        Some(bytes) => {
            format!("ask for a sliver type with more memory (it has {}), or run less", size(bytes))
        }
        None => "its host has too little for all nodes; run less, or tell the testbed's operators".to_owned(),
    }
}

/// What became of the image's program, if not what was meant. `note` is what the guest knows about it.
fn program(state: ProgramState, note: Option<&str>) -> Option<String> {
    let how = match state {
        ProgramState::None | ProgramState::Running | ProgramState::Exited(0) => return None,
        ProgramState::Exited(status) => format!("has ended with exit status {status}"),
        ProgramState::Signalled(signal) => format!("was ended by {}", signal_name(signal)),
        ProgramState::NotStarted(_) => "could not be started".to_owned(),
    };
    let rest = match (state, note) {
        // What ended it or kept it from starting would do so again.
        (_, Some(note)) => format!(": {note}; the node stays up"),
        (ProgramState::NotStarted(error), None) => {
            format!(" ({}); the node stays up", std::io::Error::from_raw_os_error(error))
        }
        (_, None) => "; the node stays up, geni_restart runs it again".to_owned(),
    };
    Some(format!("the image's program {how}{rest}"))
}

/// A signal for people.
pub(crate) fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal}, {name}")
}

/// Bytes for people: `100 MiB`, `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| (bytes.saturating_mul(10) + unit / 2) / unit;
    let (tenths, unit) = match bytes {
        0..0x10_0000 => (tenths(1 << 10), "KiB"),
        0x10_0000..0x4000_0000 => (tenths(1 << 20), "MiB"),
        _ => (tenths(1 << 30), "GiB"),
    };
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        tenth => format!("{}.{tenth} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::desired_node;
    use testyard_guest_protocol::{Report, Stage};

    fn known(heard: &Heard) -> Known<'_> {
        Known { ended: None, killed: 0, crowded: false, disk: None, heard, programs: &[], old_guest: false }
    }

    fn heard(program: ProgramState) -> Heard {
        let report = Report {
            revision: 1,
            stage: Stage::Ready,
            failure: None,
            ssh: true,
            ssh_server: None,
            notice: None,
            program,
            program_note: None,
            services: Vec::new(),
            scheduled: Vec::new(),
        };
        Heard { spoken: true, report: Some(report), ..Heard::default() }
    }

    #[test]
    fn nothing_to_say_of_a_healthy_node() {
        for program in [ProgramState::None, ProgramState::Running, ProgramState::Exited(0)] {
            let heard = heard(program);
            let known = Known { disk: Some(1 << 40), ..known(&heard) };
            assert_eq!(notices(&desired_node(), &known), Vec::<String>::new());
        }
    }

    #[test]
    fn each_with_what_to_do() {
        let mut desired = desired_node();
        desired.limits =
            Limits { memory: Some(100 << 20), disk: Some(10 << 30), pids: Some(64), ..Limits::default() };
        let ended = Ended { at: jiff::Timestamp::UNIX_EPOCH, how: "it ran out of memory".into() };
        let mut heard = heard(ProgramState::Signalled(11));
        heard.report.as_mut().unwrap().notice = Some("no shell".into());
        let known = Known {
            ended: Some(&ended),
            killed: 2,
            crowded: true,
            disk: Some(9 << 30),
            old_guest: true,
            ..known(&heard)
        };
        let all = notices(&desired, &known);
        let has = |index: usize, text: &str| assert!(all[index].contains(text), "{all:#?}");
        has(0, "stopped by itself at 1970-01-01 00:00:00 UTC (it ran out of memory)");
        has(1, "2 processes");
        has(1, "more memory (it has 100 MiB)");
        has(2, "as many processes and threads as it may (64)");
        has(3, "9 GiB of 10 GiB");
        has(4, "signal 11, SIGSEGV");
        has(5, "no shell");
        has(6, "geni_restart");
    }

    #[test]
    fn a_program_that_cannot_start_says_why() {
        let heard_of = heard(ProgramState::NotStarted(2));
        assert!(notices(&desired_node(), &known(&heard_of))[0].contains("No such file"));
        for (state, how) in [
            (ProgramState::NotStarted(2), "could not be started"),
            (ProgramState::Exited(255), "has ended with exit status 255"),
        ] {
            let mut heard = heard(state);
            heard.report.as_mut().unwrap().program_note = Some("\"/run\" is not there; add it".to_owned());
            let told = format!("the image's program {how}: \"/run\" is not there; add it; the node stays up");
            assert_eq!(notices(&desired_node(), &known(&heard)), [told]);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, text) in
            [(512, "0.5 KiB"), (100 << 20, "100 MiB"), (3 << 29, "1.5 GiB"), (4 << 40, "4096 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
