//! The links of one request: its planned network, the slivers that stand for its links, and what was changed of them while
//! they run. A change for a while is one that has an end: when that has come it is left out, and whatever was changed beside
//! it stays.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_agent::desired::{Named, NodeNetwork, Run};
use testyard_fabric::links::{HostLink, KeptCapture, NodePort, NodeRoute};
use testyard_model::host_table::HostTable;
use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_model::quantity::Span;
use testyard_model::schedule::{Action, Event};
use testyard_model::service::Program;
use testyard_model::topology::Variable;
use testyard_model::tunnel::Vni;
use testyard_plan::NetworkPlan;
use testyard_plan::network::live::LiveError;
use testyard_plan::network::parts::NetworkLink;

use crate::api::{InterfaceView, LinkAction};
use crate::places::Places;
use crate::run::{RunBegun, is_over};
use crate::slice::Sliver;

/// The form of a document's `network` column.
pub(crate) const NETWORK_VERSION: u32 = 1;

/// Changes of links that are kept beside the plan at most: those that nobody takes back are merged.
const MOST_CHANGES: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub(crate) struct Network {
    plan: NetworkPlan,
    /// One for each link of the plan, in its order.
    slivers: Vec<SliverId>,
    /// Likewise, of links whose nodes are on several hosts.
    vnis: Vec<Option<Vni>>,
    /// What was changed while it runs, in order.
    changes: Vec<Live>,
    /// The plan with these changes, if there are any.
    changed: Option<NetworkPlan>,
    /// What happens when.
    schedule: Vec<Event>,
    /// Since when; not yet if none.
    run: Option<RunBegun>,
    /// The number of the newest run of this slice: nodes tell runs apart by it, also those of another schedule.
    last_run: u32,
}

/// Where links get their numbers.
pub(crate) trait Numbers {
    /// That of a link's sliver.
    fn sliver(&mut self) -> SliverId;

    /// That of a link in tunnels between hosts. No other link has it.
    fn vni(&mut self) -> Vni;

    /// Whether a host that hears nothing at present goes on with a part of the link that it should not have any more, when it
    /// becomes this one: then it needs another number, or what is there would be part of it.
    fn is_haunted(&self, before: &NetworkLink, now: &NetworkLink) -> bool;
}

/// Numbers for what is looked at and not kept.
struct Nobodys;

impl Numbers for Nobodys {
    fn sliver(&mut self) -> SliverId {
        SliverId::from_uuid(uuid::Uuid::nil())
    }

    fn vni(&mut self) -> Vni {
        Vni::FIRST
    }

    fn is_haunted(&self, _: &NetworkLink, _: &NetworkLink) -> bool {
        false
    }
}

/// A change of a link while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) link: ClientId,
    /// The member whose direction changes; every direction if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<ClientId>,
    pub(crate) what: LinkAction,
    /// When it was made: among what a schedule does, the last word counts. None: before everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<Timestamp>,
    /// When it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
}

/// A network as it is kept.
#[derive(Serialize, Deserialize)]
struct Written {
    plan: NetworkPlan,
    slivers: Vec<SliverId>,
    /// Shorter than the links where the rest has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vnis: Vec<Option<Vni>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Live>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedule: Vec<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunBegun>,
    #[serde(default)]
    last_run: u32,
}

impl From<Written> for Network {
    fn from(Written { plan, slivers, mut vnis, changes, schedule, run, last_run }: Written) -> Self {
        vnis.resize(slivers.len(), None);
        Self { plan, slivers, vnis, changes, changed: None, schedule, run, last_run }.settled_as_can_be()
    }
}

impl From<Network> for Written {
    fn from(Network { plan, slivers, mut vnis, changes, schedule, run, last_run, .. }: Network) -> Self {
        vnis.truncate(vnis.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        Self { plan, slivers, vnis, changes, schedule, run, last_run }
    }
}

impl Network {
    /// The network of a plan, if there is anything to keep of it. Links that were there keep their numbers; `fresh` gives
    /// those of the others. What was changed while they ran is over: they are as they are planned. A schedule that is the
    /// same runs on.
    pub(crate) fn new(
        plan: NetworkPlan,
        schedule: Vec<Event>,
        before: Option<&Self>,
        fresh: &mut impl Numbers,
    ) -> Option<Self> {
        let has_programs = plan.nodes().iter().any(|node| !node.programs.is_empty());
        if plan.links().is_empty() && schedule.is_empty() && plan.environment().is_empty() && !has_programs {
            return None;
        }
        let known: HashMap<&ClientId, (SliverId, Option<Vni>)> =
            before.into_iter().flat_map(Self::numbers).map(|(name, of, vni)| (name, (of, vni))).collect();
        let (mut slivers, mut vnis) = (Vec::new(), Vec::new());
        for link in plan.links() {
            let known = known.get(&link.client_id).copied();
            slivers.push(known.map_or_else(|| fresh.sliver(), |(sliver, _)| sliver));
            let old = before.and_then(|before| before.plan.link(&link.client_id).ok());
            let is_haunted = old.is_some_and(|old| fresh.is_haunted(old, link));
            let vni = known.and_then(|(_, vni)| vni).filter(|_| !is_haunted);
            vnis.push(link.crosses_hosts.then(|| vni.unwrap_or_else(|| fresh.vni())));
        }
        let run = before.filter(|before| before.schedule == schedule).and_then(|before| before.run);
        let last_run = before.map_or(0, |before| before.last_run);
        Some(Self { plan, slivers, vnis, changes: Vec::new(), changed: None, schedule, run, last_run })
    }

