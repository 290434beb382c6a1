//! Statements about addresses, routes, costs and attributes of links and interfaces.

use std::net::IpAddr;

use testyard_model::link::LinkKind;
use testyard_model::route::Routing;
use testyard_model::setting::Setting;
use testyard_model::suggest::closest;
use testyard_model::topology::InterfaceAddress;

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{Object, RouteDraft, To, Via};
use super::nodes::{REPEATED, push_attribute};
use super::queue::QueueDraft;
use super::reader::Reader;
use super::slots::Slot;
use super::units;

type Outcome = Result<Taken, Complaint>;

pub(super) fn ip(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, address] = call.exactly()?;
    let node = reader.node(name)?;
    match reader.nodes[node].ports.as_slice() {
        [(link, member)] => {
            let (link, member) = (*link, *member);
            set(reader, call, link, member, address)
        }
        [] => Err(Complaint::error(format!("{} is on no link yet", reader.nodes[node].name))
            .suggest("say tb-set-ip after the link")),
        _ => Err(Complaint::error(format!("{} is on several links", reader.nodes[node].name))
            .suggest("use tb-set-ip-link or tb-set-ip-lan")),
    }
}

pub(super) fn ip_link(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    ip_on(reader, call, LinkKind::PointToPoint, "a LAN: use tb-set-ip-lan")
}

pub(super) fn ip_lan(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    ip_on(reader, call, LinkKind::Lan, "a link: use tb-set-ip-link")
}

fn ip_on(reader: &mut Reader<'_>, call: &Call<'_>, kind: LinkKind, other: &str) -> Outcome {
    let [node, link, address] = call.exactly()?;
    let (node, link) = (reader.node(node)?, reader.link(link)?);
    if reader.links[link].kind != kind {
        return Err(Complaint::error(format!("{} is {other}", reader.links[link].name)));
    }
    let member = reader.member(node, link)?;
    set(reader, call, link, member, address)
}

pub(super) fn ip_interface(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, peer, address] = call.exactly()?;
    let (node, peer) = (reader.node(node)?, reader.node(peer)?);
    let link = reader.between(node, peer)?;
    let member = reader.member(node, link)?;
    set(reader, call, link, member, address)
}

fn set(reader: &mut Reader<'_>, call: &Call<'_>, link: usize, member: usize, address: &str) -> Outcome {
    let address = units::address(address)?;
    let draft = &mut reader.links[link];
    if let Some(other) =
        draft.members.iter().enumerate().find(|(at, other)| *at != member && other.address == Some(address))
    {
        let other = &reader.nodes[other.1.node].name;
        return Err(Complaint::error(format!("{address} is {other}'s on {} already", draft.name)));
    }
    draft.members[member].address = Some(address);
    draft.members[member].address_position = call.position;
    reader.say(call, Slot::Address { link, member }, &address.to_string());
    Ok(Taken::AsListed)
}

pub(super) fn netmask(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [link, mask] = call.exactly()?;
    let (link, prefix) = (reader.link(link)?, units::netmask(mask)?);
    reader.links[link].prefix = prefix;
    reader.links[link].is_masked = true;
    reader.say(call, Slot::Netmask(link), mask);
    Ok(Taken::AsListed)
}

pub(super) fn rtproto(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    const KNOWN: [&str; 6] = ["Static", "Static-ddijk", "Static-old", "Manual", "Session", "ospf"];
    let ([kind], _) = call.at_least::<1>()?;
    reader.routing = match kind {
        "Static" | "Static-ddijk" | "Static-old" => Routing::Static,
        "Manual" => Routing::Manual,
        "Session" | "ospf" => {
            reader.routing = Routing::Session;
            reader.say(call, Slot::Routing, kind);
            return Ok(Taken::Approximated(
                "static routes are set instead of running a routing daemon".to_owned(),
            ));
        }
        _ => {
            let meant = closest(kind, KNOWN).map_or_else(
                || "there are Static, Manual and Session".to_owned(),
                |meant| format!("did you mean {meant}?"),
            );
            return Ok(Taken::Ignored(format!("{:?} is no kind of routing; {meant}", short(kind))));
        }
    };
    reader.say(call, Slot::Routing, kind);
    Ok(Taken::AsListed)
}

pub(super) fn ip_routing(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [kind] = call.exactly()?;
    reader.routing = match kind {
        "none" => Routing::None,
        "ospf" => Routing::Session,
        "static" => Routing::Static,
        "manual" => Routing::Manual,
        _ => {
            return Err(Complaint::error(format!("{:?} is no kind of routing", short(kind)))
                .suggest("use $ns rtproto Static"));
        }
    };
    reader.say(call, Slot::Routing, kind);
    Ok(Taken::AsListed)
}

