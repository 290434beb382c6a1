//! Our own language: every topology is written so that it reads again as itself, and what people get wrong is told.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::topologies::topologies;
use proptest::prelude::*;
use testyard_formats::own::{parse_json, parse_yaml, schema, to_json, to_yaml};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_topology_reads_again_as_itself(topology in topologies(true)) {
        let json = to_json(&topology);
        let read = parse_json(&json).map_err(|e| TestCaseError::fail(format!("{:#?}\n{json}", e.diagnostics)))?;
        prop_assert_eq!(&read.topology, &topology, "{}", json);
        prop_assert_eq!(read.diagnostics, []);
        let yaml = to_yaml(&topology);
        let read = parse_yaml(&yaml).map_err(|e| TestCaseError::fail(format!("{:#?}\n{yaml}", e.diagnostics)))?;
        prop_assert_eq!(&read.topology, &topology, "{}", yaml);
        prop_assert_eq!(to_yaml(&read.topology), yaml);
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,200}", lines in "([ -]{0,3}(nodes|links|lan|between|a|b|delay|to)?[:,\\[{}\\]]? ?\n?){0,30}") {
        for text in [text, lines] {
            let _ = (parse_json(&text), parse_yaml(&text));
        }
    }
}

const BY_HAND: &str = r#"# Two sites and a transit network.
nodes:
  web:
    image: debian:12
    ports: [80, 53/udp]
    run: /srv/run.sh
  db: {host: rack1, storage: [{path: /data, size: 10GB}]}
  router:
  1:
links:
  - between: [web, router]
    rate: 10Mbit
    delay: 50ms
    loss: 1%
    from: {web: {rate: 1Mbit}}
  - name: backbone
    lan: [router, {node: db, address: 10.2.0.5/24, cost: 10}, 1]
    delay: 10ms
    queue: {limit: 64KiB, red: true}
    to: {1: {rate: 100kbit}}
  - between: [web, router]
schedule:
  - {at: 10s, set: backbone, delay: 200ms, from: db}
  - {at: 1m, down: web-router}
"#;

