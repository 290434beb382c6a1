//! `plan`, `convert` and `graph` as people and scripts meet them: every example, and the mistakes of the wiki. No root,
//! no engine, no server; NS files need tclsh 8.6.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs the program in the root of the sources, with no configuration.
fn run(arguments: &[&str]) -> Output {
    run_with(arguments, "")
}

fn run_with(arguments: &[&str], input: &str) -> Output {
    run_in(Path::new(ROOT), arguments, input)
}

fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let empty = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_testyard"))
        .args(arguments)
        .current_dir(folder)
        .env("TESTYARD_DIR", empty.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let mut output = child.wait_with_output().unwrap();
    let clean = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace(&*empty.path().to_string_lossy(), "DIR")
            .into_bytes()
    };
    (output.stdout, output.stderr) = (clean(&output.stdout), clean(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a person sees: what was typed, both outputs, the exit code. No line is wider than a terminal.
fn seen(arguments: &[&str], code: i32) -> String {
    seen_in(Path::new(ROOT), arguments, code)
}

fn seen_in(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = run_in(folder, arguments, "");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
    // Other languages have lines as long as they like.
    let tables = if arguments[0] == "plan" { out.as_str() } else { "" };
    for line in tables.lines().chain(err.lines()).filter(|line| !line.starts_with("testyard: ")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let stderr = if err.is_empty() { String::new() } else { format!("--- standard error\n{err}") };
    format!("$ testyard {}\n{out}{stderr}--- exit code {code}\n", arguments.join(" "))
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&run(arguments).stdout).unwrap()
}

fn examples() -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join("examples")).unwrap();
    let mut files: Vec<String> =
        entries.map(|entry| format!("examples/{}", entry.unwrap().file_name().to_string_lossy())).collect();
    files.sort();
    files
}

#[test]
fn examples_of_every_language() {
    let mut languages = BTreeSet::new();
    for file in examples() {
        let shown = seen(&["plan", &file, "--hosts", "a:50"], 0);
        insta::assert_snapshot!(file.trim_start_matches("examples/").replace('.', "-"), shown);
        let answer = json(&["plan", &file, "--hosts", "a:50", "--json"]);
        assert_eq!(answer["refused"], false, "{file}");
        languages.insert(answer["language"].as_str().unwrap().to_owned());
    }
    let all = ["containers", "json", "ns", "rspec", "topdl", "yaml"];
    assert_eq!(languages, all.into_iter().map(str::to_owned).collect());
}

/// One topology in five languages is one plan, but for what a language has no words for: names of interfaces in NS
/// (Ethernet addresses follow from them), routing in RSpec, ports in topdl.
#[test]
fn one_topology_is_one_plan() {
    let plan = |file: &str| {
        let mut plan =
            json(&["plan", &format!("examples/four-nodes.{file}"), "--hosts", "a:50", "--json"])["plan"]
                .take();
        for node in plan["nodes"].as_array_mut().unwrap() {
            let node = node.as_object_mut().unwrap();
            node.retain(|key, _| key != "forwards" || file != "topdl.xml");
        }
        for link in plan["network"]["links"].as_array_mut().unwrap() {
            for member in link["members"].as_array_mut().unwrap() {
                let member = member.as_object_mut().unwrap();
                member.retain(|key, _| file != "ns" || !matches!(key.as_str(), "interface" | "mac"));
            }
        }
        plan
    };
    let mut whole = plan("yaml");
    assert_eq!(plan("json"), whole);
    let without = |mut plan: Value, of: &dyn Fn(&mut Value)| {
        of(&mut plan);
        plan
    };
    let no_forwards = |plan: &mut Value| {
        for node in plan["nodes"].as_array_mut().unwrap() {
            node.as_object_mut().unwrap().remove("forwards");
        }
    };
    assert_eq!(plan("topdl.xml"), without(whole.clone(), &no_forwards));
    let unnamed = |plan: &mut Value| {
        for link in plan["network"]["links"].as_array_mut().unwrap() {
            for member in link["members"].as_array_mut().unwrap() {
                let member = member.as_object_mut().unwrap();
                member.remove("interface");
                member.remove("mac");
            }
        }
    };
    assert_eq!(plan("ns"), without(whole.clone(), &unnamed));
    let no_routing = |plan: &mut Value| {
        plan["diagnostics"] = Value::Null;
        plan["network"].as_object_mut().unwrap().remove("routing");
        for node in plan["network"]["nodes"].as_array_mut().unwrap() {
            node.as_object_mut().unwrap().remove("forwarding");
        }
    };
    no_routing(&mut whole);
    assert_eq!(without(plan("rspec"), &no_routing), whole);
}

