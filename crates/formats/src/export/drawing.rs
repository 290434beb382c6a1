//! Drawings: Graphviz and Mermaid. Nodes are boxes, cables are lines, a LAN is a point that its members are joined to.

use std::collections::HashMap;
use std::fmt::Write as _;

use testyard_model::impairment::Impairment;
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::topology::{Interface, Topology};

/// What a drawing needs to know of interfaces.
struct Plan<'t>(HashMap<&'t ClientId, (usize, &'t Interface)>);

impl<'t> Plan<'t> {
    fn new(topology: &'t Topology) -> Self {
        let interfaces = topology.nodes.iter().enumerate();
        Self(
            interfaces
                .flat_map(|(n, node)| node.interfaces.iter().map(move |i| (&i.client_id, (n, i))))
                .collect(),
        )
    }

    /// The number of a member's node.
    fn node(&self, member: &Member) -> Option<usize> {
        self.0.get(&member.interface).map(|(number, _)| *number)
    }

    fn addresses(&self, member: &Member) -> String {
        let interface = self.0.get(&member.interface).map(|(_, interface)| interface);
        let addresses = interface.into_iter().flat_map(|interface| &interface.addresses);
        addresses.map(|address| address.address.to_string()).collect::<Vec<_>>().join(" ")
    }
}

/// What is done one way, in words; nothing if nothing is.
fn shown(impairment: &Impairment) -> String {
    if impairment.is_clear() { String::new() } else { impairment.to_string() }
}

/// What a cable does, in words: once if both ways are alike.
fn cable(link: &Link) -> Vec<String> {
    let mut lines = vec![link.client_id.to_string()];
    if let [a, b] = link.members.as_slice() {
        let (there, back) = (shown(&a.to_link), shown(&b.to_link));
        if there == back {
            lines.push(there);
        } else {
            lines.push(format!("→ {}", if there.is_empty() { "none" } else { &there }));
            lines.push(format!("← {}", if back.is_empty() { "none" } else { &back }));
        }
    }
    if link.down {
        lines.push("down".to_owned());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn member_words(plan: &Plan<'_>, member: &Member) -> Vec<String> {
    let (to, from) = (shown(&member.to_link), shown(&member.from_link));
    let mut lines = vec![plan.addresses(member)];
    if to == from {
        lines.push(to);
    } else {
        lines.push(format!("→ {}", if to.is_empty() { "none" } else { &to }));
        lines.push(format!("← {}", if from.is_empty() { "none" } else { &from }));
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// For Graphviz (`dot -Tsvg`).
pub(super) fn graphviz(topology: &Topology) -> String {
    let quoted = |lines: &[String]| {
        let escape = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{}\"", lines.iter().map(escape).collect::<Vec<_>>().join("\\n"))
    };
    let plan = Plan::new(topology);
    let mut text = String::from("graph topology {\n  node [shape=box];\n");
    for (number, node) in topology.nodes.iter().enumerate() {
        let _ = writeln!(text, "  n{number} [label={}];", quoted(&[node.client_id.to_string()]));
    }
    for (number, link) in topology.links.iter().enumerate() {
        let style = if link.down { ", style=dashed" } else { "" };
        if let (LinkKind::PointToPoint, [a, b]) = (link.kind, link.members.as_slice())
            && let (Some(from), Some(to)) = (plan.node(a), plan.node(b))
        {
            let ends = [("taillabel", plan.addresses(a)), ("headlabel", plan.addresses(b))];
            let ends: String = ends
                .into_iter()
                .filter(|(_, addresses)| !addresses.is_empty())
                .map(|(key, addresses)| format!(", {key}={}", quoted(&[addresses])))
                .collect();
            let _ = writeln!(text, "  n{from} -- n{to} [label={}{ends}{style}];", quoted(&cable(link)));
            continue;
        }
        let _ =
            writeln!(text, "  l{number} [shape=ellipse, label={}];", quoted(&[link.client_id.to_string()]));
        for member in &link.members {
            let Some(node) = plan.node(member) else { continue };
            let _ = writeln!(
                text,
                "  n{node} -- l{number} [label={}{style}];",
                quoted(&member_words(&plan, member))
            );
        }
    }
    text.push_str("}\n");
    text
}

/// For Mermaid, which Markdown renderers draw.
pub(super) fn mermaid(topology: &Topology) -> String {
    // Everything that could be markup is written as its number.
    let quoted = |lines: &[String]| {
        let escape = |line: &String| {
            line.chars().fold(String::new(), |mut out, c| {
                if c.is_alphanumeric() || " .:-_/=%+→←,".contains(c) {
                    out.push(c);
                } else {
                    let _ = write!(out, "#{};", u32::from(c));
                }
                out
            })
        };
        format!("\"{}\"", lines.iter().map(escape).collect::<Vec<_>>().join("<br>"))
    };
    let plan = Plan::new(topology);
    let mut text = String::from("graph LR\n");
    for (number, node) in topology.nodes.iter().enumerate() {
        let _ = writeln!(text, "  n{number}[{}]", quoted(&[node.client_id.to_string()]));
    }
    for (number, link) in topology.links.iter().enumerate() {
        let line = if link.down { "-.-" } else { "---" };
        if let (LinkKind::PointToPoint, [a, b]) = (link.kind, link.members.as_slice())
            && let (Some(from), Some(to)) = (plan.node(a), plan.node(b))
        {
            let _ = writeln!(text, "  n{from} {line}|{}| n{to}", quoted(&cable(link)));
            continue;
        }
        let _ = writeln!(text, "  l{number}(({}))", quoted(&[link.client_id.to_string()]));
        for member in &link.members {
            let Some(node) = plan.node(member) else { continue };
            let words = member_words(&plan, member);
            let label = if words.is_empty() { String::new() } else { format!("|{}|", quoted(&words)) };
            let _ = writeln!(text, "  n{node} {line}{label} l{number}");
        }
    }
    text
}
