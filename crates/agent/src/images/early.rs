//! Files that are fetched before the nodes are there that need them: while a plan is still made, or its user thinks.
//!
//! Nobody is owed them. What was fetched waits a while for the first who asks, and what went wrong is tried again when it is asked
//! for: only then is there somebody to be told.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Weak};
use std::time::Duration;

use testyard_model::image::{Content, ImageUrl};
use testyard_runtime::MakeLog;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::images::fetching::fetch;
use crate::images::{Images, Trouble};

/// The most files that are on their way, or wait. Each takes as much room as a download may.
const MOST: usize = 4;

/// How long a file waits. What is behind a URL may change, and a user expects what is there when he asks.
const FRESH: Duration = Duration::from_secs(60);

type Fetched = Result<(File, Content), Trouble>;

/// Files by their URLs.
#[derive(Default)]
pub(super) struct Earlies(HashMap<ImageUrl, Early>);

/// A file that is on its way, or there. It is gone when this is dropped.
pub(super) struct Early {
    file: oneshot::Receiver<Fetched>,
    log: Arc<MakeLog>,
    task: AbortHandle,
}

impl Earlies {
    /// The file of a URL, as far as it has come; nobody else gets it.
    pub(super) fn take(&mut self, url: &ImageUrl) -> Option<Early> {
        self.0.remove(url)
    }
}

impl Images {
    /// Begins to fetch what is behind a URL, if there is room for it.
    pub(crate) fn fetch_early(self: &Arc<Self>, url: ImageUrl) {
        if !self.workshop.settings.urls {
            return;
        }
        let mut state = self.lock();
        // What nodes here use is what their slice keeps.
        if state.users.have(&url) {
            return;
        }
        let earlies = &mut state.early.0;
        if earlies.len() >= MOST || earlies.contains_key(&url) {
            return;
        }
        let log = Arc::new(MakeLog::default());
        let (done, file) = oneshot::channel();
        let fetching = come(Arc::downgrade(self), url.clone(), Arc::clone(&log), done);
        let task = tokio::spawn(fetching).abort_handle();
        earlies.insert(url, Early { file, log, task });
    }
}

async fn come(images: Weak<Images>, url: ImageUrl, log: Arc<MakeLog>, done: oneshot::Sender<Fetched>) {
    let Some(workshop) = images.upgrade().map(|images| Arc::clone(&images.workshop)) else { return };
    let fetched = fetch(&workshop, &url, &log).await;
    if let Err(Trouble::Passing(reason) | Trouble::Final(reason)) = &fetched {
        tracing::debug!(%url, reason, "an image could not be fetched ahead of its nodes");
    }
    let _ = done.send(fetched);
    tokio::time::sleep(FRESH).await;
    if let Some(images) = images.upgrade() {
        // Whoever has taken it has ended this task. What is dropped here is dropped without the lock.
        let _stale = images.lock().early.take(&url);
    }
}

impl Early {
    /// Waits for it, and tells how it goes on. None, if nothing came of it.
    pub(super) async fn wait(mut self, log: &MakeLog) -> Option<(File, Content)> {
        let mut changed = self.log.watch();
        let fetched = loop {
            log.step(self.log.current());
            tokio::select! {
                fetched = &mut self.file => break fetched,
                _ = changed.changed() => {}
            }
        };
        let fetched = fetched.ok()?.ok()?;
        self.log.text().lines().for_each(|line| log.line(line));
        Some(fetched)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.task.abort();
    }
}
