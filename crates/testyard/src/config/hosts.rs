//! `[host]` or `[[host]]`: the machines that nodes run on; `[agents]`: where their agents come in.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};
use testyard_model::name::SliverTypeName;
use testyard_model::sliver_type::SliverType;
use testyard_model::tunnel::PORT;

use super::reader::Section;
use super::sections::{location, url_host};
use super::settings::{Agent, Agents, Host, Network, Testbed, Tunnels};
use super::value::Ports;

/// The name of a testbed's only host, where nothing else is said.
const ONLY: &str = "local";

/// The hosts, at least one. A testbed of one machine writes `[host]`, or nothing.
pub(super) fn hosts(
    root: &Section<'_>,
    testbed: Option<&Testbed>,
    network: &Network,
    tunnels: Tunnels,
    types: &[SliverType],
) -> Vec<Host> {
    if !root.is_list("host") {
        let section = root.section("host");
        return vec![host(&section, ONLY.parse().ok(), testbed, network, tunnels, types)]
            .into_iter()
            .flatten()
            .collect();
    }
    let mut hosts: Vec<Host> = Vec::new();
    let (mut names, mut here) = (BTreeSet::new(), 0);
    for section in &root.sections("host") {
        if !section.has("name") {
            section.refuse("name", "each of several hosts needs a name");
        }
        let name = section.parsed("name");
        let Some(host) = host(section, name, testbed, network, tunnels, types) else { continue };
        if !names.insert(host.name.clone()) {
            section.refuse("name", format!("there are two hosts {}", host.name));
        }
        let others = hosts.iter().filter_map(|host| host.tunnel);
        if let Some(own) = host.tunnel {
            others.filter(|other| other.is_ipv4() != own.is_ipv4()).take(1).for_each(|other| {
                let text = format!("{own} and {other}: tunnels are between addresses of one family");
                section.refuse("tunnel", text);
            });
            if hosts.iter().any(|host| host.tunnel == Some(own)) {
                section.refuse("tunnel", format!("two hosts have the address {own}"));
            }
        }
        here += u32::from(host.agent != Agent::Network);
        if here > 1 && host.agent != Agent::Network {
            section.refuse("agent", "this machine is one host: only one can be so");
        }
        hosts.push(host);
    }
    if network.ipv6.is_some() && hosts.len() > 1 {
        root.section("network")
            .refuse("ipv6", "a prefix leads to one machine: write each host's own in its [[host]]");
    }
    hosts
}

fn host(
    section: &Section<'_>,
    name: Option<testyard_model::id::HostName>,
    testbed: Option<&Testbed>,
    network: &Network,
    tunnels: Tunnels,
    types: &[SliverType],
) -> Option<Host> {
    // Who writes [host] means this machine, who lists hosts means others but for one.
    let listed = section.is_listed();
    let agent = agent(section, if listed { Agent::Network } else { Agent::Inside });
    let here = agent != Agent::Network;
    let own_name = || testbed.filter(|_| here).map(|testbed| testbed.name.clone());
    let public_name: Option<String> = section.get("public_name");
    if public_name.is_none() && !here {
        section.refuse("public_name", "say what users' SSH connects to: its DNS name or address");
    }
    let kinds: Option<Vec<SliverTypeName>> = section.list("sliver_types");
    if let Some(unknown) = kinds.iter().flatten().find(|kind| types.iter().all(|known| known.name != **kind))
    {
        section.refuse("sliver_types", format!("there is no sliver type {unknown}"));
    }
    let ipv6 = section.parsed("ipv6").or(if listed && !here { None } else { network.ipv6 });
    let host = Host {
        name: name?,
        agent,
        capacity: section.get("capacity").unwrap_or(100),
        ports: section.parsed::<Ports>("ports").map_or(12000..=12999, |ports| ports.0),
        public_name: public_name.or_else(own_name).unwrap_or_default(),
        docker: section.get::<String>("docker").map_or_else(|| "/var/run/docker.sock".into(), PathBuf::from),
        ipv4: section.parsed("ipv4").unwrap_or(network.ipv4),
        ipv6,
        ipv6_proxy: section.get("ipv6_proxy").unwrap_or(network.ipv6_proxy && ipv6 == network.ipv6),
        sliver_types: kinds,
        tunnel: section.parsed("tunnel"),
        location: location(section).or_else(|| testbed.filter(|_| here)?.location.clone()),
    };
    for at in testbed.filter(|_| here).iter().flat_map(|testbed| &testbed.bind) {
        if host.ports.contains(&at.port()) {
            section.refuse("ports", format!("port {} is the one that Testyard listens on", at.port()));
        }
    }
    if host.tunnel.is_some() && host.ports.contains(&tunnels.port) {
        let port = tunnels.port;
        section.refuse("ports", format!("port {port} is that of tunnels: tunnels.port says another"));
    }
    if let Some(no) = host.tunnel.filter(|address| !is_reachable(*address)) {
        section.refuse("tunnel", format!("{no} is no address that other hosts reach"));
    }
    check_networks(
        section,
        Some(host.ipv4).filter(|_| section.has("ipv4")),
        host.ipv6.filter(|_| section.has("ipv6")),
    );
    if section.has("ipv6_proxy") && host.ipv6_proxy && host.ipv6.is_none() {
        section.refuse("ipv6_proxy", "needs ipv6");
    }
    section.finish();
    Some(host)
}

