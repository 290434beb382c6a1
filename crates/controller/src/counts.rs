//! What is there, in numbers: for metrics, and for tests that look for leaks.

use std::collections::BTreeMap;

use testyard_model::id::HostName;
use testyard_model::state::Operational;

use crate::core::Core;

/// What is there, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Slices with living slivers.
    pub slices: usize,
    /// Slices of which only something on its way out is left.
    pub ended: usize,
    /// Slivers that are allocated.
    pub allocated: usize,
    /// Slivers that are provisioned.
    pub provisioned: usize,
    /// Slivers that their hosts are removing.
    pub leaving: usize,
    /// Slices that operators have shut down, also those of which nothing is left.
    pub shut_down: usize,
    /// Links of living slices.
    pub links: usize,
    /// What is in use on each host.
    pub hosts: BTreeMap<HostName, HostCounts>,
}

/// What is in use on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Slots, those of leaving slivers and of allocations on their way too.
    pub nodes: u32,
    /// Ports of the configured range.
    pub ports: u32,
    /// Ports of that range that are free.
    pub free_ports: u32,
    /// What the slivers of living slices on it do.
    pub slivers: BTreeMap<Operational, u32>,
    /// Images of URLs that are on it, or on their way.
    pub images: u32,
}

impl Core {
    pub(crate) fn counts(&self) -> Counts {
        let (settings, state) = (self.settings.load(), self.shared.read());
        let mut counts = Counts { shut_down: state.shutdowns.len(), ..Counts::default() };
        let mut doing: BTreeMap<&HostName, BTreeMap<Operational, u32>> = BTreeMap::new();
        for slice in state.slices() {
            if slice.ended() {
                counts.ended += 1;
            } else {
                counts.slices += 1;
                counts.links += slice.networks.values().map(|network| network.links().count()).sum::<usize>();
            }
            for sliver in slice.slivers.iter().filter(|sliver| !sliver.is_leaving()) {
                let of_host = doing.entry(&sliver.host).or_default();
                *of_host.entry(state.operational(sliver).0).or_default() += 1;
            }
            for sliver in &slice.slivers {
                match sliver.state {
                    testyard_store::SliverState::Allocated => counts.allocated += 1,
                    testyard_store::SliverState::Provisioned => counts.provisioned += 1,
                    testyard_store::SliverState::Leaving(_) => counts.leaving += 1,
                }
            }
        }
        for host in settings.hosts() {
            let resources = &host.resources;
            let usage = state.usage.get(resources.name()).cloned().unwrap_or_default();
            let (name, free_ports) = (resources.name(), usage.free_ports(resources));
            let ports = resources.ports().len() - free_ports;
            let images =
                state.images.iter().filter(|((_, host), _)| host == name).map(|(_, made)| made.len());
            let of_host = HostCounts {
                nodes: usage.nodes(),
                ports,
                free_ports,
                slivers: doing.remove(name).unwrap_or_default(),
                images: u32::try_from(images.sum::<usize>()).unwrap_or(u32::MAX),
            };
            counts.hosts.insert(name.clone(), of_host);
        }
        counts
    }
}
