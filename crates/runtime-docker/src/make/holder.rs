//! What holds the network namespace of a build: a container that does nothing.

use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, InspectContainerOptions, StartContainerOptions};
use testyard_guest_protocol::{GUEST_FOLDER, GUEST_PROGRAM};
use testyard_model::image::{Content, ImageName};
use testyard_runtime::{MakeError, PowerSeen};

use super::traces::Traces;
use super::{failed, unfit};
use crate::body::{read_only, sysctls};
use crate::image::look;
use crate::runtime::DockerRuntime;
use crate::{import, mark, power};

/// It has no file of its own; the guest's program is mounted.
const IMAGE: &str = "hold";

/// An archive of nothing.
const NOTHING: [u8; 1024] = [0; 1024];

/// A container that holds a namespace. One that is dropped takes everything of the build with it.
pub(super) struct Holder {
    traces: Traces,
    content: Content,
    pub(super) id: String,
    pub(super) netns: PathBuf,
    has_ended: bool,
}

impl Holder {
    pub(super) async fn start(
        runtime: &DockerRuntime,
        content: &Content,
        name_servers: &[std::net::IpAddr],
    ) -> Result<Self, MakeError> {
        let engine = &runtime.engine;
        let image = image(runtime).await?;
        let body = ContainerCreateBody {
            image: Some(image.pinned()),
            entrypoint: Some(vec![GUEST_PROGRAM.to_owned()]),
            cmd: Some(vec!["hold".to_owned()]),
            labels: Some([(mark::BUILD.to_owned(), runtime.traces().mark(content))].into()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                sysctls: sysctls(runtime.ipv6),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                pids_limit: Some(8),
                memory: Some(64 << 20),
                // The steps of the build get the same file.
                dns: Some(name_servers.iter().map(ToString::to_string).collect()),
                mounts: Some(vec![read_only(&runtime.config.guest_folder, &format!("{GUEST_FOLDER}/bin"))]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let created = engine
            .call(async |docker| docker.create_container(None::<CreateContainerOptions>, body).await)
            .await
            .map_err(failed)?;
        let mut holder = Self {
            traces: runtime.traces(),
            content: content.clone(),
            id: created.id,
            netns: PathBuf::new(),
            has_ended: false,
        };
        holder.run().await?;
        Ok(holder)
    }

    async fn run(&mut self) -> Result<(), MakeError> {
        let engine = &self.traces.engine;
        engine
            .call(async |docker| docker.start_container(&self.id, None::<StartContainerOptions>).await)
            .await
            .map_err(failed)?;
        let container = engine
            .call(async |docker| docker.inspect_container(&self.id, None::<InspectContainerOptions>).await)
            .await
            .map_err(failed)?;
        match container.state.as_ref().map(power::power) {
            Some(PowerSeen::Running(running)) => {
                self.netns = running.netns;
                Ok(())
            }
            _ => Err(MakeError::Failed("what holds the network of the build has ended at once".to_owned())),
        }
    }

    /// Ends it, after its build has.
    pub(super) async fn end(mut self) {
        self.has_ended = true;
        if let Err(error) = self.traces.remove_container(&self.id).await {
            tracing::warn!(container = self.id, %error, "what held the network of a build stays");
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // Whoever wanted the build does not wait for its end. Without a runtime everything ends, and the next start tidies up.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (traces, content, id) = (self.traces.clone(), self.content.clone(), std::mem::take(&mut self.id));
        runtime.spawn(async move {
            if let Err(error) = traces.remove_container(&id).await {
                tracing::warn!(container = id, %error, "what held the network of a build stays");
            }
            traces.settle(&content).await;
        });
    }
}

/// Its image, made if it is not there.
async fn image(runtime: &DockerRuntime) -> Result<ImageName, MakeError> {
    let name = name(runtime);
    // Each import makes another image, and takes the name from the one before.
    let _turn = runtime.importing.lock().await;
    if look(&runtime.engine, &name).await.map_err(unfit)?.is_none() {
        import::rootfs(&runtime.engine, &name, &NOTHING[..], &[])
            .await
            .map_err(|error| MakeError::Failed(format!("no room for a build: {error}")))?;
    }
    Ok(name)
}

fn name(runtime: &DockerRuntime) -> ImageName {
    ImageName::built(&runtime.config.instance, IMAGE)
}

/// Removes its image.
pub(super) async fn forget(runtime: &DockerRuntime) -> Result<(), MakeError> {
    runtime.traces().remove_image(name(runtime).as_str()).await
}