/// What the wiki's own files get wrong, and what else people write.
#[test]
fn mistakes_are_told_with_line_column_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let comma = "[\n {\"name\": \"a\", \"interfaces\": [{\"address\": \"10.1.1.2\" \"mac\": \"02:00:00:00:00:01\"}]}\n]\n";
    let mut shown = String::new();
    for (name, content) in [
        ("comma.json", comma),
        ("typo.yaml", "nodes: {a: , b: }\nlinks:\n- {name: l, betwen: [a, b]}\n"),
        ("nobody.yaml", "nodes: {alice: , bob: }\nlinks:\n- {name: l, between: [alice, bobb]}\n"),
        ("fast.yaml", "nodes: {a: , b: }\nlinks:\n- {name: l, between: [a, b], delay: 200s}\n"),
        (
            "twice.yaml",
            "nodes: {a: , b: }\nlinks:\n- {name: l, between: [{node: a, address: 10.1.1.2}, {node: b, address: 10.1.1.2}]}\n",
        ),
        ("kind.yaml", "nodes: {a: {type: docker-contaner}}\n"),
        ("broken.rspec", "<rspec type=\"request\"><node></rspec>"),
        ("empty.yaml", ""),
        ("loop.ns", "set ns [new Simulator]\nwhile 1 {}\n"),
        ("evil.ns", "exec rm -rf /\n"),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
        shown += &seen_in(folder.path(), &["plan", name, "--hosts", "a:50"], 1);
        shown.push('\n');
    }
    shown += &seen(&["plan", "crates/formats/tests/data/ns/c3p0.ns"], 1);
    insta::assert_snapshot!(shown);
}

#[test]
fn strict_refuses_what_is_warned_about() {
    insta::assert_snapshot!(seen(&["plan", "crates/formats/tests/data/ns/typos.ns", "--strict"], 1));
    seen(&["plan", "examples/four-nodes.ns", "--hosts", "a:9", "--strict"], 0);
    // What the plan remarks on too: nodes of this file cannot all reach each other.
    assert!(
        seen(&["plan", "examples/four-nodes.rspec", "--hosts", "a:9", "--strict"], 1)
            .contains("error: there are no routes")
    );
    assert!(seen(&["plan", "examples/containers.json", "--strict"], 1).contains("no host \"rack-a\""));
}

#[test]
fn the_report_says_what_became_of_each_statement() {
    insta::assert_snapshot!(seen(
        &["plan", "crates/formats/tests/data/ns/deter-lan.ns", "--report", "--hosts", "a:50"],
        0
    ));
    assert!(
        seen(&["plan", "examples/four-nodes.yaml", "--report", "--hosts", "a:9"], 0)
            .contains("taken as a whole")
    );
}

#[test]
fn room_and_hosts() {
    let mut shown = seen(&["plan", "examples/dumbbell.ns", "--hosts", "a:2,b:2"], 0);
    shown += &seen(&["plan", "examples/dumbbell.ns", "--hosts", "a:2,b:1"], 1);
    insta::assert_snapshot!(shown);
    // Partitions are hosts where there is one of that name.
    let answer = json(&["plan", "examples/containers.json", "--hosts", "rack-a:9,rack-b:9", "--json"]);
    let hosts: Vec<&str> = answer["plan"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["host"].as_str().unwrap())
        .collect();
    assert_eq!(hosts, ["rack-a", "rack-a", "rack-b"]);
}

/// What no kernel can do is found on any host.
#[test]
fn a_lan_larger_than_a_bridge_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..1_100).map(|number| format!("n{number}")).collect();
    let content =
        format!("nodes: {{{}: }}\nlinks:\n- {{name: l, lan: [{}]}}\n", names.join(": , "), names.join(", "));
    fs::write(folder.path().join("large.yaml"), content).unwrap();
    let configuration = "[testbed]\nname = \"am.example.net\"\n[host]\nports = \"9000-30000\"\n";
    fs::write(folder.path().join("large.toml"), configuration).unwrap();
    let arguments = ["plan", "large.yaml", "--config", "large.toml", "--hosts", "a:2000"];
    let told = text(&run_in(folder.path(), &arguments, "").stderr);
    assert!(told.contains("needs 1100 ports there, and a Linux bridge has 1023"), "{told}");
    assert!(told.contains("→ split the LAN") && told.contains("large.yaml is refused"), "{told}");
    let here = text(&run_in(folder.path(), &arguments[..4], "").stderr);
    assert!(
        here.contains("1000 nodes here: 1100 were asked for") && here.contains("nodes_per_slice"),
        "{here}"
    );
}

