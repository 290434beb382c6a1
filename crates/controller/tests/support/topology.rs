//! Slices of linked nodes, and changes of their links.

use testyard_controller::api::{ChangeLink, LinkAction, SliceView, Update};
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::topology::{Interface, Topology};

use super::{Yard, ann, node, slice_urn, user};

/// Nodes in a row, a cable between each and the next.
pub fn chain(names: &[&str]) -> Topology {
    let mut topology =
        Topology { nodes: names.iter().map(|name| node(name)).collect(), ..Topology::default() };
    for (at, two) in names.windows(2).enumerate() {
        let ends = [(at, format!("{}:right", two[0])), (at + 1, format!("{}:left", two[1]))];
        let mut link = Link::new(format!("{}-{}", two[0], two[1]).parse().unwrap(), LinkKind::PointToPoint);
        for (node, name) in ends {
            topology.nodes[node].interfaces.push(Interface::new(name.parse().unwrap()));
            link.members.push(Member::clear(name.parse().unwrap()));
        }
        topology.links.push(link);
    }
    topology
}

pub fn update(slice: &str, topology: Topology) -> Update {
    let document = format!("<rspec>{}</rspec>", topology.nodes.len());
    let (slice, users) = (slice_urn(slice), vec![user("ann")]);
    Update { slice, topology, document, only: None, users, end: None, seen: None }
}

pub async fn up(yard: &Yard, topology: Topology) -> SliceView {
    let view = yard.controller.update(&ann(), update("s", topology)).await.unwrap();
    yard.settle().await;
    view
}

pub fn change(link: &str, what: LinkAction) -> ChangeLink {
    ChangeLink { slice: slice_urn("s"), link: link.parse().unwrap(), from: None, what, until: None }
}

pub fn set(link: &str, settings: &str) -> ChangeLink {
    change(link, LinkAction::Set(settings.split(' ').map(|setting| setting.parse().unwrap()).collect()))
}
