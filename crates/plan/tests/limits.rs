//! Limits of a host's kernel: found before they bite, with the sysctl that helps.
#![allow(clippy::unwrap_used)]

use testyard_model::diagnostic::Diagnostic;
use testyard_model::host::HostLimits;
use testyard_model::quantity::Size;
use testyard_model::sliver_type::{Limits, RuntimeKind, SliverType};
use testyard_model::topology::{Storage, Topology};
use testyard_plan::limits::HostNeeds;
use testyard_plan::network::mtu::Underlay;
use testyard_plan::{
    Existing, Host, HostStanding, HostView, LinkPolicy, Plan, PlanError, PortRange, Site, Usage, Wanted,
    replan,
};
use testyard_testkit::kinds::plain;
use testyard_testkit::topologies::{lan, loose, ring};

fn planned(topology: &Topology, limits: &HostLimits, running: Option<&Plan>) -> Result<Plan, PlanError> {
    let types = [SliverType {
        runtime: RuntimeKind::Docker,
        limits: Limits { pids: Some(100), disk: Some(1 << 30), ..Limits::default() },
        ..plain("plain")
    }];
    let ports = PortRange::new(2000, 60_000).unwrap();
    let host =
        Host::new("a".parse().unwrap(), 5_000, ports, "172.16.0.0/16".parse().unwrap(), None, None).unwrap();
    let usage = Usage::default();
    let views = [HostView { host: &host, usage: &usage, standing: HostStanding::Ready, limits }];
    let authority = "am.example.net".parse().unwrap();
    let site = Site {
        authority: &authority,
        sliver_types: &types,
        nodes_per_slice: 10_000,
        links: LinkPolicy::Make(Underlay::default()),
    };
    let wanted = Wanted { running, ..Wanted::all(topology) };
    replan(wanted, site, &views, &Existing::default())
}

fn told(planned: &Result<Plan, PlanError>) -> &[Diagnostic] {
    match planned {
        Ok(plan) => &plan.near_limits,
        Err(PlanError::Limits(told)) => told,
        Err(other) => panic!("{other}"),
    }
}

const TIGHT: HostLimits = HostLimits {
    inotify_instances: Some(30),
    processes: Some(100),
    ipv4_neighbours: Some(300),
    ipv6_neighbours: Some(0),
    network_namespaces: Some(40),
    disk: Some(Size::from_bytes(10 << 30)),
    only_netem: false,
};

#[test]
fn what_is_too_much() {
    let mut shown = Vec::new();
    for (name, topology) in [
        ("two nodes", loose(2)),
        ("a ring of 50", ring(50)),
        ("a LAN of 20", lan(20)),
        ("a LAN of 1,100", lan(1_100)),
    ] {
        let planned_there = planned(&topology, &TIGHT, None);
        let lines = told(&planned_there).iter().map(|told| format!("{:?}: {told}", told.severity));
        let outcome = if planned_there.is_ok() { "planned" } else { "refused" };
        shown.push(format!("{name}: {outcome}\n{}", lines.collect::<Vec<_>>().join("\n")));
        let bridge = usize::from(topology.nodes.len() > 1_023);
        let unknown = planned(&topology, &HostLimits::UNKNOWN, None);
        assert_eq!(told(&unknown).len(), bridge, "what is not known is not checked");
    }
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn what_runs_has_what_it_needs() {
    let running = planned(&ring(50), &HostLimits::UNKNOWN, None).unwrap();
    let again = planned(&ring(50), &TIGHT, Some(&running));
    assert_eq!(told(&again), [], "nothing comes");
    let one_more = planned(&ring(51), &TIGHT, Some(&running)).unwrap();
    assert_eq!(one_more.near_limits, []);
    let elsewhere = HostNeeds::of(&running, &"b".parse().unwrap(), None);
    assert_eq!(elsewhere, HostNeeds { most_processes: Some(0), ..HostNeeds::default() });
}

#[test]
fn nodes_that_only_pretend_need_no_processes() {
    let mut plan = planned(&loose(50), &HostLimits::UNKNOWN, None).unwrap();
    plan.nodes.iter_mut().for_each(|node| node.sliver_type.runtime = RuntimeKind::Fake);
    let host = plan.nodes[0].host.clone();
    assert!(HostNeeds::of(&plan, &host, None).check(&host, &TIGHT).is_empty());
}

#[test]
fn folders_fit_on_the_disks_that_they_are_on() {
    let with = |size: &str| {
        let mut topology = loose(2);
        let storage = Storage { mount_point: "/data".into(), size: Some(size.parse().unwrap()) };
        topology.nodes[0].storage = vec![storage];
        topology
    };
    // The kind's disk has 1 GiB.
    let refused = planned(&with("2GiB"), &HostLimits::UNKNOWN, None).unwrap_err().to_string();
    assert_eq!(
        refused,
        "node \"n0\": 2GiB of storage do not fit on the disk of a plain, 1GiB: ask for less, or for another kind"
    );
    assert!(planned(&with("1GiB"), &HostLimits::UNKNOWN, None).is_ok());
    let small = HostLimits { disk: Some(Size::from_bytes(500 << 20)), ..HostLimits::UNKNOWN };
    let refused = planned(&with("1GiB"), &small, None).unwrap_err().to_string();
    assert!(refused.contains("nodes ask for 1GiB of storage, and 500MiB are free"), "{refused}");
}
