//! The warm pool: spares, nodes that have been made and booted before anybody wants them.
//!
//! ```text
//!            keeper, in the background                    a node's task
//! settings ─► decide (pure) ─► make, boot, attend ─► spares ─ take ─► hand_over ─► the task's own node
//!                    └───────► remove what does not fit          └── fails: back, to be removed
//! ```
//!
//! A spare is a node of no slice ([`NodeKey::spare`]): its guest runs and waits for a desired state; it has no interface,
//! no account, no key, and nothing of the image has been started. It is handed over once and never comes back, so slices
//! share nothing through it. The runtime makes it somebody's node in one step, so a crash at any instant leaves either a
//! spare, which the next agent finds, or a node without its interface, which the converger goes on with.
//!
//! What a spare was made from is in a [`records`] file; one without a file fits nobody and is removed.

mod attend;
pub(crate) mod decide;
pub(crate) mod keeper;
mod records;
pub(crate) mod rush;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use testyard_model::image::ImageName;
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use testyard_runtime::NodeKey;
use tokio::sync::{Notify, watch};

use attend::Attendant;
use decide::{Action, Power, Spare, decide};
use records::Records;
use rush::Rush;

/// What a host keeps in its pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolSettings {
    /// How many spares; 0 is none.
    pub size: u32,
    /// What runs them.
    pub runtime: RuntimeKind,
    /// What they boot.
    pub image: ImageName,
    /// What they may use.
    pub limits: Limits,
    /// What they may do.
    pub privileges: Privileges,
}

/// What a spare was made from. A node that would be made from the same may have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Make {
    pub(crate) runtime: RuntimeKind,
    /// The id of the image's content.
    pub(crate) image: String,
    pub(crate) limits: Limits,
    pub(crate) privileges: Privileges,
    /// See [`testyard_runtime::Runtime::guest`].
    pub(crate) guest: String,
}

/// The spares of a host.
pub(crate) struct Pool {
    settings: watch::Sender<Option<PoolSettings>>,
    state: Mutex<State>,
    wake: Notify,
    pub(crate) rush: Rush,
    records: Records,
}

#[derive(Default)]
struct State {
    spares: BTreeMap<NodeKey, Spare>,
    attendants: BTreeMap<NodeKey, Attendant>,
    /// Taken out, by a node's task or to be removed: what a list shows of them is old.
    out: BTreeSet<NodeKey>,
    /// Something has happened to them.
    to_look: BTreeSet<NodeKey>,
    /// The runtimes have been listed.
    listed: bool,
    /// What to make; unknown until the image has been looked at.
    make: Option<(Make, testyard_runtime::Image)>,
}

/// A spare that its taker must either hand over or give back. It is given back when it is dropped.
pub(crate) struct Taken<'p> {
    pool: &'p Pool,
    pub(crate) key: NodeKey,
    /// Keeps the guest's stream until the new owner listens.
    _attendant: Option<Attendant>,
    handed_over: bool,
}

// === impl Pool ===

impl Pool {
    pub(crate) fn new(settings: Option<PoolSettings>, state: &Path) -> Self {
        Self {
            settings: watch::Sender::new(settings),
            state: Mutex::default(),
            wake: Notify::new(),
            rush: Rush::default(),
            records: Records::new(state),
        }
    }

    /// What to keep from now on.
    pub(crate) fn set(&self, settings: Option<PoolSettings>) {
        self.settings.send_if_modified(|now| {
            let new = *now != settings;
            *now = settings;
            new
        });
    }

    /// Something has happened to a spare.
    pub(crate) fn look(&self, key: NodeKey) {
        self.lock().to_look.insert(key);
        self.wake.notify_one();
    }

    /// Events may have been missed.
    pub(crate) fn look_at_all(&self) {
        self.lock().listed = false;
        self.wake.notify_one();
    }

    /// A spare for a node that would be made so, one whose guest is up if there is one.
    pub(crate) fn take(&self, name: &ImageName, make: &Make) -> Option<Taken<'_>> {
        let mut state = self.lock();
        let warm = |key: &NodeKey| state.attendants.get(key).is_some_and(Attendant::has_heard);
        // One that nobody listens to yet may be about to get the keeper's listener, which must not come after its owner's.
        let fits = |spare: &Spare| {
            spare.power == Power::Running && spare.attended && spare.make.as_ref() == Some(make)
        };
        let found = state.spares.iter().filter(|(_, spare)| fits(spare)).map(|(key, _)| *key);
        let found = found.max_by_key(warm);
        let Some(key) = found else {
            // The name may mean another content by now.
            let named = self.settings.borrow().as_ref().is_some_and(|settings| settings.image == *name);
            if named && state.make.as_ref().is_some_and(|(ours, _)| ours.image != make.image) {
                state.make = None;
                self.wake.notify_one();
            }
            return None;
        };
        state.spares.remove(&key);
        state.out.insert(key);
        let attendant = state.attendants.remove(&key);
        drop(state);
        self.wake.notify_one();
        Some(Taken { pool: self, key, _attendant: attendant, handed_over: false })
    }

    /// The next thing to do; what is to be removed is out of everybody's reach at once.
    fn next(&self) -> Option<Action> {
        let mut state = self.lock();
        let size = self.settings.borrow().as_ref().map_or(0, |settings| settings.size);
        let wanted = state.make.as_ref().map(|(make, _)| (make, size)).filter(|(_, size)| *size > 0);
        let action = decide(wanted, &state.spares)?;
        if let Action::Remove(key) = action {
            state.spares.remove(&key);
            state.attendants.remove(&key);
            state.out.insert(key);
        }
        Some(action)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is changed piece by piece, so a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Taken ===

impl Taken<'_> {
    /// The runtime says that it is the node's.
    pub(crate) fn handed_over(mut self) {
        self.handed_over = true;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.out.remove(&self.key);
        if self.handed_over {
            drop(state);
            self.pool.records.forget(&self.key);
        } else {
            // Nobody knows what has become of it.
            state.spares.insert(self.key, Spare { make: None, power: Power::Running, attended: true });
            drop(state);
            self.pool.wake.notify_one();
        }
    }
}
