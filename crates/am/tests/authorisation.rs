//! Who may do what: every method, refused to everybody who may not, and nothing told about what exists.

mod support;

use support::federation::{User, passed, slice_urn};
use support::testbed::Script;
use support::{Door, am_code_of, code_of, options, output_of, request, value_of};
use testyard_am::Peer;
use testyard_am::xmlrpc::Value;

const METHODS: [&str; 8] = [
    "Describe",
    "Allocate",
    "Provision",
    "Status",
    "PerformOperationalAction",
    "Renew",
    "Delete",
    "Shutdown",
];

/// A call of a method about something, otherwise right.
fn arguments(method: &str, urn: &str, credentials: Value) -> Vec<Value> {
    let urns = Value::texts([urn]);
    match method {
        "Allocate" => vec![Value::from(urn), credentials, Value::from(request(&["a"])), options([])],
        "Shutdown" => vec![Value::from(urn), credentials, options([])],
        "PerformOperationalAction" => vec![urns, credentials, Value::from("geni_start"), options([])],
        "Renew" => {
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            vec![urns, credentials, Value::from(testyard_model::time::format(end)), options([])]
        }
        _ => vec![urns, credentials, options([])],
    }
}

struct Case {
    what: &'static str,
    caller: Peer,
    credentials: Value,
    am_code: i64,
}

fn cases(door: &Door, ann: &User) -> Vec<Case> {
    let federation = &door.federation;
    let (mallory, stranger) = (federation.user("mallory"), Door::new().federation.user("ann"));
    let own = federation.slice_credential(ann, "demo", 48);
    let case = |what, caller: Peer, credentials: Value, am_code| Case { what, caller, credentials, am_code };
    let mut renamed = passed(&[&own]);
    if let Value::Array(passed) = &mut renamed
        && let Some(Value::Struct(members)) = passed.get_mut(0)
    {
        members.insert("geni_type".to_owned(), Value::from("geni_nonsense"));
    }
    vec![
        case("no certificate", Peer::anonymous([127, 0, 0, 1].into()), passed(&[&own]), 3),
        case("no credential", ann.peer(), Value::Array(vec![]), 3),
        case("stolen", mallory.peer(), passed(&[&own]), 22),
        case("wrong slice", ann.peer(), passed(&[&federation.slice_credential(ann, "other", 48)]), 22),
        case("user credential", ann.peer(), passed(&[&federation.user_credential(ann)]), 22),
        case("expired", ann.peer(), passed(&[&federation.slice_credential(ann, "demo", -1)]), 21),
        case("no privilege", ann.peer(), passed(&[&federation.credential(ann, "demo", 48, "info")]), 3),
        case("another federation's twin", stranger.peer(), passed(&[&own]), 23),
        case("first character gone", ann.peer(), passed(&[&own[1..]]), 20),
        case("altered", ann.peer(), passed(&[&own.replacen("<credential ", "<foo/><credential ", 1)]), 20),
        case("of no known type", ann.peer(), renamed, 3),
    ]
}

#[tokio::test]
async fn refused_and_none_the_wiser() {
    let door = Door::new();
    let ann = door.federation.user("ann");
    let own = passed(&[&door.federation.slice_credential(&ann, "demo", 48)]);
    let there = slice_urn("demo");
    let allocated = door.call(&ann, "Allocate", arguments("Allocate", &there, own.clone())).await;
    let sliver = value_of(&allocated).get("geni_slivers").and_then(Value::as_array).unwrap()[0].clone();
    let sliver = sliver.get("geni_sliver_urn").and_then(Value::as_str).unwrap().to_owned();
    assert!(!door.testbed.untouched());
    for case in cases(&door, &ann) {
        for method in METHODS {
            // What exists and what does not are answered alike. (Credentials are all for `demo` or `other`.)
            let mut answers = Vec::new();
            for urn in [there.as_str(), &slice_urn("nowhere")] {
                let reply = door
                    .call_as(&case.caller, method, arguments(method, urn, case.credentials.clone()))
                    .await;
                assert_eq!(code_of(&reply), 3, "{}: {method} {urn}: {reply:?}", case.what);
                assert!(!output_of(&reply).contains(sliver.as_str()));
                answers.push(output_of(&reply).replace("nowhere", "demo"));
                if urn == there {
                    assert_eq!(am_code_of(&reply), case.am_code, "{}: {method}: {reply:?}", case.what);
                }
            }
            if case.what != "expired" && case.what != "no privilege" {
                assert!(answers[0] == answers[1] || case.am_code != 3, "{}: {answers:?}", case.what);
            }
            if !matches!(method, "Allocate" | "Shutdown") && case.what != "wrong slice" {
                let reply = door
                    .call_as(&case.caller, method, arguments(method, &sliver, case.credentials.clone()))
                    .await;
                assert_eq!(code_of(&reply), 3, "{}: {method} of a sliver: {reply:?}", case.what);
            }
            assert!(door.testbed.untouched(), "{}: {method} asked the testbed", case.what);
        }
        if !matches!(case.what, "wrong slice" | "user credential" | "no credential" | "no privilege") {
            let list = vec![case.credentials.clone(), options([])];
            let reply = door.call_as(&case.caller, "ListResources", list).await;
            assert_eq!(code_of(&reply), 3, "{}: ListResources: {reply:?}", case.what);
        }
    }
}

