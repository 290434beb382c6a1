//! Allocate: a plan for the topology becomes slivers. A slice is made if there is none, and may be added to.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use testyard_agent::desired::{self, HostKey, Power};
use testyard_fabric::{ControlAddress, Forward};
use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::state::Allocation;
use testyard_model::time::format;
use testyard_plan::{Existing, HostView, Plan, PlanError, PlannedNode, PortForward, Site, plan};
use testyard_store::SliverState;

use super::Fresh;
use crate::api::{Allocate, Caller, Document, Refusal, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::entropy::uuid;
use crate::host_keys;
use crate::lease::LeaseError;
use crate::network::Network;
use crate::settings::Settings;
use crate::slice::{Body, Slice, Sliver};
use crate::state::State;
use crate::view::Told;

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Self {
        let text = error.to_string();
        match error {
            PlanError::Nothing | PlanError::Unknown { .. } => Self::NotFound(text),
            PlanError::Duplicate(_) => Self::AlreadyExists(text),
            PlanError::TooBig { .. }
            | PlanError::Partition { .. }
            | PlanError::Apart { .. }
            | PlanError::Limits(_) => Self::TooBig(text),
            PlanError::Exclusive(_) | PlanError::Links(_) | PlanError::TooMany { .. } => Self::Refused(text),
            PlanError::Twice(_)
            | PlanError::SliverType { .. }
            | PlanError::NotTaken { .. }
            | PlanError::Storage { .. }
            | PlanError::Component { .. }
            | PlanError::Network(_) => Self::BadRequest(text),
        }
    }
}

impl From<LeaseError> for Refusal {
    fn from(error: LeaseError) -> Self {
        Self::OutOfRange(error.to_string())
    }
}

impl Core {
    pub(crate) async fn allocate(
        self: &Arc<Self>,
        caller: &Caller,
        request: Allocate,
    ) -> Result<SliceView, Refusal> {
        self.admit(caller, &request.slice)?;
        self.ahead_of_plan(&request.topology);
        self.try_out(&request).await?;
        let keys = self.host_keys(&request).await?;
        let verb = |context: Context<'_>| propose(context, caller, &request, &keys);
        self.change_and_show(&request.slice, caller, verb).await
    }

    /// Refuses what cannot be had before anything is made for it. What is found out here may be different by the
    /// time that it counts, so it is found out again then.
    async fn try_out(&self, request: &Allocate) -> Result<(), Refusal> {
        let (now, settings) = (self.clock.now(), self.settings.load_full());
        let attempt = || {
            let state = self.shared.read();
            let slice = state.slice(&request.slice);
            choose(&state, &settings, slice.map(AsRef::as_ref), request, now)
        };
        let plan = match attempt() {
            // Room may be missing only because a host was not well when it was looked at last.
            Err(Refusal::TooBig(_)) if self.shared.read().hosts.values().any(|host| !host.healthy) => {
                self.examine_hosts().await;
                attempt()?
            }
            outcome => outcome?,
        };
        self.ahead(&plan.nodes);
        self.try_captures(&plan).await
    }

    /// Host keys for each node of the request.
    async fn host_keys(&self, request: &Allocate) -> Result<Vec<Vec<HostKey>>, Refusal> {
        let names: Vec<_> = request
            .topology
            .nodes
            .iter()
            .map(|node| testyard_model::name::Hostname::from_client_id(&node.client_id))
            .collect();
        let randomness = Arc::clone(&self.randomness);
        let work = move || {
            names.iter().map(|name| host_keys::generate(&*randomness, name)).collect::<Result<_, _>>()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(error)) => Err(self.internal("allocate", &error)),
            Err(error) => Err(self.internal("allocate", &error)),
        }
    }
}

/// The plan for a request, as things are.
fn choose(
    state: &State,
    settings: &Settings,
    slice: Option<&Slice>,
    request: &Allocate,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let living: Vec<_> = slice.into_iter().flat_map(|slice| slice.living(now)).collect();
    let existing = Existing {
        client_ids: living.iter().map(|sliver| sliver.client_id.clone()).collect(),
        // Also those of nodes on their way out, which are still to be seen at the prompt.
        hostnames: slice
            .into_iter()
            .flat_map(|slice| &slice.slivers)
            .map(|sliver| sliver.body.node.hostname.clone())
            .collect(),
        networks: slice
            .into_iter()
            .flat_map(|slice| slice.networks.values())
            .flat_map(|n| n.networks())
            .collect(),
    };
    let hosts = state.hosts_now(settings);
    let hosts: Vec<HostView<'_>> = hosts.views(settings).collect();
    let site = Site {
        authority: settings.authority(),
        sliver_types: settings.sliver_types(),
        nodes_per_slice: settings.quotas.nodes_per_slice,
        links: settings.links,
    };
    Ok(plan(&request.topology, site, &hosts, &existing)?)
}

