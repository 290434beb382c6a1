//! Puts the choices together, in the order of the request.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_model::diagnostic::Diagnostic;
use testyard_model::id::HostName;
use testyard_model::image::ImageName;
use testyard_model::link::Link;
use testyard_model::name::{ClientId, Hostname};
use testyard_model::service::Services;
use testyard_model::sliver_type::{Port, SliverType};
use testyard_model::suggest::closest;
use testyard_model::topology::{Node, Topology};
use testyard_model::urn::{Authority, Urn};

use crate::error::PlanError;
use crate::host::Host;
use crate::network::mtu::Underlay;
use crate::network::parts::NetworkPlan;
use crate::network::{self, Conditions};
use crate::place::{Cable, Need, Unplaceable, free_on, place};
use crate::ports::PortForward;
use crate::usage::{Holding, Usage};
use crate::{address, names, ports};

/// What the testbed is.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Its authority: a host `a` is the component `urn:publicid:IDN+<authority>+node+a`.
    pub authority: &'a Authority,
    /// Kinds of nodes; the first is what a node gets that names none.
    pub sliver_types: &'a [SliverType],
    /// What is done about links.
    pub links: LinkPolicy,
}

/// What is done about a request with links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkPolicy {
    /// The nodes are made, the links are not; who reads the request remarks on it.
    #[default]
    LeaveOut,
    /// The request is refused.
    Refuse,
    /// They are planned.
    Make(Underlay),
}

/// A host as it is now.
#[derive(Clone, Copy, Debug)]
pub struct HostView<'a> {
    /// What it has.
    pub host: &'a Host,
    /// What of it is in use.
    pub usage: &'a Usage,
    /// Whether it can start nodes now.
    pub healthy: bool,
}

/// What the slice has already.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// Client ids of its nodes.
    pub client_ids: BTreeSet<ClientId>,
    /// Host names of its nodes.
    pub hostnames: BTreeSet<Hostname>,
    /// Networks of its links.
    pub networks: Vec<IpNet>,
}

/// A topology with every choice made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the request.
    pub nodes: Vec<PlannedNode>,
    /// Its network, with [`LinkPolicy::Make`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPlan>,
    /// What there is to say about it.
    pub diagnostics: Vec<Diagnostic>,
}

/// A node with every choice made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedNode {
    /// The user's name of it.
    pub client_id: ClientId,
    /// Its own name.
    pub hostname: Hostname,
    /// Its host.
    pub host: HostName,
    /// Its kind, as it is configured now.
    pub sliver_type: SliverType,
    /// What it boots.
    pub image: ImageName,
    /// Its control address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 control address, where its host has a prefix.
    pub ipv6: Option<Ipv6Addr>,
    /// Ports of the host that lead to it; the first is the one of SSH.
    pub forwards: Vec<PortForward>,
    /// What it installs and runs.
    pub services: Services,
}

impl PlannedNode {
    /// What it holds of its host.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            ipv4: Some(self.ipv4),
            ipv6: self.ipv6,
            ports: self.forwards.iter().map(|forward| forward.host_port).collect(),
        }
    }
}

/// The URN of a host as a component.
///
/// # Errors
/// None in practice: names of hosts are valid in URNs.
pub fn component(authority: &Authority, host: &HostName) -> Result<Urn, testyard_model::urn::UrnError> {
    Urn::new(authority, "node", host.as_str())
}

