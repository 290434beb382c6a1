//! Files that mean harm: each ends soon, in an error that says why, and touches nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::time::{Duration, Instant};

use common::{run, told, vocabulary};
use testyard_tcl::{End, Limit, Limits, Process, Tcl, TclError};

/// What a run came to, in a word.
fn outcome(text: &str) -> &'static str {
    let start = Instant::now();
    let limits = Limits { time: Duration::from_millis(300), longest: Duration::ZERO, ..Limits::default() };
    let outcome = match Process::default().run(text, &vocabulary(), &limits) {
        Ok(run) => match run.end {
            End::Finished => "finished",
            End::Failed(_) => "failed",
            End::Limit { limit: Limit::Time, .. } => "time",
            End::Limit { limit: Limit::Commands, .. } => "commands",
            End::Limit { limit: Limit::Output, .. } => "output",
        },
        Err(TclError::Memory { .. }) => "memory",
        Err(TclError::Time { .. }) => "killed",
        Err(TclError::Length(_)) => "length",
        Err(error) => panic!("{error}"),
    };
    assert!(start.elapsed() < Duration::from_secs(30), "{text} took {:?}", start.elapsed());
    outcome
}

#[test]
fn endless() {
    for text in [
        "while 1 {}",
        "while 1 { set x 1 }",
        "for {} 1 {} { catch { while 1 {} } }",
        "proc p {} { while 1 {} }; while 1 { catch p }",
        "while 1 { try { while 1 {} } on error {} {} finally { while 1 {} } }",
        "proc bgerror {m} { while 1 {} }; proc p {} { tailcall p }; p",
        "set x 0; trace add variable x write {apply {args { while 1 {} }}}; set x 1",
        "coroutine c apply {{} { while 1 { yield } }}; while 1 c",
        "lsort -command {apply {{a b} { while 1 {} }}} {1 2}",
        "time {} 1000000000",
        "rename tb-mark x; proc tb-mark args { while 1 {} }; tb-mark",
        "subst {[while 1 {}]}",
        "namespace eval a { while 1 {} }",
    ] {
        let outcome = outcome(text);
        assert!(["time", "commands", "killed"].contains(&outcome), "{text}: {outcome}");
    }
}

#[test]
fn one_step_that_takes_for_ever() {
    let text = "expr {7 ** (7 ** 9) % 10}";
    assert!(["killed", "memory", "failed"].contains(&outcome(text)), "{}", outcome(text));
    let text = format!("string match [string repeat *a 30]b [string repeat a {}]", 4000);
    assert!(["killed", "memory"].contains(&outcome(&text)), "{}", outcome(&text));
}

/// A loop is told from a file that is only long, and where it was is known.
#[test]
fn what_takes_too_long_is_told() {
    let limits = Limits { time: Duration::from_millis(300), longest: Duration::ZERO, ..Limits::default() };
    let run = |text: &str| Process::default().run(text, &vocabulary(), &limits).unwrap().end;
    let flat = "tb-mark a\n".repeat(30);
    let End::Limit { limit: Limit::Time, place, repeats } = run(&format!("{flat}while 1 {{}}\n")) else {
        panic!()
    };
    assert!(repeats && place.is_some_and(|place| place.line == 31), "{place:?}");
    let End::Limit { limit: Limit::Time, repeats, .. } = run(&"tb-mark a\n".repeat(100_000)) else {
        panic!()
    };
    assert!(!repeats);
    let text = format!("{flat}set x a; while 1 {{ append x $x }}");
    let error = Process::default().run(&text, &vocabulary(), &Limits::default()).unwrap_err();
    assert!(error.place().is_some_and(|place| place.line > 20), "{error:?}");
}

#[test]
fn deep() {
    assert_eq!(outcome("proc p {} { p }; p"), "failed");
    assert_eq!(outcome("proc p {} { catch p }; p"), "finished");
    assert_eq!(outcome("proc p x { eval [list p $x] }; p 1"), "failed");
    for text in ["[".repeat(1_000_000), "{".repeat(1_000_000), format!("expr {}", "(".repeat(1_000_000))] {
        assert!(["failed", "memory"].contains(&outcome(&text)), "{}", outcome(&text));
    }
}

