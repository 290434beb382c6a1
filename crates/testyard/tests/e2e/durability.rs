//! What survives what: the program, the engine and the machine end at every stage of a slice's life.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use testyard_testkit::engine::Engine;

use crate::support::{Bed, IMAGE, request};

/// A testbed on an engine of its own, which may be ended.
fn bed_with_engine(name: &str) -> (Engine, Bed) {
    testyard_testkit::needs::root();
    testyard_testkit::needs::docker();
    let folder = std::env::temp_dir().join(format!("testyard-engine-{name}-{}", std::process::id()));
    let engine = Engine::start(&folder);
    engine.copy_image(IMAGE);
    let socket = format!("docker = \"{}\"", engine.socket().display());
    let bed = Bed::with(|config| config.replace("#docker = \"/var/run/docker.sock\"", &socket));
    (engine, bed)
}

fn pause(milliseconds: u64) {
    std::thread::park_timeout(Duration::from_millis(milliseconds));
}

#[test]
fn e2e_the_server_is_killed_at_every_stage() {
    let mut bed = Bed::new();
    let file = bed.file("two.rspec", &request(&["a", "b"]));

    // Allocated: nothing promised is lost.
    bed.ok(&format!("am allocate demo {file}"));
    bed.testbed().kill();
    bed.testbed().serve();
    assert!(bed.status("demo").iter().all(|sliver| sliver["allocation"] == "geni_allocated"));

    // At many moments of coming up.
    bed.ok("am provision demo");
    for moment in [0, 40, 80, 120, 160, 200, 260, 340, 420, 600] {
        pause(moment);
        bed.testbed().kill();
        bed.testbed().serve();
    }
    bed.wait("demo", "geni_ready");
    bed.ssh("demo", "a", "echo kept > kept; sync");

    // Ready: nodes run on, and an open session too.
    let mut session = bed.testbed().command();
    session.args(["am", "ssh", "demo", "a", "--", "echo open; read line; echo got $line"]);
    let mut session = session.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(session.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "open");
    bed.testbed().kill();
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    assert_eq!(bed.ssh("demo", "a", "cat kept").trim(), "kept");
    session.stdin.take().unwrap().write_all(b"word\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "got word");
    assert!(session.wait().unwrap().success());

    // While it is stopped and renewed.
    for moment in [0, 100] {
        bed.ok("am perform demo geni_stop");
        bed.ok("am renew demo +2h");
        let end = bed.status("demo")[0]["expires"].clone();
        pause(moment);
        bed.testbed().kill();
        bed.testbed().serve();
        bed.wait("demo", "geni_notready");
        assert_eq!(bed.status("demo")[0]["expires"], end);
        bed.ok("am perform demo geni_start");
        bed.wait("demo", "geni_ready");
    }

    // While it is restarted, and while it is reloaded.
    for (action, kept) in [("geni_restart", true), ("geni_reload", false)] {
        for moment in [0, 60, 150, 300] {
            bed.ok(&format!("am perform demo {action}"));
            pause(moment);
            bed.testbed().kill();
            bed.testbed().serve();
            bed.wait("demo", "geni_ready");
        }
        assert_eq!(bed.ssh_succeeds("demo", "a", "test -e kept"), kept, "{action}");
    }

    // While it is deleted.
    bed.ok("am delete demo");
    pause(30);
    bed.testbed().kill();
    bed.testbed().serve();
    let instance = bed.testbed().instance().to_owned();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while testyard_testkit::leaks::find(Some(&instance))
        .iter()
        .any(|left| left.starts_with("container") || left.starts_with("interface"))
    {
        assert!(std::time::Instant::now() < deadline, "{:?}", testyard_testkit::leaks::find(Some(&instance)));
        pause(100);
    }
}

#[test]
fn e2e_the_engine_is_killed_at_every_stage() {
    let (mut engine, mut bed) = bed_with_engine("kill");
    let file = bed.file("two.rspec", &request(&["a", "b"]));
    bed.ok(&format!("am allocate demo {file}"));
    bed.ok("am provision demo");
    for moment in [100, 300] {
        pause(moment);
        engine.kill();
        pause(200);
        engine.resume();
    }
    bed.wait("demo", "geni_ready");
    bed.ssh("demo", "a", "echo kept > kept; sync");
    engine.kill();
    engine.resume();
    bed.wait("demo", "geni_ready");
    assert_eq!(bed.ssh("demo", "a", "cat kept").trim(), "kept");

    // While it is restarted, and while it is stopped.
    bed.ok("am perform demo geni_restart");
    pause(150);
    engine.kill();
    engine.resume();
    bed.wait("demo", "geni_ready");
    bed.ok("am perform demo geni_stop");
    pause(50);
    engine.kill();
    engine.resume();
    bed.wait("demo", "geni_notready");
    bed.ok("am perform demo geni_start");
    bed.wait("demo", "geni_ready");
    assert_eq!(bed.ssh("demo", "a", "cat kept").trim(), "kept");

    // Deleted while the engine is away: it happens when the engine is back.
    engine.kill();
    bed.ok("am delete demo");
    engine.resume();
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    while !engine.docker(&["ps", "--all", "--quiet"]).1.trim().is_empty() {
        assert!(std::time::Instant::now() < deadline, "containers are left\n{}", bed.testbed().log());
        pause(200);
    }
    drop(bed);
    drop(engine);
}

#[test]
fn e2e_the_machine_is_restarted() {
    let (mut engine, mut bed) = bed_with_engine("machine");
    bed.up("demo", &["a", "b"]);
    bed.ssh("demo", "a", "echo kept > kept; sync");
    let keys = bed.ssh("demo", "a", "cat /etc/ssh/ssh_host_ed25519_key.pub");
    let manifest_ports = |bed: &mut Bed| -> Vec<String> {
        let manifest = bed.manifest("demo");
        manifest
            .split(" port=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect()
    };
    let ports = manifest_ports(&mut bed);

    bed.testbed().kill();
    engine.crash_machine();
    let instance = bed.testbed().instance().to_owned();
    for left in testyard_testkit::leaks::find(Some(&instance)) {
        if let Some(interface) = left.strip_prefix("interface ").and_then(|rest| rest.split(' ').next()) {
            let _ = std::process::Command::new("ip").args(["link", "delete", interface]).status();
        }
    }
    let _ = std::process::Command::new("nft")
        .args(["delete", "table", "inet", &format!("testyard_{instance}")])
        .status();
    std::fs::remove_dir_all(bed.testbed().folder().join("run")).expect("the run folder can be removed");

    engine.resume();
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    assert_eq!(bed.ssh("demo", "a", "cat kept").trim(), "kept");
    assert_eq!(bed.ssh("demo", "a", "cat /etc/ssh/ssh_host_ed25519_key.pub"), keys);
    assert_eq!(manifest_ports(&mut bed), ports);
    drop(bed);
    drop(engine);
}