/// Makes every choice that the topology leaves open.
///
/// # Errors
/// [`PlanError`] if it cannot be had; nothing is taken then, as nothing is by a plan that is returned.
pub fn plan(
    topology: &Topology,
    site: Site<'_>,
    hosts: &[HostView<'_>],
    existing: &Existing,
) -> Result<Plan, PlanError> {
    check(topology, site, existing)?;
    let types =
        topology.nodes.iter().map(|node| sliver_type(node, site)).collect::<Result<Vec<&SliverType>, _>>()?;
    let wanted: Vec<_> = topology
        .nodes
        .iter()
        .zip(&types)
        .map(|(node, kind)| ports::wanted(kind.ports.iter().chain(&node.ports)))
        .collect();
    let needs = topology
        .nodes
        .iter()
        .zip(&types)
        .zip(&wanted)
        .map(|((node, kind), ports)| {
            let bound = bound(node, site, hosts)?;
            taken_somewhere(node, kind, bound.as_ref(), hosts)?;
            let (ports, partition) = (ports.len() as u32, node.partition.as_deref());
            Ok(Need { sliver_type: &kind.name, ports, bound, partition })
        })
        .collect::<Result<Vec<_>, PlanError>>()?;
    let too_big = |free| PlanError::TooBig {
        nodes: needs.len(),
        ports: needs.iter().map(|need| need.ports).sum(),
        free,
    };
    let making = matches!(site.links, LinkPolicy::Make(_));
    let cables = if making { cables(topology) } else { Vec::new() };
    let placement = place(&needs, &cables, hosts).map_err(|error| match error {
        Unplaceable::Room(free) => too_big(free),
        Unplaceable::Partition { partition, nodes, why } => PlanError::Partition { partition, nodes, why },
    })?;
    let places = placement.hosts;

    let mut pads: Vec<Pad<'_>> = hosts.iter().map(Pad::new).collect();
    let mut hostnames = existing.hostnames.clone();
    let mut nodes = Vec::with_capacity(places.len());
    for (((node, kind), wanted), index) in topology.nodes.iter().zip(types).zip(&wanted).zip(&places) {
        let host = hosts[*index].host;
        let Some((ipv4, ipv6, forwards)) = pads[*index].take(wanted) else {
            return Err(too_big(free_on(hosts)));
        };
        nodes.push(PlannedNode {
            client_id: node.client_id.clone(),
            hostname: names::hostname(&node.client_id, &mut hostnames),
            host: host.name().clone(),
            sliver_type: kind.clone(),
            image: node.image.clone().unwrap_or_else(|| kind.default_image.clone()),
            ipv4,
            ipv6,
            forwards,
            services: node.services.clone(),
        });
    }
    let mut diagnostics = placement.notices;
    let network = match site.links {
        LinkPolicy::LeaveOut | LinkPolicy::Refuse => None,
        LinkPolicy::Make(underlay) => {
            let mut avoid: Vec<IpNet> = existing.networks.clone();
            avoid.extend(hosts.iter().map(|view| IpNet::V4(view.host.ipv4())));
            avoid.extend(hosts.iter().filter_map(|view| view.host.ipv6()).map(IpNet::V6));
            avoid.sort_unstable();
            avoid.dedup();
            let hostnames: Vec<Hostname> = nodes.iter().map(|node| node.hostname.clone()).collect();
            let conditions =
                Conditions { avoid: &avoid, hosts: &places, hostnames: &hostnames, underlay, previous: None };
            let planned = network::plan(topology, &conditions)?;
            diagnostics.extend(planned.diagnostics);
            Some(planned.network)
        }
    };
    Ok(Plan { nodes, network, diagnostics })
}

/// What carries traffic between the nodes of a topology. Members that are nobody's are told when the network is planned.
#[must_use]
pub fn cables(topology: &Topology) -> Vec<Cable> {
    let interfaces: HashMap<&ClientId, usize> = topology
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(number, node)| {
            node.interfaces.iter().map(move |interface| (&interface.client_id, number))
        })
        .collect();
    let nodes = |link: &Link| {
        link.members.iter().filter_map(|member| interfaces.get(&member.interface).copied()).collect()
    };
    topology.links.iter().map(|link| Cable::of_link(link, nodes(link))).collect()
}

/// What a plan takes of one host, beside what is in use there.
struct Pad<'a> {
    view: &'a HostView<'a>,
    ipv4: BTreeSet<Ipv4Addr>,
    ipv6: BTreeSet<Ipv6Addr>,
    last_ipv4: Option<Ipv4Addr>,
    last_ipv6: Option<Ipv6Addr>,
    /// Ports below are taken. None is left when it is out of the range.
    next_port: Option<u16>,
}

impl<'a> Pad<'a> {
    fn new(view: &'a HostView<'a>) -> Self {
        let (last_ipv4, last_ipv6) = (view.usage.ipv4().1, view.usage.ipv6().1);
        let next_port = Some(view.host.ports().first());
        Self { view, ipv4: BTreeSet::new(), ipv6: BTreeSet::new(), last_ipv4, last_ipv6, next_port }
    }

