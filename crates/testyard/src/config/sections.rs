//! The rules of each section: what a key may say, and what holds where it says nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use testyard_agent::ImageSettings;
use testyard_fabric::Emulator;
use testyard_model::image::ImageName;
use testyard_model::name::SliverTypeName;
use testyard_model::sliver_type::SliverType;
use testyard_runtime_docker::RegistryLogin;
use testyard_trust::CryptoPolicy;

use super::hosts::{agents, check_networks, hosts, tunnels};
use super::reader::Section;
use super::settings::{
    DEFAULT_IMAGE, Leases, Limits, Location, Metrics, Network, Paths, Pool, Settings, Testbed, Tls,
};
use super::sliver_types::sliver_types;
use super::value::{Cores, Size, Span};

/// Reads all sections. `None`, or mistakes noted in the sections, mean that the file is refused.
pub(super) fn read(root: &Section<'_>, folder: &Path) -> Option<Settings> {
    let testbed = testbed(&root.section("testbed"));
    let paths = paths(&root.section("paths"), folder);
    let tls = tls(&root.section("tls"), folder);
    let trust = trust(&root.section("trust"));
    let leases = leases(&root.section("leases"));
    let limits = limits(&root.section("limits"));
    let network = network(&root.section("network"));
    let (default_image, image_names, images) = images(&root.section("images"));
    let registries = registries(root, folder);
    let sliver_types = sliver_types(root, &default_image);
    let tunnels = tunnels(&root.section("tunnels"), testbed.as_ref());
    let hosts = hosts(root, testbed.as_ref(), &network, tunnels, &sliver_types);
    let agents = agents(&root.section("agents"), testbed.as_ref());
    let metrics = metrics(&root.section("metrics"));
    let smallest = hosts.iter().map(|host| host.capacity).min().unwrap_or(u32::MAX);
    let pool = pool(&root.section("pool"), &sliver_types, smallest);
    root.finish();
    Some(Settings {
        testbed: testbed?,
        paths,
        tls,
        trust,
        leases,
        limits,
        network,
        tunnels,
        hosts,
        agents: agents?,
        metrics,
        image_names,
        images,
        registries,
        sliver_types,
        pool: pool?,
    })
}

fn testbed(section: &Section<'_>) -> Option<Testbed> {
    let name: Option<String> = section.required("name");
    if let Some(name) = name.as_deref().filter(|name| !is_public_name(name)) {
        section.refuse("name", format!("{name:?} is neither a DNS name nor an address"));
    }
    let authority = section.parsed("authority").or_else(|| name.as_deref()?.parse().ok());
    let instance = section.parsed("instance").unwrap_or_else(|| "main".parse().expect("an instance name"));
    let bind = section.list("bind").unwrap_or_else(|| vec!["[::]:8001".parse().expect("an address")]);
    if bind.is_empty() {
        section.refuse("bind", "name at least one address");
    }
    let port = bind.first().map_or(8001, SocketAddr::port);
    let public_url = section.get("public_url").or_else(|| Some(url(name.as_deref()?, port)));
    if let Some(url) = public_url.as_deref().filter(|url| !url.starts_with("https://") || url.len() < 10) {
        section.refuse("public_url", format!("{url:?} does not begin with https://"));
    }
    let location = location(section);
    let about = section.texts("about", "f4f_");
    section.finish();
    if authority.is_none() && name.is_some() {
        section.refuse("authority", "set this: the name cannot be the authority of URNs");
    }
    Some(Testbed {
        name: name?,
        authority: authority?,
        instance,
        bind,
        public_url: public_url?,
        location,
        about,
    })
}

fn metrics(section: &Section<'_>) -> Metrics {
    let bind = section.list("bind").unwrap_or_default();
    section.finish();
    Metrics { bind }
}

