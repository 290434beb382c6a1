//! Update: a slice becomes what a topology says, whatever it was. It is made if it is not there; of what runs, what is the
//! same stays untouched, what can change while it runs does, and the rest restarts or is replaced.
//!
//! | node | is |
//! | --- | --- |
//! | only in the topology | made, and provisioned at once |
//! | only in the slice | taken away |
//! | of another image or kind | given a fresh disk |
//! | with other services | restarted |
//! | with other ports, names, links | changed while it runs |
//! | stopped or failed | started |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use testyard_agent::desired::{HostKey, Power};
use testyard_agent::observed;
use testyard_model::account::{Account, User};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::name::{ClientId, Hostname};
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::SliceUrn;
use testyard_plan::{Plan, PlannedNode};
use testyard_store::SliverState;

use super::Fresh;
use super::allocate::{body, cut_notice, forward, shorten};
use super::sketch::{Sketch, running};
use super::users;
use crate::api::{Caller, Document, LinkAction, Outlook, Refusal, SliceView, Update};
use crate::commit::{ATTEMPTS, Context, Proposal, Step, others_were_faster};
use crate::core::Core;
use crate::entropy::uuid;
use crate::event::Happening;
use crate::host_keys;
use crate::network::Network;
use crate::run;
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::view::Told;

/// Host keys of nodes that are to come.
type Keys = HashMap<ClientId, Vec<HostKey>>;

impl Core {
    pub(crate) async fn update(
        self: &Arc<Self>,
        caller: &Caller,
        request: Update,
    ) -> Result<SliceView, Refusal> {
        self.admit(caller, &request.slice)?;
        self.ahead_of_plan(&request.topology);
        let (urn, request) = (request.slice.clone(), Arc::new(request));
        // Refuses what cannot be had before keys are made for it.
        let sketch = match self.sketch(&request).await {
            // Room may be missing only because a host was not well when it was looked at last.
            Err(Refusal::TooBig(_)) if self.shared.read().hosts.values().any(|host| !host.healthy) => {
                self.examine_hosts().await;
                self.sketch(&request).await?
            }
            outcome => outcome?,
        };
        self.ahead(&sketch.plan.nodes);
        let keys = self.keys_for(sketch.coming.clone()).await?;
        let turn = self.turns.take(&urn).await;
        // It may have been shut down, or made by somebody else, while this call waited.
        self.admit(caller, &urn)?;
        self.expire_in_turn(&urn, &turn).await?;
        let mut sketch = Some(sketch);
        for left in (0..ATTEMPTS).rev() {
            let sketched = sketch.take();
            let verb = |context: Context<'_>| propose(context, caller, &request, &keys, sketched);
            if let Some((slice, told)) = self.attempt(&urn, caller, &turn, verb).await? {
                return Ok(self.show(&urn, slice.as_deref(), told));
            }
            // The last time it is worked out where nobody can be faster.
            if left > 1 {
                sketch = Some(self.sketch(&request).await?);
            }
        }
        Err(others_were_faster())
    }

    /// What an update would come to.
    pub(crate) async fn outlook(&self, caller: &Caller, request: &Update) -> Result<Outlook, Refusal> {
        self.admit(caller, &request.slice)?;
        let Sketch { slice, changes, plan, .. } = self.sketch(&Arc::new(request.clone())).await?;
        Ok(Outlook { changes, plan, version: Slice::version(slice.as_deref()) })
    }

    /// What runs of a slice, as a plan.
    pub(crate) fn running(&self, caller: &Caller, slice: &SliceUrn) -> Result<Plan, Refusal> {
        self.admit(caller, slice)?;
        let slice = self.shared.read().slice(slice).cloned();
        running(slice.as_deref(), &self.settings.load(), self.clock.now())
    }

    async fn keys_for(&self, nodes: Vec<ClientId>) -> Result<Keys, Refusal> {
        let randomness = Arc::clone(&self.randomness);
        let work = move || {
            let keys = |node: ClientId| {
                host_keys::generate(&*randomness, &Hostname::from_client_id(&node)).map(|keys| (node, keys))
            };
            nodes.into_iter().map(keys).collect::<Result<Keys, _>>()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(error)) => Err(self.internal("update", &error)),
            Err(error) => Err(self.internal("update", &error)),
        }
    }
}

