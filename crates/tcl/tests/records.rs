//! What a file asks for is told in order, with names and places.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::{run, told, try_run};
use testyard_tcl::{End, Limits, Process, Tcl, TclError};

#[track_caller]
fn gives(text: &str, records: &[&str]) {
    let run = run(text);
    assert_eq!(run.end, End::Finished, "{text}");
    assert_eq!(told(&run), records, "{text}");
}

#[track_caller]
fn fails(text: &str, message: &str, line: u32, column: u32) {
    let End::Failed(failure) = run(text).end else { panic!("{text} runs") };
    let place = failure.place.map(|place| (place.line, place.column));
    assert_eq!((failure.message.as_str(), place), (message, Some((line, column))), "{text}");
}

/// A file is run piece by piece, which nobody notices.
#[test]
fn long_files() {
    let blank = "\n".repeat(50);
    let body = "  tb-mark x\n".repeat(60);
    let text = format!(
        "proc p {{}} {{\n{body}}}{blank}tb-mark a\n{blank}p\n{blank}foreach i {{1 2}} {{\n{blank}  tb-mark $i\n}}\n"
    );
    let mut expected = vec!["112:1 tb-mark [\"a\"]".to_owned()];
    expected.extend((2..62).map(|line| format!("{line}:3 tb-mark [\"x\"]")));
    expected.extend(["265:3 tb-mark [\"1\"]".to_owned(), "265:3 tb-mark [\"2\"]".to_owned()]);
    assert_eq!(told(&run(&text)), expected);
    gives(&format!("tb-mark a\n{blank}return\n{blank}tb-mark b"), &["1:1 tb-mark [\"a\"]"]);
    fails(&format!("{blank}tb-mark a\n{blank}nothing here"), "invalid command name \"nothing\"", 102, 1);
    fails(&format!("{blank}tb-mark a\n{blank}set x {{\n{blank}a"), "missing close-brace", 102, 1);
}

#[test]
fn objects_are_named_after_their_variables() {
    gives(
        "set ns [new Simulator]\nset a [$ns node]\nset n(3) [ns node]\nset l($a-3) [$ns duplex-link a n-3]\ntb-mark $l(a-3)",
        &[
            "1:9 new _o0 Simulator []",
            "1:1 _o0 is ns",
            "2:8 Simulator _o0 node [] -> tbnode-n1",
            "2:1 tbnode-n1 is a",
            "3:11 Simulator _o0 node [] -> tbnode-n2",
            "3:1 tbnode-n2 is n-3",
            "4:14 Simulator _o0 duplex-link [\"a\", \"n-3\"] -> tblink-l3",
            "4:1 tblink-l3 is l-a-3",
            "5:1 tb-mark [\"l-a-3\"]",
        ],
    );
}

#[test]
fn what_cancels_a_name() {
    let names = |text: &str| -> Vec<String> {
        let text = format!("set ns [new Simulator]\n{text}");
        told(&run(&text)).into_iter().filter(|line| line.contains(" is ")).skip(1).collect()
    };
    assert_eq!(names("$ns node\nset b 1\nset c tbnode-n1"), Vec::<String>::new());
    assert_eq!(names("set a [$ns node]\nset b $a"), ["2:1 tbnode-n1 is a"]);
    assert_eq!(names("lappend all [$ns node]\nset a [lindex $all 0]"), ["3:1 tbnode-n1 is a"]);
    assert_eq!(
        names("proc p {} { global ns; set x [$ns node]; return $x }\nset y [p]"),
        Vec::<String>::new()
    );
    assert_eq!(names("proc p {} { global ns x; set x [$ns node] }\np"), ["2:26 tbnode-n1 is x"]);
    assert_eq!(
        told(&run("set ns [new Simulator]\nforeach i {1 2} {\n set n [$ns node]\n tb-mark $n\n}"))[2..],
        [
            "3:9 Simulator _o0 node [] -> tbnode-n1",
            "3:2 tbnode-n1 is n",
            "4:2 tb-mark [\"n\"]",
            "3:9 Simulator _o0 node [] -> tbnode-n2",
            "3:2 tbnode-n2 is not n",
            "4:2 tb-mark [\"tbnode-n2\"]",
        ]
    );
    assert_eq!(names("set name foo\nset $name [$ns node]\nset big-lan [$ns make-lan {}]").len(), 2);
}

