//! Manifests: the request's own text, with what became of our nodes spliced in.
//!
//! What a manifest adds and the request already has (a request made of an old manifest: logins, host names, log
//! files) is replaced. Everything else stays byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use testyard_model::account::Account;
use testyard_model::image::ImageSource;
use testyard_model::mac::Mac;
use testyard_model::name::{ClientId, SliverTypeName};
use testyard_model::service::ExecuteFiles;
use testyard_model::sliver_type::Port;
use testyard_model::urn::{SliverUrn, Urn};
use testyard_xml::{Edits, Node as Xml, attribute, escape_text, prefix_of};

use super::context::Context;
use super::document::RequestDocument;
use super::element::{boolean, core_children, is_core, word};
use super::interfaces;
use super::markup::{Element, Prefix, indented};
use super::merge::{Merge, Prefixes};
use super::namespace::{DOCKER_AM, TESTYARD, USER};
use super::request::census;
use super::services::executes;

/// What a manifest says beside its nodes.
#[derive(Clone, Copy, Debug)]
pub struct ManifestInfo<'a> {
    /// The same as for [`parse_request`](super::parse_request): it says which nodes are ours.
    pub context: &'a Context,
    /// The links of the nodes; those that are not listed stay as the request has them.
    pub links: &'a [ManifestLink],
    /// When the slivers end.
    pub expires: Option<Timestamp>,
    /// Now.
    pub generated: Timestamp,
}

/// What became of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestNode {
    /// Which of the documents asked for it, from 0.
    pub document: usize,
    /// Its name there.
    pub client_id: ClientId,
    /// Its sliver.
    pub sliver: SliverUrn,
    /// The host that it is on.
    pub component: Urn,
    /// Its kind, written where the request left it open.
    pub sliver_type: SliverTypeName,
    /// Its image, written where the request left the sliver type open.
    pub image: ImageSource,
    /// Its name in the network (`host@name`), if it has one by now.
    pub host_name: Option<String>,
    /// Where its SSH server is reached, if it is by now.
    pub ssh: Option<Endpoint>,
    /// Its control address inside the testbed.
    pub ipv4: Option<Ipv4Addr>,
    /// Its global address: its SSH server is reached there too, on port 22.
    pub ipv6: Option<Ipv6Addr>,
    /// Who may log in. jFed uses the last one, so the caller's own belongs there.
    pub accounts: Vec<Account>,
    /// The public keys of its SSH server, one line each.
    pub host_keys: Vec<String>,
    /// Where its further ports are reached.
    pub forwards: Vec<Forward>,
    /// Where the files of its `number`th command are, from 1, if not in `/tmp`.
    pub log_folders: BTreeMap<usize, String>,
    /// Its interfaces, as the plan has them.
    pub interfaces: Vec<ManifestInterface>,
}

/// What became of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInterface {
    /// Its name in the request.
    pub client_id: ClientId,
    /// Its sliver.
    pub sliver: SliverUrn,
    /// The host's interface that it is made of, or the host where there is none.
    pub component: Urn,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses, and how many bits of each are the network's.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestLink {
    /// Which of the documents asked for it, from 0.
    pub document: usize,
    /// Its name there.
    pub client_id: ClientId,
    /// Its sliver.
    pub sliver: SliverUrn,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address.
    pub hostname: String,
    /// The port there.
    pub port: u16,
}

/// A port of a node, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port in the node.
    pub port: Port,
    /// Where it is reached.
    pub endpoint: Endpoint,
}

/// The manifest of some nodes of a slice, merged from the requests that asked for them.
///
/// Nodes of ours that are not listed are left out, and so are documents without a listed node; nodes of other testbeds
/// and links stay as they are. Without nodes it is an empty manifest.
#[must_use]
pub fn manifest(documents: &[RequestDocument], nodes: &[ManifestNode], info: &ManifestInfo<'_>) -> String {
    let mut listed: Vec<HashMap<&str, &ManifestNode>> = vec![HashMap::new(); documents.len()];
    for node in nodes {
        if let Some(document) = listed.get_mut(node.document) {
            document.insert(node.client_id.as_str(), node);
        }
    }
    let mut links: Vec<HashMap<&str, &ManifestLink>> = vec![HashMap::new(); documents.len()];
    for link in info.links {
        if let Some(document) = links.get_mut(link.document) {
            document.insert(link.client_id.as_str(), link);
        }
    }
    let included: Vec<_> = documents
        .iter()
        .zip(listed.iter().zip(&links))
        .filter(|(_, (listed, _))| !listed.is_empty())
        .collect();
    let trees: Vec<_> = included.iter().map(|(document, _)| document.tree()).collect();
    let mut merge = Merge::new(trees.first().map(|tree| tree.root_element()), info);
    for (tree, (_, (listed, links))) in trees.iter().zip(&included) {
        let root = tree.root_element();
        let mut edits = Edits::new();
        for element in census(root, info.context).ours {
            match attribute(element, "client_id").and_then(|id| listed.get(id)) {
                Some(node) => describe(element, node, info.context, merge.prefixes(), &mut edits),
                None => remove(element, &mut edits),
            }
        }
        interfaces::describe_links(root, listed, links, &mut edits);
        merge.add(root, edits, |element| {
            attribute(element, "client_id").is_some_and(|id| {
                is_core(element, "node") && listed.contains_key(id)
                    || is_core(element, "link") && links.contains_key(id)
            })
        });
    }
    merge.finish()
}

/// Takes an element away, with the white space in front of it.
pub(super) fn remove(element: Xml<'_, '_>, edits: &mut Edits) {
    let blank = |node: &Xml<'_, '_>| node.is_text() && node.text().is_some_and(|text| text.trim().is_empty());
    let start =
        element.prev_sibling().filter(blank).map_or(element.range().start, |space| space.range().start);
    edits.replace(start..element.range().end, "");
}

