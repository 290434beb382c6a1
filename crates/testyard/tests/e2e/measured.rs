//! Measurements on machines that do other things as well.

use std::process::Output;

use serde_json::Value;

use crate::support::Bed;

/// What every link is measured for that has a rate.
const QUANTITIES: [&str; 3] = ["delay", "loss", "rate"];

/// Has links measured. A machine that stalls delays frames like a bad link, and one that is busy cannot send as fast as a
/// link carries: a bad link is bad again, and what could not be measured is measured again.
pub(crate) fn verify(bed: &mut Bed, command: &str, last: &str) -> Output {
    let mut said = bed.testbed().run(command.split(' '));
    for _ in 0..3 {
        if said.status.success() {
            let report: Value = serde_json::from_str(&bed.ok(last)).expect("--json prints JSON");
            if QUANTITIES.iter().all(|quantity| holds(&report, quantity)) {
                break;
            }
        }
        said = bed.testbed().run(command.split(' '));
    }
    said
}

/// Of each quantity at least one way was measured, or the machine was to blame for all of them: a report that says nothing
/// is no proof.
pub(crate) fn says_something(report: &Value) {
    for quantity in QUANTITIES {
        assert!(holds(report, quantity) || is_too_busy(report, quantity), "{quantity}: {report}");
    }
    assert!(holds(report, "delay") && holds(report, "loss"), "{report}");
}

fn verdicts<'r>(report: &'r Value, quantity: &str) -> impl Iterator<Item = &'r Value> {
    let ways = report["ways"].as_array().into_iter().flatten();
    let findings = ways.filter_map(|way| way["findings"].as_array()).flatten();
    findings.filter(move |finding| finding["quantity"] == quantity).map(|finding| &finding["verdict"])
}

/// Whether one way at least does as asked.
fn holds(report: &Value, quantity: &str) -> bool {
    verdicts(report, quantity).any(|verdict| verdict == "holds")
}

/// Whether the machine was too busy to measure it on any way.
fn is_too_busy(report: &Value, quantity: &str) -> bool {
    let of_load = ["busy", "sender-limit", "sender-paused", "machine-limit", "overrun"];
    let mut verdicts = verdicts(report, quantity).peekable();
    verdicts.peek().is_some()
        && verdicts.all(|verdict| of_load.iter().any(|kind| verdict["not-measured"]["kind"] == *kind))
}
