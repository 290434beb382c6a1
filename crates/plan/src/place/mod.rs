//! Which host a node is on.
//!
//! A node that is bound to a host is there, and nodes of one partition are together: on the host of that name if there
//! is one. Others go, link by link connected group by group, where the group fits whole: to the host with the most free
//! slots, so that groups spread and links stay inside. A group that fits nowhere is cut where little traffic passes:
//! regions are grown, one host after the other (of those that links can leave), and then nodes move or change places as long as that helps. Filling
//! hosts in the order of the topology is tried too, and the better one is taken.
//!
//! | module | step |
//! | --- | --- |
//! | `units` | what moves together, and what connects it |
//! | `grow` | groups to hosts |
//! | `refine` | moves that take traffic off the network between hosts |

mod grow;
mod refine;
mod units;

use std::cell::Cell;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::id::HostName;
use testyard_model::link::Link;
use testyard_model::name::SliverTypeName;

use crate::error::FreeOn;
use crate::host::HostStanding;
use crate::plan::HostView;
use units::{Unit, Units};

/// What a node needs of its host.
#[derive(Clone, Debug)]
pub struct Need<'a> {
    /// Its kind.
    pub sliver_type: &'a SliverTypeName,
    /// Ports that lead to it.
    pub ports: u32,
    /// The host that it is bound to.
    pub bound: Option<HostName>,
    /// It runs there: a host that gets no more keeps it.
    pub runs: bool,
    /// What it shares a host with, if anything.
    pub partition: Option<&'a str>,
}

/// Something that carries traffic between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// Its nodes, as indexes of the needs.
    pub nodes: Vec<usize>,
    /// How much it carries, in Mbit/s.
    pub weight: u64,
}

/// A host for every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// For each need the index of its host.
    pub hosts: Vec<usize>,
    /// What there is to say about it: which host a partition got.
    pub notices: Vec<Diagnostic>,
}

/// Why nodes find no hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaceable {
    /// There is not enough room: what is free.
    Room(Vec<FreeOn>),
    /// A partition does not fit on a host.
    Partition {
        /// Its name.
        partition: String,
        /// How many nodes are in it.
        nodes: usize,
        /// What is the matter, in words.
        why: String,
    },
    /// A cable would go to a host that links cannot leave.
    Apart(Apart),
}

/// A cable whose nodes would be on hosts that it cannot connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// Its index.
    pub cable: usize,
    /// The host that links cannot leave.
    pub alone: HostName,
    /// Another that it would go to.
    pub other: HostName,
}

/// What is free of a host.
#[derive(Clone, Copy, Debug)]
struct Room<'a> {
    view: &'a HostView<'a>,
    slots: u32,
    ports: u32,
}

/// What carries a link whose rate is not limited, in Mbit/s.
const UNLIMITED: u64 = 1_000;

impl Cable {
    /// What a link between these nodes carries: its fastest direction in Mbit/s, at least 1.
    #[must_use]
    pub fn of_link(link: &Link, nodes: Vec<usize>) -> Self {
        let rate = |member: &testyard_model::link::Member| {
            let rate = member.to_link.rate.map_or(u64::MAX, |rate| rate.bits_per_second());
            let back = member.from_link.rate.map_or(u64::MAX, |rate| rate.bits_per_second());
            let least = rate.min(back);
            if least == u64::MAX { UNLIMITED } else { (least / 1_000_000).max(1) }
        };
        let weight = link.members.iter().map(rate).max().unwrap_or(1);
        Self { nodes, weight }
    }
}

