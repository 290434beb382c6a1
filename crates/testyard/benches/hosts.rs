//! Many hosts at once: promise S9, and what a hundred hosts with ten thousand slivers cost.
//!
//! `cargo bench -p testyard --bench hosts`. The real server and a real agent a host, each a process of its own, connected by
//! TLS as on many machines; nodes are pretended, so that one machine can have all of them. Memory and processor time are the
//! kernel's numbers.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testyard_testkit::needs;
use testyard_testkit::testbed::Testbed;
use testyard_web::api::{Act, Event, Update};
use testyard_web::{Client, SOCKET};

/// Hosts, slices, nodes of each slice, and whether those are a ring.
const CASES: [(usize, usize, usize, bool); 3] =
    [(1, 1, 1_000, false), (1, 1, 1_000, true), (100, 10, 1_000, false)];
/// For how long nothing is done, to see what that costs.
const IDLE: Duration = Duration::from_secs(30);
/// Calls of each kind.
const CALLS: usize = 30;

fn main() {
    // Not for the nodes: a testbed that ends looks for what is left.
    needs::docker();
    for (hosts, slices, nodes, ring) in CASES {
        let shape = if ring { "in a ring" } else { "without links" };
        println!("hosts: {hosts}, slices: {slices}, nodes of each: {nodes}, {shape}");
        measure(hosts, slices, nodes, ring);
    }
}

/// Agents, which end with the benchmark.
struct Agents(Vec<Child>);

