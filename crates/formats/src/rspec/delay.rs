//! Emulab's delay nodes: a node that is nothing but a bridge with a pipe each way. Here links do that themselves, so the
//! node is folded into the link that it would have cut in two.

use std::collections::{HashMap, HashSet};

use testyard_model::impairment::{Impairment, Queue, QueueLimit, Red};
use testyard_model::link::{LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::quantity::{Probability, Size};
use testyard_model::topology::{Node, Topology};
use testyard_xml::{Node as Xml, attribute};

use super::element::{boolean, core_children, short, word};
use super::findings::Findings;
use super::link::shape;
use super::namespace::DELAY;
use super::request::Census;
use crate::exact::scaled;
use crate::shape::Shape;

/// What a delay node does each way.
struct Bridge<'a, 'input> {
    element: Xml<'a, 'input>,
    name: ClientId,
    ends: [ClientId; 2],
    /// From the first end to the second, and back.
    pipes: [Impairment; 2],
}

/// Folds every delay node of ours into its links.
pub(super) fn fold(census: &Census<'_, '_>, topology: &mut Topology, findings: &mut Findings<'_>) {
    let shaped: Vec<_> = census.ours.iter().filter_map(|node| Some((*node, shaping(*node)?))).collect();
    if shaped.is_empty() {
        return;
    }
    let nodes: HashMap<&str, &Node> =
        topology.nodes.iter().map(|node| (node.client_id.as_str(), node)).collect();
    let read = |(element, shaping)| {
        let node = nodes.get(attribute(element, "client_id")?)?;
        bridge(element, shaping, node, findings)
    };
    let bridges: Vec<_> = shaped.into_iter().filter_map(read).collect();
    let mut link_of: HashMap<ClientId, usize> = HashMap::new();
    for (number, link) in topology.links.iter().enumerate() {
        link_of.extend(link.members.iter().map(|member| (member.interface.clone(), number)));
    }
    let (mut gone_nodes, mut gone_links) = (HashSet::new(), HashSet::new());
    for bridge in bridges {
        match join(&bridge, topology, &mut link_of) {
            Ok(gone) => {
                let name = short(bridge.name.as_str());
                let message = format!("the delay node {name:?} is done by the link itself and needs no node");
                findings
                    .notice(bridge.element, message)
                    .suggest("it has no sliver, and is not in the manifest");
                gone_links.insert(gone);
                gone_nodes.insert(bridge.name);
            }
            Err(problem) => {
                let message = format!("the delay node {:?} {problem}", short(bridge.name.as_str()));
                findings
                    .error(bridge.element, message)
                    .suggest("it must stand between two links, one of which has one other interface");
            }
        }
    }
    topology.nodes.retain(|node| !gone_nodes.contains(&node.client_id));
    let mut number = 0;
    topology.links.retain(|_| {
        number += 1;
        !gone_links.contains(&(number - 1))
    });
}

/// What makes a node a delay node.
fn shaping<'a, 'input>(element: Xml<'a, 'input>) -> Option<Xml<'a, 'input>> {
    let sliver_type = core_children(element, "sliver_type").next()?;
    sliver_type.children().find(|child| child.has_tag_name((DELAY, "sliver_type_shaping")))
}

fn bridge<'a, 'input>(
    element: Xml<'a, 'input>,
    shaping: Xml<'a, 'input>,
    node: &Node,
    findings: &mut Findings<'_>,
) -> Option<Bridge<'a, 'input>> {
    let name = node.client_id.clone();
    let [first, second] = node.interfaces.as_slice() else {
        let count = node.interfaces.len();
        let message =
            format!("the delay node {:?} has {count} interfaces instead of 2", short(name.as_str()));
        findings.error(element, message).suggest("shape a link by its property elements");
        return None;
    };
    let ends = [first.client_id.clone(), second.client_id.clone()];
    let mut pipes = [Impairment::default(); 2];
    for pipe in shaping.children().filter(|child| child.has_tag_name((DELAY, "pipe"))) {
        let (source, dest) = (word(pipe, "source"), word(pipe, "dest"));
        let is = |end: &ClientId, text: Option<&str>| text == Some(end.as_str());
        let direction = if is(&ends[0], source) && is(&ends[1], dest) {
            0
        } else if is(&ends[1], source) && is(&ends[0], dest) {
            1
        } else {
            findings
                .error(pipe, "the pipe is not from one interface of its node to the other")
                .suggest(format!("they are {:?} and {:?}", short(ends[0].as_str()), short(ends[1].as_str())));
            continue;
        };
        let Some(shape) = shape(pipe, findings) else { continue };
        pipes[direction] = Impairment { queue: queue(pipe, findings), ..shape.impairment() };
        if let Err(problem) = pipes[direction].check() {
            findings.error(pipe, problem.to_string());
        }
    }
    Some(Bridge { element, name, ends, pipes })
}

/// The queue that a pipe asks for; none if it says nothing, since its defaults are an old kernel's.
fn queue(pipe: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<Queue> {
    let mut number = |name: &str| {
        let text = word(pipe, name)?;
        let number = text.parse::<u32>().ok();
        if number.is_none() {
            findings.error(pipe, format!("{name} is {:?}", short(text))).suggest("a whole number");
        }
        number
    };
    let limit = number("limit");
    let (min, max, linterm) = (number("thresh"), number("maxthresh"), number("linterm"));
    let flag = |name: &str| word(pipe, name).and_then(boolean).unwrap_or_default();
    let weight = word(pipe, "q_weight").and_then(|text| u64::try_from(scaled(text, 9)?).ok());
    if limit.is_none() && !flag("red") {
        return None;
    }
    let limit = limit.unwrap_or(50);
    let red = flag("red").then(|| Red {
        min: min.unwrap_or(Red::NS.min),
        max: max.unwrap_or(Red::NS.max),
        probability: linterm
            .filter(|term| *term > 0)
            .and_then(|term| Probability::from_parts_per_billion(1_000_000_000 / u64::from(term)))
            .unwrap_or(Red::NS.probability),
        weight: weight.and_then(Probability::from_parts_per_billion).unwrap_or(Red::NS.weight),
        gentle: flag("gentle"),
    });
    let bytes = || limit.to_string().parse::<Size>().ok().map(QueueLimit::Bytes);
    let limit = if flag("queue_in_bytes") { bytes()? } else { QueueLimit::Packets(limit) };
    Some(Queue { limit, red })
}

/// Joins the links of a bridge's ends; gives the number of the one that is gone.
fn join(
    bridge: &Bridge<'_, '_>,
    topology: &mut Topology,
    link_of: &mut HashMap<ClientId, usize>,
) -> Result<usize, &'static str> {
    let numbers = [0, 1].map(|end| link_of.get(&bridge.ends[end]).copied());
    let [Some(a), Some(b)] = numbers else { return Err("has an interface that is on no link") };
    if a == b {
        return Err("has both interfaces on one link");
    }
    // A LAN of two is as good as one.
    let is_cable = |number: usize| topology.links[number].members.len() == 2;
    // The one that is gone is a cable: its other end moves to the one that stays, the first of the request if it can be.
    let (gone, stays, near, far) = match (is_cable(a), is_cable(b)) {
        (true, true) if a < b => (b, a, 1, 0),
        (true, true) | (true, false) => (a, b, 0, 1),
        (false, true) => (b, a, 1, 0),
        (false, false) => return Err("has no link with one other interface"),
    };
    let cable = one_way(&topology.links[gone].members);
    let other = cable.iter().find(|member| member.interface != bridge.ends[near]).cloned();
    let inner = cable.iter().find(|member| member.interface == bridge.ends[near]).cloned();
    let (Some(other), Some(inner)) = (other, inner) else { return Err("has a link with itself alone") };
    // What the moved end sends passes the cable, the pipe, and then what the bridge's far end did to the rest.
    let (inward, outward) = (bridge.pipes[near], bridge.pipes[far]);
    let link = &mut topology.links[stays];
    let Some(member) = link.members.iter_mut().find(|member| member.interface == bridge.ends[far]) else {
        return Err("has an interface that is on no link");
    };
    let to_link = after(&after(&other.to_link, &inward), &member.to_link);
    let from_link = after(&after(&member.from_link, &outward), &inner.to_link);
    *member = Member { interface: other.interface.clone(), to_link, from_link };
    if link.kind == LinkKind::PointToPoint {
        link.members = one_way(&link.members);
    }
    link_of.insert(other.interface, stays);
    Ok(gone)
}

/// Two members with all of a direction at its sender.
fn one_way(members: &[Member]) -> Vec<Member> {
    let received = members.iter().rev().map(|member| &member.from_link);
    let sent = members.iter().zip(received).map(|(member, received)| Member {
        interface: member.interface.clone(),
        to_link: after(&member.to_link, received),
        from_link: Impairment::default(),
    });
    sent.collect()
}

/// One impairment and then another, of those that requests can ask for.
fn after(first: &Impairment, second: &Impairment) -> Impairment {
    let shape = Shape::of(first).0.then(&Shape::of(second).0);
    Impairment { queue: first.queue.or(second.queue), ..shape.impairment() }
}
