//! RSpec v3: a request for nodes of whatever testbed it is sent to.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::impairment::{Impairment, Loss};
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::SliverTypeName;
use testyard_model::route::Routing;
use testyard_model::topology::{Interface, Node, OnFailure, Topology};
use testyard_model::urn::Urn;
use testyard_xml::escape_attribute;

use super::Losses;
use crate::exact::decimal;
use crate::pairwise::{self, Pairs};
use crate::rspec::{LINK_TYPE, RSPEC, SCHEMA_REQUEST, TESTYARD};
use crate::shape::{Shape, between};

/// A LAN of more members has too many pairs to be written one by one.
const MANY: usize = 300;
/// Members of which what is asked of each pair is read again and again.
const FEW: usize = 20;
/// And of which it is not.
const SOME: usize = 100;
/// The longest time limit of a command that RSpec's reader takes: a year.
const MAX_TIMEOUT: u32 = 31_536_000;

pub(super) fn write(
    topology: &Topology,
    default_type: Option<&SliverTypeName>,
    losses: &mut Losses,
) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<rspec xmlns=\"{RSPEC}\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:testyard=\"{TESTYARD}\"\n\
         \x20   xsi:schemaLocation=\"{RSPEC} {SCHEMA_REQUEST}\" type=\"request\">"
    );
    losses.whole(topology, "RSpec");
    match topology.routing {
        Routing::None => {}
        Routing::Static => text.push_str("  <testyard:routing name=\"static\"/>\n"),
        Routing::Session => text.push_str("  <testyard:routing name=\"session\"/>\n"),
        Routing::Manual => losses.add("RSpec cannot say the manual routing of the topology".to_owned()),
    }
    losses.lost(!topology.attributes.is_empty(), "the attributes", "the topology", "RSpec");
    // A node that is bound to a host is bound to its testbed, and then the others must be too.
    let manager = topology
        .nodes
        .iter()
        .find_map(|node| node.component.as_ref())
        .and_then(|component| Urn::new(component.authority(), "authority", "am").ok());
    for node in &topology.nodes {
        self::node(&mut text, node, (manager.as_ref(), default_type), losses);
    }
    for link in &topology.links {
        self::link(&mut text, link, losses);
    }
    text.push_str("</rspec>\n");
    text
}

fn node(
    text: &mut String,
    node: &Node,
    (manager, default_type): (Option<&Urn>, Option<&SliverTypeName>),
    losses: &mut Losses,
) {
    let name = format!("node {}", node.client_id);
    let _ = write!(text, "  <node client_id=\"{}\"", attribute(node.client_id.as_str()));
    if let Some(manager) = manager {
        let _ = write!(text, " component_manager_id=\"{}\"", attribute(&manager.to_string()));
    }
    if let Some(component) = &node.component {
        let _ = write!(text, " component_id=\"{}\"", attribute(&component.to_string()));
    }
    let _ = writeln!(text, " exclusive=\"{}\">", node.exclusive);
    let image =
        node.image.as_ref().map(|image| format!("<disk_image name=\"{}\"/>", attribute(image.as_str())));
    // RSpec has the image in the sliver type.
    match (node.sliver_type.as_ref().or(default_type.filter(|_| image.is_some())), image) {
        (Some(kind), Some(image)) => {
            let _ = writeln!(
                text,
                "    <sliver_type name=\"{}\">{image}</sliver_type>",
                attribute(kind.as_str())
            );
        }
        (Some(kind), None) => {
            let _ = writeln!(text, "    <sliver_type name=\"{}\"/>", attribute(kind.as_str()));
        }
        (None, image) => losses.lost(image.is_some(), "the image without the sliver type", &name, "RSpec"),
    }
    services(text, node, losses);
    for port in &node.ports {
        let _ =
            writeln!(text, "    <testyard:port number=\"{}\" protocol=\"{}\"/>", port.number, port.protocol);
    }
    for interface in &node.interfaces {
        self::interface(text, interface, losses);
    }
    text.push_str("  </node>\n");
    losses.lost(node.partition.is_some(), "the partition", &name, "RSpec");
    losses.lost(!node.programs.is_empty(), "the programs", &name, "RSpec");
    losses.lost(!node.routes.is_empty(), "the routes", &name, "RSpec");
    losses.lost(!node.storage.is_empty(), "the storage", &name, "RSpec");
    losses.lost(node.on_failure != OnFailure::Fatal, "what its failure means", &name, "RSpec");
    losses.lost(!node.attributes.is_empty(), "the attributes", &name, "RSpec");
}

