//! What a plan takes of hosts is marked in memory before it is written, so that plans made meanwhile take something
//! else, and given back if it is not carried out, whatever the reason.

use testyard_model::id::{HostName, SliceTag};
use testyard_model::tunnel::Vni;
use testyard_plan::{Holding, Taken};

use crate::core::Shared;
use crate::state::State;

/// What a change takes beside what its slice has already.
#[derive(Debug)]
pub(crate) struct Reservation {
    shared: Shared,
    tag: Option<SliceTag>,
    nodes: Vec<(HostName, Holding)>,
    ports: Vec<(HostName, Vec<u16>)>,
    vnis: Vec<Vni>,
}

impl Reservation {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, tag: None, nodes: vec![], ports: vec![], vnis: vec![] }
    }

    /// A number for a new slice.
    pub(crate) fn tag(&mut self, state: &mut State) -> SliceTag {
        let tag = state.take_tag();
        self.tag = Some(tag);
        tag
    }

    /// Whether it has numbers for links between hosts.
    pub(crate) fn has_vnis(&self) -> bool {
        !self.vnis.is_empty()
    }

    /// A number for a link between hosts.
    pub(crate) fn vni(&mut self, state: &mut State) -> Vni {
        let vni = state.take_vni();
        self.vnis.push(vni);
        vni
    }

    /// A slot with addresses and ports.
    pub(crate) fn node(&mut self, state: &mut State, host: &HostName, holding: Holding) -> Result<(), Taken> {
        state.usage.entry(host.clone()).or_default().hold(&holding)?;
        self.nodes.push((host.clone(), holding));
        Ok(())
    }

    /// Further ports for a node that is there.
    pub(crate) fn ports(&mut self, state: &mut State, host: &HostName, ports: Vec<u16>) -> Result<(), Taken> {
        state.usage.entry(host.clone()).or_default().hold_ports(&ports)?;
        self.ports.push((host.clone(), ports));
        Ok(())
    }

    /// It has been carried out: what was marked is the slice's now.
    pub(crate) fn keep(mut self) {
        self.tag = None;
        self.nodes.clear();
        self.ports.clear();
        self.vnis.clear();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.tag.is_none() && self.nodes.is_empty() && self.ports.is_empty() && self.vnis.is_empty() {
            return;
        }
        let mut state = self.shared.write();
        if let Some(tag) = self.tag {
            state.release_tag(tag);
        }
        for vni in &self.vnis {
            state.release_vni(*vni);
        }
        for (host, holding) in &self.nodes {
            state.usage.entry(host.clone()).or_default().release(holding);
        }
        for (host, ports) in &self.ports {
            state.usage.entry(host.clone()).or_default().release_ports(ports);
        }
    }
}
