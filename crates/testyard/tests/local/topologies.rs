//! A slice that runs, where a file could be given: `graph SLICE`, `plan --diff SLICE`.

use std::fs;

use super::bed::{Bed, LAB, command, text};

#[test]
fn what_runs_is_drawn_also_beside_a_folder_of_its_name() {
    let bed = Bed::with_lab();
    fs::create_dir(bed.path("lab")).unwrap();
    let drawn = bed.ok("graph lab");
    assert!(drawn.starts_with("graph ") && drawn.contains("spare") && drawn.contains("delay=3ms"), "{drawn}");
    assert!(bed.ok("graph lab --format mermaid").contains("web"));
    let said = bed.fails("graph nowhere", 1);
    assert!(said.contains("nowhere is no file, and as a slice: "), "{said}");
}

/// Kinds of nodes and images are those of the testbed that is asked, whatever configuration is at hand.
#[test]
fn a_difference_to_a_slice_is_what_up_would_change() {
    let bed = Bed::with_lab();
    fs::create_dir(bed.path("lab")).unwrap();
    let more =
        LAB.replace("  spare:", "  spare:\n  more: {type: big}") + "- {name: far, between: [db, more]}\n";
    let file = bed.file("more.yaml", &more);
    let asked = |arguments: &[&str]| {
        let mut command = command(&bed.path("nothing"), &bed.path("elsewhere"));
        command.current_dir(bed.path("")).env("TESTYARD_SOCKET", bed.path("run/testyard.sock"));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let dry_run = asked(&["up", &file, "--slice", "lab", "--dry-run", "--as", "ann"]);
    assert_eq!(asked(&["plan", "--diff", "lab", &file]), dry_run);
    assert!(dry_run.0.contains("+ node more") && dry_run.1.is_empty(), "{dry_run:?}");
    bed.ok(&format!("up {file} --slice lab"));
    assert_eq!(bed.ok(&format!("plan --diff lab {file}")), "nothing changes\n");
}

#[test]
fn what_does_not_go_with_a_slice_is_refused() {
    let bed = Bed::with_lab();
    let file = bed.file("more.yaml", &LAB.replace("  spare:", "  spare:\n  alone:"));
    let said = bed.fails(&format!("plan --diff lab {file} --hosts a:50"), 2);
    assert!(said.contains("--hosts"), "{said}");
    let told = bed.run(&format!("plan --diff lab {file}"));
    assert!(told.status.success() && text(&told.stderr).contains("on no link"), "{}", text(&told.stderr));
    let refused = bed.fails(&format!("plan --diff lab {file} --strict"), 1);
    assert!(refused.contains("error: node \"alone\" is on no link"), "{refused}");
    let json = bed.run(&format!("plan --diff lab {file} --strict --json"));
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &value["remarks"][0]["severity"]), (Some(1), &"error".into()), "{value}");
}
