//! Random requests in every dialect of XML: what goes in comes out, in the topology and in the manifest.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::{US, all_ready, context, info, tree};
use proptest::collection::vec;
use proptest::prelude::*;
use testyard_formats::rspec::{DOCKER_AM, RSPEC, TESTYARD, manifest, parse_request};
use testyard_model::service::{Execute, Install, Services, Shell};
use testyard_model::sliver_type::{Port, Protocol};
use testyard_model::topology::{Interface, Node};
use testyard_xml::escape_attribute;

const FAR: &str = "urn:publicid:IDN+far.example.org+authority+cm";

/// How the elements of a request are written.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    Plain,
    Prefixed,
    RedeclaredEverywhere,
}

#[derive(Clone, Debug)]
struct Wish {
    node: Node,
    ours: bool,
    /// An element that nobody knows.
    note: String,
}

/// Text without control characters, with all that means something to XML and to shells.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{1,20}",
        "[<>&\"';$`|\\]\\[(){}#!%/.: a-z-]{1,20}",
        Just("]]><!--<![CDATA[&amp;".to_owned())
    ]
}

fn command() -> impl Strategy<Value = String> {
    (hostile(), "[\n\t\r]{0,2}", hostile()).prop_map(|(a, b, c)| format!("{a}{b}x{c}"))
}

fn wish(number: usize) -> impl Strategy<Value = Wish> {
    let execute = (any::<bool>(), command()).prop_map(|(bash, command)| Execute {
        shell: if bash { Shell::Bash } else { Shell::Sh },
        command,
        timeout: None,
    });
    let install =
        ("https?://[a-z]{1,5}\\.net/[a-zA-Z0-9._~:?#@!$&'()*+,;=%-]{0,20}", "/[a-z /\"'<&$]{0,10}x")
            .prop_map(|(url, path)| Install { url, path, checksum: None });
    let port = (1..=u16::MAX, any::<bool>()).prop_map(|(number, udp)| Port {
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
        number: number.try_into().unwrap(),
    });
    let kind = proptest::option::of("[a-zA-Z0-9][a-zA-Z0-9_-]{0,10}");
    // `urn:4` would be an image of another kind of testbed, which is refused.
    let image = proptest::option::of("[a-tv-z][a-z]{0,7}(:[0-9]{1,3})?");
    let services = (vec(install, 0..3), vec(execute, 0..4));
    (hostile(), any::<bool>(), kind, image, services, vec(port, 0..3), vec(hostile(), 0..3), hostile())
        .prop_map(move |(name, ours, kind, image, (installs, executes), mut ports, interfaces, note)| {
            ports.sort_by_key(|port| (port.number, port.protocol == Protocol::Udp));
            ports.dedup();
            ports.retain(|port| port.number.get() != 22);
            let interface = |(index, name): (usize, String)| {
                Interface::new(format!("{name}{number}-{index}").parse().unwrap())
            };
            let node = Node {
                image: kind.is_some().then_some(image).flatten().map(|image| image.parse().unwrap()),
                sliver_type: kind.map(|kind| kind.parse().unwrap()),
                ports,
                services: Services { installs, executes },
                interfaces: interfaces.into_iter().enumerate().map(interface).collect(),
                ..Node::new(format!("{name}{number}").parse().unwrap())
            };
            Wish { node, ours, note }
        })
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    (wish(0), wish(1), wish(2), wish(3)).prop_map(|(a, b, c, d)| {
        let mut wishes = vec![a, b, c, d];
        wishes[0].ours = true;
        wishes
    })
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Plain), Just(Dialect::Prefixed), Just(Dialect::RedeclaredEverywhere)]
}