#[test]
fn large() {
    for text in [
        "set x a; while 1 { append x $x }",
        "set x {a b}; while 1 { lappend x {*}$x }",
        "string repeat a 2000000000",
        "lrepeat 500000000 a",
        "set i 0; while 1 { set a([incr i]) [string repeat x 100000] }",
        "set s [string repeat a 100000000]; while 1 { set s $s$s }",
    ] {
        let outcome = outcome(text);
        assert!(["memory", "failed", "time"].contains(&outcome), "{text}: {outcome}");
    }
    for text in [
        "while 1 { tb-mark a }",
        "while 1 { catch { tb-mark [string repeat a 10000000] } }",
        "while 1 { new Simulator }",
    ] {
        let outcome = outcome(text);
        assert!(["output", "time"].contains(&outcome), "{text}: {outcome}");
    }
    assert_eq!(outcome("set x [string repeat a 10000000]; tb-mark $x $x $x $x"), "output");
    assert_eq!(outcome(&format!("tb-mark {}", "a".repeat(10_000_000))), "length");
    let line = outcome(&format!("tb-mark {}", "a".repeat(4_000_000)));
    assert!(["finished", "time"].contains(&line), "{line}");
}

#[test]
fn no_way_out() {
    for command in [
        "exec ls",
        "open /etc/passwd",
        "socket localhost 22",
        "file exists /etc/passwd",
        "glob *",
        "cd /",
        "pwd",
        "load x",
        "unload x",
        "interp create",
        "interp invokehidden {} open /etc/passwd",
        "vwait x",
        "after 10 x",
        "update",
        "fconfigure stdout",
        "close stdout",
        "read stdin",
        "gets stdin",
        "encoding system",
        "::tcl::info::frame 0",
        "frame",
        "level",
        "::yard::record a b",
        "chan puts stdout x",
        "::tcl::file::exists /",
        "tcl:file:exists /",
        "old-set x",
        "fcopy stdin stdout",
    ] {
        let run = run(command);
        let End::Failed(failure) = &run.end else { panic!("{command}: {run:?}") };
        let refused = ["invalid command name", "not allowed to invoke"];
        assert!(refused.iter().any(|text| failure.message.contains(text)), "{command}: {}", failure.message);
        assert!(run.records.is_empty(), "{command}: {:?}", run.records);
    }
    assert_eq!(
        told(&run("tb-mark [info exists env] [info exists tcl_platform(user)] [info script]")),
        ["1:1 tb-mark [\"0\", \"0\", \"\"]"]
    );
    assert!(matches!(run("package require http").end, End::Failed(_)));
}

/// Nothing of what the records come from can be changed by the file, other than what it calls itself.
#[test]
fn commands_redefined() {
    for text in [
        "rename set {}; tb-mark ok",
        "rename proc {}; rename puts {}; rename info {}; tb-mark ok",
        "proc set args {}; proc info args {}; tb-mark ok",
        "rename ::tcl::info::level {}; rename ::tcl::info::globals {}; tb-mark ok",
        "namespace delete ::tcl; tb-mark ok",
        "proc unknown args {}; what is this; tb-mark ok",
        "trace add execution tb-mark enter {error no;#}; catch {tb-mark no}; trace remove execution tb-mark enter {error no;#}; tb-mark ok",
        "set opt 3; catch {set opt(a) 1}; unset opt; set opt(a) 1; unset opt; tb-mark ok",
        "set errorInfo {}; set errorCode {TCL LIMIT TIME}; tb-mark ok",
    ] {
        let run = run(text);
        assert_eq!(run.end, End::Finished, "{text}");
        assert!(told(&run).iter().any(|line| line.contains("tb-mark [\"ok\"]")), "{text}: {:?}", told(&run));
    }
    assert_eq!(outcome("namespace delete ::; tb-mark ok"), "failed");
    for text in [
        "error a b {TCL LIMIT TIME}",
        "error {a\tb\nend\t0\t0\tfinished}",
        "error {} {} {a {b}c}",
        "return -code 7 x",
        "break",
        "return -code error",
    ] {
        assert!(["finished", "failed", "time"].contains(&outcome(text)), "{text}");
    }
}

#[test]
fn odd_texts() {
    for text in [
        "",
        "\n",
        "\0",
        "tb-mark \0a",
        "tb-mark \u{1a} b",
        "tb-mark \u{feff}",
        "\u{feff}tb-mark a",
        "tb-mark \\",
        "tb-mark \\ud800 \\udfff",
        "tb-mark é日本\u{1f600}",
        "\r\r\n",
        "{",
        "\"",
        "}",
        "]",
        "$",
        "\\\n",
        "set {} 1; set ns [new Simulator]; set {} [$ns node]; set ( [$ns node]; set {a b} [$ns node]; set :: [$ns node]; set a::b 1",
    ] {
        assert!(["finished", "failed"].contains(&outcome(text)), "{text:?}");
    }
    assert_eq!(
        told(&run("tb-mark a\u{1a}b é日本\u{1f600}\0x")),
        ["1:1 tb-mark [\"a\\u{1a}b\", \"é日本\u{1f600}\\0x\"]"]
    );
}
