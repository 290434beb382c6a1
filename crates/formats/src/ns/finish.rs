//! From what a file has made to a topology: names become final, and what needs the whole is checked.

use std::collections::HashSet;
use std::net::IpAddr;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::impairment::{Impairment, Loss};
use testyard_model::link::{Capture, Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::quantity::Probability;
use testyard_model::route::{Destination, NextHop, Route};
use testyard_model::topology::{Interface, InterfaceAddress, Node, Storage, Topology};

use super::call::{Complaint, Taken, short};
use super::drafts::{LinkDraft, To, Via};
use super::events;
use super::nodes::unnamed;
use super::queue::QueueDraft;
use super::reader::Reader;
use crate::boxes::{BoxImage, Found};
use crate::import::Treatment;

/// The longest name, which leaves room for an interface's number behind it.
const LONGEST: usize = 100;

/// Final names, in the order of the reader's lists.
pub(super) struct Names {
    pub(super) nodes: Vec<ClientId>,
    pub(super) links: Vec<ClientId>,
    /// Of each member of each link.
    pub(super) interfaces: Vec<Vec<ClientId>>,
    pub(super) programs: Vec<ClientId>,
}

/// What the file asks for; it may be used only if the reader has no error to tell.
pub(super) fn finish(reader: &mut Reader<'_>) -> Topology {
    if !reader.ran {
        let hint = if reader.simulator {
            "end the file with $ns run"
        } else {
            "begin with set ns [new Simulator], end with $ns run"
        };
        let at = reader.last.unwrap_or(Position { line: 1, column: 1 });
        reader.tell(Severity::Error, Some(at), "the file never runs its simulator", Some(hint.to_owned()));
    }
    let names = names(reader);
    let schedule = events::schedule(reader, &names);
    check_links(reader);
    for (link, changed) in std::mem::take(&mut reader.lan_events) {
        settle(&mut reader.links[link], changed);
    }
    let nodes = nodes(reader, &names);
    let links = links(reader, &names);
    Topology {
        nodes,
        links,
        routing: reader.routing,
        schedule,
        environment: std::mem::take(&mut reader.environment),
        attributes: Vec::new(),
    }
}

fn names(reader: &mut Reader<'_>) -> Names {
    let mut complaints: Vec<(Option<Position>, Complaint)> = Vec::new();
    let mut strict = |what: &str, name: &str, position: Option<Position>| -> ClientId {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut complain = |error: Complaint| complaints.push((position, error));
        if name == "ops" && what == "node" {
            complain(
                Complaint::error("a node cannot be called ops, which is the testbed's own name")
                    .suggest("give its variable another name"),
            );
        } else if name.is_empty() || !name.chars().all(fine) {
            let plain: String = name.chars().map(|c| if fine(c) { c } else { '-' }).collect();
            complain(Complaint::error(format!("{:?} cannot be the name of a {what}", short(name))).suggest(
                format!(
                    "names have letters, digits and hyphens: call its variable {plain:?}",
                    plain = short(plain.trim_matches('-'))
                ),
            ));
        } else {
            match name.parse() {
                Ok(id) if name.len() <= LONGEST => return id,
                _ => complain(
                    Complaint::error(format!("the name {:?} is too long", short(name)))
                        .suggest(format!("at most {LONGEST} characters")),
                ),
            }
        }
        unnamed()
    };
    let nodes: Vec<ClientId> =
        reader.nodes.iter().map(|node| strict("node", &node.name, node.position)).collect();
    let links = reader
        .links
        .iter()
        .map(|link| {
            strict(if link.kind == LinkKind::Lan { "LAN" } else { "link" }, &link.name, link.position)
        })
        .collect();
    let programs = reader
        .programs
        .iter()
        .map(|program| {
            program.name.parse().unwrap_or_else(|error| {
                complaints.push((program.position, Complaint::error(format!("{error}"))));
                unnamed()
            })
        })
        .collect();
    for (position, complaint) in complaints {
        reader.complain(position, complaint);
    }
    let interface =
        |node: usize, port: usize| format!("{}:{port}", nodes[node]).parse().unwrap_or_else(|_| unnamed());
    let interfaces = reader
        .links
        .iter()
        .map(|link| link.members.iter().map(|member| interface(member.node, member.port)).collect())
        .collect();
    Names { nodes, links, interfaces, programs }
}

fn check_links(reader: &mut Reader<'_>) {
    let mut errors: Vec<(Option<Position>, Complaint)> = Vec::new();
    for link in &mut reader.links {
        let distinct: HashSet<usize> = link.members.iter().map(|member| member.node).collect();
        if distinct.len() < 2 {
            let count = ["no node", "one node"][distinct.len()];
            errors.push((
                link.position,
                Complaint::error(format!("the LAN {} has {count}", short(&link.name)))
                    .suggest("a LAN has two nodes or more"),
            ));
        }
        for member in &mut link.members {
            member.to.queue = member.queue.as_ref().map(QueueDraft::queue);
            if link.unshaped {
                member.to.rate = None;
                member.from.rate = None;
            }
            for way in [&member.to, &member.from] {
                if let Err(error) = way.check() {
                    errors.push((link.position, Complaint::error(format!("{}: {error}", link.name))));
                }
            }
            if let Some(IpAddr::V4(address)) = member.address {
                let host = address.to_bits() & (u32::MAX >> link.prefix);
                if host == 0 || host == u32::MAX >> link.prefix {
                    let kind = if host == 0 { "network" } else { "broadcast" };
                    errors.push((
                        member.address_position,
                        Complaint::error(format!("{address} is the {kind} address of its network"))
                            .suggest("choose another last number"),
                    ));
                }
            }
        }
        if let (Some(capture), Some(length)) = (&mut link.capture, link.snap_length) {
            capture.snap_length = length;
        }
    }
    for (position, error) in errors {
        reader.complain(position, error);
    }
}

/// A LAN that events change has all that they change where they change it: in what its nodes send. What a frame meets
/// between two nodes stays the same.
fn settle(link: &mut LinkDraft, [delay, loss, rate]: [bool; 3]) {
    let Some(first) = link.members.first().map(|member| member.from) else { return };
    let same = |value: &dyn Fn(&Impairment) -> bool| link.members.iter().all(|member| value(&member.from));
    let delay = delay && same(&|way| way.delay == first.delay);
    let loss = loss && same(&|way| way.loss == first.loss);
    for member in &mut link.members {
        if delay {
            member.to.delay = member.to.delay.plus(std::mem::take(&mut member.from.delay));
        }
        if loss {
            member.to.loss = both(member.to.loss, member.from.loss.take());
        }
        if rate {
            member.from.rate = None;
        }
    }
}

/// The loss of one way after another.
fn both(one: Option<Loss>, other: Option<Loss>) -> Option<Loss> {
    match (one, other) {
        (Some(Loss::Random(one)), Some(Loss::Random(other))) => {
            Probability::from_ratio(1.0 - (1.0 - one.ratio()) * (1.0 - other.ratio())).map(Loss::Random)
        }
        (one, other) => one.or(other),
    }
}

fn nodes(reader: &mut Reader<'_>, names: &Names) -> Vec<Node> {
    (0..reader.nodes.len()).for_each(|node| box_image(reader, node));
    stores(reader);
    programs(reader, names);
    let nodes: Vec<Node> = reader
        .nodes
        .iter()
        .zip(&names.nodes)
        .map(|(draft, name)| {
            let mut node = draft.node.clone();
            node.client_id = name.clone();
            node.on_failure = draft.on_failure.or(reader.on_failure).unwrap_or_default();
            node.services.installs.splice(0..0, reader.installs.iter().cloned());
            let commands = draft.packages.iter().chain(&draft.executes).chain(&draft.start);
            node.services.executes.extend(commands.cloned());
            node.interfaces = draft.ports.iter().map(|port| interface(reader, names, *port)).collect();
            node.routes = draft
                .routes
                .iter()
                .map(|route| Route {
                    to: match route.to {
                        To::Node(to) => Destination::Node(names.nodes[to].clone()),
                        To::Interface { link, member } => {
                            Destination::Interface(names.interfaces[link][member].clone())
                        }
                        To::Link(link) => Destination::Link(names.links[link].clone()),
                        To::Network(address, prefix_length) => {
                            Destination::Network { address, prefix_length }
                        }
                    },
                    via: match route.via {
                        Via::Node(hop) => NextHop::Node(names.nodes[hop].clone()),
                        Via::Address(address) => NextHop::Address(address),
                    },
                })
                .collect();
            node
        })
        .collect();
    nodes
}

/// The image of a node's box, and what became of the statements about it.
fn box_image(reader: &mut Reader<'_>, node: usize) {
    const COMMAND: &str = "tb-add-node-attribute";
    let draft = &mut reader.nodes[node];
    let statements = std::mem::take(&mut draft.of_box);
    let Some(asked) = BoxImage::of(&draft.node.attributes) else { return };
    let odd_kind = asked.odd_kind().map(|kind| format!("{} is taken for vagrant", short(kind)));
    let chosen = draft.node.image.clone();
    let (image, verdict) = match asked.find(reader.site) {
        Found::Image(image) if chosen.as_ref().is_none_or(|chosen| chosen.name() == Some(&image)) => {
            (Some(image.into()), Taken::AsListed)
        }
        _ if chosen.is_some() => {
            (chosen, Taken::Approximated("the image is the one that is named beside it".to_owned()))
        }
        Found::Image(image) => (Some(image.into()), Taken::AsListed),
        Found::Default { message, suggestion } => {
            let hint = suggestion.map(|hint| format!(" ({hint})")).unwrap_or_default();
            (None, Taken::Ignored(format!("{message}{hint}")))
        }
    };
    draft.node.image = image;
    for (number, (position, key)) in statements.into_iter().enumerate() {
        match (&verdict, &odd_kind) {
            (Taken::AsListed, Some(note)) if key == "containers:image_type" => {
                reader.conclude(position, COMMAND.to_owned(), Taken::Approximated(note.clone()));
            }
            // It is told once of a node.
            (Taken::Ignored(note), _) if number > 0 => {
                reader.file_quietly(position, COMMAND.to_owned(), Treatment::Ignored, Some(note.clone()));
            }
            _ => reader.conclude(position, COMMAND.to_owned(), verdict.clone()),
        }
    }
}

fn interface(reader: &Reader<'_>, names: &Names, (link, member): (usize, usize)) -> Interface {
    let draft = &reader.links[link];
    let prefix = draft.prefix;
    let port = &draft.members[member];
    let addresses = port
        .address
        .map(|address| InterfaceAddress { address, prefix_length: address.is_ipv4().then_some(prefix) });
    Interface {
        client_id: names.interfaces[link][member].clone(),
        addresses: addresses.into_iter().chain(port.more_addresses.iter().copied()).collect(),
        mac: port.mac,
        cost: port.cost,
        attributes: port.attributes.clone(),
    }
}

fn stores(reader: &mut Reader<'_>) {
    for store in std::mem::take(&mut reader.stores) {
        match (store.node, store.mount_point) {
            (Some(node), Some(mount_point)) => {
                reader.nodes[node].node.storage.push(Storage { mount_point, size: store.size });
            }
            (None, _) => {
                reader.warn(store.position, "the blockstore is ignored: it has no node, say set-node too")
            }
            (_, None) => {
                reader.warn(
                    store.position,
                    "the blockstore is ignored: it has no place, say set-mount-point too",
                );
            }
        }
    }
}

fn programs(reader: &mut Reader<'_>, names: &Names) {
    for (draft, name) in std::mem::take(&mut reader.programs).into_iter().zip(&names.programs) {
        if draft.program.command.is_empty() {
            reader.warn(draft.position, format!("the program {} has no command", short(&draft.name)));
        }
        match draft.node {
            Some(node) => {
                let program = testyard_model::service::Program { client_id: name.clone(), ..draft.program };
                reader.nodes[node].node.programs.push(program);
            }
            None => reader.tell(
                Severity::Error,
                draft.position,
                format!("the program {} has no node", short(&draft.name)),
                Some("set it: $program set node $node".to_owned()),
            ),
        }
    }
}

fn links(reader: &mut Reader<'_>, names: &Names) -> Vec<Link> {
    let drafts = std::mem::take(&mut reader.links);
    drafts
        .into_iter()
        .zip(&names.links)
        .zip(&names.interfaces)
        .map(|((draft, name), interfaces)| Link {
            client_id: name.clone(),
            kind: draft.kind,
            members: draft
                .members
                .iter()
                .zip(interfaces)
                .map(|(member, interface)| Member {
                    interface: interface.clone(),
                    to_link: member.to,
                    from_link: member.from,
                })
                .collect(),
            mtu: draft.mtu,
            prefix_length: draft.prefix_length(),
            down: draft.down,
            seed: draft.seed,
            capture: draft
                .capture
                .map(|capture| Capture { snap_length: capture.snap_length, filter: capture.filter }),
            attributes: draft.attributes,
        })
        .collect()
}