#[tokio::test]
async fn the_slices_of_others() {
    // Ben has a good credential for his slice, names a sliver of Ann's, and learns as little as of one that is not.
    let door = Door::new();
    let (ann, ben) = (door.federation.user("ann"), door.federation.user("ben"));
    let anns = passed(&[&door.federation.slice_credential(&ann, "demo", 48)]);
    let bens = passed(&[&door.federation.slice_credential(&ben, "bens", 48)]);
    door.call(&ben, "Allocate", arguments("Allocate", &slice_urn("bens"), bens.clone())).await;
    let allocated = door.call(&ann, "Allocate", arguments("Allocate", &slice_urn("demo"), anns)).await;
    let sliver = value_of(&allocated).get("geni_slivers").and_then(Value::as_array).unwrap()[0].clone();
    let sliver = sliver.get("geni_sliver_urn").and_then(Value::as_str).unwrap().to_owned();
    let invented = format!("{}x", &sliver[..sliver.len() - 1]);
    for method in ["Describe", "Provision", "Status", "PerformOperationalAction", "Renew", "Delete"] {
        let mut outputs = Vec::new();
        for urn in [&sliver, &invented] {
            let reply = door.call(&ben, method, arguments(method, urn, bens.clone())).await;
            assert_eq!(code_of(&reply), 12, "{method}");
            outputs.push(output_of(&reply).replace(urn.as_str(), "it"));
        }
        assert_eq!(outputs[0], outputs[1], "{method}");
    }
}

#[tokio::test]
async fn who_the_controller_is_told() {
    let door = Door::new();
    let federation = &door.federation;
    let (ann, tool) = (federation.user("ann"), federation.user("portal"));
    let credential = federation.slice_credential(&ann, "demo", 48);
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(200);
    let statement = ann.identity.sign_speaks_for(tool.identity.certificate(), until).unwrap();
    let Value::Array(mut credentials) = passed(&[&credential]) else { unreachable!() };
    credentials.push(Value::members([
        ("geni_type", Value::from("geni_abac")),
        ("geni_version", Value::from("1")),
        ("geni_value", Value::from(statement)),
    ]));
    let call = async |speaking_for: &str| {
        let options = Value::members([("geni_speaking_for", Value::from(speaking_for))]);
        let arguments = vec![
            Value::from(slice_urn("demo")),
            Value::Array(credentials.clone()),
            Value::from(request(&["a"])),
            options,
        ];
        door.call(&tool, "Allocate", arguments).await
    };
    assert_eq!(code_of(&call("").await), 3, "the empty text is nobody, and the tool itself may not");
    assert_eq!(code_of(&call(&tool.urn()).await), 3);
    assert_eq!(code_of(&call(&ann.urn()).await), 0);
    let calls = door.testbed.calls();
    let [(_, caller)] = calls.as_slice() else { panic!("one call came through") };
    assert_eq!(caller.user.to_string(), ann.urn());
    assert_eq!(caller.tool.as_ref().map(ToString::to_string), Some(tool.urn()));
    let hours = caller.until.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((46..=48).contains(&hours), "no lease may outlive the credential: {hours}");
}

#[tokio::test]
async fn best_of_several_credentials() {
    let door = Door::new();
    let ann = door.federation.user("ann");
    let texts = [
        door.federation.user_credential(&ann),
        "junk".to_owned(),
        door.federation.slice_credential(&ann, "demo", 48),
    ];
    let credentials = passed(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let reply = door.call(&ann, "Allocate", arguments("Allocate", &slice_urn("demo"), credentials)).await;
    assert_eq!(code_of(&reply), 0, "{reply:?}");
    // Credentials read by Python 3 in binary mode come as base64; v2 habits are bare strings.
    let binary =
        Value::Array(vec![Value::Binary(texts[2].clone().into_bytes()), Value::from(texts[2].as_str())]);
    let reply = door.call(&ann, "Status", arguments("Status", &slice_urn("demo"), binary)).await;
    assert_eq!(code_of(&reply), 0, "{reply:?}");
    door.testbed.script(Script::Refuse(testyard_controller::api::Refusal::Expired("over".to_owned())));
    let reply =
        door.call(&ann, "Status", arguments("Status", &slice_urn("demo"), passed(&[&texts[2]]))).await;
    assert_eq!(code_of(&reply), 15);
}