/// `$node add-route DESTINATION NEXTHOP`.
pub(super) fn add_route(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let node = call.node()?;
    let [to, via] = call.exactly()?;
    let to = match reader.object(to) {
        Some(Object::Node(to)) if to == node => {
            return Err(Complaint::error("a node needs no route to itself"));
        }
        Some(Object::Node(to)) => match reader.nodes[to].ports.len() {
            1 => To::Node(to),
            0 => return Err(Complaint::error(format!("{} is on no link", reader.nodes[to].name))),
            _ => {
                return Err(Complaint::error(format!("{} is on several links", reader.nodes[to].name))
                    .suggest("name one of them, or [$ns link A B]"));
            }
        },
        Some(Object::Link(link)) => To::Link(link),
        Some(Object::Half { link, member }) => To::Interface { link, member },
        Some(_) => return Err(Complaint::error(format!("{} is nowhere to go to", short(to)))),
        None => network(to)?,
    };
    let via = match reader.object(via) {
        Some(Object::Node(hop)) => {
            reader.between(node, hop)?;
            Via::Node(hop)
        }
        Some(_) => return Err(Complaint::error(format!("{} is no node", short(via)))),
        None => Via::Address(units::address(via).map_err(|_| {
            Complaint::error(format!("there is no node {:?}", short(via)))
                .suggest("the next hop is a neighbour, or its address")
        })?),
    };
    if reader.nodes[node].routes.iter().any(|route| route.to == to) {
        return Err(Complaint::error(format!("{} has a route there already", reader.nodes[node].name)));
    }
    reader.nodes[node].routes.push(RouteDraft { to, via });
    Ok(Taken::AsListed)
}

fn network(text: &str) -> Result<To, Complaint> {
    let bad = || {
        Complaint::error(format!("there is no {:?} to route to", short(text)))
            .suggest("name a node, a link, a LAN or a network like 10.1.0.0/16")
    };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| bad())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some(length.unwrap_or(most))
        .filter(|length| *length <= most)
        .map(|length| To::Network(address, length))
        .ok_or_else(bad)
}

fn cost_of(text: &str) -> Result<u32, Complaint> {
    text.parse().ok().filter(|cost| (1..=65_535).contains(cost)).ok_or_else(|| {
        Complaint::error(format!("{:?} is no cost of a route", short(text)))
            .suggest("give a number from 1 to 65535")
    })
}

/// `$ns cost A B COST`: of what A sends to B.
pub(super) fn cost_between(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [one, other, cost] = call.exactly()?;
    let (one, other, cost) = (reader.node(one)?, reader.node(other)?, cost_of(cost)?);
    let link = reader.between(one, other)?;
    let member = reader.member(one, link)?;
    reader.links[link].members[member].cost = Some(cost);
    Ok(Taken::AsListed)
}

/// `$link cost COST`, of a whole link or of one direction.
pub(super) fn cost(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [cost] = call.exactly()?;
    let cost = cost_of(cost)?;
    match call.object {
        Object::Half { link, member } => reader.links[link].members[member].cost = Some(cost),
        _ => {
            for member in &mut reader.links[call.link()?].members {
                member.cost = Some(cost);
            }
        }
    }
    Ok(Taken::AsListed)
}

/// `tb-add-network-attribute LINK KEY VALUE`.
pub(super) fn network_attribute(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [link, key, value] = call.exactly()?;
    let link = reader.link(link)?;
    let bad = || Complaint::error(format!("{:?} is no value of {key}", short(value)));
    let draft = &mut reader.links[link];
    match key {
        "testyard:mtu" => {
            draft.mtu = Some(value.parse().ok().filter(|mtu| (68..=65_535).contains(mtu)).ok_or_else(bad)?);
        }
        "testyard:seed" => draft.seed = Some(value.parse().map_err(|_| bad())?),
        "testyard:down" => draft.down = value == "true",
        _ if key.starts_with("testyard:") => {
            return Err(Complaint::error(format!("{} is unknown for a link", short(key)))
                .suggest("there are testyard:mtu, testyard:seed and testyard:down"));
        }
        _ if push_attribute(&mut draft.attributes, key, value) => {}
        _ => return Ok(Taken::Ignored(REPEATED.to_owned())),
    }
    Ok(Taken::AsListed)
}

/// `tb-add-interface-attribute NODE LINK KEY VALUE`.
pub(super) fn interface_attribute(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, link, key, value] = call.exactly()?;
    let (node, link) = (reader.node(node)?, reader.link(link)?);
    let at = reader.member(node, link)?;
    let member = &mut reader.links[link].members[at];
    match key {
        "testyard:to-link" | "testyard:from-link" => {
            let way = if key == "testyard:to-link" { &mut member.to } else { &mut member.from };
            for setting in value.split(';').filter(|setting| !setting.trim().is_empty()) {
                let setting: Setting =
                    setting.trim().parse().map_err(|error| Complaint::error(format!("{error}")))?;
                match setting {
                    Setting::Queue(queue) if key == "testyard:to-link" => {
                        member.queue = queue.map(QueueDraft::of);
                    }
                    setting => setting.apply(way),
                }
            }
        }
        "testyard:mac" => {
            member.mac = Some(value.parse().map_err(|error| Complaint::error(format!("{error}")))?);
        }
        "testyard:address" => member.more_addresses.push(interface_address(value)?),
        _ if key.starts_with("testyard:") => {
            return Err(Complaint::error(format!("{} is unknown for an interface", short(key))).suggest(
                "there are testyard:address, testyard:from-link, testyard:mac and testyard:to-link",
            ));
        }
        _ if push_attribute(&mut member.attributes, key, value) => {}
        _ => return Ok(Taken::Ignored(REPEATED.to_owned())),
    }
    Ok(Taken::AsListed)
}

/// An address, with its prefix's length if it has one.
fn interface_address(text: &str) -> Result<InterfaceAddress, Complaint> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = units::address(address)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bad = || Complaint::error(format!("{:?} is no address of an interface", short(text)));
    let length: Option<u8> = length.map(|length| length.parse().map_err(|_| bad())).transpose()?;
    if length.is_some_and(|length| length > most) {
        return Err(bad());
    }
    Ok(InterfaceAddress { address, prefix_length: length })
}
