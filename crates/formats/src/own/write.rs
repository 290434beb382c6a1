//! Writing: the shortest form that reads again as the same.

use std::collections::{HashMap, HashSet};

use testyard_model::impairment::Impairment;
use testyard_model::link::{Attribute, Capture, Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::quantity::Size;
use testyard_model::route::{Destination, NextHop, Route, Routing};
use testyard_model::schedule::{Action, Event};
use testyard_model::service::{Execute, Program, Shell};
use testyard_model::setting::Setting;
use testyard_model::topology::{Interface, InterfaceAddress, Node, OnFailure, Topology};

use super::endpoint::is_default_name;
use super::impairment::{difference, entry, gathered, spread};
use super::reference::{Names, candidates};
use super::{ROUTINGS, VERSION};
use crate::tree::{Entry, Kind, START, Value};

/// A map while it is filled.
#[derive(Default)]
struct Map(Vec<Entry>);

impl Map {
    fn put(&mut self, key: &str, value: Value) {
        self.0.push(Entry { key: key.to_owned(), at: START, value });
    }

    fn text(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(key, Value::text(value));
        }
    }

    fn number(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(key, Value::number(value));
        }
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.put(key, Value::made(Kind::Bool(true)));
        }
    }

    fn list(&mut self, key: &str, items: Vec<Value>) {
        if !items.is_empty() {
            self.put(key, Value::made(Kind::List(items)));
        }
    }

    fn map(&mut self, key: &str, map: Self) {
        if !map.0.is_empty() {
            self.put(key, map.done());
        }
    }

    fn done(self) -> Value {
        Value::made(Kind::Map(self.0))
    }
}

pub(super) fn topology(topology: &Topology) -> Value {
    let names = names(topology);
    let made = made_by_links(topology, &names);
    let mut map = Map::default();
    map.put("testyard", Value::number(VERSION));
    if topology.routing != Routing::Static {
        map.text(
            "routing",
            ROUTINGS.iter().find(|(_, kind)| *kind == topology.routing).map(|(word, _)| word),
        );
    }
    pairs(&mut map, "environment", topology.environment.iter().map(|v| (&v.name, &v.value)).collect());
    attributes(&mut map, &topology.attributes);
    let mut nodes = Map::default();
    for node in &topology.nodes {
        nodes.put(node.client_id.as_str(), self::node(node, &names, &made));
    }
    map.put("nodes", nodes.done());
    map.list("links", topology.links.iter().map(|link| self::link(link, topology, &names, &made)).collect());
    let links: HashMap<&ClientId, &Link> =
        topology.links.iter().map(|link| (&link.client_id, link)).collect();
    map.list("schedule", topology.schedule.iter().map(|e| event(e, topology, &names, &links)).collect());
    map.done()
}

fn names(topology: &Topology) -> Names {
    let mut names = Names::default();
    for (number, node) in topology.nodes.iter().enumerate() {
        names.nodes.insert(node.client_id.clone(), (number, START));
        for interface in &node.interfaces {
            names.interfaces.insert(interface.client_id.clone(), (number, START));
        }
    }
    for (number, link) in topology.links.iter().enumerate() {
        names.links.insert(link.client_id.clone(), (number, START));
    }
    names
}

/// The interfaces that need not be listed by their nodes: read from the end, a node's interfaces are in the order of
/// the links that name them.
fn made_by_links<'a>(topology: &'a Topology, names: &Names) -> HashSet<&'a ClientId> {
    let mut order: Vec<Vec<&ClientId>> = vec![Vec::new(); topology.nodes.len()];
    for member in topology.links.iter().flat_map(|link| &link.members) {
        if let Some((node, _)) = names.interfaces.get(&member.interface) {
            order[*node].push(&member.interface);
        }
    }
    let mut made = HashSet::new();
    for (node, order) in topology.nodes.iter().zip(order) {
        let listed = node.interfaces.iter().rev().map(|interface| &interface.client_id);
        let same = listed.zip(order.iter().rev()).take_while(|(listed, by_link)| listed == *by_link);
        made.extend(same.map(|(listed, _)| listed));
    }
    made
}

