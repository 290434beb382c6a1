//! Links in NS: `duplex-link` and `make-lan` where both ways, or all members, are alike; the simplex commands where not.
//! What those cannot say stands in attributes that Testyard reads: the difference between what its reader makes of the
//! commands and what the link is.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use testyard_model::impairment::{Impairment, Queue, Red};
use testyard_model::link::{Attribute, Link, LinkKind, Member, PREFIX_LENGTHS};
use testyard_model::quantity::{Rate, Span};
use testyard_model::topology::Interface;

use super::Losses;
use super::ns::{attributes, quoted};
use super::ns_names::Names;
use super::ns_queue::{QUEUE, queues};
use crate::exact::decimal;
use crate::own::impairment::difference;
use crate::shape::{Shape, between};

/// How long Emulab's masks are if nobody says.
const USUAL_LENGTH: u8 = 24;

/// What each member sends and gets, as it is read from what is written so far.
pub(super) type Base = Vec<(Impairment, Impairment)>;

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
    decimal(shape.probability().parts_per_billion().into(), 9)
}

/// Writes a link with everything that is on it.
pub(super) fn write(text: &mut String, link: &Link, names: &Names<'_>, losses: &mut Losses) {
    let name = &link.client_id;
    let of = format!("link {name}");
    let mut base = match (link.kind, link.members.as_slice()) {
        (LinkKind::PointToPoint, [a, b]) => cable(text, link, a, b, names, losses),
        _ => lan(text, link, names, losses),
    };
    for member in &link.members {
        if let Some(name) =
            names.half_name(&member.interface).filter(|_| names.is_first(link, &member.interface))
        {
            let _ = writeln!(text, "set {name} {}", names.half(link, &member.interface));
        }
    }
    queues(text, link, &mut base, names);
    rest(text, link, &base, names, losses);
    interfaces(text, link, names, losses);
    let it = names.link(name);
    if let Some(capture) = &link.capture {
        let filter = capture.filter.as_ref().filter(|filter| !filter.trim().is_empty());
        let filter = filter.map_or_else(String::new, |filter| format!(" {}", quoted(filter)));
        let _ = writeln!(text, "{it} trace packet{filter}\n{it} trace_snaplen {}", capture.snap_length);
    }
    let mut attribute = |key: &str, value: &str| {
        let _ = writeln!(text, "tb-add-network-attribute {it} {} {}", quoted(key), quoted(value));
    };
    for Attribute { key, value } in attributes(&link.attributes, &of, losses) {
        attribute(key, value);
    }
    if let Some(mtu) = link.mtu {
        attribute("testyard:mtu", &mtu.to_string());
    }
    if let Some(seed) = link.seed {
        attribute("testyard:seed", &seed.to_string());
    }
    if link.down {
        attribute("testyard:down", "true");
    }
    if link.mtu.is_some() || link.seed.is_some() || link.down {
        losses
            .add(format!("Emulab's NS has neither mtu, seed nor state: those of {of} are for Testyard only"));
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

fn cable(
    text: &mut String,
    link: &Link,
    a: &Member,
    b: &Member,
    names: &Names<'_>,
    losses: &mut Losses,
) -> Base {
    let (there, back) = (between(a, b).0, between(b, a).0);
    check(&there, link, losses);
    check(&back, link, losses);
    let red = link.members.iter().find_map(|member| member.to_link.queue?.red);
    let (kind, red) = match red {
        None => ("DropTail", None),
        Some(red) if red.gentle => ("GRED", Some(Red { gentle: true, ..Red::NS })),
        Some(_) => ("RED", Some(Red::NS)),
    };
    let queue = red.map(|red| Queue { red: Some(red), ..QUEUE });
    let (from, to) = (names.node_of(&a.interface), names.node_of(&b.interface));
    let (variable, ns, it) = (names.link_name(&link.client_id), names.simulator, names.link(&link.client_id));
    let (bandwidth, latency) = (rate(there.rate), delay(there.delay));
    let _ = writeln!(text, "set {variable} [${ns} duplex-link {from} {to} {bandwidth} {latency} {kind}]");
    if there == back {
        if !there.probability().is_never() {
            let _ = writeln!(text, "tb-set-link-loss {it} {}", loss(&there));
        }
    } else {
        for (sender, shape) in [(from, there), (to, back)] {
            let (latency, bandwidth) = (delay(shape.delay), rate(shape.rate));
            let _ = writeln!(
                text,
                "tb-set-link-simplex-params {it} {sender} {latency} {bandwidth} {}",
                loss(&shape)
            );
        }
    }
    [there, back].map(|shape| (Impairment { queue, ..shape.impairment() }, Impairment::default())).to_vec()
}

fn lan(text: &mut String, link: &Link, names: &Names<'_>, losses: &mut Losses) -> Base {
    let nodes: Vec<String> = link.members.iter().map(|member| names.node_of(&member.interface)).collect();
    let shapes: Vec<[Shape; 2]> = link
        .members
        .iter()
        .map(|member| [Shape::of(&member.to_link).0, Shape::of(&member.from_link).0])
        .collect();
    // All at once, if that gives every member what it has.
    let first = shapes[0];
    let whole = first[0].then(&first[1]);
    let shared = halves(&whole);
    let is_even = shapes.iter().all(|shape| [shape[0].impairment(), shape[1].impairment()] == shared);
    let whole = if is_even { whole } else { Shape::default() };
    check(&whole, link, losses);
    let (variable, ns, it) = (names.link_name(&link.client_id), names.simulator, names.link(&link.client_id));
    let (bandwidth, latency) = (rate(whole.rate), delay(whole.delay));
    let _ = writeln!(text, "set {variable} [${ns} make-lan \"{}\" {bandwidth} {latency}]", nodes.join(" "));
    if is_even {
        if !whole.probability().is_never() {
            let _ = writeln!(text, "tb-set-lan-loss {it} {}", loss(&whole));
        }
        return vec![(shared[0], shared[1]); nodes.len()];
    }
    let mut base = Vec::with_capacity(nodes.len());
    for ((member, node), [to, from]) in link.members.iter().zip(&nodes).zip(&shapes) {
        if to.is_clear() && from.is_clear() || !names.is_first(link, &member.interface) {
            base.push((Impairment::default(), Impairment::default()));
            continue;
        }
        check(to, link, losses);
        check(from, link, losses);
        let words = |shape: &Shape| format!("{} {} {}", delay(shape.delay), rate(shape.rate), loss(shape));
        let _ = writeln!(text, "tb-set-lan-simplex-params {it} {node} {} {}", words(to), words(from));
        base.push((to.impairment(), from.impairment()));
    }
    base
}

/// What `make-lan` and `tb-set-lan-loss` make of a LAN's delay, rate and loss: what a member sends, and gets.
fn halves(whole: &Shape) -> [Impairment; 2] {
    let down = whole.delay.as_nanos() / 2;
    let up = whole.delay.as_nanos() - down;
    let loss = crate::ns::half(whole.impairment().loss);
    [up, down].map(|delay| Impairment {
        rate: whole.rate,
        delay: Span::from_nanos(delay),
        loss: loss.filter(|loss| loss.share() > 0.0),
        ..Impairment::default()
    })
}

/// What no command of NS's says of what members send and get.
fn rest(text: &mut String, link: &Link, base: &Base, names: &Names<'_>, losses: &mut Losses) {
    let it = names.link(&link.client_id);
    for (member, (to, from)) in link.members.iter().zip(base) {
        let (there, back) = (difference(to, &member.to_link), difference(from, &member.from_link));
        if there.is_empty() && back.is_empty() {
            continue;
        }
        if !names.is_first(link, &member.interface) {
            losses.add(format!(
                "in NS only the first interface of a node that is on LAN {} twice can be named",
                link.client_id
            ));
            continue;
        }
        losses.add(format!(
            "Emulab's NS knows rate, delay and random loss: what else link {} does is for Testyard only",
            link.client_id
        ));
        let node = names.node_of(&member.interface);
        for (key, settings) in [("testyard:to-link", there), ("testyard:from-link", back)] {
            if settings.is_empty() {
                continue;
            }
            let words: Vec<String> = settings.iter().map(ToString::to_string).collect();
            let _ =
                writeln!(text, "tb-add-interface-attribute {node} {it} {key} {}", quoted(&words.join("; ")));
        }
    }
}

/// Addresses, costs and attributes of the interfaces on a link.
fn interfaces(text: &mut String, link: &Link, names: &Names<'_>, losses: &mut Losses) {
    let it = names.link(&link.client_id);
    let command = if link.kind == LinkKind::Lan { "tb-set-ip-lan" } else { "tb-set-ip-link" };
    let known: Vec<&Interface> =
        link.members.iter().filter_map(|member| names.interface(&member.interface)).collect();
    let asked = link.prefix_length.filter(|length| PREFIX_LENGTHS.contains(length));
    let length = mask(&known, asked);
    for interface in &known {
        let (node, id) = (names.node_of(&interface.client_id), &interface.client_id);
        if !names.is_first(link, id) {
            let is_bare =
                interface.addresses.is_empty() && interface.mac.is_none() && interface.attributes.is_empty();
            losses.lost(!is_bare, "the addresses and attributes", &format!("interface {id}"), "NS");
            continue;
        }
        let mut attribute = |key: &str, value: &str| {
            let _ =
                writeln!(text, "tb-add-interface-attribute {node} {it} {} {}", quoted(key), quoted(value));
        };
        for Attribute { key, value } in attributes(&interface.attributes, &format!("interface {id}"), losses)
        {
            attribute(key, value);
        }
        if let Some(mac) = interface.mac {
            attribute("testyard:mac", &mac.to_string());
            losses.add(format!("Emulab's NS has no Ethernet addresses: that of {id} is for Testyard only"));
        }
        for (index, address) in interface.addresses.iter().enumerate() {
            match address.address {
                IpAddr::V4(ip) if index == 0 && is_plain(ip, address.prefix_length, length) => {
                    let _ = writeln!(text, "{command} {node} {it} {ip}");
                }
                ip => {
                    let mask = address.prefix_length.map(|length| format!("/{length}")).unwrap_or_default();
                    let _ =
                        writeln!(text, "tb-add-interface-attribute {node} {it} testyard:address {ip}{mask}");
                    losses.add(format!(
                        "Emulab's NS has one IPv4 address of an interface: others of {id} are for Testyard only"
                    ));
                }
            }
        }
    }
    let is_set = |interface: &&&Interface| {
        let first = interface.addresses.first();
        names.is_first(link, &interface.client_id)
            && first.is_some_and(
                |first| matches!(first.address, IpAddr::V4(ip) if is_plain(ip, first.prefix_length, length)),
            )
    };
    let has_address = known.iter().any(|interface| is_set(&interface));
    losses.lost(
        link.prefix_length.is_some() && (has_address || asked.is_none()),
        "how large the network is beside its addresses",
        &format!("link {}", link.client_id),
        "NS",
    );
    let length = if has_address { length } else { asked.unwrap_or(USUAL_LENGTH) };
    if length != USUAL_LENGTH || asked.is_some() && !has_address {
        let mask = u32::MAX << (32 - u32::from(length));
        let _ = writeln!(text, "tb-set-netmask {it} {}", Ipv4Addr::from_bits(mask));
        if length < 16 {
            losses.add(format!("Emulab's masks begin with 255.255: that of {} does not", link.client_id));
        }
    }
    costs(text, link, &known, names, losses);
}

/// The mask that the link gets: that of its first address that has one NS can say.
fn mask(interfaces: &[&Interface], asked: Option<u8>) -> u8 {
    let firsts = interfaces.iter().filter_map(|interface| interface.addresses.first());
    let lengths = firsts.filter(|first| first.address.is_ipv4()).filter_map(|first| first.prefix_length);
    lengths.into_iter().find(|length| PREFIX_LENGTHS.contains(length)).or(asked).unwrap_or(USUAL_LENGTH)
}

/// Whether an address is one that NS's own command can set, on a link with this mask.
fn is_plain(ip: Ipv4Addr, length: Option<u8>, mask: u8) -> bool {
    let host = ip.to_bits() & (u32::MAX >> mask);
    length.is_none_or(|length| length == mask) && host != 0 && host != u32::MAX >> mask
}

fn costs(text: &mut String, link: &Link, known: &[&Interface], names: &Names<'_>, losses: &mut Losses) {
    let fine = |cost: u32| (1..=65_535).contains(&cost);
    let all: HashSet<Option<u32>> = known.iter().map(|interface| interface.cost).collect();
    if let [Some(cost)] = all.iter().collect::<Vec<_>>().as_slice()
        && fine(*cost)
    {
        let _ = writeln!(text, "{} cost {cost}", names.link(&link.client_id));
        return;
    }
    for interface in known {
        let Some(cost) = interface.cost else { continue };
        if fine(cost) && names.is_first(link, &interface.client_id) {
            let _ = writeln!(text, "{} cost {cost}", names.half(link, &interface.client_id));
        } else {
            losses.add(format!("NS has costs from 1 to 65535: that of {} is left out", interface.client_id));
        }
    }
}
