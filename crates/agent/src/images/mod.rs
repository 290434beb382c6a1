//! Images that users bring by URL: fetched once a slice, made once a content, removed with their last node.
//!
//! ```text
//! node ─┐                       ┌─ turn ─ fetch ─ prepare ─ bases ─ make ─┐
//! node ─┼─► job (slice, URL) ──►│             │                           ├─► image (content) ◄── nodes that use it
//! node ─┘                       └─────────────┴─ content is there already ┘
//! ```
//!
//! A slice keeps the content that a URL had when it was first fetched for it, as long as a node here uses it: what is behind
//! the URL may change, and nodes of a slice are to be alike. Two slices whose URLs have the same content share the image, since
//! both have shown that they can have it. A job that nobody waits for any more is ended.

mod early;
mod fetching;
mod job;
mod settings;
mod users;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use testyard_fabric::{Attachment, Fabric};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::image::{Content, ImageUrl};
use testyard_runtime::{Image, MakeError, Maker, Runtime};
use tokio::sync::{OnceCell, Semaphore, mpsc};

use crate::images::early::Earlies;
use crate::images::job::{Job, Work};
use crate::images::users::{User, Users};
use crate::ledger::Record;
use crate::node::task::Report;
use crate::observed;

pub use settings::ImageSettings;

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Try again after a while.
    Passing(String),
    /// Not for this attempt.
    Final(String),
}

/// A node that needs an image.
pub(crate) struct Ask {
    pub(crate) sliver: SliverId,
    pub(crate) slice: SliceId,
    pub(crate) url: ImageUrl,
    /// What runs the node.
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Where the node will be on the network: a build is there, too.
    pub(crate) attachment: Attachment,
}

