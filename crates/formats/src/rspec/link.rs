//! Reading links: who is on them, and what their properties do to packets.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use testyard_model::link::{Attribute, Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::quantity::{Rate, Span};
use testyard_model::topology::Node;
use testyard_xml::{Node as Xml, attribute};

use super::context::Context;
use super::element::{core_children, short, word};
use super::findings::Findings;
use super::namespace::TESTYARD;
use super::network::Network;
use super::node::client_id;
use crate::exact::scaled;
use crate::pairwise::{self, Pairs};
use crate::shape::{Shape, WHOLE};

/// The attribute of a link that says what it asks to be carried over (`gre-tunnel`, `vlan`), which has no effect here.
pub(crate) const LINK_TYPE: &str = "link_type";

/// Reads the links that an interface of ours is on.
pub(super) fn links(
    root: Xml<'_, '_>,
    context: &Context,
    network: &Network<'_, '_>,
    findings: &mut Findings<'_>,
) -> Vec<Link> {
    let mut result = Vec::new();
    let mut seen: HashMap<&str, Xml<'_, '_>> = HashMap::new();
    let mut on_link: HashMap<&str, Xml<'_, '_>> = HashMap::new();
    for element in core_children(root, "link") {
        let refs: Vec<_> = core_children(element, "interface_ref").collect();
        if refs.is_empty() {
            let name = short(attribute(element, "client_id").unwrap_or_default());
            findings
                .warning(element, format!("link {name:?} has no interface_ref: it is left out"))
                .suggest("name the interfaces that are on it");
        }
        let is_ours = |r: &Xml<'_, '_>| attribute(*r, "client_id").is_some_and(|id| network.is_ours(id));
        if !refs.iter().any(is_ours) {
            continue;
        }
        let Some(client_id) = client_id(element, "link", findings) else { continue };
        let name = attribute(element, "client_id").unwrap_or_default();
        if let Some(first) = seen.insert(name, element) {
            let message = format!("client_id {:?} is taken: another link has it", short(name));
            findings.error(element, message).place_of(first);
        }
        shared_vlan(element, name, findings);
        let foreign_managers = core_children(element, "component_manager")
            .any(|manager| word(manager, "name").is_some_and(|name| !context.is_us(name)));
        let mut members: Vec<Member> = Vec::new();
        let mut numbers = HashMap::new();
        let mut foreign = 0;
        for reference in refs {
            let Some(id) = attribute(reference, "client_id") else {
                findings.error(reference, "interface_ref has no client_id");
                continue;
            };
            match id.parse() {
                Ok(interface) if is_ours(&reference) => {
                    if let Some(first) = on_link.insert(id, reference) {
                        let message = format!("interface {:?} is on a link already", short(id));
                        findings.error(reference, message).place_of(first);
                    }
                    numbers.insert(id, members.len());
                    members.push(Member::clear(interface));
                }
                _ if network.is_foreign(id) || foreign_managers => foreign += 1,
                _ => {
                    findings
                        .error(reference, format!("there is no interface {:?}", short(id)))
                        .suggest_with(|| network.like(id).map(|meant| format!("did you mean {meant:?}?")));
                }
            }
        }
        if foreign > 0 {
            let message = format!("link {:?} reaches {foreign} interfaces of other testbeds", short(name));
            findings
                .warning(element, message)
                .suggest("only this testbed's are joined; the rest stays in the manifest");
        }
        let (is_lan, link_type) = link_type(element);
        let kind = if members.len() == 2 && !is_lan { LinkKind::PointToPoint } else { LinkKind::Lan };
        let pairs = properties(element, &numbers, foreign > 0, findings);
        if !pairwise::apply(&pairs, kind, &mut members) {
            findings
                .warning(element, format!("the properties of link {:?} cannot be had exactly", short(name)))
                .suggest("what an interface sends gets the worst of what is asked from it to any other");
        }
        for problem in members.iter().flat_map(|m| [&m.to_link, &m.from_link]).filter_map(|i| i.check().err())
        {
            findings.error(element, format!("link {:?}: {problem}", short(name)));
        }
        let attributes =
            link_type.map(|value| Attribute { key: LINK_TYPE.to_owned(), value: value.to_owned() });
        result.push(Link {
            members,
            attributes: attributes.into_iter().collect(),
            ..Link::new(client_id, kind)
        });
    }
    result
}

/// Whether a link of two is to be a LAN, and the type that is kept: what a link is carried over, the testbed chooses.
fn link_type<'a>(link: Xml<'a, '_>) -> (bool, Option<&'a str>) {
    let given = core_children(link, "link_type").next().and_then(|element| word(element, "name"));
    let given = given.filter(|name| !name.is_empty());
    let is_lan = given.is_some_and(|name| name.eq_ignore_ascii_case("lan"));
    let own = link.attribute((TESTYARD, "kind")) == Some("lan");
    (is_lan || own, given.filter(|_| !is_lan))
}

