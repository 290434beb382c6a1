//! Advertisements: what there is, and what is free of it.

use jiff::Timestamp;
use testyard_model::name::SliverTypeName;
use testyard_model::sliver_type::SliverType;
use testyard_model::urn::Urn;

use super::markup::Element;
use super::namespace::{EMULAB, OPSTATE, RSPEC, SCHEMA_AD, TESTYARD, XSI};
use super::opstate::opstate;

/// What a testbed advertises.
#[derive(Clone, Debug)]
pub struct Advertisement<'a> {
    /// The testbed.
    pub component_manager: &'a Urn,
    /// Now.
    pub generated: Timestamp,
    /// One node of the advertisement each. Who asked for available ones only gets only those.
    pub hosts: Vec<AdvertisedHost<'a>>,
}

/// A host as advertised.
#[derive(Clone, Debug)]
pub struct AdvertisedHost<'a> {
    /// Its URN (`…+node+<name>`).
    pub component: Urn,
    /// Its name.
    pub name: String,
    /// Whether it takes nodes now: it is up, and has room.
    pub available: bool,
    /// How many more nodes it takes.
    pub free_slots: u32,
    /// Where it stands.
    pub location: Option<Location>,
    /// What it runs.
    pub sliver_types: Vec<&'a SliverType>,
}

/// A place on earth.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Two letters (ISO 3166).
    pub country: String,
    /// Degrees, north is positive.
    pub latitude: f64,
    /// Degrees, east is positive.
    pub longitude: f64,
}

/// The hardware type of every host: docker-am's, which clients know.
const HARDWARE_TYPE: &str = "docker_cluster";

/// The advertisement as RSpec.
#[must_use]
pub fn advertisement(advertisement: &Advertisement<'_>) -> String {
    let mut names: Vec<&SliverTypeName> = Vec::new();
    for name in
        advertisement.hosts.iter().flat_map(|host| &host.sliver_types).map(|sliver_type| &sliver_type.name)
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut content = String::from("\n");
    if !names.is_empty() {
        content.push_str(&format!("  {}\n", opstate(advertisement.component_manager, &names)));
    }
    for host in &advertisement.hosts {
        content.push_str(&format!("  {}\n", node(host, advertisement.component_manager)));
    }
    let declarations = format!(
        "\n    xmlns=\"{RSPEC}\"\n    xmlns:xsi=\"{XSI}\"\n    xmlns:emulab=\"{EMULAB}\"\n    xmlns:testyard=\"{TESTYARD}\"\n   "
    );
    Element::new("", "rspec", &declarations)
        .attribute("xsi:schemaLocation", format!("{RSPEC} {SCHEMA_AD} {OPSTATE} {OPSTATE}/ad.xsd"))
        .attribute("type", "advertisement")
        .attribute("generated", testyard_model::time::format(advertisement.generated))
        .attribute("generated_by", "testyard")
        .with(&content)
}

fn node(host: &AdvertisedHost<'_>, component_manager: &Urn) -> String {
    let new = |name| Element::new("", name, "");
    let mut children = vec![new("available").attribute("now", host.available).empty()];
    if let Some(location) = &host.location {
        let place = new("location").attribute("country", &location.country);
        children.push(
            place.attribute("latitude", location.latitude).attribute("longitude", location.longitude).empty(),
        );
    }
    let slots = Element::new("emulab:", "node_type", "").attribute("type_slots", host.free_slots).empty();
    children.push(new("hardware_type").attribute("name", HARDWARE_TYPE).with(&slots));
    children.extend(host.sliver_types.iter().map(|kind| sliver_type(kind)));
    let content: String = children.iter().map(|child| format!("\n    {child}")).collect();
    new("node")
        .attribute("component_manager_id", component_manager)
        .attribute("component_id", &host.component)
        .attribute("component_name", &host.name)
        .attribute("exclusive", false)
        .with(&format!("{content}\n  "))
}

fn sliver_type(kind: &SliverType) -> String {
    let image = |name: &str, description: &str| {
        let image = Element::new("", "disk_image", "").attribute("name", name).attribute("os", "Linux");
        image.attribute("description", description)
    };
    let mut content = String::new();
    if !kind.description.is_empty() {
        let description = Element::new("testyard:", "description", "");
        content.push_str(&format!(
            "\n      {}",
            description.with(&testyard_xml::escape_text(&kind.description))
        ));
    }
    let limits = [
        ("memory", kind.limits.memory),
        ("millicores", kind.limits.millicores.map(u64::from)),
        ("pids", kind.limits.pids.map(u64::from)),
    ];
    if limits.iter().any(|(_, limit)| limit.is_some()) {
        let mut element = Element::new("testyard:", "limits", "");
        for (name, limit) in limits {
            if let Some(limit) = limit {
                element = element.attribute(name, limit);
            }
        }
        content.push_str(&format!("\n      {}", element.empty()));
    }
    let default = image(kind.default_image.as_str(), "default").attribute("default", true).empty();
    content.push_str(&format!("\n      {default}"));
    for name in kind.images.iter().filter(|name| Some(*name) != kind.default_image.name()) {
        content.push_str(&format!("\n      {}", image(name.as_str(), name.as_str()).empty()));
    }
    Element::new("", "sliver_type", "").attribute("name", &kind.name).with(&format!("{content}\n    "))
}
