//! Writing.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::link::{Attribute, Link, LinkKind};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::service::Shell;
use testyard_model::topology::{Interface, Node, OnFailure, Topology};
use testyard_xml::escape_text;

use super::KIND;
use crate::csh;
use crate::exact::decimal;
use crate::export::Losses;
use crate::shape::{Shape, between};

/// A topology in topdl; what it cannot say is told.
pub(crate) fn write(topology: &Topology, losses: &mut Losses) -> String {
    let mut text = String::from("<experiment>\n  <version>1.0</version>\n");
    if topology.routing != Routing::Static {
        losses.add("topdl cannot say where routes come from: they are static");
    }
    losses.whole(topology, "topdl");
    let mut halves: HashMap<&ClientId, (&Link, Shape)> = HashMap::new();
    for link in &topology.links {
        let shapes = shapes(link, losses);
        halves.extend(
            link.members.iter().zip(shapes).map(|(member, shape)| (&member.interface, (link, shape))),
        );
        substrate(&mut text, link, losses);
    }
    for node in &topology.nodes {
        computer(&mut text, node, &halves, losses);
    }
    attributes(&mut text, "  ", &topology.attributes);
    text.push_str("</experiment>\n");
    text
}

/// The half of each member, the same both ways.
fn shapes(link: &Link, losses: &mut Losses) -> Vec<Shape> {
    let name = &link.client_id;
    if link.kind == LinkKind::PointToPoint
        && let [a, b] = link.members.as_slice()
    {
        let ((there, whole), (back, whole_back)) = (between(a, b), between(b, a));
        if there != back {
            losses.add(format!("link {name} differs by direction: both get the worse"));
        }
        if !whole || !whole_back {
            losses.add(format!("link {name} does more than rate, delay and random loss: that is left out"));
        }
        let (first, second) = Shape::of(&there.worse(&back).impairment()).0.halves();
        let again = first.then(&second).impairment();
        if there == back && whole && whole_back && (a.to_link != again || b.to_link != again) {
            losses.add(format!(
                "link {name}: what is between its ends is kept but for rounding, where it is done is not"
            ));
        }
        return vec![first, second];
    }
    let half = |member: &testyard_model::link::Member| {
        let ((to, whole), (from, whole_back)) = (Shape::of(&member.to_link), Shape::of(&member.from_link));
        (to.worse(&from), to == from, whole && whole_back)
    };
    let halves: Vec<_> = link.members.iter().map(half).collect();
    if halves.iter().any(|(_, same, _)| !same) {
        losses.add(format!("members of LAN {name} differ by direction: both get the worse"));
    }
    if halves.iter().any(|(_, _, whole)| !whole) {
        losses.add(format!("LAN {name} does more than rate, delay and random loss: that is left out"));
    }
    halves.into_iter().map(|(shape, ..)| Shape::of(&shape.impairment()).0).collect()
}

fn substrate(text: &mut String, link: &Link, losses: &mut Losses) {
    losses.link(link, "topdl");
    let _ = writeln!(text, "  <substrates>\n    <name>{}</name>", escape_text(link.client_id.as_str()));
    if link.kind == LinkKind::Lan && link.members.len() == 2 {
        pair(text, "    ", KIND, "lan");
    }
    attributes(text, "    ", &link.attributes);
    text.push_str("  </substrates>\n");
}

fn pair(text: &mut String, indent: &str, key: &str, value: &str) {
    let (key, value) = (escape_text(key), escape_text(value));
    let _ =
        writeln!(text, "{indent}<attribute><attribute>{key}</attribute><value>{value}</value></attribute>");
}

fn attributes(text: &mut String, indent: &str, attributes: &[Attribute]) {
    for attribute in attributes {
        pair(text, indent, &attribute.key, &attribute.value);
    }
}

