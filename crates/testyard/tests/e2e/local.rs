//! The testbed over its local socket, as somebody at the machine uses it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::measured;
use crate::support::{Bed, example, program};

fn json(bed: &mut Bed, line: &str) -> Value {
    serde_json::from_str(&bed.ok(line)).unwrap()
}

/// The shortest of some echoes from alice to the server, in milliseconds.
fn round_trip(bed: &mut Bed) -> f64 {
    let said = bed.ok("exec alice -- ping -q -c 8 -i 0.05 -W 3 server");
    let line = said.lines().last().unwrap();
    line.split(['=', '/']).nth(4).unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap()
}

#[test]
fn e2e_from_a_file_to_its_end_over_the_local_socket() {
    let mut bed = Bed::new();
    assert!(bed.ok("ls").contains("no slices"));
    let said = bed.ok(&format!("up {}", example("four-nodes.ns").display()));
    assert!(said.contains("four-nodes  ready") && said.contains("rate=10Mbit delay=50ms loss=1%"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    assert!((104.0..115.0).contains(&round_trip(&mut bed)));

    // In one node, with input and the command's own exit code; in all of them.
    let mut child = bed.testbed().command();
    let child =
        child.args(["exec", "bob.four-nodes", "--", "sh", "-c", "cat; echo \"it's $0\" >&2; exit 7", "a b"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"in and out").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), b"in and out".as_slice()));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "it's a b\n");
    let all = json(&mut bed, "exec --all --json -- hostname");
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|ran| ran["stdout"].as_str().unwrap().trim()).collect();
    assert_eq!(names, ["alice", "bob", "router", "server"]);
    let (code, error) = bed.fails("exec alice,bob -- false");
    assert!(code == 1 && error.contains("failed in 2 of 2: alice (1), bob (1)"), "{error}");

    // Files, there, from node to node, and back.
    let here = bed.file("here", "some bytes\n");
    bed.ok(&format!("cp {here} alice:/tmp/there"));
    bed.ok("cp alice:/tmp/there server.four-nodes:/tmp/third");
    bed.ok(&format!("cp server:/tmp/third {here}.back"));
    assert_eq!(std::fs::read_to_string(format!("{here}.back")).unwrap(), "some bytes\n");
    assert_eq!(bed.ok("ssh router -- hostname").trim(), "router");

    // A link, while it runs: no node notices but by its packets.
    let identity =
        |bed: &mut Bed| bed.ok("exec router -- ip -o -4 address") + &bed.ok("exec router -- ip -o link");
    let before = identity(&mut bed);
    bed.ok("link set four-nodes uplink delay=5ms loss=none");
    assert!((14.0..25.0).contains(&round_trip(&mut bed)));
    bed.ok("link down four-nodes uplink --for 2s");
    let (_, error) = bed.fails("exec alice -- ping -q -c 1 -W 1 server");
    assert!(!error.contains("testyard:"), "{error}");
    let back = "for i in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 1 server >/dev/null && exit 0; done; exit 1";
    let output = bed.testbed().run(["exec", "alice", "--", "sh", "-c", back]);
    assert!(output.status.success(), "the link is up again after its time");
    assert_eq!(identity(&mut bed), before);

    // Again with a changed file: one comes, the link is as the file says, the others stay as they are.
    let text = std::fs::read_to_string(example("four-nodes.ns")).unwrap();
    let text = text.replace("{alice bob router server}", "{alice bob router server carol}");
    let text =
        text.replace("\"$alice $bob $router\"", "\"$alice $bob $router $carol\"").replace("50ms", "20ms");
    let changed = bed.file("changed.ns", &text);
    let told = bed.ok(&format!("up {changed} --slice four-nodes --dry-run"));
    assert!(told.starts_with("+ node carol\n") && told.contains("delay=20ms"), "{told}");
    assert_eq!(told, bed.ok(&format!("plan --diff four-nodes {changed}")));
    bed.ok(&format!("up {changed} --slice four-nodes"));
    assert!((44.0..55.0).contains(&round_trip(&mut bed)));
    assert_eq!(identity(&mut bed), before);
    bed.ok("exec carol -- ping -q -c 2 -i 0.2 -W 3 server");
    let told = bed.ok(&format!("up {changed} --slice four-nodes --dry-run"));
    assert_eq!(told, "nothing changes\n");

    // Without what it is asked for nobody loses a disk.
    let original = example("four-nodes.ns");
    let (_, error) = bed.fails(&format!("up {} --slice four-nodes", original.display()));
    assert!(error.contains("give --yes"), "{error}");
    bed.ok(&format!("up {} --slice four-nodes --yes", original.display()));
    let slice = json(&mut bed, "status --json");
    assert_eq!(slice["nodes"].as_array().unwrap().len(), 4);
    for action in ["restart alice", "stop bob", "start bob", "reload bob", "wait"] {
        bed.ok(action);
    }
    assert!((104.0..115.0).contains(&round_trip(&mut bed)));
    bed.ok("down four-nodes");
    assert!(bed.ok("ls").contains("no slices"));
}

