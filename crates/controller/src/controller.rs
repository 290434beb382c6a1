//! The controller: one method for each thing that a front door can ask for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use testyard_agent::Host;
use testyard_fabric::capture::CaptureStream;
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_model::urn::{SliceUrn, UserUrn};
use testyard_plan::Plan;
use testyard_store::{AuditObject, AuditQuery, AuditRow, ReadError, Store, Writes};
use testyard_verify::Report;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::api::{
    Allocate, Caller, Capture, ChangeLink, Effort, HostReport, ImageView, KeptReport, Offer, Outlook,
    Perform, Provision, Refusal, Renew, Selection, SliceSummary, SliceView, Surroundings, Update, Verify,
};
use crate::clock::Clock;
use crate::core::Core;
use crate::counts::Counts;
use crate::entropy::{OsRandomness, Randomness};
use crate::event::Event;
use crate::open::{OpenError, ReconfigureError};
use crate::settings::Settings;

/// The life of slices. What its methods return is durable.
pub struct Controller {
    core: Arc<Core>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

type Result<T> = std::result::Result<T, Refusal>;

impl Controller {
    /// Loads the state, gives every host what should be on it, and begins to listen and to watch for expiry. A host
    /// that cannot be spoken to is tried again and again; it is no error.
    ///
    /// # Errors
    /// [`OpenError`] if the state cannot be loaded or is another testbed's.
    pub async fn open(
        store: Store,
        settings: Settings,
        hosts: Vec<(HostName, Arc<dyn Host>)>,
        clock: Arc<dyn Clock>,
    ) -> std::result::Result<Arc<Self>, OpenError> {
        Self::open_with(store, settings, hosts, clock, Arc::new(OsRandomness)).await
    }

    /// The same with a source of randomness, for tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        store: Store,
        settings: Settings,
        hosts: Vec<(HostName, Arc<dyn Host>)>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> std::result::Result<Arc<Self>, OpenError> {
        let core = Core::open(store, settings, clock, randomness).await?;
        let tasks =
            vec![tokio::spawn(Arc::clone(&core).keep()), tokio::spawn(Arc::clone(&core).watch_expiry())];
        core.take_hosts(hosts).await;
        Ok(Arc::new(Self { core, tasks: Mutex::new(tasks) }))
    }

    /// Takes other settings, and the hosts that they name. What lives keeps what it has; new calls follow the new settings. A
    /// host that is there already goes on as it is. One that is gone gets no more nodes, and is let go of if nothing is on it.
    ///
    /// # Errors
    /// [`ReconfigureError`] if only a restart can take them; the old ones stay.
    pub async fn reconfigure(
        &self,
        settings: Settings,
        hosts: Vec<(HostName, Arc<dyn Host>)>,
    ) -> std::result::Result<(), ReconfigureError> {
        let running = self.core.settings.load();
        if running.authority() != settings.authority() {
            return Err(ReconfigureError::Authority {
                running: running.authority().to_string(),
                configured: settings.authority().to_string(),
            });
        }
        self.core.take_hosts(hosts).await;
        let tunnels = |settings: &Settings| -> Vec<_> {
            settings.hosts().iter().map(|host| (host.resources.name().clone(), host.tunnel)).collect()
        };
        let are_moved = tunnels(&running) != tunnels(&settings);
        self.core.settings.store(Arc::new(settings));
        if are_moved {
            self.core.drivers.all().iter().for_each(|driver| driver.wake_for_all());
        }
        self.core.changed();
        Ok(())
    }

    /// Ends the tasks and the hosts' work, and keeps what is known. Nodes run on.
    pub async fn shut_down(&self) {
        self.abandon().await;
        for driver in self.core.drivers.all() {
            driver.host.shut_down().await;
        }
        self.core.keep_marked().await;
        self.core.store.flush().await;
    }

    /// Ends the tasks as the end of the process does, for tests of what a restart finds.
    #[doc(hidden)]
    pub async fn abandon(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            // It was cancelled, or has panicked, which the log has.
            let _ = task.await;
        }
        for driver in self.core.drivers.all() {
            driver.end().await;
        }
        self.core.chores.end().await;
    }

