//! Statements that make links and LANs, and that say what they do to packets.

use testyard_model::impairment::{Impairment, Loss, Queue, QueueLimit, Red};
use testyard_model::link::LinkKind;
use testyard_model::quantity::{Rate, Span};

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{LinkDraft, MemberDraft, Object};
use super::queue::QueueDraft;
use super::reader::Reader;
use super::units;
use super::words::words;

type Outcome = Result<Taken, Complaint>;

/// NS's queue, where something of it is set.
const QUEUE: Queue = Queue { limit: QueueLimit::Packets(50), red: None };

pub(super) fn duplex_link(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([one, other, rate, delay], rest) = call.at_least::<4>()?;
    let (one, other) = (reader.node(one)?, reader.node(other)?);
    if one == other {
        return Err(Complaint::error(format!("{} cannot be linked to itself", reader.nodes[one].name)));
    }
    let (rate, delay) = (units::rate(rate)?, checked_delay(reader, call, delay)?);
    let (queue, taken) = match rest.first().map_or("DropTail", String::as_str) {
        "DropTail" => (None, Taken::AsListed),
        "RED" => (Some(Queue { red: Some(Red::NS), ..QUEUE }), Taken::AsListed),
        "GRED" => (Some(Queue { red: Some(Red { gentle: true, ..Red::NS }), ..QUEUE }), Taken::AsListed),
        kind => {
            let note = format!(
                "{:?} is no kind of queue, DropTail is taken: there are DropTail, RED and GRED",
                short(kind)
            );
            (None, Taken::Doubtful(note))
        }
    };
    let to = Impairment { rate, delay, queue, ..Impairment::default() };
    add(reader, call, LinkKind::PointToPoint, &[one, other], to, Impairment::default());
    Ok(taken)
}

pub(super) fn make_lan(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([list, rate, delay], _) = call.at_least::<3>()?;
    let members = members(reader, call, list)?;
    let (rate, delay) = (units::rate(rate)?, checked_delay(reader, call, delay)?);
    let (up, down) = halves(delay);
    let half = |delay| Impairment { rate, delay, ..Impairment::default() };
    add(reader, call, LinkKind::Lan, &members, half(up), half(down));
    Ok(Taken::AsListed)
}

/// A delay in two parts, which make up the whole to the nanosecond.
fn halves(delay: Span) -> (Span, Span) {
    let half = delay.as_nanos() / 2;
    (Span::from_nanos(delay.as_nanos() - half), Span::from_nanos(half))
}

/// A delay; seconds without a unit are taken as they are, but are rarely meant.
fn checked_delay(reader: &mut Reader<'_>, call: &Call<'_>, text: &str) -> Result<Span, Complaint> {
    let delay = units::delay(text)?;
    if delay >= Span::from_millis(1000) && text.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        reader.warn(call.position, format!("a delay of {text} is {delay}: write {text}ms for milliseconds"));
    }
    Ok(delay)
}

fn members(reader: &mut Reader<'_>, call: &Call<'_>, list: &str) -> Result<Vec<usize>, Complaint> {
    let mut members = Vec::new();
    for name in words(list) {
        let node = reader.node(&name)?;
        if members.contains(&node) {
            reader.warn(
                call.position,
                format!(
                    "{} is on this LAN twice: what is said of it there is said of its first port",
                    short(&name)
                ),
            );
        }
        members.push(node);
    }
    Ok(members)
}

fn add(
    reader: &mut Reader<'_>,
    call: &Call<'_>,
    kind: LinkKind,
    nodes: &[usize],
    to: Impairment,
    from: Impairment,
) {
    let link = reader.links.len();
    let mut members = Vec::new();
    for (member, &node) in nodes.iter().enumerate() {
        let ports = &mut reader.nodes[node].ports;
        members.push(MemberDraft {
            node,
            port: ports.len(),
            to,
            from,
            queue: to.queue.map(QueueDraft::of),
            address: None,
            address_position: None,
            more_addresses: Vec::new(),
            mac: None,
            cost: None,
            attributes: Vec::new(),
        });
        ports.push((link, member));
    }
    reader.made(call, Object::Link(link));
    reader.links.push(LinkDraft {
        name: call.made.unwrap_or_default().to_owned(),
        position: call.position,
        kind,
        members,
        prefix: 24,
        is_masked: false,
        unshaped: false,
        mtu: None,
        seed: None,
        down: false,
        capture: None,
        snap_length: None,
        attributes: Vec::new(),
    });
}

/// `$ns make-deter-lan "N1 N2" [bw BW] [delay KIND mean D [std S]] [loss KIND threshold P rate R]`.
pub(super) fn make_deter_lan(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([list], rest) = call.at_least::<1>()?;
    let members = members(reader, call, list)?;
    let (to, taken) = super::deter_lan::impairment(rest)?;
    add(reader, call, LinkKind::Lan, &members, to, Impairment::default());
    Ok(taken)
}

pub(super) fn link_loss(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let (link, loss) = match call.arguments {
        [one, other, loss] => {
            let (one, other) = (reader.node(one)?, reader.node(other)?);
            (reader.between(one, other)?, units::loss(loss)?)
        }
        _ => {
            let [link, loss] = call.exactly()?;
            (reader.link(link)?, units::loss(loss)?)
        }
    };
    let lan = reader.links[link].kind == LinkKind::Lan;
    for member in &mut reader.links[link].members {
        if lan {
            member.to.loss = units::half(loss);
            member.from.loss = units::half(loss);
        } else {
            member.to.loss = loss;
        }
    }
    Ok(Taken::AsListed)
}

