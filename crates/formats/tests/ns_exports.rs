//! NS written and read: by the exporter and the reader that Emulab's users meet, with a real Tcl between them.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::collections::HashMap;

use common::topologies::topologies;
use proptest::prelude::*;
use testyard_formats::export::export;
use testyard_formats::import::{Refused, Site};
use testyard_formats::language::Language;
use testyard_formats::own::parse_yaml;
use testyard_formats::read::Reader;
use testyard_formats::rspec::{Context, Unbound};
use testyard_model::link::LinkKind;
use testyard_model::name::ClientId;
use testyard_model::topology::Topology;
use testyard_tcl::Process;

fn read(text: &str, language: Language) -> Result<Topology, Refused> {
    let site = common::ns::site();
    let context = Context { unbound: Unbound::Ours, ..common::context() };
    let ns = |text: &str, site: &Site| testyard_formats::ns::import(text, site, &Process::default());
    let reader = Reader { site: &site, context: Some(&context), hosts: None, ns: Some(&ns) };
    reader.read(text, language).map(|import| import.topology)
}

/// What is written, and what it reads as.
fn there_and_back(topology: &Topology, language: Language) -> Result<(String, Topology), String> {
    let text = export(topology, language).unwrap().text;
    match read(&text, language) {
        Ok(topology) => Ok((text, topology)),
        Err(refused) => Err(format!("{:#?}\n{text}", refused.diagnostics)),
    }
}

/// The topology with interfaces as NS numbers them, and masks as it gives them.
fn numbered(topology: &Topology) -> Topology {
    let mut topology = topology.clone();
    let mut new_names: HashMap<ClientId, ClientId> = HashMap::new();
    for node in &mut topology.nodes {
        let order = |id: &ClientId| {
            let position =
                |link: &testyard_model::link::Link| link.members.iter().position(|m| m.interface == *id);
            topology.links.iter().enumerate().find_map(|(number, link)| Some((number, position(link)?)))
        };
        node.interfaces.sort_by_key(|interface| order(&interface.client_id));
        for (number, interface) in node.interfaces.iter_mut().enumerate() {
            let name: ClientId = format!("{}:{number}", node.client_id).parse().unwrap();
            new_names.insert(std::mem::replace(&mut interface.client_id, name.clone()), name);
            for address in interface.addresses.iter_mut().filter(|address| address.address.is_ipv4()) {
                address.prefix_length.get_or_insert(24);
            }
        }
    }
    for member in topology.links.iter_mut().flat_map(|link| &mut link.members) {
        member.interface = new_names[&member.interface].clone();
    }
    topology
}

/// Whether something of a topology cannot be said in NS as Testyard reads it, beside the names of interfaces.
fn is_told(topology: &Topology) -> bool {
    export(topology, Language::Ns)
        .unwrap()
        .losses
        .iter()
        .any(|loss| !loss.message.starts_with("NS numbers interfaces") && !loss.message.starts_with("Emulab"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is written is read, and from the first reading on nothing changes any more.
    #[test]
    fn ns_is_a_fixed_point(topology in topologies(true)) {
        let (text, first) = there_and_back(&topology, Language::Ns).map_err(TestCaseError::fail)?;
        let (again, second) = there_and_back(&first, Language::Ns).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&second, &first, "{}\n{}", text, again);
        prop_assert_eq!(&export(&second, Language::Ns).unwrap().text, &again);
    }

    /// What nothing is said to be lost of comes back as it was, but for the numbers of interfaces.
    #[test]
    fn what_is_not_lost_comes_back(topology in topologies(false)) {
        let (text, first) = there_and_back(&topology, Language::Ns).map_err(TestCaseError::fail)?;
        prop_assert!(is_told(&topology) || first == numbered(&topology), "{}\n{:#?}\n{:#?}", text, numbered(&topology), first);
    }

    /// What another language says goes through NS as it is, unless a loss is told.
    #[test]
    fn other_languages_by_way_of_ns(topology in topologies(false)) {
        for language in [Language::Rspec, Language::Topdl, Language::Yaml] {
            let (_, said) = there_and_back(&topology, language).map_err(TestCaseError::fail)?;
            let (text, through) = there_and_back(&said, Language::Ns).map_err(TestCaseError::fail)?;
            prop_assert!(is_told(&said) || through == numbered(&said), "{}\n{}\n{:#?}", language, text, through);
            let (_, again) = there_and_back(&through, Language::Ns).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&again, &through, "{}", language);
        }
    }
}

