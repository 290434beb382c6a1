//! The variables of a topology's things in NS, and how what is on a link is called there.

use std::collections::{HashMap, HashSet};

use testyard_model::link::{Link, LinkKind};
use testyard_model::name::ClientId;
use testyard_model::route::Destination;
use testyard_model::schedule::Action;
use testyard_model::topology::{Interface, Topology};

use super::Losses;

/// Names that mean something already.
const RESERVED: [&str; 3] = ["ops", "opt", "simulator"];
/// Longer names are cut; NS's reader takes a few more, for what is put behind.
const LONGEST: usize = 80;

/// The variables of a topology's things. Nodes, links, programs and disks share one space of names in NS.
pub(super) struct Names<'t> {
    pub(super) topology: &'t Topology,
    nodes: HashMap<&'t ClientId, String>,
    links: HashMap<&'t ClientId, String>,
    programs: HashMap<&'t ClientId, String>,
    /// Of each disk of each node.
    pub(super) disks: Vec<Vec<String>>,
    /// Directions that are spoken of at the end of the file, where two nodes name the last of their links only.
    halves: HashMap<&'t ClientId, String>,
    /// The simulator's own variable.
    pub(super) simulator: &'static str,
    /// The nodes of interfaces, and where on them each is.
    node_of: HashMap<&'t ClientId, (usize, usize)>,
}

