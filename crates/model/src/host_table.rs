//! Names and addresses of a topology's interfaces, from which `/etc/hosts` of every node follows (deter.md §7.2).
//!
//! Each interface of each node has a line: `<node>-<link>`, and `<node>-<port>`, where the port is the interface's
//! place among its node's, from 0. The bare name of a node stands at one of its interfaces, and which one depends on
//! who asks: (a) for the node itself its first; (b) for a neighbour, the one on the first link of the asker's that both
//! share; (c) for others, its first. Only that differs from node to node, so the rest is kept once, however many nodes
//! there are, and a file is put together when it is asked for.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::name::Hostname;

/// The most lines that a file has. With more interfaces in the topology, a node's file lists the node and its
/// neighbours, and of these no more than so many lines.
pub const MOST_LINES: usize = 4096;

/// Names and addresses of all interfaces. Copies share them.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Vec<NamedNode>")]
pub struct HostTable(Arc<Parts>);

/// A node of a [`HostTable`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedNode {
    /// Its own name.
    pub hostname: Hostname,
    /// Its interfaces, in order.
    pub places: Vec<NamedPlace>,
}

/// An interface on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamedPlace {
    /// The link, by a number of its own.
    pub link: u32,
    /// Its addresses. One without any has no lines.
    pub addresses: Vec<IpAddr>,
    /// Its names, but the bare one, with spaces between. May be empty.
    pub names: Box<str>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsLine {
    /// The address.
    pub address: IpAddr,
    /// Its names, the chief one first.
    pub names: Vec<String>,
}

/// Which nodes a file lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All of the topology.
    All,
    /// The node itself and those that it shares a link with.
    Neighbours,
}

#[derive(Debug)]
struct Parts {
    nodes: Vec<NamedNode>,
    /// Who is on a link: nodes, and which of their places it is.
    members: HashMap<u32, Vec<(u32, u32)>>,
    lines: usize,
    /// Tells most tables apart at once.
    print: u64,
}

// === impl HostTable ===

impl HostTable {
    /// A table of these nodes; a node is asked for by its number among them.
    #[must_use]
    pub fn new(nodes: Vec<NamedNode>) -> Self {
        let mut members: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for (node, number) in nodes.iter().zip(0..) {
            for (place, index) in node.places.iter().zip(0..) {
                members.entry(place.link).or_default().push((number, index));
            }
        }
        let places = nodes.iter().flat_map(|node| &node.places);
        let lines = places.map(|place| place.addresses.len()).sum();
        let print = BuildHasherDefault::<DefaultHasher>::default().hash_one(&nodes);
        Self(Arc::new(Parts { nodes, members, lines, print }))
    }

    /// Whether it has no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.nodes.is_empty()
    }

    /// Its nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[NamedNode] {
        &self.0.nodes
    }

    /// Which nodes its files list.
    #[must_use]
    pub fn listed(&self) -> Listed {
        if self.0.lines > MOST_LINES { Listed::Neighbours } else { Listed::All }
    }

    /// Lines of a node's `/etc/hosts` beside those of localhost; none if there is no such node.
    #[must_use]
    pub fn lines_for(&self, asker: u32) -> Vec<HostsLine> {
        let Some(own) = self.0.nodes.get(asker as usize) else { return Vec::new() };
        let shared = self.shared_with(asker, own);
        let mut lines = Vec::new();
        match self.listed() {
            Listed::All => {
                for (node, number) in self.0.nodes.iter().zip(0..) {
                    node.lines(shared.get(&number).copied(), &mut lines);
                }
            }
            Listed::Neighbours => {
                own.lines(None, &mut lines);
                let mut neighbours: Vec<(u32, u32)> = shared.into_iter().collect();
                neighbours.sort_unstable();
                for (node, bare) in neighbours {
                    if lines.len() >= MOST_LINES {
                        break;
                    }
                    self.0.nodes[node as usize].lines(Some(bare), &mut lines);
                }
                lines.truncate(MOST_LINES);
            }
        }
        lines
    }

    /// Whether a node's bare name is at one of its interfaces.
    #[must_use]
    pub fn has_bare(&self, node: u32) -> bool {
        let places = self.0.nodes.get(node as usize).map(|node| &node.places);
        places.into_iter().flatten().any(|place| !place.addresses.is_empty())
    }

    /// The lines of all files together, with each bare name at the node's first interface.
    #[must_use]
    pub fn all_lines(&self) -> Vec<HostsLine> {
        let mut lines = Vec::with_capacity(self.0.lines);
        self.0.nodes.iter().for_each(|node| node.lines(None, &mut lines));
        lines
    }

    /// Where the asker's neighbours are on the first link that both share.
    fn shared_with(&self, asker: u32, own: &NamedNode) -> HashMap<u32, u32> {
        let mut shared = HashMap::new();
        for place in &own.places {
            for (node, index) in self.0.members.get(&place.link).into_iter().flatten() {
                let there = &self.0.nodes[*node as usize].places[*index as usize];
                if *node != asker && !there.addresses.is_empty() {
                    shared.entry(*node).or_insert(*index);
                }
            }
        }
        shared
    }
}

