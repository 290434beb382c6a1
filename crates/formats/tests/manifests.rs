//! Manifests: the request's own text, what became of our nodes, and nothing else changed.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::{KEY, US, all_ready, allocated, context, info, node, ready, request, tree};
use testyard_formats::rspec::{DOCKER_AM, RSPEC, RequestDocument, TESTYARD, USER, manifest, parse_request};

const RICH: &str = include_str!("data/rich.rspec");

fn document(text: &str) -> RequestDocument {
    parse_request(text, &context()).unwrap_or_else(|error| panic!("{error}\n{text}")).document
}

#[test]
fn golden() {
    let context = context();
    let request = parse_request(RICH, &context).unwrap();
    let nodes = all_ready(0, &request);
    insta::assert_snapshot!(manifest(&[request.document], &nodes, &info(&context)));
}

/// Every line that does not say something about our nodes or the root is there unchanged, in order.
#[test]
fn the_rest_is_untouched() {
    let context = context();
    let request = parse_request(RICH, &context).unwrap();
    let nodes = all_ready(0, &request);
    let text = manifest(&[request.document], &nodes, &info(&context));
    let source = tree(RICH);
    let ours = ["web", "db 1"];
    for child in source.root_element().children().filter(|child| child.is_element() || child.is_comment()) {
        if !child.attribute("client_id").is_some_and(|id| ours.contains(&id)) {
            assert!(text.contains(&RICH[child.range()]), "{}", &RICH[child.range()]);
        }
    }
    for kept in [
        "<!-- made by hand: é -->\n<?made with=\"care\"?>\n<rspec",
        "jfed:version=\"5.9\"",
        "jfed:icon='pc &amp; more'",
        "<jfed:location x=\"10.5\" y=\"20&#10;.0\"/>",
        "command=\"cd /srv &amp;&amp; ./run.sh &gt; '/tmp/out'&#10;echo &quot;done&quot;\"/>",
        "<user:x/><r:interface client_id=\"eth0\"/>",
        "</rspec>\n<!-- behind -->\n",
    ] {
        assert!(text.contains(kept), "{kept}");
    }
}

#[test]
fn what_clients_read() {
    let context = context();
    let request = parse_request(RICH, &context).unwrap();
    let nodes = all_ready(0, &request);
    let text = manifest(&[request.document], &nodes, &info(&context));
    assert!(!text.contains("<?xml"), "a declared encoding is refused by parsers of Unicode texts");
    let tree = tree(&text);
    let root = tree.root_element();
    assert_eq!(root.attribute("type"), Some("manifest"));
    assert_eq!(root.attribute("expires"), Some("2027-01-01T00:00:00Z"));
    assert_eq!(root.attribute("generated"), Some("2026-12-01T12:00:00Z"));
    let schemas = root.attribute(("http://www.w3.org/2001/XMLSchema-instance", "schemaLocation")).unwrap();
    assert!(
        schemas.contains("rspec/3/manifest.xsd") && !schemas.contains("rspec/3/request.xsd"),
        "{schemas}"
    );
    assert!(schemas.contains("jfed/1/request.xsd"), "{schemas}");
    for (id, number) in [("web", 1), ("db 1", 2)] {
        let node = root.children().find(|n| n.attribute("client_id") == Some(id)).unwrap();
        assert!(node.has_tag_name((RSPEC, "node")));
        assert_eq!(
            node.attribute("sliver_id"),
            Some(format!("urn:publicid:IDN+am.example.net+sliver+{number:04}").as_str())
        );
        assert_eq!(node.attribute("component_id"), Some("urn:publicid:IDN+am.example.net+node+local"));
        let logins: Vec<_> = node.descendants().filter(|n| n.has_tag_name((RSPEC, "login"))).collect();
        let login = |n: &testyard_xml::Node<'_, '_>| {
            assert_eq!(n.attribute("authentication"), Some("ssh-keys"));
            ["hostname", "port", "username"].map(|name| n.attribute(name).unwrap().to_owned())
        };
        let port = (12000 + number).to_string();
        assert_eq!(
            logins.iter().map(login).collect::<Vec<_>>(),
            [
                ["2001:db8::2", "22", "ben"],
                ["2001:db8::2", "22", "ann"],
                ["am.example.net", &port, "ben"],
                ["am.example.net", &port, "ann"]
            ]
        );
        let users: Vec<_> = node.descendants().filter(|n| n.has_tag_name((USER, "services_user"))).collect();
        assert_eq!(users[1].attribute("user_urn"), Some("urn:publicid:IDN+example.org+user+ann"));
        let key = users[1].children().find(|n| n.has_tag_name((USER, "public_key"))).unwrap();
        assert_eq!(key.text(), Some(KEY));
        let key = node.children().find(|n| n.has_tag_name((TESTYARD, "host_key"))).unwrap();
        assert_eq!(key.text(), Some(KEY));
        assert!(node.children().any(|n| n.has_tag_name((RSPEC, "host"))));
    }
    let logs: Vec<_> = tree.descendants().filter(|n| n.has_tag_name((DOCKER_AM, "execute_logs"))).collect();
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[1].attribute("log"), Some("/tmp/startup-2.txt"));
    assert_eq!(logs[1].attribute("status"), Some("/tmp/startup-2.status"));
    assert_eq!(logs[0].attribute("command"), Some("cd /srv && ./run.sh > '/tmp/out'\necho \"done\""));
}