fn services(text: &mut String, node: &Node, losses: &mut Losses) {
    if node.services.is_empty() {
        return;
    }
    text.push_str("    <services>\n");
    for install in &node.services.installs {
        let (url, path) = (attribute(&install.url), attribute(&install.path));
        let _ = write!(text, "      <install url=\"{url}\" install_path=\"{path}\"");
        if let Some(checksum) = &install.checksum {
            let _ = write!(text, " testyard:checksum=\"{checksum}\"");
        }
        text.push_str("/>\n");
    }
    for execute in &node.services.executes {
        let command = attribute(&execute.command);
        let _ = write!(text, "      <execute shell=\"{}\" command=\"{command}\"", execute.shell.as_str());
        match execute.timeout {
            Some(seconds) if seconds.get() > MAX_TIMEOUT => {
                losses.add(format!(
                    "RSpec has time limits of a year at most: one of node {} is left out",
                    node.client_id
                ));
            }
            Some(seconds) => {
                let _ = write!(text, " testyard:timeout=\"{seconds}\"");
            }
            None => {}
        }
        text.push_str("/>\n");
    }
    text.push_str("    </services>\n");
}

fn interface(text: &mut String, interface: &Interface, losses: &mut Losses) {
    let name = format!("interface {}", interface.client_id);
    let _ = write!(text, "    <interface client_id=\"{}\"", attribute(interface.client_id.as_str()));
    if interface.addresses.is_empty() {
        text.push_str("/>\n");
    } else {
        text.push('>');
        for address in &interface.addresses {
            let kind = if address.address.is_ipv4() { "ipv4" } else { "ipv6" };
            let _ = write!(text, "<ip address=\"{}\"", address.address);
            if let Some(length) = address.prefix_length {
                let _ = write!(text, " netmask=\"{}\"", netmask(address.address, length));
            }
            let _ = write!(text, " type=\"{kind}\"/>");
        }
        text.push_str("</interface>\n");
    }
    losses.lost(interface.mac.is_some(), "the Ethernet address", &name, "RSpec");
    losses.lost(interface.cost.is_some(), "the cost", &name, "RSpec");
    losses.lost(!interface.attributes.is_empty(), "the attributes", &name, "RSpec");
}

fn netmask(address: IpAddr, length: u8) -> String {
    match address {
        IpAddr::V4(_) => {
            Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)).to_string()
        }
        IpAddr::V6(_) => length.to_string(),
    }
}

fn link(text: &mut String, link: &Link, losses: &mut Losses) {
    losses.link(link, "RSpec");
    let carried = testyard_model::link::attribute(&link.attributes, LINK_TYPE).filter(|carried| {
        !carried.is_empty() && carried.trim() == *carried && !carried.eq_ignore_ascii_case("lan")
    });
    let others = link.attributes.len() > usize::from(carried.is_some());
    losses.lost(others, "the attributes", &format!("link {}", link.client_id), "RSpec");
    let kind = match (link.kind, carried) {
        (LinkKind::Lan, Some(_)) if link.members.len() == 2 => " testyard:kind=\"lan\"",
        _ => "",
    };
    let _ = writeln!(text, "  <link client_id=\"{}\"{kind}>", attribute(link.client_id.as_str()));
    for member in &link.members {
        let _ = writeln!(text, "    <interface_ref client_id=\"{}\"/>", attribute(member.interface.as_str()));
    }
    let pairs = rounded(link, pairs(link, losses));
    moved(link, &pairs, losses);
    for ((from, to), shape) in pairs {
        let (source, dest) = (&link.members[from].interface, &link.members[to].interface);
        let _ = write!(
            text,
            "    <property source_id=\"{}\" dest_id=\"{}\"",
            attribute(source.as_str()),
            attribute(dest.as_str())
        );
        if let Some(rate) = shape.rate {
            let _ = write!(text, " capacity=\"{}\"", decimal(rate.bits_per_second().into(), 3));
        }
        if !shape.delay.is_zero() {
            let _ = write!(text, " latency=\"{}\"", decimal(shape.delay.as_nanos().into(), 6));
        }
        if shape.loss > 0 {
            let _ = write!(text, " packet_loss=\"{}\"", decimal(shape.loss, 18));
        }
        text.push_str("/>\n");
    }
    match carried {
        Some(carried) => {
            let _ = writeln!(text, "    <link_type name=\"{}\"/>", attribute(carried));
        }
        None if link.kind == LinkKind::Lan => text.push_str("    <link_type name=\"lan\"/>\n"),
        None => {}
    }
    text.push_str("  </link>\n");
}

