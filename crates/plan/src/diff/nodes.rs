//! Nodes: what they run on and what they boot.

use std::collections::HashMap;

use testyard_model::name::ClientId;
use testyard_model::topology::{OnFailure, Storage};

use crate::diff::{Change, Difference, HOST_NAME, note};
use crate::plan::PlannedNode;
use crate::ports::PortForward;

pub(super) fn diff(old: &[PlannedNode], new: &[PlannedNode]) -> Vec<Change> {
    let before: HashMap<&ClientId, &PlannedNode> = old.iter().map(|node| (&node.client_id, node)).collect();
    let after: HashMap<&ClientId, &PlannedNode> = new.iter().map(|node| (&node.client_id, node)).collect();
    let gone = old.iter().filter(|node| !after.contains_key(&node.client_id));
    let mut changes: Vec<Change> =
        gone.map(|node| Change::NodeRemoved { node: node.client_id.clone() }).collect();
    for node in new {
        match before.get(&node.client_id) {
            None => changes.push(Change::NodeAdded { node: node.client_id.clone() }),
            Some(old) if *old == node => {}
            Some(old) => changes.extend(change(old, node)),
        }
    }
    changes
}

/// The one change of a node that includes all others: a replaced node restarts, and one that restarts takes everything
/// else up with it.
fn change(old: &PlannedNode, new: &PlannedNode) -> Option<Change> {
    let node = new.client_id.clone();
    let mut what: Vec<Difference> = Vec::new();
    note(&mut what, "host", &old.host, &new.host, ToString::to_string);
    note(&mut what, "image", &old.image, &new.image, ToString::to_string);
    note(&mut what, "kind", &old.sliver_type, &new.sliver_type, |kind| kind.name.to_string());
    let replaced = what.len();
    note(&mut what, HOST_NAME, &old.hostname, &new.hostname, ToString::to_string);
    note(&mut what, "control address", &old.ipv4, &new.ipv4, ToString::to_string);
    let address = |address: &Option<std::net::Ipv6Addr>| address.map_or("none".to_owned(), |a| a.to_string());
    note(&mut what, "IPv6 control address", &old.ipv6, &new.ipv6, address);
    let services = |services: &testyard_model::service::Services| {
        format!("(installs {}, commands {})", services.installs.len(), services.executes.len())
    };
    note(&mut what, "services", &old.services, &new.services, services);
    let restarts = what.len();
    let forwards = |forwards: &Vec<PortForward>| {
        let shown: Vec<String> =
            forwards.iter().map(|forward| format!("{}:{}", forward.host_port, forward.port)).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
    };
    note(&mut what, "ports", &old.forwards, &new.forwards, forwards);
    let folders = |storage: &Vec<Storage>| {
        let paths: Vec<&str> = storage.iter().map(|storage| storage.mount_point.as_str()).collect();
        if paths.is_empty() { "none".to_owned() } else { paths.join(" ") }
    };
    note(&mut what, "storage", &old.storage, &new.storage, folders);
    let meaning = |on_failure: &OnFailure| format!("{on_failure:?}").to_lowercase();
    note(&mut what, "on failure", &old.on_failure, &new.on_failure, meaning);
    match (replaced, restarts, what.len()) {
        (0, 0, 0) => None,
        (0, 0, _) => Some(Change::NodeChanged { node, what }),
        (0, _, _) => Some(Change::NodeRestarts { node, what }),
        _ => Some(Change::NodeReplaced { node, what }),
    }
}
