//! Making, starting, stopping and removing a node. Each may be called again at any time.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use testyard_runtime::{NodeKey, NodeSpec, PowerSeen, Running, RuntimeError};
use tokio::time::Instant;

use crate::body;
use crate::engine::{ANSWER, Fault};
use crate::runtime::{DockerRuntime, folder_error};
use crate::{leftover, mark, own_files, seen, spare, stuck};

/// How long to wait for another call of the engine, under way about the same container.
const OTHER_CALL: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) async fn create(runtime: &DockerRuntime, spec: &NodeSpec) -> Result<(), RuntimeError> {
    let key = &spec.key;
    // The engine notices only at the start, and in words that help nobody.
    if let Some(device) = spec.privileges.devices.iter().find(|device| !Path::new(device.as_str()).exists()) {
        return Err(RuntimeError::Refused { key: *key, detail: missing_device(device.as_str()) });
    }
    runtime.boots.take(key.slice).await.during(create_now(runtime, spec)).await
}

async fn create_now(runtime: &DockerRuntime, spec: &NodeSpec) -> Result<(), RuntimeError> {
    const ACTION: &str = "making it";
    let key = &spec.key;
    let folder = runtime.sockets.make(key).map_err(|error| folder_error(key, ACTION, &error))?;
    let name = runtime.container_name(key);
    let config = &runtime.config;
    let body = |quota| body::of(spec, &config.instance, &config.guest_folder, &folder, runtime.ipv6, quota);
    let deadline = Instant::now() + OTHER_CALL;
    let error = loop {
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let quota = runtime.quota.load(Ordering::Relaxed);
        let body = body(quota);
        let created =
            runtime.engine.call(async |docker| docker.create_container(Some(options), body).await).await;
        match created {
            Ok(_) => {
                runtime.looked.made(key, &spec.image.id);
                return Ok(());
            }
            Err(fault) if fault.status() == Some(409) => {
                match holder(runtime, &name).await.map_err(|f| f.at(key, ACTION))? {
                    Some(Holder::Ours(there)) if there == *key => {
                        // It may have been a spare, whose folder is another one.
                        return spare::settle(runtime, key, ACTION).await;
                    }
                    Some(Holder::Ours(_) | Holder::Foreign) => {
                        let detail =
                            format!("a container {name} is there that is not this node: remove or rename it");
                        break RuntimeError::Refused { key: *key, detail };
                    }
                    // Being made by another call, or being removed.
                    None if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
                    None => break fault.at(key, ACTION),
                }
            }
            // Storage without quotas: what the node keeps is only counted.
            Err(fault) if quota && fault.text().contains("--storage-opt") => {
                tracing::info!(
                    reason = fault.text(),
                    "the engine's storage has no quotas; nodes' disks are counted"
                );
                runtime.quota.store(false, Ordering::Relaxed);
            }
            Err(fault) => break fault.at(key, ACTION),
        }
    };
    if matches!(error, RuntimeError::Refused { .. }) {
        runtime.sockets.remove(key).map_err(|error| folder_error(key, ACTION, &error))?;
    }
    Err(error)
}

fn missing_device(path: &str) -> String {
    let remedy = match path {
        "/dev/net/tun" => "run `modprobe tun` on the host",
        "/dev/kvm" => "load the host's KVM module, or take it out of the sliver type",
        _ => "load its driver, or take it out of the sliver type",
    };
    format!("this host has no {path}: {remedy}")
}

/// Who has a container name.
pub(crate) enum Holder {
    Ours(NodeKey),
    Foreign,
}

pub(crate) async fn holder(runtime: &DockerRuntime, name: &str) -> Result<Option<Holder>, Fault> {
    let container = inspect(runtime, name).await?;
    Ok(container.map(|container| whose(runtime, &container).map_or(Holder::Foreign, Holder::Ours)))
}

/// The node that a container is, if it is of this testbed.
pub(crate) fn whose(runtime: &DockerRuntime, container: &ContainerInspectResponse) -> Option<NodeKey> {
    let name = container.name.as_deref().unwrap_or_default();
    mark::key(&runtime.config.instance, container.config.as_ref()?.labels.as_ref()?, name)
}

