//! Names of a plan's interfaces, and `/etc/hosts` of every node (deter.md §7.2; the rule of the bare name is
//! [`HostTable`]'s).

use std::collections::HashSet;
use std::fmt::Write as _;

use testyard_model::host_table::{HostTable, HostsLine, Listed, MOST_LINES, NamedNode, NamedPlace};
use testyard_model::name::{ClientId, Hostname};

use crate::names::hostname;
use crate::network::parts::{NetworkLink, NetworkNode, NetworkPlan, Place};

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
    /// Which nodes the files of this plan list. To know it no name is made.
    #[must_use]
    pub fn listed(&self) -> Listed {
        let lines = self.index.lines;
        if lines > MOST_LINES { Listed::Neighbours } else { Listed::All }
    }

    /// Names and addresses of all interfaces; nodes have their [`Self::number`].
    #[must_use]
    pub fn host_table(&self) -> &HostTable {
        self.index.host_table.get_or_init(|| self.new_host_table())
    }

    /// Lines of a node's `/etc/hosts` beside those of localhost; none if there is no such node.
    #[must_use]
    pub fn hosts_lines(&self, node: &ClientId) -> Vec<HostsLine> {
        self.number(node).map(|asker| self.host_table().lines_for(asker)).unwrap_or_default()
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

    fn new_host_table(&self) -> HostTable {
        let mut names = names(&self.nodes, &self.links, &self.index.nodes_of);
        let mut place = |place: &Place| NamedPlace {
            link: place.link,
            addresses: self.at(*place).1.addresses.iter().map(ipnet::IpNet::addr).collect(),
            names: std::mem::take(&mut names[place.link as usize][place.member as usize]),
        };
        let nodes = self.nodes.iter().zip(&self.index.places).map(|(node, places)| NamedNode {
            hostname: node.hostname.clone(),
            places: places.iter().map(&mut place).collect(),
        });
        HostTable::new(nodes.collect())
    }
}
