//! Looking after a testbed: `audit`, `slice`, `backup`, `restore`, and what is told to those who gather metrics.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::bed::{Bed, LAB, text};

fn strings<'v>(lines: &'v Value, key: &str) -> Vec<&'v str> {
    lines.as_array().unwrap().iter().map(|line| line[key].as_str().unwrap_or_default()).collect()
}

#[test]
fn who_did_what_is_told() {
    let bed = Bed::with_lab();
    bed.ok("link set lab line delay=5ms");
    bed.ok("restart web --slice lab");
    bed.ok("capture line --slice lab --for 1s -w line.pcapng");
    bed.ok("host drain local");
    bed.ok("host drain local --undo");
    bed.ok("down lab --as bob");

    let trail = bed.json("audit --json");
    let done = ["update", "link", "perform", "capture", "drain", "undo drain", "delete"];
    assert_eq!(strings(&trail, "operation"), done, "{trail}");
    assert!(strings(&trail, "object").contains(&"host local"));
    // Who acts for somebody is told, too: it was root, or whoever runs this, for ann, and then for bob.
    assert!(
        strings(&trail, "user")[0].ends_with("+user+ann")
            && strings(&trail, "user")[6].ends_with("+user+bob")
    );
    assert!(strings(&trail, "tool").iter().all(|tool| tool.contains("+user+")), "{trail}");

    let only = |arguments: &str| bed.json(&format!("audit --json {arguments}"));
    assert_eq!(
        strings(&only("--slice lab"), "operation"),
        ["update", "link", "perform", "capture", "delete"]
    );
    assert_eq!(strings(&only("--host local"), "operation"), ["drain", "undo drain"]);
    assert_eq!(strings(&only("--user bob"), "operation"), ["delete"]);
    assert_eq!(strings(&only("-n 1"), "operation"), ["delete"], "the newest");
    assert_eq!(strings(&only("--since -1h"), "operation").len(), 7);
    assert!(only("--since 2999-01-01T00:00:00Z").as_array().unwrap().is_empty());
    // The number of a call leads from one to the other, and to the log.
    let request = trail[1]["request"].as_str().unwrap();
    assert_eq!(strings(&only(&format!("--request {request}")), "operation"), ["link"]);
    let log = fs::read_to_string(bed.path("log")).unwrap();
    let line = log.lines().find(|line| line.contains(request)).unwrap();
    assert!(line.contains("POST /v1/slices/{slice}/links/{link}") && line.contains("+slice+lab"), "{line}");

    let table = bed.ok("audit");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(bed.fails("audit --slice lab --host local", 2).contains("cannot be used with"));
    assert!(bed.fails("audit --request xyz", 1).contains("sixteen hexadecimal digits"));
}

#[test]
fn operators_see_and_end_what_others_made() {
    let bed = Bed::new();
    let file = bed.file("lab.yaml", LAB);
    bed.ok(&format!("up {file} --slice one --as ann"));
    bed.ok(&format!("up {file} --slice two --as bob"));
    assert_eq!(strings(&bed.json("slice ls --json"), "name"), ["one", "two"]);
    assert_eq!(strings(&bed.json("slice ls --user bob --json"), "name"), ["two"]);
    bed.ok("slice shutdown two");
    assert!(bed.fails(&format!("up {file} --slice two"), 1).contains("shut down by the testbed's operators"));
    let table = bed.ok("slice ls");
    assert!(table.contains("shut_down") && table.contains("bob"), "{table}");
    let shown = bed.ok("slice show two");
    for part in ["+slice+two", "made ", "+user+bob", "lift-shutdown two", "web", "shutdown", "update"] {
        assert!(shown.contains(part), "{part} in:\n{shown}");
    }
    assert_eq!(bed.json("slice show two --json")["brief"]["state"], "shut_down");
    bed.ok("slice delete two");
    assert_eq!(strings(&bed.json("slice ls --json"), "name"), ["one"]);
    // The name stays closed until that is lifted.
    assert!(bed.fails(&format!("up {file} --slice two"), 1).contains("shut down"));
    bed.ok("slice lift-shutdown two");
    bed.ok(&format!("up {file} --slice two --as bob"));
    assert!(bed.fails("slice show nobodys", 1).contains("nobodys"));
}

