//! One image on its way, for all nodes of a slice that name its URL.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use testyard_fabric::{Attachment, Fabric};
use testyard_fetch::text::chain;
use testyard_images::{PrepareError, Prepared, Recipe};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::image::{Content, ImageName, ImageUrl};
use testyard_runtime::{
    BuildPlace, Image, ImageError, MakeError, MakeLog, Maker, Order, Pull, PullProgress, Runtime,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::images::fetching::fetch;
use crate::images::users::User;
use crate::images::{Ask, Images, Trouble};
use crate::node::task::Report;
use crate::observed;

/// How long a job goes on though nobody waits: nodes look away for a moment when something else of them changes.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often people are told of a job's output.
const TELL: Duration = Duration::from_secs(1);

/// How many lines of output are shown with a failure.
const LINES: usize = 8;

/// One image on its way, or there.
pub(super) struct Job {
    pub(super) slice: SliceId,
    url: ImageUrl,
    /// The node in whose place on the network it is built.
    pub(super) sliver: SliverId,
    attachment: Attachment,
    pub(super) log: Arc<MakeLog>,
    state: watch::Sender<Option<Ended>>,
    given_up: watch::Sender<bool>,
}

#[derive(Clone)]
struct Ended {
    at: Instant,
    result: Result<(Image, Content), Trouble>,
}

impl Job {
    pub(super) fn new(ask: &Ask, log: Arc<MakeLog>) -> Arc<Self> {
        Arc::new(Self {
            slice: ask.slice,
            url: ask.url.clone(),
            sliver: ask.sliver,
            // Nobody outside is to reach what a build runs.
            attachment: Attachment { forwards: Vec::new(), ..ask.attachment.clone() },
            log,
            state: watch::Sender::new(None),
            given_up: watch::Sender::new(false),
        })
    }

    /// Whether it says nothing about now: it failed a while ago, or what it has made may be gone.
    pub(super) fn is_stale(&self, memory: Duration) -> bool {
        match &*self.state.borrow() {
            None => *self.given_up.borrow(),
            Some(Ended { result: Ok(_), .. }) => true,
            Some(Ended { at, result: Err(_) }) => *self.given_up.borrow() || at.elapsed() >= memory,
        }
    }

    pub(super) fn has_made(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(|ended| ended.result.is_ok())
    }

    pub(super) fn give_up(&self) {
        if self.state.borrow().is_none() {
            self.given_up.send_replace(true);
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&self, mut told: impl FnMut(String)) -> Result<(Image, Content), Trouble> {
        let (mut state, mut log) = (self.state.subscribe(), self.log.watch());
        let mut last = String::new();
        loop {
            if let Some(ended) = state.borrow_and_update().clone() {
                return ended.result;
            }
            let now = self.log.current();
            if now != last {
                told(now.clone());
                last = now;
            }
            // The job itself holds the other ends.
            tokio::select! {
                _ = state.changed() => {}
                _ = log.changed() => {}
            }
        }
    }

    pub(super) fn seen(&self) -> observed::Made {
        let ended = self.state.borrow().clone();
        let content =
            ended.as_ref().and_then(|ended| ended.result.as_ref().ok()).map(|(_, content)| content.clone());
        let state = match ended.map(|ended| ended.result) {
            None => observed::MadeState::Making(self.log.current()),
            Some(Ok(_)) => observed::MadeState::Made,
            Some(Err(Trouble::Passing(why) | Trouble::Final(why))) => observed::MadeState::Failed(why),
        };
        observed::Made { url: self.url.clone(), content, state, log: self.log.text() }
    }

    /// Waits until nobody wants it any more.
    async fn abandoned(&self) {
        let mut given_up = self.given_up.subscribe();
        let alone = async {
            loop {
                self.state.closed().await;
                tokio::time::sleep(PATIENCE).await;
                if self.state.receiver_count() == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            () = alone => {}
            _ = given_up.wait_for(|given_up| *given_up) => {}
        }
    }
}

/// A job that is being done.
pub(super) struct Work {
    pub(super) images: Arc<Images>,
    pub(super) job: Arc<Job>,
    pub(super) runtime: Arc<dyn Runtime>,
}

impl Work {
    pub(super) async fn run(self) {
        let job = &self.job;
        let gone = || Trouble::Passing("the node that it was being made for is gone".to_owned());
        let mut result = tokio::select! {
            biased;
            () = job.abandoned() => Err(gone()),
            result = self.make() => result,
            never = self.tell() => match never {},
        };
        // A node that left just now has not taken its image with it.
        if result.is_ok() && *job.given_up.borrow() {
            self.images.leave(job.sliver, &self.runtime);
            result = Err(gone());
        }
        let result = result.map_err(|trouble| trouble.about(&job.url));
        if let Err(Trouble::Passing(reason) | Trouble::Final(reason)) = &result {
            tracing::warn!(slice = %job.slice, url = %job.url, reason, "no image");
        }
        job.state.send_replace(Some(Ended { at: Instant::now(), result }));
        self.report();
    }

    fn report(&self) {
        let _ = self.images.workshop.reports.send(Report::Slice(self.job.slice));
    }

    /// Tells the slice how it goes on, now and then.
    async fn tell(&self) -> std::convert::Infallible {
        let mut log = self.job.log.watch();
        loop {
            let _ = log.changed().await;
            self.report();
            tokio::time::sleep(TELL).await;
        }
    }

    async fn make(&self) -> Result<(Image, Content), Trouble> {
        let (images, job) = (&self.images, &self.job);
        let settings = &images.workshop.settings;
        if !settings.urls {
            return Err(Trouble::Final(
                "this testbed makes no images of URLs: name one of a registry".to_owned(),
            ));
        }
        let maker = self.runtime.maker().ok_or_else(|| {
            Trouble::Final(
                "nodes of this kind cannot have an image of a URL: name one of a registry".to_owned(),
            )
        })?;
        images.tidy(maker).await?;
        // What the slice has it keeps.
        let kept = images.lock().users.content(job.slice, &job.url);
        if let Some(content) = kept
            && let Some(image) = maker.made(&content).await?
        {
            return Ok((image, content));
        }
        job.log.step("waiting for others that are being made");
        let _turn = images.turns.acquire().await.expect("nobody closes it");
        let (file, content) = self.fetch().await?;
        let turn = images.turn(&content);
        let _content = turn.lock().await;
        // Before it is there, so that nobody removes it and no slice gets more than it may.
        let reserved = self.reserve(&content)?;
        let image = match maker.made(&content).await? {
            Some(image) => image,
            None => self.make_of(maker, file, &content).await?,
        };
        reserved.keep();
        Ok((image, content))
    }

    /// Notes that the job's node uses an image, if its slice may have another.
    fn reserve(&self, content: &Content) -> Result<Reserved<'_>, Trouble> {
        let (images, job) = (&*self.images, &self.job);
        let most = images.workshop.settings.per_slice as usize;
        let mut state = images.lock();
        if !state.users.contents(job.slice).contains(&content)
            && state.users.contents(job.slice).len() >= most
        {
            return Err(Trouble::Final(format!(
                "its slice has {most} images of URLs on this host already, as many as it may: use some for several nodes"
            )));
        }
        let user = User { slice: job.slice, url: job.url.clone(), content: content.clone() };
        let before = state.users.put(job.sliver, user);
        Ok(Reserved { images, sliver: job.sliver, before, kept: false })
    }

    /// The file, as it was fetched before anybody asked for it, or now.
    async fn fetch(&self) -> Result<(File, Content), Trouble> {
        let (images, job) = (&self.images, &self.job);
        let early = images.lock().early.take(&job.url);
        if let Some(early) = early
            && let Some(fetched) = early.wait(&job.log).await
        {
            return Ok(fetched);
        }
        fetch(&images.workshop, &job.url, &job.log).await
    }

    async fn make_of(&self, maker: &dyn Maker, mut file: File, content: &Content) -> Result<Image, Trouble> {
        let (job, workshop) = (&self.job, &self.images.workshop);
        let (label, architecture) = (maker.label(content), maker.architecture());
        let limits =
            testyard_images::Limits { unpacked: workshop.settings.unpacked, folder: workshop.folder.clone() };
        let prepare = move || testyard_images::prepare(&mut file, &limits, &label, architecture);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let Prepared { recipe, archive } =
            prepared.map_err(|error| Trouble::Passing(error.to_string()))?.map_err(of_prepare)?;
        if let Recipe::Build { bases } = &recipe {
            for base in bases {
                self.base(base).await?;
            }
        }
        let place = NodePlace { fabric: &*workshop.fabric, attachment: &job.attachment };
        let order = Order {
            content,
            recipe: &recipe,
            archive,
            limits: workshop.settings.make(),
            place: &place,
            name_servers: &workshop.name_servers,
            log: &job.log,
        };
        maker.make(order).await.map_err(|error| self.with_output(error))
    }

    /// Sees to it that an image is there that a build begins with.
    async fn base(&self, name: &ImageName) -> Result<(), Trouble> {
        let log = &self.job.log;
        log.step(format!("pulling {name}"));
        let (progress, mut progressed) = watch::channel(PullProgress::default());
        let mut pull = self.runtime.image(name, Pull::Missing, &progress);
        let result = loop {
            tokio::select! {
                result = &mut pull => break result,
                Ok(()) = progressed.changed() => {
                    let PullProgress { done, total } = *progressed.borrow_and_update();
                    if total > 0 {
                        log.step(format!("pulling {name}: {} of {} MiB", done >> 20, total >> 20));
                    }
                }
            }
        };
        match result {
            // One that is no node itself can still be something to begin with.
            Ok(_) | Err(ImageError::Unfit { .. }) => Ok(()),
            Err(error @ ImageError::Unreachable { .. }) => Err(Trouble::Passing(error.to_string())),
            Err(error @ ImageError::NotFound { .. }) => {
                Err(Trouble::Final(format!("it begins with {error}")))
            }
        }
    }

    fn with_output(&self, error: MakeError) -> Trouble {
        match error {
            MakeError::Failed(reason) => {
                let (step, output) = (self.job.log.current(), self.job.log.last(LINES));
                let output = if output.is_empty() {
                    String::new()
                } else {
                    format!("; its output ends with:\n{output}")
                };
                Trouble::Final(format!("{step}: {reason}{output}"))
            }
            other => other.into(),
        }
    }
}

impl Trouble {
    fn about(self, url: &ImageUrl) -> Self {
        match self {
            Self::Passing(reason) => Self::Passing(format!("image {url}: {reason}")),
            Self::Final(reason) => Self::Final(format!("image {url}: {reason}; geni_restart tries it again")),
        }
    }
}

impl From<MakeError> for Trouble {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Unreachable { .. } => Self::Passing(error.to_string()),
            MakeError::Failed(_) | MakeError::Unfit(_) => Self::Final(error.to_string()),
        }
    }
}

fn of_prepare(error: PrepareError) -> Trouble {
    match error {
        PrepareError::Room(_) => Trouble::Passing(chain(&error)),
        error => Trouble::Final(chain(&error)),
    }
}

/// A node's use of an image that is not there yet; without [`Self::keep`] it is as before.
struct Reserved<'i> {
    images: &'i Images,
    sliver: SliverId,
    before: Option<User>,
    kept: bool,
}

impl Reserved<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let mut state = self.images.lock();
            match self.before.take() {
                Some(before) => drop(state.users.put(self.sliver, before)),
                None => drop(state.users.take(self.sliver)),
            }
        }
    }
}

/// The place of a node on the network, while it is not there itself.
struct NodePlace<'p> {
    fabric: &'p dyn Fabric,
    attachment: &'p Attachment,
}

#[async_trait]
impl BuildPlace for NodePlace<'_> {
    async fn furnish(&self, netns: &Path) -> Result<(), String> {
        self.fabric.attach(self.attachment, netns).await.map(drop).map_err(|error| error.to_string())
    }

    async fn leave(&self) {
        if let Err(error) = self.fabric.detach(self.attachment.sliver).await {
            tracing::warn!(%error, "the interface of a build stays until its node comes");
        }
    }
}