pub(super) fn location(section: &Section<'_>) -> Option<Location> {
    let country: Option<String> = section.get("country");
    let latitude: Option<f64> = section.get("latitude");
    let longitude: Option<f64> = section.get("longitude");
    let Some(country) = country else {
        if latitude.or(longitude).is_some() {
            section.refuse("country", "a location needs a country, like \"BE\"");
        }
        return None;
    };
    if country.len() != 2 || !country.bytes().all(|b| b.is_ascii_uppercase()) {
        section.refuse(
            "country",
            format!("{country:?} is not a country's code of two capital letters, like \"BE\""),
        );
    }
    let within = |key, value: Option<f64>, limit: f64| match value {
        Some(value) if value.abs() <= limit => value,
        Some(value) => {
            section.refuse(key, format!("{value} is not between -{limit} and {limit} degrees"));
            0.0
        }
        None => {
            if !section.has(key) {
                section.refuse(key, "a location needs this too");
            }
            0.0
        }
    };
    Some(Location {
        country,
        latitude: within("latitude", latitude, 90.0),
        longitude: within("longitude", longitude, 180.0),
    })
}

fn paths(section: &Section<'_>, folder: &Path) -> Paths {
    let path = |key, default: &str| folder.join(section.get::<String>(key).as_deref().unwrap_or(default));
    let paths = Paths {
        state: path("state", "/var/lib/testyard"),
        run: path("run", "/run/testyard"),
        trusted: path("trusted", "trusted"),
    };
    section.finish();
    paths
}

fn tls(section: &Section<'_>, folder: &Path) -> Tls {
    let path = |key, default: &str| folder.join(section.get::<String>(key).as_deref().unwrap_or(default));
    let tls = Tls {
        certificate: path("certificate", "server/certificate.pem"),
        key: path("key", "server/key.pem"),
    };
    section.finish();
    tls
}

fn trust(section: &Section<'_>) -> CryptoPolicy {
    let base = match section.get::<String>("policy").as_deref() {
        None | Some("modern") => CryptoPolicy::modern(),
        Some("legacy") => CryptoPolicy::legacy(),
        Some(other) => {
            section.refuse("policy", format!("{other:?} is neither \"modern\" nor \"legacy\""));
            CryptoPolicy::modern()
        }
    };
    let policy = CryptoPolicy {
        min_rsa_bits: section.get("min_rsa_bits").unwrap_or(base.min_rsa_bits),
        max_rsa_bits: base.max_rsa_bits,
        allow_sha1_certificates: section.get("sha1_certificates").unwrap_or(base.allow_sha1_certificates),
        allow_sha1_signatures: section.get("sha1_credentials").unwrap_or(base.allow_sha1_signatures),
        allow_non_ca_anchors: section.get("roots_without_ca_flag").unwrap_or(base.allow_non_ca_anchors),
        allow_anchors_without_urn: section.get("roots_without_urn").unwrap_or(base.allow_anchors_without_urn),
    };
    let range = testyard_trust::policy::LEAST_RSA_BITS..=testyard_trust::policy::MOST_RSA_BITS;
    if !range.contains(&policy.min_rsa_bits) {
        let (least, most) = (range.start(), range.end());
        section.refuse("min_rsa_bits", format!("{} is not between {least} and {most}", policy.min_rsa_bits));
    }
    section.finish();
    policy
}

fn leases(section: &Section<'_>) -> Leases {
    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;
    let span = |key, default| section.parsed::<Span>(key).map_or(Duration::from_secs(default), |span| span.0);
    let leases = Leases {
        allocated: span("allocated", 10 * MINUTE),
        allocated_max: span("allocated_max", 120 * MINUTE),
        provisioned: span("provisioned", 7 * DAY),
        provisioned_max: span("provisioned_max", 30 * DAY),
    };
    if leases.allocated.is_zero() || leases.allocated > leases.allocated_max {
        section.refuse("allocated", "must be above 0 and at most leases.allocated_max");
    }
    if leases.provisioned.is_zero() || leases.provisioned > leases.provisioned_max {
        section.refuse("provisioned", "must be above 0 and at most leases.provisioned_max");
    }
    section.finish();
    leases
}