#[test]
fn logs_that_are_not_where_they_always_were() {
    let context = context();
    let mut node = ready(0, "web", 1);
    node.log_folders.insert(2, "/run/testyard".to_owned());
    let text = manifest(&[document(RICH)], &[node], &info(&context));
    let tree = tree(&text);
    let logs = tree.descendants().filter(|n| n.has_tag_name((DOCKER_AM, "execute_logs")));
    let paths: Vec<_> = logs.map(|n| (n.attribute("log").unwrap(), n.attribute("status").unwrap())).collect();
    assert_eq!(
        paths,
        [
            ("/tmp/startup-1.txt", "/tmp/startup-1.status"),
            ("/run/testyard/startup-2.txt", "/run/testyard/startup-2.status")
        ]
    );
}

/// Until a node can be logged in to, there is no login: geni-lib reads the port of each.
#[test]
fn before_provisioning() {
    let context = context();
    let nodes = [allocated(0, "web", 1), allocated(0, "db 1", 2)];
    let text = manifest(&[document(RICH)], &nodes, &info(&context));
    let tree = tree(&text);
    let logins = tree.descendants().filter(|n| n.has_tag_name((RSPEC, "login"))).count();
    assert_eq!(logins, 1, "the foreign node's alone: {text}");
    assert_eq!(tree.descendants().filter(|n| n.has_tag_name((DOCKER_AM, "execute_logs"))).count(), 2);
    assert!(!text.contains("services_user") && !text.contains("<host"));
}

#[test]
fn some_of_the_nodes() {
    let context = context();
    let text = manifest(&[document(RICH)], &[ready(0, "db 1", 2)], &info(&context));
    let tree = tree(&text);
    let ids: Vec<_> = tree.root_element().children().filter_map(|n| n.attribute("client_id")).collect();
    assert_eq!(ids, ["db 1", "far", "lan0"]);
}

#[test]
fn no_nodes() {
    let context = context();
    for documents in [vec![], vec![document(RICH)]] {
        let text = manifest(&documents, &[], &info(&context));
        let tree = tree(&text);
        assert!(tree.root_element().has_tag_name((RSPEC, "rspec")) && !tree.root_element().has_children());
        assert_eq!(tree.root_element().attribute("type"), Some("manifest"));
        assert_eq!(tree.root_element().attribute("expires"), Some("2027-01-01T00:00:00Z"));
    }
}