impl Drop for Agents {
    fn drop(&mut self) {
        for agent in &mut self.0 {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

fn measure(hosts: usize, slices: usize, nodes: usize, ring: bool) {
    let program = Path::new(env!("CARGO_BIN_EXE_testyard"));
    let door = format!("127.0.0.1:{}", Testbed::free_port());
    let room = slices * nodes / hosts;
    let mut testbed = Testbed::init(program, |config| configured(&config, hosts, room, &door));
    testbed.serve();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let client = Client::new(testbed.folder().join("run").join(SOCKET), None);
    let alone = resident(testbed.pid());
    let mut agents = Agents(Vec::new());
    for number in 0..hosts {
        agents.0.push(agent(&testbed, number, &door));
    }
    let all_ready = async |client: &Client| {
        let found = client.hosts().await.expect("hosts");
        found.iter().filter(|host| host.state == "ready").count() == hosts
    };
    runtime.block_on(until(async || all_ready(&client).await));
    let begun = Instant::now();
    for slice in 0..slices {
        let update = Update { topology: topology(nodes, ring), ..no_update() };
        runtime.block_on(client.update(&format!("s{slice}"), &update)).expect("the slice fits");
    }
    let asked = begun.elapsed();
    let all_there = async || {
        let briefs = client.slices().await.expect("slices");
        briefs.iter().all(|brief| brief.nodes.get("ready") == Some(&nodes))
    };
    runtime.block_on(until(all_there));
    println!(
        "  {} nodes asked for in {} ms, all ready after {} ms",
        slices * nodes,
        asked.as_millis(),
        begun.elapsed().as_millis()
    );
    let largest = agents.0.iter().map(|agent| resident(agent.id().cast_signed())).max().unwrap_or_default();
    println!(
        "  memory: controller {} MiB ({alone} before), largest agent {largest} MiB",
        resident(testbed.pid())
    );

    let pids: Vec<i32> =
        std::iter::once(testbed.pid()).chain(agents.0.iter().map(|agent| agent.id().cast_signed())).collect();
    let before: Vec<u64> = pids.iter().map(|pid| ticks(*pid)).collect();
    let idle = Instant::now();
    std::thread::park_timeout(IDLE);
    let idle = idle.elapsed();
    let spent: Vec<u64> = pids.iter().zip(before).map(|(pid, before)| ticks(*pid) - before).collect();
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    let share = |ticks: u64| ticks as f64 / idle.as_secs_f64();
    // A hundred ticks a second are one core: so each is a hundredth of it.
    println!(
        "  idle: controller {:.2} % of a core, the busiest agent {:.2} %",
        share(spent[0]),
        share(*spent[1..].iter().max().expect("an agent"))
    );

    calls(&runtime, &client, &testbed);
    events(&runtime, &client);
    let took = back(&runtime, &client, &testbed, &mut agents, &door);
    println!("  a host's return, from its agent's start: {took} ms");
    drop(agents);
    drop(testbed);
}

/// How long calls take, and how much of that is the client's own program.
fn calls(runtime: &tokio::runtime::Runtime, client: &Client, testbed: &Testbed) {
    let median = |mut all: Vec<Duration>| {
        all.sort_unstable();
        all[all.len() / 2]
    };
    let local = |what: &str, call: &dyn Fn()| {
        let all = (0..CALLS).map(|_| {
            let begun = Instant::now();
            call();
            begun.elapsed()
        });
        println!("  {what}: {:.1} ms", median(all.collect()).as_secs_f64() * 1e3);
    };
    local("status of a slice, over the local socket", &|| {
        runtime.block_on(client.slice("s0")).expect("a slice");
    });
    local("all slices", &|| drop(runtime.block_on(client.slices()).expect("slices")));
    local("all hosts", &|| drop(runtime.block_on(client.hosts()).expect("hosts")));
    let by_program = |line: &'static str| move || drop(testbed.ok(line.split(' ')));
    local("AM API, program and TLS handshake included: GetVersion", &by_program("am get-version --json"));
    local("the same: ListResources", &by_program("am list-resources --json"));
    local("the same: Status", &by_program("am status s0 --json"));
}

/// How long after a node's restart was answered others have heard that it is ready again.
fn events(runtime: &tokio::runtime::Runtime, client: &Client) {
    let mut all: Vec<Duration> = runtime.block_on(async {
        let mut lines = client.events(Some("s0")).await.expect("events");
        let mut all = Vec::new();
        for number in 0..CALLS {
            let node = format!("n{number}");
            let act = Act { action: "restart".to_owned(), nodes: vec![node.clone()] };
            client.act("s0", &act).await.expect("it is restarted");
            let begun = Instant::now();
            loop {
                let event: Event = lines.next().await.expect("a line").expect("the testbed goes on");
                if event.node == node && event.state == "ready" {
                    break;
                }
            }
            all.push(begun.elapsed());
        }
        all
    });
    all.sort_unstable();
    println!(
        "  from an answered restart to the event `ready`: {:.1} ms, at most {:.1} ms",
        all[all.len() / 2].as_secs_f64() * 1e3,
        all[all.len() - 1].as_secs_f64() * 1e3
    );
}

/// Milliseconds from the start of an agent that was killed until its host is ready and told everything.
fn back(
    runtime: &tokio::runtime::Runtime,
    client: &Client,
    testbed: &Testbed,
    agents: &mut Agents,
    door: &str,
) -> u128 {
    let mut gone = agents.0.remove(0);
    gone.kill().expect("it runs");
    gone.wait().expect("it was started");
    let state = async || client.hosts().await.expect("hosts")[0].state.clone();
    runtime.block_on(until(async || state().await == "away"));
    let begun = Instant::now();
    agents.0.insert(0, start(testbed, 0, door, None));
    runtime.block_on(until(async || state().await == "ready"));
    begun.elapsed().as_millis()
}

async fn until(mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !so().await {
        assert!(Instant::now() < deadline, "it never comes about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// As `init` has made it, with so many hosts in the place of its one.
fn configured(config: &str, hosts: usize, room: usize, door: &str) -> String {
    let is_of_its_host = |line: &str| line == "[host]" || line.starts_with("ports = ");
    let rest: Vec<&str> = config.lines().filter(|line| !is_of_its_host(line)).collect();
    let mut text = rest.join("\n").replace("#nodes_per_slice = 1000", "nodes_per_slice = 10000");
    let _ = write!(text, "\n[agents]\nbind = \"{door}\"\naddress = \"{door}\"\n");
    let _ = write!(text, "\n[[sliver_type]]\nname = \"docker-container\"\nruntime = \"fake\"\n");
    for number in 0..hosts {
        let _ = write!(
            text,
            "\n[[host]]\nname = \"h{number}\"\npublic_name = \"h{number}.example.net\"\ncapacity = {room}\n"
        );
    }
    text
}

fn agent(testbed: &Testbed, number: usize, door: &str) -> Child {
    let invitation: Value =
        serde_json::from_str(&testbed.ok(["host", "add", &format!("h{number}"), "--json"])).expect("JSON");
    let token = testbed.folder().join(format!("h{number}.token"));
    fs::write(&token, invitation["token"].as_str().expect("a token")).expect("a file can be written");
    start(testbed, number, door, Some(&token))
}

fn start(testbed: &Testbed, number: usize, door: &str, token: Option<&Path>) -> Child {
    let folder = testbed.folder();
    let mut agent = testbed.command();
    agent.arg("agent").arg("--state").arg(folder.join(format!("h{number}")));
    agent.arg("--run").arg(folder.join(format!("h{number}-run")));
    if let Some(token) = token {
        agent.args(["--controller", door, "--token"]).arg(token);
    }
    let log = fs::File::create(folder.join(format!("h{number}.log"))).expect("a log");
    agent.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    agent.spawn().expect("the program starts")
}

fn topology(nodes: usize, ring: bool) -> Value {
    let all: serde_json::Map<String, Value> =
        (0..nodes).map(|number| (format!("n{number}"), serde_json::json!({}))).collect();
    let link = |number: usize| {
        let ends = [number, (number + 1) % nodes].map(|number| format!("n{number}"));
        serde_json::json!({ "name": format!("l{number}"), "between": ends })
    };
    let links: Vec<Value> = (0..nodes).filter(|_| ring).map(link).collect();
    serde_json::json!({ "testyard": 1, "nodes": all, "links": links })
}

fn no_update() -> Update {
    serde_json::from_value(serde_json::json!({ "topology": {} })).expect("all else has a default")
}

/// Mebibytes that a process has.
fn resident(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}

/// Ticks of processor time that a process has used, a hundred a second.
fn ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum()
}
