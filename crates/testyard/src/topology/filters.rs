//! Filters of captures, tried on this machine before a link is made for them.

use std::collections::BTreeMap;

use testyard_fabric::FabricError;
use testyard_fabric::capture::{CaptureError, try_filter};
use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::topology::Topology;

/// What is wrong with the filters of a topology's captures, each said once; that they could not be tried, if so.
pub(super) fn tried(topology: &Topology) -> Vec<Diagnostic> {
    let mut links: BTreeMap<&str, &str> = BTreeMap::new();
    for link in &topology.links {
        if let Some(filter) = link.capture.as_ref().and_then(|capture| capture.filter.as_deref()) {
            links.entry(filter).or_insert(link.client_id.as_str());
        }
    }
    if links.is_empty() {
        return Vec::new();
    }
    let told = |(filter, link): (&str, &str), error: CaptureError| match error {
        CaptureError::Filter { .. } => Diagnostic::new(Severity::Error, format!("link {link:?}: {error}"))
            .suggest("see pcap-filter(7): like `tcp port 80`, or `icmp and host 10.1.1.2`"),
        error => not_tried(&format!("{filter:?}"), &error.to_string()),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Err(error) => vec![not_tried("of captures", &error.to_string())],
        Ok(runtime) => runtime.block_on(async {
            let mut all = Vec::new();
            for (filter, link) in links {
                match try_filter(filter).await {
                    Ok(()) => {}
                    // Nor can the others be.
                    Err(error @ CaptureError::Fabric(FabricError::Lacking(_))) => {
                        return vec![not_tried("of captures", &error.to_string())];
                    }
                    Err(error) => all.push(told((filter, link), error)),
                }
            }
            all
        }),
    }
}

fn not_tried(which: &str, why: &str) -> Diagnostic {
    Diagnostic::new(Severity::Notice, format!("filters {which} are not tried here: {why}"))
}
