//! The warm pool on the real engine: a node that was a spare is a node like any other, also for who crashes and who cleans up.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bed, request};

fn pool(size: u32) -> impl FnOnce(String) -> String {
    move |config| {
        let changed = config.replace("#size = 0", &format!("size = {size}"));
        assert_ne!(changed, config, "the template of the configuration has changed");
        changed
    }
}

/// The names of this testbed's containers that were made as spares and run.
fn made_as_spares(bed: &mut Bed) -> Vec<String> {
    let mark = format!("label=testyard.instance={}", bed.testbed().instance());
    let listed = Command::new("docker")
        .args(["ps", "--filter", &mark, "--filter", "label=testyard.spare", "--format", "{{.Names}}"])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn spares(bed: &mut Bed) -> Vec<String> {
    made_as_spares(bed).into_iter().filter(|name| name.contains("-spare-")).collect()
}

/// Waits until so many spares run.
fn filled(bed: &mut Bed, size: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while spares(bed).len() != size {
        assert!(Instant::now() < deadline, "the pool has not {size} spares\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn e2e_a_spare_becomes_a_node_like_any_other() {
    let mut bed = Bed::with(pool(2));
    filled(&mut bed, 2);
    let before = spares(&mut bed);
    bed.up("demo", &["a", "b", "c"]);
    let taken: Vec<String> =
        made_as_spares(&mut bed).into_iter().filter(|name| !name.contains("-spare-")).collect();
    assert_eq!(taken.len(), 2, "two of the three were spares: {taken:?}");
    let names = |bed: &mut Bed| {
        for node in ["a", "b", "c"] {
            assert_eq!(
                bed.ssh("demo", node, "hostname; cat /etc/hostname").trim(),
                format!("{node}\n{node}")
            );
        }
    };
    names(&mut bed);
    bed.ssh("demo", "a", "echo kept > kept; sync");
    filled(&mut bed, 2);
    assert!(spares(&mut bed).iter().all(|spare| !before.contains(spare)), "none comes back");

    // The server ends, and the node boots again: its name is not the spare's.
    bed.testbed().kill();
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    bed.ok("am perform demo geni_restart --wait");
    bed.wait("demo", "geni_ready");
    names(&mut bed);
    assert_eq!(bed.ssh("demo", "a", "cat kept").trim(), "kept");

    let slivers: Vec<String> = bed
        .status("demo")
        .iter()
        .map(|sliver| sliver["urn"].as_str().unwrap_or_default().to_owned())
        .collect();
    bed.ok("am delete demo");
    bed.wait_until_gone(&slivers);

    // The configuration switches it off.
    let config = bed.testbed().config();
    let text = std::fs::read_to_string(&config).unwrap().replace("size = 2", "size = 0");
    std::fs::write(&config, text).unwrap();
    kill(Pid::from_raw(bed.testbed().pid()), Signal::SIGHUP).unwrap();
    filled(&mut bed, 0);
    bed.wait_until_gone(&[]);
}

#[test]
fn e2e_a_crash_while_spares_are_handed_over_loses_and_leaks_nothing() {
    let mut bed = Bed::with(pool(2));
    let file = bed.file("two.rspec", &request(&["a", "b"]));
    for moment in [0, 10, 20, 30, 45, 60, 90, 130] {
        filled(&mut bed, 2);
        bed.ok(&format!("am allocate demo {file}"));
        bed.ok("am provision demo");
        std::thread::park_timeout(Duration::from_millis(moment));
        bed.testbed().kill();
        bed.testbed().serve();
        bed.wait("demo", "geni_ready");
        let names: Vec<String> =
            ["a", "b"].map(|node| bed.ssh("demo", node, "hostname").trim().to_owned()).to_vec();
        assert_eq!(names, ["a", "b"], "killed {moment} ms after Provision");
        bed.ok("am delete demo");
    }
    // `reset`, at the end of the test, takes the spares too, and nothing else is left.
    filled(&mut bed, 2);
}
