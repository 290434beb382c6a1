//! The contract.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use testyard_model::id::{Instance, SliceId, SliceTag, SliverId};
use testyard_model::sliver_type::Port;

use crate::links::Links;

/// What the fabric of one testbed on one host needs to know; from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabricConfig {
    /// The mark on everything that it makes.
    pub instance: Instance,
    /// The network that control addresses are taken from.
    pub ipv4: Ipv4Net,
    /// The prefix that IPv6 control addresses are taken from, of any length.
    pub ipv6: Option<Ipv6Net>,
    /// Whether addresses of the prefix are answered for on the host's uplink (neighbour discovery proxy), for
    /// prefixes that are on the link rather than routed to the host.
    pub ipv6_proxy: bool,
    /// The folder for what need not outlive the machine's restart: the namespaces of links, sockets of wires.
    pub run: std::path::PathBuf,
    /// The program that a wire is, with its first arguments; none where impaired links are not wanted.
    pub wire: Vec<std::ffi::OsString>,
    /// What impairs packets.
    pub emulator: Emulator,
    /// The folder for captures that topologies ask for; none where they are not wanted.
    pub captures: Option<std::path::PathBuf>,
    /// The UDP port of tunnels to other hosts, the same on all; nothing else on them may use it.
    pub tunnel_port: u16,
    /// Addresses that no node may reach, beside other slices; the host's own services are closed to nodes anyway.
    pub denied: Vec<ipnet::IpNet>,
}

/// What impairs packets on links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Emulator {
    /// netem where the kernel has it and it can say the impairment, else the wire.
    #[default]
    Auto,
    /// The wire always: repeatable on every machine.
    Wire,
    /// netem only: what it cannot say is refused, with the reason.
    Netem,
}

/// A node's control interface as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The slice.
    pub slice: SliceId,
    /// The slice's number: nodes of one number may talk to each other.
    pub tag: SliceTag,
    /// The sliver.
    pub sliver: SliverId,
    /// Its addresses.
    pub address: ControlAddress,
    /// Ports of the host that lead to it.
    pub forwards: Vec<Forward>,
}

/// The addresses of a control interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAddress {
    /// Out of [`FabricConfig::ipv4`].
    pub ipv4: Ipv4Addr,
    /// Out of [`FabricConfig::ipv6`].
    pub ipv6: Option<Ipv6Addr>,
}

/// A port of the host that leads to a port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    /// On every address of the host.
    pub host_port: u16,
    /// In the node.
    pub port: Port,
}

/// A control interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The slice, from the mark.
    pub slice: SliceId,
    /// The sliver, from the mark.
    pub sliver: SliverId,
    /// Whether the node's half is still in a living namespace.
    pub alive: bool,
}

/// What had to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The table of packet rules was gone or not as it should be.
    Rules,
    /// The jump in Docker's chain was gone.
    Jump,
    /// A kernel setting had been changed back.
    Setting(String),
    /// The wire of a slice had ended.
    Wire(SliceId),
}

/// The fabric of one testbed on one host. Every call is idempotent.
#[async_trait]
pub trait Fabric: Links {
    /// Makes everything that does not belong to one node: the table, the jump, kernel settings. Keeps attachments.
    async fn prepare(&self) -> Result<(), FabricError>;

    /// Makes the control interface so. `netns` opens the node's namespace. Called after each boot of the node.
    async fn attach(&self, attachment: &Attachment, netns: &Path) -> Result<(), FabricError>;

    /// Removes a node's control interface, forwards and rules; gone already is fine.
    async fn detach(&self, sliver: SliverId) -> Result<(), FabricError>;

    /// What is there, by its marks.
    async fn attached(&self) -> Result<Vec<Attached>, FabricError>;

    /// Looks at everything that others (engines, firewalls, people) may have changed, and mends it. Attachments given
    /// to [`Self::attach`] before are part of it.
    async fn repair(&self) -> Result<Vec<Repair>, FabricError>;

    /// Ticks when something outside has changed packet rules, or a wire has ended; [`Self::repair`] then looks.
    fn disturbances(&self) -> BoxStream<'static, ()>;

    /// Name servers that nodes of this host can reach.
    async fn name_servers(&self) -> Result<Vec<IpAddr>, FabricError>;

    /// Removes everything that carries the instance's mark.
    async fn reset(&self) -> Result<(), FabricError>;
}

/// The kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum FabricError {
    /// The kernel or a tool lacks something; the text says what to install or load.
    #[error("{0}")]
    Lacking(String),
    /// The node's namespace cannot be opened: it has ended meanwhile.
    #[error("the network namespace of {sliver} is gone")]
    Gone {
        /// Whose.
        sliver: SliverId,
    },
    /// An impairment is to be made by netem, which cannot say it; the text names the link and the reason.
    #[error("{0}")]
    Inexpressible(String),
    /// A node is to be plugged in where the links of its slice are not joined.
    #[error("the links of {slice} are not joined on this host")]
    NotJoined {
        /// Which slice.
        slice: SliceId,
    },
    /// A forwarded port is taken by something else on this host.
    #[error("port {port} of this host is in use by something else")]
    PortTaken {
        /// Which.
        port: u16,
    },
    /// Anything else that the kernel said.
    #[error("{action}: {detail}")]
    Kernel {
        /// What was tried, with the object.
        action: String,
        /// The kernel's words.
        detail: String,
    },
}
