//! What each room is told of the configuration. Plain functions.

use anyhow::Context as _;
use jiff::SignedDuration;
use testyard_agent::{HostConfig, PoolSettings, RegistryAccess};
use testyard_am::{AmSettings, ServerLimits};
use testyard_controller::api::Location;
use testyard_controller::lease::{Lease, LeasePolicy};
use testyard_controller::{HostResources, HostSettings, LinkPolicy, PortRange, Quotas};
use testyard_model::sliver_type::RuntimeKind;
use testyard_model::urn::Urn;
use testyard_plan::network::mtu::{Tunnel, Underlay};
use testyard_runtime_docker::RegistryLogin;

use crate::config::{Host, Settings};

/// What the controller is told.
pub(crate) fn controller(settings: &Settings) -> anyhow::Result<testyard_controller::Settings> {
    let hosts = settings.hosts.iter().map(|host| resources(settings, host));
    let hosts = hosts.collect::<anyhow::Result<Vec<_>>>()?;
    let authority = settings.testbed.authority.clone();
    let mut controller = testyard_controller::Settings::new(authority, hosts, settings.sliver_types.clone())?;
    controller.leases = LeasePolicy {
        allocated: lease(settings.leases.allocated, settings.leases.allocated_max)?,
        provisioned: lease(settings.leases.provisioned, settings.leases.provisioned_max)?,
    };
    controller.links = LinkPolicy::Make(underlay(settings));
    controller.quotas = Quotas {
        nodes_per_slice: settings.limits.nodes_per_slice,
        slices_per_user: settings.limits.slices_per_user,
        users_per_node: settings.limits.users_per_node,
    };
    Ok(controller)
}

/// The network between the hosts, as links across it have it.
fn underlay(settings: &Settings) -> Underlay {
    let is_ipv6 = settings.hosts.iter().any(|host| host.tunnel.is_some_and(|address| address.is_ipv6()));
    Underlay { mtu: settings.tunnels.mtu, tunnel: if is_ipv6 { Tunnel::Vxlan6 } else { Tunnel::Vxlan } }
}

/// What a host has to give.
fn resources(settings: &Settings, host: &Host) -> anyhow::Result<HostSettings> {
    let about = || format!("host {}", host.name);
    let ports = PortRange::new(*host.ports.start(), *host.ports.end()).with_context(about)?;
    let spares = if settings.pool.counted { settings.pool.size } else { 0 };
    let capacity = host.capacity.saturating_sub(spares);
    let kinds = host.sliver_types.clone();
    let resources = HostResources::new(host.name.clone(), capacity, ports, host.ipv4, host.ipv6, kinds);
    Ok(HostSettings {
        resources: resources.with_context(about)?,
        public_name: host.public_name.clone(),
        location: host.location.as_ref().map(|location| Location {
            country: location.country.clone(),
            latitude: location.latitude,
            longitude: location.longitude,
        }),
        tunnel: host.tunnel,
    })
}

/// How a host is to be run, but for logins of registries.
pub(crate) fn host_config(settings: &Settings, host: &Host) -> HostConfig {
    HostConfig {
        instance: settings.testbed.instance.clone(),
        domain: domain(settings),
        // The configuration sees to it that nodes are either all real or all pretended.
        pretends: settings.sliver_types.iter().all(|kind| kind.runtime == RuntimeKind::Fake),
        docker: host.docker.clone(),
        registries: Vec::new(),
        ipv4: host.ipv4,
        ipv6: host.ipv6,
        ipv6_proxy: host.ipv6_proxy,
        denied: settings.network.denied.clone(),
        name_servers: settings.network.name_servers.clone(),
        emulator: settings.network.emulator,
        tunnel_port: settings.tunnels.port,
        install_limits: (settings.limits.install_download, settings.limits.install_unpacked),
        images: settings.images.clone(),
        pool: pool(settings),
    }
}