/// What images of URLs are made with.
pub(crate) struct Workshop {
    pub(crate) settings: ImageSettings,
    /// For downloads and archives.
    pub(crate) folder: PathBuf,
    pub(crate) fabric: Arc<dyn Fabric>,
    pub(crate) name_servers: Vec<std::net::IpAddr>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

/// The images of a host that were made of URLs.
pub(crate) struct Images {
    workshop: Arc<Workshop>,
    turns: Arc<Semaphore>,
    state: Mutex<State>,
    /// What an agent before this one has left is gone.
    tidied: OnceCell<()>,
}

#[derive(Default)]
struct State {
    jobs: HashMap<(SliceId, ImageUrl), Arc<Job>>,
    users: Users,
    early: Earlies,
    /// Held by who makes or removes the image of a content.
    contents: HashMap<Content, Arc<tokio::sync::Mutex<()>>>,
}

/// How long a job that failed is remembered: a hundred nodes with one bad URL ask once.
const MEMORY: Duration = Duration::from_secs(5);

/// How often the removal of an image is tried, while something still needs it; the first pause, which doubles.
const REMOVALS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Images {
    /// `records` are those of the nodes that an agent before this one has left.
    pub(crate) fn new(workshop: Workshop, records: &HashMap<SliverId, Record>) -> Arc<Self> {
        let turns = Semaphore::new(workshop.settings.at_once.max(1) as usize);
        let state = State { users: Users::of(records), ..State::default() };
        Arc::new(Self {
            workshop: Arc::new(workshop),
            turns: Arc::new(turns),
            state: Mutex::new(state),
            tidied: OnceCell::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image of a URL for a node. `told` is called with what is being done, as often as that changes.
    pub(crate) async fn get(self: &Arc<Self>, ask: Ask, told: impl FnMut(String)) -> Result<Image, Trouble> {
        let job = {
            let mut state = self.lock();
            let key = (ask.slice, ask.url.clone());
            match state.jobs.get(&key) {
                Some(job) if !job.is_stale(MEMORY) => Arc::clone(job),
                before => {
                    // What is there already keeps the log of its making.
                    let log = before.filter(|job| job.has_made()).map(|job| Arc::clone(&job.log));
                    let job = Job::new(&ask, log.unwrap_or_default());
                    state.jobs.insert(key, Arc::clone(&job));
                    let work = Work {
                        images: Arc::clone(self),
                        job: Arc::clone(&job),
                        runtime: Arc::clone(&ask.runtime),
                    };
                    tokio::spawn(work.run());
                    job
                }
            }
        };
        let (image, content) = job.wait(told).await?;
        let before = self.lock().users.put(ask.sliver, User { slice: ask.slice, url: ask.url, content });
        self.let_go(before, &ask.runtime);
        Ok(image)
    }

    /// The node needs no image any more.
    pub(crate) fn leave(self: &Arc<Self>, sliver: SliverId, runtime: &Arc<dyn Runtime>) {
        let before = {
            let mut state = self.lock();
            // Its place on the network goes with it.
            state.jobs.values().filter(|job| job.sliver == sliver).for_each(|job| job.give_up());
            state.users.take(sliver)
        };
        self.let_go(before, runtime);
    }

    /// Nothing of the slice is here any more.
    pub(crate) fn forget(&self, slice: SliceId) {
        let mut state = self.lock();
        state.jobs.retain(|(of, _), job| {
            let stays = *of != slice;
            if !stays {
                job.give_up();
            }
            stays
        });
    }

    /// How the images of a slice stand, for reports.
    pub(crate) fn seen(&self, slice: SliceId) -> Vec<observed::Made> {
        let state = self.lock();
        let mut made: Vec<observed::Made> =
            state.jobs.iter().filter(|((of, _), _)| *of == slice).map(|(_, job)| job.seen()).collect();
        made.sort_by(|one, other| one.url.cmp(&other.url));
        made
    }

    /// Removes what an agent before this one has left, once it is known which nodes there are.
    pub(crate) async fn settle(self: &Arc<Self>, runtime: &Arc<dyn Runtime>) {
        let Some(maker) = runtime.maker() else { return };
        let left = match self.tidy(maker).await {
            Ok(()) => maker.all().await,
            Err(error) => Err(error),
        };
        match left {
            Ok(contents) => contents.into_iter().for_each(|content| self.remove_unused(content, runtime)),
            Err(error) => tracing::warn!(%error, "cannot look for images that no node uses"),
        }
    }

    async fn tidy(&self, maker: &dyn Maker) -> Result<(), MakeError> {
        self.tidied.get_or_try_init(|| maker.tidy()).await.map(drop)
    }

    /// The lock of a content.
    fn turn(&self, content: &Content) -> Arc<tokio::sync::Mutex<()>> {
        let mut state = self.lock();
        state.contents.retain(|of, lock| of == content || Arc::strong_count(lock) > 1);
        Arc::clone(state.contents.entry(content.clone()).or_default())
    }

    fn let_go(self: &Arc<Self>, user: Option<User>, runtime: &Arc<dyn Runtime>) {
        if let Some(user) = user {
            self.remove_unused(user.content, runtime);
        }
    }

    /// Removes an image in the background, unless a node uses it.
    fn remove_unused(self: &Arc<Self>, content: Content, runtime: &Arc<dyn Runtime>) {
        if self.lock().users.has(&content) {
            return;
        }
        let (images, runtime) = (Arc::clone(self), Arc::clone(runtime));
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            for round in 1..=REMOVALS {
                let turn = images.turn(&content);
                let _turn = turn.lock().await;
                let Some(maker) = runtime.maker() else { return };
                if images.lock().users.has(&content) {
                    return;
                }
                match maker.forget(&content).await {
                    Ok(()) => {
                        tracing::info!(%content, "removed an image that no node uses");
                        return;
                    }
                    Err(error) if round == REMOVALS => {
                        tracing::warn!(%content, %error, "an image that no node uses stays until the next start");
                    }
                    // A container of it is still being removed.
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause *= 2;
            }
        });
    }
}
