//! Looking after a testbed while people use it: upgrades, backups, restores.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::support::{Bed, example, program};

/// A session that somebody has open in a node.
struct Open {
    child: Child,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Open {
    fn begin(bed: &mut Bed, node: &str) -> Self {
        let mut command = bed.testbed().command();
        command.args(["ssh", node, "--", "echo open; while read line; do echo got $line; done"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "open");
        Self { child, input, said }
    }

    /// Something said comes back: the session is open still.
    fn says(&mut self, word: &str) {
        self.input.write_all(format!("{word}\n").as_bytes()).unwrap();
        assert_eq!(self.said.next().unwrap().unwrap(), format!("got {word}"));
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

fn guests(bed: &mut Bed) -> usize {
    fs::read_dir(bed.testbed().folder().join("state/guest")).unwrap().count()
}

/// A program of a later version: this one with another guest, which is all that nodes have of it.
fn later_version(bed: &mut Bed) -> std::path::PathBuf {
    let folder = bed.testbed().folder().join("later");
    fs::create_dir_all(&folder).unwrap();
    let now = testyard::guest::find().unwrap();
    let mut guest = fs::read(&now).unwrap();
    guest.extend_from_slice(b"later");
    let (guest_path, later) = (folder.join(testyard::guest::PROGRAM), folder.join("testyard"));
    fs::write(&guest_path, guest).unwrap();
    fs::set_permissions(&guest_path, fs::metadata(&now).unwrap().permissions()).unwrap();
    fs::copy(program(), &later).unwrap();
    later
}

#[test]
fn e2e_an_upgrade_touches_neither_nodes_nor_sessions() {
    let mut bed = Bed::new();
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    bed.ok("exec alice.lab -- touch /tmp/kept");
    let mut session = Open::begin(&mut bed, "alice.lab");
    assert_eq!(guests(&mut bed), 1);

    // As a package does it: the program is replaced, and the service started again.
    let later = later_version(&mut bed);
    bed.testbed().stop();
    session.says("between");
    bed.testbed().upgrade(later);
    bed.testbed().serve();
    bed.ok("wait lab");
    session.says("after");
    bed.ok("exec alice.lab -- ls /tmp/kept");
    assert!(bed.ok("exec alice.lab -- ping -c 1 -W 5 bob").contains("1 received"));
    // What comes from now on has the new guest; what was there keeps its own, over a restart too.
    assert_eq!(guests(&mut bed), 2);
    bed.ok(&format!("up {} --slice fresh", example("two-nodes.rspec").display()));
    bed.ok("restart alice --slice lab");
    bed.ok("wait lab");
    session.child.wait().unwrap();
    bed.ok("exec --all --slice fresh -- true");
    bed.ok("exec --all --slice lab -- true");
}

#[test]
fn e2e_a_restore_goes_back_while_nodes_run_on() {
    let mut bed = Bed::new();
    let topology = example("four-nodes.ns").display().to_string();
    bed.ok(&format!("up {topology} --slice lab"));
    let backup = bed.testbed().folder().join("backup.tar").display().to_string();
    bed.ok(&format!("backup {backup}"));

    // After it: a node gets a fresh disk, which the backup knows nothing of; another slice comes; a link changes.
    bed.ok("reload bob --slice lab");
    bed.ok("wait lab");
    for node in ["alice", "bob"] {
        bed.ok(&format!("exec {node}.lab -- touch /tmp/kept"));
    }
    bed.ok(&format!("up {} --slice later", example("two-nodes.rspec").display()));
    bed.ok("link set lab office delay=30ms");
    let mut session = Open::begin(&mut bed, "alice.lab");

    bed.ok(&format!("restore {backup} --yes"));
    session.says("after");
    bed.ok("wait lab");
    for node in ["alice", "bob"] {
        bed.ok(&format!("exec {node}.lab -- ls /tmp/kept"));
    }
    session.says("again");
    // The link is as it was then.
    assert!(bed.ok("status lab").contains("delay=1ms"));
    assert!(!bed.ok("ls").contains("later"));
    // Whatever is asked of nodes counts, though hosts have heard of later numbers.
    bed.ok("reload bob --slice lab");
    bed.ok("restart alice --slice lab");
    bed.ok("wait lab");
    session.child.wait().unwrap();
    bed.ok("exec alice.lab -- ls /tmp/kept");
    assert!(
        !bed.testbed().run(["exec", "bob.lab", "--", "ls", "/tmp/kept"]).status.success(),
        "a fresh disk"
    );
    assert!(bed.ok("audit").contains("restore"));

    // Of a slice that has gone meanwhile, nodes come back with fresh disks.
    bed.ok("down lab");
    bed.ok(&format!("restore {backup} --yes"));
    bed.ok("wait lab");
    assert!(bed.ok("exec alice.lab -- ping -c 1 -W 5 server").contains("1 received"));
    let mut session = Open::begin(&mut bed, "alice.lab");
    session.says("there");
    session.end();
}
