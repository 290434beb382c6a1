//! What happens in time in NS, and routes that nodes list.

use std::fmt::Write as _;

use testyard_model::impairment::{Impairment, Loss};
use testyard_model::link::{Link, LinkKind};
use testyard_model::name::ClientId;
use testyard_model::route::{Destination, NextHop};
use testyard_model::schedule::{Action, Event};
use testyard_model::setting::Setting;
use testyard_model::topology::Node;

use super::ns_names::Names;
use super::ns_node::listed;
use super::{Losses, ns_link};
use crate::csh;
use crate::exact::decimal;

/// Routes of a node, but those that NS's reader refuses.
pub(super) fn routes(text: &mut String, node: &Node, names: &Names<'_>, losses: &mut Losses) {
    let mut known = Vec::new();
    for route in &node.routes {
        let (to, via) = (destination(&route.to, node, names), next_hop(&route.via, node, names));
        let (Some(to), Some(via)) = (to, via) else {
            losses.add(format!("NS cannot say a route of node {}", node.client_id));
            continue;
        };
        if known.contains(&&route.to) {
            losses.add(format!(
                "NS has one route to a destination: another of node {} is left out",
                node.client_id
            ));
            continue;
        }
        known.push(&route.to);
        if matches!(route.to, Destination::Network { .. }) || matches!(route.via, NextHop::Address(_)) {
            losses.add("Emulab's NS has routes neither to networks nor over addresses".to_owned());
        }
        let _ = writeln!(text, "{} add-route {to} {via}", names.node(&node.client_id));
    }
}

fn number(node: &ClientId, names: &Names<'_>) -> Option<usize> {
    names.topology.nodes.iter().position(|known| known.client_id == *node)
}

fn destination(to: &Destination, from: &Node, names: &Names<'_>) -> Option<String> {
    match to {
        Destination::Node(node) => {
            let number = number(node, names).filter(|_| *node != from.client_id)?;
            let members = names.topology.links.iter().flat_map(|link| &link.members);
            let ports = members.filter(|member| names.number_of(&member.interface) == Some(number)).count();
            (ports == 1).then(|| names.node(node))
        }
        Destination::Link(link) => {
            let is_there = names.topology.links.iter().any(|known| known.client_id == *link);
            is_there.then(|| names.link(link))
        }
        Destination::Interface(interface) => names.half_at_end(interface),
        Destination::Network { address, prefix_length } => Some(format!("{address}/{prefix_length}")),
    }
}

fn next_hop(via: &NextHop, from: &Node, names: &Names<'_>) -> Option<String> {
    match via {
        NextHop::Node(node) => {
            let ends = [number(&from.client_id, names)?, number(node, names)?];
            names.last_between(ends).map(|_| names.node(node))
        }
        NextHop::Address(address) => Some(address.to_string()),
    }
}

/// An event: one line, or several where NS sets one thing at a time.
pub(super) fn write(text: &mut String, event: &Event, names: &Names<'_>, losses: &mut Losses) {
    let Some(what) = statements(event, names, losses) else {
        losses.add(format!("NS cannot say the event at {}: it is left out", event.at));
        return;
    };
    let at = decimal(event.at.as_nanos().into(), 9);
    for (object, what) in what {
        let _ = writeln!(text, "${} at {at} \"{object} {}\"", names.simulator, later(&what));
    }
}

/// The object's variable is read when the file is; what happens to it is read again at its time.
fn later(what: &str) -> String {
    let mut out = String::new();
    for c in what.chars() {
        match c {
            '\\' | '"' | '$' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

fn statements(event: &Event, names: &Names<'_>, losses: &mut Losses) -> Option<Vec<(String, String)>> {
    let find = |id: &ClientId| names.topology.links.iter().find(|link| link.client_id == *id);
    let one = |object: String, what: &str| Some(vec![(object, what.to_owned())]);
    match &event.action {
        Action::LinkUp(link) => one(names.link(&find(link)?.client_id), "up"),
        Action::LinkDown(link) => one(names.link(&find(link)?.client_id), "down"),
        Action::LinkSet { link, from, settings } => {
            let link = find(link)?;
            let object = match from {
                None => names.link(&link.client_id),
                Some(interface) => names.half_at_end(interface)?,
            };
            let changes: Option<Vec<String>> =
                settings.iter().map(|setting| change(setting, link, from.is_some())).collect();
            if let Some(changes) = changes {
                return Some(changes.into_iter().map(|change| (object.clone(), change)).collect());
            }
            losses.add(format!("an event of link {} is for Testyard only", link.client_id));
            let words: Vec<String> = settings.iter().map(|setting| listed(&setting.to_string())).collect();
            one(object, &format!("testyard:set {}", words.join(" ")))
        }
        Action::ProgramStart { program, command } => {
            let what = match command {
                None => "start".to_owned(),
                Some(command) => {
                    if !csh::is_sh(command) {
                        losses.add(format!(
                            "the command of an event of program {program} is read as csh's in NS"
                        ));
                    }
                    format!("start -command {}", listed(&command.replace('\n', "; ")))
                }
            };
            one(names.program(program), &what)
        }
        Action::ProgramStop(program) => one(names.program(program), "stop"),
        Action::ProgramSignal { program, signal } => {
            let is_signal = !signal.is_empty() && signal.bytes().all(|b| b.is_ascii_alphanumeric());
            is_signal.then(|| vec![(names.program(program), format!("kill {signal}"))])
        }
        Action::NodeRestart(node) => one(names.node(node), "reboot"),
        Action::NodeReload(node) => one(names.node(node), "reload"),
    }
}

/// A setting as an event of NS's own. On a LAN that means: of what nodes send, and nothing of it on the way back.
fn change(setting: &Setting, link: &Link, is_half: bool) -> Option<String> {
    if is_half {
        return None;
    }
    let is_clear = |of: &dyn Fn(&Impairment) -> bool| {
        link.kind == LinkKind::PointToPoint || link.members.iter().all(|member| of(&member.from_link))
    };
    match setting {
        Setting::Rate(Some(rate)) if is_clear(&|from| from.rate.is_none()) => {
            Some(format!("bandwidth {} duplex", ns_link::rate(Some(*rate))))
        }
        Setting::Delay(delay) if is_clear(&|from| from.delay.is_zero()) => {
            Some(format!("delay {}", ns_link::delay(*delay)))
        }
        Setting::Loss(None) if is_clear(&|from| from.loss.is_none()) => Some("plr 0".to_owned()),
        Setting::Loss(Some(Loss::Random(chance))) if is_clear(&|from| from.loss.is_none()) => {
            Some(format!("plr {}", decimal(chance.parts_per_billion().into(), 9)))
        }
        _ => None,
    }
}
