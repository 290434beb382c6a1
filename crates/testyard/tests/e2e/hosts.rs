//! One testbed on three machines: each a network namespace with an engine and an agent of its own, on a network between
//! them that tests cut and spoil. The controller is on a fourth, this one.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testyard_testkit::engine::Engine;
use testyard_testkit::netns::Netns;

use crate::measured;
use crate::support::{Bed, IMAGE, program};

/// What fits between hosts.
const MTU: u32 = 1450;

/// A machine.
struct Machine {
    name: String,
    netns: Netns,
    engine: Engine,
    agent: Option<Child>,
    folder: PathBuf,
}

/// A testbed on three machines.
struct Yard {
    bed: Option<Bed>,
    machines: Vec<Machine>,
    /// The network between them; ports `p1` to `p3` lead to machines.
    underlay: Netns,
    /// This machine's interface on it, which goes with it.
    uplink: String,
}

static YARDS: AtomicU32 = AtomicU32::new(0);

/// Of three, in the order of their names.
const NAMES: [&str; 3] = ["east", "north", "west"];

impl Yard {
    fn new() -> Self {
        let underlay = Netns::new();
        underlay.command("ip link add lan up type bridge");
        let number = (2 * std::process::id() + YARDS.fetch_add(1, Ordering::Relaxed)) % 250;
        let uplink = format!("tyard{number}");
        // This machine is the fourth on it.
        let path = underlay.path().display().to_string();
        run(&format!("ip link add {uplink} type veth peer name here netns {path}"));
        run(&format!("ip address add 198.18.{number}.254/24 dev {uplink}"));
        run(&format!("ip link set {uplink} up"));
        underlay.command("ip link set here up master lan");
        let folder = std::env::temp_dir().join(format!("testyard-hosts-{}-{number}", std::process::id()));
        let machine = |(index, name): (usize, &&str)| {
            let netns = Netns::new();
            netns.command("ip link set lo up");
            let place = index + 1;
            netns.command(&format!("ip link add uplink type veth peer name p{place} netns {path}"));
            underlay.command(&format!("ip link set p{place} up master lan"));
            netns.command(&format!("ip address add 198.18.{number}.{place}/24 dev uplink"));
            netns.command("ip link set uplink up");
            netns.command(&format!("ip route add default via 198.18.{number}.254"));
            (name.to_string(), netns, folder.join(name))
        };
        let places: Vec<_> = NAMES.iter().enumerate().map(machine).collect();
        // Each takes a while to load the image.
        let machines = thread::scope(|scope| {
            let start = |(name, netns, folder): (String, Netns, PathBuf)| {
                scope.spawn(move || {
                    let engine = Engine::start_in(&folder.join("engine"), &netns.path());
                    engine.copy_image(IMAGE);
                    Machine { name, netns, engine, agent: None, folder }
                })
            };
            let running: Vec<_> = places.into_iter().map(start).collect();
            running.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        let at = format!("198.18.{number}.254:{}", 9_000 + number);
        let hosts: String = machines
            .iter()
            .enumerate()
            .map(|(index, machine)| {
                let (name, address) = (&machine.name, format!("198.18.{number}.{}", index + 1));
                let socket = machine.engine.socket();
                format!(
                    "[[host]]\nname = \"{name}\"\npublic_name = \"{address}\"\ntunnel = \"{address}\"\n\
                     capacity = 4\ndocker = \"{}\"\n",
                    socket.display()
                )
            })
            .collect();
        let agents = format!("[agents]\nbind = \"{at}\"\naddress = \"{at}\"\n");
        let bed = Bed::with(|config| config.replace("\n[host]\n", &format!("\n{agents}{hosts}")));
        let mut yard = Self { bed: Some(bed), machines, underlay, uplink };
        for place in 0..yard.machines.len() {
            yard.enrol(place);
        }
        for name in NAMES {
            yard.until(name, "ready");
        }
        yard
    }

    fn bed(&mut self) -> &mut Bed {
        self.bed.as_mut().expect("it is there until the end")
    }

    fn ok(&mut self, line: &str) -> String {
        self.bed().ok(line)
    }

    fn json(&mut self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).unwrap()
    }

    fn place(name: &str) -> usize {
        NAMES.iter().position(|known| *known == name).unwrap()
    }

    fn machine(&mut self, name: &str) -> &mut Machine {
        &mut self.machines[Self::place(name)]
    }

    fn enrol(&mut self, place: usize) {
        let name = self.machines[place].name.clone();
        let invitation = self.json(&format!("host add {name} --json"));
        let token = self.machines[place].folder.join("token");
        fs::write(&token, invitation["token"].as_str().unwrap()).unwrap();
        let controller = invitation["controller"].as_str().unwrap().to_owned();
        self.machines[place].start(&["--controller", &controller, "--token", &token.display().to_string()]);
    }

    /// Waits until a host is so.
    fn until(&mut self, name: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let hosts = self.json("host ls --json");
            let host = hosts.as_array().unwrap().iter().find(|host| host["name"] == name).unwrap().clone();
            if host["state"] == state {
                return;
            }
            let said = fs::read_to_string(self.machine(name).folder.join("agent.log")).unwrap_or_default();
            let log = self.bed().testbed().log();
            assert!(Instant::now() < deadline, "{name} is not {state}: {host}\n{said}\n{log}");
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Cuts a machine off, or ends that.
    fn cut(&mut self, name: &str, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        self.underlay.command(&format!("ip link set p{} {state}", Self::place(name) + 1));
    }

    /// Waits until a node reaches another.
    fn reaches(&mut self, from: &str, to: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let line = format!("exec {from} -- ping -q -c 3 -i 0.2 -W 3 {to}");
        while !self.bed().testbed().run(line.split(' ')).status.success() {
            assert!(Instant::now() < deadline, "{from} does not reach {to}: {}", self.ok("status lab"));
            thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// Runs a command in a node, whatever the controller thinks: by its engine.
    fn inside(&mut self, host: &str, node: &str, command: &[&str]) -> (bool, String) {
        let engine = &self.machine(host).engine;
        let (_, ids) = engine.docker(&["ps", "--quiet"]);
        let is_it = |id: &&str| {
            let (_, shown) = engine.docker(&["inspect", "--format", "{{.Config.Hostname}}", id]);
            shown.trim() == node
        };
        let id = ids.lines().find(is_it).unwrap_or_else(|| panic!("{node} is not on {host}: {ids}"));
        engine.docker(&[&["exec", id][..], command].concat())
    }
}

impl Machine {
    fn start(&mut self, arguments: &[&str]) {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("agent.log")).unwrap();
        let mut agent = Command::new("nsenter");
        agent.arg(format!("--net={}", self.netns.path().display())).arg("--").arg(program()).arg("agent");
        agent.arg("--state").arg(self.folder.join("state")).arg("--run").arg(self.folder.join("run"));
        agent.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(agent.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            machine.kill();
            let mut reset = Command::new("nsenter");
            reset.arg(format!("--net={}", machine.netns.path().display())).arg("--").arg(program());
            reset
                .args(["reset", "--agent", "--state", "--yes", "--agent-state"])
                .arg(machine.folder.join("state"));
            reset.arg("--agent-run").arg(machine.folder.join("run")).stdin(Stdio::null());
            let done = reset.output().unwrap();
            if !thread::panicking() {
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
                let rules = machine.netns.command("nft list tables");
                assert!(!rules.contains("testyard"), "left behind: {rules}");
                let links = machine.netns.command("ip -o link");
                assert_eq!(links.lines().count(), 2, "more than lo and uplink are left: {links}");
                let (_, containers) = machine.engine.docker(&["ps", "--all", "--quiet"]);
                assert_eq!(containers, "", "left behind");
            }
        }
        drop(self.bed.take());
        let _ = Command::new("ip").args(["link", "delete", &self.uplink]).status();
        let folder = self.machines.first().and_then(|machine| machine.folder.parent()).map(PathBuf::from);
        self.machines.clear();
        if let Some(folder) = folder.filter(|_| !thread::panicking()) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A LAN of a node on each machine, and a cable between two of them.
const TOPOLOGY: &str = "testyard: 1
nodes:
  a: {host: east}
  b: {host: north}
  c: {host: west}
  d: {host: west}
links:
  - {name: lan, lan: [a, b, c]}
  - {name: cable, between: [b, d], delay: 20ms}
";

#[test]
fn e2e_one_testbed_on_three_machines() {
    let mut yard = Yard::new();
    let file = yard.bed().file("three.yaml", TOPOLOGY);
    let said = yard.ok(&format!("up {file} --slice lab"));
    assert!(said.contains("ready"), "{said}");
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("b", "d")] {
        yard.ok(&format!("exec {from} -- ping -q -c 3 -i 0.2 -W 3 {to}"));
    }
    // What the plan says of the largest packet is so, also where nobody but the kernel cuts.
    let mtu = yard.ok("exec a -- cat /sys/class/net/eth1/mtu");
    assert_eq!(mtu.trim(), MTU.to_string());
    yard.ok(&format!("exec a -- ping -q -c 2 -i 0.2 -W 3 -M do -s {} c", MTU - 28));

    // Changed while it runs, measured, and looked at.
    yard.ok("link set lab cable delay=10ms");
    yard.ok("link set lab cable rate=10Mbit");
    let said = measured::verify(yard.bed(), "verify lab", "verify lab --last --json");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    let report = yard.json("verify lab --last --json");
    measured::says_something(&report);
    let ways = report["ways"].as_array().unwrap();
    assert_eq!(ways.len(), 5, "three of the LAN, two of the cable: {report:#}");
    let pcap = yard.bed().testbed().folder().join("lan.pcapng").display().to_string();
    let capture = yard.bed().testbed().command().args(["capture", "lan", "-w", &pcap]).spawn();
    let mut capture = capture.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        yard.ok("exec a -- ping -q -c 2 -i 0.2 -W 3 b");
        let read = Command::new("tcpdump").args(["-n", "-r", &pcap]).output().unwrap();
        let read = String::from_utf8_lossy(&read.stdout).into_owned();
        if read.matches("ICMP echo request").count() >= 4 {
            break;
        }
        assert!(Instant::now() < deadline, "both ends are seen: {read}");
    }
    capture.kill().unwrap();
    capture.wait().unwrap();

    // A machine cut off: its nodes go on, and so do the others; it is said, and it comes back by itself.
    yard.cut("west", true);
    yard.until("west", "away");
    let told = yard.ok("status lab");
    assert!(told.contains("host west is out of reach"), "{told}");
    yard.ok("exec a -- ping -q -c 3 -i 0.2 -W 3 b");
    assert!(yard.inside("west", "c", &["ping", "-q", "-c", "2", "-W", "2", "localhost"]).0);
    assert!(!yard.inside("west", "c", &["ping", "-q", "-c", "1", "-W", "1", "a"]).0);
    // What is asked meanwhile comes about when it is back.
    yard.ok("link set lab cable delay=30ms --no-wait");
    yard.cut("west", false);
    yard.until("west", "ready");
    yard.ok("wait lab");
    yard.ok("exec c -- ping -q -c 3 -i 0.2 -W 3 a");
    let took = round_trip(&mut yard, "b", "d");
    assert!((60.0..90.0).contains(&took), "{took}");

    // An agent killed: links across go on without it.
    yard.machine("north").kill();
    yard.until("north", "away");
    assert!(yard.inside("north", "b", &["ping", "-q", "-c", "3", "-i", "0.2", "-W", "3", "a"]).0);
    yard.machine("north").start(&[]);
    yard.until("north", "ready");
    yard.ok("wait lab");
    assert!((60.0..90.0).contains(&round_trip(&mut yard, "b", "d")));

    // An engine killed and started again: its nodes come back, on the same links.
    yard.machine("west").engine.crash_machine();
    yard.machine("west").engine.resume();
    for (from, to) in [("c", "a"), ("d", "b")] {
        yard.reaches(from, to);
    }
    yard.ok("wait lab --timeout 120");

    // A host drained: what is there stays, and nothing comes.
    yard.ok("host drain west");
    let four = yard.bed().file("four.yaml", "testyard: 1\nnodes: {x: {}, y: {}, z: {}, w: {}}\n");
    yard.ok(&format!("up {four} --slice other"));
    let status = yard.json("status other --json");
    let nodes = status["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["host"] != "west"), "{status:#}");
    yard.ok("exec c -- ping -q -c 3 -i 0.2 -W 3 a");
    yard.ok("down other");
    yard.ok("host drain west --undo");
    yard.ok("down lab");
    // No tunnel is left, and none is let in.
    for machine in &yard.machines {
        let rules = machine.netns.command("nft list ruleset");
        assert!(!rules.contains("elements = { 198.18"), "{rules}");
    }
}

/// The shortest of some echoes, in milliseconds.
fn round_trip(yard: &mut Yard, from: &str, to: &str) -> f64 {
    let said = yard.ok(&format!("exec {from} -- ping -q -c 8 -i 0.05 -W 3 {to}"));
    let line = said.lines().last().unwrap();
    line.split(['=', '/']).nth(4).unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap()
}

#[test]
fn e2e_a_management_network_that_loses_packets() {
    let mut yard = Yard::new();
    // One in five, both ways, of what agents and controller say.
    for machine in &yard.machines {
        machine.netns.command("nft add table inet lossy");
        for (hook, port) in [("input", "sport"), ("output", "dport")] {
            machine.netns.command(&format!(
                "nft add chain inet lossy {hook} {{ type filter hook {hook} priority 0 ; }}"
            ));
            machine.netns.command(&format!(
                "nft add rule inet lossy {hook} tcp {port} 9000-9250 numgen random mod 5 == 0 counter drop"
            ));
        }
    }
    let file = yard.bed().file("three.yaml", TOPOLOGY);
    yard.ok(&format!("up {file} --slice lab"));
    for (from, to) in [("a", "b"), ("c", "a"), ("b", "d")] {
        yard.ok(&format!("exec {from} -- ping -q -c 3 -i 0.2 -W 3 {to}"));
    }
    yard.ok("link set lab cable delay=40ms");
    assert!((80.0..100.0).contains(&round_trip(&mut yard, "b", "d")));
    yard.ok("down lab");
    for machine in &yard.machines {
        let rules = machine.netns.command("nft list table inet lossy");
        assert!(!rules.contains("packets 0 "), "nothing was lost: {rules}");
        machine.netns.command("nft delete table inet lossy");
    }
}