pub(crate) async fn start(runtime: &DockerRuntime, key: &NodeKey) -> Result<Running, RuntimeError> {
    runtime.boots.take(key.slice).await.during(start_now(runtime, key)).await
}

async fn start_now(runtime: &DockerRuntime, key: &NodeKey) -> Result<Running, RuntimeError> {
    const ACTION: &str = "starting it";
    spare::folder(runtime, key, ACTION).await?;
    own_files::check(runtime, key, ACTION).await?;
    let name = runtime.container_name(key);
    let (mut started, freed) = start_once(runtime, &name).await;
    if freed {
        // It may run all the same, with what the engine has read: nothing.
        stop(runtime, key, Duration::ZERO).await?;
        return Err(RuntimeError::Refused { key: *key, detail: pipe() });
    }
    let deadline = Instant::now() + OTHER_CALL;
    while let Err(fault) = &started
        && leftover::is_meant(&fault.text())
        && Instant::now() < deadline
    {
        if let Some(id) = id_of_stopped(runtime, &name).await.map_err(|fault| fault.at(key, ACTION))? {
            leftover::end(id, Some(fault.text())).await;
        }
        // Containerd forgets the task a moment after its end.
        tokio::time::sleep(ASK_AGAIN).await;
        started = start_once(runtime, &name).await.0;
    }
    match started {
        Ok(()) => {}
        Err(fault) if fault.is_missing() => {
            // Nothing is there that the folder would be for.
            runtime.sockets.remove(key).map_err(|error| folder_error(key, ACTION, &error))?;
            return Err(RuntimeError::Missing(*key));
        }
        // Somebody has paused it: it runs, as far as namespaces go.
        Err(fault) if fault.status() == Some(409) && fault.text().contains("paused") => {}
        Err(fault) => return Err(fault.at(key, ACTION)),
    }
    let container = inspect(runtime, &name).await.map_err(|fault| fault.at(key, ACTION))?;
    let state = container.and_then(|container| container.state).ok_or(RuntimeError::Missing(*key))?;
    match power(&state) {
        PowerSeen::Running(running) => Ok(running),
        PowerSeen::Created | PowerSeen::Stopped { .. } => {
            Err(RuntimeError::EndedAtOnce { key: *key, exit: state.exit_code.unwrap_or_default() })
        }
    }
}

/// Starts a container. Gives, too, whether the engine had to be freed from a pipe of the node's.
async fn start_once(runtime: &DockerRuntime, name: &str) -> (Result<(), Fault>, bool) {
    let start =
        runtime.engine.call(async |docker| docker.start_container(name, None::<StartContainerOptions>).await);
    stuck::watched(runtime, name, start).await
}

fn pipe() -> String {
    let [one, other] = own_files::READ;
    format!("{one} or {other} is a named pipe; {}", own_files::remedy())
}

/// The id of a container that does not run, as far as the engine knows.
async fn id_of_stopped(runtime: &DockerRuntime, name: &str) -> Result<Option<String>, Fault> {
    Ok(inspect(runtime, name).await?.and_then(|container| stopped(&container)))
}

fn stopped(container: &ContainerInspectResponse) -> Option<String> {
    let runs = matches!(power(container.state.as_ref()?), PowerSeen::Running(_));
    container.id.clone().filter(|_| !runs)
}

pub(crate) async fn stop(
    runtime: &DockerRuntime,
    key: &NodeKey,
    grace: Duration,
) -> Result<(), RuntimeError> {
    let name = runtime.container_name(key);
    // The engine counts in whole seconds.
    let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    let stop = runtime
        .engine
        .call(async |docker| docker.with_timeout(ANSWER + grace).stop_container(&name, Some(options)).await);
    match stuck::watched(runtime, &name, stop).await.0 {
        Err(fault) if !fault.is_missing() => Err(fault.at(key, "stopping it")),
        _ => Ok(()),
    }
}

pub(crate) async fn remove(runtime: &DockerRuntime, key: &NodeKey) -> Result<(), RuntimeError> {
    runtime.looked.take(key);
    runtime.removals.take(key.slice).await.during(remove_now(runtime, key)).await
}

