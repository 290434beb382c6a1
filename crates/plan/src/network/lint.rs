//! What is probably not meant: networks that overlap, addresses that two have, nodes that nobody reaches.

use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use testyard_model::host_table::{Listed, MOST_LINES};
use testyard_model::mac::Mac;
use testyard_model::route::Routing;

use crate::network::parts::NetworkPlan;
use crate::network::remarks::{Kind, Remarks};
use crate::network::routes::MANY_NETWORKS;

/// How each language asks for routes.
const STATIC: &str = "ask for static routing (NS: $ns rtproto Static; RSpec: <testyard:routing name=\"static\"/>; YAML, \
     JSON: routing: static)";

/// Looks at a plan that is made.
pub(crate) fn lint(plan: &NetworkPlan, remarks: &mut Remarks) {
    overlaps(plan, remarks);
    reach(plan, remarks);
    match plan.routing {
        Routing::Session => remarks.note(
            Kind::Routing,
            "routing by session (OSPF) runs as static routing: the same shortest paths, computed once",
        ),
        Routing::Static | Routing::None | Routing::Manual => {}
    }
    let networks: usize = plan.links.iter().map(|link| link.subnets.len()).sum();
    if matches!(plan.routing, Routing::Static | Routing::Session) && networks > MANY_NETWORKS {
        remarks.note(
            Kind::Routing,
            format!(
                "with {networks} networks a node may get as many routes; those of neighbouring addresses with one \
                 next hop are made one"
            ),
        );
    }
    if plan.listed() == Listed::Neighbours {
        let text = format!(
            "/etc/hosts would have more than {MOST_LINES} lines: each node's lists the node and its neighbours"
        );
        remarks.note(Kind::Names, text);
    }
}

/// Networks of different links that share addresses, and addresses and hardware addresses that two interfaces have.
fn overlaps(plan: &NetworkPlan, remarks: &mut Remarks) {
    let mut networks: Vec<(IpNet, usize)> = plan
        .links
        .iter()
        .enumerate()
        .flat_map(|(number, link)| link.subnets.iter().map(move |network| (*network, number)))
        .collect();
    networks.sort_unstable();
    let name = |link: usize| plan.links[link].client_id.as_str();
    // Sorted by address and then by length, whoever holds a network stands before it, with only his own between.
    let mut holder: Option<(IpNet, usize)> = None;
    for (network, link) in networks {
        match holder {
            Some((wide, other)) if wide.contains(&network) => {
                if other != link {
                    remarks.warn(
                        Kind::Overlap,
                        format!("links {:?} ({wide}) and {:?} ({network}) overlap", name(other), name(link)),
                        "give each link a network of its own, or none, and one is chosen",
                    );
                }
            }
            _ => holder = Some((network, link)),
        }
    }
    let mut addresses: Vec<(IpAddr, u32, u32)> = Vec::with_capacity(plan.index.lines);
    let mut macs: Vec<(Mac, u32, u32)> = Vec::with_capacity(plan.index.lines);
    for (link, number) in plan.links.iter().zip(0..) {
        for (member, at) in link.members.iter().zip(0..) {
            addresses.extend(member.addresses.iter().map(|address| (address.addr(), number, at)));
            macs.push((member.mac, number, at));
        }
    }
    doubles(plan, Kind::Duplicate, "address", addresses, remarks);
    doubles(plan, Kind::Mac, "Ethernet address", macs, remarks);
}

/// Tells what two interfaces have. On one link it cannot work; on two it can, as long as nobody routes between them.
fn doubles<T: Ord + Display>(
    plan: &NetworkPlan,
    kind: Kind,
    what: &str,
    mut all: Vec<(T, u32, u32)>,
    remarks: &mut Remarks,
) {
    const REMEDY: &str = "give each its own, or none, and one is chosen";
    all.sort_unstable();
    for pair in all.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let name = |(_, link, member): &(T, u32, u32)| {
            plan.links[*link as usize].members[*member as usize].interface.as_str()
        };
        let text = format!(
            "{what} {} is of two interfaces, {:?} and {:?}",
            pair[0].0,
            name(&pair[0]),
            name(&pair[1])
        );
        if pair[0].1 == pair[1].1 {
            remarks.error(kind, text, REMEDY)
        } else {
            remarks.warn(kind, text, REMEDY)
        }
    }
}

/// Nodes that no link leads to, and topologies where packets would have to be passed on but are not.
fn reach(plan: &NetworkPlan, remarks: &mut Remarks) {
    if plan.links.is_empty() {
        return;
    }
    let islands = islands(plan);
    let mut sizes = vec![0_u32; islands.len()];
    islands.iter().for_each(|island| sizes[*island as usize] += 1);
    let size = |island: &u32| sizes[*island as usize];
    // Of islands of one size the first counts as the mainland.
    let mainland = islands.iter().copied().max_by_key(|island| (size(island), std::cmp::Reverse(*island)));
    for ((node, island), number) in plan.nodes.iter().zip(&islands).zip(0..) {
        let name = node.client_id.as_str();
        if plan.places(number).is_empty() {
            let text = format!("node {name:?} is on no link: it has its control interface only");
            remarks.warn(Kind::Reach, text, "put it on a link, if others are to reach it");
        } else if Some(*island) != mainland && *island == number {
            let text = format!(
                "node {name:?}{} reached by no link from the rest of the topology",
                if size(island) == 1 {
                    " is".to_owned()
                } else {
                    format!(" and {} more are", size(island) - 1)
                }
            );
            remarks.warn(Kind::Reach, text, "add a link, if they are to be");
        }
    }
    let lists_routes = || plan.nodes.iter().any(|node| !node.listed_routes.is_empty());
    let remedy = match plan.routing {
        Routing::None => Some(STATIC),
        // Routes that were refused are missing for a reason that is told already.
        Routing::Manual if !lists_routes() && !remarks.refused() => {
            Some("list some (NS: $node add-route), or ask for static routing")
        }
        Routing::Manual | Routing::Static | Routing::Session => None,
    };
    if let Some(remedy) = remedy {
        // A node with fewer neighbours than there are others on its island is more than one step from some.
        let far = plan.nodes.iter().zip(&islands).zip(0_u32..).find(|((_, island), number)| {
            let neighbours: usize =
                plan.places(*number).iter().map(|place| plan.nodes_of(place.link).len() - 1).sum();
            neighbours > 0 && (neighbours as u64) < u64::from(size(island)) - 1
        });
        if let Some(((node, _), _)) = far {
            remarks.warn(
                Kind::Routing,
                format!(
                    "there are no routes: nodes reach their neighbours only, and {:?} has none to others",
                    node.client_id.as_str()
                ),
                remedy,
            );
        }
    }
}

/// For each node the first node of those that links lead to from it.
fn islands(plan: &NetworkPlan) -> Vec<u32> {
    let mut parent: Vec<u32> = (0..plan.nodes.len() as u32).collect();
    fn root(parent: &mut [u32], mut node: u32) -> u32 {
        while parent[node as usize] != node {
            parent[node as usize] = parent[parent[node as usize] as usize];
            node = parent[node as usize];
        }
        node
    }
    for link in 0..plan.links.len() as u32 {
        let mut nodes = plan.nodes_of(link).iter();
        let Some(first) = nodes.next() else { continue };
        for node in nodes {
            let (one, other) = (root(&mut parent, *first), root(&mut parent, *node));
            // The lower number stays, so an island is named by its first node.
            parent[one.max(other) as usize] = one.min(other);
        }
    }
    (0..plan.nodes.len() as u32).map(|node| root(&mut parent, node)).collect()
}
