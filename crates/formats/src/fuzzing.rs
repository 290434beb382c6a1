//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use crate::rspec::{Context, Endpoint, Forward, ManifestInfo, ManifestNode, RSPEC, manifest, parse_request};

/// A request to manifest: whatever comes in, the manifest of what was accepted is well-formed and an RSpec.
///
/// # Panics
/// If it is not: that is what is looked for.
pub fn rspec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let manager = "urn:publicid:IDN+am.example.net+authority+am".parse().expect("it is a URN");
    let context = Context::new(manager);
    let request = match parse_request(text, &context) {
        Ok(request) => request,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let nodes: Vec<ManifestNode> = request
        .topology
        .nodes
        .iter()
        .zip(1u16..)
        .map(|(node, number)| ManifestNode {
            document: 0,
            client_id: node.client_id.clone(),
            sliver: format!("urn:publicid:IDN+am.example.net+sliver+{number}").parse().expect("it is a URN"),
            component: "urn:publicid:IDN+am.example.net+node+local".parse().expect("it is a URN"),
            sliver_type: "docker-container".parse().expect("it is a sliver type"),
            image: "debian:12".parse().expect("it is an image"),
            host_name: Some(node.client_id.to_string()),
            ssh: Some(Endpoint { hostname: "am.example.net".to_owned(), port: number }),
            ipv4: None,
            ipv6: Some(std::net::Ipv6Addr::LOCALHOST),
            accounts: Vec::new(),
            host_keys: vec![node.client_id.to_string()],
            forwards: node
                .ports
                .iter()
                .map(|port| Forward {
                    port: *port,
                    endpoint: Endpoint { hostname: String::new(), port: number },
                })
                .collect(),
        })
        .collect();
    let info = ManifestInfo { context: &context, expires: None, generated: jiff::Timestamp::UNIX_EPOCH };
    // The request as it is, and after itself: everything in it moves under another root then.
    let mut twice = nodes.clone();
    twice.extend(nodes.iter().map(|node| ManifestNode { document: 1, ..node.clone() }));
    let documents = [request.document.clone(), request.document];
    for (nodes, expected) in [(&nodes, nodes.len()), (&twice, twice.len())] {
        let text = manifest(&documents, nodes, &info);
        // Twice the content may exceed the limits of a request.
        let limits = testyard_xml::Limits {
            bytes: usize::MAX,
            nodes: u32::MAX,
            attributes: 1024,
            namespaces: usize::MAX,
            depth: 64,
        };
        let tree = match testyard_xml::parse(&text, &limits) {
            Ok(tree) => tree,
            Err(error) => panic!("{error}: {text}"),
        };
        let root = tree.root_element();
        assert_eq!(root.attribute("type"), Some("manifest"), "{text}");
        let slivers =
            root.children().filter(|n| n.has_tag_name((RSPEC, "node")) && n.attribute("sliver_id").is_some());
        assert!(slivers.count() >= expected, "{text}");
    }
}
