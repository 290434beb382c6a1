//! NS, as Emulab and DETER read it (deter.md §6): a Tcl program that any of their parsers runs.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use testyard_model::impairment::Setting;
use testyard_model::link::Attribute;
use testyard_model::name::ClientId;
use testyard_model::route::{Destination, NextHop, Routing};
use testyard_model::schedule::{Action, Event};
use testyard_model::service::Shell;
use testyard_model::topology::{Interface, Node, OnFailure, Topology};

use super::{Losses, ns_link};
use crate::exact::decimal;

/// Names that mean something already.
const RESERVED: [&str; 3] = ["ops", "opt", "simulator"];
/// What Emulab takes for archives.
const ARCHIVES: [&str; 5] = [".tar", ".tar.Z", ".tar.gz", ".tgz", ".tar.bz2"];

/// The variables of a topology's things. Nodes, links and programs share one space of names in NS.
pub(super) struct Names {
    nodes: HashMap<ClientId, String>,
    links: HashMap<ClientId, String>,
    programs: HashMap<ClientId, String>,
    /// The simulator's own variable.
    pub(super) simulator: &'static str,
    /// The nodes of interfaces, and where on them each is.
    node_of: HashMap<ClientId, (usize, usize)>,
    ids: Vec<ClientId>,
}

impl Names {
    fn new(topology: &Topology, losses: &mut Losses) -> Self {
        let mut taken: HashSet<String> = RESERVED.iter().map(|name| (*name).to_owned()).collect();
        let mut space = |what: &str, ids: Vec<&ClientId>| -> HashMap<ClientId, String> {
            let name = |id: &ClientId| {
                let name = free(id.as_str(), what, &mut taken);
                if name != id.as_str() {
                    losses.add(format!("NS cannot name a {what} {:?}: it is called {name}", id.as_str()));
                }
                (id.clone(), name)
            };
            ids.into_iter().map(name).collect()
        };
        let nodes = space("node", topology.nodes.iter().map(|node| &node.client_id).collect());
        let links = space("link", topology.links.iter().map(|link| &link.client_id).collect());
        let programs = topology.nodes.iter().flat_map(|node| &node.programs);
        let programs = space("program", programs.map(|program| &program.client_id).collect());
        let node_of = topology.nodes.iter().enumerate().flat_map(|(number, node)| {
            let interfaces = node.interfaces.iter().enumerate();
            interfaces.map(move |(index, interface)| (interface.client_id.clone(), (number, index)))
        });
        let ids = topology.nodes.iter().map(|node| node.client_id.clone()).collect();
        let simulator = if taken.contains("ns") { "simulator" } else { "ns" };
        Self { nodes, links, programs, simulator, node_of: node_of.collect(), ids }
    }

    /// A node, as Tcl reads it.
    pub(super) fn node(&self, id: &ClientId) -> String {
        variable(self.nodes.get(id))
    }

    /// The node of an interface.
    pub(super) fn node_of(&self, interface: &ClientId) -> String {
        self.node_of.get(interface).map_or_else(String::new, |(number, _)| self.node(&self.ids[*number]))
    }

    /// An interface of the topology that the names are of.
    pub(super) fn interface<'t>(&self, topology: &'t Topology, id: &ClientId) -> Option<&'t Interface> {
        let (number, index) = self.node_of.get(id)?;
        topology.nodes.get(*number)?.interfaces.get(*index)
    }

    pub(super) fn link(&self, id: &ClientId) -> String {
        variable(self.links.get(id))
    }

    pub(super) fn link_name(&self, id: &ClientId) -> &str {
        self.links.get(id).map_or("", String::as_str)
    }
}

fn variable(name: Option<&String>) -> String {
    match name {
        Some(name) if name.contains('-') => format!("${{{name}}}"),
        Some(name) => format!("${name}"),
        None => "{}".to_owned(),
    }
}

