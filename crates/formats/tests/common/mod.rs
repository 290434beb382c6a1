//! What the suites share: a testbed, and what became of its nodes.
#![allow(dead_code, reason = "each suite uses its own part")]

pub(crate) mod topologies;

use std::path::PathBuf;
use std::process::Command;

use jiff::Timestamp;
use testyard_formats::rspec::{Context, Endpoint, Forward, ManifestInfo, ManifestNode, Request};
use testyard_model::account::{Account, PublicKey};
use testyard_xml::{Document, Limits, parse};

pub(crate) const US: &str = "urn:publicid:IDN+am.example.net+authority+am";
pub(crate) const OPEN: &str = r#"<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">"#;
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@lab";

pub(crate) fn context() -> Context {
    Context::new(US.parse().unwrap())
}

/// A request with this inside its root.
pub(crate) fn request(inside: &str) -> String {
    format!("{OPEN}\n{inside}\n</rspec>")
}

/// A node of ours with this inside.
pub(crate) fn node(inside: &str) -> String {
    request(&format!("<node client_id=\"a\" component_manager_id=\"{US}\">\n{inside}\n</node>"))
}

pub(crate) fn info(context: &Context) -> ManifestInfo<'_> {
    let expires: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    ManifestInfo {
        context,
        links: &[],
        expires: Some(expires),
        generated: "2026-12-01T12:00:00.5Z".parse().unwrap(),
    }
}

/// A node as it is when it has only been allocated.
pub(crate) fn allocated(document: usize, client_id: &str, number: usize) -> ManifestNode {
    ManifestNode {
        document,
        client_id: client_id.parse().unwrap(),
        sliver: format!("urn:publicid:IDN+am.example.net+sliver+{number:04}").parse().unwrap(),
        component: "urn:publicid:IDN+am.example.net+node+local".parse().unwrap(),
        sliver_type: "docker-container".parse().unwrap(),
        image: "debian:12".parse().unwrap(),
        host_name: None,
        ssh: None,
        ipv4: None,
        ipv6: None,
        accounts: Vec::new(),
        host_keys: Vec::new(),
        forwards: Vec::new(),
        log_folders: std::collections::BTreeMap::new(),
        interfaces: Vec::new(),
    }
}

/// A node as it is when it is ready.
pub(crate) fn ready(document: usize, client_id: &str, number: usize) -> ManifestNode {
    let account = |name: &str| Account {
        user: format!("urn:publicid:IDN+example.org+user+{name}").parse().unwrap(),
        login: name.parse().unwrap(),
        keys: PublicKey::parse_all(KEY).unwrap(),
        sudo: true,
    };
    let endpoint = |port| Endpoint { hostname: "am.example.net".to_owned(), port };
    ManifestNode {
        host_name: Some(format!("node{number}.demo.am.example.net")),
        ssh: Some(endpoint(12000 + u16::try_from(number).unwrap())),
        ipv4: Some([10, 200, 0, 2].into()),
        ipv6: Some("2001:db8::2".parse().unwrap()),
        accounts: vec![account("ben"), account("ann")],
        host_keys: vec![KEY.to_owned()],
        forwards: vec![Forward { port: "80/tcp".parse().unwrap(), endpoint: endpoint(13000) }],
        ..allocated(document, client_id, number)
    }
}

/// All nodes of a request, ready.
pub(crate) fn all_ready(document: usize, request: &Request) -> Vec<ManifestNode> {
    request
        .topology
        .nodes
        .iter()
        .zip(1..)
        .map(|(node, number)| ready(document, node.client_id.as_str(), number))
        .collect()
}

pub(crate) fn tree(text: &str) -> Document<'_> {
    parse(text, &Limits::RSPEC).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A folder of the data that the projects share, if it is here.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder);
    path.is_dir().then_some(path)
}

pub(crate) fn not_run(suite: &str) {
    eprintln!("NOT RUN: {suite}: ../shared is missing");
}

/// Validates documents against a schema of `../shared/schemas/rspec-3`.
pub(crate) fn validate(schemas: &std::path::Path, schema: &str, documents: &[(String, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = documents
        .iter()
        .enumerate()
        .map(|(number, (_, text))| {
            let path = folder.path().join(format!("{number}.xml"));
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let output = Command::new("xmllint")
        .args(["--nonet", "--noout", "--schema"])
        .arg(schemas.join(schema))
        .args(&files)
        .output()
        .expect("xmllint is needed: apt install libxml2-utils");
    let said = String::from_utf8_lossy(&output.stderr);
    let names: Vec<&str> = documents.iter().map(|(name, _)| name.as_str()).collect();
    assert!(output.status.success(), "{names:?}\n{said}");
    assert_eq!(said.matches("validates").count(), documents.len(), "{said}");
}
pub(crate) mod ns;
