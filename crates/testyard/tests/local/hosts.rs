//! Hosts whose agents are processes of their own: `host`, `agent`.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::bed::Bed;

/// This machine with room for one node.
const HERE: &str = "[[host]]\nname = \"local\"\nagent = \"inside\"\ncapacity = 1\n";

const THREE: &str = "testyard: 1\nnodes: {a: {}, b: {}, c: {}}\n";

/// Where agents come in, on a free port.
fn agents() -> String {
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("[agents]\nbind = \"{at}\"\naddress = \"{at}\"\n")
}

fn host(name: &str) -> String {
    format!("[[host]]\nname = \"{name}\"\ncapacity = 2\npublic_name = \"{name}.example.net\"\n")
}

/// A host's agent, which ends with its test.
struct Agent(Child);

impl Agent {
    fn start(bed: &Bed, name: &str, arguments: &str) -> Self {
        let log =
            fs::File::options().create(true).append(true).open(bed.path(&format!("{name}.log"))).unwrap();
        let mut agent = bed.command();
        agent
            .args(["agent", "--state"])
            .arg(bed.path(name))
            .arg("--run")
            .arg(bed.path(&format!("{name}-run")));
        agent.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(agent.spawn().unwrap())
    }

    /// With a new token.
    fn enrol(bed: &Bed, name: &str) -> Self {
        let invitation = bed.json(&format!("host add {name} --json"));
        let token = bed.file(&format!("{name}.token"), invitation["token"].as_str().unwrap());
        let controller = invitation["controller"].as_str().unwrap();
        Self::start(bed, name, &format!("--controller {controller} --token {token}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn state(bed: &Bed, name: &str) -> String {
    let hosts = bed.json("host ls --json");
    let is_it = |host: &&Value| host["name"] == name;
    hosts.as_array().unwrap().iter().find(is_it).map_or_else(String::new, |host| host["state"].to_string())
}

fn until(bed: &Bed, name: &str, is: &str) {
    bed.until(&format!("{name} is {is}"), |bed| state(bed, name) == format!("{is:?}"));
}

/// How many nodes of the slice are on a host, and what is wrong with them.
fn on(bed: &Bed, slice: &str, host: &str) -> (usize, Vec<String>) {
    let slice = bed.json(&format!("status {slice} --json"));
    let nodes = slice["nodes"].as_array().unwrap().iter().filter(|node| node["host"] == host);
    let errors: Vec<String> =
        nodes.map(|node| node["error"].as_str().unwrap_or_default().to_owned()).collect();
    (errors.len(), errors.into_iter().filter(|error| !error.is_empty()).collect())
}

#[test]
fn a_host_is_added_while_the_testbed_runs() {
    let bed = Bed::configured(&(agents() + HERE));
    let three = bed.file("three.yaml", THREE);
    assert!(bed.fails(&format!("up {three}"), 1).contains("1 on local"));
    let unknown = bed.fails("host add h1", 1);
    assert!(unknown.contains("write it into the configuration as [[host]]"), "{unknown}");
    assert!(bed.fails("host add local", 1).contains("this machine itself"));

    bed.reconfigure(&host("h1"));
    until(&bed, "h1", "away");
    let away = bed.fails(&format!("up {three}"), 1);
    assert!(away.contains("none on h1 (it cannot start nodes now)"), "{away}");
    let _agent = Agent::enrol(&bed, "h1");
    until(&bed, "h1", "ready");
    bed.ok(&format!("up {three}"));
    assert_eq!((on(&bed, "three", "local").0, on(&bed, "three", "h1").0), (1, 2));
    let shown = bed.ok("host show h1");
    assert!(shown.contains("h1: ready") && shown.contains("2, room for 0 more of 2"), "{shown}");
    assert!(bed.fails("host show h2", 1).contains("there are: local, h1"));
    assert_eq!(bed.ok("host ls").lines().count(), 3);
    // The printed command is all that a script reads.
    let printed = bed.ok("host add h1");
    assert!(printed.starts_with("echo h1.") && printed.contains("| testyard agent --controller 127.0.0.1:"));
    assert_eq!(printed.lines().count(), 1);
}

#[test]
fn nodes_of_a_host_that_is_away_say_so_and_run_on() {
    let mut bed = Bed::configured(&(agents() + HERE + &host("h1")));
    let agent = Agent::enrol(&bed, "h1");
    until(&bed, "h1", "ready");
    let three = bed.file("three.yaml", THREE);
    bed.ok(&format!("up {three}"));
    drop(agent);
    until(&bed, "h1", "away");
    let (nodes, errors) = on(&bed, "three", "h1");
    assert_eq!((nodes, errors.len()), (2, 2));
    assert!(
        errors[0].starts_with("host h1 is out of reach (") && errors[0].ends_with("what runs there runs on")
    );
    // From here on it needs no token, and the controller may be started again.
    let _agent = Agent::start(&bed, "h1", "");
    until(&bed, "h1", "ready");
    // Pretended nodes end with whoever pretends.
    bed.ok("reload --all --slice three");
    bed.kill();
    bed.serve();
    until(&bed, "h1", "ready");
    bed.until("nothing is wrong", |bed| on(bed, "three", "h1") == (2, vec![]));
    bed.ok("down three");
}

#[test]
fn a_host_is_taken_out_of_the_configuration_and_put_back() {
    let bed = Bed::configured(&(agents() + HERE + &host("h1")));
    let agent = Agent::enrol(&bed, "h1");
    until(&bed, "h1", "ready");
    let three = bed.file("three.yaml", THREE);
    bed.ok(&format!("up {three}"));
    bed.rewrite(|text| text.replace(&host("h1"), ""));
    until(&bed, "h1", "unlisted");
    assert!(bed.fails("host add h1", 1).contains("there is no host h1"));
    // Its agent comes back all the same: what lives on it is looked after.
    drop(agent);
    let _agent = Agent::start(&bed, "h1", "");
    bed.until("its nodes are seen again", |bed| {
        let (nodes, errors) = on(bed, "three", "h1");
        nodes == 2 && errors.iter().all(|error| !error.contains("out of reach"))
    });
    bed.reconfigure(&host("h1"));
    until(&bed, "h1", "ready");
    bed.ok("reload --all --slice three");
    bed.until("nothing is wrong", |bed| on(bed, "three", "h1") == (2, vec![]));
    bed.ok("down three");
}

#[test]
fn who_comes_in_with_a_new_token_is_the_host() {
    let bed = Bed::configured(&(agents() + HERE + &host("h1")));
    let _first = Agent::enrol(&bed, "h1");
    until(&bed, "h1", "ready");
    // Another machine, by a token of the same host.
    let invitation = bed.json("host add h1 --json");
    let token = bed.file("h1.token", invitation["token"].as_str().unwrap());
    let controller = invitation["controller"].as_str().unwrap();
    let _second = Agent::start(&bed, "other", &format!("--controller {controller} --token {token}"));
    let heard = |name: &str, what: &str| {
        let log = format!("{name}.log");
        bed.until(what, |bed| fs::read_to_string(bed.path(&log)).unwrap_or_default().contains(what));
    };
    heard("h1", "is good no more");
    heard("other", "this machine is a host of the testbed");
    until(&bed, "h1", "ready");
}

#[test]
fn a_host_has_one_controller() {
    let (one, two) = (
        Bed::configured(&(agents() + HERE + &host("h1"))),
        Bed::configured(&(agents() + HERE + &host("h1"))),
    );
    let agent = Agent::enrol(&one, "h1");
    until(&one, "h1", "ready");
    drop(agent);
    // The token of another testbed, where that one's membership is.
    let invitation = two.json("host add h1 --json");
    let token = two.file("h1.token", invitation["token"].as_str().unwrap());
    let come_in = format!("--controller {} --token {token}", invitation["controller"].as_str().unwrap());
    let folders = format!("--state {} --run {}", one.path("h1").display(), one.path("h1-run").display());
    let said = one.fails(&format!("agent {folders} {come_in}"), 1);
    assert!(said.contains("a host of another testbed") && said.contains("membership.json"), "{said}");
    // The first one has lost nothing by it; and with folders of its own the machine is the second one's, too.
    let _first = Agent::start(&one, "h1", "");
    until(&one, "h1", "ready");
    let _second = Agent::start(&two, "h1", &come_in);
    until(&two, "h1", "ready");
    until(&one, "h1", "ready");
}

#[test]
fn a_host_is_drained_and_removed() {
    let bed = Bed::configured(&(agents() + HERE + &host("h1") + &host("h2")));
    let agents = [Agent::enrol(&bed, "h1"), Agent::enrol(&bed, "h2")];
    until(&bed, "h1", "ready");
    until(&bed, "h2", "ready");
    bed.ok("host drain h1");
    until(&bed, "h1", "drained");
    assert!(bed.ok("host drain h1").contains("drained already"));
    let three = bed.file("three.yaml", THREE);
    bed.ok(&format!("up {three}"));
    assert_eq!((on(&bed, "three", "h1").0, on(&bed, "three", "h2").0), (0, 2));
    bed.ok("host rm h1");
    until(&bed, "h1", "away");
    let held = bed.fails("host rm h2", 1);
    assert!(held.contains("nodes of three are on host h2") && held.contains("--lost"), "{held}");
    // What can be spoken to is not lost: its nodes would run there for ever.
    assert!(bed.fails("host rm h2 --lost", 1).contains("host h2 can be reached"));
    let [first, second] = agents;
    drop(second);
    until(&bed, "h2", "away");
    assert!(bed.ok("host rm h2 --lost").contains("2 slivers"));
    assert_eq!(on(&bed, "three", "h2").0, 0);
    // Both are sent away for good, until they show a new token.
    let second = Agent::start(&bed, "h2", "");
    bed.until("the agent hears why", |bed| {
        fs::read_to_string(bed.path("h2.log"))
            .unwrap()
            .contains("there is no host h2: `testyard host add h2` makes one")
    });
    drop((first, second));
    bed.ok("host drain h1 --undo");
    let _agent = Agent::enrol(&bed, "h1");
    until(&bed, "h1", "ready");
    assert_eq!(state(&bed, "h2"), "\"away\"");
}

#[test]
fn the_agent_of_this_machine_is_beside_its_testbed() {
    let bed = Bed::configured("[[host]]\nname = \"local\"\nagent = \"socket\"\n");
    until(&bed, "local", "away");
    assert!(bed.fails("host add local", 1).contains("needs no token"));
    let socket = format!("--socket {}", bed.path("run/agent.sock").display());
    let agent = Agent::start(&bed, "here", &socket);
    until(&bed, "local", "ready");
    let three = bed.file("three.yaml", THREE);
    bed.ok(&format!("up {three}"));
    assert_eq!(on(&bed, "three", "local"), (3, vec![]));
    // One machine has one agent.
    let mut second = Agent::start(&bed, "here", &socket);
    assert!(!second.0.wait().unwrap().success());
    let other = Agent::start(&bed, "other", &socket);
    bed.until("the other hears why", |bed| {
        let log = fs::read_to_string(bed.path("other.log")).unwrap();
        log.contains("another agent is connected as host local")
    });
    drop((other, agent));
    until(&bed, "local", "away");
}

#[test]
fn an_agent_without_a_membership_says_what_to_do() {
    let bed = Bed::new();
    let (state, run) = (bed.path("nobody"), bed.path("nobody-run"));
    let line = format!("agent --state {} --run {}", state.display(), run.display());
    let said = bed.fails(&line, 2);
    assert!(said.contains("`testyard host add NAME`"), "{said}");
    let token = bed.file("token", "h1.nonsense");
    let said = bed.fails(&format!("{line} --controller 127.0.0.1:1 --token {token}"), 2);
    assert!(said.contains("copy all of what `testyard host add` has printed"), "{said}");
}
