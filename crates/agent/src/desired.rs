//! What should be on a host.

mod run;

use serde::{Deserialize, Serialize};
use testyard_fabric::links::{HostLink, NodePort, NodeRoute};
use testyard_fabric::{ControlAddress, Forward};
use testyard_guest_protocol::Secret;
use testyard_model::account::Account;
use testyard_model::host_table::HostTable;
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_model::image::ImageSource;
use testyard_model::name::{ClientId, Hostname};
use testyard_model::service::{Program, Services};
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use testyard_model::topology::{Storage, Variable};
use testyard_model::urn::{Authority, SliceUrn, UserUrn};

pub use testyard_model::host_table::HostsLine;

pub use run::{HostAction, HostEvent, LinkChange, NodeChange, ProgramChange, Run};

/// What should be of one slice on one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Which slice.
    pub slice: SliceId,
    /// Its number on this testbed.
    pub tag: SliceTag,
    /// Its name, for people and for the nodes' domain.
    pub name: String,
    /// What its nodes may know of it.
    pub about: About,
    /// Grows with every change of this state.
    pub revision: Revision,
    /// Its nodes on this host; none means: remove everything of this slice.
    pub nodes: Vec<Node>,
    /// Names of interfaces, of those on other hosts too, for what [`Named`] says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_tables: Vec<HostTable>,
    /// Its links that have an end on this host.
    #[serde(default)]
    pub links: Vec<HostLink>,
    /// Variables of the environment of executes and of programs, in order.
    #[serde(default)]
    pub environment: Vec<Variable>,
    /// The run of its schedule; none before its clock has begun. What events do comes on top of all else that is said here:
    /// links are as they are before the first event, `boot` and `disk` of nodes count without the run's restarts and reloads.
    #[serde(default)]
    pub schedule: Option<Run>,
}

/// What the nodes of a slice may know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its URN.
    pub urn: SliceUrn,
    /// Who made it.
    pub creator: UserUrn,
    /// The testbed, which names its slivers.
    pub testbed: Authority,
}

/// What a node should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Which sliver.
    pub sliver: SliverId,
    /// The user's name of it.
    pub client_id: ClientId,
    /// Its own name.
    pub hostname: Hostname,
    /// What runs it.
    pub runtime: RuntimeKind,
    /// What it boots.
    pub image: ImageSource,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub privileges: Privileges,
    /// Whether it should run.
    pub power: Power,
    /// Counts restarts asked for. A node that has booted for a smaller number is booted again.
    pub boot: u32,
    /// Counts reloads asked for. Each number is a disk of its own.
    pub disk: u32,
    /// Its control interface's addresses.
    pub address: ControlAddress,
    /// Ports of the host that lead to it. The one that leads to port 22 is its SSH port.
    pub forwards: Vec<Forward>,
    /// SSH host keys.
    pub host_keys: Vec<HostKey>,
    /// Counts changes of the accounts.
    pub accounts_revision: u64,
    /// Accounts, exactly these.
    pub accounts: Vec<Account>,
    /// What to install and run, once per disk.
    pub services: Services,
    /// Folders for its data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<Storage>,
    /// What events start and stop.
    #[serde(default)]
    pub programs: Vec<Program>,
    /// Its place on links.
    #[serde(default)]
    pub network: NodeNetwork,
}

/// A node's place on links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNetwork {
    /// Its interfaces beside the control interface.
    pub ports: Vec<NodePort>,
    /// Routes over them.
    pub routes: Vec<NodeRoute>,
    /// Whether it passes on packets of others.
    pub forwarding: bool,
    /// Names of the interfaces of its slice, for its `/etc/hosts`, in order, if [`Self::named`] does not say them. So it was in
    /// versions 1 and 2: of n nodes each had the names of n.
    pub names: Vec<HostsLine>,
    /// Where its `/etc/hosts` comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<Named>,
}

/// A node's place among names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Which of [`Slice::host_tables`], from 0.
    pub table: u32,
    /// Its number in that.
    pub node: u32,
}

/// Whether a node should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It should run.
    On,
    /// It should be stopped, its disk kept.
    Off,
}

/// An SSH host key of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// `ed25519` or `ecdsa`.
    pub algorithm: String,
    /// In OpenSSH's private key format.
    pub private: Secret,
    /// In the one-line format of `.pub` files.
    pub public: String,
}

impl Slice {
    /// The same for an agent that knows no [`HostTable`].
    #[must_use]
    pub fn spelled_out(mut self) -> Self {
        for node in &mut self.nodes {
            let network = &mut node.network;
            if let Some(named) = network.named.take()
                && let Some(table) = self.host_tables.get(named.table as usize)
            {
                network.names = table.lines_for(named.node);
            }
        }
        self.host_tables.clear();
        self
    }
}