/// Every NS file of the tests and examples that is good reads, is written, and reads as the same.
#[test]
fn files_are_fixed_points() {
    let mut count = 0;
    for folder in ["tests/data/ns", "fuzz/corpus/ns", "../../examples"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            if path.extension().is_none_or(|ending| ending != "ns") {
                continue;
            }
            let Ok(first) = read(&text, Language::Ns) else { continue };
            let (written, second) = there_and_back(&first, Language::Ns)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(second, first, "{}\n{written}", path.display());
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

/// Every example comes back from every language as it was, unless that says what it loses. No image is lost without a
/// word of it, whatever else is.
#[test]
fn examples_come_back() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(language) = Language::detect(&name, &text) else { continue };
        let first = read(&text, language).unwrap();
        for to in [Language::Rspec, Language::Topdl, Language::Ns, Language::Json, Language::Yaml] {
            let (written, second) = there_and_back(&first, to).unwrap();
            let losses = export(&first, to).unwrap().losses;
            let images = |topology: &Topology| -> Vec<_> {
                topology.nodes.iter().map(|node| node.image.clone()).collect()
            };
            let is_said = losses.iter().any(|loss| loss.message.contains("the image"));
            assert!(is_said || images(&first) == images(&second), "{name} as {to}\n{written}");
            let told = if to == Language::Ns { is_told(&first) } else { !losses.is_empty() };
            let wanted = if to == Language::Ns { numbered(&first) } else { first.clone() };
            assert!(told || second == wanted, "{name} as {to}\n{written}\n{losses:#?}");
            count += usize::from(!told);
        }
    }
    assert!(count >= 20, "{count}");
}

/// A box is the same image in every language that can name it.
#[test]
fn boxes_are_one_image_in_every_language() {
    let mut site = common::ns::site();
    site.images.insert("ub14.box".to_owned(), "ubuntu:14.04".parse().unwrap());
    for (os, kind, name, url, image) in [
        ("ubuntu", "vagrant", "lab/ub14", "http://mirror.example/ub14.box", Some("ubuntu:14.04")),
        ("ubuntu", "vagrant", "lab/other", "http://mirror.example/other.box", None),
        ("windows", "vagrant", "deter/win7", "http://mirror.example/win7.box", None),
        ("linux", "docker", "debian:12", "", Some("debian:12")),
    ] {
        let list = format!(
            "[{{\"name\": \"a\", \"image_os\": {os:?}, \"image_type\": {kind:?}, \"image_name\": {name:?}, \"image_url\": {url:?}}}]"
        );
        let pairs = [("os", os), ("type", kind), ("name", name), ("url", url)];
        let ns: String = pairs
            .iter()
            .map(|(key, value)| format!("tb-add-node-attribute $a containers:image_{key} {value:?}\n"))
            .collect();
        let ns = format!("set ns [new Simulator]\nset a [$ns node]\n{ns}$ns run\n");
        let topdl: String = pairs
            .iter()
            .map(|(key, value)| {
                format!("<attribute><attribute>containers:image_{key}</attribute><value>{value}</value></attribute>")
            })
            .collect();
        let topdl =
            format!("<topology><elements><computer><name>a</name>{topdl}</computer></elements></topology>");
        for (language, text) in [(Language::Containers, list), (Language::Ns, ns), (Language::Topdl, topdl)] {
            let run = |text: &str, site: &Site| testyard_formats::ns::import(text, site, &Process::default());
            let reader = Reader { site: &site, context: None, hosts: None, ns: Some(&run) };
            let import = reader.read(&text, language).unwrap();
            let found = import.topology.nodes[0].image.as_ref().map(|image| image.as_str());
            assert_eq!(found, image, "{language} {text}");
            let warned = import.diagnostics.iter().any(|d| d.message.contains("the default"));
            assert_eq!(warned, image.is_none(), "{language} {:#?}", import.diagnostics);
        }
    }
}

