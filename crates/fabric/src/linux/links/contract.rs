//! [`Links`], as [`LinuxFabric`] keeps it: work goes to threads of the fabric, files and child processes are awaited.

use std::path::Path;

use async_trait::async_trait;
use testyard_model::id::SliceId;
use testyard_model::probe::Probed;

use crate::FabricError;
use crate::capture::{CaptureError, CaptureRequest, CaptureStream, try_filter};
use crate::links::probe::ProbeRequest;
use crate::links::{LinkTraffic, Links, NodePorts, SliceLinks};
use crate::linux::{LinuxFabric, filter, open_node, probe};

#[async_trait]
impl Links for LinuxFabric {
    async fn join(&self, wanted: &SliceLinks) -> Result<(), FabricError> {
        let (wanted, slice) = (wanted.clone(), wanted.slice);
        let (wires, links) = self
            .run(move |inner, host| {
                inner.let_in(host, &wanted.links)?;
                let wires = inner.rooms.join(&wanted)?;
                // As they are now: what was wanted may have been an older revision.
                let links = inner.rooms.links(slice);
                inner.keep_out(slice, Some(&links))?;
                Ok((wires, links))
            })
            .await?;
        self.ends.watch(wires);
        self.kept.follow(slice, &links, |request| self.capture(slice, request)).await;
        Ok(())
    }

    async fn plug(&self, slice: SliceId, ports: &NodePorts, netns: &Path) -> Result<(), FabricError> {
        let (ports, netns) = (ports.clone(), netns.to_owned());
        let wire = self
            .run(move |inner, _| {
                let netns = open_node(&netns, ports.node)?;
                inner.rooms.plug(slice, &ports, &netns)
            })
            .await?;
        self.ends.watch(wire);
        Ok(())
    }

    async fn part(&self, slice: SliceId) -> Result<(), FabricError> {
        self.run(move |inner, _| {
            inner.rooms.part(slice)?;
            inner.keep_out(slice, None)
        })
        .await?;
        self.kept.end(slice).await;
        Ok(())
    }

    async fn joined(&self) -> Result<Vec<SliceId>, FabricError> {
        self.run(|inner, _| inner.rooms.joined()).await
    }

    async fn traffic(&self, slice: SliceId) -> Result<Vec<LinkTraffic>, FabricError> {
        self.run(move |inner, _| inner.rooms.traffic(slice)).await
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        let program = filter::compile(request.expression(), request.snap_length).await?;
        self.run(move |inner, _| Ok(inner.rooms.capture(slice, request, program))).await?
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        try_filter(expression).await
    }

    async fn probe(&self, slice: SliceId, request: &ProbeRequest) -> Result<Vec<Probed>, FabricError> {
        let _one = self.probing.lock().await;
        let request = request.clone();
        self.run(move |inner, _| {
            if !inner.rooms.joined()?.contains(&slice) {
                return Err(FabricError::NotJoined { slice });
            }
            Ok(probe::probe(&request))
        })
        .await
    }
}
