//! Where the nodes of a request are, seen from one of their hosts: what of a link is there, and how the rest is reached.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use testyard_fabric::links::{Beyond, FarEnd, LinkEnd, PortId};
use testyard_model::id::SliverId;
use testyard_model::link::LinkKind;
use testyard_model::name::ClientId;
use testyard_model::tunnel::Vni;
use testyard_plan::network::parts::{NetworkLink, NetworkMember};

/// See the module. Only nodes that are given to their hosts count.
#[derive(Debug, Default)]
pub(crate) struct Places<'a> {
    /// Those of this host.
    pub(crate) here: HashMap<&'a ClientId, SliverId>,
    /// Where this host's tunnels begin, if it has any.
    pub(crate) local: Option<IpAddr>,
    /// Those of others, with where their hosts' tunnels begin.
    pub(crate) elsewhere: HashMap<&'a ClientId, (SliverId, Option<IpAddr>)>,
}

impl Places<'_> {
    /// A link's ends on this host.
    pub(crate) fn ends(&self, link: &NetworkLink) -> Vec<LinkEnd> {
        let end = |member: &NetworkMember| {
            Some(LinkEnd {
                port: port(member, *self.here.get(&member.node)?),
                to_link: member.to_link,
                from_link: member.from_link,
            })
        };
        link.members.iter().filter_map(end).collect()
    }

    /// What of a link is on other hosts that tunnels lead to.
    pub(crate) fn beyond(&self, link: &NetworkLink, vni: Option<Vni>) -> Option<Beyond> {
        let (vni, local) = (vni?, self.local?);
        let place = |member: &NetworkMember| self.elsewhere.get(&member.node);
        let far = || {
            let (number, member) =
                link.members.iter().enumerate().find(|(_, member)| place(member).is_some())?;
            Some(FarEnd { port: port(member, place(member)?.0), is_first: number == 0 })
        };
        // Nodes of one host may have several interfaces on a LAN.
        let peers = link.members.iter().filter_map(|member| place(member)?.1).filter(|peer| *peer != local);
        let far = if link.kind == LinkKind::PointToPoint { far() } else { None };
        let beyond = Beyond { vni, local, peers: peers.collect(), far };
        (!beyond.peers.is_empty()).then_some(beyond)
    }

    /// What the nodes on a link are called, as far as they are here.
    pub(crate) fn names(&self, link: &NetworkLink) -> BTreeMap<SliverId, String> {
        let named = |member: &NetworkMember| Some((*self.here.get(&member.node)?, member.node.to_string()));
        link.members.iter().filter_map(named).collect()
    }
}

fn port(member: &NetworkMember, node: SliverId) -> PortId {
    PortId { node, device: member.device.to_string() }
}
