//! What an update comes to, worked out of a snapshot: the plan of ten thousand nodes takes a while, and nobody else has to wait
//! for it. Whether it still stands is looked at where the change is made, and it is worked out anew if not.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use testyard_model::name::ClientId;
use testyard_model::sliver_type::SliverType;
use testyard_plan::{
    Changes, Existing, HostView, Plan, PlannedNode, PortForward, Site, Wanted, diff, replan,
};

use crate::api::{Refusal, Update};
use crate::core::Core;
use crate::settings::Settings;
use crate::slice::{Slice, Sliver};
use crate::state::HostsNow;

/// What an update comes to, and what that was worked out of.
pub(super) struct Sketch {
    /// The slice that it is about.
    pub(super) slice: Option<Arc<Slice>>,
    settings: Arc<Settings>,
    /// How many of its nodes had not expired.
    living: usize,
    /// Nodes that do not run yet.
    pub(super) coming: Vec<ClientId>,
    pub(super) changes: Changes,
    pub(super) plan: Plan,
}

impl Core {
    /// Works an update out, without holding up anybody.
    pub(super) async fn sketch(&self, request: &Arc<Update>) -> Result<Sketch, Refusal> {
        let (request, settings, now) = (Arc::clone(request), self.settings.load_full(), self.clock.now());
        let (slice, hosts) = {
            let state = self.shared.read();
            (state.slice(&request.slice).cloned(), state.hosts_now(&settings).into_owned())
        };
        let work = move || Sketch::of(slice.as_ref(), &settings, &hosts, &request, now);
        let worked = tokio::task::spawn_blocking(work).await;
        let sketch = worked.unwrap_or_else(|error| Err(self.internal("update", &error)))?;
        self.try_captures(&sketch.plan).await?;
        Ok(sketch)
    }
}

impl Sketch {
    pub(super) fn of(
        slice: Option<&Arc<Slice>>,
        settings: &Arc<Settings>,
        hosts: &HostsNow<'_>,
        request: &Update,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let before = running(slice.map(AsRef::as_ref), settings, now)?;
        let views: Vec<HostView<'_>> = hosts.views(settings).collect();
        let plan = choose(&views, settings, slice.map(AsRef::as_ref), &before, request, now)?;
        let network = slice.and_then(|slice| slice.networks.values().next());
        let going_on = network
            .zip(plan.network.as_ref())
            .and_then(|(runs, next)| runs.going_on(next, &plan.schedule, now));
        let changes = match going_on {
            None => diff(&before, &plan),
            going_on => diff(&before, &Plan { network: going_on, ..plan.clone() }),
        };
        let known: BTreeSet<&ClientId> = before.nodes.iter().map(|node| &node.client_id).collect();
        let coming = plan.nodes.iter().map(|node| &node.client_id).filter(|name| !known.contains(name));
        Ok(Self {
            slice: slice.cloned(),
            settings: Arc::clone(settings),
            living: before.nodes.len(),
            coming: coming.cloned().collect(),
            changes,
            plan,
        })
    }

    /// Whether it would come to the same now, as far as the slice and the settings go. What it takes of hosts is another's
    /// if it cannot be reserved.
    pub(super) fn stands(
        &self,
        slice: Option<&Arc<Slice>>,
        settings: &Arc<Settings>,
        now: Timestamp,
    ) -> bool {
        Arc::ptr_eq(&self.settings, settings)
            && match (&self.slice, slice) {
                (None, None) => true,
                (Some(was), Some(is)) => Arc::ptr_eq(was, is) && is.living(now).count() == self.living,
                _ => false,
            }
    }
}

/// What of a slice runs or is reserved, as a plan. A slice that was put together of several requests has no one plan.
pub(super) fn running(slice: Option<&Slice>, settings: &Settings, now: Timestamp) -> Result<Plan, Refusal> {
    let Some(slice) = slice else { return Ok(Plan::default()) };
    if slice.documents.len() > 1 {
        return Err(Refusal::Unsupported(format!(
            "slice {} was put together of {} requests, so that no one topology can take its place: \
             delete it, or go on with single requests",
            slice.urn,
            slice.documents.len()
        )));
    }
    let nodes = slice.living(now).map(|sliver| planned(sliver, settings)).collect();
    let network = slice.networks.values().next();
    let schedule = network.map(|network| network.run().0.to_vec()).unwrap_or_default();
    let network = network.map(|network| network.at(now).into_owned());
    Ok(Plan { nodes, network, schedule, ..Plan::default() })
}

/// A sliver as the node that was planned. Its kind is as it was when it came; what only matters to new nodes is as it is
/// configured now.
fn planned(sliver: &Sliver, settings: &Settings) -> PlannedNode {
    let node = &sliver.body.node;
    let configured =
        settings.sliver_types().iter().find(|kind| kind.name == sliver.body.sliver_type).cloned();
    let kind = configured.unwrap_or_else(|| SliverType {
        name: sliver.body.sliver_type.clone(),
        description: String::new(),
        runtime: node.runtime,
        default_image: node.image.clone(),
        images: vec![],
        limits: node.limits,
        privileges: node.privileges.clone(),
        ports: vec![],
        publish_exposed: sliver.body.publish_exposed,
        sudo: sliver.body.sudo,
    });
    let port =
        |forward: &testyard_fabric::Forward| PortForward { host_port: forward.host_port, port: forward.port };
    PlannedNode {
        client_id: sliver.client_id.clone(),
        hostname: node.hostname.clone(),
        host: sliver.host.clone(),
        sliver_type: SliverType {
            runtime: node.runtime,
            limits: node.limits,
            privileges: node.privileges.clone(),
            publish_exposed: sliver.body.publish_exposed,
            sudo: sliver.body.sudo,
            ..kind
        },
        image: node.image.clone(),
        ipv4: node.address.ipv4,
        ipv6: node.address.ipv6,
        forwards: node.forwards.iter().map(port).collect(),
        services: node.services.clone(),
        storage: node.storage.clone(),
        on_failure: sliver.body.on_failure,
    }
}

/// The plan for a request, as things are.
fn choose(
    hosts: &[HostView<'_>],
    settings: &Settings,
    slice: Option<&Slice>,
    before: &Plan,
    request: &Update,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let in_topology: BTreeSet<&ClientId> =
        request.topology.nodes.iter().map(|node| &node.client_id).collect();
    // What runs goes on running, if only some are asked for.
    let only = request.only.as_ref().map(|only| {
        let runs = before.nodes.iter().map(|node| &node.client_id).filter(|name| in_topology.contains(name));
        only.iter().chain(runs).cloned().collect::<BTreeSet<ClientId>>()
    });
    let leaving = slice.into_iter().flat_map(|slice| &slice.slivers).filter(|sliver| !sliver.lives(now));
    let existing = Existing {
        // They are still to be seen at the prompt.
        hostnames: leaving.map(|sliver| sliver.body.node.hostname.clone()).collect(),
        ..Existing::default()
    };
    let site = Site {
        authority: settings.authority(),
        sliver_types: settings.sliver_types(),
        nodes_per_slice: settings.quotas.nodes_per_slice,
        links: settings.links,
    };
    let wanted = Wanted { topology: &request.topology, only: only.as_ref(), running: Some(before) };
    Ok(replan(wanted, site, hosts, &existing)?)
}
