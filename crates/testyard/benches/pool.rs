//! A node from the warm pool, beside one that is made: promise S5.
//!
//! `cargo bench -p testyard --bench pool` as root, with an engine and the default image. One node at a time through the AM
//! API; what is told is the time from the commit of Provision to SSH that answers, by the host's own clock.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{at, engine, median, timeline};
use serde_json::Value;
use testyard_testkit::testbed::Testbed;
use testyard_testkit::{leaks, needs};

const ROUNDS: usize = 15;
const SPARES: usize = 2;
const STAGES: [&str; 9] =
    ["begun", "image_ready", "created", "started", "guest_up", "attached", "prepared", "ssh_up", "ready"];

fn main() {
    needs::root();
    needs::docker();
    for spares in [0, SPARES] {
        let mut testbed = Testbed::init(Path::new(env!("CARGO_BIN_EXE_testyard")), |config| {
            let changed = config.replace("#size = 0", &format!("size = {spares}"));
            assert_ne!(changed, config, "the template of the configuration has changed");
            changed
        });
        testbed.serve();
        let mut timelines = Vec::new();
        // The first round warms caches.
        for round in 0..=ROUNDS {
            wait_for(&testbed, spares);
            let timeline = one_node(&testbed, round);
            if round > 0 {
                timelines.push(timeline);
            }
        }
        let instance = testbed.instance().to_owned();
        drop(testbed);
        leaks::assert_none(&instance);
        let since = |stage: &str| -> Vec<f64> {
            let span = |timeline: &Vec<_>| {
                Some(at(timeline, &format!("host: {stage}"))? - at(timeline, "provisioned")?)
            };
            timelines.iter().filter_map(span).collect()
        };
        let mut ssh = since("ssh_up");
        let middle = median(&mut ssh);
        println!("S5  Provision's commit to SSH, {spares} spares   {middle:8.0} ms (median of {ROUNDS})");
        let steps: Vec<String> =
            STAGES.iter().map(|stage| format!("{stage} {:.0}", median(&mut since(stage)))).collect();
        println!("    {}", steps.join("  "));
    }
}

/// Waits until so many spares run.
fn wait_for(testbed: &Testbed, spares: usize) {
    let mark = format!("testyard.instance={}", testbed.instance());
    let filter = format!("{{\"label\":[\"{mark}\",\"testyard.spare\"],\"status\":[\"running\"]}}");
    let filter: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine("GET", &format!("/containers/json?filters={filter}"), None).as_array().map(Vec::len)
        != Some(spares)
    {
        assert!(Instant::now() < deadline, "the pool is not filled");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    // Their guests are up a moment later.
    std::thread::park_timeout(Duration::from_millis(300));
}

fn one_node(testbed: &Testbed, round: usize) -> Vec<(String, f64)> {
    let slice = format!("pool{round}");
    let file = testbed.folder().join("bench.rspec");
    let node = "<node client_id=\"a\" exclusive=\"false\"><sliver_type name=\"docker-container\"/></node>";
    let request =
        format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">{node}</rspec>");
    std::fs::write(&file, request).expect("a file can be written");
    let file = file.to_string_lossy().into_owned();
    testbed.ok(["am", "allocate", &slice, &file]);
    testbed.ok(["am", "provision", &slice]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let sliver = loop {
        let text = testbed.ok(["am", "status", &slice, "--timeline", "--json"]);
        let status: Value = serde_json::from_str(&text).expect("--json prints JSON");
        let sliver = status["slivers"][0].clone();
        if sliver["operational"] == "geni_ready" {
            break sliver;
        }
        assert!(Instant::now() < deadline, "not ready: {text}");
        std::thread::park_timeout(Duration::from_millis(200));
    };
    testbed.ok(["am", "delete", &slice]);
    timeline(&sliver)
}