/// `sketch` is the plan, if it was made before; nothing comes of it if that is not the plan any more.
fn propose(
    context: Context<'_>,
    caller: &Caller,
    request: &Update,
    keys: &Keys,
    sketch: Option<Sketch>,
) -> Result<Option<Proposal<Told>>, Refusal> {
    let Context { core, state, settings, slice: old, now, reservation } = context;
    if request.seen.is_some_and(|seen| seen != Slice::version(old.as_deref())) {
        return Err(Refusal::Changed(format!(
            "slice {} is not as it was when it was looked at: look again at what would change",
            request.slice.name()
        )));
    }
    let is_old = sketch.is_some();
    let sketch = match sketch {
        Some(sketch) if !sketch.stands(old.as_ref(), settings, now) => return Ok(None),
        Some(sketch) => sketch,
        None => Sketch::of(old.as_ref(), settings, &state.hosts_now(settings), request, now)?,
    };
    let Sketch { plan, changes, .. } = sketch;
    let ends = Ends::of(old.as_deref(), settings, request, caller, now)?;
    let mut new = match &old {
        Some(old) => old.next(),
        None => {
            let id = SliceId::from_uuid(uuid(&*core.randomness));
            Slice::begun(id, request.slice.clone(), reservation.tag(state), caller.user.clone(), now)
        }
    };
    let number = new
        .documents
        .first()
        .map_or_else(|| i64::try_from(new.revision.0).unwrap_or(i64::MAX), |document| document.id);
    let schedule = &request.topology.schedule;
    let network_before = old.as_ref().and_then(|old| old.networks.get(&number));
    if network_before.is_some_and(|before| before.run().0 != schedule.as_slice()) {
        run::end(&mut new, number, now);
    }
    let over = network_before.into_iter().flat_map(|before| before.changed_links().cloned());
    let over: BTreeSet<ClientId> = over.collect();
    let living: HashMap<ClientId, Arc<Sliver>> =
        new.living(now).map(|sliver| (sliver.client_id.clone(), Arc::clone(sliver))).collect();
    let stays: BTreeSet<&ClientId> =
        plan.nodes.iter().filter(|node| stays_here(&living, node)).map(|node| &node.client_id).collect();
    let leaves: Vec<&Arc<Sliver>> =
        living.values().filter(|sliver| !stays.contains(&sliver.client_id)).collect();
    let is_away = |sliver: &Sliver| state.hosts.get(&sliver.host).is_some_and(|host| host.away.is_some());
    new.remove(&leaves.iter().map(|sliver| sliver.id).collect());
    let away: Vec<&Arc<Sliver>> = new.slivers.iter().filter(|sliver| is_away(sliver)).collect();
    let ghosts = away.iter().filter(|sliver| sliver.is_leaving()).map(|sliver| sliver.client_id.clone());
    let ghosts: BTreeSet<ClientId> = ghosts.collect();
    let away: BTreeSet<ClientId> = away.iter().map(|sliver| sliver.client_id.clone()).collect();

    let number = new
        .documents
        .first()
        .map_or_else(|| i64::try_from(new.revision.0).unwrap_or(i64::MAX), |document| document.id);
    if new.documents.first().is_none_or(|document| document.text != request.document) {
        new.documents = vec![Arc::new(Document { id: number, text: request.document.clone() })];
    }
    let unchanged = network_before
        .filter(|before| plan.network.as_ref().is_some_and(|planned| before.is_as(planned, schedule)));
    let network = match unchanged {
        Some(network) => Some(Arc::clone(network)),
        None => {
            let before = network_before.map(AsRef::as_ref);
            let planned = plan.network.clone();
            let mut fresh = Fresh { core, state, reservation, away, ghosts };
            let made = |planned| Network::new(planned, schedule.clone(), before, &mut fresh);
            planned.and_then(made).map(Arc::new)
        }
    };
    new.networks = network.map(|network| (number, network)).into_iter().collect();

    let people = People::of(&mut new, settings, &request.users)?;
    let mut shown = Vec::with_capacity(plan.nodes.len());
    let mut next_number = new.slivers.last().map_or(0, |sliver| sliver.number) + 1;
    for node in plan.nodes {
        let running = living.get(&node.client_id).filter(|_| stays_here(&living, &node));
        if let Some(sliver) = running {
            let fresh = node.forwards.iter().map(|forward| forward.host_port);
            let fresh: Vec<u16> = fresh.filter(|port| sliver.ports().all(|had| had != *port)).collect();
            if !fresh.is_empty() {
                match reservation.ports(state, &node.host, fresh) {
                    Ok(()) => {}
                    // Somebody has been given it since.
                    Err(_) if is_old => return Ok(None),
                    Err(error) => return Err(core.internal("update", &error)),
                }
            }
            let failed = state.operational(sliver).0 == Operational::Failed;
            // What nobody has asked for stays stopped.
            let starts = request.only.as_ref().is_none_or(|only| only.contains(&sliver.client_id));
            let seen = state.observed(sliver.id);
            let after = changed((sliver, seen), node, &people, ends, starts.then_some(failed), now);
            shown.push(sliver.id);
            if after != **sliver
                && let Some(place) = new.slivers.iter_mut().find(|place| place.id == after.id)
            {
                *place = Arc::new(after);
            }
            continue;
        }
        match reservation.node(state, &node.host, node.holding()) {
            Ok(()) => {}
            Err(_) if is_old => return Ok(None),
            Err(error) => return Err(core.internal("update", &error)),
        }
        let id = SliverId::from_uuid(uuid(&*core.randomness));
        let keys = match keys.get(&node.client_id) {
            Some(keys) => keys.clone(),
            // It ran when the keys were made, and does not any more.
            None => host_keys::generate(&*core.randomness, &node.hostname)
                .map_err(|error| core.internal("update", &error))?,
        };
        let mut sliver = Sliver {
            id,
            number: next_number,
            document: number,
            client_id: node.client_id.clone(),
            host: node.host.clone(),
            state: SliverState::Provisioned,
            expires: ends.new,
            body: body(id, node, keys),
        };
        next_number += 1;
        sliver.body.node.accounts = people.accounts(sliver.body.sudo);
        sliver.body.node.accounts_revision = 1;
        sliver.note("provisioned", now);
        shown.push(id);
        new.slivers.push(Arc::new(sliver));
    }
    arrange(&mut new, &shown);
    // Where nothing starts, nobody will report that all is ready.
    let due = run::due(state, &new, now);
    run::begin(&mut new, &due, now);
    let mut told = Told { slivers: shown, diagnostics: plan.diagnostics, ..Told::default() };
    told.diagnostics.extend(plan.near_limits);
    told.diagnostics.extend(cut_notice(ends.cut, ends.new));
    let same = old.as_deref().is_some_and(|old| {
        old.slivers == new.slivers && old.documents == new.documents && old.networks == new.networks
    });
    if same {
        return Ok(Some(Proposal { step: None, told }));
    }
    let names =
        new.slivers.iter().filter(|sliver| !sliver.is_leaving()).map(|sliver| sliver.client_id.as_str());
    let detail = format!("{} changes, nodes: {}", changes.0.len(), shorten(names));
    let news = over.into_iter().map(|link| {
        // Links are as the topology says.
        Happening::Link { link, from: None, what: LinkAction::Reset, until: None }
    });
    let news = news.collect();
    let step = Step { old, new, operation: "update", detail, shutdown: None, news };
    Ok(Some(Proposal { step: Some(step), told }))
}

