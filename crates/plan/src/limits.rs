//! Limits of a host's kernel, found before they bite: what a plan needs there, beside what the host was seen to have.
//!
//! What cannot work is an error; what works only as long as nodes are modest is a warning. Each comes with the remedy.

use std::collections::HashSet;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::host::HostLimits;
use testyard_model::id::HostName;
use testyard_model::quantity::Size;
use testyard_model::sliver_type::RuntimeKind;

use crate::error::PlanError;
use crate::network::BRIDGE_PORTS;
use crate::plan::{HostView, Plan, PlannedNode, Wanted};

/// Processes that a node has at least: the guest, its SSH server and the image's own program.
const LEAST_PROCESSES: u64 = 3;
/// Inotify instances that a node takes on the host, where control groups are of version 2: a container's memory events are
/// watched with one.
const INOTIFY_PER_NODE: u64 = 1;

/// What all hosts of a plan are too small for is an error; what they may be too small for is told.
pub(crate) fn check(
    plan: &Plan,
    wanted: Wanted<'_>,
    hosts: &[HostView<'_>],
) -> Result<Vec<Diagnostic>, PlanError> {
    let on = |view: &HostView<'_>| {
        let name = view.host.name();
        HostNeeds::of(plan, name, wanted.running).check(name, view.limits)
    };
    let told: Vec<Diagnostic> = hosts.iter().flat_map(on).collect();
    if told.iter().any(|told| told.severity == Severity::Error) {
        return Err(PlanError::Limits(told));
    }
    Ok(told)
}

/// What the nodes of a plan need on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNeeds {
    /// How many there are.
    pub nodes: u64,
    /// Processes that they have at least.
    pub least_processes: u64,
    /// Processes that they may have, where each kind limits them; none if one does not.
    pub most_processes: Option<u64>,
    /// Entries of the IPv4 neighbour table: with one neighbour for each interface, and with everybody talking to
    /// everybody on each link. Those of control interfaces are permanent, which the limit leaves out.
    pub ipv4_neighbours: (u64, u64),
    /// The same for IPv6.
    pub ipv6_neighbours: (u64, u64),
    /// Bytes that they may write, where their kinds limit them, or that their folders are to hold.
    pub disk: u64,
    /// Bytes that their folders are to hold.
    pub storage: u64,
    /// Ports of the largest bridge, and its link.
    pub bridge: Option<(u64, String)>,
    /// Different images that are unpacked.
    pub images: u64,
}

// === impl HostNeeds ===

impl HostNeeds {
    /// What a plan needs on a host, beside what the nodes have that run there already.
    #[must_use]
    pub fn of(plan: &Plan, host: &HostName, running: Option<&Plan>) -> Self {
        let runs: HashSet<_> = running
            .iter()
            .flat_map(|plan| &plan.nodes)
            .filter(|node| node.host == *host)
            .map(|node| &node.client_id)
            .collect();
        let all = plan.nodes.iter().filter(|node| node.host == *host);
        let names: HashSet<_> = all.clone().map(|node| &node.client_id).collect();
        let is_new = |node: &&PlannedNode| !runs.contains(&node.client_id);
        // Those that only pretend need nothing of a kernel but their links.
        let is_real = |node: &&PlannedNode| node.sliver_type.runtime != RuntimeKind::Fake;
        let here: Vec<_> = all.filter(is_new).filter(is_real).collect();
        let limits = || here.iter().map(|node| &node.sliver_type.limits);
        let nodes = here.len() as u64;
        let mut needs = Self {
            nodes,
            least_processes: nodes * LEAST_PROCESSES,
            most_processes: limits().map(|limits| limits.pids.map(u64::from)).sum(),
            ipv4_neighbours: (0, 0),
            ipv6_neighbours: (0, 0),
            disk: here
                .iter()
                .map(|node| node.sliver_type.limits.disk.unwrap_or(0).max(node.asked_disk()))
                .fold(0, u64::saturating_add),
            storage: here.iter().map(|node| node.asked_disk()).fold(0, u64::saturating_add),
            bridge: None,
            images: here.iter().map(|node| node.image.as_str()).collect::<HashSet<_>>().len() as u64,
        };
        for link in plan.network.iter().flat_map(|network| network.links()) {
            let own = link.members.iter().filter(|member| names.contains(&member.node)).count() as u64;
            if own == 0 {
                continue;
            }
            let peers = link.members.len().saturating_sub(1) as u64;
            let is_new = |node| names.contains(node) && !runs.contains(node);
            let new = link.members.iter().filter(|member| is_new(&member.node)).count() as u64;
            let add = |count: &mut (u64, u64)| {
                *count = (count.0 + new, count.1.saturating_add(new.saturating_mul(peers)));
            };
            let of_family = |ipv4: bool| link.subnets.iter().any(|net| net.addr().is_ipv4() == ipv4);
            if peers > 0 && of_family(true) {
                add(&mut needs.ipv4_neighbours);
            }
            if peers > 0 && of_family(false) {
                add(&mut needs.ipv6_neighbours);
            }
            // A tunnel to the other hosts takes one port more.
            let ports = own + u64::from(link.crosses_hosts);
            if own > 2 && needs.bridge.as_ref().is_none_or(|(most, _)| ports > *most) {
                needs.bridge = Some((ports, link.client_id.to_string()));
            }
        }
        needs
    }

