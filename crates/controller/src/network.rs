//! The links of one request: its planned network, and the slivers that stand for its links.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use testyard_agent::desired::{HostsLine, NodeNetwork};
use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodeRoute, PortId};
use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_plan::NetworkPlan;
use testyard_plan::network::seed_of;

use crate::api::InterfaceView;
use crate::slice::Sliver;

/// The form of a document's `network` column.
pub(crate) const NETWORK_VERSION: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    plan: NetworkPlan,
    /// One for each link of the plan, in its order.
    slivers: Vec<SliverId>,
}

impl Network {
    /// The network of a plan; `sliver` makes a new number for each link.
    pub(crate) fn new(plan: NetworkPlan, sliver: impl FnMut() -> SliverId) -> Self {
        let slivers = std::iter::repeat_with(sliver).take(plan.links().len()).collect();
        Self { plan, slivers }
    }

    /// Every network that its links have.
    pub(crate) fn networks(&self) -> impl Iterator<Item = ipnet::IpNet> {
        self.plan.links().iter().flat_map(|link| link.subnets.iter().copied())
    }

    /// Its links with their slivers.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&ClientId, SliverId)> {
        self.plan.links().iter().map(|link| &link.client_id).zip(self.slivers.iter().copied())
    }

    /// Its links as far as they have an end at one of these nodes, which are on one host.
    pub(crate) fn links_of(&self, nodes: &HashMap<&ClientId, SliverId>) -> Vec<HostLink> {
        let mut links = Vec::new();
        for (link, sliver) in self.plan.links().iter().zip(&self.slivers) {
            let ends: Vec<LinkEnd> = link
                .members
                .iter()
                .filter_map(|member| {
                    Some(LinkEnd {
                        port: PortId { node: *nodes.get(&member.node)?, device: member.device.to_string() },
                        to_link: member.to_link,
                        from_link: member.from_link,
                    })
                })
                .collect();
            if ends.is_empty() {
                continue;
            }
            links.push(HostLink {
                sliver: *sliver,
                name: link.client_id.to_string(),
                kind: link.kind,
                up: !link.down,
                mtu: link.mtu,
                seed: link.seed,
                is_seed_chosen: link.seed != seed_of(&link.client_id),
                ends,
            });
        }
        links
    }

    /// A node's place on its links.
    pub(crate) fn node(&self, node: &ClientId) -> NodeNetwork {
        let ports = self.plan.interfaces_of(node).map(|(link, member)| NodePort {
            device: member.device.to_string(),
            mac: member.mac,
            mtu: link.mtu,
            addresses: member.addresses.clone(),
        });
        let routes = self.plan.routes_of(node).into_iter().map(|route| NodeRoute {
            to: route.to,
            via: route.via,
            device: route.device.to_string(),
        });
        let names = self.plan.hosts_lines(node).into_iter();
        NodeNetwork {
            ports: ports.collect(),
            routes: routes.collect(),
            forwarding: self.plan.node(node).is_some_and(|node| node.forwarding),
            names: names.map(|line| HostsLine { address: line.address, names: line.names }).collect(),
        }
    }

    /// A node's interfaces, for callers.
    pub(crate) fn interfaces(&self, sliver: &Sliver) -> Vec<InterfaceView> {
        let view = |(_, member): (_, &testyard_plan::network::parts::NetworkMember)| InterfaceView {
            client_id: member.interface.clone(),
            device: member.device.to_string(),
            mac: member.mac,
            addresses: member.addresses.clone(),
        };
        self.plan.interfaces_of(&sliver.client_id).map(view).collect()
    }
}
