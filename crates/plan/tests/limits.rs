//! Limits of a host's kernel: found before they bite, with the sysctl that helps.
#![allow(clippy::unwrap_used)]

use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind, SliverType};
use testyard_model::host::HostLimits;
use testyard_plan::limits::HostNeeds;
use testyard_plan::network::mtu::Underlay;
use testyard_plan::{Existing, Host, HostView, LinkPolicy, Plan, PortRange, Site, Usage, plan};
use testyard_testkit::topologies::{lan, loose, ring};

fn planned(topology: &testyard_model::topology::Topology) -> Plan {
    let types = [SliverType {
        name: "plain".parse().unwrap(),
        description: String::new(),
        runtime: RuntimeKind::Docker,
        default_image: "debian:12".parse().unwrap(),
        images: vec![],
        limits: Limits { pids: Some(100), disk: Some(1 << 30), ..Limits::default() },
        privileges: Privileges::default(),
        ports: vec![],
        publish_exposed: false,
        sudo: true,
    }];
    let ports = PortRange::new(2000, 60_000).unwrap();
    let host =
        Host::new("a".parse().unwrap(), 5_000, ports, "172.16.0.0/16".parse().unwrap(), None, None).unwrap();
    let usage = Usage::default();
    let views = [HostView { host: &host, usage: &usage, healthy: true, limits: &HostLimits::UNKNOWN }];
    let authority = "am.example.net".parse().unwrap();
    let site =
        Site { authority: &authority, sliver_types: &types, nodes_per_slice: 10_000, links: LinkPolicy::Make(Underlay::default()) };
    plan(topology, site, &views, &Existing::default()).unwrap()
}

#[test]
fn what_is_too_much() {
    let host = "a".parse().unwrap();
    let tight = HostLimits {
        inotify_instances: Some(30),
        processes: Some(100),
        ipv4_neighbours: Some(300),
        ipv6_neighbours: Some(0),
        network_namespaces: Some(40),
        disk: Some("10GiB".parse().unwrap()),
    };
    let mut shown = Vec::new();
    for (name, topology) in [
        ("two nodes", loose(2)),
        ("a ring of 50", ring(50)),
        ("a LAN of 20", lan(20)),
        ("a LAN of 1,100", lan(1_100)),
    ] {
        let needs = HostNeeds::of(&planned(&topology), &host, None);
        let told: Vec<String> =
            needs.check(&host, &tight).iter().map(|told| format!("{:?}: {told}", told.severity)).collect();
        shown.push(format!("{name}:\n{}", told.join("\n")));
        let bridge = usize::from(topology.nodes.len() > 1_023);
        assert_eq!(
            needs.check(&host, &HostLimits::default()).len(),
            bridge,
            "what is not known is not checked"
        );
    }
    insta::assert_snapshot!(shown.join("\n\n"));
    let elsewhere = HostNeeds::of(&planned(&ring(9)), &"b".parse().unwrap(), None);
    assert_eq!(elsewhere, HostNeeds { most_processes: Some(0), ..HostNeeds::default() });
    assert!(elsewhere.check(&host, &tight).is_empty());
}
