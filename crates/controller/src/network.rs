//! The links of one request: its planned network, the slivers that stand for its links, and what was changed of them while
//! they run. A change for a while is one that has an end: when that has come it is left out, and whatever was changed beside
//! it stays.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_agent::desired::{HostsLine, NodeNetwork, Run};
use testyard_fabric::links::{HostLink, KeptCapture, LinkEnd, NodePort, NodeRoute, PortId};
use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_model::schedule::Event;
use testyard_model::service::Program;
use testyard_model::topology::Variable;
use testyard_plan::NetworkPlan;
use testyard_plan::network::live::LiveError;
use testyard_plan::network::parts::NetworkLink;

use crate::api::{InterfaceView, LinkAction};
use crate::run::RunBegun;
use crate::slice::Sliver;

/// The form of a document's `network` column.
pub(crate) const NETWORK_VERSION: u32 = 1;

/// Changes of links that are kept beside the plan at most: those that nobody takes back are merged.
const MOST_CHANGES: usize = 1_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Network {
    plan: NetworkPlan,
    /// One for each link of the plan, in its order.
    slivers: Vec<SliverId>,
    /// What was changed while it runs, in order.
    changes: Vec<Live>,
    /// The plan with these changes, if there are any.
    changed: Option<NetworkPlan>,
    /// What happens when.
    schedule: Vec<Event>,
    /// Since when; not yet if none.
    run: Option<RunBegun>,
}

/// A change of a link while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) link: ClientId,
    /// The member whose direction changes; every direction if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<ClientId>,
    pub(crate) what: LinkAction,
    /// When it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
}

/// A network as it is kept.
#[derive(Serialize, Deserialize)]
struct Written {
    plan: NetworkPlan,
    slivers: Vec<SliverId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Live>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedule: Vec<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunBegun>,
}

impl TryFrom<Written> for Network {
    type Error = LiveError;

    fn try_from(Written { plan, slivers, changes, schedule, run }: Written) -> Result<Self, LiveError> {
        Self { plan, slivers, changes, changed: None, schedule, run }.settled()
    }
}

impl From<Network> for Written {
    fn from(Network { plan, slivers, changes, schedule, run, .. }: Network) -> Self {
        Self { plan, slivers, changes, schedule, run }
    }
}

impl Network {
    /// The network of a plan, if there is anything to keep of it. Links that were there keep their slivers; `sliver` makes a
    /// number for each of the others. What was changed while they ran is over: they are as they are planned. A schedule
    /// that is the same runs on.
    pub(crate) fn new(
        plan: NetworkPlan,
        schedule: Vec<Event>,
        before: Option<&Self>,
        mut sliver: impl FnMut() -> SliverId,
    ) -> Option<Self> {
        let has_programs = plan.nodes().iter().any(|node| !node.programs.is_empty());
        if plan.links().is_empty() && schedule.is_empty() && plan.environment().is_empty() && !has_programs {
            return None;
        }
        let known: HashMap<&ClientId, SliverId> = before.into_iter().flat_map(Self::links).collect();
        let links = plan.links().iter();
        let slivers =
            links.map(|link| known.get(&link.client_id).copied().unwrap_or_else(&mut sliver)).collect();
        let run = before.filter(|before| before.schedule == schedule).and_then(|before| before.run);
        Some(Self { plan, slivers, changes: Vec::new(), changed: None, schedule, run })
    }

    /// Whether it is what another plan and schedule would come to, untouched by changes while it runs.
    pub(crate) fn is_as(&self, plan: &NetworkPlan, schedule: &[Event]) -> bool {
        self.changes.is_empty() && self.plan == *plan && self.schedule == schedule
    }

    /// Whether its schedule has not begun.
    pub(crate) fn waits_to_run(&self) -> bool {
        self.run.is_none() && !self.schedule.is_empty()
    }

    /// The same with its schedule begun, or begun anew.
    pub(crate) fn begun(&self, zero: Timestamp) -> Self {
        Self { run: Some(RunBegun::after(self.run, zero)), ..self.clone() }
    }

    /// Its schedule, and the run that it is in.
    pub(crate) fn run(&self) -> (&[Event], Option<RunBegun>) {
        (&self.schedule, self.run)
    }

    /// What of its run is on the host that has these nodes.
    pub(crate) fn run_of(&self, nodes: &HashMap<&ClientId, SliverId>) -> Option<Run> {
        let link = |name: &ClientId| self.links().find(|(known, _)| *known == name).map(|(_, sliver)| sliver);
        Some(self.run?.on_host(&self.schedule, self.now(), nodes, link))
    }

