//! Links of the fake.

use std::path::Path;

use async_trait::async_trait;
use testyard_model::id::{SliceId, SliverId};

use super::{Call, FakeFabric, Verb, capture};
use crate::FabricError;
use crate::capture::{CaptureError, CaptureRequest, CaptureStream};
use crate::links::{LinkTraffic, Links, NodePorts, SliceLinks};

impl FakeFabric {
    /// The links of a slice as they were last wanted.
    #[must_use]
    pub fn links(&self, slice: SliceId) -> Option<SliceLinks> {
        self.lock().joined.get(&slice).cloned()
    }

    /// A node's interfaces, if it has any and has not ended.
    #[must_use]
    pub fn ports(&self, node: SliverId) -> Option<NodePorts> {
        self.lock().plugged.get(&node).map(|(_, ports)| ports.clone())
    }

    /// What [`Links::traffic`] answers for a slice.
    pub fn set_traffic(&self, slice: SliceId, traffic: Vec<LinkTraffic>) {
        self.lock().traffic.insert(slice, traffic);
    }
}

#[async_trait]
impl Links for FakeFabric {
    async fn join(&self, wanted: &SliceLinks) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Join(wanted.slice));
        inner.enter(Verb::Join)?;
        if inner.joined.get(&wanted.slice).is_some_and(|there| there.revision > wanted.revision) {
            return Ok(());
        }
        inner.joined.insert(wanted.slice, wanted.clone());
        capture::follow(&mut inner.captures, wanted.slice, &wanted.links);
        Ok(())
    }

    async fn plug(&self, slice: SliceId, ports: &NodePorts, netns: &Path) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Plug(ports.node, netns.to_owned()));
        inner.enter(Verb::Plug)?;
        if inner.gone.contains(netns) {
            return Err(FabricError::Gone { sliver: ports.node });
        }
        if !inner.joined.contains_key(&slice) {
            if ports.ports.is_empty() {
                return Ok(());
            }
            return Err(FabricError::NotJoined { slice });
        }
        inner.plugged.insert(ports.node, (slice, ports.clone()));
        Ok(())
    }

    async fn part(&self, slice: SliceId) -> Result<(), FabricError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Part(slice));
        inner.enter(Verb::Part)?;
        inner.joined.remove(&slice);
        capture::end(&mut inner.captures, slice);
        inner.plugged.retain(|_, (of, _)| *of != slice);
        Ok(())
    }

    async fn joined(&self) -> Result<Vec<SliceId>, FabricError> {
        let mut inner = self.lock();
        inner.enter(Verb::Joined)?;
        let mut slices: Vec<SliceId> = inner.joined.keys().copied().collect();
        slices.extend(inner.plugged.values().map(|(slice, _)| *slice));
        slices.sort_unstable();
        slices.dedup();
        Ok(slices)
    }

    async fn traffic(&self, slice: SliceId) -> Result<Vec<LinkTraffic>, FabricError> {
        Ok(self.lock().traffic.get(&slice).cloned().unwrap_or_default())
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        let mut inner = self.lock();
        inner.calls.push(Call::Capture(slice));
        inner.enter(Verb::Capture)?;
        let links = match inner.joined.get(&slice) {
            Some(joined) => joined.links.clone(),
            None => return Err(CaptureError::NotJoined { slice }),
        };
        capture::begin(&mut inner.captures, slice, request, &links)
    }
}
