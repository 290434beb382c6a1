//! What changes if one file takes the place of another in a slice that runs.

use std::collections::HashMap;

use testyard_model::name::ClientId;
use testyard_plan::{Changes, Plan, PlannedNode, diff};

/// Changes from one plan to another. Nodes of both that stay on their hosts keep what they were given there: that others
/// come or go before them in the file gives them no other control address.
pub(super) fn changes(old: &Plan, mut new: Plan) -> Changes {
    let before: HashMap<&ClientId, &PlannedNode> =
        old.nodes.iter().map(|node| (&node.client_id, node)).collect();
    for node in &mut new.nodes {
        let Some(kept) = before.get(&node.client_id).filter(|kept| kept.host == node.host) else { continue };
        (node.ipv4, node.ipv6) = (kept.ipv4, kept.ipv6);
        let same_ports = kept.forwards.len() == node.forwards.len()
            && kept.forwards.iter().zip(&node.forwards).all(|(old, new)| old.port == new.port);
        if same_ports {
            node.forwards.clone_from(&kept.forwards);
        }
    }
    diff(old, &new)
}