/// Puts the slivers in the order of the topology, behind those that leave, and numbers them anew where that is another order
/// than before.
fn arrange(slice: &mut Slice, order: &[SliverId]) {
    let place: HashMap<SliverId, usize> = order.iter().copied().zip(1..).collect();
    slice.slivers.sort_by_key(|sliver| place.get(&sliver.id).copied().unwrap_or(0));
    let mut last = i64::MIN;
    for sliver in &mut slice.slivers {
        if sliver.number <= last {
            Arc::make_mut(sliver).number = last + 1;
        }
        last = sliver.number;
    }
}

fn stays_here(living: &HashMap<ClientId, Arc<Sliver>>, node: &PlannedNode) -> bool {
    living.get(&node.client_id).is_some_and(|sliver| sliver.host == node.host)
}

/// When nodes end.
#[derive(Clone, Copy)]
struct Ends {
    /// Those that come.
    new: Timestamp,
    /// Those that are there, if the request says so.
    kept: Option<Timestamp>,
    /// Whether it is earlier than was asked for.
    cut: bool,
}

impl Ends {
    fn of(
        old: Option<&Slice>,
        settings: &Settings,
        request: &Update,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let there = old.into_iter().flat_map(|slice| slice.living(now));
        let there = there.filter(|sliver| sliver.state == SliverState::Provisioned);
        match (request.end, there.map(|sliver| sliver.expires).max()) {
            // What comes to others ends with them.
            (None, Some(new)) => Ok(Self { new, kept: None, cut: false }),
            (end, _) => {
                let (new, cut) = settings.leases.begin(Allocation::Provisioned, end, caller.until, now)?;
                Ok(Self { new, kept: end.map(|_| new), cut })
            }
        }
    }
}

