//! What real links do against what was asked, measured.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::HashMap;

use support::{Netns, World, node};
use testyard_fabric::links::probe::{ProbeEnd, ProbePath, ProbeRequest, ProbeTrain};
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_fabric::{Fabric as _, Links as _, LinuxFabric};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::name::ClientId;
use testyard_model::probe::{Probed, Train};
use testyard_model::quantity::Span;
use testyard_model::setting::Setting;
use testyard_model::topology::Topology;
use testyard_plan::NetworkPlan;
use testyard_plan::network::{Conditions, plan};
use testyard_testkit::topologies::{add_lan, connect, loose};
use testyard_verify::schedule::End;
use testyard_verify::{Options, Outcome, Quantity, Reason, Report, Subject, Verdict, report, schedule};
use uuid::Uuid;

fn slice() -> SliceId {
    SliceId::from_uuid(Uuid::from_u128(9))
}

fn impaired(settings: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings.split("; ").filter(|setting| !setting.is_empty()) {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment
}

/// A slice that runs.
struct Running {
    world: World,
    fabric: LinuxFabric,
    plan: NetworkPlan,
    slivers: HashMap<ClientId, SliverId>,
    nodes: HashMap<ClientId, Netns>,
    revision: u64,
}

impl Running {
    async fn new(topology: &Topology) -> Self {
        let plan = plan(topology, &Conditions::default()).unwrap().network;
        let world = World::new();
        let fabric = world.fabric("verify");
        let sliver = |number: usize| SliverId::from_uuid(Uuid::from_u128(1 << 90 | number as u128));
        let names = || plan.nodes().iter().map(|node| node.client_id.clone());
        let slivers: HashMap<_, _> = names().enumerate().map(|(at, name)| (name, sliver(at))).collect();
        let nodes: HashMap<_, _> = names().map(|name| (name, node())).collect();
        let mut running = Self { world, fabric, plan, slivers, nodes, revision: 0 };
        running.join(&running.plan.clone()).await;
        for (name, netns) in &running.nodes {
            let ports = running.plan.interfaces_of(name).map(|(link, member)| NodePort {
                device: member.device.to_string(),
                mac: member.mac,
                mtu: link.mtu,
                addresses: member.addresses.clone(),
            });
            let ports = ports.collect();
            let ports =
                NodePorts { node: running.slivers[name], ports, routes: Vec::new(), forwarding: false };
            running.fabric.plug(slice(), &ports, &netns.path()).await.unwrap();
        }
        running
    }

    /// Has links do what this plan says.
    async fn join(&mut self, plan: &NetworkPlan) {
        self.revision += 1;
        let links = plan.links().iter().enumerate().map(|(number, link)| HostLink {
            sliver: SliverId::from_uuid(Uuid::from_u128(1 << 91 | number as u128)),
            name: link.client_id.to_string(),
            kind: link.kind,
            up: !link.down,
            mtu: link.mtu,
            seed: link.seed + self.revision,
            is_seed_chosen: false,
            capture: None,
            beyond: None,
            ends: link
                .members
                .iter()
                .map(|member| LinkEnd {
                    port: PortId { node: self.slivers[&member.node], device: member.device.to_string() },
                    to_link: member.to_link,
                    from_link: member.from_link,
                })
                .collect(),
        });
        let wanted = SliceLinks { slice: slice(), revision: Revision(self.revision), links: links.collect() };
        self.fabric.join(&wanted).await.unwrap();
    }

    fn end(&self, end: &End) -> ProbeEnd {
        let port = PortId { node: self.slivers[&end.node], device: end.device.to_string() };
        ProbeEnd { port, netns: self.nodes[&end.node].path() }
    }

    async fn measure(&self) -> Report {
        let schedule = schedule(&self.plan, &Options::default());
        let mut taken = Vec::new();
        for (run, step) in schedule.steps.iter().enumerate() {
            let trains = step.trials.iter().map(|trial| ProbeTrain {
                path: match trial.subject {
                    Subject::Reference => ProbePath::Reference,
                    Subject::Way(place) => {
                        let way = &schedule.ways[place];
                        ProbePath::Link { from: self.end(&way.from), to: self.end(&way.to) }
                    }
                },
                train: trial.train,
                greeting: trial.greeting,
            });
            let request = ProbeRequest { run: run as u32 * 1_000, trains: trains.collect() };
            taken.push(self.fabric.probe(slice(), &request).await.unwrap());
        }
        report(&schedule, &taken)
    }

    async fn end_it(self) {
        self.fabric.reset().await.unwrap();
        assert_eq!(self.fabric.joined().await.unwrap(), []);
        drop(self.world);
    }
}

/// Three nodes in a row, and a LAN of the three; each cable does something else each way.
fn everything() -> Topology {
    let mut topology = loose(3);
    connect(&mut topology, 0, 1);
    connect(&mut topology, 1, 2);
    connect(&mut topology, 0, 2);
    add_lan(&mut topology, &[0, 1, 2]);
    let does = [
        ["delay=20ms; loss=5%; rate=10Mbit", ""],
        ["delay=20ms; jitter=4ms", "delay=5ms; loss=every 9; rate=2Mbit"],
        ["delay=10ms; reorder=20%", "duplicate=10%; corrupt=10%"],
        ["delay=5ms; rate=50Mbit", ""],
    ];
    for (link, [there, back]) in topology.links.iter_mut().zip(does) {
        link.members[0].to_link = impaired(there);
        link.members[1].to_link = impaired(back);
        if link.members.len() > 2 {
            link.members[2].from_link = impaired("delay=3ms; loss=2%");
        }
    }
    topology
}

fn finding(report: &Report, quantity: Quantity) -> &Verdict {
    let mut all = report.ways.iter().flat_map(|way| &way.findings);
    &all.find(|finding| finding.quantity == quantity).unwrap().verdict
}

#[tokio::test]
async fn links_do_as_asked() {
    let running = Running::new(&everything()).await;
    let mut report = running.measure().await;
    // A machine that stands still for tens of milliseconds delays frames like a bad link; a bad link is bad again.
    if report.outcome == Outcome::Broken {
        println!("{}", report.table());
        report = running.measure().await;
    }
    assert_eq!(report.outcome, Outcome::Holds, "{}", report.table());
    // A loaded machine cannot tell whether a link without delay takes 0.1 ms, nor send as fast as one that is not.
    let of_load = |reason: &Reason| {
        matches!(
            reason,
            Reason::Busy { .. }
                | Reason::MachineLimit { .. }
                | Reason::SenderLimit { .. }
                | Reason::SenderPaused { .. }
                | Reason::Overrun { .. }
        )
    };
    let told = |verdict: &Verdict| !matches!(verdict, Verdict::NotMeasured(reason) if !of_load(reason));
    let mut findings = report.ways.iter().flat_map(|way| &way.findings);
    assert!(findings.all(|finding| told(&finding.verdict)), "{}", report.table());
    assert_eq!(report.ways.len(), 9);
    running.end_it().await;
}

#[tokio::test]
async fn a_link_that_was_tampered_with_is_broken() {
    let mut topology = loose(2);
    connect(&mut topology, 0, 1);
    topology.links[0].members[0].to_link = impaired("delay=20ms");
    let mut running = Running::new(&topology).await;
    // Others than the report knows of.
    topology.links[0].members[0].to_link = impaired("delay=21ms; loss=3%");
    topology.links[0].members[1].to_link = impaired("duplicate=5%");
    let other = plan(&topology, &Conditions::default()).unwrap().network;
    running.join(&other).await;
    let report = running.measure().await;
    assert_eq!(report.outcome, Outcome::Broken, "{}", report.table());
    for quantity in [Quantity::Delay, Quantity::Loss, Quantity::Duplicate] {
        assert_eq!(*finding(&report, quantity), Verdict::Broken, "{}", report.table());
    }
    running.end_it().await;
}

#[tokio::test]
async fn a_link_that_is_down() {
    for settings in ["", "delay=1ms"] {
        let mut topology = loose(2);
        connect(&mut topology, 0, 1);
        topology.links[0].members[0].to_link = impaired(settings);
        topology.links[0].down = true;
        let mut running = Running::new(&topology).await;
        let report = running.measure().await;
        assert_eq!((report.outcome, report.ways.len()), (Outcome::Holds, 2), "{}", report.table());
        // And one that should be down but is not.
        topology.links[0].down = false;
        let up = plan(&topology, &Conditions::default()).unwrap().network;
        running.join(&up).await;
        let report = running.measure().await;
        assert_eq!(*finding(&report, Quantity::Down), Verdict::Broken, "{}", report.table());
        running.end_it().await;
    }
}

/// Whoever uses a link at the same time is noticed, and not blamed on the link.
#[tokio::test]
async fn traffic_of_others_is_told() {
    let mut topology = loose(2);
    connect(&mut topology, 0, 1);
    topology.links[0].members[0].to_link = impaired("rate=2Mbit");
    let running = Running::new(&topology).await;
    let way = &schedule(&running.plan, &Options::default()).ways[0];
    let [from, to] = [running.end(&way.from), running.end(&way.to)];
    let sender = running.nodes[&way.from.node].clone();
    let address = running.plan.links()[0].members[1].addresses[0].addr().to_string();
    let pings =
        std::thread::spawn(move || sender.try_command(&format!("ping -q -i 0.01 -c 20 {address}"), ""));
    let train =
        Train { frames: 400, length: 80, interval: Span::from_millis(1), patience: Span::from_millis(100) };
    let path = ProbePath::Link { from, to };
    let request = ProbeRequest { run: 1, trains: vec![ProbeTrain { path, train, greeting: false }] };
    let taken = running.fabric.probe(slice(), &request).await.unwrap();
    assert!(pings.join().unwrap().is_ok());
    let Probed::Sent(samples) = &taken[0] else { panic!("{taken:?}") };
    assert!(samples.others.sent_packets >= 20, "{:?}", samples.others);
    assert!(samples.others.received_bytes >= 20 * 98, "{:?}", samples.others);
    assert_eq!((samples.arrivals.len(), samples.refused, samples.overrun), (400, 0, 0));
    running.end_it().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_told() {
    let mut topology = loose(2);
    connect(&mut topology, 0, 1);
    let running = Running::new(&topology).await;
    let way = &schedule(&running.plan, &Options::default()).ways[0];
    let [from, to] = [running.end(&way.from), running.end(&way.to)];
    let train =
        Train { frames: 10, length: 80, interval: Span::from_millis(1), patience: Span::from_millis(50) };
    let to_nobody = ProbeEnd { port: PortId { device: "eth7".to_owned(), ..to.port.clone() }, ..to.clone() };
    let to_the_gone = ProbeEnd { netns: "/proc/0/ns/net".into(), ..to.clone() };
    let to = |to| ProbePath::Link { from: from.clone(), to };
    let trains = [
        (to(to_nobody), train),
        (to(to_the_gone), train),
        (ProbePath::Reference, Train { length: 20, ..train }),
        (ProbePath::Reference, Train { frames: 0, ..train }),
        (ProbePath::Reference, train),
    ];
    let trains = trains.map(|(path, train)| ProbeTrain { path, train, greeting: true });
    let request = ProbeRequest { run: 1, trains: trains.into() };
    let taken = running.fabric.probe(slice(), &request).await.unwrap();
    let told: Vec<&str> = taken
        .iter()
        .map(|probed| match probed {
            Probed::Failed(text) => text.as_str(),
            Probed::Sent(samples) if samples.arrivals.len() == 10 => "sent",
            Probed::Sent(_) => "incomplete",
        })
        .collect();
    assert_eq!(told[0], "eth7: the node has no such interface");
    assert!(told[1].contains("is gone"), "{told:?}");
    assert!(told[2].contains("80 to") && told[3].contains("1 to"), "{told:?}");
    assert_eq!(told[4], "sent");
    running.end_it().await;
}

/// A report in a hundred may say that a good link is broken, no more: by hand, since it takes long. `RUNS` is how many.
#[tokio::test]
#[ignore = "takes half a minute a run: cargo test … --ignored false_alarms"]
async fn false_alarms() {
    let runs: usize = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let mut running = Running::new(&everything()).await;
    let mut alarms = 0;
    for run in 0..runs {
        // Another seed each time.
        running.join(&running.plan.clone()).await;
        let report = running.measure().await;
        if report.outcome != Outcome::Holds {
            alarms += 1;
            println!("run {run}:\n{}", report.table());
        }
        let unmeasured: Vec<&Reason> = report
            .ways
            .iter()
            .flat_map(|way| &way.findings)
            .filter_map(|finding| match &finding.verdict {
                Verdict::NotMeasured(reason) => Some(reason),
                Verdict::Holds | Verdict::Broken => None,
            })
            .collect();
        println!("run {run}: {:?}, not measured: {unmeasured:?}, {:?}", report.counts(), report.reference);
    }
    println!("{alarms} of {runs} reports say that a good link is broken");
    running.end_it().await;
}