/// A name of letters, digits and hyphens that is not taken.
fn free(id: &str, what: &str, taken: &mut HashSet<String>) -> String {
    let plain: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = if plain == id { plain } else { plain.trim_matches('-').to_owned() };
    let base = if plain.is_empty() { what.to_owned() } else { plain };
    let numbered = (2..).map(|number| format!("{base}-{what}{number}"));
    let candidates = [base.clone(), format!("{base}-{what}")].into_iter().chain(numbered);
    let name = candidates.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A text as one word of Tcl that nothing in is substituted of.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/%+=@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' | '[' | ']' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn write(topology: &Topology, losses: &mut Losses) -> String {
    let names = Names::new(topology, losses);
    let ns = names.simulator;
    let mut text = format!("source tb_compat.tcl\nset {ns} [new Simulator]\n");
    for variable in &topology.environment {
        if variable.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !variable.name.is_empty()
        {
            let _ = writeln!(text, "set opt({}) {}", variable.name, quoted(&variable.value));
        } else {
            losses.add(format!("NS cannot name a variable {:?}", variable.name));
        }
    }
    losses.lost(!topology.attributes.is_empty(), "the attributes", "the topology", "NS");
    if !topology.nodes.is_empty() {
        text.push('\n');
    }
    for node in &topology.nodes {
        let _ = writeln!(
            text,
            "set {} [${ns} node]",
            names.nodes.get(&node.client_id).map_or("", String::as_str)
        );
        self::node(&mut text, node, &names, losses);
    }
    for link in &topology.links {
        text.push('\n');
        ns_link::write(&mut text, link, topology, &names, losses);
    }
    on_no_link(topology, losses);
    let before = text.len();
    for node in &topology.nodes {
        routes(&mut text, node, &names, losses);
    }
    for event in &topology.schedule {
        self::event(&mut text, event, &names, losses);
    }
    if text.len() > before {
        text.insert(before, '\n');
    }
    text.push('\n');
    let protocol = match topology.routing {
        Routing::None => None,
        Routing::Static => Some("Static"),
        Routing::Manual => Some("Manual"),
        Routing::Session => Some("Session"),
    };
    if let Some(protocol) = protocol {
        let _ = writeln!(text, "${ns} rtproto {protocol}");
    }
    let _ = writeln!(text, "${ns} run");
    text
}

fn on_no_link(topology: &Topology, losses: &mut Losses) {
    let on_link: HashSet<&ClientId> =
        topology.links.iter().flat_map(|link| &link.members).map(|member| &member.interface).collect();
    for interface in topology.nodes.iter().flat_map(|node| &node.interfaces) {
        if !on_link.contains(&interface.client_id) {
            losses.add(format!("NS has no interfaces without a link: {} is left out", interface.client_id));
        }
    }
}

fn node(text: &mut String, node: &Node, names: &Names, losses: &mut Losses) {
    let it = names.node(&node.client_id);
    let name = format!("node {}", node.client_id);
    let mut line = |words: &[&str]| {
        text.push_str(&words.join(" "));
        text.push('\n');
    };
    if let Some(image) = &node.image {
        line(&["tb-set-node-os", &it, &quoted(image.as_str())]);
    }
    if let Some(kind) = &node.sliver_type {
        line(&["tb-set-hardware", &it, &quoted(kind.as_str())]);
    }
    if let Some(partition) = &node.partition {
        line(&["tb-add-node-attribute", &it, "containers:partition", &quoted(partition)]);
    }
    match node.on_failure {
        OnFailure::Fatal => {}
        OnFailure::Nonfatal => line(&["tb-set-node-failure-action", &it, "nonfatal"]),
        OnFailure::Ignore => line(&["tb-set-node-failure-action", &it, "ignore"]),
    }
    for port in &node.ports {
        line(&["tb-add-node-attribute", &it, "testyard:port", &port.to_string()]);
    }
    for Attribute { key, value } in &node.attributes {
        line(&["tb-add-node-attribute", &it, &quoted(key), &quoted(value)]);
    }
    for install in &node.services.installs {
        if ARCHIVES.iter().any(|ending| install.url.ends_with(ending)) {
            line(&["tb-set-node-tarfiles", &it, &quoted(&install.path), &quoted(&install.url)]);
        } else {
            losses.add(format!("NS installs tar archives only: {} of {name} is left out", install.url));
        }
        losses.lost(install.checksum.is_some(), "the checksums", &name, "NS");
    }
    let executes = &node.services.executes;
    match executes.as_slice() {
        [] => {}
        [one] => line(&["tb-set-node-startcmd", &it, &quoted(&one.command)]),
        several => {
            for execute in several {
                line(&["tb-add-node-attribute", &it, "testyard:execute", &quoted(&execute.command)]);
            }
            losses.add(format!("NS has one start command: those of {name} are for Testyard only"));
        }
    }
    if executes.iter().any(|execute| execute.shell != Shell::Sh || execute.timeout.is_some()) {
        losses.add(format!("the commands of {name} are for sh, without time limits"));
    }
    if node.exclusive {
        line(&["tb-add-node-attribute", &it, "testyard:exclusive", "true"]);
    }
    for program in &node.programs {
        let variable = names.programs.get(&program.client_id).map_or("", String::as_str);
        let _ = write!(
            text,
            "set {variable} [{it} program-agent -command {}",
            quoted(&program.command.replace('\n', "; "))
        );
        losses.lost(program.command.contains('\n'), "the line breaks of the programs", &name, "NS");
        if let Some(directory) = &program.directory {
            let _ = write!(text, " -dir {}", quoted(directory));
        }
        if let Some(timeout) = program.timeout {
            let _ = write!(text, " -timeout {timeout}");
        }
        if let Some(code) = program.expected_exit {
            let _ = write!(text, " -expected-exit-code {code}");
        }
        text.push_str("]\n");
    }
    losses.lost(node.component.is_some(), "the component", &name, "NS");
    losses.lost(!node.storage.is_empty(), "the storage", &name, "NS");
}

