//! Spares: containers that run before anybody wants them, and become somebody's node by a change of name.
//!
//! ```text
//! testyard-<instance>-spare-<number>  ──rename, one step of the engine──►  testyard-<instance>-<slice>-<sliver>-<disk>
//! nodes/spare-<number>/               ◄───────────── symbolic link ──────  nodes/<sliver>-<disk>
//! host name testyard-spare            ──set in the run's namespace──────►  the node's
//! ```
//!
//! The first is what counts: the other two follow from it, and are made again wherever they are found missing.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::RenameContainerOptionsBuilder;
use nix::sched::{CloneFlags, setns};
use testyard_guest_protocol::GUEST_FOLDER;
use testyard_model::name::Hostname;
use testyard_runtime::{NodeKey, PowerSeen, Running, RuntimeError};
use tokio::sync::oneshot;

use crate::mark;
use crate::power::{self, Holder};
use crate::runtime::{DockerRuntime, folder_error};

pub(crate) async fn hand_over(
    runtime: &DockerRuntime,
    spare: &NodeKey,
    key: &NodeKey,
) -> Result<PowerSeen, RuntimeError> {
    const ACTION: &str = "handing a spare over to it";
    // The engine looks a name up before it locks the container: two at one time would both find the spare.
    let _claim = Claim::of(runtime, spare).ok_or(RuntimeError::Missing(*spare))?;
    let (from, to) = (runtime.container_name(spare), runtime.container_name(key));
    let options = RenameContainerOptionsBuilder::new().name(&to).build();
    let renamed =
        runtime.engine.call(async |docker| docker.rename_container(&from, options.clone()).await).await;
    match renamed {
        Ok(()) => {}
        // Perhaps this very call has been made before, and its answer was lost.
        Err(fault) if fault.is_missing() || fault.status() == Some(409) => {
            let missing = fault.is_missing();
            let there = power::inspect(runtime, &to).await.map_err(|fault| fault.at(key, ACTION))?;
            let was = there.as_ref().and_then(made_as);
            if was != Some(*spare) {
                return Err(
                    match power::holder(runtime, &to).await.map_err(|fault| fault.at(key, ACTION))? {
                        Some(Holder::Ours(_) | Holder::Foreign) => RuntimeError::Refused {
                            key: *key,
                            detail: "there is another node already".to_owned(),
                        },
                        None if missing => RuntimeError::Missing(*spare),
                        None => fault.at(key, ACTION),
                    },
                );
            }
        }
        Err(fault) => return Err(fault.at(key, ACTION)),
    }
    runtime.sockets.hand_over(spare, key).map_err(|error| folder_error(key, ACTION, &error))?;
    let container = power::inspect(runtime, &to).await.map_err(|fault| fault.at(key, ACTION))?;
    let state = container.and_then(|container| container.state).ok_or(RuntimeError::Missing(*key))?;
    Ok(power::power(&state))
}

/// The spare that a container was made as, whatever it is now.
pub(crate) fn made_as(container: &ContainerInspectResponse) -> Option<NodeKey> {
    let mounts = container.host_config.as_ref()?.mounts.as_ref()?;
    let folder = format!("{GUEST_FOLDER}/run");
    let folder = mounts.iter().find(|mount| mount.target.as_ref() == Some(&folder))?.source.as_ref()?;
    mark::spare(Path::new(folder))
}

/// One call's hold on a spare.
struct Claim<'r>(&'r Claims, NodeKey);

/// The spares that are being handed over.
pub(crate) type Claims = Mutex<HashSet<NodeKey>>;

impl<'r> Claim<'r> {
    fn of(runtime: &'r DockerRuntime, spare: &NodeKey) -> Option<Self> {
        let claims = &runtime.claims;
        let new = claims.lock().unwrap_or_else(PoisonError::into_inner).insert(*spare);
        // Not `then_some`: what it is given ends the other call's claim when it is dropped.
        new.then(|| Self(claims, *spare))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Sees to it that a node's folder is there, which a reboot takes away and the engine mounts.
pub(crate) async fn folder(
    runtime: &DockerRuntime,
    key: &NodeKey,
    action: &'static str,
) -> Result<(), RuntimeError> {
    if runtime.sockets.has(key) { Ok(()) } else { settle(runtime, key, action).await }
}

/// The same, whatever is there.
pub(crate) async fn settle(
    runtime: &DockerRuntime,
    key: &NodeKey,
    action: &'static str,
) -> Result<(), RuntimeError> {
    let container =
        power::inspect(runtime, &runtime.container_name(key)).await.map_err(|fault| fault.at(key, action))?;
    let was = container.as_ref().and_then(made_as);
    let made = match was.filter(|was| was != key) {
        Some(was) => runtime.sockets.hand_over(&was, key),
        None => runtime.sockets.make(key).map(drop),
    };
    made.map_err(|error| folder_error(key, action, &error))
}

/// Gives a run of what was made as a spare the node's host name.
pub(crate) async fn name(key: &NodeKey, running: &Running, hostname: &Hostname) -> Result<(), RuntimeError> {
    let path = running.netns.with_file_name("uts");
    let name = hostname.to_string();
    let (done, result) = oneshot::channel();
    // A thread of its own, which ends: one of the event loop's must not stay in a node.
    let thread = std::thread::Builder::new().name("testyard-name".to_owned()).spawn(move || {
        let _ = done.send(set_name(&path, &name));
    });
    let result = match thread {
        Ok(_) => result.await.unwrap_or_else(|_| Err(io::Error::other("the thread ended"))),
        Err(error) => Err(error),
    };
    result.map_err(|error| RuntimeError::Failed {
        key: *key,
        action: "naming it",
        detail: format!("its host name cannot be set: {error}"),
    })
}

fn set_name(path: &Path, name: &str) -> io::Result<()> {
    let namespace = File::open(path)?;
    let own = std::fs::metadata("/proc/thread-self/ns/uts")?;
    if namespace.metadata()?.ino() == own.ino() {
        return Err(io::Error::other("the run is over"));
    }
    setns(&namespace, CloneFlags::CLONE_NEWUTS)?;
    // Only a spare's own name: nodes may change theirs, and a process id may be another process's by now.
    if nix::unistd::gethostname()?.to_str() == Some(mark::SPARE_HOSTNAME) {
        nix::unistd::sethostname(name)?;
    }
    Ok(())
}
