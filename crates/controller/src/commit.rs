//! Makes a change durable, and then so in memory.
//!
//! A verb has worked out what the slice becomes. The writer is given the difference; it checks the revision, the
//! holders of addresses and ports, the capacity of hosts and the user's quota once more, in the database, and what
//! follows a commit happens on its thread, in the order of the commits, whether or not the caller still waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use testyard_model::id::{HostName, SliverId};
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::{SliceUrn, UserUrn};
use testyard_store::{
    AuditObject, Change, ChangeError, DocumentRow, LoginRow, ShutdownRow, SliverState, Versioned, WriteError,
};

use crate::api::{Caller, Document, Refusal};
use crate::core::Core;
use crate::event::Happening;
use crate::network::NETWORK_VERSION;
use crate::open::LAST_VNI;
use crate::reservation::Reservation;
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::state::State;
use crate::turn::Turn;
use crate::weight::weigh;

/// How often a change is worked out again because something was taken meanwhile.
pub(crate) const ATTEMPTS: u32 = 4;

/// What a slice becomes.
#[derive(Debug)]
pub(crate) struct Step {
    /// As it was; none if it is new.
    pub(crate) old: Option<Arc<Slice>>,
    /// As it is to be.
    pub(crate) new: Slice,
    /// For the audit trail.
    pub(crate) operation: &'static str,
    /// For the audit trail, in one line.
    pub(crate) detail: String,
    /// The slice is shut down by it.
    pub(crate) shutdown: Option<ShutdownRow>,
    /// What those who listen are told of it, beside what is to be seen in the slivers.
    pub(crate) news: Vec<Happening>,
}

/// What a verb makes of a slice: perhaps a change, and what the caller is told about it.
pub(crate) struct Proposal<T> {
    pub(crate) step: Option<Step>,
    pub(crate) told: T,
}

/// What a verb may look at, and mark.
pub(crate) struct Context<'a> {
    pub(crate) core: &'a Core,
    pub(crate) state: &'a mut State,
    pub(crate) settings: &'a Arc<Settings>,
    pub(crate) slice: Option<Arc<Slice>>,
    pub(crate) now: Timestamp,
    /// Marks what the verb takes; it is given back if the change is not made.
    pub(crate) reservation: &'a mut Reservation,
}

/// Why the writer did not take a change.
enum Blocked {
    /// Somebody else was first: work it out again.
    Conflict(String),
    /// The user has too many slices.
    TooManySlices(u32),
    /// The database refused.
    Failed(String),
}

impl From<ChangeError> for Blocked {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Conflict(what) => Self::Conflict(what),
            ChangeError::Sql(error) => Self::Failed(error.to_string()),
        }
    }
}

impl Step {
    /// A change of a slice that is there.
    pub(crate) fn new(old: &Arc<Slice>, new: Slice, operation: &'static str, detail: String) -> Self {
        Self { old: Some(Arc::clone(old)), new, operation, detail, shutdown: None, news: vec![] }
    }

    /// The same, with news.
    pub(crate) fn telling(self, news: Vec<Happening>) -> Self {
        Self { news, ..self }
    }
}

