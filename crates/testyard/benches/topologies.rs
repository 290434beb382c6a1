//! A ring and a star: from the command to every node ready and reached, beside what else does it.
//!
//! `cargo bench -p testyard --bench topologies` as root, with an engine and the default image. For 20, 50 and 200 nodes, one
//! after the other in one run: containers merely created and started through the engine's own API, eight at a time, without
//! network (promise S1's measure); `testyard up`; a script of docker and ip, eight containers at a time; Mininet, whose nodes are
//! bare processes; Kathará, whose data plane is replaced (see `peers/with_kathara.py`). The clock stops when every node has had an
//! answer from its neighbour, or in a star from the first node, by the same `ping` for all. A star is nodes on one switch.
//! What is not installed is named, and left out. `NODES=50` measures only that; `BESIDE="script mininet"` only beside those.

mod common;

use std::fmt;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{engine, median};
use testyard_testkit::testbed::Testbed;
use testyard_testkit::{leaks, needs};

const IMAGE: &str = "testyard/debian:12";
/// The same with a command, which Kathará does not give.
const IMAGE_FOR_KATHARA: &str = "testyard-bench/kathara";
/// Nodes, and how often.
const CASES: [(usize, usize); 3] = [(20, 3), (50, 3), (200, 1)];
const AT_A_TIME: usize = 8;
/// For one node's answer after all are made; longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Ring,
    Star,
}

/// What makes the nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Maker {
    Engine,
    Testyard,
    Script,
    Mininet,
    Kathara,
}

const MAKERS: [Maker; 5] = [Maker::Engine, Maker::Testyard, Maker::Script, Maker::Mininet, Maker::Kathara];

fn main() {
    needs::root();
    needs::docker();
    let roomy = |config: String| {
        let config = config.replace("#capacity = 100", "capacity = 400");
        let from = config.find("ports = \"").expect("testbeds of tests have ports of their own");
        let to = from + config[from..].find('\n').expect("a line ends");
        format!("{}ports = \"20000-20399\"{}", &config[..from], &config[to..])
    };
    let mut testbed = Testbed::init(Path::new(env!("CARGO_BIN_EXE_testyard")), roomy);
    testbed.serve();
    let beside = std::env::var("BESIDE").ok();
    let wanted = |maker: &Maker| beside.as_ref().is_none_or(|names| maker.is_among(names));
    let makers: Vec<Maker> = MAKERS.into_iter().filter(wanted).filter(|maker| maker.is_here()).collect();
    if makers.contains(&Maker::Kathara) {
        docker(
            &["build", "--quiet", "--tag", IMAGE_FOR_KATHARA, "-"],
            &format!("FROM {IMAGE}\nCMD [\"bash\"]\n"),
        );
    }
    let only: Option<usize> = std::env::var("NODES").ok().and_then(|nodes| nodes.parse().ok());
    for (nodes, rounds) in CASES.into_iter().filter(|(nodes, _)| only.is_none_or(|only| only == *nodes)) {
        for shape in [Shape::Ring, Shape::Star] {
            compare(&testbed, &makers, shape, nodes, rounds);
        }
    }
    if makers.contains(&Maker::Kathara) {
        docker(&["rmi", IMAGE_FOR_KATHARA], "");
    }
    let instance = testbed.instance().to_owned();
    drop(testbed);
    leaks::assert_none(&instance);
}

