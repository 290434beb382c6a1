//! `/etc/hosts` of every node (deter.md §7.2).
//!
//! Each interface of each node has a line: `<node>-<link>`, and `<node>-<port>`, where the port is the interface's
//! place among its node's, from 0. The bare name of a node stands at one of its interfaces, and which one depends on
//! who asks: (a) for the node itself its first; (b) for a neighbour, the one on the first link of the asker's that both
//! share; (c) for others, its first. Only that differs from node to node, so the rest is kept once and a file is put
//! together when it is asked for.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use testyard_model::name::{ClientId, Hostname};

use crate::names::hostname;
use crate::network::parts::{NetworkLink, NetworkNode, NetworkPlan, Place};

/// The most lines that a file has. With more interfaces in the topology, a node's file lists the node and its
/// neighbours, and of these no more than so many lines.
pub const MOST_LINES: usize = 4096;

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Names of every member of every link but the bare one, each nobody else's. Bare names of nodes come first, then
/// `<node>-<link>`, then `<node>-<port>`: `web-1` is the node of that name if there is one, and not port 1 of `web`.
pub(crate) fn names(
    nodes: &[NetworkNode],
    links: &[NetworkLink],
    nodes_of: &[Vec<u32>],
) -> Vec<Vec<Box<str>>> {
    let mut taken: HashSet<Box<str>> = nodes.iter().map(|node| node.hostname.as_str().into()).collect();
    let mut labels = std::collections::BTreeSet::<Hostname>::new();
    let mut all: Vec<Vec<Box<str>>> = Vec::with_capacity(links.len());
    let mut claim = |name: String| {
        let name = name.into_boxed_str();
        if taken.insert(name.clone()) { name } else { Box::default() }
    };
    for (link, members) in links.iter().zip(nodes_of) {
        let label = hostname(&link.client_id, &mut labels);
        let of_link = members.iter().map(|node| claim(format!("{}-{label}", nodes[*node as usize].hostname)));
        all.push(of_link.collect());
    }
    for ((link, members), names) in links.iter().zip(nodes_of).zip(&mut all) {
        for ((member, node), name) in link.members.iter().zip(members).zip(names) {
            let alias = claim(format!("{}-{}", nodes[*node as usize].hostname, member.device.port()));
            if !alias.is_empty() {
                *name = if name.is_empty() { alias } else { format!("{name} {alias}").into_boxed_str() };
            }
        }
    }
    all
}

impl NetworkPlan {
    /// Which nodes the files of this plan list.
    #[must_use]
    pub fn listed(&self) -> Listed {
        let lines = self.index.lines;
        if lines > MOST_LINES { Listed::Neighbours } else { Listed::All }
    }

    /// Lines of a node's `/etc/hosts` beside those of localhost; none if there is no such node.
    #[must_use]
    pub fn hosts_lines(&self, node: &ClientId) -> Vec<HostsLine> {
        let Some(asker) = self.number(node) else { return Vec::new() };
        let shared = self.shared_with(asker);
        let mut lines = Vec::new();
        match self.listed() {
            Listed::All => {
                for number in 0..self.nodes.len() as u32 {
                    self.lines(number, asker, &shared, &mut lines);
                }
            }
            Listed::Neighbours => {
                self.lines(asker, asker, &shared, &mut lines);
                let mut neighbours: Vec<u32> = shared.keys().copied().collect();
                neighbours.sort_unstable();
                for number in neighbours {
                    if lines.len() >= MOST_LINES {
                        break;
                    }
                    self.lines(number, asker, &shared, &mut lines);
                }
                lines.truncate(MOST_LINES);
            }
        }
        lines
    }

    /// The text of a node's `/etc/hosts`; empty if there is no such node.
    #[must_use]
    pub fn hosts_of(&self, node: &ClientId) -> String {
        let Some(own) = self.node(node) else { return String::new() };
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let lines = self.hosts_lines(node);
        if self.listed() == Listed::Neighbours {
            text.push_str("# the topology is large: only neighbours are listed\n");
        }
        // The node's own name always resolves: `sudo` and mail servers wait for it.
        if !lines.iter().flat_map(|line| &line.names).any(|name| name == own.hostname.as_str()) {
            let _ = writeln!(text, "127.0.1.1\t{}", own.hostname);
        }
        for line in lines {
            let _ = writeln!(text, "{}\t{}", line.address, line.names.join(" "));
        }
        text
    }

    /// The lines of all files together, with each bare name at the node's first interface.
    pub(crate) fn all_lines(&self) -> Vec<HostsLine> {
        let (mut lines, shared) = (Vec::new(), HashMap::new());
        (0..self.nodes.len() as u32).for_each(|number| self.lines(number, number, &shared, &mut lines));
        lines
    }

    /// Whether all that names follow from is the same in another plan.
    pub(crate) fn same_names(&self, other: &Self) -> bool {
        let same = |(one, other): (&NetworkLink, &NetworkLink)| {
            one.client_id == other.client_id
                && one.members.len() == other.members.len()
                && one
                    .members
                    .iter()
                    .zip(&other.members)
                    .all(|(one, other)| one.device == other.device && one.addresses == other.addresses)
        };
        self.links.len() == other.links.len()
            && self.index.numbers == other.index.numbers
            && self.nodes.iter().zip(&other.nodes).all(|(one, other)| one.hostname == other.hostname)
            && self.index.nodes_of == other.index.nodes_of
            && self.links.iter().zip(&other.links).all(same)
    }

    /// How many lines the files of all nodes have, if each lists its neighbours.
    pub(crate) fn neighbourhoods(&self) -> usize {
        let around = |places: &Vec<Place>| {
            places.iter().map(|place| self.nodes_of(place.link).len()).sum::<usize>().min(MOST_LINES)
        };
        self.index.places.iter().map(around).sum()
    }

    /// Where the asker's neighbours are on the first link that both share.
    fn shared_with(&self, asker: u32) -> HashMap<u32, Place> {
        let mut shared = HashMap::new();
        for place in self.places(asker) {
            for (node, member) in self.nodes_of(place.link).iter().zip(0..) {
                let there = Place { link: place.link, member };
                if *node != asker && !self.at(there).1.addresses.is_empty() {
                    shared.entry(*node).or_insert(there);
                }
            }
        }
        shared
    }

    fn lines(&self, node: u32, asker: u32, shared: &HashMap<u32, Place>, lines: &mut Vec<HostsLine>) {
        let addressed = |place: &&Place| !self.at(**place).1.addresses.is_empty();
        let places = self.places(node);
        let first = || places.iter().find(addressed).copied();
        let all = self.index.names.get_or_init(|| names(&self.nodes, &self.links, &self.index.nodes_of));
        let bare = if node == asker { first() } else { shared.get(&node).copied().or_else(first) };
        for place in places.iter().filter(addressed) {
            let names = &all[place.link as usize][place.member as usize];
            let mut names: Vec<String> =
                names.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            if bare == Some(*place) {
                names.push(self.nodes[node as usize].hostname.to_string());
            }
            if names.is_empty() {
                continue;
            }
            for address in &self.at(*place).1.addresses {
                lines.push(HostsLine { address: address.addr(), names: names.clone() });
            }
        }
    }
}
