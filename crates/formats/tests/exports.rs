//! What is written in another language reads again, and stays the same from then on; what is lost is said.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::topologies::topologies;
use proptest::prelude::*;
use testyard_formats::export::export;
use testyard_formats::import::Site;
use testyard_formats::language::Language;
use testyard_formats::own::parse_yaml;
use testyard_formats::read::Reader;
use testyard_formats::rspec::{Context, Unbound};
use testyard_model::topology::Topology;

fn site() -> Site {
    Site { sliver_types: vec!["docker-container".parse().unwrap()], ..Site::default() }
}

fn read(text: &str, language: Language) -> Result<Topology, TestCaseError> {
    let site = site();
    let context = Context { unbound: Unbound::Ours, ..common::context() };
    let reader = Reader { site: &site, context: Some(&context), hosts: None, ns: None };
    let import = reader.read(text, language);
    import.map(|i| i.topology).map_err(|e| TestCaseError::fail(format!("{:#?}\n{text}", e.diagnostics)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Import, export, import: from the first import on, nothing changes any more.
    #[test]
    fn every_language_that_is_read_is_a_fixed_point(topology in topologies(true)) {
        for language in [Language::Rspec, Language::Topdl, Language::Json, Language::Yaml] {
            let written = export(&topology, language).unwrap();
            let first = read(&written.text, language)?;
            let again = export(&first, language).unwrap();
            let second = read(&again.text, language)?;
            prop_assert_eq!(&second, &first, "{}\n{}\n{}", language, written.text, again.text);
            if first == topology {
                continue;
            }
            prop_assert!(!written.losses.is_empty(), "{} loses something and does not say so\n{}\n{:#?}", language, written.text, first);
        }
    }

    /// What a language says in full comes back as it was.
    #[test]
    fn what_is_not_lost_comes_back(topology in topologies(false)) {
        for language in [Language::Rspec, Language::Topdl] {
            let written = export(&topology, language).unwrap();
            let first = read(&written.text, language)?;
            prop_assert!(first == topology || !written.losses.is_empty(), "{}\n{}\n{:#?}", language, written.text, first);
        }
    }

    #[test]
    fn every_language_writes_every_topology(topology in topologies(true)) {
        for language in [Language::Ns, Language::Graphviz, Language::Mermaid] {
            let written = export(&topology, language).unwrap();
            prop_assert!(!written.text.contains('\0'));
            let again = export(&topology, language).unwrap();
            prop_assert_eq!(written, again, "it is the same each time");
        }
    }
}

const EVERYTHING: &str = r#"
testyard: 1
environment: {SEED: 5}
nodes:
  web-1:
    type: docker-container
    image: debian:12
    host: rack1
    ports: [80]
    install: {url: "https://example.net/site.tgz", path: /srv}
    run: echo "$HOME" [ok] > /tmp/x
    programs: {load: {command: iperf3 -s, directory: /tmp, timeout: 60}}
    routes: [{to: db, via: router}]
    on-failure: nonfatal
    attributes: {"containers:ghost": "true"}
  db 1: {interfaces: [spare], run: [a, b]}
  router:
  ops:
  db:
links:
- name: up
  between: [{node: web-1, address: 10.9.0.5/24}, router]
  rate: 10Mbit
  delay: 20ms
  loss: 2%
  capture: {bytes: 96, filter: tcp}
- name: slow
  between: [router, db 1]
  rate: 1Mbit
  delay: 5.5ms
  queue: {limit: 64KiB, red: true}
  from: {router: {rate: 512kbit, jitter: 1ms}}
- name: edge
  lan: [router, {node: db, address: 10.2.0.2/16, mac: "02:00:00:00:00:05"}, ops]
  rate: 100Mbit
  delay: 10ms
  loss: 1%
- name: mixed
  lan: [web-1, router, db]
  delay: 10ms
  from: {db: {delay: 30ms}}
  mtu: 1400
schedule:
- {at: 10s, down: edge}
- {at: 12.5s, set: up, rate: 1Mbit, delay: 50ms, loss: 5%}
- {at: 20s, start: load, command: 'echo "$x"; id'}
- {at: 30s, restart: db}
- {at: 40s, set: up, from: router, corrupt: 1%}
"#;

#[test]
fn golden() {
    let topology =
        parse_yaml(EVERYTHING).map_err(|refused| format!("{:#?}", refused.diagnostics)).unwrap().topology;
    for language in Language::ALL {
        match export(&topology, language) {
            Ok(written) => {
                let losses: String = written.losses.iter().map(|loss| format!("! {loss}\n")).collect();
                insta::assert_snapshot!(language.as_str(), format!("{}\n{losses}", written.text));
            }
            Err(error) => {
                assert!(language == Language::Containers && error.to_string().contains("has no links"))
            }
        }
    }
}

/// What is written as RSpec is a request by the schema.
#[test]
fn requests_validate() {
    let Some(schemas) = common::shared("schemas/rspec-3") else { return common::not_run("request schema") };
    let topology = parse_yaml(EVERYTHING).unwrap().topology;
    let text = export(&topology, Language::Rspec).unwrap().text;
    common::validate(&schemas, "request.xsd", &[("everything".to_owned(), text)]);
}

/// A request for other testbeds is refused at its first node.
#[test]
fn nothing_for_us_has_a_place() {
    let context = Context { unbound: Unbound::Foreign, ..common::context() };
    let site = site();
    let reader = Reader { site: &site, context: Some(&context), hosts: None, ns: None };
    let refused = reader.read(&common::request("<node client_id=\"a\"/>"), Language::Rspec).unwrap_err();
    assert!(refused.to_string().starts_with("2:1: "), "{refused}");
}

/// The examples read without a warning, those of one topology as that one. NS needs an interpreter, and has its own test.
#[test]
fn the_examples_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let four = std::fs::read_to_string(folder.join("four-nodes.yaml")).unwrap();
    let four = parse_yaml(&four).unwrap().topology;
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        for (ending, language) in
            [("rspec", Language::Rspec), ("topdl.xml", Language::Topdl), ("json", Language::Json)]
        {
            let text = export(&four, language).unwrap().text;
            std::fs::write(folder.join(format!("four-nodes.{ending}")), text).unwrap();
        }
    }
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(language) = Language::detect(&name, &text) else { continue };
        if language == Language::Ns {
            continue;
        }
        let topology = read(&text, language).unwrap_or_else(|error| panic!("{name}: {error}"));
        if name.starts_with("four-nodes.") {
            assert_eq!((topology.nodes.len(), topology.links.len()), (4, 2), "{name}");
        }
        count += 1;
    }
    assert!(count >= 6, "{count}");
}