fn compare(testbed: &Testbed, makers: &[Maker], shape: Shape, nodes: usize, rounds: usize) {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); makers.len()];
    for _ in 0..rounds {
        for (maker, times) in makers.iter().zip(&mut times) {
            times.push(maker.measure(testbed, shape, nodes));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let floor = medians[0];
    println!("{shape} of {nodes}, to all ready and reached, median of {rounds}:");
    for (maker, took) in makers.iter().zip(medians) {
        println!("    {:44} {took:8.0} ms   {:5.2}", maker.title(), took / floor);
    }
}

impl Maker {
    fn title(self) -> &'static str {
        match self {
            Self::Engine => "the engine alone: containers, no network",
            Self::Testyard => "testyard up",
            Self::Script => "script of docker and ip",
            Self::Mininet => "Mininet: bare processes",
            Self::Kathara => "Kathara, on the engine's bridges",
        }
    }

    fn is_among(self, names: &str) -> bool {
        let name = format!("{self:?}").to_lowercase();
        matches!(self, Self::Engine | Self::Testyard) || names.split_whitespace().any(|one| one == name)
    }

    fn is_here(self) -> bool {
        let (works, remedy) = match self {
            Self::Engine | Self::Testyard | Self::Script => return true,
            Self::Mininet => {
                (succeeds("/usr/bin/python3", "import mininet.net"), "apt-get install mininet bridge-utils")
            }
            Self::Kathara => {
                (succeeds(&kathara_python(), "import Kathara"), "pip install kathara, and KATHARA_PYTHON")
            }
        };
        if !works {
            println!("NOT RUN: {}: {remedy}", self.title());
        }
        works
    }

    /// Milliseconds.
    fn measure(self, testbed: &Testbed, shape: Shape, nodes: usize) -> f64 {
        let began = Instant::now();
        match self {
            Self::Engine => return bare(nodes),
            Self::Testyard => return ours(testbed, shape, nodes),
            Self::Script | Self::Mininet | Self::Kathara => {}
        }
        let mut peer = self
            .command(shape, nodes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut answer = String::new();
        BufReader::new(peer.stdout.take().expect("piped")).read_line(&mut answer).expect("it answers");
        let words = answer.strip_prefix("READY").unwrap_or_else(|| panic!("{}: {answer:?}", self.title()));
        let pids: Vec<u32> = words.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect();
        assert_eq!(pids.len(), nodes, "{}", self.title());
        reach(shape, &pids);
        let took = began.elapsed();
        end(&mut peer, self);
        took.as_secs_f64() * 1000.0
    }

    fn command(self, shape: Shape, nodes: usize) -> Command {
        let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name);
        let mut command = match self {
            Self::Mininet => {
                // It would leave bridges in ours.
                let mut command = Command::new("unshare");
                command.args(["--net", "/usr/bin/python3"]).arg(file("with_mininet.py"));
                command
            }
            Self::Kathara => {
                let mut command = Command::new(kathara_python());
                command.arg(file("with_kathara.py"));
                command
            }
            _ => Command::new(file("docker-ip")),
        };
        let image = if self == Self::Kathara { IMAGE_FOR_KATHARA } else { IMAGE };
        command.args([shape.to_string(), nodes.to_string(), image.to_owned()]);
        command
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "ring",
            Self::Star => "star",
        })
    }
}