fn computer(
    text: &mut String,
    node: &Node,
    halves: &HashMap<&ClientId, (&Link, Shape)>,
    losses: &mut Losses,
) {
    let name = &node.client_id;
    let _ = writeln!(text, "  <elements><computer>\n    <name>{}</name>", escape_text(name.as_str()));
    // The image stands in `os`; so does one of another system.
    let osid = testyard_model::link::attribute(&node.attributes, "osid");
    if let Some(osid) = node.image.as_ref().map(|image| image.as_str()).or(osid) {
        text.push_str("    <os>\n");
        pair(text, "      ", "osid", osid);
        text.push_str("    </os>\n");
    }
    for install in &node.services.installs {
        let (location, path) = (escape_text(&install.url), escape_text(&install.path));
        let _ = writeln!(
            text,
            "    <software><location>{location}</location><install>{path}</install></software>"
        );
        if install.checksum.is_some() {
            losses.add("topdl has no checksums of software");
        }
    }
    if let Some(kind) = &node.sliver_type {
        pair(text, "    ", "type", kind.as_str());
    }
    let commands: Vec<&str> = node.services.executes.iter().map(|execute| execute.command.as_str()).collect();
    if !commands.is_empty() {
        pair(text, "    ", "startup", &commands.join("\n"));
    }
    if !csh::is_sh(&commands.join("\n")) {
        losses.add(format!("a command of node {name} is read as csh's in topdl"));
    }
    if commands.len() > 1
        || node.services.executes.iter().any(|e| e.shell != Shell::Sh || e.timeout.is_some())
    {
        losses.add(format!("the commands of node {name} become one for sh, without a time limit"));
    }
    match node.on_failure {
        OnFailure::Fatal => {}
        OnFailure::Nonfatal => pair(text, "    ", "failureaction", "nonfatal"),
        OnFailure::Ignore => pair(text, "    ", "failureaction", "ignore"),
    }
    if let Some(partition) = &node.partition {
        pair(text, "    ", "containers:partition", partition);
    }
    let own = |key: &str| key == "osid" || key == "type" && node.sliver_type.is_some();
    let kept: Vec<Attribute> = node.attributes.iter().filter(|a| !own(&a.key)).cloned().collect();
    attributes(text, "    ", &kept);
    losses.node(node, "topdl");
    for (interface, name) in node.interfaces.iter().zip(interface_names(node)) {
        if interface.client_id.as_str() != format!("{}:{name}", node.client_id) {
            losses.add(format!(
                "topdl names interfaces within nodes: {} is {name} of {}",
                interface.client_id, node.client_id
            ));
        }
        self::interface(text, &name, interface, halves.get(&interface.client_id), losses);
    }
    text.push_str("  </computer></elements>\n");
}

/// What a node's interfaces are called within it: without the node's name where they begin with it, as the reader puts
/// it in front.
fn interface_names(node: &Node) -> Vec<String> {
    let own = |interface: &Interface| {
        let rest = interface.client_id.as_str().strip_prefix(node.client_id.as_str())?.strip_prefix(':')?;
        Some(rest.to_owned()).filter(|rest| rest.trim() == rest && !rest.is_empty())
    };
    let owns: Vec<Option<String>> = node.interfaces.iter().map(own).collect();
    let mut taken: HashSet<String> = owns.iter().flatten().cloned().collect();
    let named = node.interfaces.iter().zip(owns).map(|(interface, own)| {
        own.unwrap_or_else(|| {
            let id = interface.client_id.as_str().trim().to_owned();
            let numbered = (2..).map(|number| format!("{id}-{number}"));
            let free = std::iter::once(id.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
            free.unwrap_or_default()
        })
    });
    named.collect()
}

fn interface(
    text: &mut String,
    name: &str,
    interface: &Interface,
    half: Option<&(&Link, Shape)>,
    losses: &mut Losses,
) {
    text.push_str("    <interface>\n");
    if let Some((link, _)) = half {
        let _ = writeln!(text, "      <substrate>{}</substrate>", escape_text(link.client_id.as_str()));
    }
    let id = interface.client_id.as_str();
    let _ = writeln!(text, "      <name>{}</name>", escape_text(name));
    let shape = half.map_or(Shape::default(), |(_, shape)| *shape);
    if let Some(rate) = shape.rate {
        let rate = decimal(rate.bits_per_second().into(), 3);
        let _ = writeln!(text, "      <capacity><rate>{rate}</rate><kind>max</kind></capacity>");
    }
    if !shape.delay.is_zero() {
        let time = decimal(shape.delay.as_nanos().into(), 6);
        let _ = writeln!(text, "      <latency><time>{time}</time><kind>max</kind></latency>");
    }
    let mut addresses = interface.addresses.iter().filter_map(|address| match address.address {
        IpAddr::V4(ip) => Some((ip, address.prefix_length)),
        IpAddr::V6(_) => None,
    });
    if let Some((ip, length)) = addresses.next() {
        pair(text, "      ", "ip4_address", &ip.to_string());
        if let Some(length) = length {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            pair(text, "      ", "ip4_netmask", &Ipv4Addr::from_bits(mask).to_string());
        }
    }
    if interface.addresses.len() > 1 || interface.addresses.iter().any(|a| a.address.is_ipv6()) {
        losses.add(format!("topdl has one IPv4 address of an interface: {id} has others"));
    }
    if let Some(mac) = interface.mac {
        pair(text, "      ", "mac_address", &mac.to_string());
    }
    if shape.loss > 0 {
        pair(text, "      ", "loss", &decimal(shape.loss, 18));
    }
    if interface.cost.is_some() {
        losses.add(format!("topdl has no costs of interfaces: that of {id} is left out"));
    }
    let reserved = ["ip4_address", "ip4_netmask", "mac_address", "loss"];
    let kept: Vec<Attribute> =
        interface.attributes.iter().filter(|a| !reserved.contains(&a.key.as_str())).cloned().collect();
    attributes(text, "      ", &kept);
    text.push_str("    </interface>\n");
}
