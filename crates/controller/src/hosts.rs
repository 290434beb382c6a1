//! Keeps hosts in step: each has a driver that gives it what should be, as often as that changes, and tries again
//! until it has taken it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use testyard_agent::{Host, HostError, HostFacts, Standing, desired};
use testyard_model::id::{HostName, SliceId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

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
    /// Who measures links on it: two at a time would measure each other.
    pub(crate) probing: tokio::sync::Mutex<()>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Driver {
    /// Tells the host of images that it will need.
    pub(crate) fn ahead(&self, images: BTreeSet<testyard_agent::Ahead>) {
        if !images.is_empty() {
            self.host.ahead(images.into_iter().collect());
        }
    }
}

/// The drivers of all hosts: they come and go while the controller runs.
#[derive(Default)]
pub(crate) struct Drivers(RwLock<BTreeMap<HostName, Arc<Driver>>>);

impl Drivers {
    pub(crate) fn get(&self, host: &HostName) -> Option<Arc<Driver>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Driver>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes a host that is not there yet.
    fn add(&self, name: &HostName, host: Arc<dyn Host>) -> Option<Arc<Driver>> {
        let mut drivers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if drivers.contains_key(name) {
            return None;
        }
        let driver = Arc::new(Driver::new(name.clone(), host));
        drivers.insert(name.clone(), Arc::clone(&driver));
        Some(driver)
    }

    fn remove(&self, host: &HostName) -> Option<Arc<Driver>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(host)
    }

    /// Ends what is done for hosts, without waiting.
    pub(crate) fn abort(&self) {
        self.all().iter().for_each(|driver| driver.abort());
    }
}

impl Driver {
    pub(crate) fn new(name: HostName, host: Arc<dyn Host>) -> Self {
        Self {
            name,
            host,
            dirty: Mutex::default(),
            all: AtomicBool::new(false),
            wake: Notify::new(),
            probing: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
        }
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

    fn abort(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(JoinHandle::abort);
    }

    /// Ends what is done for the host; what was begun has ended when this returns.
    pub(crate) async fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // It was cancelled, or has panicked, which the log has.
            let _ = task.await;
        }
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

/// A host that slivers are on and that the configuration does not have.
const UNKNOWN: &str = "it is not in the configuration";

impl Core {
    /// These are the hosts from now on. One that is there already goes on as it is; one that is gone from the list is let go
    /// of as soon as nothing is on it.
    pub(crate) async fn take_hosts(self: &Arc<Self>, hosts: Vec<(HostName, Arc<dyn Host>)>) {
        let names: BTreeSet<HostName> = hosts.iter().map(|(name, _)| name.clone()).collect();
        let new: Vec<_> =
            hosts.into_iter().filter_map(|(name, host)| self.drivers.add(&name, host)).collect();
        // So that the first who ask find them as they are.
        futures_util::future::join_all(new.iter().map(|driver| self.examine(driver))).await;
        for driver in &new {
            self.begin(driver);
        }
        let used: BTreeSet<HostName> = {
            let state = self.shared.read();
            state.slices().flat_map(|slice| slice.slivers.iter().map(|sliver| sliver.host.clone())).collect()
        };
        for driver in self.drivers.all() {
            if !names.contains(&driver.name) && !used.contains(&driver.name) {
                self.let_go(&driver.name).await;
            }
        }
        let unknown = used.into_iter().filter(|name| self.drivers.get(name).is_none());
        for name in unknown {
            tracing::error!(host = %name, "slivers are on a host that the configuration does not have: put it back, or `testyard host rm {name} --lost`");
            let mut health = HostHealth::ill(UNKNOWN.to_owned());
            health.away = Some(UNKNOWN.to_owned());
            self.note_health(&name, health);
        }
    }

    /// Begins to look after a host: listening begins before anything is told, so that no report is missed.
    fn begin(self: &Arc<Self>, driver: &Arc<Driver>) {
        let tasks = [
            tokio::spawn(Arc::clone(self).listen(Arc::clone(driver))),
            tokio::spawn(Arc::clone(self).drive(Arc::clone(driver))),
            tokio::spawn(Arc::clone(self).attend(Arc::clone(driver))),
        ];
        driver.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
    }

    /// Has nothing to do with a host any more.
    pub(crate) async fn let_go(&self, name: &HostName) {
        let Some(driver) = self.drivers.remove(name) else { return };
        driver.end().await;
        driver.host.shut_down().await;
        self.shared.write().hosts.remove(name);
        tracing::info!(host = %name, "the host is no longer one of this testbed");
        self.changed();
    }

    /// Everything that should be on a host. Slices that only have slivers that leave are in it without nodes, so that
    /// the host says when nothing of them is left.
    pub(crate) fn desired(&self, host: &HostName) -> Vec<desired::Slice> {
        let (state, settings) = (self.shared.read(), self.settings.load());
        let here = state.slices().filter(|slice| slice.hosts().contains(host));
        here.map(|slice| slice.desired(host, &settings)).collect()
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
                self.examine(&driver).await;
                driver.all.store(true, Ordering::SeqCst);
                if matches!(*standing.borrow(), Standing::Away(_)) {
                    // Whoever is away says so when that ends; trying again would only fill the log.
                    let is_here = |standing: &Standing| *standing == Standing::Here;
                    if standing.wait_for(is_here).await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    self.examine(&driver).await;
                    pause = FIRST_PAUSE;
                    continue;
                }
                tracing::warn!(host = %driver.name, %error, "the host is tried again");
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
            let desired = self.shared.read().life(id).map(|slice| slice.desired(&driver.name, &settings));
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
        let drivers = self.drivers.all();
        futures_util::future::join_all(drivers.iter().map(|driver| self.examine(driver))).await;
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
        self.note_health(&driver.name, health);
    }

    fn note_health(&self, host: &HostName, health: HostHealth) {
        let now = self.clock.now();
        let mut state = self.shared.write();
        let before = state.hosts.insert(host.clone(), health.clone());
        if before.as_ref().map(|before| &before.away) != Some(&health.away) {
            // Its slivers say so.
            let slices: Vec<_> =
                state.slices().filter(|slice| slice.hosts().contains(host)).cloned().collect();
            for slice in slices {
                let here = slice.slivers.iter().filter(|sliver| sliver.host == *host);
                self.derive(&mut state, &slice, here, now);
                self.take_stock(&mut state, &slice, now);
            }
        }
        drop(state);
        if before.as_ref().map(HostHealth::told) != Some(health.told()) {
            tracing::info!(%host, healthy = health.healthy, engines = ?health.engines, "host");
            self.changed();
        }
    }
}