/// Says what became of one node.
fn describe(
    element: Xml<'_, '_>,
    node: &ManifestNode,
    context: &Context,
    prefixes: &Prefixes,
    edits: &mut Edits,
) {
    edits.set_attribute(element, "sliver_id", &node.sliver.to_string());
    edits.set_attribute(element, "component_id", &node.component.to_string());
    if word(element, "component_manager_id").is_none() {
        edits.set_attribute(element, "component_manager_id", &context.component_manager.to_string());
    }
    if attribute(element, "exclusive").and_then(boolean).is_none() {
        edits.set_attribute(element, "exclusive", "false");
    }
    for stale in element.children().filter(|child| is_of_manifest(*child)) {
        remove(stale, edits);
    }
    interfaces::describe(element, node, edits);
    let core = prefix_of(element);
    let mut children = Vec::new();
    if core_children(element, "sliver_type").next().is_none() {
        let image = Element::new(core, "disk_image", "").attribute("name", &node.image).empty();
        children
            .push(Element::new(core, "sliver_type", "").attribute("name", &node.sliver_type).with(&image));
    }
    let all: Vec<_> = core_children(element, "services").collect();
    for stale in all.iter().flat_map(|services| services.children()).filter(|child| is_of_manifest(*child)) {
        remove(stale, edits);
    }
    match all.last() {
        Some(last) => {
            let added = services(*last, prefix_of(*last), element, node, prefixes);
            if !added.is_empty() {
                edits.append(*last, &indented(*last, &added));
            }
        }
        None => {
            let added = services(element, core, element, node, prefixes);
            if !added.is_empty() {
                let lines: String = added.iter().map(|child| format!("\n  {child}")).collect();
                children.push(Element::new(core, "services", "").with(&format!("{lines}\n")));
            }
        }
    }
    if let Some(name) = &node.host_name {
        children.push(Element::new(core, "host", "").attribute("name", name).empty());
    }
    children.extend(own(element, node, &prefixes.testyard));
    if !children.is_empty() {
        edits.append(element, &indented(element, &children));
    }
}

/// Whether an element in a node or its services says what a manifest says.
fn is_of_manifest(element: Xml<'_, '_>) -> bool {
    is_core(element, "login")
        || is_core(element, "host")
        || element.has_tag_name((USER, "services_user"))
        || element.has_tag_name((DOCKER_AM, "execute_logs"))
        || ["forward", "host_key", "address"].iter().any(|name| element.has_tag_name((TESTYARD, *name)))
}

/// What goes into a node's services: logs of commands, accounts, logins.
fn services(
    parent: Xml<'_, '_>,
    core: &str,
    element: Xml<'_, '_>,
    node: &ManifestNode,
    prefixes: &Prefixes,
) -> Vec<String> {
    let (prefix, declaration) = prefixes.docker_am.under(parent);
    let logs = executes(element).zip(1..).map(|(execute, number)| {
        let files = ExecuteFiles::new(number, node.log_folders.get(&number).map(String::as_str));
        Element::new(&prefix, "execute_logs", &declaration)
            .attribute("log", files.log)
            .attribute("status", files.status)
            .attribute("command", attribute(execute, "command").unwrap_or_default())
            .empty()
    });
    let mut result: Vec<String> = logs.collect();
    if node.ssh.is_none() && node.ipv6.is_none() {
        return result;
    }
    let (prefix, declaration) = prefixes.user.under(parent);
    for account in &node.accounts {
        let key = |key: &testyard_model::account::PublicKey| {
            Element::new(&prefix, "public_key", "").with(&escape_text(&key.to_string()))
        };
        let keys: String = account.keys.iter().map(key).collect();
        let user = Element::new(&prefix, "services_user", &declaration);
        result.push(user.attribute("login", &account.login).attribute("user_urn", &account.user).with(&keys));
    }
    // The way that works from everywhere comes last: jFed uses the last login.
    let by_ipv6 = node.ipv6.map(|address| Endpoint { hostname: address.to_string(), port: 22 });
    for endpoint in by_ipv6.iter().chain(&node.ssh) {
        for account in &node.accounts {
            let login = Element::new(core, "login", "")
                .attribute("authentication", "ssh-keys")
                .attribute("hostname", &endpoint.hostname)
                .attribute("port", endpoint.port)
                .attribute("username", &account.login);
            result.push(login.empty());
        }
    }
    result
}

/// A node's text without its line breaks, which would be taken for the markup's.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What goes into a node in our own namespace.
fn own(element: Xml<'_, '_>, node: &ManifestNode, prefix: &Prefix) -> Vec<String> {
    let (prefix, declaration) = prefix.under(element);
    let new = |name| Element::new(&prefix, name, &declaration);
    let mut result = Vec::new();
    if node.ipv4.is_some() || node.ipv6.is_some() {
        let mut address = new("address");
        if let Some(ipv4) = node.ipv4 {
            address = address.attribute("ipv4", ipv4);
        }
        if let Some(ipv6) = node.ipv6 {
            address = address.attribute("ipv6", ipv6);
        }
        result.push(address.empty());
    }
    result.extend(node.host_keys.iter().map(|key| new("host_key").with(&escape_text(&one_line(key)))));
    result.extend(node.forwards.iter().map(|forward| {
        new("forward")
            .attribute("number", forward.port.number)
            .attribute("protocol", forward.port.protocol)
            .attribute("hostname", &forward.endpoint.hostname)
            .attribute("port", forward.endpoint.port)
            .empty()
    }));
    result
}