fn is_reachable(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        // Which link would have to be said, too.
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_link_local)
}

/// What the port of tunnels is, where nothing else is said: each testbed has its own, since a machine may be a host of several.
pub(super) fn port_of(instance: &str) -> u16 {
    if instance == "main" {
        return PORT;
    }
    let sum = instance.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    PORT - 1 - sum % 700
}

pub(super) fn tunnels(section: &Section<'_>, testbed: Option<&Testbed>) -> Tunnels {
    let instance = testbed.map_or("main", |testbed| testbed.instance.as_str());
    let tunnels = Tunnels {
        port: section.get("port").unwrap_or_else(|| port_of(instance)),
        mtu: section.get("mtu").unwrap_or(1500),
    };
    if tunnels.port < 1024 {
        section.refuse("port", "use one of 1024 or more");
    }
    if tunnels.mtu < 1280 {
        section.refuse("mtu", "a network between hosts carries packets of 1280 bytes at least");
    }
    section.finish();
    tunnels
}

/// Networks that nodes of a host get control addresses of.
pub(super) fn check_networks(section: &Section<'_>, ipv4: Option<Ipv4Net>, ipv6: Option<Ipv6Net>) {
    if let Some(ipv4) = ipv4.filter(|ipv4| ipv4.prefix_len() > 29) {
        section.refuse("ipv4", format!("{ipv4} has no room for nodes: use a /29 or wider"));
    }
    if let Some(ipv4) = ipv4.filter(|ipv4| ipv4.trunc() != *ipv4) {
        let meant = ipv4.trunc();
        section.refuse("ipv4", format!("{ipv4} is an address in a network; the network is {meant}"));
    }
    if let Some(ipv6) = ipv6.filter(|ipv6| ipv6.trunc() != *ipv6) {
        section.refuse("ipv6", format!("{ipv6} is an address in a network; the network is {}", ipv6.trunc()));
    }
}

fn agent(section: &Section<'_>, default: Agent) -> Agent {
    match section.get::<String>("agent").as_deref() {
        None => default,
        Some("inside") => Agent::Inside,
        Some("socket") => Agent::Socket,
        Some("network") => Agent::Network,
        Some(other) => {
            let text = format!("{other:?} is nowhere an agent is: it can be inside, socket or network");
            section.refuse("agent", text);
            default
        }
    }
}

/// `None` where not even the testbed has a name, which is a mistake of its own.
pub(super) fn agents(section: &Section<'_>, testbed: Option<&Testbed>) -> Option<Agents> {
    let bind: Vec<SocketAddr> =
        section.list("bind").unwrap_or_else(|| vec!["[::]:8002".parse().expect("an address")]);
    if bind.is_empty() {
        section.refuse("bind", "name at least one address");
    }
    let port = bind.first().map_or(8002, SocketAddr::port);
    let by_name = || Some(format!("{}:{port}", url_host(&testbed?.name)));
    let address: Option<String> = section.get("address");
    let has_port = |address: &str| {
        let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if let Some(address) = address.as_deref().filter(|address| !has_port(address)) {
        section.refuse("address", format!("{address:?} is no name and port, like \"am.example.net:8002\""));
    }
    section.finish();
    Some(Agents { bind, address: address.or_else(by_name)? })
}