/// Emulab's shared VLANs join slices, which this testbed keeps apart.
fn shared_vlan(link: Xml<'_, '_>, name: &str, findings: &mut Findings<'_>) {
    if let Some(vlan) = link.children().find(|child| child.tag_name().name() == "link_shared_vlan") {
        let shared = short(word(vlan, "name").unwrap_or_default());
        let message = format!(
            "link {:?} asks for the shared VLAN {shared:?}, which there is none of here",
            short(name)
        );
        findings.error(vlan, message).suggest("take it away to have a link of the slice's own");
    }
}

/// What is asked from one member to another.
fn properties(
    link: Xml<'_, '_>,
    numbers: &HashMap<&str, usize>,
    has_foreign: bool,
    findings: &mut Findings<'_>,
) -> Pairs {
    let mut pairs = Pairs::new();
    let mut places: HashMap<(usize, usize), Xml<'_, '_>> = HashMap::new();
    for property in core_children(link, "property") {
        let values = ["capacity", "latency", "packet_loss"].map(|name| word(property, name));
        if values == [None; 3] {
            continue;
        }
        let mut end = |name: &str| {
            let id = word(property, name)?;
            let number = numbers.get(id).copied();
            if number.is_none() && !has_foreign {
                let message =
                    format!("{name} {:?} is no interface of the link: the property has no effect", short(id));
                findings.warning(property, message);
            }
            number
        };
        let (Some(from), Some(to)) = (end("source_id"), end("dest_id")) else {
            if word(property, "source_id").is_none() || word(property, "dest_id").is_none() {
                findings
                    .warning(property, "the property has no source_id or no dest_id, and no effect")
                    .suggest("it is for one direction: name the interfaces that it is from and to");
            }
            continue;
        };
        let Some(shape) = shape(property, findings) else { continue };
        match pairs.get(&(from, to)) {
            Some(first) if from != to => {
                if *first != shape {
                    let message = "another property of this direction says something else: that one counts";
                    let remark = findings.warning(property, message);
                    if let Some(place) = places.get(&(from, to)) {
                        remark.place_of(*place);
                    }
                }
            }
            None if from != to => {
                pairs.insert((from, to), shape);
                places.insert((from, to), property);
            }
            _ => {
                findings.warning(property, "the property is from an interface to itself, and has no effect");
            }
        }
    }
    pairs
}

/// Capacity in kb/s, latency in ms, packet_loss as a fraction; 0 is none of each. Also of a delay node's pipe, where
/// some write lossrate.
pub(super) fn shape(element: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<Shape> {
    let mut good = true;
    let mut number = |name: &str, scale: u32, most: u128, unit: &str| {
        let text = word(element, name)?;
        let value = scaled(text, scale).filter(|value| *value <= most);
        if value.is_none() {
            findings.error(element, format!("{name} is {:?}", short(text))).suggest(format!("write {unit}"));
            good = false;
        }
        value
    };
    let rate = number("capacity", 3, 1_000_000_000_000, "kilobits per second, like 100000");
    let delay = number("latency", 6, u128::from(u64::MAX), "milliseconds, like 5");
    let loss = number("packet_loss", 18, WHOLE, "a fraction from 0 to 1, like 0.01");
    let other = number("lossrate", 18, WHOLE, "a fraction from 0 to 1, like 0.01");
    good.then(|| Shape {
        rate: rate
            .filter(|bits| *bits > 0)
            .and_then(|bits| Rate::from_bits_per_second(u64::try_from(bits).ok()?)),
        delay: Span::from_nanos(delay.and_then(|ns| u64::try_from(ns).ok()).unwrap_or_default()),
        loss: loss.or(other).unwrap_or_default(),
    })
}

/// No address may be on a link twice.
pub(super) fn addresses(root: Xml<'_, '_>, links: &[Link], nodes: &[Node], findings: &mut Findings<'_>) {
    let addresses: HashMap<&ClientId, Vec<IpAddr>> = nodes
        .iter()
        .flat_map(|node| &node.interfaces)
        .map(|i| (&i.client_id, i.addresses.iter().map(|address| address.address).collect()))
        .collect();
    let mut twice: HashMap<&str, &IpAddr> = HashMap::new();
    for link in links {
        let mut seen = HashSet::new();
        for member in &link.members {
            for address in addresses.get(&member.interface).into_iter().flatten() {
                if !seen.insert(address) {
                    twice.entry(link.client_id.as_str()).or_insert(address);
                }
            }
        }
    }
    if twice.is_empty() {
        return;
    }
    for element in core_children(root, "link") {
        let name = attribute(element, "client_id").unwrap_or_default();
        if let Some(address) = twice.get(name) {
            findings
                .error(element, format!("address {address} is on link {:?} twice", short(name)))
                .suggest("give each interface its own, or none to have one chosen");
        }
    }
}
