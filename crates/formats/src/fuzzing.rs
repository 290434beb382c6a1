//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use testyard_model::link::LinkKind;
use testyard_model::mac::Mac;
use testyard_model::topology::{Interface, InterfaceAddress, Node};
use testyard_tcl::{End, Limits as TclLimits, Place, Record, Run, Tcl, TclError, Vocabulary, What};
use testyard_xml::Limits;

use testyard_model::diagnostic::Severity;

use crate::export::export;
use crate::import::Site;
use crate::language::Language;
use crate::read::Reader;
use crate::rspec::{
    Context, Endpoint, Forward, ManifestInfo, ManifestInterface, ManifestLink, ManifestNode, RSPEC, Request,
    manifest, parse_request,
};

/// NS: whatever a file asks for, a topology that is accepted holds together. Without an interpreter: the file's lines
/// are taken for what one would tell, see [`Lines`].
///
/// # Panics
/// If it does not: that is what is looked for.
pub fn ns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    ns_of(text, &Lines);
}

/// As [`ns`], with any interpreter.
///
/// # Panics
/// As [`ns`].
pub fn ns_of(text: &str, tcl: &dyn Tcl) {
    let site = crate::import::Site::default();
    let topology = match crate::ns::import(text, &site, tcl) {
        Ok(import) => import.topology,
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return;
        }
    };
    let mut interfaces = HashSet::new();
    let mut nodes = HashSet::new();
    for node in &topology.nodes {
        assert!(nodes.insert(&node.client_id), "{} twice", node.client_id);
        for interface in &node.interfaces {
            assert!(interfaces.insert(&interface.client_id), "{} twice", interface.client_id);
        }
    }
    let mut links = HashSet::new();
    for link in &topology.links {
        assert!(links.insert(&link.client_id), "{} twice", link.client_id);
        assert!(link.members.len() >= 2 && (link.kind == LinkKind::Lan || link.members.len() == 2));
        for member in &link.members {
            assert!(interfaces.remove(&member.interface), "{} is nowhere, or twice", member.interface);
            assert!(member.to_link.check().is_ok() && member.from_link.check().is_ok());
        }
    }
    assert!(interfaces.is_empty(), "on no link: {interfaces:?}");
    let written = serde_json::to_string(&topology).expect("a topology can be written");
    let again = serde_json::from_str(&written).expect("what is written can be read");
    assert_eq!(topology, again);
}

/// Takes a file for a list of statements without anything of Tcl's but words: `set NAME [$OBJECT METHOD WORD …]`,
/// `$OBJECT METHOD WORD …`, `COMMAND WORD …`, `set NAME [new CLASS]`.
struct Lines;

impl Tcl for Lines {
    fn run(&self, text: &str, vocabulary: &Vocabulary, _: &TclLimits) -> Result<Run, TclError> {
        let mut objects: HashMap<String, (String, String)> = HashMap::new();
        let mut records = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let place = Some(Place { line: number, column: 1 });
            let mut words: Vec<String> = crate::ns::words(line);
            let name = match (words.first().map(String::as_str), words.get(1)) {
                (Some("set"), Some(name)) => Some(name.clone()),
                _ => None,
            };
            if name.is_some() {
                words.drain(..2);
            }
            let words: Vec<String> =
                words.iter().map(|word| word.trim_matches(['[', ']', '$']).to_owned()).collect();
            let Some((first, rest)) = words.split_first() else { continue };
            let made = format!("_o{number}");
            let mut class_made = None;
            let what = if first == "new" {
                let class = rest.first().cloned().unwrap_or_default();
                class_made = Some(class.clone());
                What::New { object: made.clone(), class, arguments: rest.iter().skip(1).cloned().collect() }
            } else if let (Some((object, class)), Some((method, arguments))) =
                (objects.get(first).cloned(), rest.split_first())
            {
                let known = vocabulary.methods.iter().find(|it| it.class == class && it.name == method);
                class_made = known.map_or(Some("Null"), |method| method.makes).map(str::to_owned);
                let made = class_made.is_some().then(|| made.clone());
                What::Call { object, class, method: method.clone(), made, arguments: arguments.to_vec() }
            } else {
                What::Command { name: first.clone(), arguments: rest.to_vec() }
            };
            records.push(Record { place, what });
            let Some(class) = class_made else { continue };
            objects.insert(made.clone(), (made.clone(), class.clone()));
            if let Some(name) = name {
                let taken = objects.contains_key(&name);
                let name = name.clone();
                let object = made.clone();
                if taken {
                    records.push(Record { place, what: What::Taken { object, name } });
                } else {
                    objects.insert(name.clone(), (made, class));
                    records.push(Record { place, what: What::Name { object, name } });
                }
            }
        }
        Ok(Run { records, end: End::Finished })
    }
}