async fn remove_now(runtime: &DockerRuntime, key: &NodeKey) -> Result<(), RuntimeError> {
    const ACTION: &str = "removing it";
    let name = runtime.container_name(key);
    let deadline = Instant::now() + OTHER_CALL;
    let mut lost = None;
    while let Some(container) = inspect(runtime, &name).await.map_err(|fault| fault.at(key, ACTION))? {
        if whose(runtime, &container).is_none() {
            break;
        }
        // An agent that ended between the two has not led the node's folder to the spare's.
        if let Some(spare) = spare::made_as(&container).filter(|spare| spare != key) {
            runtime.sockets.hand_over(&spare, key).map_err(|error| folder_error(key, ACTION, &error))?;
        }
        if lost.is_none() {
            lost = stopped(&container);
        }
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removal = runtime.engine.call(async |docker| docker.remove_container(&name, Some(options)).await);
        match stuck::watched(runtime, &name, removal).await.0 {
            Ok(()) => break,
            Err(fault) if fault.is_missing() => break,
            // Another call removes it at this moment.
            Err(fault) if fault.status() == Some(409) && Instant::now() < deadline => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(fault) => return Err(fault.at(key, ACTION)),
        }
    }
    if let Some(id) = lost {
        leftover::end(id, None).await;
    }
    // A spare that has been handed over lives on in its folder.
    if key.is_spare() && seen::made_as(runtime, key).await?.is_some_and(|now| now != *key) {
        return Ok(());
    }
    runtime.sockets.remove(key).map_err(|error| folder_error(key, ACTION, &error))
}

/// What the engine knows of a container, if it is there.
pub(crate) async fn inspect(
    runtime: &DockerRuntime,
    name: &str,
) -> Result<Option<ContainerInspectResponse>, Fault> {
    let look = runtime
        .engine
        .call(async |docker| docker.inspect_container(name, None::<InspectContainerOptions>).await);
    match stuck::watched(runtime, name, look).await.0 {
        Ok(container) => Ok(Some(container)),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// What a container's state means.
pub(crate) fn power(state: &ContainerState) -> PowerSeen {
    let since = state.started_at.as_deref().and_then(|text| text.parse().ok());
    let pid = state.pid.filter(|pid| *pid > 0);
    match (state.running, pid, since) {
        (Some(true), Some(pid), Some(since)) => {
            PowerSeen::Running(Running { netns: format!("/proc/{pid}/ns/net").into(), since })
        }
        _ if never_started(state) => PowerSeen::Created,
        _ => PowerSeen::Stopped { exit: state.exit_code, out_of_memory: state.oom_killed.unwrap_or(false) },
    }
}

/// The engine writes year 1 where there has been no start.
fn never_started(state: &ContainerState) -> bool {
    state.started_at.as_deref().is_none_or(|text| text.is_empty() || text.starts_with("0001-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let state = ContainerState {
            running: Some(true),
            pid: Some(7),
            started_at: Some("2027-01-01T00:00:00.123456789Z".to_owned()),
            ..ContainerState::default()
        };
        let PowerSeen::Running(running) = power(&state) else { panic!("{state:?}") };
        assert_eq!(running.netns, Path::new("/proc/7/ns/net"));
        assert_eq!(
            running.since.to_string(),
            "2027-01-01T00:00:00.123456789Z",
            "nothing is lost: it tells runs apart"
        );

        let state = ContainerState {
            running: Some(false),
            pid: Some(0),
            exit_code: Some(137),
            oom_killed: Some(true),
            ..state
        };
        assert_eq!(power(&state), PowerSeen::Stopped { exit: Some(137), out_of_memory: true });

        let state = ContainerState { started_at: Some("0001-01-01T00:00:00Z".to_owned()), ..state };
        assert_eq!(power(&state), PowerSeen::Created);
    }

    #[test]
    fn a_missing_device_comes_with_its_remedy() {
        assert_eq!(
            missing_device("/dev/net/tun"),
            "this host has no /dev/net/tun: run `modprobe tun` on the host"
        );
    }
}