    /// What a plan will be when it has taken this one's place: a schedule that is the same goes on, and what it has done so far
    /// stays done. None where nothing goes on.
    pub(crate) fn going_on(
        &self,
        plan: &NetworkPlan,
        schedule: &[Event],
        now: Timestamp,
    ) -> Option<NetworkPlan> {
        self.run.filter(|_| self.schedule == schedule && !schedule.is_empty())?;
        let next = Self::new(plan.clone(), schedule.to_vec(), Some(self), &mut Nobodys)?;
        Some(next.at(now).into_owned())
    }

    /// Whether it is what another plan and schedule would come to, untouched by changes while it runs.
    pub(crate) fn is_as(&self, plan: &NetworkPlan, schedule: &[Event]) -> bool {
        self.changes.is_empty() && self.plan == *plan && self.schedule == schedule
    }

    /// Whether its schedule has not begun.
    pub(crate) fn waits_to_run(&self) -> bool {
        self.run.is_none() && !self.schedule.is_empty()
    }

    /// The same with its schedule begun, or begun anew: then with links as they are planned.
    pub(crate) fn begun(&self, zero: Timestamp) -> Self {
        let number = self.last_run.saturating_add(1);
        let begun = Self { run: Some(RunBegun { number, zero }), last_run: number, ..self.clone() };
        if self.last_run == 0 { begun } else { Self { changes: Vec::new(), changed: None, ..begun } }
    }

    /// Its schedule, and the run that it is in.
    pub(crate) fn run(&self) -> (&[Event], Option<RunBegun>) {
        (&self.schedule, self.run)
    }

    /// What of its run is on the host that has these nodes.
    pub(crate) fn run_of(&self, nodes: &HashMap<&ClientId, SliverId>) -> Option<Run> {
        let link = |name: &ClientId| self.links().find(|(known, _)| *known == name).map(|(_, sliver)| sliver);
        let run = self.run?;
        let live = self.changes.iter().filter_map(|change| Some((run.since(change)?, change)));
        Some(run.on_host(&self.schedule, live, &self.plan, nodes, link))
    }

    /// Variables of the environment of its commands and programs.
    pub(crate) fn environment(&self) -> &[Variable] {
        self.plan.environment()
    }

    /// A node's programs.
    pub(crate) fn programs(&self, node: &ClientId) -> &[Program] {
        self.plan.node(node).map_or(&[], |node| &node.programs)
    }

    /// How many interfaces its links have.
    pub(crate) fn interfaces_in_all(&self) -> usize {
        self.plan.links().iter().map(|link| link.members.len()).sum()
    }

    /// How many of them are a node's.
    pub(crate) fn interfaces_at(&self, node: &ClientId) -> usize {
        self.plan.interfaces_of(node).count()
    }

    /// The plan as it is now, with everything that was changed while it runs.
    pub(crate) fn now(&self) -> &NetworkPlan {
        self.changed.as_ref().unwrap_or(&self.plan)
    }

    /// The same with one more change.
    ///
    /// # Errors
    /// [`LiveError`] if there is no such link, or it cannot be so; [`TooMany`](ChangeError::TooMany) changes.
    pub(crate) fn with(&self, change: Live) -> Result<Self, ChangeError> {
        // Also where it would change nothing now, it has to be one that can be.
        let mut changes = self.changes.clone();
        if change.until.is_none() {
            changes.retain_mut(|before| !before.is_replaced_by(&change));
        }
        let is_reset = change.what == LinkAction::Reset;
        if is_reset {
            self.plan.link(&change.link)?;
            changes.retain(|before| before.link != change.link);
        } else {
            changes.push(change);
        }
        if changes.iter().filter(|change| change.until.is_some()).count() > MOST_CHANGES {
            return Err(ChangeError::TooMany);
        }
        Ok(Self { changes, changed: None, ..self.clone() }.settled()?)
    }