#[test]
fn e2e_other_users_of_the_machine() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {} --slice mine --only alice", example("four-nodes.yaml").display()));
    let socket = bed.testbed().folder().join("run/testyard.sock");
    let as_nobody = |bed: &mut Bed, arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(program())
            .args(arguments)
            .env("TESTYARD_DIR", bed.testbed().dir())
            .env("TESTYARD_SOCKET", &socket)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    // The way there may be walked, the door is shut.
    for folder in socket.ancestors().skip(1).take_while(|folder| folder.starts_with(bed.testbed().folder())) {
        mode(folder, 0o755);
    }
    let (code, said) = as_nobody(&mut bed, &["ls"]);
    assert!(code == Some(3) && said.contains("group testyard"), "{said}");
    // Where it is open, others see nothing and touch nothing.
    mode(&socket, 0o666);
    let (code, said) = as_nobody(&mut bed, &["ls"]);
    assert!(code == Some(0) && said.contains("no slices"), "{said}");
    for arguments in [
        &["status", "mine"][..],
        &["down", "mine"],
        &["link", "down", "mine", "uplink"],
        &["events", "mine"],
        &["ls", "--as", "root"],
        &["slice", "shutdown", "theirs"],
    ] {
        let (code, said) = as_nobody(&mut bed, arguments);
        assert!(
            code == Some(1)
                && (said.contains("you are")
                    || said.contains("only operators")
                    || said.contains("no nodes here")),
            "{arguments:?}: {said}"
        );
    }
    let listed = bed.ok("ls");
    assert!(listed.contains("mine") && listed.contains("1 ready"), "nothing has happened to it: {listed}");
    bed.ok("down mine");
}

const SCHEDULED: &str = "testyard: 1
environment: {WHO: me}
nodes:
  a: {programs: {hello: {command: 'echo ran for $WHO; exit 3', expected-exit: 3}}}
  b:
links:
- {name: line, between: [a, b], delay: 20ms}
schedule:
- {at: 500ms, start: hello}
- {at: 1s, set: line, delay: 1ms}
";

