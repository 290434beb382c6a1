//! Reading links.

use std::collections::HashMap;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::impairment::Impairment;
use testyard_model::link::{Capture, Link, LinkKind, Member, PREFIX_LENGTHS};
use testyard_model::name::ClientId;
use testyard_model::setting::SETTING_KEYS;
use testyard_model::topology::Topology;

use super::endpoint;
use super::impairment::{settings, spread};
use super::node::attributes;
use super::reference::{Names, take};
use crate::remarks::{Remarks, short};
use crate::tree::fields::{Fields, items, text};
use crate::tree::{Kind, Value};

/// The most links.
const MAX_LINKS: usize = 40_000;
/// How much of each packet a capture keeps that does not say.
const WHOLE_PACKETS: u32 = 65_535;
const OWN_KEYS: [&str; 11] =
    ["name", "between", "lan", "mtu", "prefix", "down", "seed", "capture", "from", "to", "attributes"];

/// Every key of a link.
pub(super) fn keys() -> Vec<&'static str> {
    OWN_KEYS.into_iter().chain(SETTING_KEYS).collect()
}

/// Reads all links; those without a name get one that says whom they join.
pub(super) fn all(fields: &Fields<'_>, topology: &mut Topology, names: &mut Names, remarks: &mut Remarks) {
    let Some(value) = fields.get("links") else { return };
    let keys = keys();
    let mut links = Vec::new();
    for item in items(value) {
        if links.len() >= MAX_LINKS {
            remarks.error(item.at, format!("more than {MAX_LINKS} links"));
            break;
        }
        let Some(fields) = Fields::read(item, "a link", &keys, Severity::Error, remarks) else { continue };
        let name = match fields.get("name") {
            None => None,
            Some(value) => {
                let Some(name) = fields.parse::<ClientId>("name", remarks) else { continue };
                if !take(&mut names.links, "link", &name, links.len(), value.at, remarks) {
                    continue;
                }
                Some(name)
            }
        };
        links.push((name, fields));
    }
    let mut counts = HashMap::new();
    for (number, (name, fields)) in links.into_iter().enumerate() {
        let name = match name {
            Some(name) => name,
            None => {
                let Some(name) = invented(&fields, names, &mut counts) else {
                    remarks.error(fields.at, "a link needs a name here").suggest("add name: …");
                    continue;
                };
                names.links.insert(name.clone(), (number, fields.at));
                name
            }
        };
        if let Some(link) = read(name, &fields, topology, names, remarks) {
            topology.links.push(link);
        }
    }
}

/// `a-b` for a link between a and b, `lan` for a LAN, with a number if that is taken.
fn invented(fields: &Fields<'_>, names: &Names, counts: &mut HashMap<String, usize>) -> Option<ClientId> {
    let part = |value: &Value| match value.entries() {
        None => value.as_text().map(str::to_owned),
        Some(entries) => entries
            .iter()
            .find(|e| e.key == "node" || e.key == "interface")?
            .value
            .as_text()
            .map(str::to_owned),
    };
    let base = match fields.get("between") {
        Some(value) => items(value).iter().filter_map(part).collect::<Vec<_>>().join("-"),
        None => "lan".to_owned(),
    };
    let count = counts.entry(base.clone()).or_insert(0);
    loop {
        *count += 1;
        let name = if *count == 1 { base.clone() } else { format!("{base}-{count}") };
        let name: ClientId = name.parse().ok()?;
        if !names.links.contains_key(&name) {
            return Some(name);
        }
    }
}