fn pairs(map: &mut Map, key: &str, pairs: Vec<(&String, &String)>) {
    let mut seen = HashSet::new();
    let unique = pairs.iter().all(|(key, _)| seen.insert(*key));
    let one = |(key, value): &(&String, &String)| Entry {
        key: (*key).clone(),
        at: START,
        value: Value::text(value),
    };
    if unique {
        map.map(key, Map(pairs.iter().map(one).collect()));
    } else {
        map.list(key, pairs.iter().map(|pair| Map(vec![one(pair)]).done()).collect());
    }
}

fn attributes(map: &mut Map, attributes: &[Attribute]) {
    pairs(map, "attributes", attributes.iter().map(|a| (&a.key, &a.value)).collect());
}

fn node(node: &Node, names: &Names, made: &HashSet<&ClientId>) -> Value {
    let mut map = Map::default();
    map.text("type", node.sliver_type.as_ref());
    map.text("image", node.image.as_ref());
    map.text("component", node.component.as_ref());
    map.text("host", node.partition.as_ref());
    map.flag("exclusive", node.exclusive);
    let port = |port: &testyard_model::sliver_type::Port| match port.protocol {
        testyard_model::sliver_type::Protocol::Tcp => Value::number(port.number),
        testyard_model::sliver_type::Protocol::Udp => Value::text(port),
    };
    map.list("ports", node.ports.iter().map(port).collect());
    let installs = node.services.installs.iter().map(|install| {
        let mut map = Map::default();
        map.text("url", Some(&install.url));
        map.text("path", Some(&install.path));
        map.text("checksum", install.checksum.as_ref());
        map.done()
    });
    map.list("install", installs.collect());
    map.list("run", node.services.executes.iter().map(execute).collect());
    let mut programs = Map::default();
    for program in &node.programs {
        programs.put(program.client_id.as_str(), self::program(program));
    }
    map.map("programs", programs);
    let listed = node.interfaces.iter().filter(|interface| !made.contains(&interface.client_id));
    map.list("interfaces", listed.map(interface).collect());
    map.list("routes", node.routes.iter().map(|r| route(r, names)).collect());
    let storage = node.storage.iter().map(|storage| match storage.size {
        None => Value::text(&storage.mount_point),
        Some(size) => {
            let mut map = Map::default();
            map.text("path", Some(&storage.mount_point));
            map.text("size", Some(size_text(size)));
            map.done()
        }
    });
    map.list("storage", storage.collect());
    match node.on_failure {
        OnFailure::Fatal => {}
        OnFailure::Nonfatal => map.text("on-failure", Some("nonfatal")),
        OnFailure::Ignore => map.text("on-failure", Some("ignore")),
    }
    attributes(&mut map, &node.attributes);
    if map.0.is_empty() { Value::made(Kind::Null) } else { map.done() }
}

