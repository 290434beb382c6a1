//! Kinds of nodes for tests that do not care.

use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind, SliverType};

/// Nodes that are pretended, without limits or ports.
///
/// # Panics
/// If it is no name of a kind.
#[must_use]
pub fn plain(name: &str) -> SliverType {
    SliverType {
        name: name.parse().expect("a kind's name"),
        description: String::new(),
        runtime: RuntimeKind::Fake,
        default_image: "debian:12".parse().expect("an image's name"),
        images: Vec::new(),
        limits: Limits::default(),
        privileges: Privileges::default(),
        ports: Vec::new(),
        publish_exposed: false,
        sudo: true,
    }
}