impl Core {
    /// Changes the living slice of this name, in its turn: slivers that have expired are removed first. `verb` is run
    /// again if something that it took is no longer to be had.
    pub(crate) async fn change<T>(
        self: &Arc<Self>,
        urn: &SliceUrn,
        caller: &Caller,
        verb: impl FnMut(Context<'_>) -> Result<Proposal<T>, Refusal>,
    ) -> Result<(Option<Arc<Slice>>, T), Refusal> {
        let turn = self.turns.take(urn).await;
        // It may have been shut down while this call waited.
        self.admit(caller, urn)?;
        self.change_in_turn(urn, caller, turn, verb).await
    }

    /// The same for a caller whose turn it is.
    pub(crate) async fn change_in_turn<T>(
        self: &Arc<Self>,
        urn: &SliceUrn,
        caller: &Caller,
        turn: Arc<Turn>,
        mut verb: impl FnMut(Context<'_>) -> Result<Proposal<T>, Refusal>,
    ) -> Result<(Option<Arc<Slice>>, T), Refusal> {
        self.expire_in_turn(urn, &turn).await?;
        for _ in 0..ATTEMPTS {
            let verb = |context: Context<'_>| verb(context).map(Some);
            if let Some(done) = self.attempt(urn, caller, &turn, verb).await? {
                return Ok(done);
            }
        }
        Err(others_were_faster())
    }

    /// Has a verb work out a change once, and makes it. Nothing, if it is to be worked out again: because the verb says so, or
    /// since something that it took is no longer to be had.
    pub(crate) async fn attempt<T>(
        self: &Arc<Self>,
        urn: &SliceUrn,
        caller: &Caller,
        turn: &Arc<Turn>,
        verb: impl FnOnce(Context<'_>) -> Result<Option<Proposal<T>>, Refusal>,
    ) -> Result<Option<(Option<Arc<Slice>>, T)>, Refusal> {
        // Outlives the lock on the state, which it takes itself where it has to give something back.
        let mut reservation = Reservation::new(self.shared.clone());
        let proposal = {
            let settings = self.settings.load_full();
            let mut state = self.shared.write();
            let (slice, now) = (state.slice(urn).cloned(), self.clock.now());
            let reservation = &mut reservation;
            verb(Context { core: self, state: &mut state, settings: &settings, slice, now, reservation })
        };
        let Some(proposal) = proposal? else { return Ok(None) };
        let Some(step) = proposal.step else {
            let slice = self.shared.read().slice(urn).cloned();
            return Ok(Some((slice, proposal.told)));
        };
        weigh(step.old.as_deref(), &step.new)?;
        match self.commit(step, reservation, Some(caller), Arc::clone(turn)).await {
            Ok(slice) => Ok(Some((slice, proposal.told))),
            Err(Some(refusal)) => Err(refusal),
            Err(None) => Ok(None),
        }
    }

    /// Makes a change durable and then so in memory. The slice as it is then; none if nothing is left of it. An error
    /// without a refusal means that the change is to be worked out again.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        step: Step,
        reservation: Reservation,
        caller: Option<&Caller>,
        turn: Arc<Turn>,
    ) -> Result<Option<Arc<Slice>>, Option<Refusal>> {
        let now = self.clock.now();
        let Step { old, new, operation, detail, shutdown, news } = step;
        let audit =
            caller.map(|caller| caller.did(now, AuditObject::Slice(new.urn.clone()), operation, detail));
        let limits = Limits::of(&self.settings.load(), old.as_deref(), &new);
        let (core, shut) = (Arc::clone(self), shutdown.as_ref().map(|row| row.slice.clone()));
        let (urn, before, after) = (new.urn.clone(), old.clone(), new.clone());
        let shared = self.shared.clone();
        let has_vnis = reservation.has_vnis();
        let write = move |change: &Change<'_>| -> Result<(), Blocked> {
            write_slice(change, old.as_deref(), &new, &limits)?;
            if has_vnis {
                // In the order of the commits, as it is read on the writer's thread: it only goes on.
                let last = shared.read().last_vni.map(|last| last.to_string());
                last.iter().try_for_each(|last| change.put_meta(LAST_VNI, last))?;
            }
            shutdown.iter().try_for_each(|row| change.put_shutdown(row))?;
            audit.iter().try_for_each(|row| change.audit(row))?;
            Ok(())
        };
        let (done, outcome) = tokio::sync::oneshot::channel();
        let committed = move |&(): &()| {
            reservation.keep();
            // Who does not wait any more does not want to know.
            let _ = done.send(core.replace(before.as_deref(), after, shut, news, now));
            drop(turn);
        };
        match self.store.write(write, committed).await {
            Ok(()) => Ok(outcome.await.unwrap_or_default()),
            Err(WriteError::Refused(Blocked::Conflict(what))) => {
                tracing::info!(slice = %urn, operation, what, "the change is worked out again");
                Err(None)
            }
            Err(WriteError::Refused(Blocked::TooManySlices(most))) => Err(Some(Refusal::Refused(format!(
                "you have {most} slices here, and no more are allowed for one user: delete one first"
            )))),
            Err(WriteError::Refused(Blocked::Failed(detail)) | WriteError::Commit(detail)) => {
                Err(Some(self.internal(operation, &detail)))
            }
            Err(error @ (WriteError::Panicked | WriteError::Closed)) => {
                let detail =
                    if matches!(error, WriteError::Closed) { "the store is closed" } else { "it panicked" };
                Err(Some(self.internal(operation, &detail)))
            }
        }
    }

    /// What follows a commit.
    fn replace(
        &self,
        old: Option<&Slice>,
        new: Slice,
        shut: Option<SliceUrn>,
        news: Vec<Happening>,
        now: Timestamp,
    ) -> Option<Arc<Slice>> {
        let (hosts, left) = difference(old, &new);
        let (id, revision) = (new.id, new.revision);
        let begun: Vec<Happening> = begun(old, &new).collect();
        let settings = self.settings.load();
        let gone = |sliver: Arc<Sliver>| Happening::Sliver {
            sliver: settings.sliver_urn(sliver.id),
            client_id: sliver.client_id.clone(),
            allocation: Allocation::Unallocated,
            operational: Operational::PendingAllocation,
            error: String::new(),
        };
        let mut state = self.shared.write();
        self.announce(&new, now, news.into_iter().chain(begun).chain(left.into_iter().map(gone)));
        state.shutdowns.extend(shut);
        let slice = state.replace(new);
        if let Some(slice) = &slice {
            state.asked.extend(hosts.iter().map(|host| ((id, host.clone()), revision)));
            self.derive(&mut state, slice, &slice.slivers, now);
            self.take_stock(&mut state, slice, now);
        }
        drop(state);
        hosts.iter().filter_map(|host| self.drivers.get(host)).for_each(|driver| driver.wake(id));
        self.expiry.notify_one();
        self.changed();
        slice
    }
}

/// A change was worked out often enough.
pub(crate) fn others_were_faster() -> Refusal {
    Refusal::Busy("others were faster again and again; try again later".to_owned())
}

/// Runs of schedules that have begun.
fn begun(old: Option<&Slice>, new: &Slice) -> impl Iterator<Item = Happening> {
    let before = move |document| old.and_then(|old| old.networks.get(document)?.run().1);
    let runs = new.networks.iter().filter_map(|(document, network)| Some((document, network.run().1?)));
    let fresh = runs.filter(move |(document, run)| before(*document) != Some(*run));
    fresh.map(|(_, run)| Happening::Begun { run: run.number })
}

/// Hosts whose desired state is another than before, and slivers that callers have no more.
fn difference(old: Option<&Slice>, new: &Slice) -> (BTreeSet<HostName>, Vec<Arc<Sliver>>) {
    let before: HashMap<SliverId, &Arc<Sliver>> =
        old.into_iter().flat_map(|slice| &slice.slivers).map(|sliver| (sliver.id, sliver)).collect();
    let after: HashMap<SliverId, &Arc<Sliver>> =
        new.slivers.iter().map(|sliver| (sliver.id, sliver)).collect();
    let on_host =
        |sliver: &Sliver| (sliver.state == SliverState::Provisioned).then(|| sliver.body.node.clone());
    // Every host of a network that changes: each has a part of it.
    let rewired = |sliver: &Sliver| {
        let network = |slice: &Slice| slice.networks.get(&sliver.document).map(Arc::as_ptr);
        sliver.state == SliverState::Provisioned && old.and_then(network) != network(new)
    };
    let mut hosts: BTreeSet<HostName> = new
        .slivers
        .iter()
        .filter(|sliver| match before.get(&sliver.id) {
            Some(before) if Arc::ptr_eq(before, sliver) => rewired(sliver),
            before => before.and_then(|sliver| on_host(sliver)) != on_host(sliver) || rewired(sliver),
        })
        .map(|sliver| sliver.host.clone())
        .collect();
    // What a host has of a link between hosts follows from who is on the others.
    for (document, _) in new.networks.iter().filter(|(_, network)| network.crosses_hosts()) {
        let now = given(new, *document);
        if old.is_none_or(|old| given(old, *document) != now) {
            hosts.extend(now.into_iter().map(|(_, host)| host.clone()));
        }
    }
    let left = before
        .values()
        .filter(|sliver| {
            !sliver.is_leaving() && after.get(&sliver.id).is_none_or(|sliver| sliver.is_leaving())
        })
        .map(|sliver| Arc::clone(sliver))
        .collect();
    (hosts, left)
}

/// Slivers of a request that are given to their hosts.
fn given(slice: &Slice, document: i64) -> BTreeSet<(SliverId, &HostName)> {
    let of_it = slice.slivers.iter().filter(|sliver| sliver.document == document);
    let given = of_it.filter(|sliver| sliver.state == SliverState::Provisioned);
    given.map(|sliver| (sliver.id, &sliver.host)).collect()
}

/// What the writer holds a change to.
struct Limits {
    /// Hosts that get more nodes, and what they can take.
    capacity: Vec<(HostName, u32)>,
    /// The user who makes a slice, and how many are allowed.
    slices: Option<(UserUrn, u32)>,
}

impl Limits {
    fn of(settings: &Settings, old: Option<&Slice>, new: &Slice) -> Self {
        let before: BTreeSet<SliverId> =
            old.into_iter().flat_map(|slice| &slice.slivers).map(|sliver| sliver.id).collect();
        let hosts: BTreeSet<&HostName> = new
            .slivers
            .iter()
            .filter(|sliver| !before.contains(&sliver.id))
            .map(|sliver| &sliver.host)
            .collect();
        let capacity = |host: &HostName| settings.host(host).map_or(0, |host| host.resources.capacity());
        Self {
            capacity: hosts.into_iter().map(|host| (host.clone(), capacity(host))).collect(),
            slices: old.is_none().then(|| (new.creator.clone(), settings.quotas.slices_per_user)),
        }
    }
}

fn write_slice(
    change: &Change<'_>,
    old: Option<&Slice>,
    new: &Slice,
    limits: &Limits,
) -> Result<(), Blocked> {
    match old {
        None => {
            if let Some((user, most)) = &limits.slices
                && change.slices_of(user)? >= *most
            {
                return Err(Blocked::TooManySlices(*most));
            }
            change.insert_slice(&new.row())?;
        }
        Some(old) if new.slivers.is_empty() => return Ok(change.delete_slice(new.id, old.revision)?),
        Some(old) => change.advance_slice(new.id, old.revision, new.revision, new.ended())?,
    }
    write_documents(change, old, new)?;
    let before: HashMap<SliverId, &Arc<Sliver>> =
        old.into_iter().flat_map(|slice| &slice.slivers).map(|sliver| (sliver.id, sliver)).collect();
    let kept: BTreeSet<SliverId> = new.slivers.iter().map(|sliver| sliver.id).collect();
    for id in before.keys().filter(|id| !kept.contains(id)) {
        change.delete_sliver(*id)?;
    }
    for sliver in &new.slivers {
        match before.get(&sliver.id) {
            Some(before) if Arc::ptr_eq(before, sliver) => {}
            before => write_sliver(change, new, before.map(|sliver| &***sliver), sliver)?,
        }
    }
    for (user, login) in
        new.logins.iter().filter(|(user, _)| old.is_none_or(|old| !old.logins.contains_key(*user)))
    {
        change.insert_login(new.id, &LoginRow { user: user.clone(), login: login.clone() })?;
    }
    for (host, capacity) in &limits.capacity {
        if change.slivers_on(host)? > *capacity {
            return Err(Blocked::Conflict(format!("host {host} is full")));
        }
    }
    Ok(())
}

fn write_documents(change: &Change<'_>, old: Option<&Slice>, new: &Slice) -> Result<(), ChangeError> {
    let has = |document: &&Arc<Document>| new.documents.iter().any(|kept| kept.id == document.id);
    for document in
        new.documents.iter().filter(|document| !old.is_some_and(|old| old.has_same(new, document)))
    {
        let network = new.networks.get(&document.id);
        let network = network.map(|network| Versioned::write(NETWORK_VERSION, &**network));
        change.put_document(
            new.id,
            &DocumentRow { number: document.id, text: document.text.clone(), network },
        )?;
    }
    for document in old.into_iter().flat_map(|old| &old.documents).filter(|document| !has(document)) {
        change.delete_document(new.id, document.id)?;
    }
    Ok(())
}

fn write_sliver(
    change: &Change<'_>,
    slice: &Slice,
    old: Option<&Sliver>,
    new: &Sliver,
) -> Result<(), ChangeError> {
    change.put_sliver(slice.id, &new.row())?;
    if old.is_none() {
        new.addresses().try_for_each(|address| change.hold_address(&new.host, address, new.id))?;
    }
    let had: BTreeSet<u16> = old.into_iter().flat_map(Sliver::ports).collect();
    let has: BTreeSet<u16> = new.ports().collect();
    had.difference(&has).try_for_each(|port| change.release_port(&new.host, *port, new.id))?;
    has.difference(&had).try_for_each(|port| change.hold_port(&new.host, *port, new.id))
}
