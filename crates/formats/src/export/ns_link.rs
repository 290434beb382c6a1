//! Links in NS: `duplex-link` and `make-lan` where both ways, or all members, are alike; the simplex commands where not.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::impairment::{Impairment, Loss, Queue, QueueLimit, Red};
use testyard_model::link::{Attribute, Link, LinkKind, Member};
use testyard_model::quantity::{Rate, Span};
use testyard_model::topology::{Interface, Topology};

use super::Losses;
use super::ns::{Names, quoted};
use crate::exact::decimal;
use crate::own::impairment::gathered;
use crate::shape::{Shape, between, is_even};

/// How many packets wait in NS if nobody says.
const USUAL_QUEUE: u32 = 50;
/// How long Emulab's masks are if nobody says.
const USUAL_LENGTH: u8 = 24;

pub(super) fn rate(rate: Option<Rate>) -> String {
    let Some(bits) = rate.map(Rate::bits_per_second) else { return "*".to_owned() };
    let units = [(1_000_000_000, "Gb"), (1_000_000, "Mb"), (1_000, "kb")];
    let whole = units.iter().find(|(factor, _)| bits.is_multiple_of(*factor));
    whole.map_or_else(|| format!("{bits}b"), |(factor, unit)| format!("{}{unit}", bits / factor))
}

pub(super) fn delay(delay: Span) -> String {
    format!("{}ms", decimal(delay.as_nanos().into(), 6))
}

fn loss(shape: &Shape) -> String {
    decimal(shape.loss, 18)
}

pub(super) fn write(text: &mut String, link: &Link, topology: &Topology, names: &Names, losses: &mut Losses) {
    let name = &link.client_id;
    let words = format!("link {name}");
    if link.members.len() < 2 {
        losses.add(format!("NS has no links of fewer than two members: {name} is left out"));
        return;
    }
    losses.lost(link.mtu.is_some(), "the mtu", &words, "NS");
    losses.lost(link.down, "the state", &words, "NS");
    losses.lost(link.seed.is_some(), "the seed", &words, "NS");
    match (link.kind, link.members.as_slice()) {
        (LinkKind::PointToPoint, [a, b]) => cable(text, link, a, b, names, losses),
        _ => lan(text, link, names, losses),
    }
    queues(text, link, names, losses);
    interfaces(text, link, topology, names, losses);
    let it = names.link(name);
    if let Some(capture) = &link.capture {
        let filter =
            capture.filter.as_ref().map_or_else(String::new, |filter| format!(" {}", quoted(filter)));
        let _ = writeln!(text, "{it} trace packet{filter}\n{it} trace_snaplen {}", capture.snap_length);
    }
    for Attribute { key, value } in &link.attributes {
        let _ = writeln!(text, "tb-add-network-attribute {it} {} {}", quoted(key), quoted(value));
    }
}

/// What Emulab's own parser would cut or refuse.
fn check(shape: &Shape, link: &Link, losses: &mut Losses) {
    const MS: u64 = 1_000_000;
    let nanos = shape.delay.as_nanos();
    if !nanos.is_multiple_of(MS) || nanos == MS {
        losses.add(format!(
            "Emulab cuts delays to whole milliseconds, 2 at least: those of {} are finer",
            link.client_id
        ));
    }
    let bits = shape.rate.map_or(1_000_000, Rate::bits_per_second);
    if !(10_000..=10_000_000_000).contains(&bits) {
        losses.add(format!("Emulab has rates from 10kb to 10Gb: that of {} is another", link.client_id));
    }
}

fn tell(link: &Link, losses: &mut Losses) {
    let all = || link.members.iter().flat_map(|member| [&member.to_link, &member.from_link]);
    let name = &link.client_id;
    if all().any(|i| matches!(i.loss, Some(Loss::Burst { .. } | Loss::Every(_)))) {
        losses.add(format!("NS has random loss only: link {name} gets the same share of it"));
    }
    let is_odd = |i: &Impairment| [i.duplicate, i.reorder, i.corrupt].iter().any(|chance| !chance.is_never());
    if all().any(|i| i.jitter.is_some() || is_odd(i)) {
        losses.add(format!(
            "NS has neither jitter nor duplicate, reordered or damaged packets: link {name} loses them"
        ));
    }
}

