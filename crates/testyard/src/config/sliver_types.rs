//! `[[sliver_type]]`: the kinds of nodes, and those that are there where the configuration names none.

use testyard_model::image::ImageName;
use testyard_model::name::SliverTypeName;
use testyard_model::sliver_type::{Limits, Port, Privileges, RuntimeKind, SliverType};

use super::reader::Section;
use super::value::{Cores, Size};

/// How many processes and threads a node may have, unless its type says otherwise.
const PIDS: u32 = 4096;

/// What the guest, its SSH server and a few sessions take.
const LEAST_PIDS: u32 = 32;

/// All kinds, the default one first. Mistakes are told to the sections.
pub(super) fn sliver_types(root: &Section<'_>, default_image: &ImageName) -> Vec<SliverType> {
    let sections = root.sections("sliver_type");
    if sections.is_empty() {
        return default_sliver_types(default_image);
    }
    let mut types: Vec<SliverType> = Vec::with_capacity(sections.len());
    for section in &sections {
        let Some(sliver_type) = sliver_type(section, default_image) else { continue };
        if types.iter().any(|other| other.name == sliver_type.name) {
            section.refuse("name", format!("there are two sliver types {}", sliver_type.name));
        }
        if types.first().is_some_and(|first| first.runtime != sliver_type.runtime) {
            section.refuse(
                "runtime",
                "nodes are either all real or all \"fake\": pretended ones have no network",
            );
        }
        types.push(sliver_type);
    }
    types
}

fn sliver_type(section: &Section<'_>, default_image: &ImageName) -> Option<SliverType> {
    let name: Option<SliverTypeName> = section.required("name");
    let sliver_type = SliverType {
        description: section.get("description").unwrap_or_default(),
        runtime: match section.get::<String>("runtime").as_deref() {
            None | Some("docker") => RuntimeKind::Docker,
            Some("fake") => RuntimeKind::Fake,
            Some(other) => {
                section.refuse("runtime", format!("{other:?} is neither \"docker\" nor \"fake\""));
                RuntimeKind::Docker
            }
        },
        default_image: section.parsed("image").unwrap_or_else(|| default_image.clone().into()),
        images: section.list("images").unwrap_or_default(),
        limits: Limits {
            memory: section.parsed::<Size>("memory").map(|size| size.0),
            millicores: section.get::<Cores>("cpus").map(|cores| cores.thousandths),
            // Without a bound one node could take every process number that the machine has.
            pids: section.get("pids").or(Some(PIDS)).filter(|pids| *pids > 0),
            disk: section.parsed::<Size>("disk").map(|size| size.0),
            read_only: section.get("read_only").unwrap_or(false),
        },
        privileges: Privileges {
            capabilities: section.list("capabilities").unwrap_or_default(),
            devices: section.list("devices").unwrap_or_default(),
        },
        ports: section.list::<Port>("ports").unwrap_or_default(),
        publish_exposed: section.get("publish_exposed").unwrap_or(false),
        sudo: section.get("sudo").unwrap_or(true),
        name: match name {
            Some(name) => name,
            None => {
                section.finish();
                return None;
            }
        },
    };
    if sliver_type.limits.disk.is_some_and(|disk| disk < 1 << 20) {
        section.refuse("disk", "a node needs at least 1M to keep its accounts and logs");
    }
    if sliver_type.limits.memory.is_some_and(|memory| memory < 6 << 20) {
        section.refuse("memory", "the engine needs at least 6M for a node");
    }
    if sliver_type.limits.pids.is_some_and(|pids| pids < LEAST_PIDS) {
        let text = format!(
            "a node needs at least {LEAST_PIDS} for its guest and its users' sessions; 0 is no limit"
        );
        section.refuse("pids", text);
    }
    section.finish();
    Some(sliver_type)
}

/// The kinds of nodes that docker-am offers, which requests in the wild name.
fn default_sliver_types(image: &ImageName) -> Vec<SliverType> {
    let kind = |name: &str, description: &str, memory, privileges| SliverType {
        name: name.parse().expect("a sliver type's name"),
        description: description.to_owned(),
        runtime: RuntimeKind::Docker,
        default_image: image.clone().into(),
        images: Vec::new(),
        limits: Limits { memory, pids: Some(PIDS), ..Limits::default() },
        privileges,
        ports: Vec::new(),
        publish_exposed: false,
        sudo: true,
    };
    let tunnel = Privileges {
        capabilities: vec!["NET_ADMIN".parse().expect("a capability")],
        devices: vec!["/dev/net/tun".parse().expect("a device")],
    };
    vec![
        kind("docker-container", "a container", None, Privileges::default()),
        kind(
            "docker-container_100M",
            "a container with 100 MiB of memory",
            Some(100 << 20),
            Privileges::default(),
        ),
        kind("docker-container-with-tunnel", "a container that can make TUN and TAP devices", None, tunnel),
    ]
}
