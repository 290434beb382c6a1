//! What is there, in numbers: for metrics, and for tests that look for leaks.

use std::collections::BTreeMap;

use testyard_model::id::HostName;

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
    /// What is in use on each host.
    pub hosts: BTreeMap<HostName, HostCounts>,
}

/// What is in use on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Slots, those of leaving slivers and of allocations on their way too.
    pub nodes: u32,
    /// Ports of the configured range.
    pub ports: u32,
}

impl Core {
    pub(crate) fn counts(&self) -> Counts {
        let (settings, state) = (self.settings.load(), self.shared.read());
        let mut counts = Counts::default();
        for slice in state.slices() {
            if slice.ended() {
                counts.ended += 1;
            } else {
                counts.slices += 1;
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
            let ports = resources.ports().len() - usage.free_ports(resources);
            counts.hosts.insert(resources.name().clone(), HostCounts { nodes: usage.nodes(), ports });
        }
        counts
    }
}
