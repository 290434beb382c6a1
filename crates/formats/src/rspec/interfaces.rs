//! What a manifest says of interfaces and links: slivers, Ethernet addresses, and the addresses that the plan chose.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use testyard_xml::{Edits, Node as Xml, attribute, prefix_of};

use super::element::{core_children, word};
use super::manifest::{ManifestInterface, ManifestLink, ManifestNode, remove};
use super::markup::{Element, indented};

/// Says what became of a node's interfaces.
pub(super) fn describe(node: Xml<'_, '_>, became: &ManifestNode, edits: &mut Edits) {
    if became.interfaces.is_empty() {
        return;
    }
    let known: HashMap<&str, &ManifestInterface> =
        became.interfaces.iter().map(|interface| (interface.client_id.as_str(), interface)).collect();
    for element in core_children(node, "interface") {
        if let Some(interface) = attribute(element, "client_id").and_then(|id| known.get(id)) {
            one(element, interface, edits);
        }
    }
}

fn one(element: Xml<'_, '_>, interface: &ManifestInterface, edits: &mut Edits) {
    edits.set_attribute(element, "sliver_id", &interface.sliver.to_string());
    edits.set_attribute(element, "component_id", &interface.component.to_string());
    // Emulab writes no colons, and clients read it so.
    edits.set_attribute(element, "mac_address", &interface.mac.to_string().replace(':', ""));
    let mut left = interface.addresses.clone();
    for ip in core_children(element, "ip") {
        let given = word(ip, "address").map(|text| text.split('/').next().unwrap_or(text));
        let given = given.and_then(|text| text.parse::<IpAddr>().ok());
        match left.iter().position(|(address, _)| Some(*address) == given) {
            Some(index) => {
                let (address, length) = left.remove(index);
                edits.set_attribute(ip, "address", &address.to_string());
                edits.set_attribute(ip, "netmask", &netmask(address, length));
                edits.set_attribute(ip, "type", kind(address));
            }
            None => remove(ip, edits),
        }
    }
    let added: Vec<String> = left
        .into_iter()
        .map(|(address, length)| {
            Element::new(prefix_of(element), "ip", "")
                .attribute("address", address)
                .attribute("netmask", netmask(address, length))
                .attribute("type", kind(address))
                .empty()
        })
        .collect();
    if !added.is_empty() {
        edits.append(element, &indented(element, &added));
    }
}

const fn kind(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// With dots for IPv4; the length for IPv6, whose masks nobody writes.
fn netmask(address: IpAddr, length: u8) -> String {
    match address {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(bits).to_string()
        }
        IpAddr::V6(_) => length.to_string(),
    }
}

/// Says what became of links, and of the interfaces on them.
pub(super) fn describe_links(
    root: Xml<'_, '_>,
    nodes: &HashMap<&str, &ManifestNode>,
    links: &HashMap<&str, &ManifestLink>,
    edits: &mut Edits,
) {
    if links.is_empty() {
        return;
    }
    let interfaces: HashMap<&str, &ManifestInterface> =
        nodes.values().flat_map(|node| &node.interfaces).map(|i| (i.client_id.as_str(), i)).collect();
    for element in core_children(root, "link") {
        let Some(link) = attribute(element, "client_id").and_then(|id| links.get(id)) else { continue };
        edits.set_attribute(element, "sliver_id", &link.sliver.to_string());
        for reference in core_children(element, "interface_ref") {
            if let Some(interface) = attribute(reference, "client_id").and_then(|id| interfaces.get(id)) {
                edits.set_attribute(reference, "sliver_id", &interface.sliver.to_string());
                edits.set_attribute(reference, "component_id", &interface.component.to_string());
            }
        }
    }
}
