//! Whose routes and names `testyard plan` shows.

use std::collections::BTreeMap;

use testyard_model::name::ClientId;
use testyard_model::suggest::closest;
use testyard_plan::network::routes::PlannedRoute;
use testyard_plan::{NetworkPlan, render};

use crate::exit::Failure;
use crate::print;

/// Topologies of up to so many nodes are shown whole.
const SMALL: usize = 20;

/// Whether something is asked for: of nobody, of everybody, or of one node.
type Of = Option<Option<ClientId>>;

/// Whose.
#[derive(Default)]
pub(super) struct Shown {
    routes: Vec<ClientId>,
    names: Vec<ClientId>,
}

impl Shown {
    /// What was asked for; without that, the routes of a small topology.
    pub(super) fn of(routes: &Of, names: &Of, network: Option<&NetworkPlan>) -> Result<Self, Failure> {
        let Some(network) = network else { return Ok(Self::default()) };
        let small = if network.nodes().len() <= SMALL { Some(None) } else { None };
        let routes = if routes.is_some() { routes } else { &small };
        Ok(Self { routes: whose(routes, network)?, names: whose(names, network)? })
    }

    pub(super) fn routes(&self, network: &NetworkPlan) -> BTreeMap<ClientId, Vec<PlannedRoute>> {
        let mut router = network.router();
        self.routes.iter().map(|node| (node.clone(), router.routes_of(node))).collect()
    }

    pub(super) fn hosts(&self, network: &NetworkPlan) -> BTreeMap<ClientId, String> {
        self.names.iter().map(|node| (node.clone(), network.hosts_of(node))).collect()
    }

    /// On the standard output.
    pub(super) fn print(&self, network: &NetworkPlan) {
        let routes = render::routes(network, &self.routes);
        if !routes.is_empty() {
            say!();
            print::text(routes);
        }
        for node in &self.names {
            say!("\n/etc/hosts on {node}:");
            network.hosts_of(node).lines().for_each(|line| say!("    {line}"));
        }
    }
}

fn whose(of: &Of, network: &NetworkPlan) -> Result<Vec<ClientId>, Failure> {
    let all = || network.nodes().iter().map(|node| &node.client_id);
    match of {
        None => Ok(Vec::new()),
        Some(None) => Ok(all().cloned().collect()),
        Some(Some(one)) if all().any(|node| node == one) => Ok(vec![one.clone()]),
        Some(Some(one)) => {
            let meant = closest(one.as_str(), all().map(|node| node.as_str()));
            let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
            Err(Failure::usage(format!("there is no node {:?}{meant}", one.as_str())))
        }
    }
}