/// Without `--hosts` this machine is planned for, as configured; it says so.
#[test]
fn this_machine_is_the_host() {
    let by_default = text(&run(&["plan", "examples/two-nodes.rspec"]).stdout);
    assert!(
        by_default.contains("on local with room for 100, by default: there is no DIR/testyard.toml"),
        "{by_default}"
    );
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("small.toml");
    fs::write(&configuration, "[testbed]\nname = \"am.example.net\"\n[host]\ncapacity = 1\n").unwrap();
    let arguments = ["plan", "examples/two-nodes.rspec", "--config", configuration.to_str().unwrap()];
    let told = seen(&arguments, 1);
    assert!(
        told.contains("not enough room: asked for 2 nodes") && told.contains("small.toml says how much"),
        "{told}"
    );
    fs::write(&configuration, "[testbed]\nname = \"am.example.net\"\n[host]\ncapacity = 7\n").unwrap();
    assert!(seen(&arguments, 0).contains("on local with room for 7, as "));
    // It is a mistake to ask for one that is not there, or is wrong.
    seen(&["plan", "examples/two-nodes.rspec", "--config", "nowhere.toml"], 2);
    fs::write(&configuration, "[testbed]\nnaem = 1\n").unwrap();
    seen(&arguments, 2);
}

#[test]
fn differences() {
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.yaml");
    let old = fs::read_to_string(Path::new(ROOT).join("examples/four-nodes.yaml")).unwrap();
    let new = old
        .replace("  alice:\n", "  first:\n  alice: {image: \"debian:12\"}\n")
        .replace("10Mbit", "5Mbit")
        .replace("[alice, bob, router]", "[alice, bob, router, first]");
    assert_ne!(old, new);
    fs::write(&changed, new).unwrap();
    fs::write(folder.path().join("old.yaml"), old).unwrap();
    let arguments = ["plan", "--diff", "old.yaml", "changed.yaml", "--hosts", "a:50"];
    insta::assert_snapshot!(seen_in(folder.path(), &arguments, 0));
    let changed = changed.to_str().unwrap();
    let none = seen(&["plan", "--diff", "examples/four-nodes.yaml", "examples/four-nodes.json"], 0);
    assert!(none.contains("nothing changes"), "{none}");
    let answer = json(&["plan", "--diff", "examples/four-nodes.yaml", changed, "--json"]);
    assert_eq!(answer["disturbs"], true);
    assert!(answer["changes"].as_array().unwrap().len() >= 3, "{answer}");
    seen(&["plan", "--diff", "crates/formats/tests/data/ns/c3p0.ns", "examples/four-nodes.ns"], 1);
}

/// Who takes the place of another file leaves alone what both have, wherever it stands.
#[test]
fn what_comes_first_takes_nothing_of_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let old = "nodes: {a: , b: }\nlinks:\n- {name: l, lan: [a, b]}\n";
    let new = "nodes: {x: , a: , b: }\nlinks:\n- {name: m, between: [x, a]}\n- {name: l, lan: [x, a, b]}\n";
    fs::write(folder.path().join("old.yaml"), old).unwrap();
    fs::write(folder.path().join("new.yaml"), new).unwrap();
    let told = seen_in(folder.path(), &["plan", "--diff", "old.yaml", "new.yaml", "--hosts", "a:50"], 0);
    let gone = told.lines().find(|line| line.starts_with("- "));
    assert_eq!(gone, None, "{told}");
    assert!(!told.contains("10.1.1.2 → ") && !told.contains("eth1 → "), "{told}");
}

/// Before anything is made for it, on the machine that plans.
#[test]
fn filters_of_captures_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    for (filter, code) in [("tcp port 80", 0), ("tcp prot 80", 1)] {
        let text =
            format!("nodes: {{a: , b: }}\nlinks:\n- {{name: l, between: [a, b], capture: {filter}}}\n");
        fs::write(folder.path().join("filter.yaml"), text).unwrap();
        let told = seen_in(folder.path(), &["plan", "filter.yaml", "--hosts", "a:9"], code);
        let is_told = told.contains("error: link \"l\": the filter `tcp prot 80` cannot be used");
        assert_eq!(is_told, code == 1, "{told}");
    }
}