/// A request made of an old manifest: nothing stale survives, nothing is there twice.
#[test]
fn what_a_manifest_says_is_replaced() {
    let context = context();
    let first = manifest(&[document(RICH)], &[ready(0, "web", 1), ready(0, "db 1", 2)], &info(&context));
    let again = document(&first.replace("type = 'manifest'", "type = 'request'"));
    let mut nodes = [ready(0, "web", 3), ready(0, "db 1", 4)];
    for node in &mut nodes {
        node.host_name = Some("new.example.net".to_owned());
    }
    let second = manifest(&[again], &nodes, &info(&context));
    let tree = tree(&second);
    let web = tree.root_element().children().find(|n| n.attribute("client_id") == Some("web")).unwrap();
    let count = |namespace, name| web.descendants().filter(|n| n.has_tag_name((namespace, name))).count();
    assert_eq!(
        (count(RSPEC, "login"), count(RSPEC, "host"), count(USER, "services_user")),
        (4, 1, 2),
        "{second}"
    );
    assert_eq!(
        (count(DOCKER_AM, "execute_logs"), count(TESTYARD, "host_key"), count(TESTYARD, "port")),
        (2, 1, 1)
    );
    assert!(!second.contains("sliver+0001") && !second.contains("12001"), "{second}");
}

#[test]
fn what_was_left_open_is_filled_in() {
    let context = context();
    let text =
        request("<node client_id=\"a\" exclusive=\"True\"/><node client_id='b' component_manager_id=''/>");
    let text = manifest(&[document(&text)], &[ready(0, "a", 1), ready(0, "b", 2)], &info(&context));
    let tree = tree(&text);
    for node in tree.root_element().children().filter(|n| n.has_tag_name((RSPEC, "node"))) {
        assert_eq!(node.attribute("component_manager_id"), Some(US));
        assert_eq!(node.attribute("exclusive"), Some("false"));
        let kind = node.children().find(|n| n.has_tag_name((RSPEC, "sliver_type"))).unwrap();
        assert_eq!(kind.attribute("name"), Some("docker-container"));
        assert_eq!(kind.first_element_child().unwrap().attribute("name"), Some("debian:12"));
    }
}

/// Three requests of one slice in different dialects: each element means in the manifest what it meant in its request.
#[test]
fn several_requests_of_one_slice() {
    let context = context();
    let far =
        "<node client_id=\"far\" component_manager_id=\"urn:publicid:IDN+far.example.org+authority+cm\"/>";
    let first = request(&format!("<node client_id=\"a\" component_manager_id=\"{US}\"/>\n  {far}"));
    let second = format!(
        "<?xml version='1.0'?><!-- two --><r:rspec xmlns:r='{RSPEC}' xmlns:x='urn:x' xmlns:user='urn:u' type='request' x:v='1&amp;2'>\
         <r:node client_id='b' component_manager_id='{US}'><x:y/><user:z/><r:services/></r:node><x:w xmlns:x='urn:x'/>\
         <plain><x:q/></plain></r:rspec>"
    );
    let third = request(&format!(
        "<node xmlns=\"{RSPEC}\" client_id=\"c\" component_manager_id=\"{US}\"><services>\n</services></node>\n  {far}\n  {}",
        far.replace("far\"", "further\"")
    ));
    let documents = [first, second, third].map(|text| document(&text));
    let nodes = [ready(0, "a", 1), ready(1, "b", 2), ready(2, "c", 3)];
    let text = manifest(&documents, &nodes, &info(&context));
    insta::assert_snapshot!(text);
    let tree = tree(&text);
    let root = tree.root_element();
    let ids: Vec<_> = root
        .children()
        .filter(|n| n.has_tag_name((RSPEC, "node")))
        .map(|n| n.attribute("client_id").unwrap())
        .collect();
    assert_eq!(ids, ["a", "far", "b", "c", "further"], "{text}");
    assert_eq!(root.attribute(("urn:x", "v")), Some("1&2"));
    for (namespace, name) in [("urn:x", "y"), ("urn:u", "z"), ("urn:x", "w"), ("urn:x", "q")] {
        assert!(tree.descendants().any(|n| n.has_tag_name((namespace, name))), "{name}: {text}");
    }
    let plain = tree.descendants().find(|n| n.tag_name().name() == "plain").unwrap();
    assert_eq!(plain.tag_name().namespace().unwrap_or_default(), "", "{text}");
    assert_eq!(tree.descendants().filter(|n| n.has_tag_name((USER, "services_user"))).count(), 6, "{text}");
    // Without the first document's nodes the second one is the frame.
    let text = manifest(&documents, &nodes[1..], &info(&context));
    assert!(text.starts_with("<!-- two --><r:rspec "), "{text}");
    assert_eq!(common::tree(&text).root_element().attribute("type"), Some("manifest"));
}