impl NamedNode {
    /// Adds its lines, with its bare name at this place, or at its first.
    fn lines(&self, bare: Option<u32>, lines: &mut Vec<HostsLine>) {
        let addressed = self.places.iter().zip(0..).filter(|(place, _)| !place.addresses.is_empty());
        let bare = bare.or_else(|| addressed.clone().next().map(|(_, first)| first));
        for (place, index) in addressed {
            let mut names: Vec<String> =
                place.names.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            if bare == Some(index) {
                names.push(self.hostname.to_string());
            }
            if names.is_empty() {
                continue;
            }
            let line = |address: &IpAddr| HostsLine { address: *address, names: names.clone() };
            lines.extend(place.addresses.iter().map(line));
        }
    }
}

impl Default for HostTable {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl PartialEq for HostTable {
    /// Copies are equal at once; others are looked at only where their prints are.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.print == other.0.print && self.0.nodes == other.0.nodes)
    }
}

impl From<Vec<NamedNode>> for HostTable {
    fn from(nodes: Vec<NamedNode>) -> Self {
        Self::new(nodes)
    }
}

impl Serialize for HostTable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.nodes.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(hostname: &str, places: &[(u32, &str)]) -> NamedNode {
        let place = |(number, (link, address)): (usize, &(u32, &str))| NamedPlace {
            link: *link,
            addresses: address.parse().into_iter().collect(),
            names: format!("{hostname}-l{link} {hostname}-{number}").into(),
        };
        let places = places.iter().enumerate().map(place).collect();
        NamedNode { hostname: hostname.parse().unwrap(), places }
    }

    fn text(table: &HostTable, asker: u32) -> Vec<String> {
        let line = |line: &HostsLine| format!("{} {}", line.address, line.names.join(" "));
        table.lines_for(asker).iter().map(line).collect()
    }

    #[test]
    fn a_neighbour_is_where_both_meet() {
        let table = HostTable::new(vec![
            node("a", &[(1, "10.0.1.1")]),
            node("b", &[(0, "10.0.0.2"), (1, "10.0.1.2"), (2, "")]),
            node("c", &[(0, "10.0.0.3")]),
        ]);
        let same = ["10.0.1.1 a-l1 a-0 a", "10.0.0.3 c-l0 c-0 c"];
        assert_eq!(text(&table, 0), [same[0], "10.0.0.2 b-l0 b-0", "10.0.1.2 b-l1 b-1 b", same[1]]);
        for asker in [1, 2] {
            assert_eq!(text(&table, asker), [same[0], "10.0.0.2 b-l0 b-0 b", "10.0.1.2 b-l1 b-1", same[1]]);
        }
        assert!(text(&table, 3).is_empty());
        let read: HostTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(read, table);
        assert_eq!(read.lines_for(0), table.lines_for(0));
        assert_ne!(read, HostTable::new(table.nodes()[..2].to_vec()));
    }

    #[test]
    fn a_name_that_is_taken_leaves_no_empty_line() {
        let mut nodes = vec![node("a", &[(0, "10.0.0.1"), (1, "10.0.1.1")]), node("b", &[(1, "10.0.1.2")])];
        nodes[0].places[0].names = Box::default();
        let table = HostTable::new(nodes);
        assert_eq!(text(&table, 0)[0], "10.0.0.1 a");
        assert_eq!(text(&table, 1), ["10.0.1.1 a-l1 a-1 a", "10.0.1.2 b-l1 b-0 b"]);
    }
}
