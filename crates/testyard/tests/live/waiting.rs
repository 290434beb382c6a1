//! Commands end when what they were asked for is so, and say why it is not.

use testyard_fabric::fake::{Failure, Verb};

use super::bed::Bed;

fn fail(bed: &Bed, times: u32) {
    (1..=times).for_each(|at| bed.fabric.fail(Verb::Join, at, Failure::Kernel("no room".to_owned())));
}

/// With another delay of the first link.
fn delayed(bed: &Bed, nodes: &[&str]) -> String {
    let mut topology = super::bed::topology(nodes);
    topology["links"][0]["delay"] = "10ms".into();
    bed.write("s.json", &topology.to_string())
}

#[test]
fn a_change_that_comes_about_is_waited_for() {
    let bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    assert!(bed.slice().converged);
    fail(&bed, 2);
    bed.ok(&format!("up {}", delayed(&bed, &["a", "b"])));
    let slice = bed.slice();
    assert!(slice.converged && slice.problem.is_none(), "{slice:#?}");
    let joined = || bed.fabric.calls().iter().filter(|call| format!("{call:?}").starts_with("Join")).count();
    assert_eq!(joined(), 4, "it is waited for until links are as the file says");
    fail(&bed, 1);
    let said = bed.ok("link set s a-b delay=30ms");
    assert!(said.contains("delay=30ms"), "{said}");
    assert_eq!(joined(), 6);
    bed.ok("wait s --timeout 5");
}

#[test]
fn what_does_not_come_about_is_told_and_no_success() {
    let bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    fail(&bed, 1_000);
    bed.ok("link set s a-b delay=30ms --no-wait");
    let said = bed.fails("link down s a-b --timeout 2", 5);
    assert!(said.contains("not there within 2 s: link a-b") && said.contains("no room"), "{said}");
    for line in ["link reset s a-b".to_owned(), format!("up {}", delayed(&bed, &["a", "b"]))] {
        let said = bed.fails(&line, 4);
        assert!(
            said.contains("s is not as it was asked to be") && said.contains("no room"),
            "{line}: {said}"
        );
    }
    let said = bed.fails("wait s", 4);
    assert!(said.contains("no room"), "{said}");
    let slice = bed.slice();
    assert_eq!((slice.state.as_str(), slice.converged), ("ready", false));
    assert!(slice.links[0].problem.is_some() && !slice.links[0].converged);
}

#[test]
fn a_node_that_cannot_be_changed_is_told_and_stays_ready() {
    let bed = Bed::new();
    bed.ok(&format!("up {}", bed.file(&["a", "b"])));
    (1..=1_000).for_each(|at| bed.fabric.fail(Verb::Plug, at, Failure::Kernel("no route".to_owned())));
    let mut topology = super::bed::topology(&["a", "b"]);
    topology["links"][0]["mtu"] = 1400.into();
    let said = bed.fails(&format!("up {}", bed.write("s.json", &topology.to_string())), 4);
    assert!(said.contains("a: ") && said.contains("no route"), "{said}");
    assert_eq!(bed.slice().state, "ready");
}
