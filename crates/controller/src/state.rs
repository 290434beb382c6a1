//! Everything in memory: slices as the store has them, what hosts saw, what is in use. Reads are answered from here.
//!
//! It is changed after a commit (by the writer's thread, in the order of the commits), by what hosts report, and by
//! reservations of plans that are being carried out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use testyard_agent::observed::{self, LinksSeen, ScheduleSeen};
use testyard_model::host::HostLimits;
use testyard_model::id::{HostName, Revision, SliceId, SliceTag, SliverId};
use testyard_model::state::Operational;
use testyard_model::tunnel::Vni;
use testyard_model::urn::SliceUrn;
use testyard_plan::{HostStanding, HostView, Taken, Usage};
use testyard_store::SliverState;

use crate::api::SliverEvent;
use crate::convergence::Standing;
use crate::lifecycle::operational;
use crate::settings::{HostSettings, Settings};
use crate::slice::{Slice, Sliver, push_event};

/// The hosts of the settings as they are now, in their order.
pub(crate) struct HostsNow<'a>(Vec<HostNow<'a>>);

/// What is in use of a host, whether it may get nodes, and what its kernel has left.
struct HostNow<'a> {
    usage: Cow<'a, Usage>,
    standing: HostStanding,
    limits: HostLimits,
}

/// Everything in memory.
#[derive(Debug, Default)]
pub(crate) struct State {
    slices: HashMap<SliceId, Arc<Slice>>,
    living: HashMap<SliceUrn, SliceId>,
    slice_of: HashMap<SliverId, SliceId>,
    expiries: BTreeMap<(Timestamp, SliverId), SliceId>,
    /// When changes of a slice's links are to be taken back, the next of each.
    reverts: BTreeSet<(Timestamp, SliceId)>,
    tags: BTreeSet<NonZeroU32>,
    last_tag: u32,
    vnis: HashSet<Vni>,
    pub(crate) last_vni: Option<Vni>,
    pub(crate) seen: HashMap<SliverId, Seen>,
    pub(crate) shutdowns: HashSet<SliceUrn>,
    pub(crate) usage: HashMap<HostName, Usage>,
    pub(crate) hosts: HashMap<HostName, HostHealth>,
    /// Hosts that their operator wants no more nodes on.
    pub(crate) drained: BTreeSet<HostName>,
    /// How the links of a slice stand on a host.
    pub(crate) links: BTreeMap<(SliceId, HostName), LinksSeen>,
    /// The images that a slice has had made of URLs on a host.
    pub(crate) images: BTreeMap<(SliceId, HostName), Vec<observed::Made>>,
    /// How far the run of a slice's schedule has come on a host.
    pub(crate) runs: BTreeMap<(SliceId, HostName), ScheduleSeen>,
    /// Leaving slivers that their hosts have reported gone.
    pub(crate) gone: HashSet<SliverId>,
    /// The newest revision that each host has reported on.
    pub(crate) reported: HashMap<(SliceId, HostName), Revision>,
    /// The newest revision that has something new for a host.
    pub(crate) asked: HashMap<(SliceId, HostName), Revision>,
    /// How slices stood when that was told last.
    pub(crate) standings: HashMap<SliceId, Standing>,
}

/// What is known of a sliver beside what should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) observed: Option<Arc<observed::Node>>,
    pub(crate) events: Vec<SliverEvent>,
    /// What it was doing when that was derived last.
    pub(crate) last: Option<(Operational, String)>,
}

/// How a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostHealth {
    pub(crate) healthy: bool,
    pub(crate) engines: Vec<String>,
    pub(crate) limits: HostLimits,
    /// Why it cannot be spoken to, if so.
    pub(crate) away: Option<String>,
}

impl HostHealth {
    /// Of a host that does not say how it is.
    pub(crate) fn ill(why: String) -> Self {
        Self { healthy: false, engines: vec![why], limits: HostLimits::UNKNOWN, away: None }
    }

    /// What is told to people when it changes.
    pub(crate) fn told(&self) -> (bool, &[String]) {
        (self.healthy, &self.engines)
    }
}

/// A sliver is doing something else than before.
pub(crate) struct Turned {
    pub(crate) sliver: Arc<Sliver>,
    pub(crate) state: Operational,
    pub(crate) error: String,
}

impl HostsNow<'_> {
    /// As planners see them.
    pub(crate) fn views<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = HostView<'a>> {
        settings.hosts().iter().zip(&self.0).map(|(host, now)| HostView {
            host: &host.resources,
            usage: &now.usage,
            standing: now.standing,
            limits: &now.limits,
        })
    }

    /// For who looks at them while they change.
    pub(crate) fn into_owned(self) -> HostsNow<'static> {
        let own = |HostNow { usage, standing, limits }: HostNow<'_>| HostNow {
            usage: Cow::Owned(usage.into_owned()),
            standing,
            limits,
        };
        HostsNow(self.0.into_iter().map(own).collect())
    }
}

