//! NS files that mean harm, or nothing: refused with a reason, or a topology that holds together.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::ns::import;
use proptest::prelude::*;
use testyard_formats::fuzzing;
use testyard_tcl::Process;

/// The committed corpus, as the fuzz target takes it and as Tcl does.
#[test]
fn corpus() {
    let mut count = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/ns")).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        fuzzing::ns(&data);
        fuzzing::ns_of(&String::from_utf8_lossy(&data), &Process::default());
        count += 1;
    }
    assert!(count >= 20, "{count} files");
}

#[track_caller]
fn refused(text: &str, reason: &str) {
    let refused = import(text).unwrap_err();
    assert!(refused.to_string().contains(reason), "{refused}");
}

#[test]
fn limits_are_told() {
    refused("set ns [new Simulator]\n\nwhile 1 {}\n$ns run", "3:1: the file was stopped: it ran for 1000 ms");
    refused("set ns [new Simulator]\n\nwhile 1 {}\n$ns run", "is there a loop that never ends?");
    refused("set x a\nwhile 1 { append x $x }", "memory");
    refused("set x a\nwhile 1 { append x $x }", "1:1: the file needs");
    refused(&format!("# {}", "x".repeat(10_000_000)), "longer than 4194304 bytes");
    refused("set ns [new Simulator]\nwhile 1 { $ns node }", "the file was stopped");
    refused("proc p {} { p }\np", "too many nested evaluations");
}

/// Files of ten thousand nodes and twenty thousand links are read, whether a loop makes them or each has its line.
#[test]
fn large_files_are_read() {
    let (nodes, links) = (10_000, 20_000);
    let ends = |link: usize| (link % nodes, (link + 1 + link / nodes) % nodes);
    let mut flat: String = (0..nodes).map(|n| format!("set n{n} [$ns node]\n")).collect();
    for link in 0..links {
        let (one, other) = ends(link);
        flat += &format!("set l{link} [$ns duplex-link $n{one} $n{other} 100Mb 10ms DropTail]\n");
    }
    let looped = format!(
        "for {{set i 0}} {{$i < {nodes}}} {{incr i}} {{\n  set n($i) [$ns node]\n}}\n\
         for {{set i 0}} {{$i < {links}}} {{incr i}} {{\n  set l($i) [$ns duplex-link $n([expr {{$i % {nodes}}}]) \
         $n([expr {{($i + 1 + $i / {nodes}) % {nodes}}}]) 100Mb 10ms DropTail]\n}}\n"
    );
    for text in [flat, looped] {
        let import = import(&format!("set ns [new Simulator]\n{text}$ns run\n")).unwrap();
        assert_eq!((import.topology.nodes.len(), import.topology.links.len()), (nodes, links));
    }
}

#[test]
fn there_is_no_way_out() {
    for command in [
        "exec rm -rf /",
        "open /etc/shadow",
        "socket localhost 22",
        "file delete /",
        "interp create",
        "after 1",
    ] {
        refused(command, "has neither files nor processes");
    }
    refused("source /etc/passwd", "cannot be read");
}

#[test]
fn names_that_are_none() {
    let named = |name: &str| import(&format!("set ns [new Simulator]\nset {{{name}}} [$ns node]\n$ns run"));
    for name in ["a_b", "é", "a b", "a.b", "a:b", "ops", "", "a\tb", "../x"] {
        assert!(named(name).is_err(), "{name:?}");
    }
    for name in ["a", "A-1", "n(1)", "tbnode-n7", "set", "if", "list", "switch", "string"] {
        assert!(named(name).is_ok(), "{name:?}: {}", named(name).unwrap_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "[a-z$\\[\\]{}\" \\\\\n;#()]{0,80}") {
        fuzzing::ns_of(&text, &Process::default());
    }
}

proptest! {
    /// Statements of the right words with any arguments: nothing panics, nothing contradictory comes out.
    #[test]
    fn any_statements(
        lines in proptest::collection::vec(
            (
                proptest::sample::select(statements()),
                proptest::collection::vec(
                    proptest::sample::select(vec![
                        "a", "b", "c", "l", "lan", "{a b c}", "{a a}", "10Mb", "0", "1", "5ms", "0.5", "10.1.2.3",
                        "1e9", "*", "-1", "255.255.0.0", "p", "RED", "up", "{p start}", "{l down; lan delay 5}",
                        "testyard:to-link", "delay=5ms", "static", "x y",
                    ]),
                    0..9,
                ),
            ),
            0..30,
        )
    ) {
        let mut text = "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\nset l [$ns duplex-link a b 1Mb 1ms DropTail]\n\
                        set lan [$ns make-lan {a b} 1Mb 1ms]\nset p [$a program-agent -command ls]\n"
            .to_owned();
        for (statement, arguments) in lines {
            text += &format!("{statement} {}\n", arguments.join(" "));
        }
        fuzzing::ns(format!("{text}$ns run\n").as_bytes());
    }
}

/// Every statement of the table that has a subject which the test's file makes.
fn statements() -> Vec<String> {
    let mut statements = vec!["set c [$ns node]".to_owned()];
    for row in testyard_formats::ns::table().lines() {
        let command = row.split('`').nth(1).unwrap();
        let words: Vec<&str> = command.split(' ').collect();
        statements.push(match words[0] {
            "$ns" | "$node" | "$link" | "$program" => {
                let subject = ["$ns", "a", "l", "p"]
                    [["$ns", "$node", "$link", "$program"].iter().position(|it| *it == words[0]).unwrap()];
                if words[1] == "run" {
                    continue;
                }
                format!("{subject} {}", words[1])
            }
            command if command.starts_with("tb-") => command.to_owned(),
            _ => continue,
        });
    }
    statements
}
