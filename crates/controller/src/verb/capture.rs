//! Captures: the hosts that links are on are asked, and what they see is handed on.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use testyard_fabric::FabricError;
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream, CapturedLinks};
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_plan::{Plan, PlannedNode};
use testyard_store::AuditObject;

use crate::api::{Caller, Capture, Refusal};
use crate::core::Core;
use crate::merged::merged;
use crate::network::ChangeError;
use crate::select::nothing;

impl Core {
    pub(crate) async fn capture(&self, caller: &Caller, request: Capture) -> Result<CaptureStream, Refusal> {
        self.admit(caller, &request.slice)?;
        let (slice, hosts, asked) = self.find(&request)?;
        let request = &request;
        let begin = |host: HostName| {
            let (driver, asked) = (self.drivers.get(&host), asked.clone());
            async move {
                let driver = driver.ok_or_else(|| nothing(&request.slice))?;
                match driver.host.capture(slice, asked).await {
                    Ok(stream) => Ok((host, stream)),
                    Err(error) => Err(self.why_none(error)),
                }
            }
        };
        let mut captures = try_join_all(hosts.into_iter().map(begin)).await?;
        // Packets are what their users say to each other: who looks at them is on record.
        let detail =
            request.link.as_ref().map_or_else(|| "all links".to_owned(), |link| format!("link {link}"));
        self.audit(caller, AuditObject::Slice(request.slice.clone()), "capture", detail).await?;
        match captures.len() {
            0 => Err(nothing(&request.slice)),
            1 => Ok(captures.remove(0).1),
            _ => Ok(merged(captures)),
        }
    }

    /// Refuses a plan with links whose packets could not be captured as it asks for, where they are to be: a mistake in a
    /// filter is its author's to mend, before anything runs.
    pub(super) async fn try_captures(&self, plan: &Plan) -> Result<(), Refusal> {
        let links = plan.network.iter().flat_map(|network| network.links());
        let mut tried = BTreeSet::new();
        for link in links {
            let Some(filter) = link.capture.as_ref().and_then(|capture| capture.filter.as_deref()) else {
                continue;
            };
            let on_link =
                |node: &&PlannedNode| link.members.iter().any(|member| member.node == node.client_id);
            for node in plan.nodes.iter().filter(on_link) {
                let Some(driver) =
                    self.drivers.get(&node.host).filter(|_| tried.insert((&node.host, filter)))
                else {
                    continue;
                };
                driver.host.try_filter(filter).await.map_err(|error| match self.why_none(error) {
                    Refusal::BadRequest(text) => {
                        Refusal::BadRequest(format!("link {}: {text}", link.client_id))
                    }
                    Refusal::Unsupported(text) => {
                        Refusal::Unsupported(format!("link {}: {text}", link.client_id))
                    }
                    other => other,
                })?;
            }
        }
        Ok(())
    }

    fn why_none(&self, error: CaptureError) -> Refusal {
        match error {
            CaptureError::NotJoined { .. } | CaptureError::NoLink { .. } => Refusal::Unsupported(
                "the links are not there yet, or not any more: wait until the slice is ready".to_owned(),
            ),
            CaptureError::TooMany { .. } | CaptureError::Memory { .. } => Refusal::Busy(error.to_string()),
            CaptureError::Filter { .. } => Refusal::BadRequest(error.to_string()),
            CaptureError::Fabric(FabricError::Lacking(text)) => Refusal::Unsupported(text),
            CaptureError::Fabric(error) => self.internal("capture", &error),
        }
    }

    /// The slice, the hosts that the links are on, and what those are asked.
    fn find(&self, request: &Capture) -> Result<(SliceId, BTreeSet<HostName>, CaptureRequest), Refusal> {
        let now = self.clock.now();
        let state = self.shared.read();
        let slice = state.slice(&request.slice).ok_or_else(|| nothing(&request.slice))?;
        let networks = || slice.networks.values();
        let links = match &request.link {
            None => CapturedLinks::All,
            Some(name) => {
                let mut links = networks().flat_map(|network| network.links());
                let found = links.find(|(known, _)| *known == name).map(|(_, sliver)| sliver);
                let sliver =
                    found.ok_or_else(|| match networks().next().map(|network| network.now().link(name)) {
                        Some(Err(error)) => Refusal::from(ChangeError::Live(error)),
                        _ => Refusal::NotFound(format!("slice {} has no links", request.slice)),
                    })?;
                CapturedLinks::One(sliver)
            }
        };
        let concerned = |sliver: &crate::slice::Sliver| {
            let network = slice.networks.get(&sliver.document);
            let mut links =
                network.into_iter().flat_map(|network| network.now().interfaces_of(&sliver.client_id));
            links.any(|(link, _)| request.link.as_ref().is_none_or(|name| link.client_id == *name))
        };
        let hosts = slice.living(now).filter(|sliver| concerned(sliver)).map(|sliver| sliver.host.clone());
        let hosts: BTreeSet<HostName> = hosts.collect();
        let names: BTreeMap<SliverId, String> =
            slice.living(now).map(|sliver| (sliver.id, sliver.client_id.to_string())).collect();
        let asked =
            CaptureRequest { links, snap_length: request.snap_length, filter: request.filter.clone(), names };
        Ok((slice.id, hosts, asked))
    }
}
