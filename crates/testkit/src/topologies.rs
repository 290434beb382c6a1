//! Topologies of any size, the same for the same arguments: nodes `n0`, `n1`, …, links `l0`, `l1`, … or what their place
//! says, with static routing, and nothing else that a user chose.

use std::collections::HashSet;

use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::topology::{Interface, Node, Topology};

/// Nodes in a circle, each linked with the next. Two nodes get one link, and one gets none.
#[must_use]
pub fn ring(nodes: usize) -> Topology {
    let mut topology = loose(nodes);
    let links = if nodes > 2 { nodes } else { nodes.saturating_sub(1) };
    for node in 0..links {
        connect(&mut topology, node, (node + 1) % nodes);
    }
    topology
}

/// One node in the middle, `n0`, with a link to each of the others.
#[must_use]
pub fn star(leaves: usize) -> Topology {
    let mut topology = loose(leaves + 1);
    for leaf in 1..=leaves {
        connect(&mut topology, 0, leaf);
    }
    topology
}

/// Nodes in rows and columns, row by row, each linked with the next of its row and of its column.
#[must_use]
pub fn grid(rows: usize, columns: usize) -> Topology {
    let mut topology = loose(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let node = row * columns + column;
            if column + 1 < columns {
                connect(&mut topology, node, node + 1);
            }
            if row + 1 < rows {
                connect(&mut topology, node, node + columns);
            }
        }
    }
    topology
}

/// A random tree over all nodes and then random links between different nodes, no two links between the same ones.
/// Fewer links than a tree has are a tree all the same, and no more are made than there are pairs.
#[must_use]
pub fn random(nodes: usize, links: usize, seed: u64) -> Topology {
    let mut topology = loose(nodes);
    let mut chance = Chance(seed);
    let mut pairs = HashSet::new();
    for node in 1..nodes {
        let other = chance.below(node);
        pairs.insert((other, node));
        connect(&mut topology, other, node);
    }
    let most = nodes * nodes.saturating_sub(1) / 2;
    while pairs.len() < links.min(most) {
        let (one, other) = (chance.below(nodes), chance.below(nodes));
        let pair = (one.min(other), one.max(other));
        if one != other && pairs.insert(pair) {
            connect(&mut topology, pair.0, pair.1);
        }
    }
    topology
}

/// A fat tree of switches with `k` ports (`k` is even): `k` pods of `k`/2 edge and `k`/2 aggregation switches, (`k`/2)² core
/// switches, and `k`/2 computers at each edge switch. Core switches come first, then pod by pod.
#[must_use]
pub fn fat_tree(k: usize) -> Topology {
    let half = k / 2;
    let per_pod = 2 * half + half * half;
    let mut topology = loose(half * half + k * per_pod);
    for pod in 0..k {
        let first = half * half + pod * per_pod;
        for aggregation in 0..half {
            for core in 0..half {
                connect(&mut topology, aggregation * half + core, first + aggregation);
            }
            for edge in 0..half {
                connect(&mut topology, first + aggregation, first + half + edge);
            }
        }
        for edge in 0..half {
            for computer in 0..half {
                let node = first + 2 * half + edge * half + computer;
                connect(&mut topology, first + half + edge, node);
            }
        }
    }
    topology
}

/// All nodes on one LAN.
#[must_use]
pub fn lan(nodes: usize) -> Topology {
    let mut topology = loose(nodes);
    add_lan(&mut topology, &(0..nodes).collect::<Vec<_>>());
    topology
}

/// Nodes without links.
#[must_use]
pub fn loose(nodes: usize) -> Topology {
    let node = |number: usize| Node::new(id(&format!("n{number}")));
    Topology { nodes: (0..nodes).map(node).collect(), routing: Routing::Static, ..Topology::default() }
}

/// Puts a link between two nodes.
pub fn connect(topology: &mut Topology, one: usize, other: usize) {
    add(topology, LinkKind::PointToPoint, &[one, other]);
}

/// Puts nodes on a LAN.
pub fn add_lan(topology: &mut Topology, nodes: &[usize]) {
    add(topology, LinkKind::Lan, nodes);
}

fn add(topology: &mut Topology, kind: LinkKind, nodes: &[usize]) {
    let mut link = Link::new(id(&format!("l{}", topology.links.len())), kind);
    for node in nodes {
        let node = &mut topology.nodes[*node];
        let interface = id(&format!("{}:{}", node.client_id, node.interfaces.len()));
        node.interfaces.push(Interface::new(interface.clone()));
        link.members.push(Member::clear(interface));
    }
    topology.links.push(link);
}

fn id(text: &str) -> ClientId {
    text.parse().expect("a short text of letters and digits is a client id")
}

/// Numbers that look random (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(value ^ (value >> 31)) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (topology, nodes, links) in [
            (ring(5), 5, 5),
            (ring(2), 2, 1),
            (ring(1), 1, 0),
            (star(7), 8, 7),
            (grid(3, 4), 12, 17),
            (random(100, 200, 1), 100, 200),
            (random(4, 100, 1), 4, 6),
            (fat_tree(4), 36, 48),
            (lan(9), 9, 1),
        ] {
            assert_eq!((topology.nodes.len(), topology.links.len()), (nodes, links));
        }
        assert_eq!(random(50, 80, 3), random(50, 80, 3));
        assert_ne!(random(50, 80, 3), random(50, 80, 4));
    }
}
