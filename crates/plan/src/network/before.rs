//! What the plan that runs gave to members of links: whoever is still on a link keeps what it had there, so that a link put in
//! between others touches none of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use testyard_model::mac::Mac;
use testyard_model::name::ClientId;

use crate::network::device::Device;
use crate::network::pairs::{Name, pairs};
use crate::network::parts::{NetworkLink, NetworkMember, NetworkPlan};
use crate::network::resolve::{Resolved, Spot};

/// Links that run, by name.
#[derive(Debug, Default)]
pub(crate) struct Before<'p> {
    links: HashMap<&'p ClientId, &'p NetworkLink>,
}

impl<'p> Before<'p> {
    pub(crate) fn of(previous: Option<&'p NetworkPlan>) -> Self {
        let links = previous.into_iter().flat_map(NetworkPlan::links);
        Self { links: links.map(|link| (&link.client_id, link)).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// What this link was.
    pub(crate) fn link(&self, link: &ClientId) -> Option<&'p NetworkLink> {
        self.links.get(link).copied()
    }

    /// What each member of a link was there.
    pub(crate) fn members(
        &self,
        resolved: &Resolved<'_>,
        link: &ClientId,
        spots: &[Spot<'_>],
    ) -> Vec<Option<&'p NetworkMember>> {
        let Some(before) = self.link(link) else { return vec![None; spots.len()] };
        let node = |spot: &Spot<'_>| &resolved.topology.nodes[spot.node as usize].client_id;
        let now: Vec<Name<'_>> = spots.iter().map(|spot| (node(spot), &spot.interface.client_id)).collect();
        let places = pairs(&before.member_names(), &now).into_iter();
        places.map(|place| before.members.get(place?)).collect()
    }
}

/// Names and Ethernet addresses of interfaces, of which those that run have theirs already.
#[derive(Debug, Default)]
pub(crate) struct Given {
    devices: HashMap<u32, BTreeSet<Device>>,
    pub(crate) macs: HashSet<Mac>,
}

impl Given {
    /// All that is kept.
    pub(crate) fn of(resolved: &Resolved<'_>, kept: &[Vec<Option<&NetworkMember>>]) -> Self {
        let mut given = Self::default();
        for (spot, member) in resolved.links.iter().flatten().zip(kept.iter().flatten()) {
            if let Some(member) = member {
                given.devices.entry(spot.node).or_default().insert(member.device);
                given.macs.insert(member.mac);
            }
        }
        given
    }

    /// The name of a new interface: by its place among its node's if nobody has it, else the first that nobody has.
    pub(crate) fn device(&mut self, spot: &Spot<'_>) -> Device {
        let taken = self.devices.entry(spot.node).or_default();
        let places = std::iter::once(spot.port).chain(0..);
        let free = places.map(Device::of_port).find(|device| taken.insert(*device));
        free.unwrap_or_else(|| unreachable!("a node has fewer interfaces than there are numbers"))
    }
}
