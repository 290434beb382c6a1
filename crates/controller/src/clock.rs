//! Time, as an argument.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Tells the time and waits for one.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns once it is `time` or later.
    async fn sleep_until(&self, time: Timestamp);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// Timers count machine time, which may drift from the time of day, and that may be set: look again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, time: Timestamp) {
        loop {
            let left = time.duration_since(self.now());
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }
}

/// A clock that is set by hand, for tests and demonstrations.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Mutex::new(watch::Sender::new(now)) }
    }

    /// Moves it.
    pub fn set(&self, now: Timestamp) {
        self.sender().send_replace(now);
    }

    /// Moves it on.
    pub fn advance(&self, by: SignedDuration) {
        self.sender().send_modify(|now| *now = now.saturating_add(by).unwrap_or(Timestamp::MAX));
    }

    fn sender(&self) -> std::sync::MutexGuard<'_, watch::Sender<Timestamp>> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.sender().borrow()
    }

    async fn sleep_until(&self, time: Timestamp) {
        let mut receiver = self.sender().subscribe();
        // The sender lives as long as the clock, which the caller holds.
        let _ = receiver.wait_for(|now| *now >= time).await;
    }
}
