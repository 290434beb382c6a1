//! What the configuration says, typed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use testyard_agent::ImageSettings;
use testyard_fabric::Emulator;
use testyard_model::id::{HostName, Instance};
use testyard_model::image::ImageName;
use testyard_model::name::SliverTypeName;
use testyard_model::sliver_type::SliverType;
use testyard_model::urn::Authority;
use testyard_runtime_docker::RegistryLogin;
use testyard_trust::CryptoPolicy;

/// The image of nodes that name none; `testyard image build-default` makes it.
pub const DEFAULT_IMAGE: &str = "testyard/debian:12";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[testbed]`
    pub testbed: Testbed,
    /// `[paths]`
    pub paths: Paths,
    /// `[tls]`
    pub tls: Tls,
    /// `[trust]`
    pub trust: CryptoPolicy,
    /// `[leases]`
    pub leases: Leases,
    /// `[limits]`
    pub limits: Limits,
    /// `[network]`
    pub network: Network,
    /// `[tunnels]`
    pub tunnels: Tunnels,
    /// `[host]`, or `[[host]]`s; at least one
    pub hosts: Vec<Host>,
    /// `[agents]`
    pub agents: Agents,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[images.names]`: names of other systems' images, and what stands for each
    pub image_names: BTreeMap<String, ImageName>,
    /// `[images.urls]`
    pub images: ImageSettings,
    /// `[[registry]]`
    pub registries: Vec<RegistryLogin>,
    /// `[[sliver_type]]`, or the three that docker-am offers
    pub sliver_types: Vec<SliverType>,
    /// `[pool]`
    pub pool: Pool,
}

/// Who this testbed is and where it listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Testbed {
    /// Its public name: a DNS name, or an address.
    pub name: String,
    /// The authority part of its URNs.
    pub authority: Authority,
    /// The mark on everything that it makes on this machine.
    pub instance: Instance,
    /// Where it listens.
    pub bind: Vec<SocketAddr>,
    /// The URL that it tells clients.
    pub public_url: String,
    /// Where it stands.
    pub location: Option<Location>,
    /// What it tells of itself beside that in GetVersion, by names that begin with `f4f_`.
    pub about: BTreeMap<String, String>,
}

/// A place on earth.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// Folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What must outlive the machine's restart: the database.
    pub state: PathBuf,
    /// What need not: sockets.
    pub run: PathBuf,
    /// Certificates of the authorities that this testbed trusts, PEM.
    pub trusted: PathBuf,
}

/// The server's own certificate. Both files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate and its issuers, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// How long slivers live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leases {
    /// Allocated ones, unless the caller says otherwise.
    pub allocated: Duration,
    /// Allocated ones at most.
    pub allocated_max: Duration,
    /// Provisioned ones, unless the caller says otherwise.
    pub provisioned: Duration,
    /// Provisioned ones at most.
    pub provisioned_max: Duration,
}

/// What callers may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request, in bytes.
    pub request_size: u64,
    /// How long a client may take to send a request.
    pub request_time: Duration,
    /// Requests a second that one client may go on making.
    pub requests_per_second: u32,
    /// Connections that are open at a time, of all clients.
    pub connections: u32,
    /// Connections that are open at a time, of one client address.
    pub connections_per_client: u32,
    /// Nodes of one slice.
    pub nodes_per_slice: u32,
    /// Living slices of one user.
    pub slices_per_user: u32,
    /// Accounts on one node.
    pub users_per_node: u32,
    /// The largest archive that a node's install may download, in bytes.
    pub install_download: u64,
    /// The most that an archive may unpack to, in bytes.
    pub install_unpacked: u64,
}

/// The control network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where control addresses are taken from.
    pub ipv4: Ipv4Net,
    /// Where IPv6 control addresses are taken from.
    pub ipv6: Option<Ipv6Net>,
    /// Whether the host answers neighbour discovery for nodes on its uplink.
    pub ipv6_proxy: bool,
    /// What impairs packets on links.
    pub emulator: Emulator,
    /// What nodes ask for names; none means: what this host asks.
    pub name_servers: Vec<IpAddr>,
    /// Networks that no node may reach.
    pub denied: Vec<IpNet>,
}

/// What carries links from host to host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnels {
    /// The UDP port, the same on all hosts.
    pub port: u16,
    /// The largest packet of the network between the hosts, in bytes without the Ethernet header.
    pub mtu: u16,
}

/// Where the agent of a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// In this very process: the host is this machine.
    Inside,
    /// It is a process of root's beside this one, on this machine, and connects to a local socket.
    Socket,
    /// It is on another machine, and connects over the network.
    Network,
}

/// Where agents on other machines connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// Where this testbed listens for them, if it has hosts whose agents are not here.
    pub bind: Vec<SocketAddr>,
    /// What they connect to: `HOST:PORT`.
    pub address: String,
}

