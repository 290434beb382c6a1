//! What the engine has of this testbed.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt as _, TryStreamExt as _};
use testyard_runtime::{NodeKey, NodeSeen, PowerSeen, RuntimeError};

use crate::engine::Fault;
use crate::mark;
use crate::power;
use crate::runtime::DockerRuntime;

/// How many containers are looked at at the same time.
const PARALLEL: usize = 16;

/// All nodes. The engine's list lacks process ids and starts, so those that run are looked at one by one; of those
/// that have ended only the killed ones, who may have been out of memory.
pub(crate) async fn list(runtime: &DockerRuntime) -> Result<Vec<NodeSeen>, RuntimeError> {
    let containers = containers(runtime).await?;
    let nodes = containers.into_iter().map(|(key, summary)| async move {
        let power = match from_summary(&summary) {
            Some(power) => Some(power),
            None => power::inspect(runtime, &runtime.container_name(&key))
                .await?
                .and_then(|container| container.state)
                .map(|state| power::power(&state)),
        };
        Ok(power.map(|power| NodeSeen { key, power }))
    });
    futures_util::stream::iter(nodes)
        .buffered(PARALLEL)
        .try_filter_map(|seen| std::future::ready(Ok(seen)))
        .try_collect()
        .await
        .map_err(Fault::anywhere)
}

/// One node, by one call: a list of all for each event of each would keep the engine from its work.
pub(crate) async fn look(runtime: &DockerRuntime, key: &NodeKey) -> Result<Option<NodeSeen>, RuntimeError> {
    let found = power::inspect(runtime, &runtime.container_name(key)).await.map_err(Fault::anywhere)?;
    let Some(container) = found.filter(|container| power::whose(runtime, container) == Some(*key)) else {
        return Ok(None);
    };
    Ok(container.state.map(|state| NodeSeen { key: *key, power: power::power(&state) }))
}

/// The nodes, without a look at how they are.
pub(crate) async fn keys(runtime: &DockerRuntime) -> Result<Vec<NodeKey>, RuntimeError> {
    Ok(containers(runtime).await?.into_iter().map(|(key, _)| key).collect())
}

/// The node that was made as this spare, whatever it is now.
pub(crate) async fn made_as(
    runtime: &DockerRuntime,
    spare: &NodeKey,
) -> Result<Option<NodeKey>, RuntimeError> {
    let has_its_folder = |summary: &ContainerSummary| {
        let mut sources = summary.mounts.iter().flatten().filter_map(|mount| mount.source.as_deref());
        sources.any(|source| mark::spare(Path::new(source)) == Some(*spare))
    };
    let all = containers(runtime).await?;
    Ok(all.into_iter().find(|(_, summary)| has_its_folder(summary)).map(|(key, _)| key))
}

async fn containers(runtime: &DockerRuntime) -> Result<Vec<(NodeKey, ContainerSummary)>, RuntimeError> {
    let instance = &runtime.config.instance;
    let filters = HashMap::from([("label".to_owned(), vec![mark::filter(instance)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = runtime
        .engine
        .call(async |docker| docker.list_containers(Some(options)).await)
        .await
        .map_err(Fault::anywhere)?;
    Ok(listed
        .into_iter()
        .filter_map(|summary| {
            let name = summary.names.as_ref().and_then(|names| names.first()).map_or("", String::as_str);
            let key = mark::key(instance, summary.labels.as_ref()?, name);
            if key.is_none() {
                tracing::warn!(container = ?summary.names, "carries this testbed's mark, but names no node");
            }
            Some((key?, summary))
        })
        .collect())
}

/// What the engine's list tells, where it tells enough.
fn from_summary(summary: &ContainerSummary) -> Option<PowerSeen> {
    const KILLED: i64 = 137;
    match summary.state? {
        State::CREATED => Some(PowerSeen::Created),
        State::EXITED => {
            let exit = exit_status(summary.status.as_deref()?)?;
            (exit != KILLED).then_some(PowerSeen::Stopped { exit: Some(exit), out_of_memory: false })
        }
        State::DEAD | State::REMOVING => Some(PowerSeen::Stopped { exit: None, out_of_memory: false }),
        _ => None,
    }
}

/// `Exited (3) 2 minutes ago`.
fn exit_status(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_list_cannot_tell_is_looked_at() {
        let seen = |state, status: &str| {
            from_summary(&ContainerSummary {
                state: Some(state),
                status: Some(status.to_owned()),
                ..ContainerSummary::default()
            })
        };
        assert_eq!(seen(State::CREATED, "Created"), Some(PowerSeen::Created));
        let ended = PowerSeen::Stopped { exit: Some(3), out_of_memory: false };
        assert_eq!(seen(State::EXITED, "Exited (3) 2 minutes ago"), Some(ended));
        assert_eq!(seen(State::EXITED, "Exited (137) 2 minutes ago"), None);
        assert_eq!(seen(State::RUNNING, "Up 2 minutes"), None);
    }
}
