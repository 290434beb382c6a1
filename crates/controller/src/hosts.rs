//! Keeps hosts in step: each has a driver that gives it what should be, as often as that changes, and tries again
//! until it has taken it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use testyard_agent::{Host, HostError, HostFacts, desired};
use testyard_model::id::{HostName, SliceId};
use tokio::sync::Notify;

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
        driver.wake_for_all();
        loop {
            driver.wake.notified().await;
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.tell(&driver).await {
                tracing::warn!(host = %driver.name, %error, "the host is tried again");
                self.shared.write().hosts.entry(driver.name.clone()).or_default().healthy = false;
                self.changed();
                driver.all.store(true, Ordering::SeqCst);
                tokio::time::sleep(pause).await;
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
        let health = match facts {
            Ok(Ok(HostFacts { healthy, engines, limits })) => HostHealth { healthy, engines, limits },
            Ok(Err(error)) => HostHealth::ill(error.to_string()),
            Err(_) => HostHealth::ill("it does not answer".to_owned()),
        };
        let before = self.shared.write().hosts.insert(driver.name.clone(), health.clone());
        if before.as_ref().map(HostHealth::told) != Some(health.told()) {
            tracing::info!(host = %driver.name, healthy = health.healthy, engines = ?health.engines, "host");
            self.changed();
        }
    }
}