fn limits(section: &Section<'_>) -> Limits {
    let number = |key, default| {
        let number: u32 = section.get(key).unwrap_or(default);
        if number == 0 {
            section.refuse(key, "0 would refuse everybody");
        }
        number
    };
    let size = |key, default| section.parsed::<Size>(key).map_or(default, |size| size.0);
    let limits = Limits {
        request_size: size("request_size", 32 << 20),
        request_time: section.parsed::<Span>("request_time").map_or(Duration::from_secs(60), |span| span.0),
        requests_per_second: number("requests_per_second", 100),
        connections: number("connections", 1024),
        connections_per_client: number("connections_per_client", 128),
        nodes_per_slice: number("nodes_per_slice", 1000),
        slices_per_user: number("slices_per_user", 100),
        users_per_node: number("users_per_node", 200),
        install_download: size("install_download", 1 << 30),
        install_unpacked: size("install_unpacked", 4 << 30),
    };
    if !(64 << 10..=256 << 20).contains(&limits.request_size) {
        section.refuse("request_size", "must be between 64K and 256M");
    }
    if limits.request_time.is_zero() {
        section.refuse("request_time", "0 would refuse everybody");
    }
    section.finish();
    limits
}

/// Link-local addresses, and the one that a cloud uses with IPv6.
const METADATA: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::254/128"];

fn network(section: &Section<'_>) -> Network {
    let network = Network {
        ipv4: section.parsed("ipv4").unwrap_or_else(|| "10.77.0.0/16".parse().expect("a network")),
        ipv6: section.parsed("ipv6"),
        ipv6_proxy: section.get("ipv6_proxy").unwrap_or(false),
        emulator: emulator(section),
        name_servers: section.list("name_servers").unwrap_or_default(),
        denied: section.list("denied").unwrap_or_else(|| {
            // Where clouds give a machine its credentials.
            METADATA.iter().map(|network| network.parse().expect("a network")).collect()
        }),
    };
    check_networks(section, Some(network.ipv4), network.ipv6);
    if network.ipv6_proxy && network.ipv6.is_none() {
        section.refuse("ipv6_proxy", "needs network.ipv6");
    }
    section.finish();
    network
}

fn emulator(section: &Section<'_>) -> Emulator {
    match section.get::<String>("emulator").as_deref() {
        None | Some("auto") => Emulator::Auto,
        Some("wire") => Emulator::Wire,
        Some("netem") => Emulator::Netem,
        Some(other) => {
            section.refuse("emulator", format!("{other:?} is none: it can be auto, wire or netem"));
            Emulator::Auto
        }
    }
}

/// The default, what stands for other systems' images, and what users may bring.
fn images(section: &Section<'_>) -> (ImageName, BTreeMap<String, ImageName>, ImageSettings) {
    let default = section.parsed("default").unwrap_or_else(|| DEFAULT_IMAGE.parse().expect("an image name"));
    let mut names = BTreeMap::new();
    for (name, image) in section.texts("names", "") {
        match image.parse::<ImageName>() {
            Ok(image) => drop(names.insert(name, image)),
            Err(error) => section.refuse("names", format!("{name}: {error}")),
        }
    }
    let urls = image_urls(&section.section("urls"));
    section.finish();
    (default, names, urls)
}

/// The least memory that the engine lets a step of a build run with.
const LEAST_MEMORY: u64 = 16 << 20;

