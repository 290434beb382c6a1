//! What runs of a slice, where a file could be given: a name that is no file's is a slice's.

use std::path::Path;

use testyard_model::link::{Link, Member};
use testyard_model::topology::{Interface, InterfaceAddress, Node, Topology};
use testyard_plan::Plan;
use testyard_web::ClientError;
use testyard_web::api::{OutlookRead, Update};
use tokio::runtime::Runtime;

use super::testbed::Surroundings;
use crate::cli::ConfigArgument;
use crate::exit::Failure;
use crate::local::{Connection, Session};

/// A slice of a testbed that runs.
pub(super) struct Running<'s> {
    name: &'s str,
    session: Session,
    runtime: Runtime,
}

/// The name of the slice that is meant, if no file is. A folder is no file: there may well be one for the slice.
pub(super) fn slice_name(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    let is_file = path.exists() && !path.is_dir();
    (name != "-" && !name.contains('/') && !is_file).then_some(name)
}

impl<'s> Running<'s> {
    /// Of this name.
    pub(super) fn new(name: &'s str, config: &ConfigArgument) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        Ok(Self { name, session: Session::open(&Connection::of(config.clone())), runtime })
    }

    /// What readers may know of its testbed: the same that `up` gives them.
    pub(super) fn surroundings(&self) -> Result<Surroundings, Failure> {
        let testbed = self.call(async |session, _| session.client.testbed().await)?;
        Surroundings::of(&testbed)
    }

    /// What changes if a topology takes the place of what runs.
    pub(super) fn outlook(&self, topology: serde_json::Value) -> Result<OutlookRead, Failure> {
        let update = Update { topology, only: None, keys: vec![], end: None, revision: None };
        self.call(async |session, name| session.client.outlook(name, &update).await)
    }

    /// What runs, as a topology.
    pub(super) fn topology(&self) -> Result<Topology, Failure> {
        self.call(async |session, name| session.client.plan(name).await).map(|plan| of_plan(&plan))
    }

    fn call<T>(
        &self,
        call: impl AsyncFnOnce(&Session, &str) -> Result<T, ClientError>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(call(&self.session, self.name)).map_err(|error| {
            let failure = Failure::from(error);
            let message = format!("{} is no file, and as a slice: {}", self.name, failure.message);
            Failure { message, ..failure }
        })
    }
}

/// A plan as the topology that it was made of, as far as drawings need it.
fn of_plan(plan: &Plan) -> Topology {
    let mut topology = Topology::default();
    for planned in &plan.nodes {
        let mut node = Node::new(planned.client_id.clone());
        node.sliver_type = Some(planned.sliver_type.name.clone());
        node.image = Some(planned.image.clone());
        let interfaces = plan.network.iter().flat_map(|network| network.interfaces_of(&planned.client_id));
        node.interfaces = interfaces
            .map(|(_, member)| {
                let mut interface = Interface::new(member.interface.clone());
                let address = |net: &ipnet::IpNet| InterfaceAddress {
                    address: net.addr(),
                    prefix_length: Some(net.prefix_len()),
                };
                interface.addresses = member.addresses.iter().map(address).collect();
                interface
            })
            .collect();
        topology.nodes.push(node);
    }
    for planned in plan.network.iter().flat_map(|network| network.links()) {
        let runs = |member: &&testyard_plan::network::parts::NetworkMember| {
            topology.nodes.iter().any(|node| node.client_id == member.node)
        };
        let member = |member: &testyard_plan::network::parts::NetworkMember| Member {
            interface: member.interface.clone(),
            to_link: member.to_link,
            from_link: member.from_link,
        };
        let mut link = Link::new(planned.client_id.clone(), planned.kind);
        link.members = planned.members.iter().filter(runs).map(member).collect();
        link.down = planned.down;
        topology.links.push(link);
    }
    topology
}
