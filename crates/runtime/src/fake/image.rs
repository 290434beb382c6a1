//! The fake's images and its registry.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testyard_model::image::ImageName;
use tokio::sync::watch;

use crate::error::ImageError;
use crate::image::{Image, ImageConfig, Pull, PullProgress};

/// An image of the fake.
#[derive(Clone, Debug)]
pub struct FakeImage {
    /// Its name.
    pub name: ImageName,
    /// What it says about itself.
    pub config: ImageConfig,
    /// Whether it is on the host already.
    pub here: bool,
    /// Its size in bytes, for the progress of its pull.
    pub size: u64,
    /// How long its pull takes.
    pub pull: Duration,
    /// How its pull ends, if badly.
    pub error: Option<ImageError>,
}

impl FakeImage {
    /// An image that the registry has, small and quick to pull.
    #[must_use]
    pub fn new(name: ImageName) -> Self {
        let env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        let config = ImageConfig { env, ..ImageConfig::default() };
        Self { name, config, here: false, size: 1 << 20, pull: Duration::ZERO, error: None }
    }

    fn image(&self) -> Image {
        let mut hasher = DefaultHasher::new();
        self.name.pinned().hash(&mut hasher);
        // Other content under one name is another image.
        format!("{:?}", self.config).hash(&mut hasher);
        let id = format!("sha256:{:064x}", hasher.finish());
        Image { name: self.name.clone(), digest: Some(id.clone()), id, config: self.config.clone() }
    }
}

/// Host and registry.
#[derive(Default)]
pub(super) struct Images {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    only_added: bool,
    images: HashMap<String, Arc<Entry>>,
}

struct Entry {
    image: FakeImage,
    progress: watch::Sender<PullProgress>,
    /// Held by the one that pulls; says whether the image is here.
    here: tokio::sync::Mutex<bool>,
    pulls: Mutex<usize>,
}

/// The steps in which a pull reports progress.
const STEPS: u32 = 10;

impl Images {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn only_added(&self) {
        self.lock().only_added = true;
    }

    pub(super) fn add(&self, image: FakeImage) {
        self.lock().images.insert(image.name.pinned(), Arc::new(Entry::new(image)));
    }

    pub(super) fn pulls(&self, name: &ImageName) -> usize {
        self.lock().images.get(&name.pinned()).map_or(0, |entry| *entry.count())
    }

    fn entry(&self, name: &ImageName) -> Option<Arc<Entry>> {
        let mut state = self.lock();
        if state.only_added {
            return state.images.get(&name.pinned()).cloned();
        }
        let new = || Arc::new(Entry::new(FakeImage::new(name.clone())));
        Some(Arc::clone(state.images.entry(name.pinned()).or_insert_with(new)))
    }

    pub(super) async fn image(
        &self,
        name: &ImageName,
        pull: Pull,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Image, ImageError> {
        let not_found = |detail: &str| ImageError::NotFound { name: name.clone(), detail: detail.to_owned() };
        let entry = self.entry(name).ok_or_else(|| not_found("no registry has it: check the name"))?;
        let mut here = entry.wait(progress).await;
        if !*here {
            if pull == Pull::Never {
                return Err(not_found("it is not on this host, and may not be pulled"));
            }
            entry.pull(progress).await?;
            *here = true;
        }
        match entry.image.config.init() {
            Some(init) => Err(ImageError::Unfit {
                name: name.clone(),
                detail: format!("its program {init} works only as process 1: use an image without an init"),
            }),
            None => Ok(Image { name: name.clone(), ..entry.image.image() }),
        }
    }
}

impl Entry {
    fn new(image: FakeImage) -> Self {
        Self {
            here: tokio::sync::Mutex::new(image.here),
            image,
            progress: watch::Sender::default(),
            pulls: Mutex::default(),
        }
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the pull that is under way, if one is, and passes its progress on.
    async fn wait(&self, progress: &watch::Sender<PullProgress>) -> tokio::sync::MutexGuard<'_, bool> {
        let mut seen = self.progress.subscribe();
        let lock = self.here.lock();
        tokio::pin!(lock);
        loop {
            tokio::select! {
                biased;
                here = &mut lock => return here,
                Ok(()) = seen.changed() => { progress.send_replace(*seen.borrow_and_update()); }
            }
        }
    }

    async fn pull(&self, progress: &watch::Sender<PullProgress>) -> Result<(), ImageError> {
        *self.count() += 1;
        for step in 1..=STEPS {
            if !self.image.pull.is_zero() {
                tokio::time::sleep(self.image.pull / STEPS).await;
            }
            let now = PullProgress {
                done: self.image.size * u64::from(step) / u64::from(STEPS),
                total: self.image.size,
            };
            self.progress.send_replace(now);
            progress.send_replace(now);
        }
        self.image.error.clone().map_or(Ok(()), Err)
    }
}