/// What both must agree on, one by one.
#[test]
fn things_that_come_back() {
    for links in [
        "{name: l, between: [a, b], rate: 10Mbit, delay: 20ms, loss: 2%}",
        "{name: l, between: [a, b], delay: 5.5ms, jitter: 1ms normal, corrupt: 1%, reorder: 3%}",
        "{name: l, between: [a, b], from: {a: {rate: 1Mbit, loss: burst 1% 25%}, b: {loss: every 7}}}",
        "{name: l, between: [a, b], queue: {limit: 64KiB, red: true}}",
        "{name: l, between: [a, b], from: {a: {queue: {limit: 20 packets, red: {min: 3, max: 9, probability: 7%, weight: 1%, gentle: true}}}}}",
        "{name: l, between: [a, b], from: {a: {queue: 50 packets}}}",
        "{name: l, lan: [a, b, c], rate: 100Mbit, delay: 2ms, loss: 1%}",
        "{name: l, lan: [a, b, c], delay: 3ns, jitter: 1ms}",
        "{name: l, lan: [a, b, c], delay: 10ms, from: {c: {delay: 30ms, rate: 1Mbit}}}",
        "{name: l, lan: [a, b, c], queue: 7 packets, duplicate: 1%}",
        "{name: l, lan: [{node: a, address: 10.2.0.2/16}, {node: b, mac: \"02:00:00:00:00:05\"}, c], mtu: 1400, seed: 9, down: true}",
        "{name: l, between: [{node: a, address: 10.2.0.2/30}, {node: b, address: \"fd00::1/64\"}], capture: {bytes: 96, filter: tcp port 80}}",
        "{name: l, lan: [a, b, c], prefix: 29}",
        "{name: l, between: [a, b], prefix: 24}",
        "{name: l, between: [{node: a, cost: 5}, {node: b, cost: 7}]}",
    ] {
        let text = format!("nodes: {{a: , b: , c: }}\nlinks: [{links}]\n");
        let topology = parse_yaml(&text).unwrap_or_else(|e| panic!("{text}{:#?}", e.diagnostics)).topology;
        let (written, first) = there_and_back(&topology, Language::Ns).unwrap();
        assert_eq!(first, numbered(&topology), "{written}");
    }
    for node in [
        "{type: docker-container, image: \"debian:12\"}",
        "{image: postgres, host: rack1, exclusive: true, ports: [80, 53/udp], on-failure: ignore}",
        "{run: 'echo \"$HOME\" [ok] {x} ; y > /tmp/x'}",
        "{run: [a, {command: \"b \\\\ c\", shell: bash, timeout: 30}]}",
        "{install: [{url: \"https://example.net/a%20b.tgz\", path: /srv}, {url: \"https://example.net/x.zip\", path: \"/a b\"}]}",
        "{programs: {load: {command: \"iperf3 -s\", directory: /tmp, timeout: 60, expected-exit: 3}}}",
        "{attributes: {\"containers:ghost\": \"true\", k: \"a \\\"b\\\" {c} [d] $e \\\\ é\"}}",
        "{storage: [{path: /data, size: 10GB}, {path: /more}]}",
    ] {
        let text = format!("nodes: {{set: {node}}}\n");
        let Ok(import) = parse_yaml(&text) else {
            panic!("{text} {:#?}", parse_yaml(&text).unwrap_err().diagnostics)
        };
        let (written, first) = there_and_back(&import.topology, Language::Ns).unwrap();
        assert_eq!(first, import.topology, "{written}");
    }
}

