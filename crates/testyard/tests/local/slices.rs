//! The life of slices: `renew`, `events`, `wait`, `replay`, `slice`, `--as`, and what `status` tells of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::bed::Bed;

#[test]
fn the_end_of_a_slice_is_moved() {
    let bed = Bed::with_lab();
    let slice = bed.json("renew lab +2h --json");
    for node in slice["nodes"].as_array().unwrap() {
        let expires: Timestamp = node["expires"].as_str().unwrap().parse().unwrap();
        let left = expires.duration_since(Timestamp::now());
        assert!(left > SignedDuration::from_mins(118) && left <= SignedDuration::from_mins(120), "{node}");
    }
    assert!(bed.ok("renew lab +3h").starts_with("lab ends 20"));
    let expires = bed.node("web")["expires"].clone();
    assert_ne!(expires, slice["nodes"][0]["expires"]);
    bed.fails("renew lab +900d", 1);
    bed.fails("renew lab soon", 2);
    assert_eq!(bed.node("web")["expires"], expires, "what is refused changes nothing");
}

#[test]
fn the_timeline_says_what_took_how_long() {
    let bed = Bed::with_lab();
    let told = bed.ok("status lab --timeline");
    for word in ["STEP", "host: ready", "+"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
}

#[test]
fn events_are_heard_of_one_slice_and_of_all() {
    let bed = Bed::with_lab();
    let mut one = bed.watch("events lab --json");
    let mut all = bed.watch("events --json");
    // The first word after both have begun to listen.
    bed.until("somebody listens", |bed| {
        bed.ok("restart spare");
        true
    });
    bed.ok("stop web");
    for events in [&mut one, &mut all] {
        let is_it = |event: &Value| event["node"] == "web" && event["state"] == "notready";
        loop {
            let event = events.next();
            assert_eq!(event["slice"], "lab");
            if is_it(&event) {
                break;
            }
        }
    }
    one.kill();
    all.kill();
}

#[test]
fn scripts_wait_for_what_comes() {
    let bed = Bed::with_lab();
    bed.ok("stop web --no-wait");
    bed.ok("wait lab --for stopped --nodes web");
    assert!(bed.ok("status lab").contains("notready"));
    let late = bed.fails("wait lab --for stopped --timeout 0", 5);
    assert!(late.contains("not there within 0 s"), "{late}");
    let gone = bed.watch("wait lab --for gone");
    bed.ok("down lab");
    assert_eq!(gone.end().0, Some(0));
    bed.ok("wait lab --for gone");
}

#[test]
fn operators_act_for_others() {
    let bed = Bed::new();
    let file = bed.file("theirs.yaml", "nodes: {a: }\n");
    bed.ok(&format!("up {file} --as bob"));
    let creator = bed.json("ls --json")[0]["creator"].as_str().unwrap().to_owned();
    assert!(creator.ends_with("+user+bob"), "{creator}");
    let logins = &bed.json("status theirs --json")["nodes"][0]["ssh"]["logins"];
    let who: Vec<&String> = logins.as_object().unwrap().keys().collect();
    assert!(who.len() == 1 && who[0].ends_with("+user+bob"), "{logins}");
    bed.ok("down theirs --as bob");
}

#[test]
fn an_operator_closes_a_slice_and_opens_it_again() {
    let bed = Bed::with_lab();
    let shut = bed.json("slice shutdown lab --json");
    assert_eq!(shut["slice"], "lab", "{shut}");
    assert_eq!(bed.json("ls --json")[0]["state"], "shut_down");
    assert!(bed.fails("start web --slice lab --no-wait", 1).contains("shut down"));
    assert_eq!(bed.json("slice lift-shutdown lab --json")["was_shut_down"], true);
    assert_eq!(bed.ok("slice lift-shutdown lab"), "lab was not shut down\n");
    bed.until("its nodes have stopped", |bed| bed.run("wait lab --for stopped --timeout 1").status.success());
    bed.ok("start --all --slice lab");
    assert!(bed.ok("slice shutdown lab").starts_with("lab is shut down"));
    bed.ok("slice lift-shutdown lab");
}

#[test]
fn a_schedule_begins_anew() {
    let bed = Bed::new();
    let text =
        "nodes: {a: , b: }\nlinks:\n- {name: line, between: [a, b]}\nschedule:\n- {at: 10ms, down: line}\n";
    let file = bed.file("timed.yaml", text);
    bed.ok(&format!("up {file}"));
    let run = |bed: &Bed| bed.json("status timed --json")["schedule"]["run"].clone();
    bed.until("the first run", |bed| run(bed) == 1);
    assert_eq!(bed.json("replay timed --json")["name"], "timed");
    bed.until("the second run", |bed| run(bed) == 2);
    assert!(bed.ok("replay").starts_with("timed begins anew: run "));
}
