//! S4: a topology of 10,000 nodes and 20,000 links, from its text to a plan with routes and a diff, step by step.
//!
//! `cargo bench -p testyard-plan` prints the best of a few turns of each step, their sum, and the most memory that the
//! process had. Routes are computed per node when they are asked for (docs/reference/planning.md says why); the rows
//! below the sum say what that costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use testyard_model::impairment::Impairment;
use testyard_model::quantity::Span;
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind, SliverType};
use testyard_model::topology::Topology;
use testyard_plan::network::mtu::Underlay;
use testyard_plan::network::{self, Conditions};
use testyard_plan::place::{Need, place, traffic_between_hosts};
use testyard_plan::plan::cables;
use testyard_plan::{
    Existing, Host, HostView, LinkPolicy, PortRange, Site, Usage, diff, diff_networks, plan,
};
use testyard_testkit::topologies;

const NODES: usize = 10_000;
const LINKS: usize = 20_000;
const HOSTS: usize = 16;
const TURNS: usize = 5;

fn main() {
    let topology = topologies::random(NODES, LINKS, 1);
    let text = serde_json::to_string(&topology).expect("a topology is JSON");
    println!(
        "random topology, {NODES} nodes, {LINKS} links, {} MB of JSON, {HOSTS} hosts",
        text.len() / 1_000_000
    );

    let hosts: Vec<(Host, Usage)> = (0..HOSTS).map(|number| (host(number), Usage::default())).collect();
    let views: Vec<HostView<'_>> =
        hosts.iter().map(|(host, usage)| HostView { host, usage, healthy: true }).collect();
    let types = [kind()];
    let authority = "bench.example".parse().expect("an authority");
    let site =
        Site { authority: &authority, sliver_types: &types, links: LinkPolicy::Make(Underlay::default()) };
    let avoid: Vec<IpNet> = views.iter().map(|view| IpNet::V4(view.host.ipv4())).collect();

    let parsed = best(|| serde_json::from_str::<Topology>(&text).expect("the text reads again"));
    let needs: Vec<Need<'_>> = topology
        .nodes
        .iter()
        .map(|_| Need { sliver_type: &types[0].name, ports: 1, bound: None, partition: None })
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

    row("parse (own format, JSON)", parsed.0);
    row("place alone", placed.0);
    row("check, address, name, route alone", networked.0);
    row("place, check, address, name, route", whole.0);
    row(&format!("diff ({} changes)", compared.1.0.len()), compared.0);
    let sum = parsed.0 + whole.0 + compared.0;
    row("S4: parse, plan, diff", sum);
    println!("{:44} {:9}", "goal", "1000 ms");

    let network = &networked.1.network;
    let mut router = network.router();
    let begin = Instant::now();
    let (mut routes, mut most) = (0, 0);
    for node in network.nodes() {
        let count = black_box(router.routes_of(&node.client_id)).len();
        routes += count;
        most = most.max(count);
    }
    row(&format!("routes of all nodes ({routes}, at most {most} a node)"), begin.elapsed());
    let begin = Instant::now();
    for node in network.nodes().iter().take(100) {
        black_box(network.hosts_of(&node.client_id));
    }
    row("/etc/hosts of 100 nodes", begin.elapsed());
    let begin = Instant::now();
    let mut fewer = topology.clone();
    fewer.links.pop();
    let fewer = network::plan(&fewer, &conditions);
    if let Ok(fewer) = &fewer {
        black_box(diff_networks(network, &fewer.network));
    }
    row("plan and diff with a link less", begin.elapsed());
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

/// Other shapes, each planned and all its nodes' routes computed.
fn others() {
    println!(
        "\n{:28} {:>8} {:>8} {:>10} {:>12} {:>12}",
        "shape", "nodes", "links", "plan", "all routes", "a node has"
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
        let begin = Instant::now();
        let most = planned.1.network.nodes().iter().map(|node| router.routes_of(&node.client_id).len()).max();
        println!(
            "{name:28} {:8} {:8} {:7.1} ms {:9.1} ms {:12}",
            topology.nodes.len(),
            topology.links.len(),
            planned.0.as_secs_f64() * 1e3,
            begin.elapsed().as_secs_f64() * 1e3,
            most.unwrap_or(0)
        );
    }
}

fn best<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..TURNS {
        let begin = Instant::now();
        let value = work();
        let took = begin.elapsed();
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, value));
        }
    }
    best.expect("there is at least one turn")
}

fn row(name: &str, took: Duration) {
    println!("{name:44} {:9.1} ms", took.as_secs_f64() * 1e3);
}

fn kind() -> SliverType {
    SliverType {
        name: "plain".parse().expect("a name"),
        description: String::new(),
        runtime: RuntimeKind::Fake,
        default_image: "debian:12".parse().expect("an image"),
        images: vec![],
        limits: Limits::default(),
        privileges: Privileges::default(),
        ports: vec![],
        publish_exposed: false,
        sudo: true,
    }
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
