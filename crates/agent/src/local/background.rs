//! What a host does in the background: puts reports together, listens to runtimes and to the fabric.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use testyard_model::id::SliceId;
use testyard_runtime::RuntimeEvent;
use tokio::sync::mpsc;

use super::roster::{Seen, Shared, lock};
use super::sweep::{remove_orphan, sweep};
use crate::images::Images;
use crate::node::task::{Context, Report};
use crate::node::wake::Wake;

/// How soon what could not be mended is looked at again.
const MEND_AGAIN: Duration = Duration::from_secs(1);

/// Puts what the node tasks say together, a slice at a time.
pub(super) async fn gather(
    images: Arc<Images>,
    state: Shared,
    mut reported: mpsc::UnboundedReceiver<Report>,
) {
    let mut batch = Vec::new();
    while reported.recv_many(&mut batch, 10_000).await > 0 {
        let mut state = lock(&state);
        let mut changed: Vec<SliceId> = Vec::new();
        for report in batch.drain(..) {
            let slice = match report {
                Report::Slice(slice) => slice,
                Report::Node(report) => {
                    let Some(entry) = state.slices.get_mut(&report.slice) else { continue };
                    match report.node {
                        Some(seen) => {
                            let mut nodes = entry.nodes.iter_mut();
                            if let Some((_, node)) = nodes.find(|(id, _)| *id == report.sliver) {
                                node.seen = Some(Seen { node: seen, issue: report.issue });
                            }
                        }
                        None => entry.nodes.retain(|(id, _)| *id != report.sliver),
                    }
                    report.slice
                }
            };
            if !changed.contains(&slice) {
                changed.push(slice);
            }
        }
        for slice in changed {
            let Some(entry) = state.slices.get(&slice) else { continue };
            let observed = entry.observed(slice, &images);
            // Nothing may be reported as gone that is still there.
            if entry.nodes.is_empty() && !entry.is_gone() {
                continue;
            }
            if entry.is_gone() {
                images.forget(slice);
                state.slices.remove(&slice);
            }
            state.tell(&observed);
        }
    }
}

/// Wakes the tasks of nodes that something has happened to, and removes what nobody wants.
pub(super) async fn watch_runtimes(context: Arc<Context>, state: Shared) {
    let streams = context.runtimes.values().map(|runtime| {
        let kind = runtime.kind();
        runtime.events().map(move |event| (kind, event))
    });
    let mut events = futures_util::stream::select_all(streams);
    while let Some((kind, event)) = events.next().await {
        match event {
            RuntimeEvent::Changed(key) if key.is_spare() => context.pool.look(key),
            RuntimeEvent::Changed(key) => {
                let orphan = {
                    let state = lock(&state);
                    match state.node(&key) {
                        Some(node) => {
                            node.wake.look();
                            false
                        }
                        None => state.synced,
                    }
                };
                if orphan && let Some(runtime) = context.runtimes.get(&kind) {
                    remove_orphan(&**runtime, &key).await;
                }
            }
            RuntimeEvent::Resync => {
                let wakes: Vec<Arc<Wake>> = {
                    let state = lock(&state);
                    state
                        .slices
                        .values()
                        .flat_map(|entry| &entry.nodes)
                        .map(|(_, node)| Arc::clone(&node.wake))
                        .collect()
                };
                wakes.iter().for_each(|wake| wake.look_after_absence());
                context.pool.look_at_all();
                // If it fails, another resync is on its way, or whoever asked for the sweep tries again.
                sweep(&context, &state).await;
            }
        }
    }
}

/// Mends packet rules when something outside has changed them, and wires when they have ended.
pub(super) async fn watch_fabric(context: Arc<Context>, state: Shared) {
    let mut disturbances = context.fabric.disturbances();
    let mut mended = true;
    loop {
        let again = async {
            if mended { std::future::pending().await } else { tokio::time::sleep(MEND_AGAIN).await }
        };
        tokio::select! {
            disturbance = disturbances.next() => if disturbance.is_none() { return },
            () = again => {}
        }
        let outcome = context.fabric.repair().await;
        mended = outcome.is_ok();
        match outcome {
            Ok(repairs) if repairs.is_empty() => {}
            Ok(repairs) => {
                tracing::warn!(?repairs, "something outside had changed the network of nodes; mended")
            }
            Err(error) => {
                tracing::error!(%error, "cannot mend the network of nodes; will look again");
                // A slice whose links are not as they should be says so, and tries by itself.
                lock(&state).slices.values().for_each(|entry| entry.links.look());
            }
        }
    }
}