/// Who may gather metrics, beside operators over the local socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where anybody who can connect gets them; nowhere if it is empty.
    pub bind: Vec<SocketAddr>,
}

/// A host of nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Where its agent is.
    pub agent: Agent,
    /// How many nodes it takes.
    pub capacity: u32,
    /// Ports of it that lead to nodes.
    pub ports: RangeInclusive<u16>,
    /// What users connect to with SSH.
    pub public_name: String,
    /// Docker Engine's socket.
    pub docker: PathBuf,
    /// Where control addresses are taken from.
    pub ipv4: Ipv4Net,
    /// Where IPv6 control addresses are taken from.
    pub ipv6: Option<Ipv6Net>,
    /// Whether it answers neighbour discovery for nodes on its uplink.
    pub ipv6_proxy: bool,
    /// The kinds of nodes that it takes; none means every kind.
    pub sliver_types: Option<Vec<SliverTypeName>>,
    /// The address that the other hosts' tunnels lead to, if links go on here from there.
    pub tunnel: Option<IpAddr>,
    /// Where it stands.
    pub location: Option<Location>,
}

/// Nodes that are kept ready before anybody wants them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many; 0 is none.
    pub size: u32,
    /// Of which kind.
    pub sliver_type: SliverType,
    /// What they boot.
    pub image: ImageName,
    /// Whether they take their number from `host.capacity`.
    pub counted: bool,
}

impl Settings {
    /// This machine, if it is a host.
    #[must_use]
    pub fn here(&self) -> Option<&Host> {
        self.hosts.iter().find(|host| host.agent != Agent::Network)
    }

    /// Whether a host's agent comes in over the network.
    fn has_agents_elsewhere(&self) -> bool {
        self.hosts.iter().any(|host| host.agent == Agent::Network)
    }

    /// The host that this process itself is the agent of.
    #[must_use]
    pub fn inside(&self) -> Option<&Host> {
        self.hosts.iter().find(|host| host.agent == Agent::Inside)
    }

    /// Settings that take effect only when Testyard is started again, among those that differ in `other`.
    #[must_use]
    pub fn needing_restart(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("testbed.authority", self.testbed.authority != other.testbed.authority),
            ("testbed.instance", self.testbed.instance != other.testbed.instance),
            ("testbed.bind", self.testbed.bind != other.testbed.bind),
            ("testbed.name", self.testbed.name != other.testbed.name),
            ("paths", self.paths != other.paths),
            ("tls", self.tls != other.tls),
            ("trust", self.trust != other.trust),
            ("limits", self.limits.of_server() != other.limits.of_server()),
            ("network", self.network != other.network),
            ("host", self.inside().map(Host::of_agent) != other.inside().map(Host::of_agent)),
            ("tunnels.port", self.tunnels.port != other.tunnels.port),
            ("agents", self.has_agents_elsewhere() && self.agents != other.agents),
            ("metrics", self.metrics != other.metrics),
            ("images.urls", self.inside().is_some() && self.images != other.images),
            ("registry", self.registries != other.registries),
        ];
        differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }

    /// Takes what can change while Testyard runs; the rest stays what runs.
    pub fn take_from(&mut self, other: Self) {
        self.testbed.public_url = other.testbed.public_url;
        self.testbed.location = other.testbed.location;
        self.testbed.about = other.testbed.about;
        self.leases = other.leases;
        self.limits.nodes_per_slice = other.limits.nodes_per_slice;
        self.limits.slices_per_user = other.limits.slices_per_user;
        self.limits.users_per_node = other.limits.users_per_node;
        if !self.has_agents_elsewhere() {
            // Nobody listens there yet.
            self.agents = other.agents;
        }
        self.tunnels.mtu = other.tunnels.mtu;
        let inside = self.inside().cloned();
        self.hosts = other.hosts;
        let running = self.hosts.iter_mut().find(|host| host.agent == Agent::Inside).zip(inside);
        if let Some((host, running)) = running {
            *host = Host {
                name: running.name,
                docker: running.docker,
                ipv4: running.ipv4,
                ipv6: running.ipv6,
                ipv6_proxy: running.ipv6_proxy,
                ..host.clone()
            };
        }
        self.sliver_types = other.sliver_types;
        self.image_names = other.image_names;
        self.pool = other.pool;
    }
}

impl Host {
    /// What an agent that is inside is started with.
    fn of_agent(&self) -> (&HostName, &PathBuf, Ipv4Net, Option<Ipv6Net>, bool) {
        (&self.name, &self.docker, self.ipv4, self.ipv6, self.ipv6_proxy)
    }
}

impl Limits {
    /// Those that the server is started with; the others are asked at each call.
    fn of_server(&self) -> (u64, Duration, u32, u32, u32, u64, u64) {
        (
            self.request_size,
            self.request_time,
            self.requests_per_second,
            self.connections,
            self.connections_per_client,
            self.install_download,
            self.install_unpacked,
        )
    }
}