fn gathered(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("openmetrics"), "{head}");
    body.to_owned()
}

/// The value of a line.
fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} in:\n{metrics}")).parse().unwrap()
}

#[test]
fn metrics_tell_what_is_there_and_are_all_documented() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let bed = Bed::configured(&format!("[metrics]\nbind = \"{address}\"\n"));
    let before = gathered(&address);
    assert!(value(&before, "testyard_slices{state=\"living\"}").abs() < 0.5);
    bed.ok(&format!("up {}", bed.file("lab.yaml", LAB)));
    // What happens to nodes is told after it has happened.
    bed.until("three nodes were counted", |_| {
        (value(&gathered(&address), "testyard_node_ready_seconds_count") - 3.0).abs() < 0.5
    });
    let metrics = gathered(&address);
    for (line, expected) in [
        ("testyard_slices{state=\"living\"}", 1.0),
        ("testyard_links", 2.0),
        ("testyard_slivers{host=\"local\",state=\"ready\"}", 3.0),
        ("testyard_host_reachable{host=\"local\"}", 1.0),
        ("testyard_host_nodes{host=\"local\"}", 3.0),
        ("testyard_calls_total{door=\"local\",call=\"PUT /v1/slices/{slice}\",outcome=\"done\"}", 1.0),
    ] {
        assert!((value(&metrics, line) - expected).abs() < 0.5, "{line} in:\n{metrics}");
    }
    assert!(value(&metrics, "testyard_store_commits_total") > 0.0);
    assert!(value(&metrics, "testyard_certificate_end_timestamp_seconds") > 1.7e9);
    // Nothing tells of anybody.
    for private in ["ann", "lab", "web"] {
        assert!(!metrics.contains(&format!("\"{private}\"")), "{private}");
    }
    // Those that are told are those that the reference has, and the other way round.
    let of_type = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
    let told: BTreeSet<String> = metrics.lines().filter_map(of_type).collect();
    let reference = include_str!("../../../../docs/reference/metrics.md");
    let named = |line: &str| Some(line.strip_prefix("| `")?.split(['`', '{']).next()?.to_owned());
    let named = reference
        .lines()
        .filter_map(named)
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_info").to_owned());
    assert_eq!(told, named.collect::<BTreeSet<_>>());
    // Whatever the alerts and the dashboard ask for is there.
    for file in ["alerts.yml", "dashboard.json"] {
        let path = format!("{}/../../packaging/monitoring/{file}", env!("CARGO_MANIFEST_DIR"));
        let asked = fs::read_to_string(path).unwrap();
        let words = asked.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("testyard_") || word.starts_with("process_")) {
            let suffixes = ["_total", "_bucket", "_sum", "_count", "_info"];
            let bare = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
            assert!(told.contains(word) || told.contains(bare), "{word} of {file}");
        }
    }
}

#[test]
fn a_backup_brings_back_what_was_there() {
    let bed = Bed::with_lab();
    let backup = bed.path("b.tar").display().to_string();
    let said = text(&bed.run(&format!("backup {backup}")).stderr);
    assert!(said.contains("1 slices with 3 slivers"), "{said}");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(bed.fails(&format!("backup {backup}"), 2).contains("is there already"));
    assert!(bed.fails("backup /nonexistent/x.tar", 1).contains("/nonexistent/x.tar"));

    bed.ok("up lab.yaml --slice later");
    bed.ok("down lab");
    let told = bed.json(&format!("restore {backup} --dry-run --json"));
    let lab = "urn:publicid:IDN+localhost+slice+lab";
    assert_eq!(
        (&told["come_back"][lab], told["as_they_were"].as_object().unwrap().len()),
        (&3.into(), 0),
        "{told}"
    );
    assert_eq!(told["removed"].as_object().unwrap().len(), 1, "{told}");
    assert!(bed.fails(&format!("restore {backup}"), 2).contains("--yes says that you mean it"));
    assert_eq!(bed.json("slice ls --json").as_array().unwrap().len(), 1, "nothing has happened yet");

    let told = bed.ok(&format!("restore {backup} --yes"));
    assert!(told.contains("restored; the testbed serves with it"), "{told}");
    bed.ok("wait lab");
    assert_eq!(strings(&bed.json("slice ls --json"), "name"), ["lab"]);
    // What was done after the backup is on record all the same, and who went back to it.
    let trail = bed.json("audit --json");
    assert_eq!(strings(&trail, "operation"), ["update", "update", "delete", "restore"], "{trail}");
    // Hosts take what is asked of them from now on: they have seen later revisions than the backup has.
    bed.ok("link set lab line delay=7ms");
    bed.ok("restart web --slice lab");
    bed.ok("wait lab");
    bed.ok("up lab.yaml --slice later");
    assert_eq!(fs::read_dir(bed.path("state/replaced")).unwrap().count(), 1);
}

