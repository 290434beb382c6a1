//! Routes that users list (deter.md §7.3): the next hop shares a link with the node, a node as destination has one
//! interface, no destination is given twice, and no way back is implied.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use testyard_model::name::ClientId;
use testyard_model::route::{Destination, NextHop, Route};
use testyard_model::suggest::closest;
use testyard_model::topology::Node;

use crate::network::parts::{NetworkLink, NetworkMember, NetworkPlan};
use crate::network::remarks::{Kind, Remarks};
use crate::network::routes::PlannedRoute;

/// What is wrong with a route: the message behind the node's name, and the remedy.
type Fault = (String, String);

/// Finds things of a plan by the user's names.
pub(crate) struct Names<'p> {
    plan: &'p NetworkPlan,
    links: HashMap<&'p ClientId, &'p NetworkLink>,
    interfaces: HashMap<&'p ClientId, &'p NetworkMember>,
}

impl<'p> Names<'p> {
    pub(crate) fn new(plan: &'p NetworkPlan) -> Self {
        let links = plan.links().iter().map(|link| (&link.client_id, link)).collect();
        let members = plan.links().iter().flat_map(|link| &link.members);
        let interfaces = members.map(|member| (&member.interface, member)).collect();
        Self { plan, links, interfaces }
    }

    /// The routes that a node's user listed.
    pub(crate) fn routes(&self, node: &Node, remarks: &mut Remarks) -> Vec<PlannedRoute> {
        let mut routes: Vec<PlannedRoute> = Vec::new();
        for route in &node.routes {
            match self.route(node, route) {
                Ok(planned) => {
                    for route in planned {
                        if routes.iter().any(|other| other.to == route.to) {
                            let text = format!("it has two routes to {}", route.to);
                            tell(node, (text, "keep one of them".to_owned()), remarks);
                        } else {
                            routes.push(route);
                        }
                    }
                }
                Err(fault) => tell(node, fault, remarks),
            }
        }
        routes
    }

    fn route(&self, node: &Node, route: &Route) -> Result<Vec<PlannedRoute>, Fault> {
        let destinations = self.destinations(&route.to)?;
        let mut routes = Vec::new();
        for to in &destinations {
            let (via, device) = match &route.via {
                NextHop::Node(hop) => match self.neighbour(node, hop, to)? {
                    Some(found) => found,
                    // A node with addresses of both families may be reached in one of them only.
                    None if destinations.len() > 1 => continue,
                    None => {
                        let hop = hop.as_str();
                        let text = format!("its next hop {hop:?} has no address of the family of {to}");
                        return Err((text, "give both ends addresses of one family".to_owned()));
                    }
                },
                NextHop::Address(address) => self.at_address(node, *address)?,
            };
            if via.is_ipv4() != to.addr().is_ipv4() {
                let text = format!("the next hop {via} cannot pass on packets to {to}");
                return Err((text, "use a next hop of the same address family".to_owned()));
            }
            routes.push(PlannedRoute { to: *to, via, device });
        }
        Ok(routes)
    }

    fn destinations(&self, to: &Destination) -> Result<Vec<IpNet>, Fault> {
        let whole = |net: &IpNet| IpNet::from(net.addr());
        match to {
            Destination::Network { address, prefix_length } => {
                let network = IpNet::new(*address, *prefix_length).map_err(|_| {
                    let text = format!("there is no network {address}/{prefix_length}");
                    (text, "give at most 32 bits for IPv4, 128 for IPv6".to_owned())
                })?;
                if network.prefix_len() == 0 {
                    let text =
                        "its default route cannot be changed, since the control network has it".to_owned();
                    return Err((text, "name the networks that are to be reached".to_owned()));
                }
                Ok(vec![network.trunc()])
            }
            Destination::Link(link) => {
                let found =
                    self.links.get(link).ok_or_else(|| missing("link", link, self.links.keys().copied()))?;
                Ok(found.subnets.clone())
            }
            Destination::Interface(interface) => {
                let known = || self.interfaces.keys().copied();
                let found =
                    self.interfaces.get(interface).ok_or_else(|| missing("interface", interface, known()))?;
                Ok(found.addresses.iter().map(whole).collect())
            }
            Destination::Node(node) => {
                let known = || self.plan.nodes().iter().map(|node| &node.client_id);
                self.plan.node(node).ok_or_else(|| missing("node", node, known()))?;
                let name = node.as_str();
                let interfaces: Vec<_> = self.plan.interfaces_of(node).collect();
                match interfaces[..] {
                    [(_, member)] => Ok(member.addresses.iter().map(whole).collect()),
                    [] => Err((
                        format!("a route leads to {name:?}, which is on no link"),
                        "put it on one".to_owned(),
                    )),
                    _ => {
                        let links: Vec<&str> =
                            interfaces.iter().take(5).map(|(link, _)| link.client_id.as_str()).collect();
                        let text = format!("a route leads to {name:?}, which has several interfaces");
                        Err((text, format!("name the link instead: {}", links.join(", "))))
                    }
                }
            }
        }
    }

