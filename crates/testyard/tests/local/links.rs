//! `link`, and what shows it.

use serde_json::{Value, json};

use super::bed::Bed;

fn delays(link: &Value) -> Vec<Value> {
    link["members"].as_array().unwrap().iter().map(|member| member["to_link"]["delay"].clone()).collect()
}

#[test]
fn one_direction_is_set_and_all_is_reset() {
    let bed = Bed::with_lab();
    let set = bed.json("link set lab line delay=10ms --from web --json");
    let [web, db] = delays(&set).try_into().unwrap();
    assert!(web != Value::Null && db == Value::Null, "{set}");
    assert_eq!((&set["changed"], &set["members"][0]["node"]), (&json!(true), &json!("web")));
    assert!(bed.ok("status lab").contains("from web: delay=10ms"));
    let reset = bed.ok("link reset lab line");
    assert_eq!(reset, "line: up, packets pass as they are\n");
    let reset = bed.json("link reset lab back --json");
    assert_eq!(reset["changed"], false, "{reset}");
    assert!(bed.fails("link set lab line delay=10ms --from spare", 1).contains("spare"));
}

#[test]
fn who_watches_sees_what_changes() {
    let bed = Bed::with_lab();
    let mut watching = bed.watch("status lab --watch --json");
    assert_eq!(watching.next()["links"][0]["up"], true);
    bed.ok("link down lab line");
    // What has changed meanwhile may come first.
    while watching.next()["links"][0]["up"] != false {}
    bed.ok("stop web");
    let of_web = |slice: &Value| {
        slice["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "web").unwrap()["state"].clone()
    };
    while of_web(&watching.next()) != "notready" {}
    watching.kill();
}
