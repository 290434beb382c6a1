//! Plans as text for people, at most 100 columns wide. For programs, plans are serde values.

use testyard_model::impairment::{Distribution, Impairment, Loss, QueueLimit};
use testyard_model::name::ClientId;

use crate::network::parts::{NetworkLink, NetworkMember, NetworkPlan};
use crate::plan::Plan;
use crate::table::table;

/// A whole plan: nodes, then links.
#[must_use]
pub fn plan(plan: &Plan) -> String {
    let rows: Vec<[String; 6]> = plan
        .nodes
        .iter()
        .map(|node| {
            [
                node.client_id.to_string(),
                node.host.to_string(),
                node.hostname.to_string(),
                node.sliver_type.name.to_string(),
                node.image.to_string(),
                node.ipv4.to_string(),
            ]
        })
        .collect();
    let mut text = table(["NODE", "HOST", "HOST NAME", "KIND", "IMAGE", "CONTROL ADDRESS"], &rows);
    if let Some(network) = &plan.network {
        text.push('\n');
        text.push_str(&links(network));
    }
    text
}

/// A network: nodes with their interfaces, then links.
#[must_use]
pub fn network(plan: &NetworkPlan) -> String {
    let rows: Vec<[String; 3]> = plan
        .nodes()
        .iter()
        .map(|node| {
            let interface = |(link, member): (&NetworkLink, &NetworkMember)| {
                let address = member.addresses.first().map(|address| format!(" {}", address.addr()));
                format!("{}{} ({})", member.device, address.unwrap_or_default(), link.client_id)
            };
            let interfaces: Vec<String> = plan.interfaces_of(&node.client_id).map(interface).collect();
            [node.client_id.to_string(), node.hostname.to_string(), interfaces.join(", ")]
        })
        .collect();
    format!("{}\n{}", table(["NODE", "HOST NAME", "INTERFACES"], &rows), links(plan))
}

/// Routes of these nodes beside those that follow from their addresses; empty if there are none.
#[must_use]
pub fn routes<'n>(plan: &NetworkPlan, nodes: impl IntoIterator<Item = &'n ClientId>) -> String {
    let mut router = plan.router();
    let mut rows: Vec<[String; 4]> = Vec::new();
    for node in nodes {
        // Once, in front of all of them.
        let mut name = node.to_string();
        for route in router.routes_of(node) {
            let via = [route.to.to_string(), route.via.to_string(), route.device.to_string()];
            let [to, via, device] = via;
            rows.push([std::mem::take(&mut name), to, via, device]);
        }
    }
    if rows.is_empty() { String::new() } else { table(["NODE", "ROUTE TO", "VIA", "DEVICE"], &rows) }
}

fn links(plan: &NetworkPlan) -> String {
    let mut rows: Vec<[String; 7]> = Vec::new();
    for link in plan.links() {
        let networks: Vec<String> = link.subnets.iter().map(ToString::to_string).collect();
        let state = match (link.down, link.crosses_hosts) {
            (false, false) => String::new(),
            (true, false) => " down".to_owned(),
            (false, true) => " across hosts".to_owned(),
            (true, true) => " down, across hosts".to_owned(),
        };
        let mut head = [format!("{}{state}", link.client_id), networks.join(" "), link.mtu.to_string()];
        for member in &link.members {
            let addresses: Vec<String> = member.addresses.iter().map(|net| net.addr().to_string()).collect();
            let [name, networks, mtu] = std::mem::take(&mut head);
            let at = format!("{} {}", member.node, member.device);
            let impaired = match (sends(&member.to_link), receives(&member.from_link)) {
                (sent, None) => sent.unwrap_or_default(),
                (None, Some(got)) => got,
                (Some(sent), Some(got)) => format!("{sent}; {got}"),
            };
            rows.push([name, networks, mtu, at, addresses.join(" "), member.mac.to_string(), impaired]);
        }
        if link.members.is_empty() {
            let [name, networks, mtu] = head;
            rows.push([name, networks, mtu, String::new(), String::new(), String::new(), String::new()]);
        }
    }
    table(["LINK", "NETWORK", "MTU", "MEMBER", "ADDRESS", "ETHERNET ADDRESS", "IMPAIRMENT"], &rows)
}

fn sends(impairment: &Impairment) -> Option<String> {
    (!impairment.is_clear()).then(|| format!("to link {}", impairment_text(impairment)))
}

fn receives(impairment: &Impairment) -> Option<String> {
    (!impairment.is_clear()).then(|| format!("from link {}", impairment_text(impairment)))
}

/// An impairment as the settings that give it; `none` if it does nothing.
#[must_use]
pub fn impairment_text(impairment: &Impairment) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = impairment.rate {
        parts.push(format!("rate={rate}"));
    }
    if !impairment.delay.is_zero() {
        parts.push(format!("delay={}", impairment.delay));
    }
    if let Some(jitter) = impairment.jitter {
        let distribution = match jitter.distribution {
            Distribution::Uniform => "",
            Distribution::Normal => " normal",
            Distribution::Exponential => " exponential",
        };
        parts.push(format!("jitter={}{distribution}", jitter.spread));
    }
    match impairment.loss {
        None => {}
        Some(Loss::Random(chance)) => parts.push(format!("loss={chance}")),
        Some(Loss::Burst { enter, leave }) => parts.push(format!("loss=burst {enter} {leave}")),
        Some(Loss::Every(nth)) => parts.push(format!("loss=every {nth}")),
    }
    let chances = [
        ("duplicate", impairment.duplicate),
        ("reorder", impairment.reorder),
        ("corrupt", impairment.corrupt),
    ];
    for (name, chance) in chances.into_iter().filter(|(_, chance)| !chance.is_never()) {
        parts.push(format!("{name}={chance}"));
    }
    if let Some(queue) = impairment.queue {
        let limit = match queue.limit {
            QueueLimit::Packets(count) => format!("{count} packets"),
            QueueLimit::Bytes(size) => size.to_string(),
        };
        let red = queue.red.map(|red| {
            let gentle = if red.gentle { " gentle" } else { "" };
            format!(" red {}-{} {} {}{gentle}", red.min, red.max, red.probability, red.weight)
        });
        parts.push(format!("queue={limit}{}", red.unwrap_or_default()));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(" ") }
}
