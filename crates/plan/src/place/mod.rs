//! Which host a node is on: the one that it is bound to, or the one with the most free slots among those that take
//! its kind, so that nodes spread.

use testyard_model::id::HostName;
use testyard_model::name::SliverTypeName;

use crate::error::FreeOn;
use crate::plan::HostView;

/// What a node needs of its host.
#[derive(Clone, Debug)]
pub struct Need<'a> {
    /// Its kind.
    pub sliver_type: &'a SliverTypeName,
    /// Ports that lead to it.
    pub ports: u32,
    /// The host that it is bound to.
    pub bound: Option<HostName>,
}

struct Room<'a> {
    view: &'a HostView<'a>,
    slots: u32,
    ports: u32,
}

/// The host of each node, as an index of `hosts`. Bound nodes are placed first, so that no other takes their room.
///
/// # Errors
/// What is free on each host, if not all nodes find room.
pub fn place(needs: &[Need<'_>], hosts: &[HostView<'_>]) -> Result<Vec<usize>, Vec<FreeOn>> {
    let mut rooms: Vec<Room<'_>> = hosts
        .iter()
        .map(|view| Room {
            view,
            slots: if view.healthy { view.usage.free(view.host) } else { 0 },
            ports: view.usage.free_ports(view.host),
        })
        .collect();
    let mut placed = vec![None; needs.len()];
    let bound_first =
        |bound: bool| needs.iter().enumerate().filter(move |(_, need)| need.bound.is_some() == bound);
    for (index, need) in bound_first(true).chain(bound_first(false)) {
        let fits = |room: &Room<'_>| {
            room.slots > 0
                && room.ports >= need.ports
                && room.view.host.takes(need.sliver_type)
                && need.bound.as_ref().is_none_or(|name| room.view.host.name() == name)
        };
        // Of hosts with equal room, the first: max_by_key would give the last.
        let best = (0..rooms.len()).rev().filter(|i| fits(&rooms[*i])).max_by_key(|i| rooms[*i].slots);
        let Some(best) = best else { return Err(free_on(hosts)) };
        rooms[best].slots -= 1;
        rooms[best].ports -= need.ports;
        placed[index] = Some(best);
    }
    Ok(placed.into_iter().flatten().collect())
}

pub(crate) fn free_on(hosts: &[HostView<'_>]) -> Vec<FreeOn> {
    hosts
        .iter()
        .map(|view| FreeOn {
            host: view.host.name().clone(),
            nodes: view.usage.free(view.host),
            ports: view.usage.free_ports(view.host),
            healthy: view.healthy,
        })
        .collect()
}