#[test]
fn a_name_that_is_a_command_too_is_both() {
    gives(
        "set ns [new Simulator]\nset switch [$ns node]\nswitch 1 { 1 { $switch touch me } }\nset set [$ns node]\nset x 1",
        &[
            "1:9 new _o0 Simulator []",
            "1:1 _o0 is ns",
            "2:13 Simulator _o0 node [] -> tbnode-n1",
            "2:1 tbnode-n1 is switch",
            "3:1 Node tbnode-n1 touch [\"me\"] -> -",
            "4:10 Simulator _o0 node [] -> tbnode-n2",
            "4:1 tbnode-n2 is set",
        ],
    );
}

#[test]
fn places() {
    gives(
        "proc p {a\n b} {\n  tb-mark \\\n    $a\n  foreach x {1} {\n    if {1} { tb-mark \\\n $x }\n  }\n}\np 1 2\neval {\n  tb-mark e\n}\nset body \"\\n\\ntb-mark b\"\neval $body\nswitch 1 {\n  1 { tb-mark s }\n}; tb-mark after",
        &[
            "3:3 tb-mark [\"1\"]",
            "6:14 tb-mark [\"1\"]",
            "12:3 tb-mark [\"e\"]",
            "15:1 tb-mark [\"b\"]",
            "17:7 tb-mark [\"s\"]",
            "18:4 tb-mark [\"after\"]",
        ],
    );
}

#[test]
fn places_of_errors() {
    let unset = "can't read \"c3p0\": no such variable";
    fails("set c3po 1\n\ntb-mark $c3p0\n", unset, 3, 1);
    fails("for {set i 0} {$i < 3} {incr i} {\n  if {1} {\n    tb-mark $c3p0\n  }\n}\n", unset, 3, 5);
    fails("proc q {} {\n  tb-mark \\\n a\n  tb-mark $c3p0\n}\nproc p {} {\n  q\n}\n\np\n", unset, 4, 3);
    fails("set a 1\n  prose here\n", "invalid command name \"prose\"", 2, 3);
    fails("set a 1\nset b {\n", "missing close-brace", 2, 1);
}

#[test]
fn a_failure_knows_the_names() {
    let End::Failed(failure) = run("set c3po 1\nproc mine {} { foo }\nmine").end else { panic!("it runs") };
    assert_eq!(failure.procedure.as_deref(), Some("mine"));
    assert!(failure.globals.contains(&"c3po".to_owned()), "{failure:?}");
    for command in ["mine", "foreach", "tb-mark"] {
        assert!(failure.commands.contains(&command.to_owned()), "{failure:?}");
    }
}

#[test]
fn the_rest_of_tcl() {
    gives(
        "source tb_compat.tcl\nsource other.tcl\nputs -nonewline \"a\\tb\\\\n\"\nset opt(B) 2\narray set opt {A 1}\nset opt(B) 3\nclock seconds\nset u \"h\\u00e9\\n\\r\"\ntb-mark $u {}\n[new Foo] bar\nset x(1) 5; set q [expr {int(rand() * 1000000)}]; tb-mark [info exists x(1)] [info level]\nexit 3\ntb-mark no",
        &[
            "2:1 Source(\"other.tcl\")",
            "3:1 Output(\"a\\tb\\\\n\")",
            "4:1 opt B=2",
            "5:1 opt A=1",
            "6:1 opt B=3",
            "7:1 Clock",
            "9:1 tb-mark [\"hé\\n\\r\", \"\"]",
            "10:2 new _o0 Foo []",
            "10:1 Null _o0 bar [] -> _o1",
            "11:51 tb-mark [\"1\", \"0\"]",
            "12:1 Exit",
        ],
    );
}

#[test]
fn chance_is_the_same_each_time() {
    let text = "tb-mark [expr {rand()}]";
    assert_eq!(run(text), run(text));
}

#[test]
fn a_missing_interpreter_says_what_to_install() {
    let error = Process::new("tclsh-that-is-not-there")
        .run("", &common::vocabulary(), &Limits::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "NS files need tclsh-that-is-not-there, which is not installed: apt-get install tcl8.6"
    );
    assert!(matches!(try_run(&"#".repeat(5 << 20)), Err(TclError::Length(_))));
}