fn image_urls(section: &Section<'_>) -> ImageSettings {
    let default = ImageSettings::default();
    let size = |key, default| section.parsed::<Size>(key).map_or(default, |size| size.0);
    let number = |key, default| {
        let number = section.get(key).unwrap_or(default);
        if number == 0 {
            section.refuse(key, "0 would let no image be made: write allow = false");
        }
        number
    };
    let settings = ImageSettings {
        urls: section.get("allow").unwrap_or(default.urls),
        allowed: section.list("networks").unwrap_or_default(),
        download: size("download", default.download),
        unpacked: size("unpacked", default.unpacked),
        seconds: section.parsed::<Span>("time").map_or(default.seconds, |span| span.0.as_secs()),
        memory: size("memory", default.memory),
        millicores: section.get::<Cores>("cpus").map_or(default.millicores, |cores| cores.thousandths),
        pids: number("pids", default.pids),
        disk: size("disk", default.disk),
        at_once: number("at_once", default.at_once),
        per_slice: number("per_slice", default.per_slice),
    };
    // The engine's client takes no more.
    if !(LEAST_MEMORY..=i32::MAX as u64 + 1).contains(&settings.memory) {
        section.refuse("memory", "must be between 16M and 2G");
    }
    if settings.seconds == 0 {
        section.refuse("time", "0 would let no image be made: write allow = false");
    }
    section.finish();
    settings
}

fn registries(root: &Section<'_>, folder: &Path) -> Vec<RegistryLogin> {
    let mut registries: Vec<RegistryLogin> = Vec::new();
    for section in &root.sections("registry") {
        let texts: [Option<String>; 3] = ["host", "user", "password_file"].map(|key| section.required(key));
        section.finish();
        let [Some(host), Some(user), Some(file)] = texts else { continue };
        if host.is_empty() || host.contains("://") || host.contains('/') {
            section.refuse(
                "host",
                "write it as image names do, like \"registry.example.net:5000\" or \"docker.io\"",
            );
        }
        if registries.iter().any(|other| other.host == host) {
            section.refuse("host", format!("there are two logins for {host}"));
        }
        registries.push(RegistryLogin { host, user, password_file: folder.join(file) });
    }
    registries
}

/// `None` where there is no sliver type, which is a mistake of its own.
fn pool(section: &Section<'_>, types: &[SliverType], capacity: u32) -> Option<Pool> {
    let name: Option<SliverTypeName> = section.parsed("sliver_type");
    let sliver_type = match &name {
        None => types.first(),
        Some(name) => types.iter().find(|sliver_type| sliver_type.name == *name),
    };
    if let Some(name) = name.filter(|_| sliver_type.is_none()) {
        section.refuse("sliver_type", format!("there is no sliver type {name}"));
    }
    let sliver_type = sliver_type.or(types.first());
    let size = section.get("size").unwrap_or(0);
    let image: Option<ImageName> = section.parsed("image");
    let image = image.or_else(|| sliver_type?.default_image.name().cloned()).unwrap_or_else(|| {
        // Images of URLs are a slice's own.
        if size > 0 {
            section.refuse("size", "the sliver type's image is a URL: name an image for the pool");
        }
        DEFAULT_IMAGE.parse().expect("an image name")
    });
    let pool = sliver_type.map(|sliver_type| Pool {
        size,
        image,
        sliver_type: sliver_type.clone(),
        counted: section.get("counted").unwrap_or(false),
    });
    if let Some(pool) = pool.as_ref().filter(|pool| pool.counted && pool.size >= capacity) {
        let size = pool.size;
        section.refuse("size", format!("{size} of a host.capacity of {capacity} leaves no room for slices"));
    }
    // The engine writes a node's own name into /etc/hosts of such a root, once, when it is made.
    if pool.as_ref().is_some_and(|pool| pool.size > 0 && pool.sliver_type.limits.read_only) {
        let key = if section.has("sliver_type") { "sliver_type" } else { "size" };
        section.refuse(key, "nodes with read_only cannot be kept ready: they could not be told their names");
    }
    section.finish();
    pool
}

/// Whether clients could reach a server under this name.
fn is_public_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || (name.len() <= 253
            && name.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }))
}

/// The URL of a server with this name on this port.
#[must_use]
pub(super) fn url(name: &str, port: u16) -> String {
    let host = url_host(name);
    if port == 443 { format!("https://{host}/") } else { format!("https://{host}:{port}/") }
}

/// A name or an address as it stands before a port.
pub(super) fn url_host(name: &str) -> String {
    if name.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() }
}