fn cable(text: &mut String, link: &Link, a: &Member, b: &Member, names: &Names, losses: &mut Losses) {
    tell(link, losses);
    let (there, back) = (between(a, b).0, between(b, a).0);
    check(&there, link, losses);
    check(&back, link, losses);
    let kind = match link.members.iter().find_map(|member| member.to_link.queue?.red) {
        None => "DropTail",
        Some(red) if red.gentle => "GRED",
        Some(_) => "RED",
    };
    let (from, to) = (names.node_of(&a.interface), names.node_of(&b.interface));
    let (variable, ns, it) = (names.link_name(&link.client_id), names.simulator, names.link(&link.client_id));
    let (bandwidth, latency) = (rate(there.rate), delay(there.delay));
    let _ = writeln!(text, "set {variable} [${ns} duplex-link {from} {to} {bandwidth} {latency} {kind}]");
    if there == back {
        if there.loss > 0 {
            let _ = writeln!(text, "tb-set-link-loss {it} {}", loss(&there));
        }
        return;
    }
    for (sender, shape) in [(from, there), (to, back)] {
        let (latency, bandwidth) = (delay(shape.delay), rate(shape.rate));
        let _ =
            writeln!(text, "tb-set-link-simplex-params {it} {sender} {latency} {bandwidth} {}", loss(&shape));
    }
}

fn lan(text: &mut String, link: &Link, names: &Names, losses: &mut Losses) {
    tell(link, losses);
    let nodes: Vec<String> = link.members.iter().map(|member| names.node_of(&member.interface)).collect();
    let unique: HashSet<&String> = nodes.iter().collect();
    if unique.len() < nodes.len() {
        losses.add(format!(
            "in NS only the first interface of a node that is on LAN {} twice can be named",
            link.client_id
        ));
    }
    let first = &link.members[0];
    let plain = |i: &Impairment| Impairment { queue: None, ..*i };
    let shared =
        is_even(link).then(|| gathered(&plain(&first.to_link), &plain(&first.from_link), LinkKind::Lan));
    let shared = shared.flatten().map(|whole| Shape::of(&whole)).filter(|(_, is_whole)| *is_whole);
    let whole = shared.map_or(Shape::default(), |(shape, _)| shape);
    check(&whole, link, losses);
    let (variable, ns, it) = (names.link_name(&link.client_id), names.simulator, names.link(&link.client_id));
    let (bandwidth, latency) = (rate(whole.rate), delay(whole.delay));
    let _ = writeln!(text, "set {variable} [${ns} make-lan \"{}\" {bandwidth} {latency}]", nodes.join(" "));
    if shared.is_some() {
        if whole.loss > 0 {
            let _ = writeln!(text, "tb-set-lan-loss {it} {}", loss(&whole));
        }
        return;
    }
    for (member, node) in link.members.iter().zip(&nodes) {
        let (to, from) = (Shape::of(&member.to_link).0, Shape::of(&member.from_link).0);
        if to.is_clear() && from.is_clear() {
            continue;
        }
        check(&to, link, losses);
        check(&from, link, losses);
        let words = |shape: &Shape| format!("{} {} {}", delay(shape.delay), rate(shape.rate), loss(shape));
        let _ = writeln!(text, "tb-set-lan-simplex-params {it} {node} {} {}", words(&to), words(&from));
    }
}

