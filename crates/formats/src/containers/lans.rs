//! Containers as nodes, and their addresses as LANs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::image::ImageName;
use testyard_model::link::{Attribute, Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::topology::{Interface, InterfaceAddress, Node, Topology};

use super::read::{Container, Image};
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
    let mut topology = Topology::default();
    // In the order in which they first come.
    let mut networks: HashMap<(Ipv4Addr, u8), usize> = HashMap::new();
    let mut images = Images { site, told: HashSet::new() };
    places(&containers, site, hosts, remarks);
    for container in containers {
        let mut node = Node::new(container.name);
        node.partition = container.host.map(|(host, _)| host.to_owned());
        node.image = images.of(&container.image, remarks);
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
    overlaps(networks.keys().copied().collect(), remarks);
    for link in topology.links.iter().filter(|link| link.members.len() == 1) {
        remarks.general(
            testyard_model::diagnostic::Severity::Warning,
            format!("{} has one member only: {}", link.client_id, link.members[0].interface),
        );
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

fn overlaps(mut networks: Vec<(Ipv4Addr, u8)>, remarks: &mut Remarks) {
    networks.sort_unstable();
    // Wider ones come first, and what they hold follows.
    let mut open: Vec<(Ipv4Addr, u8)> = Vec::new();
    for (address, length) in networks {
        open.retain(|(wide, wide_length)| network(address, *wide_length) == *wide);
        if let Some((wide, wide_length)) = open.last() {
            remarks
                .general(
                    testyard_model::diagnostic::Severity::Warning,
                    format!(
                        "the networks {wide}/{wide_length} and {address}/{length} overlap, and are two LANs"
                    ),
                )
                .suggest("give the hosts' LANs one mask, or the containers other addresses");
        }
        open.push((address, length));
    }
}

/// How wide the networks of hosts are.
struct Widths<'h>(HashMap<&'h str, Vec<(Ipv4Addr, u8)>>);

impl<'h> Widths<'h> {
    fn new(hosts: Option<&'h Topology>) -> Self {
        let networks = |node: &Node| {
            let addresses = node.interfaces.iter().flat_map(|interface| &interface.addresses);
            let ipv4 = addresses.filter_map(|address| match (address.address, address.prefix_length) {
                (IpAddr::V4(ip), Some(length)) => Some((network(ip, length.min(32)), length.min(32))),
                _ => None,
            });
            ipv4.collect()
        };
        let nodes = hosts.map_or(&[][..], |hosts| &hosts.nodes);
        Self(nodes.iter().map(|node| (node.client_id.as_str(), networks(node))).collect())
    }

    /// The narrowest network of the host that the address is in.
    fn of(&self, host: Option<&str>, address: Ipv4Addr) -> u8 {
        let networks = host.and_then(|host| self.0.get(host)).map_or(&[][..], Vec::as_slice);
        let known = networks.iter().filter(|(known, length)| network(address, *length) == *known);
        known.map(|(_, length)| *length).max().unwrap_or(USUAL)
    }
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

/// Which of this testbed's images stand for theirs.
struct Images<'s> {
    site: &'s Site,
    told: HashSet<String>,
}

impl Images<'_> {
    /// By name, by URL, or by the name of the file there; none, with a warning once for each, means the default.
    fn of(&mut self, image: &Image<'_>, remarks: &mut Remarks) -> Option<ImageName> {
        if let Some(kind) = image.kind.filter(|kind| *kind != "vagrant")
            && self.told.insert(format!("type {kind}"))
        {
            remarks.warning(image.at, format!("image_type {:?} is taken for vagrant", short(kind)));
        }
        let file = image.url.and_then(|url| url.rsplit('/').next());
        let names = [image.name, image.url, file, file.and_then(|file| file.strip_suffix(".box"))];
        if let Some(known) = names.into_iter().flatten().find_map(|name| self.site.images.get(name)) {
            return Some(known.clone());
        }
        let name = image.name.or(image.url).unwrap_or("");
        if !self.told.insert(name.to_owned()) {
            return None;
        }
        let is_windows = image.os.is_some_and(|os| os.to_ascii_lowercase().starts_with("windows"));
        let message = match (name, is_windows) {
            ("", _) => "the container names no image: the default is taken".to_owned(),
            (_, true) => {
                format!("{:?} is Windows, which does not run here: the default image is taken", short(name))
            }
            (_, false) => format!("there is no image for {:?} here: the default is taken", short(name)),
        };
        let remark = remarks.warning(image.at, message);
        if !name.is_empty() {
            let known = self.site.images.keys().map(String::as_str);
            let how = format!("the testbed's configuration says which image stands for {:?}", short(name));
            remark.did_you_mean(name, known, Some(how));
        }
        None
    }
}

impl Image<'_> {
    /// As DETER's tools name them.
    fn attributes(&self) -> Vec<Attribute> {
        let all = [("os", self.os), ("type", self.kind), ("name", self.name), ("url", self.url)];
        let attribute = |(key, value): (&str, Option<&str>)| {
            Some(Attribute { key: format!("containers:image_{key}"), value: value?.to_owned() })
        };
        all.into_iter().filter_map(attribute).collect()
    }
}