fn routes(text: &mut String, node: &Node, names: &Names, losses: &mut Losses) {
    for route in &node.routes {
        let to = match &route.to {
            Destination::Node(node) => names.node(node),
            Destination::Link(link) => names.link(link),
            Destination::Network { address, prefix_length } if address.is_ipv4() => {
                losses.add(format!("Emulab's NS has no routes to networks, as {address}/{prefix_length} is"));
                format!("{address}/{prefix_length}")
            }
            Destination::Interface(_) | Destination::Network { .. } => {
                losses.add(format!("NS cannot say a route of node {}", node.client_id));
                continue;
            }
        };
        let via = match &route.via {
            NextHop::Node(node) => names.node(node),
            NextHop::Address(address) => {
                losses.add(format!("Emulab's NS has no routes over addresses, as {address} is"));
                address.to_string()
            }
        };
        let _ = writeln!(text, "{} add-route {to} {via}", names.node(&node.client_id));
    }
}

fn event(text: &mut String, event: &Event, names: &Names, losses: &mut Losses) {
    let program = |id: &ClientId| variable(names.programs.get(id));
    let what = match &event.action {
        Action::LinkUp(link) => vec![(names.link(link), "up".to_owned())],
        Action::LinkDown(link) => vec![(names.link(link), "down".to_owned())],
        Action::LinkSet { link, from, settings } => {
            if from.is_some() {
                losses.add(format!(
                    "events of NS change both directions of a link: that of {link} at {} is left out",
                    event.at
                ));
                return;
            }
            let it = names.link(link);
            let changes = settings.iter().filter_map(|setting| change(setting, link, losses));
            changes.map(|change| (it.clone(), change)).collect()
        }
        Action::ProgramStart { program: id, command: None } => vec![(program(id), "start".to_owned())],
        Action::ProgramStart { program: id, command: Some(command) } => {
            vec![(program(id), format!("start -command {}", quoted(command)))]
        }
        Action::ProgramStop(id) => vec![(program(id), "stop".to_owned())],
        Action::ProgramSignal { program: id, signal } => {
            vec![(program(id), format!("kill {}", quoted(signal)))]
        }
        Action::NodeRestart(node) => vec![(names.node(node), "reboot".to_owned())],
        Action::NodeReload(node) => vec![(names.node(node), "reload".to_owned())],
    };
    let at = decimal(event.at.as_nanos().into(), 9);
    for (object, what) in what {
        // The object's variable is read when the file is; what happens to it is read again at its time.
        let mut later = String::new();
        for c in what.chars() {
            if "\\\"$[]".contains(c) {
                later.push('\\');
            }
            later.push(c);
        }
        let _ = writeln!(text, "${} at {at} \"{object} {later}\"", names.simulator);
    }
}

fn change(setting: &Setting, link: &ClientId, losses: &mut Losses) -> Option<String> {
    match setting {
        Setting::Rate(Some(rate)) => Some(format!("bandwidth {} duplex", ns_link::rate(Some(*rate)))),
        Setting::Delay(delay) => Some(format!("delay {}", ns_link::delay(*delay))),
        Setting::Loss(None) => Some("plr 0".to_owned()),
        Setting::Loss(Some(testyard_model::impairment::Loss::Random(chance))) => {
            Some(format!("plr {}", decimal(chance.parts_per_billion().into(), 9)))
        }
        other => {
            losses.add(format!("no event of NS says {other} of link {link}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_substituted() {
        for (text, word) in [
            ("debian:12", "debian:12"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("$(id) [exec x] {y} \\", "\"\\$(id) \\[exec x\\] \\{y\\} \\\\\""),
            ("a\n\"b\";c\0", "\"a\\n\\\"b\\\";c\\u0000\""),
            ("#", "\"#\""),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn names_are_letters_digits_and_hyphens_and_each_once() {
        let mut taken: HashSet<String> = ["ops".to_owned()].into();
        let names: Vec<String> = ["web", "web 1", "web:1", "ops", "_", "\u{e9}", "-x"]
            .iter()
            .map(|id| free(id, "node", &mut taken))
            .collect();
        assert_eq!(names, ["web", "web-1", "web-1-node", "ops-node", "node", "node-node", "-x"]);
    }
}