#[test]
fn what_people_write() {
    let read = parse_yaml(BY_HAND).unwrap();
    assert_eq!(read.diagnostics, []);
    insta::assert_json_snapshot!(read.topology);
    insta::assert_snapshot!("what_people_write_yaml", to_yaml(&read.topology));
    insta::assert_snapshot!("what_people_write_json", to_json(&read.topology));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let table = [
        ("nodes: [a]\nlinsk: []\n", "2:1: the topology has no \"linsk\" (did you mean \"links\"?)"),
        ("nodes: {a: {imgae: x}}", "1:13: a node has no \"imgae\" (did you mean \"image\"?)"),
        ("nodes: {a: {image: Debian}}", "1:20: image: \"Debian\" is not the name of an image"),
        ("nodes: [a, a]", "1:12: the name \"a\" is taken: another node has it, at 1:9"),
        ("nodes: [\"\"]", "1:9: node: the client_id is empty"),
        ("nodes: [\"a\\u0007\"]", "has a character that it may not have"),
        (
            "nodes: [web, base]\nlinks: [{between: [web, baes]}]",
            "2:25: there is no node or interface \"baes\" (did you mean \"base\"?)",
        ),
        ("nodes: [a, b, c]\nlinks: [{between: [a, b, c]}]", "2:19: between names 3 instead of 2 (write lan"),
        (
            "nodes: [a, b]\nlinks: [{between: [a, b], dealy: 5ms}]",
            "2:27: a link has no \"dealy\" (did you mean \"delay\"?)",
        ),
        (
            "nodes: [a, b]\nlinks: [{between: [a, b], delay: 5}]",
            "2:34: delay: \"5\" has no unit of a time: write it like 50ms",
        ),
        ("nodes: [a, b]\nlinks: [{between: [a, b], rate: 1bit}]", "a rate of 1bit lets nothing through"),
        ("nodes: [a, b]\nlinks: [{between: [a, b], lan: [a]}]", "a link has both between and lan"),
        ("nodes: [a, b]\nlinks: [{delay: 1ms}]", "a link has neither between nor lan"),
        (
            "nodes: [a, b]\nlinks: [{between: [a, b], from: {c: {delay: 1ms}}}]",
            "2:34: \"c\" is not on link \"a-b\"",
        ),
        (
            "nodes: [a]\nlinks: [{lan: [a, a], from: {a: {delay: 1ms}}}]",
            "\"a\" is 2 times on link \"lan\" (name the interface)",
        ),
        (
            "nodes: {a: {interfaces: [e]}, b: null}\nlinks: [{between: [e, b]}, {between: [e, b]}]",
            "2:39: interface \"e\" is on a link already, at 2:20",
        ),
        (
            "nodes: [a, b]\nlinks: [{between: [{node: a, address: 10.1.1.1}, {node: b, address: 10.1.1.1/24}]}]",
            "2:50: address 10.1.1.1 is on the link twice, first at 2:20",
        ),
        (
            "nodes: [a, b]\nlinks: [{between: [{node: a, address: 10.1.1.300}, b]}]",
            "2:39: \"10.1.1.300\" is no address",
        ),
        (
            "nodes: {a: {routes: [{to: x, via: a}]}}",
            "\"x\" is neither a network nor a node, link or interface",
        ),
        ("nodes: {a: {routes: [{to: a, via: nobody}]}}", "there is no node \"nobody\""),
        (
            "nodes: [a]\nrouting: dynamic",
            "2:10: routing is \"dynamic\" (it can be static, none, manual, session)",
        ),
        ("nodes: [a]\nschedule: [{at: 5s, strat: x}]", "an event has no \"strat\" (did you mean \"start\"?)"),
        ("nodes: [a]\nschedule: [{restart: a}]", "an event has no time"),
        ("nodes: [a]\nschedule: [{at: 1s, restart: a, delay: 1ms}]", "delay has no meaning beside restart"),
        ("nodes: {a: {install: {url: \"ftp://x/y\", path: /x}}}", "which is neither http nor https"),
        ("nodes: {a: {storage: data}}", "no absolute path"),
        ("nodes: {a: {run: {command: x, timeout: 0}}}", "timeout is \"0\""),
        ("testyard: 2\nnodes: [a]", "1:11: another version of the language"),
        ("- a\n- b", "the topology is a list, not a map"),
        ("nodes: {a: {exclusive: maybe}}", "exclusive is neither true nor false"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let refused = parse_yaml(text).map(|import| import.topology).unwrap_err();
        let all: Vec<String> = refused.diagnostics.iter().map(ToString::to_string).collect();
        if !all.iter().any(|one| one.contains(expected)) {
            wrong.push(format!("{text}\n{all:#?}\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_files_are_refused_quickly() {
    let started = std::time::Instant::now();
    let long = format!("nodes: {{a: {{run: \"{}\"}}}}", "x".repeat(10 << 20));
    assert!(parse_yaml(&long).is_ok());
    let wrong = format!("nodes: [{}]", "a, ".repeat(100_000));
    assert!(parse_yaml(&wrong).unwrap_err().diagnostics.len() < 60);
    let many: String = (0..10_001).map(|n| format!("n{n}, ")).collect();
    assert!(
        parse_yaml(&format!("nodes: [{many}]")).unwrap_err().to_string().contains("more than 10000 nodes")
    );
    let members = "a, ".repeat(50_000);
    assert!(parse_yaml(&format!("nodes: [a]\nlinks: [{{lan: [{members}]}}]")).is_err());
    assert!(parse_json(&"[".repeat(1_000_000)).is_err());
    assert!(parse_json(&"{\"a\":".repeat(1_000_000)).is_err());
    assert!(parse_json(&" ".repeat(17 << 20)).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
}

/// The schema is kept beside the documentation; `UPDATE_SCHEMA=1` writes it anew.
#[test]
fn the_committed_schema_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/topology.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, schema()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), schema());
    let parsed: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(parsed["title"], "A Testyard topology");
}

/// What its validators say of a text; nothing if it is good.
fn faults(schemas: &boon::Schemas, schema: boon::SchemaIndex, text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    schemas.validate(&value, schema).err().map(|error| error.to_string()).unwrap_or_default()
}

fn compiled() -> (boon::Schemas, boon::SchemaIndex) {
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("topology.json", serde_json::from_str(&schema()).unwrap()).unwrap();
    let schema = compiler.compile("topology.json", &mut schemas).unwrap();
    (schemas, schema)
}

/// Editors check files by the schema while they are written: it agrees with the reader.
#[test]
fn the_schema_takes_and_refuses_what_the_reader_does() {
    let (schemas, schema) = compiled();
    for (node, is_good) in [
        (r#"{"storage": "/data"}"#, true),
        (r#"{"storage": {"path": "/data", "size": "10GB"}}"#, true),
        (r#"{"storage": ["/data", {"path": "/more"}]}"#, true),
        (r#"{"storage": {"size": "10GB"}}"#, false),
        (r#"{"storage": {"path": "/data", "sise": "10GB"}}"#, false),
        (r#"{"on-failure": "ignore"}"#, true),
        (r#"{"on-failure": "perhaps"}"#, false),
        (r#"{"imgae": "debian:12"}"#, false),
        (r#"{"run": ["a", {"command": "b", "shell": "bash", "timeout": 30}]}"#, true),
        (r#"{"programs": {"load": {"command": "iperf3 -s", "expected-exit": 3}}}"#, true),
    ] {
        let text = format!(r#"{{"nodes": {{"a": {node}}}}}"#);
        let faults = faults(&schemas, schema, &text);
        assert_eq!(faults.is_empty(), is_good, "{node}: {faults}");
        assert_eq!(parse_json(&text).is_ok(), is_good, "{node}");
    }
}

proptest! {
    /// Whatever is written is good by the schema.
    #[test]
    fn what_is_written_is_good_by_the_schema(topology in topologies(true)) {
        let (schemas, schema) = compiled();
        let text = to_json(&topology);
        prop_assert_eq!(faults(&schemas, schema, &text), "", "{}", text);
    }
}
