//! S4: a topology of 10,000 nodes and 20,000 links, from its text to a plan with routes and a diff, step by step.
//!
//! `cargo bench -p testyard-plan` prints the best of a few turns of each step, their sum, and the most memory that the
//! process had. The second column is processor time, which other work on the machine disturbs less. Routes are computed
//! per node when they are asked for (docs/reference/planning.md says why); the rows below the sum say what that costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sys::resource::{UsageWho, getrusage};
use testyard_formats::export::export;
use testyard_formats::import;
use testyard_formats::language::Language;
use testyard_formats::read::Reader;
use testyard_model::host::HostLimits;
use testyard_model::impairment::Impairment;
use testyard_model::quantity::Span;
use testyard_plan::network::mtu::Underlay;
use testyard_plan::network::{self, Conditions};
use testyard_plan::place::{Need, place, traffic_between_hosts};
use testyard_plan::plan::cables;
use testyard_plan::{
    Existing, Host, HostStanding, HostView, LinkPolicy, PortRange, Site, Usage, diff, diff_networks, plan,
};
use testyard_testkit::kinds::plain;
use testyard_testkit::topologies;

const NODES: usize = 10_000;
const LINKS: usize = 20_000;
const HOSTS: usize = 16;
const TURNS: usize = 5;
/// So many nodes' routes and names are computed.
const SAMPLE: usize = 100;

fn main() {
    let topology = topologies::random(NODES, LINKS, 1);
    let written = |language| export(&topology, language).expect("every language can write it").text;
    let (text, rspec) = (written(Language::Json), written(Language::Rspec));
    println!(
        "random topology, {NODES} nodes, {LINKS} links, {} MB of JSON, {HOSTS} hosts",
        text.len() / 1_000_000
    );

    let hosts: Vec<(Host, Usage)> = (0..HOSTS).map(|number| (host(number), Usage::default())).collect();
    let views: Vec<HostView<'_>> = hosts
        .iter()
        .map(|(host, usage)| HostView {
            host,
            usage,
            standing: HostStanding::Ready,
            limits: &HostLimits::UNKNOWN,
        })
        .collect();
    let types = [plain("plain")];
    let authority = "bench.example".parse().expect("an authority");
    let site = Site {
        authority: &authority,
        sliver_types: &types,
        nodes_per_slice: 10_000,
        links: LinkPolicy::Make(Underlay::default()),
    };
    let avoid: Vec<IpNet> = views.iter().map(|view| IpNet::V4(view.host.ipv4())).collect();

    let around = import::Site::default();
    let reader = Reader { site: &around, context: None, hosts: None, ns: None };
    let read = |text: &str, language| reader.read(text, language).expect("the text reads again").topology;
    let parsed = best(|| read(&text, Language::Json));
    assert_eq!(parsed.1, topology);
    let parsed_rspec = best(|| read(&rspec, Language::Rspec));
    let needs: Vec<Need<'_>> = topology
        .nodes
        .iter()
        .map(|_| Need { sliver_type: &types[0].name, ports: 1, bound: None, runs: false, partition: None })
        .collect();
    let placed = best(|| place(&needs, &cables(&topology), &views).expect("there is room"));
    let conditions = Conditions { avoid: &avoid, hosts: &placed.1.hosts, ..Conditions::default() };
    let networked = best(|| network::plan(&topology, &conditions).expect("a good topology"));
    let whole = best(|| plan(&topology, site, &views, &Existing::default()).expect("a good topology"));
    let mut changed = topology.clone();
    changed.links[LINKS / 2].members[0].to_link =
        Impairment { delay: Span::from_millis(5), ..Impairment::default() };
    changed.nodes[NODES / 2].image = Some("alpine:3".parse().expect("an image"));
    let other = plan(&changed, site, &views, &Existing::default()).expect("a good topology");
    let compared = best(|| diff(&whole.1, &other));

    println!("{:52} {:>12} {:>12}", "", "wall", "processor");
    row("parse (own format, JSON)", parsed.0);
    row("parse (RSpec), not in the sum", parsed_rspec.0);
    row("place alone", placed.0);
    row("check, address, name, route alone", networked.0);
    row("place, check, address, name, route", whole.0);
    row(&format!("diff ({} changes)", compared.1.0.len()), compared.0);
    let parts = [parsed.0, whole.0, compared.0];
    let sum = Took {
        wall: parts.iter().map(|took| took.wall).sum(),
        processor: parts.iter().map(|took| took.processor).sum(),
    };
    row("S4: parse, plan, diff", sum);
    println!("{:52} {:>12}", "goal", "1000.0 ms");

    let network = &networked.1.network;
    let mut router = network.router();
    let begin = Stopwatch::start();
    let (mut routes, mut most) = (0, 0);
    for node in network.nodes().iter().step_by(NODES / SAMPLE) {
        let count = black_box(router.routes_of(&node.client_id)).len();
        routes += count;
        most = most.max(count);
    }
    row(&format!("routes of {SAMPLE} nodes (each {}, at most {most})", routes / SAMPLE), begin.took());
    let begin = Stopwatch::start();
    for node in network.nodes().iter().step_by(NODES / SAMPLE) {
        black_box(network.hosts_of(&node.client_id));
    }
    row(&format!("/etc/hosts of {SAMPLE} nodes"), begin.took());
    let mut fewer = topology.clone();
    fewer.links.remove(LINKS / 2);
    let fewer = network::plan(&fewer, &conditions).expect("a good topology");
    row("diff with a link less, all behind it moved", best(|| diff_networks(network, &fewer.network)).0);
    let cables = cables(&topology);
    let random: Vec<usize> = (0..NODES).map(|node| node % HOSTS).collect();
    println!(
        "traffic between hosts: {:.1} % of that of nodes dealt out in turn",
        100.0 * traffic_between_hosts(&cables, &placed.1.hosts) as f64
            / traffic_between_hosts(&cables, &random) as f64
    );
    others();
    println!("most memory {:.0} MiB", peak_mib());
}