fn kathara_python() -> String {
    std::env::var("KATHARA_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn succeeds(python: &str, program: &str) -> bool {
    let tried =
        Command::new(python).args(["-c", program]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn docker(arguments: &[&str], input: &str) {
    let mut docker = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("docker starts");
    docker.stdin.take().expect("piped").write_all(input.as_bytes()).expect("input");
    assert!(docker.wait().expect("it ends").success(), "docker {arguments:?}");
}

fn end(peer: &mut Child, maker: Maker) {
    drop(peer.stdin.take());
    let status = peer.wait().expect("it ends");
    assert!(status.success(), "{}: {status}", maker.title());
}

/// Milliseconds to the last one's start.
fn bare(nodes: usize) -> f64 {
    let began = Instant::now();
    let ids: Vec<String> = eight_at_a_time(nodes, |_| {
        let body = serde_json::json!({
            "Image": IMAGE, "Cmd": ["sleep", "infinity"], "Labels": {"testyard.bench": "raw"},
            "HostConfig": {"NetworkMode": "none"}
        });
        let made = engine("POST", "/containers/create", Some(&body));
        let id = made["Id"].as_str().expect("the engine makes a container").to_owned();
        engine("POST", &format!("/containers/{id}/start"), None);
        id
    });
    let took = began.elapsed();
    eight_at_a_time(nodes, |number| engine("DELETE", &format!("/containers/{}?force=1", ids[number]), None));
    took.as_secs_f64() * 1000.0
}

fn ours(testbed: &Testbed, shape: Shape, nodes: usize) -> f64 {
    let file: PathBuf = testbed.folder().join("topology.rspec");
    std::fs::write(&file, rspec(shape, nodes)).expect("a file can be written");
    let slice = format!("bench-{shape}-{nodes}");
    let began = Instant::now();
    testbed.ok(["up", &file.to_string_lossy(), "--slice", &slice]);
    let filter = format!("%7B%22label%22%3A%5B%22testyard.instance%3D{}%22%5D%7D", testbed.instance());
    let list = engine("GET", &format!("/containers/json?filters={filter}"), None);
    let ids: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|one| one["Id"].as_str()).collect();
    assert_eq!(ids.len(), nodes);
    let mut pids: Vec<(usize, u32)> = eight_at_a_time(nodes, |number| {
        let container = engine("GET", &format!("/containers/{}/json", ids[number]), None);
        let name = container["Config"]["Hostname"].as_str().expect("a name").to_owned();
        let pid =
            container["State"]["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it runs");
        (
            name.trim_start_matches('n')
                .split('.')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a node's number"),
            pid,
        )
    });
    pids.sort_unstable();
    reach(shape, &pids.iter().map(|(_, pid)| *pid).collect::<Vec<_>>());
    let took = began.elapsed();
    testbed.ok(["down", &slice]);
    took.as_secs_f64() * 1000.0
}

fn rspec(shape: Shape, nodes: usize) -> String {
    let interface = |node: usize, side: &str, address: &str, mask: &str| {
        format!(
            "<interface client_id=\"n{node}:{side}\"><ip address=\"{address}\" netmask=\"{mask}\" type=\"ipv4\"/></interface>"
        )
    };
    let subnet = |link: usize| format!("10.{}.{}", 1 + link / 250, 1 + link % 250);
    let mut inside = String::new();
    for node in 0..nodes {
        let interfaces = match shape {
            Shape::Ring => {
                let left = format!("{}.3", subnet((node + nodes - 1) % nodes));
                let right = format!("{}.2", subnet(node));
                interface(node, "left", &left, "255.255.255.0")
                    + &interface(node, "right", &right, "255.255.255.0")
            }
            Shape::Star => interface(node, "if", &star_address(node), "255.255.0.0"),
        };
        let _ = write!(
            inside,
            "<node client_id=\"n{node}\" exclusive=\"false\"><sliver_type name=\"docker-container\"/>{interfaces}</node>"
        );
    }
    match shape {
        Shape::Ring => inside.extend((0..nodes).map(|node| {
            format!(
                "<link client_id=\"l{node}\"><interface_ref client_id=\"n{node}:right\"/>\
                 <interface_ref client_id=\"n{}:left\"/></link>",
                (node + 1) % nodes
            )
        })),
        Shape::Star => {
            let members: String =
                (0..nodes).map(|node| format!("<interface_ref client_id=\"n{node}:if\"/>")).collect();
            let _ = write!(inside, "<link client_id=\"lan\">{members}<link_type name=\"lan\"/></link>");
        }
    }
    format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">{inside}</rspec>")
}

fn star_address(node: usize) -> String {
    format!("10.1.{}.{}", node / 250, 1 + node % 250)
}

/// Has every node reach its neighbour.
fn reach(shape: Shape, pids: &[u32]) {
    let began = Instant::now();
    eight_at_a_time(pids.len(), |node| {
        let to = match shape {
            Shape::Ring => format!("10.{}.{}.3", 1 + node / 250, 1 + node % 250),
            Shape::Star => star_address(usize::from(node == 0)),
        };
        let pid = pids[node].to_string();
        loop {
            let ping = ["--target", &pid, "--net", "ping", "-q", "-c", "1", "-W", "1", &to];
            let status =
                Command::new("nsenter").args(ping).stdout(Stdio::null()).status().expect("nsenter starts");
            if status.success() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "node {node} does not reach {to}");
        }
    });
}

fn eight_at_a_time<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let take = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return done;
                }
                done.push((number, work(number)));
            }
        };
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, made)| made).collect()
}
