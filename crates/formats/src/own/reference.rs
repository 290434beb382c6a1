//! Names that stand for nodes, interfaces and links, and what refers to them.

use std::collections::HashMap;
use std::net::IpAddr;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::name::ClientId;
use testyard_model::route::{Destination, NextHop, Route};

use crate::remarks::{Remarks, short};
use crate::tree::Value;
use crate::tree::fields::{Fields, items, text};

/// What has a name, and where it got it.
#[derive(Default)]
pub(super) struct Names {
    /// Nodes, with their numbers.
    pub(super) nodes: HashMap<ClientId, (usize, Position)>,
    /// Interfaces, with their nodes' numbers.
    pub(super) interfaces: HashMap<ClientId, (usize, Position)>,
    /// The links that interfaces are on, by where they were put there.
    pub(super) on_link: HashMap<ClientId, Position>,
    /// Links, with their numbers.
    pub(super) links: HashMap<ClientId, (usize, Position)>,
    pub(super) programs: HashMap<ClientId, (usize, Position)>,
}

/// Gives a name, unless another thing of its kind has it.
pub(super) fn take(
    names: &mut HashMap<ClientId, (usize, Position)>,
    what: &str,
    name: &ClientId,
    number: usize,
    at: Position,
    remarks: &mut Remarks,
) -> bool {
    if let Some((_, first)) = names.get(name) {
        let message =
            format!("the name {:?} is taken: another {what} has it, at {first}", short(name.as_str()));
        remarks.error(at, message);
        return false;
    }
    names.insert(name.clone(), (number, at));
    true
}

/// What a name stands for among those of one kind.
pub(super) fn find(
    names: &HashMap<ClientId, (usize, Position)>,
    what: &str,
    name: &str,
    at: Position,
    remarks: &mut Remarks,
) -> Option<(ClientId, usize)> {
    let id: Option<ClientId> = name.parse().ok();
    let found = id.and_then(|id| names.get(&id).map(|(number, _)| (id.clone(), *number)));
    if found.is_none() {
        let mut known: Vec<&str> = names.keys().take(201).map(ClientId::as_str).collect();
        known.sort_unstable();
        remarks.error(at, format!("there is no {what} {:?}", short(name))).did_you_mean(name, known, None);
    }
    found
}

/// A list of routes.
pub(super) fn routes(value: &Value, names: &Names, remarks: &mut Remarks) -> Vec<Route> {
    items(value).iter().filter_map(|item| route(item, names, remarks)).collect()
}

fn route(value: &Value, names: &Names, remarks: &mut Remarks) -> Option<Route> {
    let fields = Fields::read(value, "a route", &["to", "via"], Severity::Error, remarks)?;
    let (Some(to), Some(via)) = (fields.get("to"), fields.get("via")) else {
        remarks.error(value.at, "a route needs to and via").suggest("like {to: 10.2.0.0/16, via: router}");
        return None;
    };
    let to = destination(to, names, remarks);
    let via = next_hop(via, names, remarks);
    Some(Route { to: to?, via: via? })
}

const KINDS: [&str; 4] = ["node", "interface", "link", "network"];

fn destination(value: &Value, names: &Names, remarks: &mut Remarks) -> Option<Destination> {
    if value.entries().is_some() {
        let fields = Fields::read(value, "to", &KINDS, Severity::Error, remarks)?;
        let [entry] = fields.entries() else {
            remarks.error(value.at, "to names not exactly one thing").suggest("like {node: a}");
            return None;
        };
        let name = text(&entry.value, &entry.key, remarks)?;
        return match entry.key.as_str() {
            "node" => {
                find(&names.nodes, "node", name, value.at, remarks).map(|(id, _)| Destination::Node(id))
            }
            "interface" => find(&names.interfaces, "interface", name, value.at, remarks)
                .map(|(id, _)| Destination::Interface(id)),
            "link" => {
                find(&names.links, "link", name, value.at, remarks).map(|(id, _)| Destination::Link(id))
            }
            _ => network(name).or_else(|| {
                remarks
                    .error(value.at, format!("{:?} is no network", short(name)))
                    .suggest("like 10.2.0.0/16");
                None
            }),
        };
    }
    let name = text(value, "to", remarks)?;
    let candidates = candidates(name, names);
    match candidates.as_slice() {
        [one] => Some(one.clone()),
        [] => {
            let known = names.nodes.keys().chain(names.links.keys()).map(ClientId::as_str);
            let mut known: Vec<&str> = known.take(201).collect();
            known.sort_unstable();
            remarks
                .error(
                    value.at,
                    format!("{:?} is neither a network nor a node, link or interface", short(name)),
                )
                .did_you_mean(name, known, Some("like 10.2.0.0/16".to_owned()));
            None
        }
        _ => {
            remarks
                .error(value.at, format!("{:?} is the name of several things", short(name)))
                .suggest("say which: {node: …}, {link: …}, {interface: …}, {network: …}");
            None
        }
    }
}

/// All that a text can mean as a destination.
pub(super) fn candidates(name: &str, names: &Names) -> Vec<Destination> {
    let mut found: Vec<Destination> = network(name).into_iter().collect();
    if let Ok(id) = name.parse::<ClientId>() {
        if names.nodes.contains_key(&id) {
            found.push(Destination::Node(id.clone()));
        }
        if names.links.contains_key(&id) {
            found.push(Destination::Link(id.clone()));
        }
        if names.interfaces.contains_key(&id) {
            found.push(Destination::Interface(id));
        }
    }
    found
}

fn network(text: &str) -> Option<Destination> {
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => (address, Some(length)),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length =
        length.map_or(Some(most), |length| length.parse().ok()).filter(|length| *length <= most)?;
    Some(Destination::Network { address, prefix_length })
}

fn next_hop(value: &Value, names: &Names, remarks: &mut Remarks) -> Option<NextHop> {
    if value.entries().is_some() {
        let fields = Fields::read(value, "via", &["node", "address"], Severity::Error, remarks)?;
        if fields.get("address").is_some() {
            return fields.parse("address", remarks).map(NextHop::Address);
        }
        let name = fields.text("node", remarks)?;
        return find(&names.nodes, "node", name, value.at, remarks).map(|(id, _)| NextHop::Node(id));
    }
    let name = text(value, "via", remarks)?;
    match name.parse() {
        Ok(address) => Some(NextHop::Address(address)),
        Err(_) => find(&names.nodes, "node", name, value.at, remarks).map(|(id, _)| NextHop::Node(id)),
    }
}