#[test]
fn a_backup_is_taken_by_the_next_start_and_on_another_machine() {
    let mut bed = Bed::with_lab();
    let backup = bed.path("b.tar").display().to_string();
    bed.ok(&format!("backup {backup}"));
    bed.kill();
    // The store is damaged.
    fs::write(bed.path("state/testyard.sqlite"), vec![b'x'; 8192]).unwrap();
    assert!(bed.fails(&format!("backup {}", bed.path("c.tar").display()), 1).contains("damaged"));
    let told = bed.ok(&format!("restore {backup} --yes"));
    assert!(told.contains("the next `testyard serve` takes it"), "{told}");
    bed.serve();
    // Its nodes, which are only pretended, have ended with the server.
    assert_eq!(strings(&bed.json("slice ls --json"), "name"), ["lab"]);

    // A machine that has nothing: its folder comes out of the backup.
    bed.kill();
    for lost in ["etc", "state", "run"] {
        fs::remove_dir_all(bed.path(lost)).unwrap();
    }
    let said = bed.fails(&format!("restore {backup} --yes"), 2);
    assert!(said.contains("--configuration writes what the backup has"), "{said}");
    let told = bed.ok(&format!("restore {backup} --yes --configuration"));
    assert!(told.contains("etc/testyard.toml") && told.contains("etc/users/ann/key.pem"), "{told}");
    let key = fs::metadata(bed.path("etc/authority/root.key")).unwrap().permissions().mode();
    assert_eq!(key & 0o777, 0o600);
    bed.serve();
    bed.ok("wait lab");
}

#[test]
fn what_is_no_backup_of_this_testbed_is_refused() {
    let bed = Bed::with_lab();
    let backup = bed.path("b.tar").display().to_string();
    bed.ok(&format!("backup {backup}"));
    let bytes = fs::read(&backup).unwrap();
    let try_it = |name: &str, bytes: &[u8]| {
        let path = bed.path(name);
        fs::write(&path, bytes).unwrap();
        let output = bed.run(&format!("restore {} --yes", path.display()));
        assert!(!output.status.success(), "{name}");
        text(&output.stderr)
    };
    assert!(try_it("empty", b"").contains("no backup of a testbed"));
    assert!(try_it("text", &b"hello\n".repeat(2000)).contains("no backup of a testbed"));
    let cut = try_it("cut", &bytes[..bytes.len() / 2]);
    assert!(cut.contains("cannot be read") || cut.contains("damaged"), "{cut}");
    let at = bytes.windows(16).position(|window| window == b"SQLite format 3\0").unwrap();
    let mut other = bytes.clone();
    other[at + 5000] ^= 1;
    assert!(try_it("flipped", &other).contains("state/testyard.sqlite in it is damaged"));
    assert!(bed.fails("restore /nonexistent.tar --yes", 2).contains("/nonexistent.tar"));
    // Another testbed's.
    let text = fs::read_to_string(bed.path("etc/testyard.toml")).unwrap();
    let config = bed.file("other/testyard.toml", &text.replace("\"localhost\"", "\"other.example.net\""));
    let said = bed.fails(&format!("restore {backup} --yes --config {config}"), 1);
    assert!(said.contains("is of localhost") && said.contains("other.example.net"), "{said}");
    // The testbed has not noticed.
    bed.ok("status lab");
    assert!(!bed.path("state/restored").exists() && !bed.path("state/replaced").exists());
}
