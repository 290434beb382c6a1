//! A node's interfaces on links.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use ipnet::IpNet;
use nix::errno::Errno;
use testyard_model::id::SliverId;

use super::layout::{Gate, Joint};
use super::{Room, entering, names, shared};
use crate::FabricError;
use crate::links::{NodePort, NodePorts, PortId};
use crate::linux::interface::{kernel, refused};
use crate::linux::{namespace, settings};
use crate::netlink::ethtool::{self, Ethtool};
use crate::netlink::{
    Address, Change, ChangeError, Ipv4Setting, Link, LinkRef, Mac, Peer, Refusal, Route, Routing, Rtnetlink,
};

/// How often an interface is made again whose old half has not quite gone.
const TRIES: u32 = 5;

/// Makes the interfaces so, and joins them. The calling thread ends up in one of the namespaces.
pub(super) fn plug(
    room: &mut Room,
    ports: &NodePorts,
    space: &File,
    netns: &File,
) -> Result<(), FabricError> {
    let enter_node = || namespace::enter(netns).map_err(|error| entering("the node's namespace", &error));
    let enter_space = || namespace::enter(space).map_err(|error| entering("the slice's namespace", &error));
    enter_node()?;
    let mut node = Rtnetlink::open().map_err(|r| kernel("opening a socket in the node", &r))?;
    if !ports.ports.is_empty() {
        settings::switch_ipv6_on()?;
    }
    if ports.forwarding {
        settings::forward()?;
    }
    enter_space()?;
    let mut host = Rtnetlink::open().map_err(|r| kernel("opening a socket in the slice's namespace", &r))?;
    for port in &ports.ports {
        pair(room, ports, port, &mut host, &mut node, netns.as_raw_fd())?;
    }
    // Before they are up: a capture has them from their first frame on.
    room.captures.follow(&room.links, &mut host);
    shared::join_node(room, &mut host, ports.node)?;
    enter_node()?;
    let devices = inside(ports, &mut node)?;
    uncut(devices.values().map(|link| link.index));
    settle(devices.values().map(|link| link.index));
    enter_space()?;
    let halves = ports.ports.iter().filter_map(|port| {
        let id = PortId { node: ports.node, device: port.device.clone() };
        host.link(&names::half(&id)).ok().flatten()
    });
    settle(halves.map(|link| link.index));
    Ok(())
}

/// Whether a wire impairs something of the node's.
pub(super) fn has_wire(room: &Room, node: SliverId) -> bool {
    room.layout.joints_of(node).any(|(_, gate): (&String, &Gate)| gate.joint == Joint::Wire)
}

/// A link may be impaired at any time, so the node's side cuts what a wire could not. In the calling thread's namespace.
fn uncut(links: impl Iterator<Item = u32>) {
    let Ok(Some(mut ethtool)) = Ethtool::open() else { return };
    for index in links {
        if let Err(refusal) = ethtool.switch_off(index, &ethtool::UNCUT) {
            tracing::debug!(%refusal, index, "tunnels over an impaired link may lose frames");
        }
    }
}

/// Both sides take note of their carrier at once, or the first packets are lost. In the namespace of the calling thread.
fn settle(links: impl Iterator<Item = u32>) {
    let Ok(Some(mut carrier)) = Ethtool::open() else { return };
    for index in links {
        if let Err(refusal) = carrier.settle(index) {
            tracing::debug!(%refusal, index, "the first packets of a link may be lost");
        }
    }
}

/// The veth of a port: the one that is there, or a new one.
fn pair(
    room: &Room,
    ports: &NodePorts,
    port: &NodePort,
    host: &mut impl Routing,
    node: &mut impl Routing,
    netns: i32,
) -> Result<(), FabricError> {
    let id = PortId { node: ports.node, device: port.device.clone() };
    let name = names::half(&id);
    let looking = |r: Refusal| kernel(&format!("looking for {} of the node", port.device), &r);
    let outer = host.link(&name).map_err(looking)?;
    let inner = node.link(&port.device).map_err(looking)?;
    if let (Some(outer), Some(inner)) = (&outer, &inner)
        && inner.peer == outer.index
        && outer.peer == inner.index
        && inner.mac == Some(Mac(port.mac.bytes()))
    {
        return Ok(());
    }
    let alias = room.layout.gates.get(&name).map_or(port.device.as_str(), |gate| gate.alias.as_str());
    if outer.is_some() {
        shared::remove(host, &name)?;
    } else if inner.is_some_and(|inner| inner.mac == Some(Mac(port.mac.bytes()))) {
        // Ours: its half was in a namespace of the slice that nobody finds any more.
        shared::remove(node, &port.device)?;
    }
    let mut tries = 0;
    loop {
        match host.apply(&creation(&name, alias, port, netns)) {
            Ok(()) => return Ok(()),
            Err(ChangeError { refusal: Refusal { errno: Errno::EEXIST, .. }, .. }) if tries < TRIES => {
                // A half whose node ended just now; or an interface of the node's own making, with an address of its own.
                if host.link(&name).map_err(looking)?.is_none()
                    && node.link(&port.device).is_ok_and(|inner| inner.is_some())
                {
                    return Err(FabricError::Kernel {
                        action: format!("making {} of the node", port.device),
                        detail: "it has an interface of this name that is not ours: rename or remove it"
                            .into(),
                    });
                }
                shared::remove(host, &name)?;
                tries += 1;
            }
            Err(error) => return Err(refused(error)),
        }
    }
}

fn creation(name: &str, alias: &str, port: &NodePort, netns: i32) -> Vec<Change> {
    let peer = Peer { name: port.device.clone(), mac: Some(Mac(port.mac.bytes())), netns: Some(netns) };
    let (name, mtu) = (name.to_owned(), u32::from(port.mtu));
    let link = LinkRef::Name(name.clone());
    vec![
        Change::CreateVeth { name, mac: None, mtu, group: 0, peer },
        Change::Alias { link, text: alias.to_owned() },
    ]
}

/// Addresses and routes of the node, and none of ours that it should not have any more.
fn inside<'p>(ports: &'p NodePorts, node: &mut impl Routing) -> Result<HashMap<&'p str, Link>, FabricError> {
    let mut devices: HashMap<&str, Link> = HashMap::new();
    for port in &ports.ports {
        let looking = |r: Refusal| kernel(&format!("looking for {} of the node", port.device), &r);
        let link = node.link(&port.device).map_err(looking)?;
        devices.insert(&port.device, link.ok_or(FabricError::Gone { sliver: ports.node })?);
    }
    let addresses = node.addresses().map_err(|r| kernel("listing the node's addresses", &r))?;
    let changes = ports.ports.iter().flat_map(|port| {
        let link = &devices[port.device.as_str()];
        interface(port, link, &addresses)
    });
    node.apply(&changes.collect::<Vec<_>>()).map_err(refused)?;
    let routes = node.routes().map_err(|r| kernel("listing the node's routes", &r))?;
    let wanted: Vec<Route> = ports
        .routes
        .iter()
        .filter_map(|route| {
            let index = devices.get(route.device.as_str())?.index;
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
