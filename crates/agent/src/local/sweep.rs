//! Removes what carries the testbed's mark and nobody wants.

use testyard_model::sliver_type::RuntimeKind;
use testyard_runtime::{NodeKey, NodeSeen, Runtime};

use super::roster::{Shared, lock};
use crate::node::task::Context;

/// What the runtimes have, spares aside: those are the pool's.
pub(super) async fn list(context: &Context) -> Result<Vec<(RuntimeKind, NodeSeen)>, String> {
    let mut all = Vec::new();
    for runtime in context.runtimes.values() {
        let seen = runtime.list().await.map_err(|error| error.to_string())?;
        let nodes = seen.into_iter().filter(|seen| !seen.key.is_spare());
        all.extend(nodes.map(|seen| (runtime.kind(), seen)));
    }
    Ok(all)
}

/// Removes what carries this testbed's mark and nobody wants, then reports the slices that nothing is left of. Nothing,
/// before the controller has said what it wants. False if it has to be done again.
pub(super) async fn sweep(context: &Context, state: &Shared) -> bool {
    let leaving = std::mem::take(&mut lock(state).leaving);
    let clean = sweep_nodes(context, state).await
        && sweep_interfaces(context, state).await
        && sweep_links(context, state).await;
    let mut state = lock(state);
    if clean {
        for gone in leaving {
            state.tell(&gone);
        }
    } else {
        state.leaving.extend(leaving);
    }
    clean
}

async fn sweep_nodes(context: &Context, state: &Shared) -> bool {
    let Ok(all) = list(context).await else { return false };
    // The list is older than this look at the state: a node that is in the list and in no task has lost its task.
    let orphans: Vec<(RuntimeKind, NodeKey)> = {
        let mut state = lock(state);
        state.listed = true;
        if !state.synced {
            return false;
        }
        let wanted = |key: &NodeKey| match state.node(key) {
            None => false,
            Some(node) => node
                .wanted
                .borrow()
                .as_ref()
                .is_none_or(|wanted| key.disk >= wanted.node.disk || node.seen.is_none()),
        };
        all.into_iter().filter(|(_, seen)| !wanted(&seen.key)).map(|(kind, seen)| (kind, seen.key)).collect()
    };
    let mut clean = true;
    for (kind, key) in orphans {
        if let Some(runtime) = context.runtimes.get(&kind) {
            clean &= remove_orphan(&**runtime, &key).await;
        }
    }
    clean
}

async fn sweep_interfaces(context: &Context, state: &Shared) -> bool {
    let attached = match context.fabric.attached().await {
        Ok(attached) => attached,
        Err(error) => {
            tracing::warn!(%error, "cannot look for interfaces that nobody wants");
            return false;
        }
    };
    let mut clean = true;
    for attached in attached {
        if lock(state).has_sliver(attached.sliver) {
            continue;
        }
        if let Err(error) = context.fabric.detach(attached.sliver).await {
            tracing::warn!(%error, "cannot remove an interface that nobody wants");
            clean = false;
        }
    }
    clean
}

async fn sweep_links(context: &Context, state: &Shared) -> bool {
    let joined = match context.fabric.joined().await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(%error, "cannot look for links that nobody wants");
            return false;
        }
    };
    let mut clean = true;
    for slice in joined {
        if lock(state).slices.get(&slice).is_some_and(|entry| entry.keeper.is_some()) {
            continue;
        }
        if let Err(error) = context.fabric.part(slice).await {
            tracing::warn!(%error, "cannot remove links that nobody wants");
            clean = false;
        }
    }
    clean
}

pub(super) async fn remove_orphan(runtime: &dyn Runtime, key: &NodeKey) -> bool {
    match runtime.remove(key).await {
        Ok(()) => {
            tracing::info!(%key, "removed what nobody wants any more");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot remove what nobody wants any more");
            false
        }
    }
}