impl State {
    /// The living slice of this name.
    pub(crate) fn slice(&self, urn: &SliceUrn) -> Option<&Arc<Slice>> {
        self.slices.get(self.living.get(urn)?)
    }

    /// A slice's life, living or ended.
    pub(crate) fn life(&self, id: SliceId) -> Option<&Arc<Slice>> {
        self.slices.get(&id)
    }

    pub(crate) fn slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.slices.values()
    }

    /// The slice of a sliver that has not left.
    pub(crate) fn slice_of(&self, sliver: SliverId) -> Option<&Arc<Slice>> {
        self.slices.get(self.slice_of.get(&sliver)?)
    }

    /// When the next sliver expires, or the next change of a link.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let sliver = self.expiries.keys().next().map(|(expires, _)| *expires);
        let change = self.reverts.first().map(|(until, _)| *until);
        sliver.into_iter().chain(change).min()
    }

    /// Slices with something that is to expire.
    pub(crate) fn due(&self, now: Timestamp) -> BTreeSet<SliceId> {
        let slivers = self.expiries.iter().map(|((expires, _), slice)| (*expires, *slice));
        let changes = self.reverts.iter().copied();
        let due = |(expires, _): &(Timestamp, SliceId)| *expires <= now;
        slivers.take_while(due).chain(changes.take_while(due)).map(|(_, slice)| slice).collect()
    }

    /// The hosts as they are now.
    pub(crate) fn hosts_now(&self, settings: &Settings) -> HostsNow<'_> {
        let now = |host: &HostSettings| {
            let name = host.resources.name();
            let health = self.hosts.get(name);
            HostNow {
                usage: self.usage.get(name).map_or_else(Cow::default, Cow::Borrowed),
                standing: self.host_standing(name),
                limits: health.map_or(HostLimits::UNKNOWN, |health| health.limits),
            }
        };
        HostsNow(settings.hosts().iter().map(now).collect())
    }

    /// Whether a host may get nodes now.
    pub(crate) fn host_standing(&self, name: &HostName) -> HostStanding {
        if self.drained.contains(name) {
            HostStanding::Drained
        } else if self.hosts.get(name).is_some_and(|health| health.healthy) {
            HostStanding::Ready
        } else {
            HostStanding::Ill
        }
    }

    /// Why links of a slice are not as they should be, a text for each host.
    pub(crate) fn link_problems_of(&self, slice: Option<SliceId>) -> impl Iterator<Item = &str> {
        self.links.iter().filter(move |((id, _), _)| Some(*id) == slice).filter_map(|(_, seen)| match seen {
            LinksSeen::Failed(why) => Some(why.as_str()),
            LinksSeen::None | LinksSeen::Joining | LinksSeen::Joined => None,
        })
    }

    /// A number for a new slice, marked as in use. Numbers go round, so that one rests before it is used again.
    pub(crate) fn take_tag(&mut self) -> SliceTag {
        let after = (self.last_tag + 1..=MAX_TAG).chain(1..=MAX_TAG);
        let free =
            after.filter_map(NonZeroU32::new).find(|tag| !self.tags.contains(tag)).unwrap_or(NonZeroU32::MIN);
        self.tags.insert(free);
        self.last_tag = free.get();
        SliceTag(free)
    }

    /// Numbers of slices go on after this one.
    pub(crate) fn go_on_after(&mut self, tag: u32) {
        self.last_tag = self.last_tag.max(tag.min(MAX_TAG));
    }

    pub(crate) fn release_tag(&mut self, tag: SliceTag) {
        self.tags.remove(&tag.0);
    }

    /// A number for a link between hosts, marked as in use. Numbers go round, so that a part of a link that is still somewhere
    /// is not taken for a part of another.
    pub(crate) fn take_vni(&mut self) -> Vni {
        let mut vni = self.last_vni.map_or(Vni::FIRST, Vni::next);
        // There are many more than links.
        while !self.vnis.insert(vni) {
            vni = vni.next();
        }
        self.last_vni = Some(vni);
        vni
    }

    pub(crate) fn release_vni(&mut self, vni: Vni) {
        self.vnis.remove(&vni);
    }

    /// Marks what a slice that was loaded holds.
    pub(crate) fn hold(&mut self, slice: &Slice) -> Result<(), Taken> {
        self.tags.insert(slice.tag.0);
        self.last_tag = self.last_tag.max(slice.tag.0.get());
        self.vnis.extend(slice.networks.values().flat_map(|network| network.vnis()));
        slice
            .slivers
            .iter()
            .try_for_each(|sliver| self.usage.entry(sliver.host.clone()).or_default().hold(&sliver.holding()))
    }

    /// Puts a slice in the place of its last revision. What it holds was marked before; what it no longer holds is
    /// given back. A slice without slivers is forgotten.
    pub(crate) fn replace(&mut self, slice: Slice) -> Option<Arc<Slice>> {
        let slice = Arc::new(slice);
        if let Some(old) = self.slices.remove(&slice.id) {
            self.unlink(&old, &slice);
        }
        if slice.slivers.is_empty() {
            self.release_tag(slice.tag);
            self.reported.retain(|(id, _), _| *id != slice.id);
            self.asked.retain(|(id, _), _| *id != slice.id);
            self.standings.remove(&slice.id);
            self.links.retain(|(id, _), _| *id != slice.id);
            self.images.retain(|(id, _), _| *id != slice.id);
            self.runs.retain(|(id, _), _| *id != slice.id);
            return None;
        }
        for sliver in slice.slivers.iter().filter(|sliver| !sliver.is_leaving()) {
            self.slice_of.insert(sliver.id, slice.id);
            self.expiries.insert((sliver.expires, sliver.id), slice.id);
        }
        self.reverts.extend(slice.next_revert().map(|until| (until, slice.id)));
        if !slice.ended() {
            self.living.insert(slice.urn.clone(), slice.id);
        }
        self.slices.insert(slice.id, Arc::clone(&slice));
        Some(slice)
    }

    fn unlink(&mut self, old: &Slice, new: &Slice) {
        if self.living.get(&old.urn) == Some(&old.id) {
            self.living.remove(&old.urn);
        }
        if let Some(until) = old.next_revert() {
            self.reverts.remove(&(until, old.id));
        }
        let kept: HashMap<SliverId, &Arc<Sliver>> =
            new.slivers.iter().map(|sliver| (sliver.id, sliver)).collect();
        let vnis: HashSet<Vni> = new.networks.values().flat_map(|network| network.vnis()).collect();
        for vni in old.networks.values().flat_map(|network| network.vnis()) {
            if !vnis.contains(&vni) {
                self.vnis.remove(&vni);
            }
        }
        for sliver in &old.slivers {
            self.expiries.remove(&(sliver.expires, sliver.id));
            match kept.get(&sliver.id) {
                Some(kept) => {
                    if kept.is_leaving() {
                        self.slice_of.remove(&sliver.id);
                    }
                    let left: Vec<u16> =
                        sliver.ports().filter(|port| kept.ports().all(|kept| kept != *port)).collect();
                    if let Some(usage) = self.usage.get_mut(&sliver.host) {
                        usage.release_ports(&left);
                    }
                }
                None => {
                    self.slice_of.remove(&sliver.id);
                    self.seen.remove(&sliver.id);
                    self.gone.remove(&sliver.id);
                    if let Some(usage) = self.usage.get_mut(&sliver.host) {
                        usage.release(&sliver.holding());
                    }
                }
            }
        }
    }

    /// What its host last saw of a sliver.
    pub(crate) fn observed(&self, sliver: SliverId) -> Option<&observed::Node> {
        self.seen.get(&sliver)?.observed.as_deref()
    }

    /// What a sliver is doing, and what is wrong with it.
    pub(crate) fn operational(&self, sliver: &Sliver) -> (Operational, String) {
        let observed = self.observed(sliver.id);
        let (operational, error) = operational(sliver.allocation(), &sliver.body.node, observed);
        let host = self.hosts.get(&sliver.host).filter(|_| sliver.state == SliverState::Provisioned);
        match host.and_then(|host| host.away.as_ref()) {
            None => (operational, error),
            Some(why) => {
                let before = if error.is_empty() { String::new() } else { format!("{error}; ") };
                let host = &sliver.host;
                (operational, format!("{before}host {host} is out of reach ({why}): what runs there runs on"))
            }
        }
    }

    /// Derives what each of the slivers is doing, notes what is another than before, and tells it.
    pub(crate) fn derive<'a>(
        &mut self,
        slivers: impl IntoIterator<Item = &'a Arc<Sliver>>,
        now: Timestamp,
    ) -> Vec<Turned> {
        let mut turned = Vec::new();
        for sliver in slivers.into_iter().filter(|sliver| !sliver.is_leaving()) {
            let (state, error) = self.operational(sliver);
            let seen = self.seen.entry(sliver.id).or_default();
            let last = seen.last.replace((state, error.clone()));
            if last.as_ref().is_some_and(|last| *last == (state, error.clone())) {
                continue;
            }
            if last.as_ref().map(|(state, _)| *state) != Some(state)
                && state != Operational::PendingAllocation
            {
                let word = state.as_str();
                push_event(&mut seen.events, word.strip_prefix("geni_").unwrap_or(word), now);
            }
            turned.push(Turned { sliver: Arc::clone(sliver), state, error });
        }
        turned
    }
}

/// Numbers stay short: they are in names of interfaces.
pub(crate) const MAX_TAG: u32 = 999_999;