/// Logins of registries as an agent elsewhere is told them. One whose password cannot be read is left out, which the log says.
pub(super) fn registries(settings: &Settings) -> Vec<RegistryAccess> {
    let access = |login: &RegistryLogin| {
        let file = login.password_file.display();
        let read = std::fs::read_to_string(&login.password_file);
        let text =
            read.inspect_err(|error| tracing::error!(%file, %error, "no password for a registry")).ok()?;
        let password = text.trim_end_matches(['\r', '\n']).to_owned();
        Some(RegistryAccess { host: login.host.clone(), user: login.user.clone(), password })
    };
    settings.registries.iter().filter_map(access).collect()
}

/// What a host keeps ready before anybody wants it.
pub(super) fn pool(settings: &Settings) -> Option<PoolSettings> {
    let pool = &settings.pool;
    (pool.size > 0).then(|| PoolSettings {
        size: pool.size,
        runtime: pool.sliver_type.runtime,
        image: pool.image.clone(),
        limits: pool.sliver_type.limits,
        privileges: pool.sliver_type.privileges.clone(),
    })
}

fn lease(default: std::time::Duration, longest: std::time::Duration) -> anyhow::Result<Lease> {
    Ok(Lease { default: SignedDuration::try_from(default)?, longest: SignedDuration::try_from(longest)? })
}

/// What the AM API is told.
pub(super) fn am(settings: &Settings) -> anyhow::Result<AmSettings> {
    let urn = Urn::new(&settings.testbed.authority, "authority", "am").context("testbed.authority")?;
    let mut am = AmSettings::new(urn, settings.testbed.public_url.clone());
    am.extras = settings.testbed.about.clone();
    Ok(am)
}

/// What clients of the AM API may use.
pub(super) fn server_limits(settings: &Settings) -> ServerLimits {
    let limits = &settings.limits;
    let defaults = ServerLimits::default();
    let rate = f64::from(limits.requests_per_second);
    let body_bytes = usize::try_from(limits.request_size).unwrap_or(usize::MAX);
    ServerLimits {
        connections: limits.connections as usize,
        connections_per_address: limits.connections_per_client as usize,
        body: limits.request_time,
        body_bytes,
        all_bodies_bytes: defaults.all_bodies_bytes.max(body_bytes),
        anonymous_body_bytes: defaults.anonymous_body_bytes.min(body_bytes),
        rate,
        burst: rate * 4.0,
        ..defaults
    }
}

/// The domain of nodes: the testbed's name, if it is one.
fn domain(settings: &Settings) -> String {
    let name = &settings.testbed.name;
    if name.parse::<std::net::IpAddr>().is_ok() { "testyard".to_owned() } else { name.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_pool_is_off_unless_asked_for_and_takes_room_only_if_told_so() {
        let settings = |pool: &str| {
            let text = format!("[testbed]\nname = \"am.example.net\"\n[host]\ncapacity = 10\n[pool]\n{pool}");
            crate::config::parse(Path::new("testyard.toml"), &text).unwrap()
        };
        assert_eq!(super::pool(&settings("")), None);
        let one = settings("size = 3\nsliver_type = \"docker-container_100M\"\nimage = \"debian:12\"\n");
        let pool = super::pool(&one).unwrap();
        assert_eq!((pool.size, pool.limits.memory), (3, Some(100 << 20)));
        assert_eq!(pool.image.as_str(), "debian:12");
        let room = |pool: &str| super::controller(&settings(pool)).unwrap().hosts()[0].resources.capacity();
        assert_eq!(room("size = 3\n"), 10);
        assert_eq!(room("size = 3\ncounted = true\n"), 7);
    }

    #[test]
    fn texts_about_the_testbed_reach_the_am_api() {
        let text = "[testbed]\nname = \"am.example.net\"\n[testbed.about]\nf4f_testbed_homepage = \"https://example.net/\"\n";
        let settings = crate::config::parse(Path::new("testyard.toml"), text).unwrap();
        let extras = super::am(&settings).unwrap().extras;
        let extras: Vec<_> = extras.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(extras, [("f4f_testbed_homepage", "https://example.net/")]);
    }
}
