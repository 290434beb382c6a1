//! What a node's task waits for, and what it learns of the node's disk meanwhile.

use std::sync::Arc;
use std::time::Duration;

use testyard_runtime::{NodeKey, Runtime};

use crate::node::decide::Attempt;
use crate::node::disk::{self, Room};
use crate::node::task::Task;

/// From one look that an event has asked for to the next: nodes can cause events without end.
const LOOK_PACE: Duration = Duration::from_millis(100);

/// From one look at what the kernel counts without telling to the next, where nothing else happens.
const COUNT_PACE: Duration = Duration::from_secs(30);

impl Task {
    /// Waits for something to change; false when the host is shutting down.
    pub(super) async fn wait(&mut self, retry: Option<Duration>) -> bool {
        let watched = self.watched();
        let bounded = self.bounds_processes();
        let guest_says = async {
            match &mut self.conversation {
                Some(conversation) => conversation.changed().await,
                None => std::future::pending().await,
            }
        };
        let silence = self.silent_from.filter(|_| !self.doing.silent);
        let again = async {
            match retry {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let falls_silent = async {
            match silence {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let look_due = async {
            match self.look_due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => {
                    self.wake.woken().await;
                    // What has happened before that is seen in the same look.
                    if let Some(at) = self.looked.map(|looked| looked + LOOK_PACE) {
                        self.look_due = Some(at);
                        tokio::time::sleep_until(at).await;
                    }
                }
            }
        };
        let (disk, watched) = (&mut self.disk, watched);
        let counted = async {
            match watched {
                Some((runtime, key)) => disk.counted(runtime, key).await,
                None => std::future::pending().await,
            }
        };
        let count_due = async {
            if bounded { tokio::time::sleep(COUNT_PACE).await } else { std::future::pending().await }
        };
        let look = tokio::select! {
            changed = self.wanted.changed() => {
                if changed.is_err() { return false; }
                false
            }
            () = look_due => { self.look_due = None; true }
            () = guest_says => false,
            () = again => true,
            () = falls_silent => { self.doing.silent = true; false }
            used = counted => { self.keeps(used); false }
            () = count_due => false,
        };
        if look {
            self.look().await;
        }
        if bounded {
            self.count_refused().await;
        }
        true
    }

    /// Whether the node runs with a limit to its processes.
    fn bounds_processes(&self) -> bool {
        let wanted = self.wanted.borrow();
        let node = wanted.as_ref().map(|wanted| &wanted.node);
        node.is_some_and(|node| node.limits.pids.is_some() && self.running_since(node.disk).is_some())
    }

    /// The runtime and the key to look at the node's disk with, where that is bounded and written.
    fn watched(&self) -> Option<(Arc<dyn Runtime>, NodeKey)> {
        let wanted = self.wanted.borrow();
        let node = &wanted.as_ref()?.node;
        node.limits.disk?;
        self.running_since(node.disk)?;
        let key = NodeKey { slice: self.slice, sliver: self.sliver, disk: node.disk };
        Some((self.runtime().ok()?, key))
    }

    /// The node's disk was counted.
    fn keeps(&mut self, used: Option<u64>) {
        let wanted = self.wanted.borrow().clone();
        let (Some(used), Some(node)) = (used, wanted.map(|wanted| wanted.node)) else { return };
        self.facts.disk_used = Some(used);
        self.over += match disk::room(node.limits.disk, used) {
            Room::FarOver => 2,
            Room::Over => 1,
            Room::Enough | Room::Little => {
                self.over = 0;
                0
            }
        };
        if let (2.., Some(limit), None) = (self.over, node.limits.disk, &self.facts.given_up) {
            let reason = disk::refusal(limit, used);
            tracing::info!(sliver = %self.sliver, reason, "stopped");
            self.facts.given_up = Some((Attempt::of(&node), reason));
            self.facts.must_end = true;
        }
    }

    /// Forgets what was known of the run before.
    pub(super) fn fresh_run(&mut self) {
        (self.facts.killed, self.facts.disk_used, self.over) = (0, None, 0);
        self.facts.crowded = false;
        self.disk.restart();
    }
}
