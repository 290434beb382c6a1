//! Interfaces: those that a node lists, and those that a link makes on the nodes that it names.

use std::net::IpAddr;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::name::ClientId;
use testyard_model::topology::{Interface, InterfaceAddress, Topology};

use super::node::attributes;
use super::reference::{Names, find, take};
use crate::remarks::{Remarks, short};
use crate::tree::Value;
use crate::tree::fields::{Fields, items, text};

const OWN_KEYS: [&str; 5] = ["name", "address", "mac", "cost", "attributes"];
const MEMBER_KEYS: [&str; 6] = ["node", "interface", "address", "mac", "cost", "attributes"];

/// An interface that a node lists: its name, or a map.
pub(super) fn declared(
    value: &Value,
    node: usize,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Option<Interface> {
    let fields = match value.entries() {
        None => None,
        Some(_) => Some(Fields::read(value, "an interface", &OWN_KEYS, Severity::Error, remarks)?),
    };
    let name = match &fields {
        None => text(value, "an interface", remarks)?,
        Some(fields) => match fields.text("name", remarks) {
            Some(name) => name,
            None => {
                remarks.error(value.at, "an interface has no name");
                return None;
            }
        },
    };
    let name = id(name, "interface", value.at, remarks)?;
    if !take(&mut names.interfaces, "interface", &name, node, value.at, remarks) {
        return None;
    }
    Some(match fields {
        None => Interface::new(name),
        Some(fields) => filled(name, &fields, remarks),
    })
}

/// A member of a link: the name of a node, which gets an interface; the name of an interface that a node lists; or a
/// map that says more. Gives the interface's name.
pub(super) fn member(
    value: &Value,
    link: &ClientId,
    topology: &mut Topology,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Option<ClientId> {
    let interface = if value.entries().is_some() {
        by_map(value, link, topology, names, remarks)?
    } else {
        let name = text(value, "a member", remarks)?;
        let known = name.parse::<ClientId>().ok();
        match known.filter(|id| !names.nodes.contains_key(id) && names.interfaces.contains_key(id)) {
            Some(interface) => interface,
            None => {
                let (node, number) = find(&names.nodes, "node or interface", name, value.at, remarks)?;
                let interface = default_name(&node, link, names, value.at, remarks)?;
                make(Interface::new(interface), number, value.at, topology, names, remarks)?
            }
        }
    };
    if let Some(first) = names.on_link.insert(interface.clone(), value.at) {
        let message = format!("interface {:?} is on a link already, at {first}", short(interface.as_str()));
        remarks
            .error(value.at, message)
            .suggest("an interface is on one link: name the node to give it another one");
    }
    Some(interface)
}

fn by_map(
    value: &Value,
    link: &ClientId,
    topology: &mut Topology,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Option<ClientId> {
    let fields = Fields::read(value, "a member", &MEMBER_KEYS, Severity::Error, remarks)?;
    let named = match fields.get("interface") {
        None => None,
        Some(value) => Some(id(text(value, "interface", remarks)?, "interface", value.at, remarks)?),
    };
    let Some(node) = fields.get("node") else {
        let Some(interface) = named else {
            remarks.error(value.at, "a member names neither node nor interface");
            return None;
        };
        if fields.entries().len() > 1 {
            remarks
                .error(value.at, "only a member that names its node can have more keys")
                .suggest("add node: …, or put the keys where the node lists the interface");
        }
        return find(&names.interfaces, "interface", interface.as_str(), value.at, remarks).map(|(id, _)| id);
    };
    let (node, number) = find(&names.nodes, "node", text(node, "node", remarks)?, node.at, remarks)?;
    let name = match named {
        Some(name) => name,
        None => default_name(&node, link, names, value.at, remarks)?,
    };
    let interface = filled(name, &fields, remarks);
    make(interface, number, value.at, topology, names, remarks)
}

fn make(
    interface: Interface,
    node: usize,
    at: Position,
    topology: &mut Topology,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Option<ClientId> {
    let name = interface.client_id.clone();
    if !take(&mut names.interfaces, "interface", &name, node, at, remarks) {
        return None;
    }
    topology.nodes.get_mut(node)?.interfaces.push(interface);
    Some(name)
}

/// What an interface is called that a link makes: `NODE:LINK`, with a number for the second one of a node.
fn default_name(
    node: &ClientId,
    link: &ClientId,
    names: &Names,
    at: Position,
    remarks: &mut Remarks,
) -> Option<ClientId> {
    let plain = format!("{node}:{link}");
    let is_free = |name: &String| name.parse().is_ok_and(|id: ClientId| !names.interfaces.contains_key(&id));
    // A node is rarely on one link more than once.
    let numbered = (2..100).map(|number| format!("{plain}:{number}"));
    let name = std::iter::once(plain.clone()).chain(numbered).find(is_free).unwrap_or(plain);
    id(&name, "interface", at, remarks)
}

/// Whether an interface's name is what it would get here.
pub(super) fn is_default_name(name: &ClientId, node: &ClientId, link: &ClientId, nth: usize) -> bool {
    let plain = format!("{node}:{link}");
    name.as_str() == if nth == 0 { plain } else { format!("{plain}:{}", nth + 1) }
}

fn filled(name: ClientId, fields: &Fields<'_>, remarks: &mut Remarks) -> Interface {
    let addresses = fields.get("address").map_or(&[][..], items);
    Interface {
        addresses: addresses.iter().filter_map(|value| address(value, remarks)).collect(),
        mac: fields.parse("mac", remarks),
        cost: fields.number("cost", "a number, like 10", remarks),
        attributes: attributes(fields, remarks),
        client_id: name,
    }
}

fn address(value: &Value, remarks: &mut Remarks) -> Option<InterfaceAddress> {
    let given = text(value, "address", remarks)?;
    let (address, length) = match given.split_once('/') {
        None => (given, None),
        Some((address, length)) => (address, Some(length)),
    };
    let address: Option<IpAddr> = address.parse().ok();
    let most = if address.is_some_and(|address| address.is_ipv4()) { 32 } else { 128 };
    let prefix_length = length.map(|length| length.parse::<u8>().ok().filter(|length| *length <= most));
    match (address, prefix_length) {
        (Some(address), None) => Some(InterfaceAddress { address, prefix_length: None }),
        (Some(address), Some(Some(length))) => {
            Some(InterfaceAddress { address, prefix_length: Some(length) })
        }
        _ => {
            remarks
                .error(value.at, format!("{:?} is no address", short(given)))
                .suggest("like 10.1.1.1/24, or leave it out to have one chosen");
            None
        }
    }
}

fn id(text: &str, what: &str, at: Position, remarks: &mut Remarks) -> Option<ClientId> {
    match text.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            remarks.error(at, format!("{what}: {error}"));
            None
        }
    }
}