fn read(
    name: ClientId,
    fields: &Fields<'_>,
    topology: &mut Topology,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Option<Link> {
    let (kind, ends) = match (fields.get("between"), fields.get("lan")) {
        (Some(between), None) => (LinkKind::PointToPoint, between),
        (None, Some(lan)) => (LinkKind::Lan, lan),
        (both, _) => {
            let what = if both.is_some() { "both between and lan" } else { "neither between nor lan" };
            remarks
                .error(fields.at, format!("a link has {what}"))
                .suggest("write between: [a, b] for a cable, lan: [a, b, c] for a switch");
            return None;
        }
    };
    let ends_list = items(ends);
    if kind == LinkKind::PointToPoint && ends_list.len() != 2 {
        remarks
            .error(ends.at, format!("between names {} instead of 2", ends_list.len()))
            .suggest("write lan: [a, b, c] for a switch");
    }
    let mut link = Link::new(name, kind);
    let mut whole = Impairment::default();
    settings(fields, remarks).into_iter().for_each(|setting| setting.apply(&mut whole));
    check(&whole, fields.at, remarks);
    let (to_link, from_link) = spread(&whole, kind);
    for end in ends_list {
        if let Some(interface) = endpoint::member(end, &link.client_id, topology, names, remarks) {
            link.members.push(Member { interface, to_link, from_link });
        }
    }
    for (key, direction) in [("from", Direction::ToLink), ("to", Direction::FromLink)] {
        if let Some(value) = fields.get(key) {
            directions(value, key, direction, &mut link, topology, names, remarks);
        }
    }
    addresses(&link, topology, names, remarks);
    link.mtu = match fields.get("mtu") {
        None => None,
        Some(_) => fields.number("mtu", "bytes, like 1400", remarks),
    };
    link.prefix_length = prefix_length(fields, remarks);
    link.down = fields.flag("down", remarks);
    link.seed = match fields.get("seed") {
        None => None,
        Some(_) => fields.number("seed", "a whole number", remarks),
    };
    link.capture = fields.get("capture").and_then(|value| capture(value, remarks));
    link.attributes = attributes(fields, remarks);
    Some(link)
}

fn prefix_length(fields: &Fields<'_>, remarks: &mut Remarks) -> Option<u8> {
    let at = fields.get("prefix")?.at;
    let length = fields.number::<u8>("prefix", "the bits of the network, like 29", remarks)?;
    if !PREFIX_LENGTHS.contains(&length) {
        remarks
            .error(at, format!("a network with a prefix of {length} bits has no room, or too much"))
            .suggest(format!("from {} to {}", PREFIX_LENGTHS.start(), PREFIX_LENGTHS.end()));
    }
    Some(length)
}

fn check(impairment: &Impairment, at: Position, remarks: &mut Remarks) {
    if let Err(error) = impairment.check() {
        remarks.error(at, error.to_string());
    }
}

#[derive(Clone, Copy)]
enum Direction {
    ToLink,
    FromLink,
}

/// What is different for frames from, or to, some members: a map from members to settings.
fn directions(
    value: &Value,
    key: &str,
    direction: Direction,
    link: &mut Link,
    topology: &Topology,
    names: &Names,
    remarks: &mut Remarks,
) {
    let Some(entries) = value.entries() else {
        let what = format!("{key} is {}, not a map", value.name());
        remarks.error(value.at, what).suggest(format!("like {key}: {{a: {{delay: 5ms}}}}"));
        return;
    };
    let members = Members::new(link, topology, names);
    for entry in entries {
        let Some(index) = members.find(&entry.key, entry.at, remarks) else { continue };
        let Some(fields) = Fields::read(&entry.value, key, &SETTING_KEYS, Severity::Error, remarks) else {
            continue;
        };
        let member = &mut link.members[index];
        let impairment = match direction {
            Direction::ToLink => &mut member.to_link,
            Direction::FromLink => &mut member.from_link,
        };
        settings(&fields, remarks).into_iter().for_each(|setting| setting.apply(impairment));
        let impairment = *impairment;
        check(&impairment, entry.at, remarks);
    }
}

/// The members of a link, by the names of their interfaces, and of their nodes where those say which.
pub(super) struct Members {
    link: String,
    by_name: HashMap<String, usize>,
    /// Nodes that are on the link more than once.
    ambiguous: HashMap<String, usize>,
}

impl Members {
    pub(super) fn new(link: &Link, topology: &Topology, names: &Names) -> Self {
        let mut by_node: HashMap<String, (usize, usize)> = HashMap::new();
        for (index, member) in link.members.iter().enumerate() {
            let node =
                names.interfaces.get(&member.interface).and_then(|(node, _)| topology.nodes.get(*node));
            if let Some(node) = node {
                by_node.entry(node.client_id.to_string()).or_insert((index, 0)).1 += 1;
            }
        }
        let (once, more): (Vec<_>, Vec<_>) = by_node.into_iter().partition(|(_, (_, count))| *count == 1);
        let mut by_name: HashMap<String, usize> =
            once.into_iter().map(|(name, (index, _))| (name, index)).collect();
        by_name.extend(
            link.members.iter().enumerate().map(|(index, member)| (member.interface.to_string(), index)),
        );
        let ambiguous = more.into_iter().map(|(name, (_, count))| (name, count)).collect();
        Self { link: link.client_id.to_string(), by_name, ambiguous }
    }

    pub(super) fn find(&self, name: &str, at: Position, remarks: &mut Remarks) -> Option<usize> {
        if let Some(index) = self.by_name.get(name) {
            return Some(*index);
        }
        let link = short(&self.link);
        match self.ambiguous.get(name) {
            Some(count) => {
                remarks
                    .error(at, format!("{:?} is {count} times on link {link:?}", short(name)))
                    .suggest("name the interface");
            }
            None => {
                let known = self.by_name.keys().map(String::as_str);
                let mut known: Vec<&str> = known.take(201).collect();
                known.sort_unstable();
                remarks
                    .error(at, format!("{:?} is not on link {link:?}", short(name)))
                    .did_you_mean(name, known, None);
            }
        }
        None
    }
}

/// No address may be on a link twice.
fn addresses(link: &Link, topology: &Topology, names: &Names, remarks: &mut Remarks) {
    let mut seen = HashMap::new();
    for member in &link.members {
        let Some((node, _)) = names.interfaces.get(&member.interface) else { continue };
        let Some(node) = topology.nodes.get(*node) else { continue };
        let Some(interface) = node.interfaces.iter().rev().find(|i| i.client_id == member.interface) else {
            continue;
        };
        for address in &interface.addresses {
            let at = names.on_link.get(&member.interface).copied().unwrap_or(crate::tree::START);
            if let Some(first) = seen.insert(address.address, at) {
                remarks
                    .error(at, format!("address {} is on the link twice, first at {first}", address.address))
                    .suggest("give each interface its own");
            }
        }
    }
}

fn capture(value: &Value, remarks: &mut Remarks) -> Option<Capture> {
    match &value.kind {
        Kind::Bool(false) => None,
        Kind::Bool(true) => Some(Capture { snap_length: WHOLE_PACKETS, filter: None }),
        Kind::Text(filter) => Some(Capture { snap_length: WHOLE_PACKETS, filter: Some(filter.clone()) }),
        _ => {
            let fields = Fields::read(value, "capture", &["bytes", "filter"], Severity::Error, remarks)?;
            let snap_length = match fields.get("bytes") {
                None => WHOLE_PACKETS,
                Some(_) => fields.number("bytes", "how many bytes of each packet, like 96", remarks)?,
            };
            let filter = match fields.get("filter") {
                None => None,
                Some(value) => Some(text(value, "filter", remarks)?.to_owned()),
            };
            Some(Capture { snap_length, filter })
        }
    }
}
