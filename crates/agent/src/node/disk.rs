//! What a node keeps on disk: looked at now and then where its sliver type sets a limit.
//!
//! ```text
//! up to 80 % of the limit ─► nothing
//! above 80 %              ─► a notice
//! above the limit twice, or at once by half ─► the node is stopped, failed with the reason
//! ```
//!
//! Where the engine's storage has quotas the kernel keeps to the limit and nobody is stopped. Elsewhere this is what
//! keeps one node from filling the host; what is written between two looks can pass it meanwhile. After a geni_restart
//! there is time for two looks to make room over SSH.

use std::sync::Arc;
use std::time::Duration;

use testyard_runtime::{NodeKey, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::node::notice::size;

/// From one look to the next.
pub(crate) const PACE: Duration = Duration::from_secs(60);

/// A look that takes long is made less often: at most this part of the time is spent with looking.
const SHARE: u32 = 50;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nothing to say.
    Enough,
    /// Soon over.
    Little,
    /// More than allowed.
    Over,
    /// So much more that the next look is not waited for.
    FarOver,
}

/// How much room there is for a node that keeps so many bytes.
pub(crate) fn room(limit: Option<u64>, used: u64) -> Room {
    match limit {
        Some(limit) if used > limit.saturating_add(limit / 2) => Room::FarOver,
        Some(limit) if used > limit => Room::Over,
        Some(limit) if used > limit / 5 * 4 => Room::Little,
        _ => Room::Enough,
    }
}

/// What to tell of a node that has little room left.
pub(crate) fn notice(limit: u64, used: u64) -> String {
    format!(
        "the node keeps {} of {} on disk; with more than that it is stopped: delete files, or ask for a sliver type with \
         more",
        size(used),
        size(limit)
    )
}

/// Why a node was stopped.
pub(crate) fn refusal(limit: u64, used: u64) -> String {
    format!(
        "the node was stopped because it kept {} on disk, and its sliver type allows {}: geni_restart starts it for a \
         minute or two to delete files over SSH, geni_reload gives it a fresh disk",
        size(used),
        size(limit)
    )
}

/// Looks at one node's disk, at a slow pace.
#[derive(Debug)]
pub(crate) struct Watch {
    next: Instant,
    looking: Option<(Instant, JoinHandle<Option<u64>>)>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + PACE, looking: None }
    }

    /// Begins anew, for another run or disk.
    pub(crate) fn restart(&mut self) {
        *self = Self::new();
    }

    /// The next count. Can be dropped and called again: a look that has begun goes on.
    pub(crate) async fn counted(&mut self, runtime: Arc<dyn Runtime>, key: NodeKey) -> Option<u64> {
        if self.looking.is_none() {
            tokio::time::sleep_until(self.next).await;
            let look = async move {
                let used = runtime.disk_used(&key).await;
                used.inspect_err(|error| tracing::debug!(%error, "a node's disk is not looked at"))
                    .ok()
                    .flatten()
            };
            self.looking = Some((Instant::now(), tokio::spawn(look)));
        }
        let (begun, look) = self.looking.as_mut()?;
        let counted = look.await.ok().flatten();
        let pause = (begun.elapsed() * SHARE).max(PACE);
        self.next = Instant::now() + pause;
        self.looking = None;
        counted
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((_, look)) = &self.looking {
            look.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms() {
        let limit = Some(100);
        assert_eq!(room(limit, 80), Room::Enough);
        assert_eq!(room(limit, 81), Room::Little);
        assert_eq!(room(limit, 100), Room::Little);
        assert_eq!(room(limit, 101), Room::Over);
        assert_eq!(room(limit, 151), Room::FarOver);
        assert_eq!(room(None, u64::MAX), Room::Enough);
        assert_eq!(room(Some(u64::MAX), u64::MAX), Room::Little);
    }
}
