//! What builds leave in the engine, found by its label and removed, whatever has become of us or of the engine meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use testyard_model::id::Instance;
use testyard_model::image::Content;
use testyard_runtime::MakeError;

use super::failed;
use crate::engine::Engine;
use crate::mark;

/// How long the engine gets to end a build that was broken off, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What builds of a testbed leave.
#[derive(Clone)]
pub(super) struct Traces {
    pub(super) engine: Arc<Engine>,
    pub(super) instance: Instance,
}

/// A container of a build.
pub(super) struct Builder {
    pub(super) id: String,
    pub(super) runs: bool,
}

impl Traces {
    fn prefix(&self) -> String {
        format!("{}:", self.instance)
    }

    /// The value of the label on everything of a build.
    pub(super) fn mark(&self, content: &Content) -> String {
        format!("{}{content}", self.prefix())
    }

    /// Removes everything of all builds, but for what was made.
    pub(super) async fn tidy(&self) -> Result<(), MakeError> {
        for container in self.builders(None).await? {
            self.remove_container(&container.id).await?;
        }
        self.remove_dangling(&self.prefix()).await
    }

    /// Waits until the engine has ended a build that was broken off, and removes what it has left.
    pub(super) async fn settle(&self, content: &Content) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Ok(left @ [_, ..]) = self.builders(Some(content)).await.as_deref() {
            if tokio::time::Instant::now() >= deadline {
                for container in left {
                    let _ = self.remove_container(&container.id).await;
                }
                break;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        if let Err(error) = self.sweep(content).await {
            tracing::warn!(%content, %error, "cannot remove what a build has left");
        }
    }

    /// Removes a container; gone already is fine.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), MakeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.engine.call(async |docker| docker.remove_container(id, Some(options)).await).await;
        match removed {
            Err(fault) if !fault.is_missing() => Err(failed(fault)),
            _ => Ok(()),
        }
    }

    /// Removes an image by name or number, with what only it was made of.
    pub(super) async fn remove_image(&self, which: &str) -> Result<(), MakeError> {
        let options = RemoveImageOptionsBuilder::new().build();
        let removed =
            self.engine.call(async |docker| docker.remove_image(which, Some(options), None).await).await;
        match removed {
            Err(fault) if !fault.is_missing() => Err(failed(fault)),
            _ => Ok(()),
        }
    }

    /// Removes what a build has left beside its image.
    pub(super) async fn sweep(&self, content: &Content) -> Result<(), MakeError> {
        self.remove_dangling(&self.mark(content)).await
    }

    /// Removes images without a name whose mark begins like this. One goes only after those that were made of it.
    async fn remove_dangling(&self, mark: &str) -> Result<(), MakeError> {
        let filters = HashMap::from([
            ("dangling".to_owned(), vec!["true".to_owned()]),
            ("label".to_owned(), vec![mark::BUILD.to_owned()]),
        ]);
        let mut before = usize::MAX;
        loop {
            let options = ListImagesOptionsBuilder::new().filters(&filters).build();
            let images = self
                .engine
                .call(async |docker| docker.list_images(Some(options)).await)
                .await
                .map_err(failed)?;
            let ours: Vec<String> = images
                .into_iter()
                .filter(|image| image.labels.get(mark::BUILD).is_some_and(|value| value.starts_with(mark)))
                .map(|image| image.id)
                .collect();
            if ours.is_empty() || ours.len() >= before {
                return Ok(());
            }
            before = ours.len();
            for id in ours {
                if let Err(error) = self.remove_image(&id).await {
                    tracing::debug!(id, %error, "an image of a build stays");
                }
            }
        }
    }

    /// The containers of a build, or of all, as far as they are no nodes.
    pub(super) async fn builders(&self, content: Option<&Content>) -> Result<Vec<Builder>, MakeError> {
        let filters = HashMap::from([("label".to_owned(), vec![mark::BUILD.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self
            .engine
            .call(async |docker| docker.list_containers(Some(options)).await)
            .await
            .map_err(failed)?;
        let wanted = content.map_or_else(|| self.prefix(), |content| self.mark(content));
        Ok(listed
            .into_iter()
            .filter(|container| {
                let labels = container.labels.clone().unwrap_or_default();
                // Nodes inherit the labels of their images.
                let is_node = labels.contains_key(mark::SLICE) || labels.contains_key(mark::SPARE);
                !is_node && labels.get(mark::BUILD).is_some_and(|mark| mark.starts_with(&wanted))
            })
            .filter_map(|container| {
                use bollard::models::ContainerSummaryStateEnum::RUNNING;
                Some(Builder { id: container.id?, runs: container.state == Some(RUNNING) })
            })
            .collect())
    }
}