    /// Variables of the environment of its commands and programs.
    pub(crate) fn environment(&self) -> &[Variable] {
        self.plan.environment()
    }

    /// A node's programs.
    pub(crate) fn programs(&self, node: &ClientId) -> Vec<Program> {
        self.plan.node(node).map(|node| node.programs.clone()).unwrap_or_default()
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
        if changes.len() > MOST_CHANGES {
            return Err(ChangeError::TooMany);
        }
        Ok(Self { changes, changed: None, ..self.clone() }.settled()?)
    }

    /// When the next change is to be taken back.
    pub(crate) fn next_revert(&self) -> Option<Timestamp> {
        self.changes.iter().filter_map(|change| change.until).min()
    }

    /// The same without what is over; nothing if all stays.
    pub(crate) fn reverted(&self, now: Timestamp) -> Option<Self> {
        let stays = |change: &&Live| change.until.is_none_or(|until| until > now);
        let changes: Vec<Live> = self.changes.iter().filter(stays).cloned().collect();
        if changes.len() == self.changes.len() {
            return None;
        }
        let mut reverted = Self { changes, changed: None, ..self.clone() };
        // What was good on top of something that is gone now may not be any more: it is left out, or it would be due for ever.
        while !reverted.changes.is_empty() {
            match reverted.clone().settled() {
                Ok(settled) => return Some(settled),
                Err(_) => drop(reverted.changes.pop()),
            }
        }
        Some(reverted)
    }

    /// Changes of a link that are not part of its plan, for people.
    pub(crate) fn changes_of(&self, link: &ClientId) -> impl Iterator<Item = &Live> {
        self.changes.iter().filter(move |change| change.link == *link)
    }

    /// Works the changes into the plan.
    fn settled(mut self) -> Result<Self, LiveError> {
        if self.changes.is_empty() {
            return Ok(self);
        }
        let mut plan = self.plan.clone();
        for change in &self.changes {
            match &change.what {
                LinkAction::Up => plan.set_down(&change.link, false)?,
                LinkAction::Down => plan.set_down(&change.link, true)?,
                LinkAction::Set(settings) => plan.set(&change.link, change.from.as_ref(), settings)?,
                LinkAction::Reset => {}
            }
        }
        self.changed = Some(plan);
        Ok(self)
    }

    /// Every network that its links have.
    pub(crate) fn networks(&self) -> impl Iterator<Item = ipnet::IpNet> {
        self.plan.links().iter().flat_map(|link| link.subnets.iter().copied())
    }

    /// Its links with their slivers.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&ClientId, SliverId)> {
        self.plan.links().iter().map(|link| &link.client_id).zip(self.slivers.iter().copied())
    }

    /// Its links as far as they have an end at one of these nodes, which are on one host.
    pub(crate) fn links_of(&self, nodes: &HashMap<&ClientId, SliverId>) -> Vec<HostLink> {
        let mut links = Vec::new();
        for (link, sliver) in self.now().links().iter().zip(&self.slivers) {
            let ends: Vec<LinkEnd> = link
                .members
                .iter()
                .filter_map(|member| {
                    Some(LinkEnd {
                        port: PortId { node: *nodes.get(&member.node)?, device: member.device.to_string() },
                        to_link: member.to_link,
                        from_link: member.from_link,
                    })
                })
                .collect();
            if ends.is_empty() {
                continue;
            }
            links.push(HostLink {
                sliver: *sliver,
                name: link.client_id.to_string(),
                kind: link.kind,
                up: !link.down,
                mtu: link.mtu,
                seed: link.seed,
                ends,
                capture: link.capture.as_ref().map(|capture| KeptCapture {
                    snap_length: capture.snap_length.into(),
                    filter: capture.filter.clone(),
                    names: names(link, nodes),
                }),
            });
        }
        links
    }

    /// A node's place on its links.
    pub(crate) fn node(&self, node: &ClientId) -> NodeNetwork {
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
        let names = self.now().hosts_lines(node).into_iter();
        NodeNetwork {
            ports: ports.collect(),
            routes: routes.collect(),
            forwarding: self.now().node(node).is_some_and(|node| node.forwarding),
            names: names.map(|line| HostsLine { address: line.address, names: line.names }).collect(),
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

/// What the nodes on a link are called, as far as they are among these.
fn names(link: &NetworkLink, nodes: &HashMap<&ClientId, SliverId>) -> BTreeMap<SliverId, String> {
    let named = link.members.iter().filter_map(|m| Some((*nodes.get(&m.node)?, m.node.to_string())));
    named.collect()
}
