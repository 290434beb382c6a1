//! Puts the choices together, in the order of the request.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_model::diagnostic::Diagnostic;
use testyard_model::host::HostLimits;
use testyard_model::id::HostName;
use testyard_model::image::ImageSource;
use testyard_model::link::Link;
use testyard_model::name::{ClientId, Hostname};
use testyard_model::schedule::Event;
use testyard_model::service::Services;
use testyard_model::sliver_type::SliverType;
use testyard_model::topology::{Node, OnFailure, Storage, Topology};
use testyard_model::urn::{Authority, Urn};

use crate::asked::{self, Asked};
use crate::error::{FreeOn, PlanError};
use crate::host::{Host, HostStanding};
use crate::limits;
use crate::names;
use crate::network::mtu::Underlay;
use crate::network::parts::NetworkPlan;
use crate::network::{self, Conditions, Refused};
use crate::pad::Pad;
use crate::place::{Apart, Cable, Need, Placement, Unplaceable, free_on, place};
use crate::ports::PortForward;
use crate::usage::{Holding, Usage};

/// What the testbed is.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Its authority: a host `a` is the component `urn:publicid:IDN+<authority>+node+a`.
    pub authority: &'a Authority,
    /// Kinds of nodes; the first is what a node gets that names none.
    pub sliver_types: &'a [SliverType],
    /// How many nodes a slice may have.
    pub nodes_per_slice: u32,
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
    /// Whether it may get nodes now.
    pub standing: HostStanding,
    /// What its kernel has left.
    pub limits: &'a HostLimits,
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

/// What of a topology is to run, and what runs already.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The topology.
    pub topology: &'a Topology,
    /// The nodes that are to run; all if nothing is said. The network is planned for all of them in any case, so that
    /// those that come later find their places.
    pub only: Option<&'a BTreeSet<ClientId>>,
    /// The plan that this one is to take the place of. What is in both keeps host, names, addresses, ports and networks
    /// where it can.
    pub running: Option<&'a Plan>,
}

impl<'a> Wanted<'a> {
    /// All of a topology, of which nothing runs.
    #[must_use]
    pub const fn all(topology: &'a Topology) -> Self {
        Self { topology, only: None, running: None }
    }

    /// What runs of a node.
    pub(crate) fn running_node(self, node: &ClientId) -> Option<&'a PlannedNode> {
        self.running.and_then(|plan| plan.nodes.iter().find(|running| running.client_id == *node))
    }
}

/// A topology with every choice made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the request.
    pub nodes: Vec<PlannedNode>,
    /// Its network, with [`LinkPolicy::Make`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPlan>,
    /// What happens when, once its nodes are ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Event>,
    /// What there is to say about it.
    pub diagnostics: Vec<Diagnostic>,
    /// What is near the limits of hosts as they are now, which is no mistake of the topology's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_limits: Vec<Diagnostic>,
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
    pub image: ImageSource,
    /// Its control address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 control address, where its host has a prefix.
    pub ipv6: Option<Ipv6Addr>,
    /// Ports of the host that lead to it; the first is the one of SSH.
    pub forwards: Vec<PortForward>,
    /// What it installs and runs.
    pub services: Services,
    /// Folders for its data, on its disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<Storage>,
    /// What its failure means for the whole.
    #[serde(default, skip_serializing_if = "OnFailure::is_fatal")]
    pub on_failure: OnFailure,
}

impl PlannedNode {
    /// How many bytes its folders are to hold, as far as the user said.
    #[must_use]
    pub fn asked_disk(&self) -> u64 {
        self.storage
            .iter()
            .filter_map(|storage| storage.size)
            .fold(0, |sum, size| sum.saturating_add(size.bytes()))
    }

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
    replan(Wanted::all(topology), site, hosts, existing)
}

