//! The server is killed while it does what it was asked: what it said yes to has happened when it is back, what it did
//! not is whole or not at all, and nothing of either is left over.

use std::time::{Duration, Instant};

use crate::support::Moment::{self, Answered, Share};
use crate::support::{Bed, request, run};

/// Before the server has heard of a call, while it works, when it has answered, and while hosts do what was asked.
const MOMENTS: [Moment; 9] = [
    Share(0.2),
    Share(0.4),
    Share(0.6),
    Share(0.75),
    Share(0.9),
    Share(1.1),
    Answered(0),
    Answered(30),
    Answered(150),
];

/// Containers of the testbed, those that run or all of them.
fn containers(bed: &mut Bed, all: bool) -> Vec<String> {
    let filter = format!("label=testyard.instance={}", bed.testbed().instance());
    let mut arguments = vec!["ps", "--quiet", "--filter", &filter];
    arguments.extend(all.then_some("--all"));
    run("docker", &arguments).lines().map(str::to_owned).collect()
}

fn wait_for(what: &str, bed: &mut Bed, mut done: impl FnMut(&mut Bed) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done(bed) {
        assert!(Instant::now() < deadline, "{what}\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn slivers(bed: &mut Bed, slice: &str) -> Vec<String> {
    bed.status(slice).iter().map(|sliver| sliver["urn"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn e2e_killed_while_users_are_updated() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let folder = bed.testbed().folder().to_owned();
    let bob = "urn:publicid:IDN+localhost+user+bob";
    let mut before = String::new();
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        let path = folder.join(format!("key{number}")).to_string_lossy().into_owned();
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", &format!("key {number}"), "-f", &path]);
        let key = std::fs::read_to_string(format!("{path}.pub")).unwrap();
        let yes =
            bed.killed_during(&format!("am perform demo geni_update_users --user {bob}={path}.pub"), moment);
        bed.wait("demo", "geni_ready");
        let found = bed.ssh("demo", "one", "sudo cat ~bob/.ssh/authorized_keys || true");
        if yes {
            assert_eq!(found, key, "at {moment:?}: acknowledged, and lost");
        } else {
            assert!(found == key || found == before, "at {moment:?}: neither one nor the other: {found}");
        }
        before = found;
        assert_eq!(bed.ssh("demo", "one", "id -un").trim(), "ann", "others stay as they are");
    }
    assert_eq!(containers(&mut bed, true).len(), 1);
    let urns = slivers(&mut bed, "demo");
    bed.ok("am delete demo");
    bed.wait_until_gone(&urns);
}

#[test]
fn e2e_killed_while_a_lease_is_renewed() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let end = |bed: &mut Bed| -> jiff::Timestamp {
        bed.status("demo")[0]["expires"].as_str().unwrap().parse().unwrap()
    };
    let mut before = end(&mut bed);
    for (hours, moment) in (2..).zip(MOMENTS) {
        let asked = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let yes = bed.killed_during(&format!("am renew demo +{hours}h"), moment);
        let now = end(&mut bed);
        let renewed = now.duration_since(asked).abs() < jiff::SignedDuration::from_secs(5);
        assert!(renewed || (!yes && now == before), "at {moment:?}: {now}, asked {asked}, before {before}");
        before = now;
    }
    bed.wait("demo", "geni_ready");
    assert!(bed.ssh_succeeds("demo", "one", "true"));
}

#[test]
fn e2e_killed_while_a_disk_is_replaced() {
    let mut bed = Bed::new();
    bed.up("demo", &["one", "two"]);
    let keys = |bed: &mut Bed| bed.ssh("demo", "one", "cat /etc/ssh/ssh_host_*_key.pub | sort");
    let before = keys(&mut bed);
    for moment in MOMENTS {
        bed.ssh("demo", "one", "touch marked; sync");
        let yes = bed.killed_during("am perform demo geni_reload", moment);
        bed.wait("demo", "geni_ready");
        let fresh = !bed.ssh_succeeds("demo", "one", "test -e marked");
        assert!(fresh || !yes, "at {moment:?}: acknowledged, and the old disk is still there");
        assert_eq!(keys(&mut bed), before);
        // The old disk goes before the new one comes: there is one container a node when it is ready.
        assert_eq!(containers(&mut bed, true).len(), 2, "at {moment:?}");
    }
    let urns = slivers(&mut bed, "demo");
    bed.ok("am delete demo");
    bed.wait_until_gone(&urns);
}

#[test]
fn e2e_killed_while_a_slice_is_shut_down() {
    let mut bed = Bed::new();
    bed.up("bystander", &["safe"]);
    let mut urns = Vec::new();
    for (number, moment) in
        [Share(0.5), Share(0.8), Share(1.1), Share(2.0), Share(5.0), Answered(0)].into_iter().enumerate()
    {
        let slice = format!("shut{number}");
        bed.up(&slice, &["one"]);
        urns.extend(slivers(&mut bed, &slice));
        bed.ok(&format!("am renew {slice} +20s"));
        let yes = bed.killed_during(&format!("am shutdown {slice}"), moment);
        let closed = bed.testbed().run(["am", "status", &slice]);
        let closed = String::from_utf8_lossy(&closed.stderr).contains("shut down");
        assert!(closed || !yes, "at {moment:?}: acknowledged, and still open");
        if !closed {
            assert!(bed.ssh_succeeds(&slice, "one", "true"), "at {moment:?}: neither open nor closed");
            bed.ok(&format!("am shutdown {slice}"));
        }
        wait_for("nodes of a closed slice run on", &mut bed, |bed| containers(bed, false).len() == 1);
        assert!(bed.fails(&format!("am perform {slice} geni_start")).1.contains("shut down"));
    }
    // Their leases go on, and what has ended is removed, disks too.
    bed.wait_until_gone(&urns);
    assert_eq!(containers(&mut bed, true).len(), 1);
    assert!(bed.ssh_succeeds("bystander", "safe", "true"));
}

#[test]
fn e2e_killed_between_the_end_of_a_lease_and_the_removal() {
    let mut bed = Bed::new();
    bed.up("bystander", &["safe"]);
    let mut urns = Vec::new();
    for moment in [0, 10, 30, 80, 200] {
        let slice = format!("ends{moment}");
        bed.up(&slice, &["one", "two"]);
        urns.extend(slivers(&mut bed, &slice));
        bed.ok(&format!("am renew {slice} +2s"));
        wait_for("it has not expired", &mut bed, |bed| {
            !bed.testbed().run(["am", "status", &slice]).status.success()
        });
        std::thread::park_timeout(Duration::from_millis(moment));
        bed.testbed().kill();
        bed.testbed().serve();
        assert!(bed.fails(&format!("am status {slice}")).1.contains("12"), "what has expired is back");
        bed.wait_until_gone(&urns);
    }
    // Nobody is there at the end of the lease.
    bed.up("absent", &["one"]);
    urns.extend(slivers(&mut bed, "absent"));
    bed.ok("am renew absent +2s");
    let end: jiff::Timestamp = bed.status("absent")[0]["expires"].as_str().unwrap().parse().unwrap();
    bed.testbed().kill();
    while jiff::Timestamp::now() <= end {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    bed.testbed().serve();
    assert!(bed.fails("am status absent").1.contains("12"));
    bed.wait_until_gone(&urns);
    bed.wait("bystander", "geni_ready");
    assert!(bed.ssh_succeeds("bystander", "safe", "true"));
    // What it held is free again.
    for (number, nodes) in [["a", "b"], ["c", "d"]].iter().enumerate() {
        let file = bed.file("again.rspec", &request(nodes));
        bed.ok(&format!("am up {file} --slice again{number}"));
    }
}
