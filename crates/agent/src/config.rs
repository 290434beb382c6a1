//! How a host is to be run, as its testbed says: one testbed is configured in one place.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use testyard_fabric::Emulator;
use testyard_model::id::Instance;

use crate::images::ImageSettings;
use crate::pool::PoolSettings;

/// How a host is to be run. Where its agent keeps what is its own (records, sockets) is not the testbed's business.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostConfig {
    /// The mark on everything that is made.
    pub instance: Instance,
    /// The testbed's domain: nodes are named `<node>.<slice>.<domain>`.
    pub domain: String,
    /// Whether nodes and links are only pretended.
    #[serde(default)]
    pub pretends: bool,
    /// The Docker Engine's socket.
    pub docker: PathBuf,
    /// Who reads from registries that do not let everybody.
    #[serde(default)]
    pub registries: Vec<RegistryAccess>,
    /// The network of control addresses.
    pub ipv4: Ipv4Net,
    /// The prefix of IPv6 control addresses.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Whether the host answers neighbour discovery for nodes on its uplink.
    #[serde(default)]
    pub ipv6_proxy: bool,
    /// Networks that no node may reach.
    #[serde(default)]
    pub denied: Vec<IpNet>,
    /// The UDP port of its tunnels to other hosts.
    #[serde(default = "tunnel_port")]
    pub tunnel_port: u16,
    /// What nodes ask for names; none means: what the host asks.
    #[serde(default)]
    pub name_servers: Vec<IpAddr>,
    /// What impairs packets on links.
    #[serde(default)]
    pub emulator: Emulator,
    /// The most bytes that an install may download, and unpack.
    pub install_limits: (u64, u64),
    /// What users may bring as images.
    #[serde(default)]
    pub images: ImageSettings,
    /// What to keep ready before anybody wants it.
    #[serde(default)]
    pub pool: Option<PoolSettings>,
}

/// Who reads from a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAccess {
    /// The registry as image names say it, with its port.
    pub host: String,
    /// The user.
    pub user: String,
    /// The password, or an access token.
    pub password: String,
}

/// Of testbeds of before there were tunnels.
const fn tunnel_port() -> u16 {
    testyard_model::tunnel::PORT
}

impl HostConfig {
    /// Of a host that pretends, for tests and for trying things out.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn pretending() -> Self {
        Self {
            instance: "main".parse().expect("an instance"),
            domain: "testyard".to_owned(),
            pretends: true,
            docker: PathBuf::new(),
            registries: Vec::new(),
            ipv4: "10.77.0.0/16".parse().expect("a network"),
            ipv6: None,
            ipv6_proxy: false,
            denied: Vec::new(),
            tunnel_port: tunnel_port(),
            name_servers: Vec::new(),
            emulator: Emulator::Auto,
            install_limits: (1 << 30, 4 << 30),
            images: ImageSettings::default(),
            pool: None,
        }
    }
}

impl fmt::Debug for RegistryAccess {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAccess")
            .field("host", &self.host)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
