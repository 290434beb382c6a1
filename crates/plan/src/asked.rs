//! What a topology asks for, looked up in what the testbed has and in what runs already.

use std::collections::BTreeSet;

use testyard_model::id::HostName;
use testyard_model::image::ImageSource;
use testyard_model::name::ClientId;
use testyard_model::quantity::Size;
use testyard_model::sliver_type::{Port, SliverType};
use testyard_model::suggest::closest;
use testyard_model::topology::Node;

use crate::error::PlanError;
use crate::plan::{Existing, HostView, LinkPolicy, PlannedNode, Site, Wanted, component};
use crate::ports;

/// A node that is to run.
pub(crate) struct Asked<'a> {
    /// Its number in the topology.
    pub(crate) number: usize,
    pub(crate) node: &'a Node,
    /// A node that runs keeps its kind as it was configured when it came.
    pub(crate) kind: &'a SliverType,
    /// Ports that are to lead to it, the one of SSH first.
    pub(crate) ports: Vec<Port>,
    /// The only host that it may be on.
    pub(crate) bound: Option<HostName>,
    /// What runs of it, if that stays where it is.
    pub(crate) kept: Option<&'a PlannedNode>,
}

impl<'a> Asked<'a> {
    /// What it boots.
    pub(crate) fn image(&self) -> ImageSource {
        image(self.node, self.kind)
    }

    fn new(
        number: usize,
        node: &'a Node,
        wanted: Wanted<'a>,
        site: Site<'a>,
        hosts: &[HostView<'_>],
    ) -> Result<Self, PlanError> {
        let kind = sliver_type(node, site)?;
        room_for_storage(node, kind)?;
        let bound = bound(node, site, hosts)?;
        taken_somewhere(node, kind, bound.as_ref(), hosts)?;
        let stays = |running: &&PlannedNode| {
            bound.as_ref().is_none_or(|bound| *bound == running.host)
                && hosts.iter().any(|view| *view.host.name() == running.host)
        };
        let kept = wanted.running_node(&node.client_id).filter(stays);
        let kind = match kept {
            Some(kept) if kept.sliver_type.name == kind.name => &kept.sliver_type,
            _ => kind,
        };
        let mut ports = ports::wanted(kind.ports.iter().chain(&node.ports));
        // What its image turned out to EXPOSE is known only since it runs.
        if let Some(kept) = kept.filter(|kept| kind.publish_exposed && kept.image == image(node, kind)) {
            let known: BTreeSet<Port> = ports.iter().copied().collect();
            ports.extend(
                kept.forwards.iter().map(|forward| forward.port).filter(|port| !known.contains(port)),
            );
        }
        let bound = kept.map(|kept| kept.host.clone()).or(bound);
        Ok(Self { number, node, kind, ports, bound, kept })
    }
}

/// Refuses folders that are to hold more than the disk that they are on.
fn room_for_storage(node: &Node, kind: &SliverType) -> Result<(), PlanError> {
    let Some(disk) = kind.limits.disk else { return Ok(()) };
    let sizes = node.storage.iter().filter_map(|storage| storage.size);
    let asked = sizes.fold(0_u64, |sum, size| sum.saturating_add(size.bytes()));
    if asked <= disk {
        return Ok(());
    }
    Err(PlanError::Storage {
        node: node.client_id.to_string(),
        asked: Size::from_bytes(asked),
        kind: kind.name.to_string(),
        disk: Size::from_bytes(disk),
    })
}

/// The nodes of a topology that are to run.
///
/// # Errors
/// [`PlanError`] for what the testbed does not have.
pub(crate) fn read<'a>(
    wanted: Wanted<'a>,
    site: Site<'a>,
    hosts: &[HostView<'_>],
) -> Result<Vec<Asked<'a>>, PlanError> {
    let nodes = wanted.topology.nodes.iter().enumerate();
    let to_run = nodes.filter(|(_, node)| wanted.only.is_none_or(|only| only.contains(&node.client_id)));
    to_run.map(|(number, node)| Asked::new(number, node, wanted, site, hosts)).collect()
}

