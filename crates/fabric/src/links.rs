//! Links as a host should have them: the second half of the contract.

pub mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_capture::SnapLength;
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::mac::Mac;
use testyard_model::probe::Probed;
use testyard_model::tunnel::Vni;

use crate::FabricError;
use crate::capture::{CaptureError, CaptureRequest, CaptureStream};
use probe::ProbeRequest;

/// A slice's links on one host, as they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceLinks {
    /// The slice.
    pub slice: SliceId,
    /// Never falls. Links of one revision may differ, as a schedule goes on: what was said last counts.
    pub revision: Revision,
    /// In the order of the topology.
    pub links: Vec<HostLink>,
}

/// A link on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLink {
    /// The link's own sliver.
    pub sliver: SliverId,
    /// The user's name of it, for people who look at interfaces.
    pub name: String,
    /// Cable or switch.
    pub kind: LinkKind,
    /// Interfaces of a link that is down have no carrier.
    pub up: bool,
    /// The largest packet, in bytes without the Ethernet header.
    pub mtu: u16,
    /// Where chances begin.
    pub seed: u64,
    /// Whether the user has chosen the seed: then every verdict is to be the seed's, which only the wire does.
    #[serde(default)]
    pub is_seed_chosen: bool,
    /// Its interfaces on this host.
    pub ends: Vec<LinkEnd>,
    /// What of it is on other hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Beyond>,
    /// What of it is captured into files of the host, for as long as it is there.
    #[serde(default)]
    pub capture: Option<KeptCapture>,
}

/// What of a link is on other hosts, and how it is reached: through a tunnel. Each host does to frames what its own ends do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// The link's number in tunnels, the same on all its hosts.
    pub vni: Vni,
    /// The address of this host that its tunnels begin at.
    pub local: IpAddr,
    /// Where the tunnels of the other hosts that have interfaces on the link end.
    pub peers: BTreeSet<IpAddr>,
    /// The other end of a cable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<FarEnd>,
}

/// The end of a cable that is on another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarEnd {
    /// Which.
    pub port: PortId,
    /// Whether it is the first of the two: chances go by their order, wherever they are.
    pub is_first: bool,
}

/// A capture that the topology asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCapture {
    /// How many bytes of each packet are kept.
    pub snap_length: SnapLength,
    /// Which packets, in the language of pcap-filter(7); none: all.
    pub filter: Option<String>,
    /// What the nodes at its ends are called.
    pub names: BTreeMap<SliverId, String>,
}

/// A node's interface on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEnd {
    /// Which.
    pub port: PortId,
    /// What is done to what it sends.
    pub to_link: Impairment,
    /// What is done to what it gets.
    pub from_link: Impairment,
}

/// An interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId {
    /// The node.
    pub node: SliverId,
    /// Its name in the node: `eth1`.
    pub device: String,
}

/// A node's interfaces on links, and where they lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePorts {
    /// The node.
    pub node: SliverId,
    /// In the order of the topology.
    pub ports: Vec<NodePort>,
    /// Beside those that follow from the addresses.
    pub routes: Vec<NodeRoute>,
    /// Whether it passes on packets of others.
    pub forwarding: bool,
}

/// One interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePort {
    /// Its name in the node.
    pub device: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The largest packet.
    pub mtu: u16,
    /// Each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
}

/// A route of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRoute {
    /// What it leads to.
    pub to: IpNet,
    /// The neighbour.
    pub via: std::net::IpAddr,
    /// The interface's name in the node.
    pub device: String,
}

/// The links of slices on one host. Every call is idempotent.
///
/// ```text
///            join                         plug, after each boot
///  nothing ───────► namespace, bridges, ────────────────────────► a veth for each port, its other half joined
///     ▲             wires                    ▲        │
///     │                                      └────────┘ the node ends: its halves go, all else stays
///     └────── part ─────────────────────────────────────
/// ```
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Makes the slice's side of its links so: what all nodes share, and how the interfaces that are there are joined.
    /// What no link wants any more goes, with the nodes' interfaces on it. An older revision than the last changes nothing.
    async fn join(&self, wanted: &SliceLinks) -> Result<(), FabricError>;

    /// Makes a node's interfaces so, with addresses and routes, and joins them as [`Self::join`] was told. `netns` opens
    /// the node's namespace. Interfaces that are right stay untouched, also those of its peers. A node with interfaces in
    /// a slice that is not joined, or not any more, is refused with [`FabricError::NotJoined`], and nothing is made.
    async fn plug(&self, slice: SliceId, ports: &NodePorts, netns: &Path) -> Result<(), FabricError>;

    /// Ends all of a slice's links; gone already is fine.
    async fn part(&self, slice: SliceId) -> Result<(), FabricError>;

    /// Slices whose links are there, by their marks.
    async fn joined(&self) -> Result<Vec<SliceId>, FabricError>;

    /// What has passed on each direction of the impaired links.
    async fn traffic(&self, slice: SliceId) -> Result<Vec<LinkTraffic>, FabricError>;

    /// Captures at the interfaces of a slice's links, both directions at each, as the node sees them. It goes on through
    /// restarts of nodes and changes of links, and ends when the stream is dropped; when the slice parts, or its one link goes,
    /// the last event says so. The first events are there at once. Who reads too slowly loses packets, which are counted, and
    /// disturbs nobody.
    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError>;

    /// Whether captures by an expression of pcap-filter(7) can begin on this host.
    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError>;

    /// Sends frames over links of a slice that is joined, and tells what became of them: an answer for each train, in the
    /// order of the request. They are real traffic of the links, of an Ethernet type that nobody else has, and touch neither
    /// addresses nor rules of the nodes. One request of a host at a time; others wait. A train that cannot be sent is
    /// answered with why.
    async fn probe(&self, slice: SliceId, request: &ProbeRequest) -> Result<Vec<Probed>, FabricError>;
}

/// What has passed one direction of a link since what impairs it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTraffic {
    /// The link.
    pub link: SliverId,
    /// Who sent; none: any of the LAN.
    pub from: Option<PortId>,
    /// Who got it; none: any of the LAN.
    pub to: Option<PortId>,
    /// How much.
    pub passed: Passed,
}

/// Packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// That came.
    pub offered: u64,
    /// That went on.
    pub delivered: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Lost as asked. netem does not tell these from packets that were too many for the queue of a delay: where it does
    /// both, all are counted here.
    pub lost: u64,
    /// Dropped because a queue was full, or RED said so.
    pub dropped: u64,
}