fn propose(
    context: Context<'_>,
    caller: &Caller,
    request: &Allocate,
    keys: &[Vec<HostKey>],
) -> Result<Proposal<Told>, Refusal> {
    let Context { core, state, settings, slice: old, now, reservation } = context;
    let (expires, cut) = settings.leases.begin(Allocation::Allocated, request.end, caller.until, now)?;
    let plan = choose(state, settings, old.as_deref(), request, now)?;
    for node in &plan.nodes {
        let taken = reservation.node(state, &node.host, node.holding());
        // The plan was made of the same state a moment ago.
        taken.map_err(|error| core.internal("allocate", &error))?;
    }
    let mut new = match &old {
        Some(old) => old.next(),
        None => {
            let id = SliceId::from_uuid(uuid(&*core.randomness));
            Slice::begun(id, request.slice.clone(), reservation.tag(state), caller.user.clone(), now)
        }
    };
    let document = i64::try_from(new.revision.0).unwrap_or(i64::MAX);
    new.documents.push(Arc::new(Document { id: document, text: request.document.clone() }));
    let schedule = request.topology.schedule.clone();
    let (away, ghosts) = (BTreeSet::new(), BTreeSet::new());
    let mut fresh = Fresh { core, state, reservation, away, ghosts };
    let network = plan.network.and_then(|network| Network::new(network, schedule, None, &mut fresh));
    new.networks.extend(network.map(|network| (document, Arc::new(network))));
    let first = new.slivers.last().map_or(0, |sliver| sliver.number) + 1;
    let mut told = Told { diagnostics: plan.diagnostics, ..Told::default() };
    told.diagnostics.extend(plan.near_limits);
    for ((node, keys), number) in plan.nodes.into_iter().zip(keys).zip(first..) {
        let id = SliverId::from_uuid(uuid(&*core.randomness));
        told.slivers.push(id);
        let mut sliver = Sliver {
            id,
            number,
            document,
            client_id: node.client_id.clone(),
            host: node.host.clone(),
            state: SliverState::Allocated,
            expires,
            body: body(id, node, keys.clone()),
        };
        sliver.note("allocated", now);
        new.slivers.push(Arc::new(sliver));
    }
    told.diagnostics.extend(cut_notice(cut, expires));
    let names: BTreeSet<&str> = request.topology.nodes.iter().map(|node| node.client_id.as_str()).collect();
    let detail = format!("{} nodes until {}: {}", names.len(), format(expires), shorten(names));
    let step = Step { old, new, operation: "allocate", detail, shutdown: None, news: vec![] };
    Ok(Proposal { step: Some(step), told })
}

/// Tells that a lease ends earlier than was asked for.
pub(super) fn cut_notice(cut: bool, expires: Timestamp) -> Option<Diagnostic> {
    let text =
        || format!("the end that was asked for is later than is allowed here; it is {} now", format(expires));
    cut.then(|| Diagnostic::new(Severity::Notice, text()))
}

/// A few names, for the audit trail.
pub(super) fn shorten<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 10 { format!("{shown}, …") } else { shown }
}

pub(super) fn forward(forward: PortForward) -> Forward {
    Forward { host_port: forward.host_port, port: forward.port }
}

/// What a planned node is kept as; no users yet.
pub(super) fn body(sliver: SliverId, node: PlannedNode, host_keys: Vec<HostKey>) -> Body {
    let kind = node.sliver_type;
    Body {
        sliver_type: kind.name,
        sudo: kind.sudo,
        publish_exposed: kind.publish_exposed,
        on_failure: node.on_failure,
        node: desired::Node {
            sliver,
            client_id: node.client_id,
            hostname: node.hostname,
            runtime: kind.runtime,
            image: node.image,
            limits: kind.limits,
            privileges: kind.privileges,
            power: Power::On,
            boot: 0,
            disk: 0,
            address: ControlAddress { ipv4: node.ipv4, ipv6: node.ipv6 },
            forwards: node.forwards.into_iter().map(forward).collect(),
            host_keys,
            accounts_revision: 0,
            accounts: vec![],
            services: node.services,
            storage: node.storage,
            programs: vec![],
            network: desired::NodeNetwork::default(),
        },
        events: vec![],
    }
}