/// Waits until so many events of a run have been carried out.
fn carried_out(bed: &mut Bed, run: u64, done: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let schedule = json(bed, "status --json")["schedule"].clone();
        if schedule["run"] == run && schedule["done"] == done {
            return;
        }
        assert!(Instant::now() < deadline, "{schedule}\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn e2e_schedules_programs_and_captures() {
    let mut bed = Bed::new();
    let file = bed.file("lab.yaml", SCHEDULED);
    bed.ok(&format!("up {file}"));
    carried_out(&mut bed, 1, 2);
    let slice = json(&mut bed, "status --json");
    let program = &slice["nodes"][0]["programs"][0];
    assert_eq!(
        (&program["state"], &program["exit_code"]),
        (&Value::from("exited"), &Value::from(3)),
        "{program}"
    );
    assert!(program.get("unexpected").is_none(), "{program}");
    assert_eq!(bed.ok("exec a -- cat /tmp/program-hello.out"), "ran for me\n");
    assert!(bed.ok("logs a --program hello").contains("ran for me"));
    let round_trip = |bed: &mut Bed| -> f64 {
        let said = bed.ok("exec a -- ping -q -c 5 -i 0.05 -W 3 b");
        said.lines().last().unwrap().split(['=', '/']).nth(4).unwrap().trim().parse().unwrap()
    };
    assert!((2.0..10.0).contains(&round_trip(&mut bed)));
    let said = bed.ok("status");
    assert!(said.contains("2 of 2 events in run 1") && said.contains("program hello"), "{said}");

    // The server dies; what the run has done stays done, and nothing comes twice.
    bed.testbed().kill();
    bed.testbed().serve();
    bed.ok("wait");
    assert!((2.0..10.0).contains(&round_trip(&mut bed)));
    assert_eq!(bed.ok("exec a -- cat /tmp/program-hello.out"), "ran for me\n");
    bed.ok("replay");
    carried_out(&mut bed, 2, 2);
    assert_eq!(json(&mut bed, "status --json")["nodes"][0]["programs"][0]["start"], 1);

    // A capture sees what passes, at both ends, with the nodes' names.
    let path = bed.testbed().folder().join("line.pcapng");
    let mut capture = bed.testbed().command();
    let capture = capture.args(["capture", "line", "--filter", "icmp", "--for", "3s", "-w"]).arg(&path);
    let mut capture = capture.stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < deadline, "it does not begin\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    bed.ok("exec a -- ping -q -c 5 -i 0.05 -W 3 b");
    assert!(capture.wait().unwrap().success());
    let fields = ["-n", "-T", "fields", "-e", "frame.interface_name", "-r"];
    let read = Command::new("tshark").args(fields).arg(&path).output().unwrap();
    let seen = String::from_utf8_lossy(&read.stdout).into_owned();
    for interface in ["a:eth1", "b:eth1"] {
        assert_eq!(seen.lines().filter(|line| *line == interface).count(), 10, "{seen}");
    }
    let (_, error) = bed.fails("capture line -w /dev/null --filter nonsense!");
    assert!(error.contains("filter"), "{error}");
    bed.ok("down lab");
}

/// Each example in its language becomes nodes that can be logged in to; those of one topology do the same.
#[test]
fn e2e_every_example_runs() {
    // An example names an image of a registry, which tests cannot reach.
    let mut bed = Bed::with(|config| {
        config.replace("[images]\n", "[images]\nnames = { \"debian:12\" = \"testyard/debian:12\" }\n")
    });
    let mut names: Vec<String> = std::fs::read_dir(example(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".md"))
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        bed.ok(&format!("up {} --slice example", example(&name).display()));
        bed.ok("exec --all -- true");
        // From one end to the other, also where a router and a loss are on the way.
        let (from, to) = match name.as_str() {
            // It asks for no routes.
            "four-nodes.rspec" => ("alice", "router"),
            "dumbbell.ns" => ("client", "server"),
            "containers.json" => ("web1", "db1"),
            // It has no link.
            "two-nodes.rspec" => ("left", "left"),
            _ => ("alice", "server"),
        };
        bed.ok(&format!("exec {from} -- ping -q -c 4 -i 0.2 -W 3 {to}"));
        bed.ok("down example");
    }
}

#[test]
fn e2e_links_are_measured_and_the_report_is_kept() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    let said = measured::verify(&mut bed, "verify", "verify --last --json");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    for word in ["office", "uplink", "delay", "loss", "rate"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    // After a restart of the server, which takes up what runs.
    bed.testbed().kill();
    bed.testbed().serve();
    bed.ok("wait");
    let kept = json(&mut bed, "verify --last --json");
    measured::says_something(&kept);
    assert_eq!(kept["outcome"], "holds", "{kept}");
    let one = json(&mut bed, "verify --link uplink --json");
    assert!(one["ways"].as_array().is_some_and(|ways| ways.len() == 2), "{one}");
    let (_, error) = bed.fails("verify --link nope");
    assert!(error.contains("there is no link"), "{error}");
    bed.ok("down lab");
}
