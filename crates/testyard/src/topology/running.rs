//! What runs of a slice, where a file could be given: a name that is no file's is a slice's.

use std::path::Path;

use testyard_model::link::{Link, Member};
use testyard_model::topology::{Interface, InterfaceAddress, Node, Topology};
use testyard_plan::Plan;
use testyard_web::ClientError;
use testyard_web::api::{OutlookRead, Update};

use crate::cli::ConfigArgument;
use crate::exit::Failure;
use crate::local::{Connection, Session};

/// The name of the slice that is meant, if no file is.
pub(super) fn slice_name(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    (name != "-" && !name.contains('/') && !path.exists()).then_some(name)
}

/// What changes if a topology takes the place of what runs of a slice.
pub(super) fn outlook(
    slice: &str,
    topology: serde_json::Value,
    config: &ConfigArgument,
) -> Result<OutlookRead, Failure> {
    let update = Update { topology, only: None, keys: vec![], end: None, revision: None };
    call(config, slice, async |session| session.client.outlook(slice, &update).await)
}

/// What runs of a slice, as a topology.
pub(super) fn topology(slice: &str, config: &ConfigArgument) -> Result<Topology, Failure> {
    call(config, slice, async |session| session.client.plan(slice).await).map(|plan| of_plan(&plan))
}

fn call<T>(
    config: &ConfigArgument,
    slice: &str,
    call: impl AsyncFnOnce(Session) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let session = Session::open(&Connection::of(config.clone()));
    runtime.block_on(call(session)).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{slice} is no file, and as a slice: {}", failure.message), ..failure }
    })
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
