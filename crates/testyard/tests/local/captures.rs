//! `capture`.

use std::fs;

use serde_json::json;

use super::bed::{Bed, command, text};
use super::stand_in;

/// What a pcapng file begins with.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

fn names(capture: &[u8]) -> Vec<&'static str> {
    let has = |name: &&str| capture.windows(name.len()).any(|window| window == name.as_bytes());
    ["web:eth1", "db:eth1", "db:eth2", "spare:eth1"].into_iter().filter(has).collect()
}

#[test]
fn a_link_and_all_links_to_the_standard_output() {
    let bed = Bed::with_lab();
    let one = bed.run("capture line --for 1s");
    assert!(one.status.success() && one.stdout.starts_with(&SECTION), "{}", text(&one.stderr));
    assert_eq!(names(&one.stdout), ["web:eth1", "db:eth1"]);
    let all = bed.run("capture --all --slice lab --for 1s");
    assert_eq!(names(&all.stdout), ["web:eth1", "db:eth1", "db:eth2", "spare:eth1"]);
    assert!(text(&all.stderr).contains("0 packets, "), "{}", text(&all.stderr));
    assert!(bed.fails("capture nope", 1).contains("nope"));
}

#[test]
fn the_end_of_a_slice_ends_its_captures_and_they_say_so() {
    let bed = Bed::with_lab();
    let file = bed.path("line.pcapng");
    let capture = bed.watch(&format!("capture line -w {}", file.display()));
    bed.until("the capture begins", |_| fs::metadata(&file).is_ok_and(|file| file.len() > 0));
    bed.ok("down lab");
    let (code, said) = capture.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the links of the slice have ended; 0 packets received, 0 dropped"), "{said}");
    assert!(fs::read(&file).unwrap().starts_with(&SECTION));
}

#[test]
fn a_capture_that_fails_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let end = json!({"reason": "failed", "text": "reading packets: no buffer", "received": 9, "dropped": 4});
    let answer = stand_in::with_trailer(&SECTION, "testyard-capture-end", &end);
    let mut answers = stand_in::testbed(&json!([]));
    answers.insert("/v1/slices/urn%3Apublicid%3AIDN%2Blocalhost%2Bslice%2Blab/capture", answer);
    stand_in::listen(&socket, answers);
    let mut capture = command(&folder.path().join("etc"), folder.path());
    let output = capture.args(["capture", "line", "--socket"]).arg(&socket).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), SECTION.as_slice()), "{said}");
    assert!(said.contains("reading packets: no buffer; 9 packets received, 4 dropped"), "{said}");
}

#[test]
fn on_a_terminal_packets_are_counted() {
    let bed = Bed::with_lab();
    let file = bed.path("line.pcapng");
    let seen = bed.on_terminal(&format!("capture line -w {} --for 1s", file.display()));
    assert!(seen.matches("0 packets, ").count() > 1, "while it goes on, and at its end: {seen:?}");
}