    /// When the next change is to be taken back.
    pub(crate) fn next_revert(&self) -> Option<Timestamp> {
        self.changes.iter().filter_map(|change| change.until).min()
    }

    /// Links of which something is to be taken back by now.
    pub(crate) fn over(&self, now: Timestamp) -> impl Iterator<Item = &ClientId> {
        let is_over = move |change: &&Live| change.until.is_some_and(|until| until <= now);
        self.changes.iter().filter(is_over).map(|change| &change.link)
    }

    /// Links that are another than they were planned.
    pub(crate) fn changed_links(&self) -> impl Iterator<Item = &ClientId> {
        self.changes.iter().map(|change| &change.link)
    }

    /// The same without what is over; nothing if all stays.
    pub(crate) fn reverted(&self, now: Timestamp) -> Option<Self> {
        let stays = |change: &&Live| change.until.is_none_or(|until| until > now);
        let changes: Vec<Live> = self.changes.iter().filter(stays).cloned().collect();
        if changes.len() == self.changes.len() {
            return None;
        }
        Some(Self { changes, changed: None, ..self.clone() }.settled_as_can_be())
    }

    /// Changes of a link that are not part of its plan, for people.
    pub(crate) fn changes_of(&self, link: &ClientId) -> impl Iterator<Item = &Live> {
        self.changes.iter().filter(move |change| change.link == *link)
    }

    /// The same for changes that were good when they were made, on top of others that are gone by now: what cannot be any
    /// more is left out.
    fn settled_as_can_be(mut self) -> Self {
        let mut plan = self.plan.clone();
        self.changes.retain(|change| change.apply(&mut plan).is_ok());
        self.changed = (!self.changes.is_empty()).then_some(plan);
        self
    }

    /// Works the changes into the plan.
    fn settled(mut self) -> Result<Self, LiveError> {
        if self.changes.is_empty() {
            return Ok(self);
        }
        let mut plan = self.plan.clone();
        self.changes.iter().try_for_each(|change| change.apply(&mut plan))?;
        self.changed = Some(plan);
        Ok(self)
    }

    /// Every network that its links have.
    pub(crate) fn networks(&self) -> impl Iterator<Item = ipnet::IpNet> {
        self.plan.links().iter().flat_map(|link| link.subnets.iter().copied())
    }

    /// Whether it has links between hosts.
    pub(crate) fn crosses_hosts(&self) -> bool {
        self.vnis.iter().any(Option::is_some)
    }

    /// The numbers of its links in tunnels between hosts.
    pub(crate) fn vnis(&self) -> impl Iterator<Item = Vni> {
        self.vnis.iter().copied().flatten()
    }

    fn numbers(&self) -> impl Iterator<Item = (&ClientId, SliverId, Option<Vni>)> {
        self.links().zip(&self.vnis).map(|((name, sliver), vni)| (name, sliver, *vni))
    }

    /// Its links with their slivers.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&ClientId, SliverId)> {
        self.plan.links().iter().map(|link| &link.client_id).zip(self.slivers.iter().copied())
    }

    /// The plan as it is at a time, with what was changed and what its schedule has done, each in its turn.
    pub(crate) fn at(&self, now: Timestamp) -> Cow<'_, NetworkPlan> {
        let Some(run) = self.run.filter(|_| !self.schedule.is_empty()) else {
            return Cow::Borrowed(self.now());
        };
        let mut plan = self.before_the_run().into_owned();
        let live = self.changes.iter().filter_map(|change| Some((run.since(change)?, Done::Live(change))));
        let events = self.schedule.iter().map(|event| (event.at, Done::Event(&event.action)));
        let elapsed = now.duration_since(run.zero);
        let is_over = |(at, _): &(Span, Done<'_>)| is_over(*at, elapsed);
        let mut done: Vec<(Span, Done<'_>)> = events.chain(live).filter(is_over).collect();
        // Those of one time stay in this order, as on the host.
        done.sort_by_key(|(at, _)| *at);
        for (_, done) in done {
            // What cannot be on top of the rest leaves the link as it is, as on the host.
            let _ = match done {
                Done::Live(change) => change.apply(&mut plan),
                Done::Event(Action::LinkUp(link)) => plan.set_down(link, false),
                Done::Event(Action::LinkDown(link)) => plan.set_down(link, true),
                Done::Event(Action::LinkSet { link, from, settings }) => {
                    plan.set(link, from.as_ref(), settings)
                }
                Done::Event(_) => Ok(()),
            };
        }
        Cow::Owned(plan)
    }

    /// The plan with what was changed before its run began: what is changed after that is part of the run.
    fn before_the_run(&self) -> Cow<'_, NetworkPlan> {
        let Some(run) = self.run else { return Cow::Borrowed(self.now()) };
        if self.changes.iter().all(|change| run.since(change).is_none()) {
            return Cow::Borrowed(self.now());
        }
        let mut plan = self.plan.clone();
        for change in self.changes.iter().filter(|change| run.since(change).is_none()) {
            let _ = change.apply(&mut plan);
        }
        Cow::Owned(plan)
    }