/// A node that runs, as it is to be; with what its host saw of it.
fn changed(
    (sliver, seen): (&Sliver, Option<&observed::Node>),
    node: PlannedNode,
    people: &People,
    ends: Ends,
    // Whether it has failed, if it is to be started.
    starts: Option<bool>,
    now: Timestamp,
) -> Sliver {
    let mut after = sliver.clone();
    if sliver.state == SliverState::Allocated {
        after.state = SliverState::Provisioned;
        after.expires = ends.new;
        after.note("provisioned", now);
    }
    after.expires = ends.kept.unwrap_or(after.expires);
    let kind = node.sliver_type;
    after.body.sliver_type = kind.name;
    after.body.sudo = kind.sudo;
    after.body.publish_exposed = kind.publish_exposed;
    after.body.on_failure = node.on_failure;
    let (is, was) = (&mut after.body.node, &sliver.body.node);
    is.runtime = kind.runtime;
    is.limits = kind.limits;
    is.privileges = kind.privileges;
    is.image = node.image;
    is.services = node.services;
    is.storage = node.storage;
    is.forwards = node.forwards.into_iter().map(forward).collect();
    let replaced = (&is.image, is.runtime, is.limits, &is.privileges)
        != (&was.image, was.runtime, was.limits, &was.privileges);
    if sliver.state == SliverState::Provisioned {
        let restarts = replaced || is.services != was.services || starts == Some(true);
        if restarts {
            after.body.catch_up(seen);
        }
        after.body.node.disk += u32::from(replaced);
        after.body.node.boot += u32::from(restarts);
    }
    if starts.is_some() {
        after.body.node.power = Power::On;
    }
    people.join(&mut after.body.node, kind.sudo);
    if after != *sliver {
        after.note("update asked for", now);
    }
    after
}

/// Who has accounts on the nodes of a slice.
struct People {
    users: Vec<User>,
    accounts: BTreeMap<testyard_model::urn::UserUrn, Account>,
}

impl People {
    /// Those who are given, with the keys that are given, and those who have accounts already.
    fn of(slice: &mut Slice, settings: &Settings, given: &[User]) -> Result<Self, Refusal> {
        let mut users = users::merge(given);
        let known = slice.slivers.iter().filter(|sliver| !sliver.is_leaving());
        let known: Vec<Account> = known.flat_map(|sliver| sliver.body.node.accounts.clone()).collect();
        for account in known {
            if users.iter().all(|user| user.urn != account.user) {
                users.push(User { urn: account.user, keys: account.keys });
            }
        }
        let accounts = users::accounts_for(slice, settings, &users)?;
        Ok(Self { users, accounts })
    }

    fn accounts(&self, sudo: bool) -> Vec<Account> {
        users::in_order(&self.users, &self.accounts, sudo)
    }

    /// Gives a node these accounts, if it does not have them, in whatever order.
    fn join(&self, node: &mut testyard_agent::desired::Node, sudo: bool) {
        let accounts = self.accounts(sudo);
        let has = |account: &Account| node.accounts.contains(account);
        if accounts.len() == node.accounts.len() && accounts.iter().all(has) {
            return;
        }
        node.accounts = accounts;
        node.accounts_revision += 1;
    }
}
