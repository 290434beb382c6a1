//! What the inside of a node should be: the desired state in the words of the guest. Pure.

use std::net::IpAddr;

use testyard_guest_protocol as guest;
use testyard_model::urn::SliverUrn;
use testyard_runtime::ImageConfig;

use crate::desired;
use crate::facts::Fact;
use crate::guest::{Inside, Names};

/// What installs may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstallLimits {
    /// The most bytes of one download.
    pub(crate) download: u64,
    /// The most bytes that one archive unpacks to.
    pub(crate) unpacked: u64,
}

/// The guest's desired state. `revision` is 0; who sends it counts.
pub(crate) fn inside(
    node: &desired::Node,
    names: Names,
    domain: &str,
    image: &ImageConfig,
    servers: &[IpAddr],
    limits: InstallLimits,
    go: bool,
) -> Inside {
    let name = node.hostname.as_str();
    // A bare name is a link's where there are links: `ping b` is to meet what the link does to packets.
    let mut own_names = vec![format!("{name}.{domain}")];
    own_names.extend((!names.have(name)).then(|| name.to_owned()));
    let own = std::iter::once(IpAddr::V4(node.address.ipv4)).chain(node.address.ipv6.map(IpAddr::V6));
    let own = own.map(|address| guest::HostsLine { address, names: own_names.clone() });
    let desired = guest::Desired {
        revision: 0,
        go,
        disk: format!("{}/{}", node.sliver, node.disk),
        hostname: name.to_owned(),
        hosts: own.collect(),
        resolver: guest::Resolver { servers: servers.to_vec(), search: Vec::new() },
        host_keys: node
            .host_keys
            .iter()
            .map(|key| guest::HostKey {
                algorithm: key.algorithm.clone(),
                private: key.private.clone(),
                public: key.public.clone(),
            })
            .collect(),
        accounts: node
            .accounts
            .iter()
            .map(|account| guest::Account {
                login: account.login.to_string(),
                keys: account.keys.iter().map(ToString::to_string).collect(),
                sudo: account.sudo,
            })
            .collect(),
        folders: node.storage.iter().map(|storage| storage.mount_point.clone()).collect(),
        program: guest::Program {
            argv: image.program(),
            env: image.env.clone(),
            workdir: image.workdir.clone(),
            user: image.user.clone(),
            stop_signal: image.stop_signal.clone(),
        },
        installs: node
            .services
            .installs
            .iter()
            .map(|install| guest::Install {
                url: install.url.clone(),
                path: install.path.clone(),
                max_download: limits.download,
                max_unpacked: limits.unpacked,
                checksum: install.checksum.as_ref().map(ToString::to_string),
            })
            .collect(),
        executes: node
            .services
            .executes
            .iter()
            .map(|execute| guest::Execute {
                shell: execute.shell.as_str().to_owned(),
                command: execute.command.clone(),
                max_seconds: execute.timeout.map(|seconds| u64::from(seconds.get())),
            })
            .collect(),
        // Whoever sends it adds what depends on more than the node.
        environment: Vec::new(),
        run: None,
        scheduled: Vec::new(),
        facts: None,
    };
    Inside { desired, names }
}

/// What the node may know about itself. `asks`: whether it may ask for more.
pub(crate) fn facts(node: &desired::Node, about: &desired::About, asks: bool) -> guest::Facts {
    let sliver = SliverUrn::new(&about.testbed, &node.sliver.to_string());
    let asks = if asks { Fact::ALL.as_slice() } else { &[] };
    guest::Facts {
        client_id: node.client_id.to_string(),
        slice_urn: about.urn.to_string(),
        // A UUID is a sliver's name everywhere.
        sliver_urn: sliver.map(|urn| urn.to_string()).unwrap_or_default(),
        user_urn: about.creator.to_string(),
        users: node
            .accounts
            .iter()
            .map(|account| guest::FactUser {
                login: account.login.to_string(),
                urn: account.user.to_string(),
            })
            .collect(),
        addresses: std::iter::once(IpAddr::V4(node.address.ipv4))
            .chain(node.address.ipv6.map(IpAddr::V6))
            .collect(),
        asks: asks.iter().map(|fact| fact.as_str().to_owned()).collect(),
    }
}
