//! The links of one slice on this host: joined before its nodes are plugged in, parted when there are none any more.
//!
//! ```text
//!            ┌── the desired links change ──┐        it fails: again after a while, and the slice is told why
//!            ▼                              │
//!  none ─► joining ──────────────────────► joined ─► (no links) ─► parting ─► none
//! ```
//!
//! Nodes wait here for `joined` before they are plugged in, so what they share is there before them.

use std::sync::Arc;
use std::time::Duration;

use testyard_fabric::Links;
use testyard_fabric::links::SliceLinks;
use testyard_model::id::SliceId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::node::task::{Context, Report};
use crate::observed::LinksSeen;

/// Pauses after failures double from here.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A slice's links, as nodes and the host see them.
#[derive(Clone, Debug)]
pub(crate) struct SliceLinksHandle {
    wanted: watch::Sender<Option<SliceLinks>>,
    seen: watch::Sender<LinksSeen>,
}

impl SliceLinksHandle {
    /// Links that nobody wants yet.
    pub(crate) fn new() -> Self {
        Self { wanted: watch::Sender::new(None), seen: watch::Sender::new(LinksSeen::None) }
    }

    /// What should be from now on; none: part. Nodes that ask from now on wait until it is so.
    pub(crate) fn set(&self, wanted: Option<SliceLinks>) {
        self.wanted.send_if_modified(|now| {
            let links = |of: &Option<SliceLinks>| of.as_ref().map(|of| of.links.clone());
            if links(now) == links(&wanted) {
                return false;
            }
            if wanted.is_some() {
                self.seen.send_replace(LinksSeen::Joining);
            }
            *now = wanted;
            true
        });
    }

    /// Something may have ended that they need: they are made so once more.
    pub(crate) fn look(&self) {
        self.wanted.send_if_modified(|wanted| wanted.is_some());
    }

    /// How they stand.
    pub(crate) fn seen(&self) -> LinksSeen {
        self.seen.borrow().clone()
    }

    /// Waits until the links are joined.
    ///
    /// # Errors
    /// Why they are not.
    pub(crate) async fn joined(&self) -> Result<(), String> {
        let mut seen = self.seen.subscribe();
        let settled = seen.wait_for(|seen| !matches!(seen, LinksSeen::Joining)).await;
        match settled.as_deref() {
            Ok(LinksSeen::Failed(reason)) => Err(reason.clone()),
            Ok(LinksSeen::None | LinksSeen::Joining | LinksSeen::Joined) | Err(_) => Ok(()),
        }
    }

    /// Starts the task that makes them so. It ends when the handle is gone, or nothing is wanted and nothing left.
    pub(crate) fn start(&self, context: Arc<Context>, slice: SliceId) -> JoinHandle<()> {
        let task = Keeper {
            wanted: self.wanted.subscribe(),
            seen: self.seen.clone(),
            reports: context.reports.clone(),
            context,
            slice,
        };
        tokio::spawn(task.run())
    }
}

struct Keeper {
    wanted: watch::Receiver<Option<SliceLinks>>,
    seen: watch::Sender<LinksSeen>,
    reports: mpsc::UnboundedSender<Report>,
    context: Arc<Context>,
    slice: SliceId,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let links: &dyn Links = &*self.context.fabric;
            let done = match &wanted {
                Some(wanted) => links.join(wanted).await,
                None => links.part(self.slice).await,
            };
            let seen = match &done {
                Ok(()) if wanted.is_some() => LinksSeen::Joined,
                Ok(()) => LinksSeen::None,
                Err(error) => LinksSeen::Failed(format!("{error}; trying again")),
            };
            // Somebody has changed their mind meanwhile: what was done is not what is wanted.
            if !self.tell(seen) {
                continue;
            }
            let retry = match done {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    None
                }
                Err(error) => {
                    tracing::warn!(slice = %self.slice, %error, "the links of a slice are not as they should be");
                    let now = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    Some(now)
                }
            };
            let again = async {
                match retry {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Tells how the links stand, unless something else is wanted by now; whether that was told. Nothing else can become
    /// wanted in between, so nobody takes what was done for what is wanted.
    fn tell(&self, seen: LinksSeen) -> bool {
        let wanted = self.wanted.borrow();
        if wanted.has_changed() {
            return false;
        }
        self.seen.send_replace(seen);
        drop(wanted);
        let _ = self.reports.send(Report::Slice(self.slice));
        true
    }
}