    /// Its links as far as they have an end on the host that sees the nodes so.
    pub(crate) fn links_of(&self, places: &Places<'_>) -> Vec<HostLink> {
        let plan = self.before_the_run();
        let links = plan.links().iter().zip(&self.slivers).zip(&self.vnis);
        let link = |((link, sliver), vni): ((&NetworkLink, &SliverId), &Option<Vni>)| HostLink {
            sliver: *sliver,
            name: link.client_id.to_string(),
            kind: link.kind,
            up: !link.down,
            mtu: link.mtu,
            seed: link.seed,
            is_seed_chosen: link.is_seed_chosen(),
            ends: places.ends(link),
            beyond: places.beyond(link, *vni),
            capture: link.capture.as_ref().map(|capture| KeptCapture {
                snap_length: capture.snap_length.into(),
                filter: capture.filter.clone(),
                names: places.names(link),
            }),
        };
        links.map(link).filter(|link| !link.ends.is_empty()).collect()
    }

    /// Names of its interfaces; no change of a link while it runs changes them.
    pub(crate) fn host_table(&self) -> HostTable {
        if self.plan.links().is_empty() { HostTable::default() } else { self.plan.host_table().clone() }
    }

    /// A node's place on its links. `table`: where [`Self::host_table`] is among those of the slice.
    pub(crate) fn node(&self, node: &ClientId, table: u32) -> NodeNetwork {
        let ports = self.now().interfaces_of(node).map(|(link, member)| NodePort {
            device: member.device.to_string(),
            mac: member.mac,
            mtu: link.mtu,
            addresses: member.addresses.clone(),
        });
        let routes = self.now().routes_of(node).into_iter().map(|route| NodeRoute {
            to: route.to,
            via: route.via,
            device: route.device.to_string(),
        });
        let number = self.plan.number(node).filter(|_| !self.plan.links().is_empty());
        NodeNetwork {
            ports: ports.collect(),
            routes: routes.collect(),
            forwarding: self.now().node(node).is_some_and(|node| node.forwarding),
            names: Vec::new(),
            named: number.map(|node| Named { table, node }),
        }
    }

    /// A node's interfaces, for callers.
    pub(crate) fn interfaces(&self, sliver: &Sliver) -> Vec<InterfaceView> {
        let view = |(_, member): (_, &testyard_plan::network::parts::NetworkMember)| InterfaceView {
            client_id: member.interface.clone(),
            device: member.device.to_string(),
            mac: member.mac,
            addresses: member.addresses.clone(),
        };
        self.now().interfaces_of(&sliver.client_id).map(view).collect()
    }
}

/// What a link has met since a run began.
enum Done<'a> {
    Live(&'a Live),
    Event(&'a Action),
}

/// Why a link cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(
        "{MOST_CHANGES} changes of this slice's links are to be taken back already: wait for some of them"
    )]
    TooMany,
}

impl Live {
    /// Makes the change, or nothing of it.
    fn apply(&self, plan: &mut NetworkPlan) -> Result<(), LiveError> {
        match &self.what {
            LinkAction::Up => plan.set_down(&self.link, false),
            LinkAction::Down => plan.set_down(&self.link, true),
            LinkAction::Set(settings) => plan.set(&self.link, self.from.as_ref(), settings),
            LinkAction::Reset => Ok(()),
        }
    }

    /// Takes out what another change, of later, says anew; whether nothing is left.
    fn is_replaced_by(&mut self, other: &Self) -> bool {
        if self.until.is_some() || self.link != other.link {
            return false;
        }
        match (&mut self.what, &other.what) {
            (LinkAction::Up | LinkAction::Down, LinkAction::Up | LinkAction::Down) => true,
            (LinkAction::Set(old), LinkAction::Set(new))
                if other.from.is_none() || self.from == other.from =>
            {
                old.retain(|old| !new.iter().any(|new| new.is_like(*old)));
                old.is_empty()
            }
            _ => false,
        }
    }
}