/// The pairs with losses of as few digits as give the same link when they are read: what two halves do together has
/// eighteen, of which most come of rounding.
fn rounded(link: &Link, pairs: Pairs) -> Pairs {
    const PART: u32 = 18;
    let read = |pairs: &Pairs| {
        let mut members: Vec<Member> =
            link.members.iter().map(|member| Member::clear(member.interface.clone())).collect();
        pairwise::apply(pairs, link.kind, &mut members);
        members
    };
    if pairs.values().all(|shape| shape.loss == 0) || link.members.len() > SOME {
        return pairs;
    }
    let whole = read(&pairs);
    // Of many pairs not each number of digits is tried: it would take long.
    let step = if link.members.len() > FEW { 3 } else { 1 };
    for digits in (step..PART).step_by(step as usize) {
        let unit = 10_u128.pow(PART - digits);
        let mut fewer = pairs.clone();
        for shape in fewer.values_mut() {
            shape.loss = (shape.loss + unit / 2) / unit * unit;
        }
        if read(&fewer) == whole {
            return fewer;
        }
    }
    pairs
}

/// Says whether the reader will do what is asked of the pairs elsewhere than the link does.
fn moved(link: &Link, pairs: &Pairs, losses: &mut Losses) {
    let name = &link.client_id;
    let mut members = link.members.clone();
    for member in &mut members {
        *member = Member::clear(member.interface.clone());
    }
    pairwise::apply(pairs, link.kind, &mut members);
    let plain = |impairment: &Impairment| Shape::of(impairment).0.impairment();
    let same =
        |(a, b): (&Member, &Member)| (plain(&a.to_link), plain(&a.from_link)) == (b.to_link, b.from_link);
    if !link.members.iter().zip(&members).all(same) {
        losses.add(format!(
            "link {name}: what is between any two is kept but for rounding, where it is done is not"
        ));
    }
}

/// What is done from each member to each other.
fn pairs(link: &Link, losses: &mut Losses) -> Pairs {
    let name = &link.client_id;
    let impairments = || link.members.iter().flat_map(|member| [&member.to_link, &member.from_link]);
    if impairments().any(|impairment| matches!(impairment.loss, Some(Loss::Burst { .. } | Loss::Every(_)))) {
        losses.add(format!("RSpec knows random loss only: link {name} gets the same share of it"));
    }
    if impairments().any(|i| i.jitter.is_some() || i.queue.is_some() || has_odd_packets(i)) {
        losses.add(format!(
            "RSpec knows capacity, latency and packet_loss only: what else link {name} does is left out"
        ));
    }
    if let [a, b] = link.members.as_slice() {
        let shapes = [((0, 1), between(a, b).0), ((1, 0), between(b, a).0)];
        return shapes.into_iter().filter(|(_, shape)| !shape.is_clear()).collect();
    }
    let ends: Vec<(Shape, Shape)> =
        link.members.iter().map(|m| (Shape::of(&m.to_link).0, Shape::of(&m.from_link).0)).collect();
    let is_clear = ends.iter().all(|(to, from)| to.is_clear() && from.is_clear());
    if ends.len() > MANY && !is_clear {
        losses.add(format!(
            "RSpec shapes LANs pair by pair, and {name} has too many members: it is not shaped"
        ));
        return Pairs::new();
    }
    pairwise::join(&ends)
}

fn has_odd_packets(impairment: &Impairment) -> bool {
    [impairment.duplicate, impairment.reorder, impairment.corrupt].iter().any(|chance| !chance.is_never())
}

fn attribute(text: &str) -> String {
    escape_attribute(text)
}
