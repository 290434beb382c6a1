//! A slice with links between nodes that are namespaces.

use std::time::{Duration, Instant};

use testyard_fabric::links::{HostLink, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_fabric::{Links as _, LinuxFabric};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::setting::Setting;
use uuid::Uuid;

use super::{Netns, node};

pub(crate) fn slice() -> SliceId {
    SliceId::from_uuid(Uuid::from_u128(7))
}

pub(crate) fn sliver(number: u8) -> SliverId {
    SliverId::from_uuid(Uuid::from_u128(1 << 90 | u128::from(number)))
}

pub(crate) fn impaired(settings: &[&str]) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment
}

/// A link between these (node, device), all of whose ends do this to what they send.
pub(crate) fn link(number: u8, kind: LinkKind, ends: &[(u8, &str)], settings: &[&str]) -> HostLink {
    let end = |(node, device): &(u8, &str)| LinkEnd {
        port: PortId { node: sliver(*node), device: (*device).to_owned() },
        to_link: impaired(settings),
        from_link: Impairment::default(),
    };
    HostLink {
        sliver: sliver(100 + number),
        name: format!("link{number}"),
        kind,
        up: true,
        mtu: 1500,
        seed: 1,
        is_seed_chosen: false,
        capture: None,
        ends: ends.iter().map(end).collect(),
        beyond: None,
    }
}

pub(crate) fn cable(settings: &[&str]) -> HostLink {
    link(1, LinkKind::PointToPoint, &[(1, "eth1"), (2, "eth1")], settings)
}

pub(crate) fn wanted(revision: u64, links: Vec<HostLink>) -> SliceLinks {
    SliceLinks { slice: slice(), revision: Revision(revision), links }
}

/// A node with these (device, address).
pub(crate) fn ports(number: u8, interfaces: &[(&str, &str)]) -> NodePorts {
    let port = |(index, (device, address)): (usize, &(&str, &str))| NodePort {
        device: (*device).to_owned(),
        mac: format!("02:00:00:00:{number:02x}:{index:02x}").parse().unwrap(),
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
    };
    NodePorts {
        node: sliver(number),
        ports: interfaces.iter().enumerate().map(port).collect(),
        routes: Vec::new(),
        forwarding: false,
    }
}

/// Two nodes at the ends of the cable: 10.1.1.2 and 10.1.1.3.
pub(crate) async fn two(fabric: &LinuxFabric) -> [Netns; 2] {
    let nodes = [node(), node()];
    plug(fabric, 1, "10.1.1.2/24", &nodes[0]).await;
    plug(fabric, 2, "10.1.1.3/24", &nodes[1]).await;
    nodes
}

pub(crate) async fn plug(fabric: &LinuxFabric, number: u8, address: &str, netns: &Netns) {
    fabric.plug(slice(), &ports(number, &[("eth1", address)]), &netns.path()).await.unwrap();
}

/// Index, Ethernet address and addresses: what a peer's restart must not touch. A kernel notes a carrier, and makes the address
/// that it makes by itself, in its own time.
pub(crate) fn identity(node: &Netns) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let addresses = node.command("ip -o address show dev eth1").replace(" tentative", "");
        let identity = addresses + &node.command("ip -o link show dev eth1");
        if identity.contains("fe80:") && identity.contains("state UP") {
            return identity;
        }
        assert!(Instant::now() < deadline, "it has no carrier: {identity}");
    }
}

/// The shortest of five echoes, in milliseconds.
pub(crate) fn round_trip(from: &Netns, to: &str) -> f64 {
    let said = from.command(&format!("ping -q -c 5 -i 0.01 -W 2 {to}"));
    let times = said.lines().find(|line| line.starts_with("rtt")).unwrap_or_else(|| panic!("{said}"));
    times.split(['=', '/']).nth(4).unwrap().trim().parse().unwrap()
}

pub(crate) fn carrier(node: &Netns) -> bool {
    // Older kernels take up to a second until they say NO-CARRIER.
    node.command("ip -o link show eth1").contains("LOWER_UP")
}
