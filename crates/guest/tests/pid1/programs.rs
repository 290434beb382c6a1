//! Programs that events start and stop.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use testyard_guest_protocol::{
    Desired, Install, Report, ScheduledProgram, ScheduledReport, ServiceState, ToGuest,
};

use super::node::{Disk, Key, Node};
use super::{desired, serve, shell, wait_for};

fn program(name: &str, command: &str) -> ScheduledProgram {
    ScheduledProgram {
        name: name.into(),
        command: command.into(),
        starts: 1,
        runs: true,
        ..ScheduledProgram::default()
    }
}

fn wanted(scheduled: Vec<ScheduledProgram>) -> Desired {
    let environment = vec!["A=b c".into(), "USER=ann".into()];
    Desired { go: true, run: Some(1), environment, scheduled, ..desired(1, vec![], &Key::new("ed25519")) }
}

fn of<'a>(report: &'a Report, name: &str) -> Option<&'a ScheduledReport> {
    report.scheduled.iter().find(|program| program.name == name)
}

fn is(report: &Report, name: &str, start: u32, state: ServiceState) -> bool {
    of(report, name).is_some_and(|program| (program.start, program.state) == (start, state))
}

/// Changes what is wanted of a program.
fn change(node: &Node<'_>, wanted: &mut Desired, name: &str, change: impl FnOnce(&mut ScheduledProgram)) {
    change(wanted.scheduled.iter_mut().find(|program| program.name == name).unwrap());
    wanted.revision += 1;
    node.want(wanted);
}

/// Says that it is up, and waits; nothing is started once it is up: a signal that comes while dash 0.5.12 is in vfork(2) is
/// lost to its trap.
fn waits(trap: &str) -> String {
    format!("sleep 1000 & {trap}; echo up; while :; do wait; done")
}

use ServiceState::{Exited, Failed, Interrupted, Running, Signalled, Waiting};

#[test]
fn programs_start_stop_and_leave_their_output() {
    let disk = Disk::new();
    let node = disk.boot();
    let mut wanted = wanted(vec![
        program("short", "echo \"$A $HOME $USER $(id -u)\"; pwd; echo wrong >&2; exit 3"),
        program("a b", &waits("trap 'echo one >&2' USR1; trap 'echo bye; exit 9' TERM")),
        ScheduledProgram { starts: 0, runs: false, ..program("later", "echo later") },
        ScheduledProgram { starts: 1, stops: 1, runs: false, ..program("missed", "echo missed") },
        ScheduledProgram { directory: "/none".into(), ..program("nowhere", "true") },
    ]);
    wanted.scheduled[0].directory = "/usr".into();
    wanted.executes = vec![shell("echo $A")];
    node.want(&wanted);
    let (report, _) = node.until("the first ones", |report| {
        is(report, "short", 1, Exited(3)) && is(report, "a b", 1, Running) && is(report, "nowhere", 1, Failed)
    });
    let short = of(&report, "short").unwrap();
    assert_eq!(
        (short.detail.as_str(), short.files.as_str(), short.run),
        ("wrong", "/tmp/program-short", Some(1))
    );
    assert!(short.began_ms.unwrap() > 1_600_000_000_000 && short.began_ms <= short.ended_ms);
    assert_eq!(disk.text("tmp/program-short.out"), "b c /root ann 0\n/usr\n");
    assert_eq!(
        (disk.text("tmp/program-short.err"), disk.text("tmp/program-short.status")),
        ("wrong\n".into(), "3\n".into())
    );
    assert!(of(&report, "nowhere").unwrap().detail.contains("no folder \"/none\""));
    for name in ["later", "missed"] {
        assert_eq!((of(&report, name).unwrap().state, of(&report, name).unwrap().start), (Waiting, 0));
    }
    wait_for(|| disk.path("tmp/startup-1.txt").exists() && disk.text("tmp/startup-1.txt") == "b c\n");

    let files = of(&report, "a b").unwrap().files.clone();
    let text = |extension: &str| disk.text(&format!("{files}.{extension}"));
    wait_for(|| text("out") == "up\n");
    change(&node, &mut wanted, "a b", |now| (now.signals, now.newest_signals) = (1, vec!["USR1".into()]));
    wait_for(|| text("err") == "one\n");
    // A start while it runs is none; a stop ends it.
    change(&node, &mut wanted, "a b", |now| now.starts = 2);
    change(&node, &mut wanted, "a b", |now| (now.stops, now.runs) = (1, false));
    let (report, _) = node.until("its end", |report| is(report, "a b", 1, Exited(9)));
    assert!(of(&report, "a b").unwrap().stopped && text("out") == "up\nbye\n");

    change(&node, &mut wanted, "short", |now| (now.starts, now.command) = (2, "echo again".into()));
    let (report, _) = node.until("another start", |report| is(report, "short", 2, Exited(0)));
    assert_eq!(of(&report, "short").unwrap().detail, "again");
    assert_eq!(disk.text("tmp/program-short.before.err"), "wrong\n");
    assert_eq!(
        (disk.text("tmp/program-short.out"), disk.text("tmp/program-short.err")),
        ("again\n".into(), String::new())
    );
}

