//! Links in use while nodes restart and processes die: who talks goes on talking.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bed, example, run, wires};
use crate::talk::{Talk, identity};

fn pause(milliseconds: u64) {
    std::thread::park_timeout(Duration::from_millis(milliseconds));
}

fn kill_wires(bed: &mut Bed) {
    for wire in wires(bed) {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-9", &wire]).stderr(Stdio::null()).status();
    }
}

fn spawn(bed: &mut Bed, line: &str) -> Child {
    let mut command = bed.testbed().command();
    command.args(line.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program can be started")
}

/// Echo requests that a capture has seen at an interface.
fn echoes(file: &str, interface: &str) -> usize {
    let fields = ["-n", "-Y", "icmp.type == 8", "-T", "fields", "-e", "frame.interface_name", "-r", file];
    let read = Command::new("tshark").args(fields).output().expect("tshark starts");
    String::from_utf8_lossy(&read.stdout).lines().filter(|line| *line == interface).count()
}

#[test]
fn e2e_peers_that_talk_notice_no_restart() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    let before = [identity(&mut bed, "alice"), identity(&mut bed, "bob")];
    let file = bed.testbed().folder().join("office.pcapng").display().to_string();
    let mut capture = spawn(&mut bed, &format!("capture office --slice lab --filter icmp -w {file}"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "the capture does not begin");
        pause(50);
    }
    for action in ["restart router", "reload router"] {
        let talk = Talk::begin(&mut bed, "alice", "bob", "10.1.1.3");
        let mut echo = bed.testbed().command();
        echo.args(["exec", "alice", "--", "ping", "-q", "-i", "0.02", "-c", "200", "-W", "5", "bob"]);
        let echo =
            echo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program can be started");
        bed.ok(action);
        let said = echo.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains("200 received, 0% packet loss"), "{action}: {said}");
        let silence = talk.end();
        assert!(silence < Duration::from_secs(1), "{action}: {silence:?}");
    }
    assert_eq!([identity(&mut bed, "alice"), identity(&mut bed, "bob")], before);
    run("kill", &["-INT", &capture.id().to_string()]);
    capture.wait().expect("it ends");
    for interface in ["alice:eth1", "bob:eth1"] {
        assert_eq!(echoes(&file, interface), 400, "{interface}: the capture has no gap");
    }
    bed.ok("exec alice -- ping -q -c 2 -i 0.2 -W 3 router");
    bed.ok("down lab");
}

#[test]
fn e2e_who_talks_outlives_the_wire_and_the_server() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    let before = [identity(&mut bed, "alice"), identity(&mut bed, "bob")];
    let talk = Talk::begin(&mut bed, "alice", "bob", "10.1.1.3");
    for victims in [(true, false), (false, true), (true, true)] {
        let running = wires(&mut bed);
        assert_eq!(running.len(), 1, "{victims:?}");
        if victims.1 {
            bed.testbed().kill();
        }
        if victims.0 {
            kill_wires(&mut bed);
        }
        if victims.1 {
            bed.testbed().serve();
        }
        bed.ok("wait lab");
        let deadline = Instant::now() + Duration::from_secs(20);
        while wires(&mut bed).is_empty() || (victims.0 && wires(&mut bed) == running) {
            assert!(Instant::now() < deadline, "no wire takes its place\n{}", bed.testbed().log());
            pause(50);
        }
    }
    let silence = talk.end();
    assert!(silence < Duration::from_secs(20), "{silence:?}");
    assert_eq!([identity(&mut bed, "alice"), identity(&mut bed, "bob")], before);
    bed.ok("down lab");
}

#[test]
fn e2e_kills_in_the_middle_of_up() {
    let mut bed = Bed::new();
    let file = example("four-nodes.ns").display().to_string();
    let text = std::fs::read_to_string(&file).expect("the example is there");
    let changed = text.replace("50ms", "20ms").replace("10Mb", "5Mb");
    let changed = bed.file("changed.ns", &changed);
    let kill = |bed: &mut Bed, (wire, server): (bool, bool)| {
        if server {
            bed.testbed().kill();
        }
        if wire {
            kill_wires(bed);
        }
        if server {
            bed.testbed().serve();
        }
    };
    let moments = [
        (60, (false, true)),
        (300, (true, true)),
        (700, (false, true)),
        (1200, (true, false)),
        (1800, (true, true)),
        (2600, (false, true)),
    ];
    for (moment, victims) in moments {
        let mut up = spawn(&mut bed, &format!("up {file} --slice lab"));
        pause(moment);
        kill(&mut bed, victims);
        up.wait().expect("it ends");
        // What was acknowledged comes by itself; what was not has left nothing, and is asked for again.
        if bed.ok("ls").contains("no slices") {
            bed.ok(&format!("up {file} --slice lab"));
        }
        bed.ok("wait lab");
        bed.ok("exec alice -- ping -q -c 3 -i 0.1 -W 3 server");

        // Again in the middle of a change, which is all there or not at all.
        let mut up = spawn(&mut bed, &format!("up {changed} --slice lab"));
        pause(moment / 20);
        kill(&mut bed, victims);
        up.wait().expect("it ends");
        bed.ok("wait lab");
        let differs = bed.ok(&format!("up {changed} --slice lab --dry-run")) != "nothing changes\n";
        let differed = bed.ok(&format!("up {file} --slice lab --dry-run")) != "nothing changes\n";
        assert!(differs != differed, "after {moment} ms: one of both, {differs}, {differed}");
        bed.ok(&format!("up {changed} --slice lab"));
        bed.ok("exec alice -- ping -q -c 3 -i 0.1 -W 3 server");
        bed.ok("down lab");
        assert_eq!(wires(&mut bed), Vec::<String>::new(), "after {moment} ms");
    }
}

/// What a unit's `PrivateTmp=` comes to: the mounts that keep links are gone with each end of the server.
#[test]
fn e2e_a_server_that_loses_its_mounts_gives_nodes_their_links_anew() {
    const APART: [&str; 4] = ["unshare", "--mount", "--propagation", "private"];
    let mut bed = Bed::new();
    bed.testbed().stop();
    bed.testbed().serve_by(&APART);
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    bed.ok("exec alice -- ping -q -c 2 -i 0.2 -W 3 bob");
    bed.testbed().kill();
    bed.testbed().serve_by(&APART);
    bed.ok("wait lab");
    // Some machines let nobody see what the first process has.
    if std::fs::read_link("/proc/1/ns/mnt").is_ok() {
        assert!(bed.testbed().log().contains("mount namespace of its own"), "{}", bed.testbed().log());
    }
    bed.ok("exec alice -- ping -q -c 2 -i 0.2 -W 3 bob");
    bed.ok("down lab");
}