/// Refuses a topology that contradicts itself or what the slice has beside it.
pub(crate) fn check(wanted: Wanted<'_>, site: Site<'_>, existing: &Existing) -> Result<(), PlanError> {
    let topology = wanted.topology;
    if topology.nodes.is_empty() {
        return Err(PlanError::Nothing);
    }
    let (most, has, asked) = (site.nodes_per_slice, existing.client_ids.len(), topology.nodes.len());
    if has + asked > most as usize {
        return Err(PlanError::TooMany { most, has, asked });
    }
    let mut seen = BTreeSet::new();
    if let Some(node) = topology.nodes.iter().find(|node| !seen.insert(&node.client_id)) {
        return Err(PlanError::Twice(node.client_id.to_string()));
    }
    if let Some(strange) = wanted.only.into_iter().flatten().find(|name| !seen.contains(name)) {
        let suggestion = closest(strange.as_str(), seen.iter().map(|name| name.as_str())).map(str::to_owned);
        return Err(PlanError::Unknown { node: strange.to_string(), suggestion });
    }
    if wanted.only.is_some_and(BTreeSet::is_empty) {
        return Err(PlanError::Nothing);
    }
    let duplicates: Vec<ClientId> =
        seen.into_iter().filter(|id| existing.client_ids.contains(id)).cloned().collect();
    if !duplicates.is_empty() {
        return Err(PlanError::Duplicate(duplicates));
    }
    if let Some(node) = topology.nodes.iter().find(|node| node.exclusive) {
        return Err(PlanError::Exclusive(node.client_id.to_string()));
    }
    if site.links == LinkPolicy::Refuse && !topology.links.is_empty() {
        let names: Vec<_> = topology.links.iter().take(5).map(|link| link.client_id.as_str()).collect();
        return Err(PlanError::Links(format!("{} ({})", topology.links.len(), names.join(", "))));
    }
    Ok(())
}

fn image(node: &Node, kind: &SliverType) -> ImageSource {
    node.image.clone().unwrap_or_else(|| kind.default_image.clone())
}

fn sliver_type<'a>(node: &Node, site: Site<'a>) -> Result<&'a SliverType, PlanError> {
    let found = match &node.sliver_type {
        None => site.sliver_types.first(),
        Some(name) => site.sliver_types.iter().find(|kind| kind.name == *name),
    };
    found.ok_or_else(|| {
        let given = node.sliver_type.as_ref().map(ToString::to_string).unwrap_or_default();
        let known: Vec<String> = site.sliver_types.iter().map(|kind| kind.name.to_string()).collect();
        let suggestion = closest(&given, known.iter().map(String::as_str)).map(str::to_owned);
        PlanError::SliverType { node: node.client_id.to_string(), given, suggestion, known }
    })
}

fn bound(node: &Node, site: Site<'_>, hosts: &[HostView<'_>]) -> Result<Option<HostName>, PlanError> {
    let Some(urn) = &node.component else { return Ok(None) };
    let known: Vec<(String, &HostName)> = hosts
        .iter()
        .filter_map(|view| {
            let urn = component(site.authority, view.host.name()).ok()?;
            Some((urn.to_string(), view.host.name()))
        })
        .collect();
    let given = urn.to_string();
    match known.iter().find(|(urn, _)| *urn == given) {
        Some((_, name)) => Ok(Some((*name).clone())),
        None => Err(PlanError::Component {
            node: node.client_id.to_string(),
            given: urn.clone(),
            suggestion: closest(&given, known.iter().map(|(urn, _)| urn.as_str())).map(str::to_owned),
        }),
    }
}

/// A kind of node that no host takes would be reported as "not enough room": say what is the matter instead.
fn taken_somewhere(
    node: &Node,
    kind: &SliverType,
    bound: Option<&HostName>,
    hosts: &[HostView<'_>],
) -> Result<(), PlanError> {
    let candidates = || hosts.iter().filter(|view| bound.is_none_or(|name| view.host.name() == name));
    if candidates().next().is_none() || candidates().any(|view| view.host.takes(&kind.name)) {
        return Ok(());
    }
    Err(PlanError::NotTaken {
        node: node.client_id.to_string(),
        sliver_type: kind.name.to_string(),
        where_: bound.map_or_else(|| "no host".to_owned(), |name| format!("host {name}")),
    })
}