    /// The hosts, as operators see them.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostReport> {
        self.core.host_reports()
    }

    /// Slices that something is on this host of, what is leaving too, by name.
    #[must_use]
    pub fn slices_on(&self, host: &HostName) -> BTreeSet<SliceUrn> {
        let state = self.core.shared.read();
        let here = state.slices().filter(|slice| slice.slivers.iter().any(|sliver| sliver.host == *host));
        here.map(|slice| slice.urn.clone()).collect()
    }

    /// A host gets no more nodes, or may get them again. Those that are on it stay. Whether that is new.
    ///
    /// # Errors
    /// `NotFound`, `Expired`, `Internal`.
    pub async fn drain_host(&self, caller: &Caller, host: &HostName, drained: bool) -> Result<bool> {
        self.core.drain_host(caller, host, drained).await
    }

    /// Whatever is on a host is given up, as the host will never be seen again: its slivers are forgotten, and those of other
    /// hosts stay. How many they were.
    ///
    /// # Errors
    /// `Busy`, `Expired`, `Internal`.
    pub async fn give_up_host(&self, caller: &Caller, host: &HostName) -> Result<usize> {
        self.core.give_up_host(caller, host).await
    }

    /// What the testbed offers now.
    #[must_use]
    pub fn offer(&self) -> Offer {
        self.core.offer()
    }

    /// Reserves nodes for a short time: all of the topology or nothing. A slice may be added to; client ids that it
    /// has are refused. The view has the new slivers only. An end that is too late is cut, with a notice.
    ///
    /// # Errors
    /// `BadRequest`, `NotFound` (nothing in it is ours), `TooBig`, `AlreadyExists`, `Refused` (quotas, policy),
    /// `OutOfRange` (the end is past), `Expired`, `ShutDown`, `Busy`, `Internal`.
    pub async fn allocate(&self, caller: &Caller, request: Allocate) -> Result<SliceView> {
        self.core.allocate(caller, request).await
    }

    /// Gives allocated slivers for good; hosts begin when it is durable, and this does not wait for them. A slice
    /// means those of its slivers that are allocated. The view has the slivers that this call was about.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported` (provisioned already), `BadRequest`, `Refused`, `OutOfRange`, `Expired`, `ShutDown`,
    /// `Busy`, `Internal`.
    pub async fn provision(&self, caller: &Caller, request: Provision) -> Result<SliceView> {
        self.core.provision(caller, request).await
    }

    /// Has a slice be what a topology says: made and provisioned if it is not there, changed where it runs. What is asked
    /// for is durable when this returns, all of it or nothing, and comes about after that. The view has all slivers.
    ///
    /// # Errors
    /// As [`Self::allocate`] and [`Self::provision`]; `Unsupported` for a slice that was put together of several requests;
    /// `Changed` if it is not the one that the caller has seen.
    pub async fn update(&self, caller: &Caller, request: Update) -> Result<SliceView> {
        self.core.update(caller, request).await
    }

    /// What an update would come to; nothing changes.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn outlook(&self, caller: &Caller, request: &Update) -> Result<Outlook> {
        self.core.outlook(caller, request).await
    }

    /// What runs of a slice, as a plan, with what was changed while it runs; an empty one if there is no such slice.
    ///
    /// # Errors
    /// `Unsupported` (put together of several requests), `Expired`, `ShutDown`.
    pub async fn running(&self, caller: &Caller, slice: &SliceUrn) -> Result<Plan> {
        self.core.running(caller, slice)
    }

    /// Changes a link while it runs, for good or for a while. The view has all slivers and links.
    ///
    /// # Errors
    /// `NotFound` (slice, link, member), `BadRequest` (no link can be so), `OutOfRange`, `Expired`, `ShutDown`, `Busy`,
    /// `Internal`.
    pub async fn change_link(&self, caller: &Caller, request: ChangeLink) -> Result<SliceView> {
        self.core.change_link(caller, request).await
    }

    /// Captures at links while they run: events that are a file of pcapng one after the other, until the stream is dropped.
    ///
    /// # Errors
    /// `NotFound` (slice, link), `BadRequest` (the filter), `Unsupported` (not there yet, no tcpdump for a filter), `Busy`
    /// (too many), `Expired`, `ShutDown`, `Internal`.
    pub async fn capture(&self, caller: &Caller, request: Capture) -> Result<CaptureStream> {
        self.core.capture(caller, request).await
    }

    /// Measures what the links of a slice really do, and keeps the report with the slice. `progress` hears how many of all
    /// steps are done. The frames that are sent are real traffic of the links.
    ///
    /// # Errors
    /// `Unsupported` (no links, nodes that are not ready), `NotFound`, `Expired`, `ShutDown`, `Internal`.
    pub async fn verify(
        &self,
        caller: &Caller,
        request: Verify,
        progress: impl FnMut(usize, usize) + Send,
    ) -> Result<Report> {
        self.core.verify(caller, request, progress).await
    }

    /// The newest report of a slice.
    ///
    /// # Errors
    /// `NotFound` (no slice, no report), `Expired`, `ShutDown`, `Internal`.
    pub async fn report(&self, caller: &Caller, slice: &SliceUrn) -> Result<KeptReport> {
        self.core.report(caller, slice).await
    }

    /// Has the schedule of a slice begin anew, now. Links are as they are planned and events come again; disks stay.
    ///
    /// # Errors
    /// `Unsupported` (no schedule), `NotFound`, `Expired`, `ShutDown`, `Busy`, `Internal`.
    pub async fn replay(&self, caller: &Caller, slice: &SliceUrn) -> Result<SliceView> {
        self.core.replay(caller, slice).await
    }

    /// The images that a slice has had made of URLs, with the host of each and what was printed meanwhile.
    ///
    /// # Errors
    /// [`Refusal`](api::Refusal) if the caller may not look at the slice, or there is none.
    pub fn images(&self, caller: &Caller, slice: &SliceUrn) -> Result<Vec<ImageView>> {
        self.core.images(caller, slice)
    }

    /// All living slices, by name: for a front door that shows each caller those that are the caller's.
    #[must_use]
    pub fn slices(&self) -> Vec<SliceSummary> {
        self.core.summaries()
    }

    /// Who made a living slice: for a front door that lets only that user touch it.
    #[must_use]
    pub fn creator(&self, slice: &SliceUrn) -> Option<UserUrn> {
        self.core.creator(slice)
    }

    /// Slivers as they are. A slice without slivers is an empty view.
    ///
    /// # Errors
    /// `NotFound` (a sliver that was named), `BadRequest`, `Expired`, `ShutDown`.
    pub async fn describe(&self, caller: &Caller, selection: Selection) -> Result<SliceView> {
        self.core.describe(caller, &selection)
    }

    /// Slivers as they are.
    ///
    /// # Errors
    /// `NotFound` (also a slice without slivers), `BadRequest`, `Expired`, `ShutDown`.
    pub async fn status(&self, caller: &Caller, selection: Selection, effort: Effort) -> Result<SliceView> {
        self.core.status(caller, &selection, effort)
    }

    /// The slice around a node, for what is told inside the node; nothing if it has left that slice. No caller is asked
    /// for: whoever is in the node may know this, and what is told is chosen with that in mind.
    #[must_use]
    pub fn around(&self, slice: SliceId, sliver: SliverId) -> Option<Surroundings> {
        self.core.around(slice, sliver)
    }

    /// Does something to provisioned slivers; a slice means those of its slivers that are provisioned. What is asked
    /// for is durable when this returns, and comes about after that.
    ///
    /// # Errors
    /// `Unsupported` (not provisioned), `Refused` (users of a node that is not ready), `NotFound`, `BadRequest`,
    /// `Expired`, `ShutDown`, `Busy`, `Internal`.
    pub async fn perform(&self, caller: &Caller, request: Perform) -> Result<SliceView> {
        self.core.perform(caller, request).await
    }

    /// Gives slivers another end, later or earlier.
    ///
    /// # Errors
    /// `OutOfRange` (past, or too late, with the latest end that is allowed), `NotFound`, `BadRequest`, `Expired`,
    /// `ShutDown`, `Busy`, `Internal`.
    pub async fn renew(&self, caller: &Caller, request: Renew) -> Result<SliceView> {
        self.core.renew(caller, request).await
    }

    /// Takes slivers away. The view has them as they were, unallocated. Their hosts remove them after that; see
    /// [`Self::wait_until_gone`].
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`, `Expired`, `ShutDown`, `Busy`, `Internal`.
    pub async fn delete(&self, caller: &Caller, selection: Selection, effort: Effort) -> Result<SliceView> {
        self.core.delete(caller, selection, effort).await
    }

    /// Stops every node of a slice, disks kept, and refuses every later call on it. Whether nothing of it runs any
    /// more; it may be shut down already, or have nothing here.
    ///
    /// # Errors
    /// `Expired`, `Busy`, `Internal`.
    pub async fn shutdown_slice(&self, caller: &Caller, slice: SliceUrn) -> Result<bool> {
        self.core.shutdown_slice(caller, slice).await
    }

    /// Lets a slice that was shut down be used again, for operators; whether it was shut down. Its nodes stay stopped
    /// until somebody starts them.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn lift_shutdown(&self, caller: &Caller, slice: SliceUrn) -> Result<bool> {
        self.core.lift_shutdown(caller, slice).await
    }

    /// Changes of slivers from now on. A listener that is too slow misses some and is told so: then look at the whole
    /// again.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.core.events.subscribe()
    }

    /// Returns once nothing of the slice is left, here and on every host.
    pub async fn wait_until_gone(&self, slice: &SliceUrn) {
        self.core.wait_for(|state| state.slices().all(|life| life.urn != *slice)).await;
    }

    /// Returns once hosts have removed everything of a slice that has been deleted or has expired. A slice of that name that
    /// lives is not waited for.
    ///
    /// # Errors
    /// `Refused` (what is being removed is another's, too), `Expired`, `ShutDown`.
    pub async fn wait_until_removed(&self, caller: &Caller, slice: &SliceUrn) -> Result<()> {
        self.core.admit_to_ended(caller, slice)?;
        self.core.wait_for(|state| !state.slices().any(|life| life.urn == *slice && life.ended())).await;
        Ok(())
    }

    /// Returns once `done` is true of the counts; it is asked again at each change.
    pub async fn wait_for_counts(&self, mut done: impl FnMut(&Counts) -> bool) {
        let mut changes = self.core.changes.subscribe();
        while !done(&self.counts()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is there, in numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.core.counts()
    }

    /// What the store's writer has done since the controller was opened.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.core.store.writes()
    }

    /// Who did what, newest first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn audit(&self, query: AuditQuery) -> std::result::Result<Vec<AuditRow>, ReadError> {
        self.core.store.audit(query).await
    }

    /// Notes in the audit trail what a front door does for a caller by itself.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn note(
        &self,
        caller: &Caller,
        object: AuditObject,
        operation: &'static str,
        detail: String,
    ) -> Result<()> {
        self.core.audit(caller, object, operation, detail).await
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.core.drivers.abort();
        self.core.chores.abort();
    }
}
