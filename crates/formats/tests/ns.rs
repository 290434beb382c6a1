//! NS files as people write them, each with what becomes of it.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fmt::Write as _;

use common::ns::{import, site};
use common::{not_run, shared};
use testyard_formats::import::{Import, Refused, Treatment};
use testyard_model::diagnostic::Severity;

fn told(outcome: &Result<Import, Refused>) -> String {
    let mut text = String::new();
    let diagnostics = match outcome {
        Ok(import) => {
            writeln!(text, "{}", serde_json::to_string_pretty(&import.topology).unwrap()).unwrap();
            &import.diagnostics
        }
        Err(refused) => &refused.diagnostics,
    };
    for diagnostic in diagnostics {
        let severity = match diagnostic.severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "ERROR",
        };
        writeln!(text, "{severity} {diagnostic}").unwrap();
    }
    for statement in outcome.iter().flat_map(|import| &import.report) {
        let treatment = match statement.treatment {
            Treatment::Honoured => "+",
            Treatment::Approximated => "~",
            Treatment::Ignored => "-",
        };
        let note = statement.note.as_deref().unwrap_or_default();
        writeln!(text, "{treatment} {} {} {note}", statement.position, statement.command).unwrap();
    }
    text
}

fn data(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/data/ns/{name}.ns", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

macro_rules! golden {
    ($($test:ident $file:literal $good:literal)*) => {
        $(#[test]
        fn $test() {
            let outcome = import(&data($file));
            assert_eq!(outcome.is_ok(), $good, "{}", told(&outcome));
            insta::assert_snapshot!($file, told(&outcome));
        })*

        #[test]
        fn every_file_is_a_test() {
            let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ns"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let mut known = vec![$(concat!($file, ".ns").to_owned()),*];
            files.sort();
            known.sort();
            assert_eq!(files, known);
        }
    };
}

golden! {
    the_rules "rules" true
    bare_words "bare-words" true
    dumbbell "dumbbell" true
    procs "procs" true
    grid "grid" false
    grid_linked "grid-linked" true
    lists "lists" true
    events "events" true
    simplex "simplex" true
    exact "exact" true
    routes "routes" true
    services "services" true
    containers "containers" true
    deter_lan "deter-lan" true
    typos "typos" true
    statements "statements" true
    alone "alone" true
    errors "errors" false
    c3p0 "c3p0" false
    prose "prose" false
    no_run "no-run" false
    cycle "cycle" false
}

#[test]
fn strictly_a_warning_refuses() {
    let read = || import(&data("typos")).unwrap();
    let refused = read().strict().unwrap_err();
    let meant = |diagnostic: &testyard_model::diagnostic::Diagnostic| {
        diagnostic.severity == Severity::Error && diagnostic.to_string().contains("did you mean rtproto?")
    };
    assert!(refused.diagnostics.iter().any(meant), "{refused}");
    assert!(import(&data("rules")).unwrap().strict().is_err());
    assert!(import(&data("bare-words")).unwrap().strict().is_ok());
}

#[test]
fn the_example() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/dumbbell.ns")).unwrap();
    let import = import(&text).unwrap().strict().unwrap();
    assert_eq!((import.topology.nodes.len(), import.topology.links.len()), (4, 3));
    let wan = &import.topology.links[1];
    assert_eq!(wan.client_id.as_str(), "wan");
    for member in &wan.members {
        assert_eq!(member.to_link.loss.unwrap().share(), 0.01);
        assert_eq!(member.to_link.delay.to_string(), "40ms");
        assert_eq!(member.to_link.rate.unwrap().to_string(), "10Mbit");
        assert!(member.from_link.is_clear());
    }
}

/// What Emulab's own tests expect of its parser (deter.md §11), where we are not more generous.
#[test]
fn what_emulab_took_and_refused() {
    let good = |text: &str| import(text).is_ok();
    assert!(good("source tb_compat.tcl\nset ns [new Simulator]\n$ns run"), "no node at all");
    assert!(good("set ns [new Simulator]\nset a [$ns node]\n$ns run\nsource tb_compat.tcl"), "one node");
    assert!(!good("foo bar"), "prose");
    assert!(good(
        "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\n$ns duplex-link a b 1150Mb 0 DropTail\n$ns run"
    ));
}

/// A file made by others, read in place.
#[test]
fn a_real_file() {
    let Some(folder) = shared("testdata/ns") else { return not_run("shared NS files") };
    let text = std::fs::read_to_string(folder.join("dtn2-linear.ns")).unwrap();
    let import = import(&text).unwrap();
    let names: Vec<&str> = import.topology.nodes.iter().map(|node| node.client_id.as_str()).collect();
    assert_eq!(names, ["node-0", "node-1", "node-2", "node-3", "node-4"]);
    let links: Vec<&str> = import.topology.links.iter().map(|link| link.client_id.as_str()).collect();
    assert_eq!(links, ["links-0-1", "links-1-2", "links-2-3", "links-3-4"]);
    assert!(import.topology.links.iter().all(|link| link.capture.is_some()
        && link.members.iter().all(|member| member.to_link.rate.unwrap().bits_per_second() == 128_000)));
}

/// Every command that the reference lists, and no other.
#[test]
fn the_reference_has_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/ns.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = testyard_formats::ns::table();
    if std::env::var_os("TESTYARD_UPDATE_DOCS").is_some() && !text.contains(&table) {
        let (before, rest) = text.split_once("| command | taken | note |\n| --- | --- | --- |\n").unwrap();
        let after = rest.find("\n\n").map_or("", |at| &rest[at + 1..]);
        let head = "| command | taken | note |\n| --- | --- | --- |\n";
        std::fs::write(path, format!("{before}{head}{table}{after}")).unwrap();
        return;
    }
    assert!(
        text.contains(&table),
        "docs/reference/ns.md is not up to date: TESTYARD_UPDATE_DOCS=1 writes it anew"
    );
}

/// Each row can be said: the interpreter knows the word, and the reader says what the row says, or what is wrong.
#[test]
fn every_row_is_known() {
    let prologue = "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\nset l [$ns duplex-link $a $b 1Mb 2ms DropTail]\n";
    for row in testyard_formats::ns::table().lines() {
        let command = row.split('`').nth(1).unwrap().split(' ').next().unwrap();
        if !command.starts_with("tb-") {
            continue;
        }
        let outcome = import(&format!("{prologue}{command}\n$ns run\n"));
        let told = told(&outcome);
        assert!(!told.contains("there is no command"), "{command}: {told}");
    }
    assert!(site().sliver_types.len() == 2);
}
