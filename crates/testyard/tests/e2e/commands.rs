//! Local commands that need real nodes: files, logs, inventories, packets, and the tutorial.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Bed;

const LAB: &str = "testyard: 1
nodes:
  web: {run: 'echo first; echo last'}
  db:
links:
- {name: line, between: [web, db]}
";

fn lab(bed: &mut Bed) {
    let file = bed.file("lab.yaml", LAB);
    bed.ok(&format!("up {file}"));
}

#[test]
fn e2e_folders_are_copied_there_and_back() {
    let mut bed = Bed::new();
    lab(&mut bed);
    let folder = bed.testbed().folder().join("tree");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    std::fs::write(folder.join("below/file"), "deep\n").unwrap();
    bed.ok(&format!("cp -r {} web:/tmp/", folder.display()));
    assert_eq!(bed.ok("exec web -- cat /tmp/tree/below/file"), "deep\n");
    bed.ok("cp -r web:/tmp/tree db:/tmp/");
    let back = bed.testbed().folder().join("back");
    bed.ok(&format!("cp -r db:/tmp/tree {}", back.display()));
    assert_eq!(std::fs::read_to_string(back.join("below/file")).unwrap(), "deep\n");
    bed.ok("down lab");
}

#[test]
fn e2e_logs_are_read_in_the_node_and_known_when_it_is_stopped() {
    let mut bed = Bed::new();
    lab(&mut bed);
    assert_eq!(bed.ok("logs web"), "first\nlast\n");
    let told: Value = serde_json::from_str(&bed.ok("logs web --json")).unwrap();
    assert_eq!((&told[0]["whole"], &told[0]["text"]), (&true.into(), &"first\nlast\n".into()), "{told}");
    bed.ok("stop web");
    let output = bed.testbed().run(["logs", "web"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("web is stopped"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("last\n"), "{output:?}");
    bed.ok("down lab");
}

#[test]
fn e2e_ansible_and_openssh_come_into_the_nodes() {
    let mut bed = Bed::new();
    lab(&mut bed);
    let inventory = bed.ok("inventory lab");
    let inventory = bed.file("lab.yml", &inventory);
    let home = bed.testbed().folder().to_owned();
    // The default image has no Python, which all other modules want.
    let ansible = Command::new("ansible")
        .args(["-i", &inventory, "all", "-m", "raw", "-a", "hostname"])
        .env("HOME", &home)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ansible.stdout).into_owned();
    assert!(ansible.status.success() && said.contains("web") && said.contains("db"), "{said}");
    let config = bed.ok("ssh-config lab");
    let config = bed.file("lab.ssh", &config);
    let ssh =
        Command::new("ssh").args(["-F", &config, "db", "hostname"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ssh.stdout).trim(), "db");
    bed.ok("down lab");
}

#[test]
fn e2e_captures_to_the_standard_output_are_read_by_tshark() {
    let mut bed = Bed::new();
    lab(&mut bed);
    let mut capture = bed.testbed().command();
    let capture = capture.args(["capture", "--all", "--filter", "icmp"]).stdout(Stdio::piped());
    let mut capture = capture.stderr(Stdio::piped()).spawn().unwrap();
    let packets = capture.stdout.take().unwrap();
    let tshark = Command::new("tshark")
        .args(["-n", "-l", "-c", "4", "-r", "-", "-T", "fields", "-e", "frame.interface_name"])
        .stdin(packets)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    bed.ok("exec web -- ping -q -c 20 -i 0.1 -W 3 db");
    let seen = tshark.wait_with_output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert_eq!(seen.lines().count(), 4, "{seen}");
    assert!(seen.contains("web:eth1") && seen.contains("db:eth1"), "{seen}");
    // Its slice ends, if the end of its reader has not ended it.
    bed.ok("down lab");
    assert!(capture.wait().unwrap().success());
}

#[test]
fn e2e_the_tutorials_server_answers() {
    let mut bed = Bed::new();
    let tutorial = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md");
    let tutorial = std::fs::read_to_string(tutorial).unwrap();
    let text = tutorial.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = bed.file("lab.yaml", text);
    bed.ok(&format!("up {file}"));
    assert_eq!(bed.ok("exec alice -- curl -s --retry 5 --retry-connrefused http://server/"), "hello\n");
    bed.ok("exec alice -- ping -c 5 server");
    bed.ok("exec --all -- uname -r");
    bed.ok("down lab");
}
