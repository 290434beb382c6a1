//! Advertisements: golden, and what clients look for.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::{US, not_run, shared, tree, validate};
use testyard_formats::rspec::{AdvertisedHost, Advertisement, Location, OPSTATE, RSPEC, advertisement};
use testyard_model::sliver_type::{Limits, RuntimeKind, SliverType};
use testyard_model::urn::Urn;
use testyard_testkit::kinds::plain;

fn kind(name: &str, memory: Option<u64>) -> SliverType {
    SliverType {
        description: "a container <&> more".to_owned(),
        runtime: RuntimeKind::Docker,
        images: vec!["debian:12".parse().unwrap(), "lab/tool:1".parse().unwrap()],
        limits: Limits { memory, millicores: memory.map(|_| 500), ..Limits::default() },
        ..plain(name)
    }
}

fn sample() -> String {
    let us: Urn = US.parse().unwrap();
    let (plain, small) = (kind("docker-container", None), kind("docker-container_100M", Some(100 << 20)));
    let host = |name: &str, free_slots, location, sliver_types| AdvertisedHost {
        component: format!("urn:publicid:IDN+am.example.net+node+{name}").parse().unwrap(),
        name: name.to_owned(),
        available: free_slots > 0,
        free_slots,
        location,
        sliver_types,
    };
    let location = Location { country: "BE".to_owned(), latitude: 51.036_145, longitude: 3.734_761 };
    advertisement(&Advertisement {
        component_manager: &us,
        generated: "2026-12-01T12:00:00Z".parse().unwrap(),
        hosts: vec![
            host("local", 20, Some(location), vec![&plain, &small]),
            host("full", 0, None, vec![&plain]),
        ],
    })
}

#[test]
fn golden() {
    insta::assert_snapshot!(sample());
}

#[test]
fn what_clients_read() {
    let text = sample();
    let tree = tree(&text);
    let root = tree.root_element();
    assert_eq!(root.attribute("type"), Some("advertisement"));
    let schemas = root.attribute(("http://www.w3.org/2001/XMLSchema-instance", "schemaLocation")).unwrap();
    assert!(schemas.contains("http://www.geni.net/resources/rspec/3/ad.xsd"));
    let nodes: Vec<_> = root.children().filter(|n| n.has_tag_name((RSPEC, "node"))).collect();
    let now: Vec<_> = nodes
        .iter()
        .map(|n| {
            n.children().find(|c| c.has_tag_name((RSPEC, "available"))).unwrap().attribute("now").unwrap()
        })
        .collect();
    assert_eq!(now, ["true", "false"]);
    let opstate = root.children().find(|n| n.has_tag_name((OPSTATE, "rspec_opstate"))).unwrap();
    let names = |name| -> Vec<_> {
        let all = opstate.children().filter(move |n| n.has_tag_name((OPSTATE, name)));
        all.map(|n| n.attribute("name").unwrap()).collect()
    };
    assert_eq!(names("sliver_type"), ["docker-container", "docker-container_100M"]);
    let states = names("state");
    assert!(states.contains(&opstate.attribute("start").unwrap()));
    for next in opstate.descendants().filter_map(|n| n.attribute("next")) {
        assert!(states.contains(&next), "{next}");
    }
}

#[test]
fn no_hosts() {
    let us: Urn = US.parse().unwrap();
    let generated = jiff::Timestamp::UNIX_EPOCH;
    let text = advertisement(&Advertisement { component_manager: &us, generated, hosts: Vec::new() });
    assert!(!tree(&text).root_element().children().any(|child| child.is_element()));
}

#[test]
fn validates() {
    let Some(schemas) = shared("schemas/rspec-3") else { return not_run("advertisement schema") };
    validate(&schemas, "ad.xsd", &[("sample".to_owned(), sample())]);
}
