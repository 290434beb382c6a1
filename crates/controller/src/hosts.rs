//! Keeps hosts in step: each has a driver that gives it what should be, as often as that changes, and tries again
//! until it has taken it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use testyard_agent::{Host, HostError, HostFacts, Standing, desired};
use testyard_model::id::{HostName, SliceId};
use tokio::sync::{Notify, watch};

use crate::core::Core;
use crate::state::HostHealth;

/// How often a host is asked how it is.
const EXAMINE: Duration = Duration::from_secs(10);

/// A host that does not say how it is within this time is not well.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause before a host that could not be spoken to is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is to be told to a host.
pub(crate) struct Driver {
    pub(crate) name: HostName,
    pub(crate) host: Arc<dyn Host>,
    dirty: Mutex<BTreeSet<SliceId>>,
    /// It is to be told everything.
    all: AtomicBool,
    wake: Notify,
}

impl Driver {
    pub(crate) fn new(name: HostName, host: Arc<dyn Host>) -> Self {
        Self { name, host, dirty: Mutex::default(), all: AtomicBool::new(false), wake: Notify::new() }
    }

    /// The slice is to be told to the host.
    pub(crate) fn wake(&self, slice: SliceId) {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(slice);
        self.wake.notify_one();
    }

    /// Everything is to be told to the host.
    pub(crate) fn wake_for_all(&self) {
        self.all.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn take(&self) -> BTreeSet<SliceId> {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits until a host has come or gone; for ever with one that never does.
async fn turn(standing: &mut watch::Receiver<Standing>) {
    if standing.changed().await.is_err() {
        std::future::pending().await
    }
}

impl Core {
    /// Everything that should be on a host. Slices that only have slivers that leave are in it without nodes, so that
    /// the host says when nothing of them is left.
    pub(crate) fn desired(&self, host: &HostName) -> Vec<desired::Slice> {
        let (state, settings) = (self.shared.read(), self.settings.load());
        let here = state.slices().filter(|slice| slice.hosts().contains(host));
        here.map(|slice| slice.desired(host, settings.authority())).collect()
    }

    /// Gives the host everything, then changes as they come; everything again when it may have forgotten. Never
    /// returns.
    pub(crate) async fn drive(self: Arc<Self>, driver: Arc<Driver>) {
        let mut standing = driver.host.standing();
        driver.wake_for_all();
        loop {
            tokio::select! {
                () = driver.wake.notified() => {}
                () = turn(&mut standing) => {
                    driver.all.store(true, Ordering::SeqCst);
                    self.examine(&driver).await;
                }
            }
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.tell(&driver).await {
                tracing::warn!(host = %driver.name, %error, "the host is tried again");
                self.examine(&driver).await;
                driver.all.store(true, Ordering::SeqCst);
                // Who comes back is not left waiting for the rest of a pause.
                let _ = tokio::time::timeout(pause, turn(&mut standing)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if pause > FIRST_PAUSE {
                self.examine(&driver).await;
            }
        }
    }

    /// Tells the host what it is to be told.
    async fn tell(&self, driver: &Driver) -> Result<(), HostError> {
        if driver.all.swap(false, Ordering::SeqCst) {
            // What changes while it is told is marked again.
            driver.take();
            return driver.host.sync(self.desired(&driver.name)).await;
        }
        for id in driver.take() {
            let settings = self.settings.load();
            let desired =
                self.shared.read().life(id).map(|slice| slice.desired(&driver.name, settings.authority()));
            // A slice of which nothing is left is nothing that a host knows of.
            if let Some(desired) = desired {
                driver.host.apply(desired).await?;
            }
        }
        Ok(())
    }

    /// Looks after a host's health. Never returns.
    pub(crate) async fn attend(self: Arc<Self>, driver: Arc<Driver>) {
        loop {
            tokio::time::sleep(EXAMINE).await;
            self.examine(&driver).await;
        }
    }

    /// Asks every host how it is.
    pub(crate) async fn examine_hosts(&self) {
        for driver in self.drivers.values() {
            self.examine(driver).await;
        }
    }

    async fn examine(&self, driver: &Driver) {
        let facts = tokio::time::timeout(PATIENCE, driver.host.facts()).await;
        let mut health = match facts {
            Ok(Ok(HostFacts { healthy, engines, limits })) => {
                HostHealth { healthy, engines, limits, away: None }
            }
            Ok(Err(error)) => HostHealth::ill(error.to_string()),
            Err(_) => HostHealth::ill("it does not answer".to_owned()),
        };
        if let Standing::Away(why) = &*driver.host.standing().borrow() {
            health.healthy = false;
            health.away = Some(why.clone());
        }
        let now = self.clock.now();
        let mut state = self.shared.write();
        let before = state.hosts.insert(driver.name.clone(), health.clone());
        if before.as_ref().map(|before| &before.away) != Some(&health.away) {
            // Its slivers say so.
            let slices: Vec<_> =
                state.slices().filter(|slice| slice.hosts().contains(&driver.name)).cloned().collect();
            for slice in slices {
                let here = slice.slivers.iter().filter(|sliver| sliver.host == driver.name);
                self.derive(&mut state, &slice, here, now);
                self.take_stock(&mut state, &slice, now);
            }
        }
        drop(state);
        if before.as_ref().map(HostHealth::told) != Some(health.told()) {
            tracing::info!(host = %driver.name, healthy = health.healthy, engines = ?health.engines, "host");
            self.changed();
        }
    }
}
