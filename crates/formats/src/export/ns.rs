//! NS, as Emulab and DETER read it (deter.md §6): a Tcl program that any of their parsers runs. What only Testyard reads
//! stands in attributes `testyard:…`, which they keep and do not look at.

use std::collections::HashSet;
use std::fmt::Write as _;

use testyard_model::link::{Attribute, Link, LinkKind};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::topology::Topology;

use super::ns_names::Names;
use super::{Losses, ns_event, ns_link, ns_node};

/// What only this testbed reads, and what of its attributes mean more than themselves.
const OURS: &str = "testyard:";

/// A text as one word of Tcl that nothing in is substituted of.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/%+=@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '[' | ']' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Attributes that can be written: each key once, and none of those that mean something else when they are read.
pub(super) fn attributes<'a>(all: &'a [Attribute], of: &str, losses: &mut Losses) -> Vec<&'a Attribute> {
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for attribute in all {
        let key = attribute.key.as_str();
        let is_taken =
            key.starts_with(OURS) || matches!(key, "containers:partition" | "containers::partition");
        if is_taken || !seen.insert(key) {
            losses.add(format!("NS has one attribute of a name: {key:?} of {of} is left out"));
        } else {
            kept.push(attribute);
        }
    }
    kept
}

pub(super) fn write(topology: &Topology, losses: &mut Losses) -> String {
    let topology = &sayable(topology, losses);
    let names = &Names::new(topology, losses);
    let ns = names.simulator;
    let mut text = format!("source tb_compat.tcl\nset {ns} [new Simulator]\n");
    let mut known = HashSet::new();
    for variable in &topology.environment {
        let name = variable.name.as_str();
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if is_name && known.insert(name) {
            let _ = writeln!(text, "set opt({name}) {}", quoted(&variable.value));
        } else {
            losses.add(format!("NS cannot name a variable {name:?}, or not twice"));
        }
    }
    losses.lost(!topology.attributes.is_empty(), "the attributes", "the topology", "NS");
    if !topology.nodes.is_empty() {
        text.push('\n');
    }
    for (number, node) in topology.nodes.iter().enumerate() {
        ns_node::write(&mut text, node, number, names, losses);
    }
    for link in &topology.links {
        text.push('\n');
        ns_link::write(&mut text, link, names, losses);
    }
    interfaces(names, losses);
    let before = text.len();
    for node in &topology.nodes {
        ns_event::routes(&mut text, node, names, losses);
    }
    for event in &topology.schedule {
        ns_event::write(&mut text, event, names, losses);
    }
    if text.len() > before {
        text.insert(before, '\n');
    }
    text.push('\n');
    let protocol = match topology.routing {
        Routing::None => None,
        Routing::Static => Some("Static"),
        Routing::Manual => Some("Manual"),
        Routing::Session => Some("Session"),
    };
    if let Some(protocol) = protocol {
        let _ = writeln!(text, "${ns} rtproto {protocol}");
    }
    let _ = writeln!(text, "${ns} run");
    text
}

/// The topology without links that NS has not.
fn sayable(topology: &Topology, losses: &mut Losses) -> Topology {
    let mut topology = topology.clone();
    let node_of: std::collections::HashMap<ClientId, usize> = topology
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(number, node)| node.interfaces.iter().map(move |i| (i.client_id.clone(), number)))
        .collect();
    let mut can = |link: &Link| {
        let nodes: HashSet<Option<&usize>> =
            link.members.iter().map(|member| node_of.get(&member.interface)).collect();
        let fits = link.kind == LinkKind::Lan || link.members.len() == 2;
        if nodes.len() < 2 || nodes.contains(&None) || !fits {
            let name = &link.client_id;
            losses.add(format!("NS has no links of fewer than two nodes: {name} is left out"));
            return false;
        }
        true
    };
    topology.links.retain(|link| can(link));
    topology
}

/// What becomes of interfaces: NS numbers them, in the order of the links.
fn interfaces(names: &Names<'_>, losses: &mut Losses) {
    let topology = names.topology;
    let mut counts = vec![0_usize; topology.nodes.len()];
    let mut on_link = HashSet::new();
    let mut is_renamed = false;
    for member in topology.links.iter().flat_map(|link| &link.members) {
        let Some(node) = names.number_of(&member.interface) else { continue };
        let name = format!("{}:{}", names.node_name(&topology.nodes[node].client_id), counts[node]);
        is_renamed |= name != member.interface.as_str();
        counts[node] += 1;
        on_link.insert(&member.interface);
    }
    if is_renamed {
        losses.add("NS numbers interfaces: names of their own are left out");
    }
    for interface in topology.nodes.iter().flat_map(|node| &node.interfaces) {
        if !on_link.contains(&interface.client_id) {
            losses.add(format!("NS has no interfaces without a link: {} is left out", interface.client_id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_substituted() {
        for (text, word) in [
            ("debian:12", "debian:12"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("$(id) [exec x] {y} \\", "\"\\$(id) \\[exec x\\] \\{y\\} \\\\\""),
            ("a\n\"b\";c\0", "\"a\\n\\\"b\\\";c\\u0000\""),
            ("#", "\"#\""),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