/// Queues that are not NS's own, of what members send.
fn queues(text: &mut String, link: &Link, names: &Names, losses: &mut Losses) {
    let ns = names.simulator;
    for (index, member) in link.members.iter().enumerate() {
        if member.from_link.queue.is_some() {
            losses.add(format!(
                "NS has no queues of what an interface gets: those of {} are left out",
                link.client_id
            ));
        }
        let Some(Queue { limit, red }) = member.to_link.queue else { continue };
        let node = names.node_of(&member.interface);
        let queue = match (link.kind, link.members.get(1 - index.min(1))) {
            (LinkKind::PointToPoint, Some(other)) => {
                format!("[[${ns} link {node} {}] queue]", names.node_of(&other.interface))
            }
            _ => format!("[[${ns} lanlink {} {node}] queue]", names.link(&link.client_id)),
        };
        let mut lines = Vec::new();
        match limit {
            QueueLimit::Packets(USUAL_QUEUE) => {}
            QueueLimit::Packets(count) => lines.push(format!("limit_ {count}")),
            QueueLimit::Bytes(size) => {
                lines.extend(["queue-in-bytes_ 1".to_owned(), format!("limit_ {}", size.bytes())]);
            }
        }
        if let Some(red) = red {
            if link.kind == LinkKind::Lan {
                lines.push("red_ 1".to_owned());
            }
            lines.extend(parameters(&red));
        }
        // A limit that is said is told from one that is not only so.
        if lines.is_empty() {
            lines.push(format!("limit_ {USUAL_QUEUE}"));
        }
        for line in lines {
            let _ = writeln!(text, "{queue} set {line}");
        }
    }
}

fn parameters(red: &Red) -> Vec<String> {
    let mut lines = Vec::new();
    let ns = Red::NS;
    if red.min != ns.min {
        lines.push(format!("thresh_ {}", red.min));
    }
    if red.max != ns.max {
        lines.push(format!("maxthresh_ {}", red.max));
    }
    if red.probability != ns.probability && !red.probability.is_never() {
        lines.push(format!("linterm_ {}", 1_000_000_000 / red.probability.parts_per_billion()));
    }
    if red.weight != ns.weight {
        lines.push(format!("q_weight_ {}", decimal(red.weight.parts_per_billion().into(), 9)));
    }
    if red.gentle {
        lines.push("gentle_ 1".to_owned());
    }
    lines
}

/// Addresses, costs and attributes of the interfaces on a link.
fn interfaces(text: &mut String, link: &Link, topology: &Topology, names: &Names, losses: &mut Losses) {
    let it = names.link(&link.client_id);
    let command = if link.kind == LinkKind::Lan { "tb-set-ip-lan" } else { "tb-set-ip-link" };
    let wanted: HashSet<_> = link.members.iter().map(|member| &member.interface).collect();
    let on_nodes = link.members.iter().filter_map(|member| names.interface(topology, &member.interface));
    let known: Vec<&Interface> = on_nodes.filter(|interface| wanted.contains(&interface.client_id)).collect();
    let mut lengths = HashSet::new();
    let mut seen = HashSet::new();
    for interface in &known {
        let (node, id) = (names.node_of(&interface.client_id), &interface.client_id);
        let is_first = seen.insert(node.clone());
        for (index, address) in interface.addresses.iter().enumerate() {
            match address.address {
                IpAddr::V4(ip) if index == 0 && is_first => {
                    let _ = writeln!(text, "{command} {node} {it} {ip}");
                    lengths.extend(address.prefix_length);
                }
                _ => losses.add(format!("NS has one IPv4 address of an interface: {id} has others")),
            }
        }
        for Attribute { key, value } in interface.attributes.iter().filter(|_| is_first) {
            let _ =
                writeln!(text, "tb-add-interface-attribute {node} {it} {} {}", quoted(key), quoted(value));
        }
        losses.lost(interface.mac.is_some(), "the Ethernet address", &format!("interface {id}"), "NS");
    }
    let costs: HashSet<Option<u32>> = known.iter().map(|interface| interface.cost).collect();
    match costs.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(cost)] => {
            let _ = writeln!(text, "{it} cost {cost}");
        }
        [None] | [] => {}
        _ => losses
            .add(format!("NS has one cost of all interfaces of a link: those of {} differ", link.client_id)),
    }
    match lengths.into_iter().collect::<Vec<_>>().as_slice() {
        [] | [USUAL_LENGTH] => {}
        [length] => {
            let mask = u32::MAX.checked_shl(32 - u32::from((*length).min(32))).unwrap_or(0);
            let _ = writeln!(text, "tb-set-netmask {it} {}", Ipv4Addr::from_bits(mask));
            if *length < 16 {
                losses.add(format!("Emulab's masks begin with 255.255: that of {} does not", link.client_id));
            }
        }
        _ => losses.add(format!("NS has one mask of a link: those of {} differ", link.client_id)),
    }
}
