//! The manifest of some slivers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use testyard_controller::api::{Caller, InterfaceView, SliceView, SliverView};
use testyard_formats::rspec::{
    Endpoint, Forward, ManifestInfo, ManifestInterface, ManifestLink, ManifestNode, RequestDocument,
};
use testyard_guest_protocol::ServiceId;
use testyard_model::urn::UserUrn;

use super::advertisement::component;
use crate::offload::offload;
use crate::settings::AmSettings;

pub(crate) async fn manifest(
    view: SliceView,
    caller: &Caller,
    settings: &Arc<AmSettings>,
    now: Timestamp,
) -> String {
    let (caller, settings) = (caller.user.clone(), Arc::clone(settings));
    let size = view.documents.iter().map(|document| document.text.len()).sum();
    offload(size, move || render(view, &caller, &settings, now)).await
}

fn render(view: SliceView, caller: &UserUrn, settings: &AmSettings, now: Timestamp) -> String {
    let mut numbers = HashMap::new();
    let mut documents = Vec::with_capacity(view.documents.len());
    for document in view.documents {
        match RequestDocument::try_from(document.text) {
            Ok(request) => {
                numbers.insert(document.id, documents.len());
                documents.push(request);
            }
            // It was read when it was allocated; a version that reads less than the one before would be a mistake.
            Err(error) => tracing::error!(%error, document = document.id, "a stored request cannot be read"),
        }
    }
    let nodes = view.slivers.iter().filter_map(|sliver| {
        let document = *numbers.get(&sliver.document)?;
        Some(node(sliver, document, caller, settings))
    });
    let nodes: Vec<ManifestNode> = nodes.collect();
    let expires = view.slivers.iter().map(|sliver| sliver.expires).min();
    let links = view.links.iter().filter_map(|link| {
        let document = *numbers.get(&link.document)?;
        Some(ManifestLink { document, client_id: link.client_id.clone(), sliver: link.urn.clone() })
    });
    let links: Vec<ManifestLink> = links.collect();
    let info = ManifestInfo { context: &settings.requests, links: &links, expires, generated: now };
    testyard_formats::rspec::manifest(&documents, &nodes, &info)
}

fn node(sliver: &SliverView, document: usize, caller: &UserUrn, settings: &AmSettings) -> ManifestNode {
    let endpoint = |port: u16| Endpoint { hostname: sliver.host_address.clone(), port };
    let mut accounts = sliver.accounts.clone();
    // jFed logs in with the last one.
    accounts.sort_by_key(|account| account.user == *caller);
    ManifestNode {
        document,
        client_id: sliver.client_id.clone(),
        sliver: sliver.urn.clone(),
        component: component(settings, &sliver.host),
        sliver_type: sliver.sliver_type.clone(),
        image: sliver.image.clone(),
        host_name: Some(sliver.hostname.to_string()),
        ssh: sliver.ssh_port.map(endpoint),
        ipv4: Some(sliver.address.ipv4),
        ipv6: sliver.address.ipv6,
        accounts,
        host_keys: sliver.host_keys.clone(),
        forwards: sliver
            .forwards
            .iter()
            .map(|forward| Forward { port: forward.port, endpoint: endpoint(forward.host_port) })
            .collect(),
        log_folders: log_folders(sliver),
        interfaces: sliver.interfaces.iter().filter_map(|one| interface(one, sliver, settings)).collect(),
    }
}

fn interface(
    interface: &InterfaceView,
    sliver: &SliverView,
    settings: &AmSettings,
) -> Option<ManifestInterface> {
    Some(ManifestInterface {
        client_id: interface.client_id.clone(),
        // The name of its node's sliver, which is unique, with its own in the node.
        sliver: format!("{}-{}", sliver.urn, interface.device).parse().ok()?,
        component: component(settings, &sliver.host),
        mac: interface.mac,
        addresses: interface.addresses.iter().map(|ip| (ip.addr(), ip.prefix_len())).collect(),
    })
}

/// Where the files of commands are, of those that found `/tmp` closed.
fn log_folders(sliver: &SliverView) -> BTreeMap<usize, String> {
    let reports = sliver.observed.iter().flat_map(|node| &node.services);
    let moved = reports.filter_map(|report| match report.id {
        ServiceId::Execute(index) if !report.folder.is_empty() => {
            Some((index as usize + 1, report.folder.clone()))
        }
        ServiceId::Execute(_) | ServiceId::Install(_) => None,
    });
    moved.collect()
}
