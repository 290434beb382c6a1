//! The fake's images of what users bring. It understands two instructions: `RUN false` fails, and `RUN wait` waits until
//! [`super::FakeRuntime::release_builds`].

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use testyard_images::Recipe;
use testyard_model::id::Instance;
use testyard_model::image::{Content, ImageName};
use tokio::sync::watch;

use crate::image::{Image, ImageConfig};
use crate::maker::{MakeError, Maker, Order};

/// What has been made.
#[derive(Default)]
pub(super) struct FakeMaker {
    made: Mutex<BTreeMap<Content, Image>>,
    builds: Mutex<usize>,
    released: watch::Sender<bool>,
}

impl FakeMaker {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Content, Image>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn contents(&self) -> Vec<Content> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn builds(&self) -> usize {
        *self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn release(&self) {
        self.released.send_replace(true);
    }

    async fn build(&self, order: &mut Order<'_>) -> Result<(), MakeError> {
        order.place.furnish(Path::new("/fake/build/net")).await.map_err(MakeError::Failed)?;
        let mut text = String::new();
        order.archive.read_to_string(&mut text).map_err(|error| MakeError::Failed(error.to_string()))?;
        let steps: Vec<&str> = text.lines().filter(|line| line.starts_with("RUN ")).collect();
        for (number, step) in steps.iter().enumerate() {
            order.log.step(format!("step {}/{}: {step}", number + 1, steps.len()));
            order.log.line(step);
            match *step {
                "RUN false" => return Err(MakeError::Failed("returned a non-zero code: 1".to_owned())),
                "RUN wait" => drop(self.released.subscribe().wait_for(|released| *released).await),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Maker for FakeMaker {
    fn architecture(&self) -> &'static str {
        "amd64"
    }

    fn label(&self, content: &Content) -> String {
        format!("testyard.build=fake:{content}")
    }

    async fn made(&self, content: &Content) -> Result<Option<Image>, MakeError> {
        Ok(self.lock().get(content).cloned())
    }

    async fn make(&self, mut order: Order<'_>) -> Result<Image, MakeError> {
        *self.builds.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if matches!(order.recipe, Recipe::Build { .. }) {
            let built = self.build(&mut order).await;
            order.place.leave().await;
            built?;
        }
        let instance: Instance = "fake".parse().expect("an instance");
        let name = ImageName::built(&instance, order.content.as_str());
        let id = format!("sha256:{}", order.content);
        let image = Image { name, id, digest: None, config: ImageConfig::default() };
        self.lock().insert(order.content.clone(), image.clone());
        Ok(image)
    }

    async fn all(&self) -> Result<Vec<Content>, MakeError> {
        Ok(self.contents())
    }

    async fn forget(&self, content: &Content) -> Result<(), MakeError> {
        self.lock().remove(content);
        Ok(())
    }

    async fn tidy(&self) -> Result<(), MakeError> {
        Ok(())
    }
}