impl<'a> Room<'a> {
    /// What is free, as a host that may not get nodes has room for no others than its own.
    fn of(view: &'a HostView<'a>, needs: &[Need<'_>]) -> Self {
        let own = |need: &&Need<'_>| need.runs && need.bound.as_ref() == Some(view.host.name());
        let slots = match view.standing {
            HostStanding::Ready => view.usage.free(view.host),
            HostStanding::Ill | HostStanding::Drained => {
                u32::try_from(needs.iter().filter(own).count()).unwrap_or(u32::MAX)
            }
        };
        Self { view, slots, ports: view.usage.free_ports(view.host) }
    }

    fn fits(&self, unit: &Unit<'_>) -> bool {
        self.slots >= unit.slots && self.ports >= unit.ports && self.takes(unit)
    }

    fn takes(&self, unit: &Unit<'_>) -> bool {
        unit.sliver_types.iter().all(|kind| self.view.host.takes(kind))
    }

    fn take(&mut self, unit: &Unit<'_>) {
        self.slots -= unit.slots;
        self.ports -= unit.ports;
    }

    fn give_back(&mut self, unit: &Unit<'_>) {
        self.slots += unit.slots;
        self.ports += unit.ports;
    }
}

/// The host of each node, as an index of `hosts`. Bound nodes are placed first, so that no other takes their room.
///
/// # Errors
/// [`Unplaceable`] if not all nodes find room, or not where they have to be.
pub fn place(needs: &[Need<'_>], cables: &[Cable], hosts: &[HostView<'_>]) -> Result<Placement, Unplaceable> {
    let mut rooms: Vec<Room<'_>> = hosts.iter().map(|view| Room::of(view, needs)).collect();
    let units = Units::new(needs, cables, hosts)?;
    let mut placed: Vec<Option<usize>> = vec![None; units.list.len()];
    for (number, unit) in units.list.iter().enumerate() {
        let Some(host) = unit.fixed else { continue };
        if !rooms[host].fits(unit) {
            return Err(refusal(unit, hosts));
        }
        rooms[host].take(unit);
        placed[number] = Some(host);
    }
    // What is in the way of the first that has room and is impossible all the same.
    let in_the_way = Cell::new(None);
    let attempt = |fill: fn(&Units<'_>, &mut [Room<'_>], &mut [Option<usize>])| {
        let (mut rooms, mut placed) = (rooms.clone(), placed.clone());
        fill(&units, &mut rooms, &mut placed);
        let mut chosen: Vec<usize> = placed.iter().copied().collect::<Option<_>>()?;
        let traffic = refine::refine(&units, &mut rooms, &mut chosen);
        match apart(cables, &of_nodes(&units, &chosen, needs.len()), hosts) {
            None => Some((traffic, chosen)),
            Some(apart) => {
                in_the_way.set(in_the_way.take().or(Some(apart)));
                None
            }
        }
    };
    let mut best = attempt(grow::grow);
    if best.as_ref().is_none_or(|(traffic, _)| *traffic > 0) {
        // Units that few hosts take may have found those full of others: once more, these first.
        best = best.or_else(|| attempt(grow::choosiest_first));
        let other = attempt(grow::in_order);
        if other.as_ref().is_some_and(|(traffic, _)| best.as_ref().is_none_or(|(least, _)| traffic < least)) {
            best = other;
        }
    }
    let Some((_, chosen)) = best else {
        if let Some(apart) = in_the_way.take() {
            return Err(Unplaceable::Apart(apart));
        }
        let large =
            units.list.iter().find(|unit| unit.fixed.is_none() && !rooms.iter().any(|room| room.fits(unit)));
        return Err(large.map_or_else(|| Unplaceable::Room(free_on(hosts)), |unit| refusal(unit, hosts)));
    };
    let notices = units.list.iter().zip(&chosen).filter_map(|(unit, host)| {
        let partition = unit.partition.filter(|_| unit.fixed.is_none())?;
        let host = hosts[*host].host.name();
        let text =
            format!("there is no host {partition:?} here: nodes of that partition are together on {host}");
        Some(Diagnostic::new(Severity::Notice, text))
    });
    Ok(Placement { notices: notices.collect(), hosts: of_nodes(&units, &chosen, needs.len()) })
}

/// The host of each of so many nodes, from the hosts of units.
fn of_nodes(units: &Units<'_>, chosen: &[usize], nodes: usize) -> Vec<usize> {
    let mut of_node = vec![0; nodes];
    for (unit, host) in units.list.iter().zip(chosen) {
        unit.nodes.iter().for_each(|node| of_node[*node] = *host);
    }
    of_node
}

/// The first cable that would go from a host to another and cannot.
fn apart(cables: &[Cable], places: &[usize], hosts: &[HostView<'_>]) -> Option<Apart> {
    if hosts.iter().all(|view| !view.host.is_alone()) {
        return None;
    }
    let name = |host: usize| hosts[host].host.name().clone();
    cables.iter().enumerate().find_map(|(number, cable)| {
        let on = || cable.nodes.iter().map(|node| places[*node]);
        let alone = on().find(|host| hosts[*host].host.is_alone())?;
        let other = on().find(|host| *host != alone)?;
        Some(Apart { cable: number, alone: name(alone), other: name(other) })
    })
}

/// Megabits per second that pass between hosts: of each cable its weight for every host beyond the first.
#[must_use]
pub fn traffic_between_hosts(cables: &[Cable], hosts: &[usize]) -> u64 {
    let crossings = |cable: &Cable| {
        let mut on: Vec<usize> = cable.nodes.iter().map(|node| hosts[*node]).collect();
        on.sort_unstable();
        on.dedup();
        on.len().saturating_sub(1) as u64 * cable.weight
    };
    cables.iter().map(crossings).sum()
}

fn refusal(unit: &Unit<'_>, hosts: &[HostView<'_>]) -> Unplaceable {
    match unit.partition {
        None => Unplaceable::Room(free_on(hosts)),
        Some(partition) => {
            let free: Vec<String> = match unit.fixed {
                Some(host) => free_on(&hosts[host..=host]).iter().map(ToString::to_string).collect(),
                None => free_on(hosts).iter().map(ToString::to_string).collect(),
            };
            let why = format!("no host has room for it as a whole; free {}", free.join(", "));
            Unplaceable::Partition { partition: partition.to_owned(), nodes: unit.nodes.len(), why }
        }
    }
}

pub(crate) fn free_on(hosts: &[HostView<'_>]) -> Vec<FreeOn> {
    hosts
        .iter()
        .map(|view| FreeOn {
            host: view.host.name().clone(),
            nodes: view.usage.free(view.host),
            ports: view.usage.free_ports(view.host),
            standing: view.standing,
        })
        .collect()
}
