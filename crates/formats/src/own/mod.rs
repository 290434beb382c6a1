//! Testyard's own topology language, in JSON and YAML: everything that a [`Topology`] can say, short where people write
//! it by hand (`docs/reference/topology.md`; the schema is `docs/reference/topology.schema.json`).
//!
//! ```yaml
//! nodes:
//!   web: {image: "debian:12", ports: [80]}
//!   db:
//! links:
//!   - between: [web, db]
//!     rate: 10Mbit
//!     delay: 50ms
//!     from: {db: {loss: 1%}}
//! ```
//!
//! What is written reads again as the same topology, for every topology whose names hold together. Keys that are not
//! known are errors: a `dealy` that is ignored would be an experiment that measures something else.

mod endpoint;
pub(crate) mod impairment;
mod link;
mod node;
mod reference;
mod schedule;
mod schema;
mod write;

use testyard_model::diagnostic::Severity;
use testyard_model::route::Routing;
use testyard_model::topology::Topology;

pub use schema::schema;

use crate::import::{Import, Refused};
use crate::remarks::Remarks;
use crate::tree::fields::Fields;
use crate::tree::{Limits, Value, json, write as text, yaml};

/// The version of the language, which `testyard: 1` at the top names.
const VERSION: &str = "1";
const KEYS: [&str; 7] = ["testyard", "nodes", "links", "routing", "schedule", "environment", "attributes"];
const ROUTINGS: [(&str, Routing); 4] = [
    ("static", Routing::Static),
    ("none", Routing::None),
    ("manual", Routing::Manual),
    ("session", Routing::Session),
];

/// Reads a topology in JSON.
///
/// # Errors
/// [`Refused`], with places.
pub fn parse_json(source: &str) -> Result<Import, Refused> {
    read(&json::parse(source, &Limits::TOPOLOGY)?)
}

/// Reads a topology in YAML.
///
/// # Errors
/// [`Refused`], with places.
pub fn parse_yaml(source: &str) -> Result<Import, Refused> {
    read(&yaml::parse(source, &Limits::TOPOLOGY)?)
}

/// A topology in JSON.
#[must_use]
pub fn to_json(topology: &Topology) -> String {
    text::json(&write::topology(topology))
}

/// A topology in YAML.
#[must_use]
pub fn to_yaml(topology: &Topology) -> String {
    text::yaml(&write::topology(topology))
}

fn read(value: &Value) -> Result<Import, Refused> {
    let mut remarks = Remarks::default();
    let topology = topology(value, &mut remarks);
    let diagnostics = remarks.verdict()?;
    Ok(Import { topology, diagnostics, report: Vec::new() })
}

fn topology(value: &Value, remarks: &mut Remarks) -> Topology {
    let mut topology = Topology::default();
    let Some(fields) = Fields::read(value, "the topology", &KEYS, Severity::Error, remarks) else {
        return topology;
    };
    if let Some(version) = fields.get("testyard").filter(|value| value.as_text() != Some(VERSION)) {
        remarks.error(version.at, "another version of the language").suggest("this one reads testyard: 1");
    }
    topology.routing = match fields.get("routing") {
        None => Routing::Static,
        Some(value) => word(value, "routing", &ROUTINGS, remarks).unwrap_or_default(),
    };
    let mut names = reference::Names::default();
    let later = node::all(&fields, &mut topology, &mut names, remarks);
    link::all(&fields, &mut topology, &mut names, remarks);
    for (index, routes) in later {
        topology.nodes[index].routes = reference::routes(routes, &names, remarks);
    }
    topology.schedule = schedule::read(&fields, &topology, &names, remarks);
    topology.environment = node::pairs(fields.get("environment"), "environment", remarks)
        .into_iter()
        .map(|(name, value)| testyard_model::topology::Variable { name, value })
        .collect();
    topology.attributes = node::attributes(&fields, remarks);
    topology
}

/// One of some words.
fn word<T: Copy>(value: &Value, what: &str, words: &[(&str, T)], remarks: &mut Remarks) -> Option<T> {
    let given = crate::tree::fields::text(value, what, remarks)?;
    let known = words.iter().find(|(word, _)| *word == given);
    if known.is_none() {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("{what} is {:?}", crate::remarks::short(given));
        remarks.error(value.at, message).did_you_mean(
            given,
            all.iter().copied(),
            Some(format!("it can be {}", all.join(", "))),
        );
    }
    known.map(|(_, meaning)| *meaning)
}
