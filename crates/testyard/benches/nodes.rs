//! From the request to ready, beside the raw engine: promises S1 and S5.
//!
//! `cargo bench -p testyard --bench nodes` as root, with an engine and the default image. In one run, in turns:
//! N nodes through the AM API, from the first byte of Allocate to the last node's `ready`, without links and as a ring; and
//! N containers of the same image, created and started through the engine's own API, eight at a time, without network.

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{at, engine, median, since_start, timeline};
use serde_json::{Value, json};
use testyard_testkit::testbed::Testbed;
use testyard_testkit::{leaks, needs};

const IMAGE: &str = "testyard/debian:12";
/// Nodes, whether they are a ring, and how often.
const CASES: [(usize, bool, usize); 3] = [(20, false, 5), (20, true, 5), (50, true, 3)];
const IN_FLIGHT: usize = 8;

fn main() {
    needs::root();
    needs::docker();
    let mut testbed = Testbed::init(Path::new(env!("CARGO_BIN_EXE_testyard")), |config| config);
    testbed.serve();
    for (nodes, ring, rounds) in CASES {
        measure(&testbed, nodes, ring, rounds);
    }
    let instance = testbed.instance().to_owned();
    drop(testbed);
    leaks::assert_none(&instance);
}

fn measure(testbed: &Testbed, nodes: usize, ring: bool, rounds: usize) {
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut timelines = Vec::new();
    let mut answers = Vec::new();
    for round in 0..=rounds {
        let engine = raw_engine(nodes);
        let (whole, answer, timeline) = through_the_api(testbed, nodes, ring, round);
        // The first round warms caches of both.
        if round > 0 {
            raw.push(engine);
            ours.push(whole);
            answers.push(answer);
            timelines.extend(timeline);
        }
    }
    let (mine, engine) = (median(&mut ours), median(&mut raw));
    let shape = if ring { "in a ring" } else { "unlinked" };
    println!("S1  {nodes} nodes {shape}, to ready      {mine:8.0} ms (median of {rounds})");
    println!("    {nodes} containers, raw engine          {engine:8.0} ms");
    println!("    ratio                              {:8.2}", mine / engine);
    println!("S5  Provision answers in               {:8.0} ms", median(&mut answers));
    let stages = ["attached", "guest_up", "prepared", "ssh_up", "ready"];
    let mut line = String::new();
    for stage in stages {
        let mut after: Vec<f64> =
            timelines.iter().filter_map(|timeline| since_start(timeline, stage)).collect();
        let _ = write!(line, "  {stage} {:.0}", median(&mut after));
    }
    println!("    after the container's start, ms (median over all nodes):{line}");
}

/// Milliseconds from creation and start of all containers to the last one's start.
fn raw_engine(nodes: usize) -> f64 {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < nodes {
                    let body = json!({
                        "Image": IMAGE, "Cmd": ["sleep", "infinity"], "Labels": {"testyard.bench": "raw"},
                        "HostConfig": {"NetworkMode": "none"}
                    });
                    let made = engine("POST", "/containers/create", Some(&body));
                    let id = made["Id"].as_str().expect("the engine makes a container");
                    engine("POST", &format!("/containers/{id}/start"), None);
                }
            });
        }
    });
    let took = began.elapsed();
    let filter = "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22testyard.bench%3Draw%22%5D%7D";
    for container in engine("GET", filter, None).as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id");
        engine("DELETE", &format!("/containers/{id}?force=1"), None);
    }
    took.as_secs_f64() * 1000.0
}

fn ring_interfaces(number: usize) -> String {
    format!("<interface client_id=\"n{number}:left\"/><interface client_id=\"n{number}:right\"/>")
}

/// Milliseconds to ready, milliseconds of the Provision call, and each node's timeline.
fn through_the_api(
    testbed: &Testbed,
    nodes: usize,
    ring: bool,
    round: usize,
) -> (f64, f64, Vec<Vec<(String, f64)>>) {
    let slice = format!("bench{nodes}-{ring}-{round}");
    let interfaces = |number: usize| if ring { ring_interfaces(number) } else { String::new() };
    let mut inside: String = (0..nodes)
        .map(|number| {
            let interfaces = interfaces(number);
            format!(
                "<node client_id=\"n{number}\" exclusive=\"false\"><sliver_type name=\"docker-container\"/>{interfaces}</node>"
            )
        })
        .collect();
    if ring {
        inside.extend((0..nodes).map(|number| {
            let next = (number + 1) % nodes;
            format!(
                "<link client_id=\"l{number}\"><interface_ref client_id=\"n{number}:right\"/>\
                 <interface_ref client_id=\"n{next}:left\"/></link>"
            )
        }));
    }
    let request =
        format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">{inside}</rspec>");
    let file = testbed.folder().join("bench.rspec");
    std::fs::write(&file, request).expect("a file can be written");
    let file = file.to_string_lossy().into_owned();
    let began = SystemTime::now();
    testbed.ok(["am", "allocate", &slice, &file]);
    let provision = Instant::now();
    testbed.ok(["am", "provision", &slice]);
    let answer = provision.elapsed();
    let deadline = Instant::now() + Duration::from_secs(300);
    let slivers = loop {
        let text = testbed.ok(["am", "status", &slice, "--timeline", "--json"]);
        let status: Value = serde_json::from_str(&text).expect("--json prints JSON");
        let slivers = status["slivers"].as_array().expect("a list").clone();
        if slivers.iter().all(|sliver| sliver["operational"] == "geni_ready") {
            break slivers;
        }
        assert!(Instant::now() < deadline, "not ready: {text}");
        // The answer is read off the timeline; asking more often would only take processor time from the nodes.
        std::thread::park_timeout(Duration::from_millis(1500));
    };
    testbed.ok(["am", "delete", &slice]);
    while leaks::find(Some(testbed.instance())).iter().any(|left| left.starts_with("container")) {
        assert!(Instant::now() < deadline, "containers are left");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let began =
        began.duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right").as_secs_f64() * 1000.0;
    let timelines: Vec<Vec<(String, f64)>> = slivers.iter().map(timeline).collect();
    let last = timelines.iter().filter_map(|timeline| at(timeline, "ready")).fold(0.0, f64::max);
    (last - began, answer.as_secs_f64() * 1000.0, timelines)
}