/// Other shapes in processor time: the plan, the routes of a node, and how many it has.
fn others() {
    println!(
        "\n{:28} {:>8} {:>8} {:>10} {:>12} {:>12}",
        "shape", "nodes", "links", "plan", "its routes", "at most"
    );
    for (name, topology) in [
        ("ring", topologies::ring(1_000)),
        ("star", topologies::star(1_000)),
        ("grid 32 × 32", topologies::grid(32, 32)),
        ("fat tree of 16 ports", topologies::fat_tree(16)),
        ("random", topologies::random(1_000, 2_000, 1)),
        ("LAN", topologies::lan(1_000)),
        ("ring", topologies::ring(10_000)),
        ("grid 100 × 100", topologies::grid(100, 100)),
    ] {
        let planned = best(|| network::plan(&topology, &Conditions::default()).expect("a good topology"));
        let mut router = planned.1.network.router();
        let nodes = planned.1.network.nodes();
        let begin = Stopwatch::start();
        let sample = nodes.iter().step_by(nodes.len().div_ceil(SAMPLE));
        let counts: Vec<usize> = sample.map(|node| router.routes_of(&node.client_id).len()).collect();
        println!(
            "{name:28} {:8} {:8} {:7.1} ms {:9.3} ms {:12}",
            nodes.len(),
            topology.links.len(),
            milliseconds(planned.0.processor),
            milliseconds(begin.took().processor) / counts.len() as f64,
            counts.iter().max().unwrap_or(&0)
        );
    }
}

/// How long something took, on the wall and on the processor.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    processor: Duration,
}

struct Stopwatch {
    wall: Instant,
    processor: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor_time() }
    }

    fn took(&self) -> Took {
        Took { wall: self.wall.elapsed(), processor: processor_time() - self.processor }
    }
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the kernel knows");
    [usage.user_time(), usage.system_time()]
        .map(|time| Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64))
        .iter()
        .sum()
}

fn best<T>(mut work: impl FnMut() -> T) -> (Took, T) {
    let mut turns = (0..TURNS).map(|_| {
        let begin = Stopwatch::start();
        let value = work();
        (begin.took(), value)
    });
    let first = turns.next().expect("there is at least one turn");
    turns.fold(first, |(best, last), (took, value)| {
        let least = Took { wall: best.wall.min(took.wall), processor: best.processor.min(took.processor) };
        drop(last);
        (least, value)
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn row(name: &str, took: Took) {
    println!("{name:52} {:9.1} ms {:9.1} ms", milliseconds(took.wall), milliseconds(took.processor));
}

fn host(number: usize) -> Host {
    let ports = PortRange::new(10_000, 20_000).expect("a range");
    let network = format!("172.{}.0.0/16", 16 + number).parse().expect("a network");
    let name = format!("host{number}").parse().expect("a name");
    Host::new(name, 700, ports, network, None, None).expect("a host")
}

/// The most memory that the process had, as the kernel counts it.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
