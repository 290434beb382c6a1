//! NS files as people write them, each with what becomes of it.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fmt::Write as _;

use common::ns::{import, site};
use common::{not_run, shared};
use testyard_formats::import::{Import, Refused, Treatment};
use testyard_model::diagnostic::Severity;
use testyard_model::schedule::Action;
use testyard_model::setting::Setting;

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

/// What became of the statements of a line of a file.
fn verdicts(import: &Import, line: u32) -> Vec<(Treatment, String)> {
    let of_line = import.report.iter().filter(|statement| statement.position.line == line);
    of_line.map(|s| (s.treatment, s.note.clone().unwrap_or_default())).collect()
}

/// DETER's users have csh, and their files have its redirections.
#[test]
fn commands_of_csh_are_written_for_sh() {
    let import = import(
        r#"set ns [new Simulator]
set a [$ns node]
tb-set-node-startcmd $a "sudo /x/bootstrap site.conf >& /tmp/container.log"
set p [$a program-agent -command "setenv A b; make |& tee log"]
set q [$a program-agent -command "ls 2>&1 >&2"]
set r [$a program-agent -command "foreach i (1 2 3)"]
$ns at 1 "$q start -command {id >& /tmp/id}"
$ns run
"#,
    )
    .unwrap();
    let node = &import.topology.nodes[0];
    assert_eq!(node.services.executes[0].command, "sudo /x/bootstrap site.conf >/tmp/container.log 2>&1");
    let programs: Vec<&str> = node.programs.iter().map(|program| program.command.as_str()).collect();
    assert_eq!(programs, ["export A=b; make 2>&1 | tee log", "ls 2>&1 >&2", "foreach i (1 2 3)"]);
    assert!(format!("{:?}", import.topology.schedule).contains("id >/tmp/id 2>&1"));
    for (line, treatment, note) in [
        (3, Treatment::Approximated, ">& FILE is taken for >FILE 2>&1"),
        (4, Treatment::Approximated, "setenv A B is taken for export A=B, |& is taken for 2>&1 |"),
        (5, Treatment::Honoured, ""),
        (6, Treatment::Approximated, "foreach is csh's"),
        (7, Treatment::Approximated, ">& FILE"),
    ] {
        let told = verdicts(&import, line);
        assert!(told.iter().any(|(t, n)| *t == treatment && n.contains(note)), "{line}: {told:?}");
    }
    let warned: Vec<_> = import.diagnostics.iter().filter(|d| d.severity == Severity::Warning).collect();
    assert_eq!(warned.len(), 1, "{warned:#?}");
}

/// The order in which a queue's variables are set does not count, in the file and at one time.
#[test]
fn a_queue_is_what_all_its_variables_say() {
    let prologue = "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\n\
                    set l [$ns duplex-link $a $b 1Mb 2ms DropTail]\nset q [[$ns link $a $b] queue]\n";
    let read = |lines: &str| import(&format!("{prologue}{lines}\n$ns run\n")).unwrap();
    let whole = "$q set thresh_ 10\n$q set maxthresh_ 40\n$q set gentle_ 1\n$q set red_ 1\n$q set linterm_ 5";
    let mut backwards: Vec<&str> = whole.lines().collect();
    backwards.reverse();
    let (one, other) = (read(whole), read(&backwards.join("\n")));
    assert_eq!(one.topology, other.topology);
    let red = one.topology.links[0].members[0].to_link.queue.unwrap().red.unwrap();
    assert_eq!((red.min, red.max, red.gentle, red.probability.ratio()), (10, 40, true, 0.2));
    assert_eq!(one.diagnostics, []);
    let idle = read("$q set thresh_ 10");
    assert_eq!(verdicts(&idle, 6), [(Treatment::Ignored, "the queue is not RED: set red_ 1 too".to_owned())]);

    let events = read(
        "$ns at 30 \"$q set thresh_ 4\"\n$ns at 11 \"$q set limit_ 100; $q set thresh_ 7\"\n\
         $ns at 20 \"$q set red_ 1\"\n$ns at 40 \"$q set red_ 0\"",
    );
    let shown: Vec<String> = events
        .topology
        .schedule
        .iter()
        .map(|event| match &event.action {
            Action::LinkSet { settings, .. } => match settings[0] {
                Setting::Queue(Some(queue)) => {
                    format!("{} {:?} {:?}", event.at, queue.limit, queue.red.map(|red| red.min))
                }
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "30s Packets(100) Some(4)",
            "11s Packets(100) None",
            "11s Packets(100) None",
            "20s Packets(100) Some(7)",
            "40s Packets(100) None"
        ]
    );
    assert_eq!(events.diagnostics, []);
}

/// What is refused has a place and a remedy that helps.
#[test]
fn what_was_meant_is_said() {
    let refused =
        |lines: &str| import(&format!("set ns [new Simulator]\n{lines}\n")).unwrap_err().to_string();
    for (lines, told) in [
        ("set n(1) [$ns node]\nset n(3) [$ns node]\ntb-set-node-os $n(2) x", "(there are $n(1), $n(3))"),
        ("set a [$ns node]\nnss node", "(did you mean ns?)"),
        ("set a [$ns node]\ntb-fix-node $a $a\n$ns run", "3:1: a cannot be fixed to itself"),
        ("set a [$ns node]", "2:1: the file never runs its simulator"),
    ] {
        assert!(refused(lines).contains(told), "{}", refused(lines));
    }
}

/// Emulab's limit holds for every language.
#[test]
fn events_are_counted() {
    let events = |count: usize| {
        import(&format!(
            "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\n\
             set l [$ns duplex-link $a $b 1Mb 2ms DropTail]\n\
             for {{set i 0}} {{$i < {count}}} {{incr i}} {{\n$ns at $i \"$l down\"\n}}\n$ns run\n"
        ))
    };
    assert_eq!(events(14_000).unwrap().topology.schedule.len(), 14_000);
    assert!(events(14_001).unwrap_err().to_string().contains("6:1: more than 14000 events"));
}

/// One verdict a statement, and a mask without addresses says how large the network is.
#[test]
fn masks_are_of_what_is_chosen_too() {
    let import = import(
        "set ns [new Simulator]\nset a [$ns node]\nset b [$ns node]\n\
         set l [$ns duplex-link $a $b 1Mb 2ms DropTail]\ntb-set-netmask $l 255.255.255.248\n$ns run\n",
    )
    .unwrap();
    assert_eq!(import.topology.links[0].prefix_length, Some(29));
    assert_eq!(verdicts(&import, 5), [(Treatment::Honoured, String::new())]);
    for file in ["containers", "services", "statements", "events", "typos", "lists"] {
        let import = self::import(&data(file)).unwrap();
        let mut places = std::collections::HashSet::new();
        for statement in import.report.iter().filter(|s| !s.command.starts_with("event ")) {
            assert!(places.insert((statement.position, &statement.command)), "{file}: {statement:?}");
        }
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