/// Events and routes, those of one direction too.
#[test]
fn schedules_and_routes_come_back() {
    let text = r#"
nodes:
  a: {programs: {load: "ping b"}, routes: [{to: l2, via: r}]}
  r:
  b: {routes: [{to: l1, via: r}, {to: 10.9.0.0/16, via: 10.1.1.1}]}
links:
- {name: first, between: [a, r]}
- {name: l1, between: [a, r]}
- {name: l2, lan: [r, b], delay: 4ms}
routing: manual
schedule:
- {at: 1s, down: l1}
- {at: 2.5s, up: l1}
- {at: 3s, set: l1, delay: 50ms}
- {at: 4s, set: l2, delay: 50ms}
- {at: 5s, set: l1, from: r, corrupt: 1%, loss: burst 1% 5%}
- {at: 6s, set: l2, from: b, jitter: 1ms normal}
- {at: 7s, start: load, command: 'echo "$x" \ [y]; id'}
- {at: 8s, stop: load}
- {at: 9s, restart: b}
- {at: 10s, reload: b}
- {at: 11s, set: first, from: a, delay: 9ms}
"#;
    let topology = parse_yaml(text).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics)).topology;
    let (written, first) = there_and_back(&topology, Language::Ns).unwrap();
    let mut wanted = numbered(&topology);
    // Directions of events are named by interfaces.
    for (event, was) in wanted.schedule.iter_mut().zip(&first.schedule) {
        use testyard_model::schedule::Action::LinkSet;
        if let (LinkSet { from: Some(from), .. }, LinkSet { from: Some(other), .. }) =
            (&mut event.action, &was.action)
        {
            let node = |id: &ClientId| id.as_str().split(':').next().unwrap().to_owned();
            assert_eq!(node(from), node(other));
            *from = other.clone();
        }
    }
    assert_eq!(first, wanted, "{written}");
}

/// What a link loses on the way (of a node that is on a LAN twice) does not turn one event into two afterwards.
#[test]
fn events_of_several_settings_are_a_fixed_point() {
    let text = r#"
nodes: {a: , b: }
links:
- {name: l, lan: [a, {node: a, interface: again}, b], to: {again: {loss: 1%}}}
schedule:
- {at: 1s, set: l, loss: none, delay: 3ms}
"#;
    let topology = parse_yaml(text).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics)).topology;
    let (_, first) = there_and_back(&topology, Language::Ns).unwrap();
    let (written, second) = there_and_back(&first, Language::Ns).unwrap();
    assert_eq!(second, first, "{written}");
}

/// Names that Tcl or NS has a use for.
#[test]
fn names_that_mean_something() {
    for name in [
        "set",
        "if",
        "ns",
        "env",
        "argv",
        "errorInfo",
        "puts",
        "tbnode-n7",
        "tblink-l2",
        "123",
        "-x",
        "list",
        "a-b",
        "new",
    ] {
        let text = format!(
            "nodes: {{{name:?}: , other: , third: }}\nlinks: [{{name: l, between: [{name:?}, other]}}, {{name: source, lan: [{name:?}, third]}}]\n"
        );
        let topology = parse_yaml(&text).unwrap_or_else(|e| panic!("{text}{:#?}", e.diagnostics)).topology;
        let (written, first) = there_and_back(&topology, Language::Ns).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(first, numbered(&topology), "{written}");
    }
}

/// What NS has not is left out, and said.
#[test]
fn what_cannot_be_said_is_told() {
    let topology = parse_yaml(
        "nodes: {a: {interfaces: [spare], routes: [{to: b, via: b}]}, b: , c: }\nlinks: [{name: l, between: [a, b]}, {name: m, between: [a, b]}]\n",
    )
    .unwrap();
    let mut topology = topology.topology;
    let mut own = topology.links[0].clone();
    own.client_id = "own".parse().unwrap();
    own.kind = LinkKind::Lan;
    own.members.truncate(1);
    topology.links.push(own);
    let losses: Vec<String> =
        export(&topology, Language::Ns).unwrap().losses.iter().map(ToString::to_string).collect();
    for told in ["own is left out", "spare is left out", "a route of node a"] {
        assert!(losses.iter().any(|loss| loss.contains(told)), "{told}: {losses:#?}");
    }
}
