//! Images made on the host: built by the engine from a context, or loaded from an archive.
//!
//! ```text
//! make ─┬─ load   the archive names no image; the engine says which number it has
//!       └─ build  holder: a container that does nothing, whose network namespace the fabric furnishes like a node's
//!                   └─ the engine's build, its steps in that namespace, with bounds on memory and processor
//!                      watchman: bounds processes and what is written, which the engine's builds do not
//! then: fit for a node? ─► tag built.testyard.invalid/<instance>:<content>
//! ```
//!
//! The tag is the mark of what was made. Everything else of a build has a label, put into its Dockerfile, by which it is found
//! whatever became of the engine or of us meanwhile.

mod build;
mod holder;
mod load;
mod traces;
mod watchman;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::{ListImagesOptionsBuilder, TagImageOptionsBuilder};
use testyard_model::image::{BUILT, Content, ImageName};
use testyard_runtime::{Image, ImageError, MakeError, Maker, Order, Recipe};

use self::traces::Traces;
use crate::engine::{Fault, NAME};
use crate::image::{self, host_architectures};
use crate::mark;
use crate::runtime::DockerRuntime;

#[async_trait]
impl Maker for DockerRuntime {
    fn architecture(&self) -> &'static str {
        host_architectures()[0]
    }

    fn label(&self, content: &Content) -> String {
        format!("{}={}", mark::BUILD, self.traces().mark(content))
    }

    async fn made(&self, content: &Content) -> Result<Option<Image>, MakeError> {
        image::look(&self.engine, &self.name_of(content))
            .await
            .and_then(|found| found.map(image::fit).transpose())
            .map_err(unfit)
    }

    async fn make(&self, order: Order<'_>) -> Result<Image, MakeError> {
        let content = order.content.clone();
        let id = match order.recipe {
            Recipe::Load => load::run(self, order).await?,
            Recipe::Build { .. } => build::run(self, order).await?,
        };
        let made = self.name(&content, &id).await;
        // Stages that are in no image, and what is not to be one.
        if let Err(error) = self.traces().sweep(&content).await {
            tracing::warn!(%content, %error, "cannot remove what a build has left");
        }
        made
    }

    async fn all(&self) -> Result<Vec<Content>, MakeError> {
        let repository = format!("{BUILT}/{}", self.config.instance);
        let filters = HashMap::from([("reference".to_owned(), vec![repository.clone()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let images =
            self.engine.call(async |docker| docker.list_images(Some(options)).await).await.map_err(failed)?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        Ok(tags.filter_map(|tag| tag.strip_prefix(&repository)?.strip_prefix(':')?.parse().ok()).collect())
    }

    async fn forget(&self, content: &Content) -> Result<(), MakeError> {
        let traces = self.traces();
        traces.remove_image(self.name_of(content).as_str()).await?;
        traces.sweep(content).await
    }

    async fn tidy(&self) -> Result<(), MakeError> {
        self.traces().tidy().await
    }
}

impl DockerRuntime {
    fn name_of(&self, content: &Content) -> ImageName {
        ImageName::built(&self.config.instance, content.as_str())
    }

    fn traces(&self) -> Traces {
        Traces { engine: Arc::clone(&self.engine), instance: self.config.instance.clone() }
    }

    /// Removes all that was made, and whatever of it is left.
    pub(crate) async fn forget_images(&self) -> Result<(), MakeError> {
        self.tidy().await?;
        for content in self.all().await? {
            self.forget(&content).await?;
        }
        holder::forget(self).await
    }

    /// Gives an image its name, if it can be a node.
    async fn name(&self, content: &Content, id: &str) -> Result<Image, MakeError> {
        let name = self.name_of(content);
        let found = image::by_id(&self.engine, &name, id).await.map_err(unfit)?;
        let image = match found.map(image::fit) {
            Some(Ok(image)) => image,
            Some(Err(error)) => {
                let _ = self.traces().remove_image(id).await;
                return Err(unfit(error));
            }
            None => return Err(MakeError::Failed("the engine has lost the image that it made".to_owned())),
        };
        let repository = format!("{BUILT}/{}", self.config.instance);
        let options = TagImageOptionsBuilder::new().repo(&repository).tag(content.as_str()).build();
        self.engine.call(async |docker| docker.tag_image(id, Some(options)).await).await.map_err(failed)?;
        Ok(image)
    }
}

fn failed(fault: Fault) -> MakeError {
    let detail = fault.text();
    match fault {
        Fault::Unreachable(_) => MakeError::Unreachable { engine: NAME, detail },
        Fault::Answer { .. } | Fault::Odd(_) => MakeError::Failed(detail),
    }
}

fn unfit(error: ImageError) -> MakeError {
    match error {
        ImageError::Unreachable { engine, detail } => MakeError::Unreachable { engine, detail },
        ImageError::NotFound { detail, .. } => MakeError::Failed(detail),
        ImageError::Unfit { detail, .. } => MakeError::Unfit(detail),
    }
}