/// The wishes as a request.
fn write(wishes: &[Wish], dialect: Dialect) -> String {
    let (p, redeclared) = match dialect {
        Dialect::Plain => ("", String::new()),
        Dialect::Prefixed => ("q:", String::new()),
        Dialect::RedeclaredEverywhere => ("", format!(" xmlns='{RSPEC}'")),
    };
    let colon = if p.is_empty() { "" } else { ":q" };
    let mut text = format!("<{p}rspec xmlns{colon}='{RSPEC}' xmlns:n='urn:note' type='request'>\n");
    for wish in wishes {
        let node = &wish.node;
        let manager = if wish.ours { US } else { FAR };
        let a = |value: &str| escape_attribute(value);
        text += &format!(
            "<{p}node{redeclared} component_manager_id='{manager}' client_id='{}'>",
            a(node.client_id.as_str())
        );
        text += &format!("<n:note n:text=\"{}\"/>", a(&wish.note));
        if let Some(kind) = &node.sliver_type {
            let image = node.image.as_ref().map(|name| format!("<{p}disk_image{redeclared} name='{name}'/>"));
            text += &format!(
                "<{p}sliver_type{redeclared} name='{kind}'>{}</{p}sliver_type>",
                image.unwrap_or_default()
            );
        }
        for port in &node.ports {
            text += &format!(
                "<t:port xmlns:t='{TESTYARD}' number='{}' protocol='{}'/>",
                port.number, port.protocol
            );
        }
        if node.services != Services::default() {
            text += &format!("<{p}services{redeclared}>");
            for install in &node.services.installs {
                text += &format!(
                    "<{p}install{redeclared} url='{}' install_path='{}'/>",
                    a(&install.url),
                    a(&install.path)
                );
            }
            for execute in &node.services.executes {
                let (shell, command) = (execute.shell.as_str(), a(&execute.command));
                text += &format!("<{p}execute{redeclared} command=\"{command}\" shell='{shell}'/>");
            }
            text += &format!("</{p}services>");
        }
        for interface in &node.interfaces {
            text += &format!("<{p}interface{redeclared} client_id='{}'/>", a(interface.client_id.as_str()));
        }
        text += &format!("</{p}node>\n");
    }
    text + &format!("</{p}rspec>")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_goes_in_comes_out(wishes in wishes(), dialect in dialect()) {
        let text = write(&wishes, dialect);
        let context = context();
        let request = parse_request(&text, &context).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let ours: Vec<&Node> = wishes.iter().filter(|wish| wish.ours).map(|wish| &wish.node).collect();
        prop_assert_eq!(request.topology.nodes.iter().collect::<Vec<_>>(), ours.clone());
        let topology = request.topology.clone();

        let nodes = all_ready(0, &request);
        let text_out = manifest(&[request.document], &nodes, &info(&context));
        let (source, result) = (tree(&text), tree(&text_out));
        for foreign in source.root_element().children().filter(|n| n.attribute("component_manager_id") == Some(FAR)) {
            prop_assert!(text_out.contains(&text[foreign.range()]));
        }
        for note in source.descendants().filter(|n| n.has_tag_name(("urn:note", "note"))) {
            prop_assert!(text_out.contains(&text[note.range()]));
        }
        let commands: Vec<_> = result.descendants()
            .filter(|n| n.has_tag_name((DOCKER_AM, "execute_logs")))
            .map(|n| n.attribute("command").unwrap())
            .collect();
        let asked: Vec<_> = ours.iter().flat_map(|node| &node.services.executes).map(|e| e.command.as_str()).collect();
        prop_assert_eq!(commands, asked);
        prop_assert_eq!(result.root_element().children().filter(|n| n.attribute("sliver_id").is_some()).count(), ours.len());

        // A request made of the manifest asks for the same again, on the same hosts.
        let again = text_out.replacen("type='manifest'", "type='request'", 1);
        let mut again = parse_request(&again, &context).map_err(|error| TestCaseError::fail(format!("{error}\n{again}")))?.topology;
        for (node, first) in again.nodes.iter_mut().zip(&topology.nodes) {
            prop_assert!(node.component.take().is_some());
            if first.sliver_type.is_none() {
                (node.sliver_type, node.image) = (None, None);
            }
        }
        prop_assert_eq!(again, topology);
    }

    /// Two requests in any two dialects make one manifest in which each node is found.
    #[test]
    fn merged(first in wishes(), second in wishes(), dialects in (dialect(), dialect())) {
        let context = context();
        let mut documents = Vec::new();
        let mut nodes = Vec::new();
        for (number, (wishes, dialect)) in [(first, dialects.0), (second, dialects.1)].into_iter().enumerate() {
            let request = parse_request(&write(&wishes, dialect), &context).unwrap();
            nodes.extend(all_ready(number, &request));
            documents.push(request.document);
        }
        let text = manifest(&documents, &nodes, &info(&context));
        let tree = tree(&text);
        let is_node = |n: &testyard_xml::Node<'_, '_>| n.has_tag_name((RSPEC, "node"));
        let found: Vec<_> = tree.root_element().children().filter(is_node)
            .filter(|n| n.attribute("sliver_id").is_some())
            .map(|n| n.attribute("client_id").unwrap())
            .collect();
        prop_assert_eq!(found, nodes.iter().map(|node| node.client_id.as_str()).collect::<Vec<_>>());
        prop_assert_eq!(
            tree.descendants().filter(|n| n.has_tag_name((RSPEC, "login"))).count(),
            nodes.len() * 4
        );
    }

    /// An accepted URL or path is the text that was given, and can be an argument of nothing but what it is.
    #[test]
    fn installs(url in prop_oneof![hostile(), hostile().prop_map(|text| format!("http://h/{text}"))], path in hostile()) {
        let install = format!("<install url=\"{}\" install_path=\"/{}\"/>", escape_attribute(&url), escape_attribute(&path));
        let text = common::node(&format!("<services>{install}</services>"));
        if let Ok(request) = parse_request(&text, &context()) {
            let install = &request.topology.nodes[0].services.installs[0];
            prop_assert_eq!(&install.url, url.trim());
            prop_assert!(install.url.starts_with("http") && install.url.bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
            let given = format!("/{path}");
            prop_assert_eq!(&install.path, given.trim());
            prop_assert!(install.path.split('/').all(|part| part != ".."));
        }
    }

    /// Real requests with a piece cut out and another put in, alone and after one another: refused, or their manifest is
    /// an RSpec with every node.
    #[test]
    fn mutations(first in mutated(), second in mutated()) {
        testyard_formats::fuzzing::rspec(first.as_bytes());
        testyard_formats::fuzzing::rspec(format!("{first}\0{second}").as_bytes());
    }
}

/// One of the corpus's requests, with a piece of it replaced by one of another or by random text.
fn mutated() -> impl Strategy<Value = String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/rspec");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let piece = |text: &str, at: prop::sample::Index, length: usize| {
        let floor = |mut index: usize| {
            while !text.is_char_boundary(index) {
                index -= 1;
            }
            index
        };
        let start = floor(at.index(text.len() + 1));
        start..floor((start + length).min(text.len())).max(start)
    };
    let texts = (prop::sample::select(texts.clone()), prop::sample::select(texts));
    let places = any::<[prop::sample::Index; 2]>();
    (texts, places, 0usize..60, 0usize..60, proptest::option::of(hostile())).prop_map(
        move |((text, other), places, cut, put, random)| {
            let cut = piece(&text, places[0], cut);
            let put = random.unwrap_or_else(|| other[piece(&other, places[1], put)].to_owned());
            format!("{}{put}{}", &text[..cut.start], &text[cut.end..])
        },
    )
}
