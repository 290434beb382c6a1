//! Nodes of different images: 50 of five beside the raw engine's start of the same, from the container's start to SSH for
//! the image's sshd and for Testyard's own server, and what the guest costs in memory.
//!
//! `cargo bench -p testyard --bench images` as root, with an engine and the default image.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{at, engine, median, since_start, timeline};
use serde_json::{Value, json};
use testyard_testkit::images::{Image, Images};
use testyard_testkit::testbed::Testbed;
use testyard_testkit::{leaks, needs};

const DEBIAN: &str = "testyard/debian:12";
/// The first has an sshd; the others get Testyard's server.
const KINDS: [&str; 5] = ["debian", "debian-without", "busybox", "musl", "scratch-static"];
const OF_EACH: usize = 10;
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 8;

fn main() {
    needs::root();
    let set = Images::all(DEBIAN);
    let images: Vec<&Image> =
        KINDS.iter().filter_map(|name| set.iter().find(|image| image.name == *name)).collect();
    let mut testbed = Testbed::init(Path::new(env!("CARGO_BIN_EXE_testyard")), |config| config);
    testbed.serve();
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut to_ssh: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut alone: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut memory: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let all: Vec<(String, &Image)> = (0..OF_EACH)
        .flat_map(|number| images.iter().map(move |image| (format!("{}-{number}", image.name), *image)))
        .collect();
    for round in 0..=ROUNDS {
        let engine = raw_engine(&all);
        let slice = format!("bench{round}");
        let (began, slivers) = up(&testbed, &slice, &all);
        // The first round warms caches of both.
        if round > 0 {
            raw.push(engine);
            let last = slivers.iter().filter_map(|sliver| at(&timeline(sliver), "ready")).fold(0.0, f64::max);
            ours.push(last - began);
            for (name, image) in &all {
                to_ssh.entry(image.name).or_default().extend(ssh_of(&slivers, name));
                memory.entry(image.name).or_default().push(guest_memory(&slivers, name));
            }
        }
        down(&testbed, &slice);
    }
    // One after the other, where nothing else is started meanwhile.
    for round in 0..ROUNDS * 2 {
        for image in [images[0], images[1]] {
            let (slice, name) = (format!("alone{round}-{}", image.name), "one".to_owned());
            let (_, slivers) = up(&testbed, &slice, &[(name.clone(), image)]);
            alone.entry(image.name).or_default().extend(ssh_of(&slivers, &name));
            down(&testbed, &slice);
        }
    }
    let instance = testbed.instance().to_owned();
    drop(testbed);
    leaks::assert_none(&instance);
    let (mine, engine) = (median(&mut ours), median(&mut raw));
    let number = all.len();
    println!(
        "{number} nodes of {} images, Allocate to ready  {mine:8.0} ms (median of {ROUNDS})",
        KINDS.len()
    );
    println!("{number} containers of them, raw engine        {engine:8.0} ms");
    println!("ratio                                    {:8.2}", mine / engine);
    println!("\nfrom the container's start to SSH, ms (median): one alone, {number} at once");
    for name in KINDS {
        let one = alone.get_mut(name).map_or("-".to_owned(), |values| format!("{:.0}", median(values)));
        let many = median(to_ssh.entry(name).or_default());
        println!("    {name:16} {one:>6} {many:8.0}");
    }
    println!(
        "\nmemory of the guest in an idle node, KiB (median; what nodes share is counted in proportion)"
    );
    for name in KINDS {
        let own = median(memory.entry(name).or_default());
        println!("    {name:16} {own:8.0}");
    }
}

/// Milliseconds from creation and start of all containers, as their images say, to the last one's start.
fn raw_engine(all: &[(String, &Image)]) -> f64 {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| {
                while let Some((_, image)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let body = json!({
                        "Image": image.reference, "Labels": {"testyard.bench": "raw"},
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

/// Allocates and provisions these nodes and waits until they are ready; when it began, in milliseconds, and their status.
fn up(testbed: &Testbed, slice: &str, all: &[(String, &Image)]) -> (f64, Vec<Value>) {
    let nodes: String = all
        .iter()
        .map(|(name, image)| {
            format!(
                "<node client_id=\"{name}\" exclusive=\"false\"><sliver_type name=\"docker-container\">\
                 <disk_image name=\"{}\"/></sliver_type></node>",
                image.reference
            )
        })
        .collect();
    let request =
        format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">{nodes}</rspec>");
    let file = testbed.folder().join("bench.rspec");
    std::fs::write(&file, request).expect("a file can be written");
    let file = file.to_string_lossy().into_owned();
    let began =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is right").as_secs_f64();
    testbed.ok(["am", "allocate", slice, &file]);
    testbed.ok(["am", "provision", slice]);
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let text = testbed.ok(["am", "status", slice, "--timeline", "--json"]);
        let status: Value = serde_json::from_str(&text).expect("--json prints JSON");
        let slivers = status["slivers"].as_array().expect("a list").clone();
        if slivers.iter().all(|sliver| sliver["operational"] == "geni_ready") {
            return (began * 1000.0, slivers);
        }
        assert!(Instant::now() < deadline, "not ready: {text}");
        // The answer is read off the timeline; asking more often would only take processor time from the nodes.
        std::thread::park_timeout(Duration::from_millis(1500));
    }
}

fn down(testbed: &Testbed, slice: &str) {
    testbed.ok(["am", "delete", slice]);
    let deadline = Instant::now() + Duration::from_secs(300);
    while leaks::find(Some(testbed.instance())).iter().any(|left| left.starts_with("container")) {
        assert!(Instant::now() < deadline, "containers are left");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

fn sliver<'a>(slivers: &'a [Value], name: &str) -> &'a Value {
    slivers.iter().find(|sliver| sliver["client_id"] == name).expect("every node has a status")
}

fn ssh_of(slivers: &[Value], name: &str) -> Option<f64> {
    since_start(&timeline(sliver(slivers, name)), "ssh_up")
}

/// KiB of the guest in a node, what it shares with others counted in proportion.
fn guest_memory(slivers: &[Value], name: &str) -> f64 {
    let urn = sliver(slivers, name)["urn"].as_str().expect("a sliver has a URN").to_owned();
    let id = urn.rsplit('+').next().unwrap_or_default();
    let filter = format!("%7B%22label%22%3A%5B%22testyard.sliver%3D{id}%22%5D%7D");
    let found = engine("GET", &format!("/containers/json?filters={filter}"), None);
    let id = found[0]["Id"].as_str().expect("the node runs");
    let container = engine("GET", &format!("/containers/{id}/json"), None);
    let process = container["State"]["Pid"].as_i64().expect("a running container has a process");
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("it still runs");
    let line = text.lines().find(|line| line.starts_with("Pss:")).expect("the kernel counts it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}