    /// What is too much for a host.
    #[must_use]
    pub fn check(&self, host: &HostName, limits: &HostLimits) -> Vec<Diagnostic> {
        let mut told = Vec::new();
        let mut tell = |severity, text: String, remedy: String| {
            told.push(Diagnostic::new(severity, format!("host {host}: {text}")).suggest(remedy));
        };
        if let Some((ports, link)) = self.bridge.as_ref().filter(|(ports, _)| *ports > BRIDGE_PORTS as u64) {
            tell(
                Severity::Error,
                format!("link {link:?} needs {ports} ports there, and a Linux bridge has {BRIDGE_PORTS}"),
                "split the LAN, or bind some of its nodes to another host".to_owned(),
            );
        }
        let nodes = self.nodes;
        if let Some(free) = limits.processes {
            if self.least_processes > free {
                tell(
                    Severity::Error,
                    format!(
                        "{nodes} nodes have at least {} processes, and {free} more can run",
                        self.least_processes
                    ),
                    sysctl("kernel.pid_max", (self.least_processes - free).saturating_mul(2)),
                );
            } else if let Some(most) = self.most_processes.filter(|most| *most > free) {
                tell(
                    Severity::Warning,
                    format!(
                        "{nodes} nodes may have {most} processes by their kinds, and {free} more can run"
                    ),
                    sysctl("kernel.pid_max", most - free),
                );
            }
        }
        let instances = nodes.saturating_mul(INOTIFY_PER_NODE);
        if let Some(free) = limits.inotify_instances.filter(|free| instances > *free) {
            // They run all the same, but nobody hears that one has run out of memory, nor may programs watch files.
            tell(
                Severity::Warning,
                format!("{nodes} nodes take {instances} inotify instances, and {free} are free"),
                sysctl("fs.inotify.max_user_instances", instances - free),
            );
        }
        for (family, free, (least, most)) in [
            ("ipv4", limits.ipv4_neighbours, self.ipv4_neighbours),
            ("ipv6", limits.ipv6_neighbours, self.ipv6_neighbours),
        ] {
            let Some(free) = free.filter(|free| most > *free) else { continue };
            let name = format!("net.{family}.neigh.default.gc_thresh3");
            if least > free {
                tell(
                    Severity::Warning,
                    format!(
                        "the neighbour table has room for {free} more, and nodes that all talk need {least} at \
                         least: some will not reach each other"
                    ),
                    sysctl(&name, most - free),
                );
            } else {
                tell(
                    Severity::Warning,
                    format!(
                        "the neighbour table has room for {free} more; if all talk to all, {most} are needed"
                    ),
                    sysctl(&name, most - free),
                );
            }
        }
        // One for each node, and the fabric's.
        let namespaces = if nodes == 0 { 0 } else { nodes + 1 };
        if let Some(free) = limits.network_namespaces.filter(|free| namespaces > *free) {
            tell(
                Severity::Error,
                format!("{nodes} nodes take {namespaces} network namespaces, and {free} more can be made"),
                sysctl("user.max_net_namespaces", namespaces - free),
            );
        }
        if let Some(free) = limits.disk.filter(|free| self.storage > free.bytes()) {
            tell(
                Severity::Error,
                format!("nodes ask for {} of storage, and {free} are free", Size::from_bytes(self.storage)),
                "ask for less, or free some space".to_owned(),
            );
        } else if let Some(free) = limits.disk.filter(|free| self.disk > free.bytes()) {
            tell(
                Severity::Warning,
                format!("nodes may write {}, and {free} are free", Size::from_bytes(self.disk)),
                "free some space, or use kinds with smaller disks".to_owned(),
            );
        }
        if let Some(free) = limits.disk.filter(|free| free.bytes() == 0 && nodes > 0) {
            tell(
                Severity::Error,
                format!("{free} are free for the disks of {nodes} nodes and {} images", self.images),
                "free some space".to_owned(),
            );
        }
        told
    }
}

fn sysctl(name: &str, by: u64) -> String {
    format!("raise {name} by {by} or more, with sysctl -w and in /etc/sysctl.d")
}
