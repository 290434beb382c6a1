//! What a node has of its interfaces on links: names, sizes, addresses and routes, in its own namespace.

use std::collections::HashMap;

use ipnet::IpNet;

use crate::FabricError;
use crate::links::{NodePort, NodePorts};
use crate::linux::interface::{kernel, refused};
use crate::netlink::{Address, Change, Ipv4Setting, Link, LinkRef, Refusal, Route, Routing};

/// Addresses and routes of the node, and none of ours that it should not have any more. Gives its interfaces by their names.
pub(super) fn furnish(
    ports: &NodePorts,
    node: &mut impl Routing,
) -> Result<HashMap<String, Link>, FabricError> {
    let mut devices: HashMap<String, Link> = HashMap::new();
    for port in &ports.ports {
        let looking = |r: Refusal| kernel(&format!("looking for {} of the node", port.device), &r);
        let link = node.link(&port.device).map_err(looking)?;
        devices.insert(port.device.clone(), link.ok_or(FabricError::Gone { sliver: ports.node })?);
    }
    let addresses = node.addresses().map_err(|r| kernel("listing the node's addresses", &r))?;
    let changes = ports.ports.iter().flat_map(|port| {
        let link = &devices[&port.device];
        interface(port, link, &addresses)
    });
    node.apply(&changes.collect::<Vec<_>>()).map_err(refused)?;
    let routes = node.routes().map_err(|r| kernel("listing the node's routes", &r))?;
    let wanted: Vec<Route> = ports
        .routes
        .iter()
        .filter_map(|route| {
            let index = devices.get(&route.device)?.index;
            Some(Route { to: route.to.trunc(), via: Some(route.via), index, ours: true })
        })
        .collect();
    let old = routes.iter().filter(|route| route.ours && !wanted.contains(route));
    let new = wanted.iter().filter(|route| !routes.contains(route));
    let changes: Vec<Change> = old
        .map(|route| Change::NoRoute { route: *route })
        .chain(new.map(|route| Change::Route { route: *route, replace: true }))
        .collect();
    node.apply(&changes).map_err(refused)?;
    Ok(devices)
}

/// One interface.
fn interface(port: &NodePort, link: &Link, there: &[Address]) -> Vec<Change> {
    let (index, reference) = (link.index, LinkRef::Index(link.index));
    let mut changes = Vec::new();
    if link.mtu != u32::from(port.mtu) {
        changes.push(Change::Mtu { link: reference.clone(), mtu: u32::from(port.mtu) });
    }
    // A node has several ways, and an answer may take another than the question.
    let settings = vec![(Ipv4Setting::ReversePathFilter, 0)];
    changes.push(Change::Ipv4Settings { link: reference.clone(), settings });
    if !link.up {
        changes.push(Change::Up { link: reference });
    }
    let has = |ip: &IpNet| there.iter().any(|address| address.index == index && address.ip == *ip);
    // Those that the kernel gives an interface by itself are not among what is listed.
    let old = there.iter().filter(|address| address.index == index && !port.addresses.contains(&address.ip));
    changes.extend(old.map(|address| Change::NoAddress { index, ip: address.ip }));
    changes.extend(port.addresses.iter().filter(|ip| !has(ip)).map(|ip| Change::Address { index, ip: *ip }));
    changes
}