    /// Addresses and forwards for one more node; none if something has run out.
    fn take(&mut self, wanted: &[Port]) -> Option<(Ipv4Addr, Option<Ipv6Addr>, Vec<PortForward>)> {
        let (host, usage) = (self.view.host, self.view.usage);
        let used = |address: &Ipv4Addr| usage.ipv4().0.contains(address) || self.ipv4.contains(address);
        let ipv4 = address::next_v4(host.ipv4(), used, self.last_ipv4)?;
        self.ipv4.insert(ipv4);
        self.last_ipv4 = Some(ipv4);
        let ipv6 = match host.ipv6() {
            None => None,
            Some(prefix) => {
                let used =
                    |address: &Ipv6Addr| usage.ipv6().0.contains(address) || self.ipv6.contains(address);
                let ipv6 = address::next_v6(prefix, used, self.last_ipv6)?;
                self.ipv6.insert(ipv6);
                self.last_ipv6 = Some(ipv6);
                Some(ipv6)
            }
        };
        let mut forwards = Vec::with_capacity(wanted.len());
        for port in wanted {
            let host_port = ports::lowest_free(host, usage, self.next_port?)?;
            self.next_port = host_port.checked_add(1);
            forwards.push(PortForward { host_port, port: *port });
        }
        Some((ipv4, ipv6, forwards))
    }
}

fn check(topology: &Topology, site: Site<'_>, existing: &Existing) -> Result<(), PlanError> {
    if topology.nodes.is_empty() {
        return Err(PlanError::Nothing);
    }
    let mut seen = BTreeSet::new();
    if let Some(node) = topology.nodes.iter().find(|node| !seen.insert(&node.client_id)) {
        return Err(PlanError::Twice(node.client_id.to_string()));
    }
    let duplicates: Vec<ClientId> =
        seen.into_iter().filter(|id| existing.client_ids.contains(id)).cloned().collect();
    if !duplicates.is_empty() {
        return Err(PlanError::Duplicate(duplicates));
    }
    if let Some(node) = topology.nodes.iter().find(|node| node.exclusive) {
        return Err(PlanError::Exclusive(node.client_id.to_string()));
    }
    if site.links == LinkPolicy::Refuse && !topology.links.is_empty() {
        let names: Vec<_> = topology.links.iter().take(5).map(|link| link.client_id.as_str()).collect();
        return Err(PlanError::Links(format!("{} ({})", topology.links.len(), names.join(", "))));
    }
    Ok(())
}

fn sliver_type<'a>(node: &Node, site: Site<'a>) -> Result<&'a SliverType, PlanError> {
    let found = match &node.sliver_type {
        None => site.sliver_types.first(),
        Some(name) => site.sliver_types.iter().find(|kind| kind.name == *name),
    };
    found.ok_or_else(|| {
        let given = node.sliver_type.as_ref().map(ToString::to_string).unwrap_or_default();
        let known: Vec<String> = site.sliver_types.iter().map(|kind| kind.name.to_string()).collect();
        let suggestion = closest(&given, known.iter().map(String::as_str)).map(str::to_owned);
        PlanError::SliverType { node: node.client_id.to_string(), given, suggestion, known }
    })
}

fn bound(node: &Node, site: Site<'_>, hosts: &[HostView<'_>]) -> Result<Option<HostName>, PlanError> {
    let Some(urn) = &node.component else { return Ok(None) };
    let known: Vec<(String, &HostName)> = hosts
        .iter()
        .filter_map(|view| {
            let urn = component(site.authority, view.host.name()).ok()?;
            Some((urn.to_string(), view.host.name()))
        })
        .collect();
    let given = urn.to_string();
    match known.iter().find(|(urn, _)| *urn == given) {
        Some((_, name)) => Ok(Some((*name).clone())),
        None => Err(PlanError::Component {
            node: node.client_id.to_string(),
            given: urn.clone(),
            suggestion: closest(&given, known.iter().map(|(urn, _)| urn.as_str())).map(str::to_owned),
        }),
    }
}

/// A kind of node that no host takes would be reported as "not enough room": say what is the matter instead.
fn taken_somewhere(
    node: &Node,
    kind: &SliverType,
    bound: Option<&HostName>,
    hosts: &[HostView<'_>],
) -> Result<(), PlanError> {
    let candidates = || hosts.iter().filter(|view| bound.is_none_or(|name| view.host.name() == name));
    if candidates().next().is_none() || candidates().any(|view| view.host.takes(&kind.name)) {
        return Ok(());
    }
    Err(PlanError::NotTaken {
        node: node.client_id.to_string(),
        sliver_type: kind.name.to_string(),
        where_: bound.map_or_else(|| "no host".to_owned(), |name| format!("host {name}")),
    })
}