#[test]
fn other_languages() {
    let mut shown = String::new();
    for to in ["ns", "rspec", "topdl", "json", "yaml", "graphviz", "mermaid"] {
        shown += &seen(&["convert", "examples/dumbbell.ns", "--to", to], 0);
    }
    shown += &seen(&["convert", "examples/dumbbell.ns", "--to", "containers"], 2);
    insta::assert_snapshot!(shown);
    let drawing = |arguments: &[&str]| text(&run(arguments).stdout);
    assert_eq!(
        drawing(&["graph", "examples/dumbbell.ns"]),
        drawing(&["convert", "examples/dumbbell.ns", "--to", "dot"])
    );
    assert!(drawing(&["graph", "examples/dumbbell.ns", "--format", "mermaid"]).starts_with("graph LR"));
    seen(&["graph", "examples/dumbbell.ns", "--format", "yaml"], 2);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.xml");
    let path = out.to_str().unwrap();
    let lossy = folder.path().join("lossy.yaml");
    fs::write(&lossy, "nodes: {a: {storage: /data}}\n").unwrap();
    seen(&["convert", lossy.to_str().unwrap(), "--to", "rspec", "--strict", "-o", path], 1);
    assert!(!out.exists(), "what loses something is not written where that was refused");
    seen(&["convert", "examples/dumbbell.ns", "--to", "topdl", "-o", path], 0);
    assert!(fs::read_to_string(&out).unwrap().contains("<experiment"));
    let back = json(&["plan", path, "--hosts", "a:9", "--json"]);
    assert_eq!(back["plan"]["network"]["links"].as_array().unwrap().len(), 3);
}

#[test]
fn files_that_are_no_topologies() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let told =
        |arguments: &[&str], code| seen(arguments, code).replace(&*folder.path().to_string_lossy(), "DIR");
    assert!(told(&["plan", "nowhere.ns"], 2).contains("nowhere.ns: No such file"));
    assert!(told(&["plan", "."], 2).contains("Is a directory"));
    assert!(told(&["plan", &file("a.txt", b"hello")], 2).contains("--language LANGUAGE"));
    assert!(told(&["plan", &file("l.ns", b"# a\n# caf\xe9\n")], 1).contains("DIR/l.ns:2:6: not UTF-8"));
    let told_of = |bytes: &[u8]| told(&["plan", &file("u.ns", bytes)], 1);
    assert!(
        told_of(b"\xff\xfes\0e\0t\0").contains("iconv -f UTF-16")
            && told_of(b"caf\xe9").contains("iconv -f LATIN1")
    );
    assert!(
        told(&["plan", "examples/four-nodes.ns", "--language", "graphviz"], 1)
            .contains("can be written, not read")
    );
    // What the option was called before.
    assert!(told(&["plan", "examples/four-nodes.ns", "--as", "ns", "--hosts", "a:9"], 0).contains("4 nodes"));
    assert!(told(&["plan", "examples/four-nodes.ns", "--hosts", "a"], 2).contains("write it like a:50"));
    assert!(told(&["plan", "examples/four-nodes.ns", "--hosts", "a:1,a:2"], 2).contains("a twice"));
    assert!(told(&["plan", "examples/four-nodes.ns", "--host-topology", "x"], 2).contains("container list"));
}

/// The language is known by the content too, and a file may come through a pipe.
#[test]
fn the_standard_input() {
    for file in examples() {
        let content = fs::read_to_string(Path::new(ROOT).join(&file)).unwrap();
        let output = run_with(&["plan", "-", "--hosts", "a:50"], &content);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
    }
}

/// How wide the networks of container lists are can be said by the topology of their hosts.
#[test]
fn hosts_of_container_lists() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts.yaml");
    let content = "nodes: {rack-a: , rack-b: }\nlinks:\n- {name: l, between: [{node: rack-a, address: 10.7.0.1/16}, {node: rack-b, address: 10.7.0.2/16}]}\n";
    fs::write(&hosts, content).unwrap();
    let answer = json(&[
        "plan",
        "examples/containers.json",
        "--host-topology",
        hosts.to_str().unwrap(),
        "--hosts",
        "rack-a:9,rack-b:9",
        "--json",
    ]);
    assert_eq!(answer["plan"]["network"]["links"][0]["subnets"][0], "10.7.0.0/16", "{answer}");
}

/// Hostile files: every file of the corpora ends with 0 or 1, and no control character reaches the terminal.
#[test]
fn the_corpora() {
    let mut count = 0;
    for folder in ["ns", "rspec", "topology"] {
        for entry in fs::read_dir(Path::new(ROOT).join("crates/formats/fuzz/corpus").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let language = if folder == "topology" { name.split('-').next().unwrap() } else { folder };
            let output =
                run(&["plan", path.to_str().unwrap(), "--language", language, "--report", "--hosts", "a:50"]);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {}", text(&output.stderr));
            let shown = text(&output.stdout) + &text(&output.stderr);
            assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{name}: {shown:?}");
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
}