#[test]
fn programs_that_go_on_for_too_long_are_ended() {
    let disk = Disk::new();
    let node = disk.boot();
    let mut wanted = wanted(vec![
        ScheduledProgram { max_seconds: Some(1), ..program("slow", "sleep 1000 & echo begun; wait") },
        program("deaf", "trap '' TERM; echo up; while :; do sleep 0.1; done"),
    ]);
    node.want(&wanted);
    let (report, _) = node.until("the timeout", |report| is(report, "slow", 1, Signalled(15)));
    let slow = of(&report, "slow").unwrap();
    assert!(!slow.stopped && slow.detail.contains("it was ended after 1 s, its timeout"), "{slow:?}");
    assert_eq!(disk.text("tmp/program-slow.status"), "143\n");
    wait_for(|| disk.path("tmp/program-deaf.out").exists() && disk.text("tmp/program-deaf.out") == "up\n");
    // Stopped and started again at once: the second one begins when the first has ended.
    change(&node, &mut wanted, "deaf", |now| {
        (now.starts, now.stops, now.command) = (2, 1, "echo second; exit 4".into());
    });
    let (report, _) = node.until("the second", |report| is(report, "deaf", 2, Exited(4)));
    assert_eq!(of(&report, "deaf").unwrap().detail, "second");
    assert_eq!(disk.text("tmp/program-deaf.before.out"), "up\n");
}

#[test]
fn a_boot_starts_nothing_twice_and_another_run_begins_anew() {
    let disk = Disk::new();
    let mut wanted =
        wanted(vec![program("once", "echo x >> /once"), program("long", "sleep 1000 & echo up; wait")]);
    wanted.disk = "a/0".into();
    {
        let mut node = disk.boot();
        node.want(&wanted);
        node.until("both", |report| is(report, "once", 1, Exited(0)) && is(report, "long", 1, Running));
        node.say(&ToGuest::Stop { grace_ms: 5000 });
        node.wait_for_the_end();
    }
    let node = disk.boot();
    node.want(&wanted);
    let ssh = |report: &Report| {
        report.ssh && is(report, "once", 1, Exited(0)) && is(report, "long", 1, Interrupted)
    };
    node.until("what is known", ssh);
    change(&node, &mut wanted, "long", |now| now.starts = 2);
    node.until("its next start", |report| is(report, "long", 2, Running));
    assert_eq!(disk.text("once"), "x\n");
    // Another run: what runs is ended, the counters begin anew.
    wanted.run = Some(2);
    change(&node, &mut wanted, "long", |now| (now.starts, now.runs) = (0, false));
    let anew = |report: &Report| is(report, "once", 1, Exited(0)) && is(report, "long", 0, Waiting);
    node.until("the replay", |report| anew(report) && of(report, "once").unwrap().run == Some(2));
    assert_eq!(disk.text("once"), "x\nx\n");
    let sleeps = || String::from_utf8_lossy(&node.inside(&["pgrep", "-x", "sleep"]).stdout).lines().count();
    wait_for(|| sleeps() == 0);
    // Another disk that this one was made of has done nothing.
    wanted.disk = "b/0".into();
    change(&node, &mut wanted, "long", |_| {});
    wait_for(|| disk.text("once") == "x\nx\nx\n");
    // No run: nothing runs.
    change(&node, &mut wanted, "long", |now| (now.starts, now.runs) = (1, true));
    node.until("running", |report| is(report, "long", 1, Running));
    wanted.run = None;
    change(&node, &mut wanted, "long", |now| (now.starts, now.runs) = (0, false));
    wait_for(|| sleeps() == 0);
}

#[test]
fn programs_wait_for_the_installs_and_keep_nobody_waiting() {
    let disk = Disk::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let node = disk.boot();
    let port = serve(node.pid(), vec![b"notes".to_vec()], &requests);
    let mut wanted = wanted(vec![program("reads", "cat /srv/notes.txt")]);
    wanted.installs = vec![Install {
        url: format!("http://127.0.0.1:{port}/notes.txt"),
        path: "/srv".into(),
        max_download: 100,
        max_unpacked: 100,
        checksum: None,
    }];
    // Another command that never ends does not keep it.
    wanted.executes = vec![shell("exec sleep 1000")];
    node.want(&wanted);
    let (report, _) = node.until("its end", |report| is(report, "reads", 1, Exited(0)));
    assert_eq!(of(&report, "reads").unwrap().detail, "notes");
}

#[test]
fn starts_are_soon() {
    let disk = Disk::new();
    let node = disk.boot();
    let mut wanted = wanted(vec![ScheduledProgram { starts: 0, runs: false, ..program("load", "true") }]);
    node.want(&wanted);
    node.until("ssh", |report| report.ssh);
    let mut took = Vec::new();
    for start in 1..=20 {
        let told = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        change(&node, &mut wanted, "load", |now| (now.starts, now.runs) = (start, true));
        let (report, _) = node.until("its end", |report| is(report, "load", start, Exited(0)));
        let began = u64::try_from(of(&report, "load").unwrap().began_ms.unwrap()).unwrap();
        took.push(Duration::from_millis(began).saturating_sub(told));
    }
    took.sort();
    eprintln!("from the agent's word to the start: median {:?}, most {:?}", took[10], took[19]);
    assert!(took[10] < Duration::from_millis(500), "{took:?}");
}
