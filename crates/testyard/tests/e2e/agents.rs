//! A host whose agent is a process of its own, with the real engine: what runs there runs on, whoever dies.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bed, example};
use crate::talk::{Talk, identity};

/// The agent of this machine, which is removed with all that it made.
struct Agent {
    child: Option<Child>,
}

impl Agent {
    fn start(bed: &mut Bed) -> Self {
        let mut agent = Self { child: None };
        agent.run(bed);
        agent
    }

    fn run(&mut self, bed: &mut Bed) {
        let folder = bed.testbed().folder().to_owned();
        let log = fs::File::options().create(true).append(true).open(folder.join("agent.log")).unwrap();
        let mut command = bed.testbed().command();
        command.arg("agent").arg("--socket").arg(folder.join("run/agent.sock"));
        command.arg("--state").arg(folder.join("agent")).arg("--run").arg(folder.join("agent-run"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        until(bed, "ready");
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn remove(mut self, bed: &mut Bed) {
        self.kill();
        let folder = bed.testbed().folder().display().to_string();
        bed.ok(&format!(
            "reset --agent --agent-state {folder}/agent --agent-run {folder}/agent-run --state --yes"
        ));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until the host is so.
fn until(bed: &mut Bed, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !bed.ok("host ls").lines().any(|line| line.starts_with("local ") && line.contains(state)) {
        let said = fs::read_to_string(bed.testbed().folder().join("agent.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "the host is not {state}: {said}\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn e2e_the_agent_beside_its_testbed() {
    let mut bed = Bed::with(|config| {
        config.replace("\n[host]\n", "\n[[host]]\nname = \"local\"\nagent = \"socket\"\n")
    });
    let mut agent = Agent::start(&mut bed);
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    bed.ok("exec alice -- ping -q -c 3 -i 0.2 -W 3 bob");
    let before = identity(&mut bed, "alice");
    let talk = Talk::begin(&mut bed, "alice", "bob", "10.1.1.3");
    for (kills_agent, kills_server) in [(true, false), (false, true), (true, true)] {
        if kills_agent {
            agent.kill();
        }
        if kills_server {
            bed.testbed().kill();
            bed.testbed().serve();
        }
        if kills_agent {
            until(&mut bed, "away");
            let told = bed.ok("status lab");
            assert!(told.contains("host local is out of reach"), "{told}");
            agent.run(&mut bed);
        }
        until(&mut bed, "ready");
        bed.ok("wait lab");
    }
    let silence = talk.end();
    assert!(silence < Duration::from_secs(1), "who talks notices nothing: {silence:?}");
    assert_eq!(identity(&mut bed, "alice"), before);
    // What is asked while it is away comes about when it is back.
    agent.kill();
    until(&mut bed, "away");
    bed.ok("link set lab uplink delay=1ms loss=none --no-wait");
    agent.run(&mut bed);
    bed.ok("wait lab");
    bed.ok("restart router");
    bed.ok("exec alice -- ping -q -c 3 -i 0.2 -W 3 router");
    bed.ok("down lab");
    agent.remove(&mut bed);
}

/// A user who may do nothing on this machine.
const NOBODY: u32 = 65_534;

#[test]
fn e2e_a_server_that_is_nobody_with_an_agent_that_is_root() {
    let mut bed = Bed::with(|config| {
        config.replace("\n[host]\n", "\n[[host]]\nname = \"local\"\nagent = \"socket\"\n")
    });
    bed.testbed().stop();
    let folder = bed.testbed().folder().to_owned();
    let owned = std::process::Command::new("chown").args(["-R", &NOBODY.to_string()]).arg(&folder).status();
    assert!(owned.unwrap().success());
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    bed.testbed().serve_by(&[
        "setpriv",
        &user,
        &group,
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]);
    let agent = Agent::start(&mut bed);
    bed.ok(&format!("up {} --slice lab", example("four-nodes.ns").display()));
    bed.ok("exec alice -- ping -q -c 3 -i 0.2 -W 3 bob");

    // Root backs it up, and restores it: what it needs is its own again.
    let backup = folder.join("backup.tar").display().to_string();
    bed.ok(&format!("backup {backup}"));
    bed.ok("link set lab office delay=30ms");
    let before = identity(&mut bed, "alice");
    bed.ok(&format!("restore {backup} --yes"));
    until(&mut bed, "ready");
    bed.ok("wait lab");
    assert!(bed.ok("status lab").contains("delay=1ms"));
    assert_eq!(identity(&mut bed, "alice"), before);
    bed.ok("link set lab office delay=2ms");
    bed.ok("down lab");
    agent.remove(&mut bed);
}
