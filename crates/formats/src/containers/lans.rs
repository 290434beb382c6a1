//! Containers as nodes, and their addresses as LANs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::diagnostic::Position;
use testyard_model::image::ImageName;
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::topology::{Interface, InterfaceAddress, Node, Topology};

use super::read::Container;
use crate::boxes::{BoxImage, Found};
use crate::import::Site;
use crate::remarks::{Remarks, short};

/// The width of a network that no host's LAN tells.
const USUAL: u8 = 24;

pub(super) fn topology(
    containers: Vec<Container<'_>>,
    site: &Site,
    hosts: Option<&Topology>,
    remarks: &mut Remarks,
) -> Topology {
    let widths = Widths::new(hosts);
    // Classic Containers computed routes for every node (deter.md §7.3), and the list has no way to ask.
    let mut topology = Topology { routing: Routing::Static, ..Topology::default() };
    // In the order in which they first come.
    let mut networks: HashMap<(Ipv4Addr, u8), usize> = HashMap::new();
    let mut images = Images { site, told: HashSet::new() };
    places(&containers, site, hosts, remarks);
    for container in containers {
        let mut node = Node::new(container.name);
        node.partition = container.host.map(|(host, _)| host.to_owned());
        node.image = images.of(&container.image, container.at, remarks).map(Into::into);
        node.attributes = container.image.attributes();
        let mut on = HashSet::new();
        for (number, nic) in container.interfaces.into_iter().enumerate() {
            let Ok(client_id) = format!("{}:if{number}", node.client_id).parse::<ClientId>() else {
                remarks.error(container.at, "the name is too long for those of its interfaces");
                continue;
            };
            let mut interface = Interface { mac: nic.mac, ..Interface::new(client_id.clone()) };
            if let Some((address, length)) = nic.address {
                let length =
                    length.unwrap_or_else(|| widths.of(container.host.map(|(host, _)| host), address));
                let network = network(address, length);
                let host_part = address.to_bits() ^ network.to_bits();
                if length < 31 && (host_part == 0 || host_part == u32::MAX >> length) {
                    remarks
                        .error(
                            nic.at,
                            format!("{address} is the address of the whole network {network}/{length}"),
                        )
                        .suggest("take one within it");
                }
                interface
                    .addresses
                    .push(InterfaceAddress { address: address.into(), prefix_length: Some(length) });
                let index = *networks.entry((network, length)).or_insert_with(|| {
                    topology.links.push(Link::new(lan_name(network, length), LinkKind::Lan));
                    topology.links.len() - 1
                });
                if !on.insert(index) {
                    let name = short(node.client_id.as_str());
                    remarks.warning(nic.at, format!("container {name:?} is on {network}/{length} twice"));
                }
                topology.links[index].members.push(Member::clear(client_id));
            }
            node.interfaces.push(interface);
        }
        topology.nodes.push(node);
    }
    topology
}

fn network(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// `lan-10-7-1-0`, with the length if it is not the usual one.
fn lan_name(network: Ipv4Addr, length: u8) -> ClientId {
    let [a, b, c, d] = network.octets();
    let width = if length == USUAL { String::new() } else { format!("-{length}") };
    let name = format!("lan-{a}-{b}-{c}-{d}{width}");
    name.parse().expect("letters, digits and hyphens are a name")
}

/// How wide the networks of hosts are.
struct Widths<'h>(HashMap<&'h str, Vec<(Ipv4Addr, u8)>>);

impl<'h> Widths<'h> {
    /// A host is in all networks of its LANs, whoever of their members has an address.
    fn new(hosts: Option<&'h Topology>) -> Self {
        let Some(hosts) = hosts else { return Self(HashMap::new()) };
        let interfaces = |node: &'h Node| {
            let name = node.client_id.as_str();
            node.interfaces.iter().map(move |interface| (&interface.client_id, (name, own(interface))))
        };
        let interfaces: HashMap<&ClientId, (&str, Vec<_>)> =
            hosts.nodes.iter().flat_map(interfaces).collect();
        let mut widths: HashMap<&str, Vec<(Ipv4Addr, u8)>> = HashMap::new();
        for (name, networks) in interfaces.values() {
            widths.entry(name).or_default().extend(networks);
        }
        for link in &hosts.links {
            let members = || link.members.iter().filter_map(|member| interfaces.get(&member.interface));
            let networks: HashSet<(Ipv4Addr, u8)> =
                members().flat_map(|(_, networks)| networks).copied().collect();
            for (name, _) in members() {
                widths.entry(name).or_default().extend(&networks);
            }
        }
        Self(widths)
    }

    /// The narrowest network of the host that the address is in.
    fn of(&self, host: Option<&str>, address: Ipv4Addr) -> u8 {
        let networks = host.and_then(|host| self.0.get(host)).map_or(&[][..], Vec::as_slice);
        let known = networks.iter().filter(|(known, length)| network(address, *length) == *known);
        known.map(|(_, length)| *length).max().unwrap_or(USUAL)
    }
}

/// The networks that an interface's own addresses tell.
fn own(interface: &Interface) -> Vec<(Ipv4Addr, u8)> {
    let ipv4 =
        interface.addresses.iter().filter_map(|address| match (address.address, address.prefix_length) {
            (IpAddr::V4(ip), Some(length)) => Some((network(ip, length.min(32)), length.min(32))),
            _ => None,
        });
    ipv4.collect()
}

/// What the hosts that containers name are here.
fn places(containers: &[Container<'_>], site: &Site, hosts: Option<&Topology>, remarks: &mut Remarks) {
    let mut named = BTreeMap::new();
    for (host, at) in containers.iter().filter_map(|container| container.host) {
        named.entry(host).or_insert((at, 0)).1 += 1;
    }
    let known: HashSet<&str> =
        hosts.map_or(&[][..], |hosts| &hosts.nodes).iter().map(|node| node.client_id.as_str()).collect();
    for (host, (at, count)) in named {
        if hosts.is_some() && !known.contains(host) {
            remarks
                .warning(at, format!("host {:?} is not in the file of the hosts", short(host)))
                .did_you_mean(host, known.iter().copied(), None);
        }
        if !site.hosts.iter().any(|name| name == host) {
            let them = if count == 1 { "it".to_owned() } else { format!("all {count} of its containers") };
            remarks
                .warning(at, format!("this testbed has no host {:?}: one is chosen for {them}", short(host)))
                .did_you_mean(host, site.hosts.iter().map(String::as_str), None);
        }
    }
}

/// Images of boxes; what is missing is told once each.
struct Images<'s> {
    site: &'s Site,
    told: HashSet<String>,
}

impl Images<'_> {
    fn of(&mut self, image: &BoxImage<'_>, at: Position, remarks: &mut Remarks) -> Option<ImageName> {
        if let Some(kind) = image.odd_kind()
            && self.told.insert(format!("type {kind}"))
        {
            remarks.warning(at, format!("image_type {:?} is taken for vagrant", short(kind)));
        }
        match image.find(self.site) {
            Found::Image(image) => Some(image),
            Found::Default { message, suggestion } => {
                if self.told.insert(message.clone()) {
                    let remark = remarks.warning(at, message);
                    if let Some(suggestion) = suggestion {
                        remark.suggest(suggestion);
                    }
                }
                None
            }
        }
    }
}