    /// The neighbour's address on the first link that both share, of the family of the destination.
    fn neighbour(
        &self,
        node: &Node,
        hop: &ClientId,
        to: &IpNet,
    ) -> Result<Option<(IpAddr, crate::network::device::Device)>, Fault> {
        if *hop == node.client_id {
            return Err(("a route's next hop is the node itself".to_owned(), "name a neighbour".to_owned()));
        }
        let known = || self.plan.nodes().iter().map(|node| &node.client_id);
        self.plan.node(hop).ok_or_else(|| missing("node", hop, known()))?;
        let mut shared = false;
        for (link, own) in self.plan.interfaces_of(&node.client_id) {
            for member in link.members.iter().filter(|member| member.node == *hop) {
                shared = true;
                let common = member.addresses.iter().find(|address| {
                    address.addr().is_ipv4() == to.addr().is_ipv4()
                        && own.addresses.iter().any(|own| own.trunc() == address.trunc())
                });
                if let Some(address) = common {
                    return Ok(Some((address.addr(), own.device)));
                }
            }
        }
        if shared {
            return Ok(None);
        }
        let neighbours: Vec<&str> = self
            .plan
            .interfaces_of(&node.client_id)
            .flat_map(|(link, _)| &link.members)
            .filter(|member| member.node != node.client_id)
            .take(5)
            .map(|member| member.node.as_str())
            .collect();
        let remedy = match neighbours[..] {
            [] => "put the node on a link first".to_owned(),
            _ => format!("its neighbours are {}", neighbours.join(", ")),
        };
        Err((format!("its next hop {:?} shares no link with it", hop.as_str()), remedy))
    }

    fn at_address(
        &self,
        node: &Node,
        address: IpAddr,
    ) -> Result<(IpAddr, crate::network::device::Device), Fault> {
        let interfaces = self.plan.interfaces_of(&node.client_id);
        let mut on =
            interfaces.filter(|(_, own)| own.addresses.iter().any(|own| own.trunc().contains(&address)));
        let Some((link, own)) = on.next() else {
            let text = format!("its next hop {address} is on none of its links");
            return Err((text, "give an address of a neighbour".to_owned()));
        };
        if own.addresses.iter().any(|own| own.addr() == address) {
            return Err((
                format!("a route's next hop {address} is the node's own address"),
                "give an address of a neighbour".to_owned(),
            ));
        }
        if !link.members.iter().flat_map(|member| &member.addresses).any(|other| other.addr() == address) {
            let text = format!("its next hop {address} is nobody's on link {:?}", link.client_id.as_str());
            return Err((text, "give an address of a neighbour".to_owned()));
        }
        Ok((address, own.device))
    }
}

fn tell(node: &Node, (text, remedy): Fault, remarks: &mut Remarks) {
    remarks.error(Kind::Route, format!("node {:?}: {text}", node.client_id.as_str()), remedy);
}

fn missing<'n>(what: &str, given: &ClientId, known: impl Iterator<Item = &'n ClientId>) -> Fault {
    // The order of a map's keys is chance, and of two names that are equally close the first is taken.
    let mut known: Vec<&str> = known.map(ClientId::as_str).collect();
    known.sort_unstable();
    let meant = closest(given.as_str(), known);
    let remedy = meant
        .map_or_else(|| format!("name a {what} of the topology"), |meant| format!("did you mean {meant:?}?"));
    (format!("there is no {what} {:?}", given.as_str()), remedy)
}