impl<'t> Names<'t> {
    pub(super) fn new(topology: &'t Topology, losses: &mut Losses) -> Self {
        let mut taken: HashSet<String> = RESERVED.iter().map(|name| (*name).to_owned()).collect();
        let mut space = |what: &str, ids: Vec<&'t ClientId>| -> HashMap<&'t ClientId, String> {
            let name = |id: &'t ClientId| {
                let name = free(id.as_str(), what, &mut taken);
                if name != id.as_str() {
                    losses.add(format!("NS cannot name a {what} {:?}: it is called {name}", id.as_str()));
                }
                (id, name)
            };
            ids.into_iter().map(name).collect()
        };
        let nodes = space("node", topology.nodes.iter().map(|node| &node.client_id).collect());
        let links = space("link", topology.links.iter().map(|link| &link.client_id).collect());
        let programs = topology.nodes.iter().flat_map(|node| &node.programs);
        let programs = space("program", programs.map(|program| &program.client_id).collect());
        let of_node = |node: &testyard_model::topology::Node| {
            let name = nodes.get(&node.client_id).map_or("node", String::as_str);
            node.storage.iter().map(|_| free(&format!("{name}-disk"), "disk", &mut taken)).collect()
        };
        let disks = topology.nodes.iter().map(of_node).collect();
        let node_of = topology.nodes.iter().enumerate().flat_map(|(number, node)| {
            let interfaces = node.interfaces.iter().enumerate();
            interfaces.map(move |(index, interface)| (&interface.client_id, (number, index)))
        });
        let node_of = node_of.collect();
        let simulator = if taken.contains("ns") { "simulator" } else { "ns" };
        let halves = HashMap::new();
        let mut names = Self { topology, nodes, links, programs, disks, halves, simulator, node_of };
        names.name_halves(&mut taken);
        names
    }

    fn name_halves(&mut self, taken: &mut HashSet<String>) {
        let topology = self.topology;
        let in_events = topology.schedule.iter().filter_map(|event| match &event.action {
            Action::LinkSet { from, .. } => from.as_ref(),
            _ => None,
        });
        let in_routes =
            topology.nodes.iter().flat_map(|node| &node.routes).filter_map(|route| match &route.to {
                Destination::Interface(interface) => Some(interface),
                _ => None,
            });
        for interface in in_events.chain(in_routes) {
            if !self.halves.contains_key(interface) && self.half_at_end(interface).is_none() {
                let name = free(&format!("{}-half", interface.as_str()), "half", taken);
                self.halves.insert(interface, name);
            }
        }
    }

    /// The variable of what an interface sends, if it needs one.
    pub(super) fn half_name(&self, interface: &ClientId) -> Option<&str> {
        self.halves.get(interface).map(String::as_str)
    }

    /// A node, as Tcl reads it.
    pub(super) fn node(&self, id: &ClientId) -> String {
        variable(self.nodes.get(id).map(String::as_str))
    }

    pub(super) fn node_name(&self, id: &ClientId) -> &str {
        self.nodes.get(id).map_or("", String::as_str)
    }

    /// The number of the node that an interface is of.
    pub(super) fn number_of(&self, interface: &ClientId) -> Option<usize> {
        Some(self.node_of.get(interface)?.0)
    }

    /// The node of an interface.
    pub(super) fn node_of(&self, interface: &ClientId) -> String {
        let node = self.number_of(interface).and_then(|number| self.topology.nodes.get(number));
        node.map_or_else(String::new, |node| self.node(&node.client_id))
    }

    pub(super) fn interface(&self, id: &ClientId) -> Option<&'t Interface> {
        let (number, index) = self.node_of.get(id)?;
        self.topology.nodes.get(*number)?.interfaces.get(*index)
    }

    pub(super) fn link(&self, id: &ClientId) -> String {
        variable(self.links.get(id).map(String::as_str))
    }

    pub(super) fn link_name(&self, id: &ClientId) -> &str {
        self.links.get(id).map_or("", String::as_str)
    }

    pub(super) fn program(&self, id: &ClientId) -> String {
        variable(self.programs.get(id).map(String::as_str))
    }

    pub(super) fn program_name(&self, id: &ClientId) -> &str {
        self.programs.get(id).map_or("", String::as_str)
    }

    /// Whether an interface is the first of its node on a link: only that can be named.
    pub(super) fn is_first(&self, link: &Link, interface: &ClientId) -> bool {
        let node = self.number_of(interface);
        link.members
            .iter()
            .find(|member| self.number_of(&member.interface) == node)
            .map(|member| &member.interface)
            == Some(interface)
    }

    /// What an interface sends to its link, as the object of a command that stands right behind the link's own.
    pub(super) fn half(&self, link: &Link, interface: &ClientId) -> String {
        let (ns, node) = (self.simulator, self.node_of(interface));
        match (link.kind, link.members.iter().find(|member| member.interface != *interface)) {
            (LinkKind::PointToPoint, Some(other)) => {
                format!("[${ns} link {node} {}]", self.node_of(&other.interface))
            }
            _ => format!("[${ns} lanlink {} {node}]", self.link(&link.client_id)),
        }
    }

    /// The same at the end of the file, where the last link of two nodes is the one that both name.
    pub(super) fn half_at_end(&self, interface: &ClientId) -> Option<String> {
        let is_on = |link: &&Link| link.members.iter().any(|member| member.interface == *interface);
        let link = self.topology.links.iter().find(is_on)?;
        if !self.is_first(link, interface) {
            return None;
        }
        if let Some(name) = self.half_name(interface) {
            return Some(variable(Some(name)));
        }
        if link.kind == LinkKind::PointToPoint {
            let other = link.members.iter().find(|member| member.interface != *interface)?;
            let nodes = [self.number_of(interface)?, self.number_of(&other.interface)?];
            if self.last_between(nodes)?.client_id != link.client_id {
                return None;
            }
        }
        Some(self.half(link, interface))
    }

    /// The last link that two nodes share.
    pub(super) fn last_between(&self, nodes: [usize; 2]) -> Option<&'t Link> {
        let has = |link: &Link, node| link.members.iter().any(|m| self.number_of(&m.interface) == Some(node));
        self.topology.links.iter().rev().find(|link| nodes.iter().all(|node| has(link, *node)))
    }
}

pub(super) fn variable(name: Option<&str>) -> String {
    match name {
        Some(name) if name.contains('-') => format!("${{{name}}}"),
        Some(name) => format!("${name}"),
        None => "{}".to_owned(),
    }
}

/// A name of letters, digits and hyphens that is not taken.
fn free(id: &str, what: &str, taken: &mut HashSet<String>) -> String {
    let plain: String =
        id.chars().take(LONGEST).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = if plain == id { plain } else { plain.trim_matches('-').to_owned() };
    let base = if plain.is_empty() { what.to_owned() } else { plain };
    let numbered = (2..).map(|number| format!("{base}-{what}{number}"));
    let candidates = [base.clone(), format!("{base}-{what}")].into_iter().chain(numbered);
    let name = candidates.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

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
