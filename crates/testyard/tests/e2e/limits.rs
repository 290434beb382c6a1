//! Nodes that use up what they may: said in Status with what to do, and nobody else is harmed.

use std::time::{Duration, Instant};

use crate::support::{Bed, request};

const TYPES: &str = "\n[[sliver_type]]\nname = \"docker-container\"\nmemory = \"96M\"\npids = 64\n";

fn sliver(bed: &mut Bed, slice: &str, node: &str) -> serde_json::Value {
    bed.status(slice).into_iter().find(|sliver| sliver["client_id"] == node).unwrap()
}

/// Waits until a node's notices hold this text.
fn until_told(bed: &mut Bed, slice: &str, node: &str, text: &str) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let sliver = sliver(bed, slice, node);
        if sliver["notices"].to_string().contains(text) {
            return sliver;
        }
        assert!(Instant::now() < deadline, "no {text:?} in {sliver:#}\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn e2e_memory_that_runs_out_is_told_with_the_remedy() {
    let mut bed = Bed::with(|config| config + TYPES);
    bed.up("demo", &["one", "two"]);
    // A process of the node is killed, and the node goes on.
    assert!(!bed.ssh_succeeds(
        "demo",
        "one",
        "head -c 300M /dev/zero | tail -c 290M | wc -c; exit ${PIPESTATUS[1]}"
    ));
    let told = until_told(&mut bed, "demo", "one", "memory ran out");
    assert_eq!(told["operational"], "geni_ready", "{told}");
    assert!(told["notices"].to_string().contains("it has 96 MiB"), "{told}");
    assert!(bed.ok("am status demo").contains("one: note: "), "people are shown it too");
    assert!(bed.ssh_succeeds("demo", "one", "true"));
    assert!(sliver(&mut bed, "demo", "two")["notices"].is_null(), "the other node has nothing to tell");

    // Process 1 itself is killed: the node is started again, and why is told.
    kill_first_process(&mut bed, "two");
    until_told(&mut bed, "demo", "two", "stopped by itself");
    bed.wait("demo", "geni_ready");
    assert!(bed.ssh_succeeds("demo", "two", "true"));
}

/// From the host, as the kernel would: nobody inside can.
fn kill_first_process(bed: &mut Bed, hostname: &str) {
    let label = format!("label=testyard.instance={}", bed.testbed().instance());
    let ids = crate::support::run("docker", &["ps", "--quiet", "--filter", &label]);
    for id in ids.lines() {
        let of = crate::support::run(
            "docker",
            &["inspect", "--format", "{{.Config.Hostname}} {{.State.Pid}}", id],
        );
        if let Some(pid) = of.trim().strip_prefix(&format!("{hostname} ")) {
            crate::support::run("kill", &["-KILL", pid]);
            return;
        }
    }
    panic!("no container has the host name {hostname}");
}

#[test]
fn e2e_a_fork_bomb_stays_in_its_node() {
    let mut bed = Bed::with(|config| config + TYPES);
    bed.up("demo", &["bomb", "peer"]);
    // Its processes end with the session that began them.
    bed.testbed().run(["am", "ssh", "demo", "bomb", "--", "for i in $(seq 200); do sleep 20 & done; wait"]);
    assert!(bed.ssh_succeeds("demo", "peer", "true"), "the other node answers");
    assert_eq!(sliver(&mut bed, "demo", "peer")["operational"], "geni_ready");
}

#[test]
fn e2e_a_node_that_fills_its_disk_is_stopped_with_the_reason() {
    let mut bed =
        Bed::with(|config| config + "\n[[sliver_type]]\nname = \"docker-container\"\ndisk = \"20M\"\n");
    let file = bed.file("demo.rspec", &request(&["full", "good"]));
    bed.ok(&format!("am up {file} --slice demo"));
    assert!(bed.ssh_succeeds("demo", "full", "head -c 60M /dev/urandom > big; sync"));
    let deadline = Instant::now() + Duration::from_secs(150);
    let failed = loop {
        let sliver = sliver(&mut bed, "demo", "full");
        if sliver["operational"] == "geni_failed" {
            break sliver;
        }
        assert!(Instant::now() < deadline, "{sliver:#}\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(500));
    };
    let reason = failed["error"].as_str().unwrap();
    assert!(reason.contains("20 MiB") && reason.contains("geni_reload"), "{reason}");
    assert!(bed.ssh_succeeds("demo", "good", "true"), "the other node answers");
    bed.ok("am perform demo geni_reload");
    bed.wait("demo", "geni_ready");
    assert!(!bed.ssh_succeeds("demo", "full", "test -e big"), "a fresh disk");
}