/// Requests to manifest: whatever comes in, the manifest of what was accepted is well-formed, an RSpec, and has every
/// node. A NUL separates two requests of one slice; one alone is taken twice.
///
/// # Panics
/// If it is not: that is what is looked for.
pub fn rspec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\0').unwrap_or((text, text));
    let context = Context::new("urn:publicid:IDN+am.example.net+authority+am".parse().expect("it is a URN"));
    let read = |text| match parse_request(text, &context) {
        Ok(request) => Some(request),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    };
    let requests: Vec<Request> = [first, second].into_iter().filter_map(read).collect();
    let documents: Vec<_> = requests.iter().map(|request| request.document.clone()).collect();
    let nodes: Vec<ManifestNode> = requests
        .iter()
        .enumerate()
        .flat_map(|(document, request)| request.topology.nodes.iter().map(move |node| became(document, node)))
        .collect();
    let links: Vec<ManifestLink> = requests
        .iter()
        .enumerate()
        .flat_map(|(document, request)| request.topology.links.iter().map(move |link| (document, link)))
        .map(|(document, link)| ManifestLink {
            document,
            client_id: link.client_id.clone(),
            sliver: "urn:publicid:IDN+am.example.net+sliver+link".parse().expect("it is a URN"),
        })
        .collect();
    let info = ManifestInfo {
        context: &context,
        links: &links,
        expires: None,
        generated: jiff::Timestamp::UNIX_EPOCH,
    };
    // Twice the content may exceed the limits of a request.
    let limits =
        Limits { bytes: usize::MAX, nodes: u32::MAX, attributes: 1024, namespaces: usize::MAX, depth: 64 };
    for count in [0, 1, nodes.len()] {
        let nodes = &nodes[..count.min(nodes.len())];
        let text = manifest(&documents, nodes, &info);
        let tree = testyard_xml::parse(&text, &limits).unwrap_or_else(|error| panic!("{error}: {text}"));
        let root = tree.root_element();
        assert_eq!(root.attribute("type"), Some("manifest"), "{text}");
        for node in nodes {
            let is_it = |n: &testyard_xml::Node<'_, '_>| {
                n.has_tag_name((RSPEC, "node"))
                    && n.attribute("client_id") == Some(node.client_id.as_str())
                    && n.attribute("sliver_id") == Some(node.sliver.to_string().as_str())
            };
            assert!(root.children().any(|n| is_it(&n)), "{:?}: {text}", node.client_id);
        }
    }
}

fn became(document: usize, node: &Node) -> ManifestNode {
    let endpoint = Endpoint { hostname: node.client_id.to_string(), port: 12000 };
    ManifestNode {
        document,
        client_id: node.client_id.clone(),
        sliver: format!("urn:publicid:IDN+am.example.net+sliver+{document}").parse().expect("it is a URN"),
        component: "urn:publicid:IDN+am.example.net+node+local".parse().expect("it is a URN"),
        sliver_type: "docker-container".parse().expect("it is a sliver type"),
        image: "debian:12".parse().expect("it is an image"),
        host_name: Some(node.client_id.to_string()),
        ssh: Some(endpoint.clone()),
        ipv4: None,
        ipv6: Some(Ipv6Addr::LOCALHOST),
        accounts: Vec::new(),
        host_keys: vec![node.client_id.to_string()],
        forwards: node.ports.iter().map(|port| Forward { port: *port, endpoint: endpoint.clone() }).collect(),
        log_folders: std::collections::BTreeMap::new(),
        interfaces: node.interfaces.iter().map(interface).collect(),
    }
}

fn interface(interface: &Interface) -> ManifestInterface {
    let chosen = InterfaceAddress { address: Ipv4Addr::new(10, 1, 1, 2).into(), prefix_length: Some(24) };
    let addresses = if interface.addresses.is_empty() { &[chosen][..] } else { &interface.addresses[..] };
    ManifestInterface {
        client_id: interface.client_id.clone(),
        sliver: "urn:publicid:IDN+am.example.net+sliver+interface".parse().expect("it is a URN"),
        component: "urn:publicid:IDN+am.example.net+node+local".parse().expect("it is a URN"),
        mac: Mac::new([2, 0, 0, 0, 0, 1]).expect("it is an address"),
        addresses: addresses.iter().map(|a| (a.address, a.prefix_length.unwrap_or(24))).collect(),
    }
}

/// Topologies in any of the languages: the first byte says which. What is accepted, every language can write; and what
/// our own writes reads again as the same.
///
/// # Panics
/// If that is not so: that is what is looked for.
pub fn topology(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    const LANGUAGES: [Language; 5] =
        [Language::Yaml, Language::Json, Language::Containers, Language::Topdl, Language::Rspec];
    let language = LANGUAGES[usize::from(*kind) % LANGUAGES.len()];
    let _ = Language::detect("file", text);
    let site = Site::default();
    let reader = Reader { site: &site, context: None, hosts: None, ns: None };
    let import = match reader.read(text, language) {
        Ok(import) => import,
        Err(refused) => {
            assert!(refused.diagnostics.iter().any(|d| d.severity == Severity::Error), "{language} {text:?}");
            return;
        }
    };
    assert!(import.diagnostics.iter().all(|d| d.severity != Severity::Error), "{:?}", import.diagnostics);
    for member in import.topology.links.iter().flat_map(|link| &link.members) {
        assert!(member.to_link.check().is_ok() && member.from_link.check().is_ok(), "{member:?}");
    }
    for language in Language::ALL {
        let Ok(written) = export(&import.topology, language) else { continue };
        if matches!(language, Language::Json | Language::Yaml) {
            let again = reader.read(&written.text, language);
            assert_eq!(again.map(|i| i.topology).as_ref(), Ok(&import.topology), "{}", written.text);
        }
    }
}