pub(super) fn simplex(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [link, source, delay, rate, loss] = call.exactly()?;
    let (link, source) = (reader.link(link)?, reader.node(source)?);
    if reader.links[link].kind == LinkKind::Lan {
        return Err(Complaint::error(format!("{} is a LAN", reader.links[link].name))
            .suggest("use tb-set-lan-simplex-params"));
    }
    let member = reader.member(source, link)?;
    let change = Way {
        delay: Some(units::delay(delay)?),
        rate: Some(units::rate(rate)?),
        loss: Some(units::loss(loss)?),
    };
    change.make(&mut reader.links[link].members[member].to);
    Ok(Taken::AsListed)
}

pub(super) fn lan_simplex(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [lan, node, to_delay, to_rate, to_loss, from_delay, from_rate, from_loss] = call.exactly()?;
    let way = |delay, rate, loss| -> Result<Way, Complaint> {
        Ok(Way {
            delay: Some(units::delay(delay)?),
            rate: Some(units::rate(rate)?),
            loss: Some(units::loss(loss)?),
        })
    };
    let (to, from) = (way(to_delay, to_rate, to_loss)?, way(from_delay, from_rate, from_loss)?);
    member_of_lan(reader, node, lan, to, from)
}

/// What is said of one way; what is not said stays.
#[derive(Clone, Copy, Default)]
struct Way {
    delay: Option<Span>,
    rate: Option<Option<Rate>>,
    loss: Option<Option<Loss>>,
}

impl Way {
    fn make(self, impairment: &mut Impairment) {
        impairment.delay = self.delay.unwrap_or(impairment.delay);
        impairment.rate = self.rate.unwrap_or(impairment.rate);
        impairment.loss = self.loss.unwrap_or(impairment.loss);
    }
}

fn member_of_lan(reader: &mut Reader<'_>, node: &str, lan: &str, to: Way, from: Way) -> Outcome {
    let (node, link) = (reader.node(node)?, reader.link(lan)?);
    if reader.links[link].kind != LinkKind::Lan {
        return Err(Complaint::error(format!("{} is a link, no LAN", reader.links[link].name))
            .suggest("use tb-set-link-simplex-params"));
    }
    let member = reader.member(node, link)?;
    let member = &mut reader.links[link].members[member];
    to.make(&mut member.to);
    from.make(&mut member.from);
    Ok(Taken::AsListed)
}

pub(super) fn node_lan_delay(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, lan, delay] = call.exactly()?;
    let way = Way { delay: Some(units::delay(delay)?), ..Way::default() };
    member_of_lan(reader, node, lan, way, way)
}

pub(super) fn node_lan_bandwidth(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, lan, rate] = call.exactly()?;
    let way = Way { rate: Some(units::rate(rate)?), ..Way::default() };
    member_of_lan(reader, node, lan, way, way)
}

pub(super) fn node_lan_loss(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, lan, loss] = call.exactly()?;
    let way = Way { loss: Some(units::loss(loss)?), ..Way::default() };
    member_of_lan(reader, node, lan, way, way)
}

pub(super) fn node_lan_params(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [node, lan, delay, rate, loss] = call.exactly()?;
    let way = Way {
        delay: Some(units::delay(delay)?),
        rate: Some(units::rate(rate)?),
        loss: Some(units::loss(loss)?),
    };
    member_of_lan(reader, node, lan, way, way)
}

pub(super) fn no_shaping(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [link, on] = call.exactly()?;
    let link = reader.link(link)?;
    reader.links[link].unshaped = match on {
        "0" => false,
        "1" => true,
        _ => return Err(Complaint::error(format!("{:?} is neither 0 nor 1", short(on)))),
    };
    Ok(Taken::AsListed)
}

/// `$link trace [header|packet|monitor] [FILTER]`.
pub(super) fn trace(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let link = call.link()?;
    let (kind, filter) = match call.arguments {
        [] => ("header", None),
        [kind] => (kind.as_str(), None),
        [kind, filter @ ..] => {
            (kind.as_str(), Some(filter.join(" ")).filter(|filter| !filter.trim().is_empty()))
        }
    };
    let (snap_length, taken) = match kind {
        "header" => (64, Taken::AsListed),
        "packet" => (65_535, Taken::AsListed),
        "monitor" => (64, Taken::Approximated("headers are captured instead of being counted".to_owned())),
        _ => {
            return Err(Complaint::error(format!("{:?} is no kind of trace", short(kind)))
                .suggest("it can be header, packet or monitor"));
        }
    };
    reader.links[link].capture = Some(super::drafts::CaptureDraft { snap_length, filter });
    Ok(taken)
}

pub(super) fn trace_snap_length(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let link = call.link()?;
    let [length] = call.exactly()?;
    let length: u32 =
        length.parse().ok().filter(|length| (1..=262_144).contains(length)).ok_or_else(|| {
            Complaint::error(format!("{:?} is no length of a packet", short(length)))
                .suggest("write it in bytes, like 128")
        })?;
    reader.links[link].snap_length = Some(length);
    Ok(Taken::AsListed)
}
