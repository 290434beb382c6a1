//! How much is going on: the pool works when nobody waits for a node.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The pool waits no longer than this for a quiet moment.
const LONGEST: Duration = Duration::from_secs(60);

/// A node that is set up for longer than this does not get on: it must not keep the pool empty.
const STUCK: Duration = Duration::from_secs(15);

/// The nodes that are being made and set up, with when that began.
#[derive(Debug)]
pub(crate) struct Rush(watch::Sender<BTreeMap<u64, Instant>>);

/// A node is being made or set up, until this is dropped.
#[derive(Debug)]
pub(crate) struct Hurry {
    nodes: watch::Sender<BTreeMap<u64, Instant>>,
    number: u64,
}

impl Default for Rush {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

/// When the last of these that gets on will count as stuck, if there is one.
fn until(nodes: &BTreeMap<u64, Instant>) -> Option<Instant> {
    nodes.values().max().map(|begun| *begun + STUCK).filter(|end| *end > Instant::now())
}

impl Rush {
    pub(crate) fn enter(&self) -> Hurry {
        let mut number = 0;
        self.0.send_modify(|nodes| {
            number = nodes.last_key_value().map_or(0, |(last, _)| last + 1);
            nodes.insert(number, Instant::now());
        });
        Hurry { nodes: self.0.clone(), number }
    }

    /// Whether somebody waits for a node that gets on.
    pub(super) fn is_on(&self) -> bool {
        until(&self.0.borrow()).is_some()
    }

    /// Waits for a quiet moment, for as long as is bearable; whether it has come.
    pub(super) async fn calm(&self) -> bool {
        let mut nodes = self.0.subscribe();
        let quiet = async {
            loop {
                let Some(end) = until(&nodes.borrow_and_update()) else { return };
                let _ = tokio::time::timeout_at(end, nodes.changed()).await;
            }
        };
        tokio::time::timeout(LONGEST, quiet).await.is_ok()
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        self.nodes.send_modify(|nodes| {
            nodes.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_get_on_is_not_waited_for() {
        let rush = Rush::default();
        let stuck = rush.enter();
        let begun = Instant::now();
        assert!(rush.is_on() && rush.calm().await);
        assert_eq!(begun.elapsed(), STUCK);
        assert!(!rush.is_on());
        let other = rush.enter();
        assert!(rush.is_on(), "another one gets on");
        drop(other);
        assert!(!rush.is_on());
        drop(stuck);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_moment_is_not_waited_for_without_end() {
        let rush = Rush::default();
        let mut _held = rush.enter();
        let busy = async {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                _held = rush.enter();
            }
        };
        let begun = Instant::now();
        tokio::select! {
            () = busy => {}
            calm = rush.calm() => assert!(!calm && begun.elapsed() >= LONGEST),
        }
    }
}