#[test]
fn hostile_text_from_a_node_stays_text() {
    let context = context();
    let mut hostile = ready(0, "a", 1);
    hostile.host_keys = vec!["]]></testyard:host_key><evil/>\u{0}\u{1b}&".to_owned()];
    hostile.host_name = Some("\"/><evil a='".to_owned());
    let text = manifest(&[document(&node(""))], &[hostile], &info(&context));
    let tree = tree(&text);
    assert!(!tree.descendants().any(|n| n.tag_name().name() == "evil"), "{text}");
}

#[test]
fn thousands_of_nodes() {
    let context = context();
    let started = std::time::Instant::now();
    let inside: String = (0..5000)
        .map(|n| format!("<node client_id=\"n{n}\" component_manager_id=\"{US}\"><interface client_id=\"n{n}:0\"/></node>\n"))
        .collect();
    let read = parse_request(&request(&inside), &context).unwrap();
    let nodes = all_ready(0, &read);
    let text = manifest(&[read.document], &nodes, &info(&context));
    assert!(text.len() > 5000 * 1000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

/// Interfaces and links get their slivers, Ethernet addresses and the addresses of the plan.
#[test]
fn links() {
    use testyard_formats::rspec::{ManifestInfo, ManifestInterface, ManifestLink};
    let inside = "<interface client_id=\"a:0\"/>\n  <interface client_id=\"a:1\"><ip address=\"10.2.0.1\"/><ip address=\"fd00::1\" netmask=\"64\"/><ip address=\"\"/></interface>";
    let text = node(inside).replace(
        "</rspec>",
        "<link client_id=\"l\"><interface_ref client_id=\"a:0\"/><interface_ref client_id=\"a:1\"/></link></rspec>",
    );
    let context = context();
    let interface = |name: &str, number: u8, addresses: &[(&str, u8)]| ManifestInterface {
        client_id: name.parse().unwrap(),
        sliver: format!("urn:publicid:IDN+am.example.net+sliver+1-if{number}").parse().unwrap(),
        component: "urn:publicid:IDN+am.example.net+node+local".parse().unwrap(),
        mac: format!("02:00:00:00:00:{number:02x}").parse().unwrap(),
        addresses: addresses.iter().map(|(address, length)| (address.parse().unwrap(), *length)).collect(),
    };
    let mut a = ready(0, "a", 1);
    a.interfaces = vec![
        interface("a:0", 1, &[("10.1.1.2", 24)]),
        interface("a:1", 255, &[("10.2.0.1", 20), ("fd00::1", 64)]),
    ];
    let link = ManifestLink {
        document: 0,
        client_id: "l".parse().unwrap(),
        sliver: "urn:publicid:IDN+am.example.net+sliver+l".parse().unwrap(),
    };
    let again = testyard_formats::rspec::ManifestNode { document: 1, ..a.clone() };
    let links = [link.clone(), ManifestLink { document: 1, ..link }];
    let info = ManifestInfo { links: &links, ..info(&context) };
    let one = manifest(&[document(&text)], &[a.clone()], &info);
    insta::assert_snapshot!(one);
    let twice = manifest(&[document(&text), document(&text)], &[a, again], &info);
    assert_eq!(twice.matches("<link ").count(), 2, "{twice}");
    if let Some(schemas) = common::shared("schemas/rspec-3") {
        common::validate(&schemas, "manifest.xsd", &[("one".to_owned(), one), ("twice".to_owned(), twice)]);
    }
}
