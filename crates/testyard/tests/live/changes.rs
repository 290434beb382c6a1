//! Nobody loses what is on a disk without having said so, and `--strict` refuses what is warned of.

use super::bed::Bed;

#[test]
fn what_came_between_the_look_and_the_change_is_looked_at() {
    let bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    let file = bed.file(&["a", "b", "c"]);
    bed.step_in(&["a", "b", "d"]);
    let said = bed.fails(&format!("up {file}"), 1);
    assert!(said.contains("s has changed meanwhile") && said.contains("give --yes"), "{said}");
    assert_eq!(bed.nodes(), ["a", "b", "d"], "nothing of it is lost");
    // With --yes, it is only told.
    bed.step_in(&["a", "b", "e"]);
    let said = bed.ok(&format!("up {file} --yes"));
    assert!(said.contains("- node d") && said.contains("- node e"), "{said}");
    assert_eq!(bed.nodes(), ["a", "b", "c"]);
    // What costs nobody anything need not be asked about.
    let file = bed.file(&["a", "b", "c", "f", "g"]);
    bed.step_in(&["a", "b", "c", "f"]);
    bed.ok(&format!("up {file}"));
    assert_eq!(bed.nodes(), ["a", "b", "c", "f", "g"]);
}

#[test]
fn a_slice_that_somebody_else_has_begun_is_not_taken_for_none() {
    let bed = Bed::new();
    let file = bed.file(&["a", "b"]);
    bed.step_in(&["x", "y"]);
    let said = bed.fails(&format!("up {file}"), 1);
    assert!(said.contains("2 nodes go"), "{said}");
    assert_eq!(bed.nodes(), ["x", "y"]);
}

#[test]
fn strictly_what_the_planner_warns_of_is_refused() {
    let bed = Bed::new();
    let mut lonely = super::bed::topology(&["a", "b"]);
    lonely["nodes"]["c"] = serde_json::json!({});
    let file = bed.write("s.json", &lonely.to_string());
    for line in [format!("up {file} --strict"), format!("up {file} --strict --dry-run")] {
        let said = bed.fails(&line, 1);
        assert!(
            said.contains("1 warning, and --strict was asked for") && said.contains("warning:"),
            "{said}"
        );
        assert_eq!(bed.block_on(bed.client().slices()).unwrap(), []);
    }
    bed.ok(&format!("up {file}"));
    let said = bed.fails(&format!("up {file} --strict"), 1);
    assert!(said.contains("nothing has changed"), "{said}");
    bed.ok(&format!("up {} --strict --yes", bed.file(&["a", "b"])));
    assert_eq!(bed.nodes(), ["a", "b"]);
}