/// A size in the largest unit that it is a whole number of.
fn size_text(size: Size) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("kB", 1_000),
    ];
    let bytes = size.bytes();
    let whole = UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    whole.map_or_else(|| format!("{bytes}B"), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

fn execute(execute: &Execute) -> Value {
    if execute.shell == Shell::Sh && execute.timeout.is_none() {
        return Value::text(&execute.command);
    }
    let mut map = Map::default();
    map.text("command", Some(&execute.command));
    map.text("shell", (execute.shell != Shell::Sh).then_some(execute.shell.as_str()));
    map.number("timeout", execute.timeout);
    map.done()
}

fn program(program: &Program) -> Value {
    let mut map = Map::default();
    map.text("command", Some(&program.command));
    map.text("directory", program.directory.as_ref());
    map.number("timeout", program.timeout);
    map.number("expected-exit", program.expected_exit);
    if map.0.len() == 1 { Value::text(&program.command) } else { map.done() }
}

/// What is said of an interface beside its name.
fn details(map: &mut Map, interface: &Interface) {
    let address = |address: &InterfaceAddress| match address.prefix_length {
        None => Value::text(address.address),
        Some(length) => Value::text(format!("{}/{length}", address.address)),
    };
    match interface.addresses.as_slice() {
        [one] => map.put("address", address(one)),
        several => map.list("address", several.iter().map(address).collect()),
    }
    map.text("mac", interface.mac);
    map.number("cost", interface.cost);
    attributes(map, &interface.attributes);
}

fn interface(interface: &Interface) -> Value {
    let mut map = Map::default();
    map.text("name", Some(&interface.client_id));
    details(&mut map, interface);
    if map.0.len() == 1 { Value::text(&interface.client_id) } else { map.done() }
}

fn route(route: &Route, names: &Names) -> Value {
    let (kind, text) = match &route.to {
        Destination::Node(id) => ("node", id.to_string()),
        Destination::Interface(id) => ("interface", id.to_string()),
        Destination::Link(id) => ("link", id.to_string()),
        Destination::Network { address, prefix_length } => ("network", format!("{address}/{prefix_length}")),
    };
    let mut map = Map::default();
    if candidates(&text, names) == [route.to.clone()] {
        map.text("to", Some(text));
    } else {
        let mut to = Map::default();
        to.text(kind, Some(text));
        map.put("to", to.done());
    }
    match &route.via {
        NextHop::Node(id) if id.as_str().parse::<std::net::IpAddr>().is_ok() => {
            let mut via = Map::default();
            via.text("node", Some(id));
            map.put("via", via.done());
        }
        NextHop::Node(id) => map.text("via", Some(id)),
        NextHop::Address(address) => map.text("via", Some(address)),
    }
    map.done()
}

fn link(link: &Link, topology: &Topology, names: &Names, made: &HashSet<&ClientId>) -> Value {
    let mut map = Map::default();
    map.text("name", Some(&link.client_id));
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let ends = link.members.iter().map(|member| {
        let Some((number, _)) = names.interfaces.get(&member.interface) else {
            return Value::text(&member.interface);
        };
        let node = &topology.nodes[*number];
        let nth = counts.entry(*number).or_insert(0);
        let end = end(member, node, &link.client_id, *nth, names, made);
        *nth += 1;
        end
    });
    let ends: Vec<Value> = ends.collect();
    map.put(if link.kind == LinkKind::Lan { "lan" } else { "between" }, Value::made(Kind::List(ends)));
    shaping(&mut map, link, topology, names);
    map.number("mtu", link.mtu);
    map.number("prefix", link.prefix_length);
    map.flag("down", link.down);
    map.number("seed", link.seed);
    if let Some(Capture { snap_length, filter }) = &link.capture {
        let mut capture = Map::default();
        capture.number("bytes", Some(snap_length));
        capture.text("filter", filter.as_ref());
        map.put("capture", capture.done());
    }
    attributes(&mut map, &link.attributes);
    map.done()
}

fn end(
    member: &Member,
    node: &Node,
    link: &ClientId,
    nth: usize,
    names: &Names,
    made: &HashSet<&ClientId>,
) -> Value {
    let mut map = Map::default();
    if !made.contains(&member.interface) {
        if !names.nodes.contains_key(&member.interface) {
            return Value::text(&member.interface);
        }
        map.text("interface", Some(&member.interface));
        return map.done();
    }
    map.text("node", Some(&node.client_id));
    if !is_default_name(&member.interface, &node.client_id, link, nth) {
        map.text("interface", Some(&member.interface));
    }
    // Made by links: it is behind those that the node lists.
    if let Some(interface) = node.interfaces.iter().rev().find(|i| i.client_id == member.interface) {
        details(&mut map, interface);
    }
    if map.0.len() == 1 { Value::text(&node.client_id) } else { map.done() }
}

/// What a link does to packets: once for all where that is shorter, and what differs by member.
fn shaping(map: &mut Map, link: &Link, topology: &Topology, names: &Names) {
    let shared = link.members.first().and_then(|m| gathered(&m.to_link, &m.from_link, link.kind));
    let clear = Impairment::default();
    let length = |whole: &Impairment| {
        let (to, from) = spread(whole, link.kind);
        let members = link.members.iter();
        let differing =
            members.map(|m| difference(&to, &m.to_link).len() + difference(&from, &m.from_link).len());
        difference(&clear, whole).len() + differing.sum::<usize>()
    };
    let whole = shared.filter(|whole| length(whole) <= length(&clear)).unwrap_or(clear);
    map.0.extend(difference(&clear, &whole).into_iter().map(entry));
    let (to, from) = spread(&whole, link.kind);
    let member_names = member_names(link, topology, names);
    let differing = |base: &Impairment, of: fn(&Member) -> &Impairment| {
        let mut map = Map::default();
        for (member, name) in link.members.iter().zip(&member_names) {
            let settings: Vec<Entry> = difference(base, of(member)).into_iter().map(entry).collect();
            if !settings.is_empty() {
                map.put(name, Map(settings).done());
            }
        }
        map
    };
    let from_map = differing(&to, |member| &member.to_link);
    let to_map = differing(&from, |member| &member.from_link);
    map.map("from", from_map);
    map.map("to", to_map);
}

/// What members are called where only those of one link are meant: by their nodes where that is clear.
fn member_names(link: &Link, topology: &Topology, names: &Names) -> Vec<String> {
    let interfaces: HashSet<&str> = link.members.iter().map(|member| member.interface.as_str()).collect();
    let node = |member: &Member| names.interfaces.get(&member.interface).map(|(number, _)| *number);
    let mut counts: HashMap<usize, usize> = HashMap::new();
    link.members.iter().filter_map(node).for_each(|number| *counts.entry(number).or_insert(0) += 1);
    let name = |member: &Member| {
        let number = node(member).filter(|number| counts.get(number) == Some(&1));
        let name = number.map(|number| topology.nodes[number].client_id.as_str());
        name.filter(|name| !interfaces.contains(name)).unwrap_or(member.interface.as_str()).to_owned()
    };
    link.members.iter().map(name).collect()
}

fn event(event: &Event, topology: &Topology, names: &Names, links: &HashMap<&ClientId, &Link>) -> Value {
    let mut map = Map::default();
    map.text("at", Some(event.at));
    match &event.action {
        Action::LinkUp(link) => map.text("up", Some(link)),
        Action::LinkDown(link) => map.text("down", Some(link)),
        Action::NodeRestart(node) => map.text("restart", Some(node)),
        Action::NodeReload(node) => map.text("reload", Some(node)),
        Action::ProgramStop(program) => map.text("stop", Some(program)),
        Action::ProgramStart { program, command } => {
            map.text("start", Some(program));
            map.text("command", command.as_ref());
        }
        Action::ProgramSignal { program, signal } => {
            map.text("signal", Some(signal));
            map.text("program", Some(program));
        }
        Action::LinkSet { link, from, settings } => {
            map.text("set", Some(link));
            if let (Some(from), Some(link)) = (from, links.get(link)) {
                let index = link.members.iter().position(|member| member.interface == *from);
                let name = index.map(|index| member_names(link, topology, names).swap_remove(index));
                map.text("from", name);
            }
            let mut kinds = HashSet::new();
            if settings.iter().all(|setting| kinds.insert(std::mem::discriminant(setting))) {
                map.0.extend(settings.iter().copied().map(entry));
            } else {
                let one = |setting: &Setting| Map(vec![entry(*setting)]).done();
                map.list("settings", settings.iter().map(one).collect());
            }
        }
    }
    map.done()
}