/// The same for a topology of which something may run: `existing` is what the slice has beside that, and what runs is in
/// use on its hosts.
///
/// # Errors
/// As [`plan()`].
pub fn replan(
    wanted: Wanted<'_>,
    site: Site<'_>,
    hosts: &[HostView<'_>],
    existing: &Existing,
) -> Result<Plan, PlanError> {
    asked::check(wanted, site, existing)?;
    let all = asked::read(wanted, site, hosts)?;
    let Placement { hosts: places, notices: mut diagnostics } =
        choose_hosts(&all, wanted.topology, site, hosts)?;

    let mut pads: Vec<Pad<'_>> = hosts.iter().map(Pad::new).collect();
    let mut hostnames = existing.hostnames.clone();
    hostnames.extend(all.iter().filter_map(|asked| Some(asked.kept?.hostname.clone())));
    let new = || all.iter().map(|asked| asked.kept.is_none().then_some(&asked.node.client_id));
    let mut called: Vec<Option<Hostname>> = vec![None; all.len()];
    // Who can be called as its user says is, whoever comes before it.
    for as_it_is in [true, false] {
        for (name, id) in called.iter_mut().zip(new()) {
            if let Some(id) = id.filter(|id| names::is_hostname(id) == as_it_is) {
                let free = names::hostname(id, &mut hostnames);
                diagnostics.extend(names::remark(id, &free));
                *name = Some(free);
            }
        }
    }
    let mut nodes = Vec::with_capacity(places.len());
    for ((asked, index), called) in all.iter().zip(&places).zip(called) {
        let Some((ipv4, ipv6, forwards)) = pads[*index].take(&asked.ports, asked.kept) else {
            return Err(too_big(&all, free_on(hosts)));
        };
        let client_id = asked.node.client_id.clone();
        nodes.push(PlannedNode {
            hostname: match asked.kept {
                Some(kept) => kept.hostname.clone(),
                None => called.unwrap_or_else(|| names::hostname(&client_id, &mut hostnames)),
            },
            client_id,
            host: hosts[*index].host.name().clone(),
            sliver_type: asked.kind.clone(),
            image: asked.image(),
            ipv4,
            ipv6,
            forwards,
            services: asked.node.services.clone(),
            storage: asked.node.storage.clone(),
            on_failure: asked.node.on_failure,
        });
    }
    let network = match site.links {
        LinkPolicy::LeaveOut | LinkPolicy::Refuse => None,
        LinkPolicy::Make(underlay) => {
            let mut avoid: Vec<IpNet> = existing.networks.clone();
            avoid.extend(hosts.iter().map(|view| IpNet::V4(view.host.ipv4())));
            avoid.extend(hosts.iter().filter_map(|view| view.host.ipv6()).map(IpNet::V6));
            avoid.sort_unstable();
            avoid.dedup();
            let previous = wanted.running.and_then(|running| running.network.as_ref());
            let only_netem: Vec<usize> =
                (0..hosts.len()).filter(|number| hosts[*number].limits.only_netem).collect();
            let (mut hosts, mut given) = (vec![places[0]; wanted.topology.nodes.len()], HashMap::new());
            for ((asked, node), place) in all.iter().zip(&nodes).zip(&places) {
                hosts[asked.number] = *place;
                given.insert(asked.number, &node.hostname);
            }
            // Those that do not run yet keep their names for the day that they do.
            let mut hostname = |number, node: &Node| match given.get(&number) {
                Some(given) => Hostname::clone(given),
                None => match previous.and_then(|previous| previous.node(&node.client_id)) {
                    Some(known) => known.hostname.clone(),
                    None => names::hostname(&node.client_id, &mut hostnames),
                },
            };
            let hostnames: Vec<Hostname> = wanted
                .topology
                .nodes
                .iter()
                .enumerate()
                .map(|(number, node)| hostname(number, node))
                .collect();
            let conditions = Conditions {
                avoid: &avoid,
                hosts: &hosts,
                hostnames: &hostnames,
                only_netem: &only_netem,
                underlay,
                previous,
            };
            let planned = network::plan(wanted.topology, &conditions)?;
            diagnostics.extend(planned.diagnostics);
            let impossible = network::schedule::check(wanted.topology, &planned.network);
            if !impossible.is_empty() {
                diagnostics.extend(impossible);
                return Err(Refused { diagnostics }.into());
            }
            Some(planned.network)
        }
    };
    let schedule = wanted.topology.schedule.clone();
    let mut plan = Plan { nodes, network, schedule, diagnostics, near_limits: Vec::new() };
    plan.near_limits = limits::check(&plan, wanted, hosts)?;
    Ok(plan)
}

/// The host of each node that is asked for.
fn choose_hosts(
    asked: &[Asked<'_>],
    topology: &Topology,
    site: Site<'_>,
    hosts: &[HostView<'_>],
) -> Result<Placement, PlanError> {
    let needs: Vec<Need<'_>> = asked
        .iter()
        .map(|asked| Need {
            sliver_type: &asked.kind.name,
            ports: asked.ports.len() as u32,
            bound: asked.bound.clone(),
            runs: asked.kept.is_some(),
            partition: asked.node.partition.as_deref(),
        })
        .collect();
    let numbers: HashMap<usize, usize> =
        asked.iter().enumerate().map(|(index, asked)| (asked.number, index)).collect();
    let here = |cable: Cable| Cable {
        nodes: cable.nodes.iter().filter_map(|number| numbers.get(number).copied()).collect(),
        ..cable
    };
    let cables = match site.links {
        LinkPolicy::Make(_) => cables(topology).into_iter().map(here).collect(),
        LinkPolicy::LeaveOut | LinkPolicy::Refuse => Vec::new(),
    };
    // What runs needs no more room than it has.
    let mut usages: Vec<Usage> = hosts.iter().map(|view| view.usage.clone()).collect();
    for (usage, view) in usages.iter_mut().zip(hosts) {
        let kept = asked.iter().filter_map(|asked| asked.kept);
        kept.filter(|kept| kept.host == *view.host.name()).for_each(|kept| usage.release(&kept.holding()));
    }
    let views: Vec<HostView<'_>> =
        hosts.iter().zip(&usages).map(|(view, usage)| HostView { usage, ..*view }).collect();
    place(&needs, &cables, &views).map_err(|error| match error {
        Unplaceable::Room(free) => too_big(asked, free),
        Unplaceable::Partition { partition, nodes, why } => PlanError::Partition { partition, nodes, why },
        Unplaceable::Apart(Apart { cable, alone, other }) => {
            let link = topology.links.get(cable).map(|link| link.client_id.to_string());
            PlanError::Apart { link: link.unwrap_or_default(), alone, other }
        }
    })
}

fn too_big(asked: &[Asked<'_>], free: Vec<FreeOn>) -> PlanError {
    PlanError::TooBig {
        nodes: asked.len(),
        ports: asked.iter().map(|asked| asked.ports.len() as u32).sum(),
        free,
    }
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
