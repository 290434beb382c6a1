//! Each method against a testbed that pretends: values, options, codes, and what clients trip over.

mod support;

use support::federation::{User, passed, slice_urn};
use support::testbed::Script;
use support::{Door, am_code_of, code_of, options, output_of, request, value_of};
use testyard_am::Peer;
use testyard_am::xmlrpc::{Call, Value, write_reply};
use testyard_controller::api::Refusal;
use testyard_model::id::RequestId;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// A door, a user, a slice and its credential.
struct Stage {
    door: Door,
    ann: User,
    slice: String,
    credentials: Value,
}

impl Stage {
    fn new() -> Self {
        let door = Door::new();
        let ann = door.federation.user("ann");
        let credential = door.federation.slice_credential(&ann, "demo", 48);
        Self { door, ann, slice: slice_urn("demo"), credentials: passed(&[&credential]) }
    }

    async fn call(&self, method: &str, arguments: Vec<Value>) -> Value {
        self.door.call(&self.ann, method, arguments).await
    }

    async fn on_slice(&self, method: &str, options: Value) -> Value {
        let urns = Value::texts([self.slice.as_str()]);
        self.call(method, vec![urns, self.credentials.clone(), options]).await
    }

    async fn allocate(&self, rspec: &str, options: Value) -> Value {
        let arguments =
            vec![Value::from(self.slice.as_str()), self.credentials.clone(), Value::from(rspec), options];
        self.call("Allocate", arguments).await
    }

    async fn allocated(&self, nodes: &[&str]) -> Vec<String> {
        let reply = self.allocate(&request(nodes), options([])).await;
        slivers(value_of(&reply)).iter().map(|sliver| text(sliver, "geni_sliver_urn")).collect()
    }

    async fn with_argument(&self, method: &str, argument: &str, options: Value) -> Value {
        let urns = Value::texts([self.slice.as_str()]);
        self.call(method, vec![urns, self.credentials.clone(), Value::from(argument), options]).await
    }
}

fn none() -> Value {
    Value::members::<&str>([])
}

fn slivers(value: &Value) -> &[Value] {
    value.as_array().or_else(|| value.get("geni_slivers").and_then(Value::as_array)).expect("slivers")
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name} in {value:?}")).to_owned()
}

#[tokio::test]
async fn get_version_to_the_byte() {
    let door = Door::new();
    let peer = Peer::anonymous([127, 0, 0, 1].into());
    for arguments in [vec![], vec![none()], vec![Value::Nil]] {
        let reply = door
            .service
            .call(&peer, RequestId::new(1), Call { method: "GetVersion".to_owned(), arguments })
            .await;
        assert_eq!(write_reply(&reply), include_str!("data/get-version.xml"));
    }
    for bad in [vec![Value::from(1)], vec![none(), none()]] {
        assert_eq!(code_of(&door.call_as(&peer, "GetVersion", bad).await), 1);
    }
}

#[tokio::test]
async fn no_such_method() {
    let door = Door::new();
    let peer = Peer::anonymous([127, 0, 0, 1].into());
    for (method, hint) in
        [("CreateSliver", "version 2"), ("x\u{7}", "version 3"), ("getversion", "version 3")]
    {
        let call = Call { method: method.to_owned(), arguments: vec![] };
        let fault = door.service.call(&peer, RequestId::new(2), call).await.unwrap_err();
        assert_eq!(fault.code, -32601);
        assert!(fault.text.contains(hint), "{fault}");
    }
}

#[tokio::test]
async fn a_slices_life() {
    let stage = Stage::new();
    let reply = stage.allocate(&request(&["a", "b"]), none()).await;
    let value = value_of(&reply);
    assert_eq!(slivers(value).len(), 2);
    for sliver in slivers(value) {
        assert_eq!(text(sliver, "geni_allocation_status"), "geni_allocated");
        assert_eq!(text(sliver, "geni_operational_status"), "geni_pending_allocation");
        assert!(text(sliver, "geni_expires").ends_with('Z') && text(sliver, "geni_error").is_empty());
    }
    let manifest = text(value, "geni_rspec");
    assert!(manifest.contains("type=\"manifest\"") && manifest.contains("manifest.xsd"), "{manifest}");
    assert!(manifest.contains("<!-- a -->") && manifest.contains("client_id=\"b\""), "{manifest}");

    let users = Value::Array(vec![Value::members([
        ("urn", Value::from(stage.ann.urn())),
        ("keys", Value::texts([format!("{KEY} ann@home\r\n")])),
    ])]);
    let reply = stage.on_slice("Provision", options([("geni_users", users)])).await;
    let manifest = text(value_of(&reply), "geni_rspec");
    assert!(manifest.contains("username=\"ann\"") && manifest.contains("port=\"2222\""), "{manifest}");
    assert_eq!(text(&slivers(value_of(&reply))[0], "geni_allocation_status"), "geni_provisioned");

    let status = stage.on_slice("Status", none()).await;
    assert_eq!(text(value_of(&status), "geni_urn"), stage.slice);
    assert_eq!(text(&slivers(value_of(&status))[0], "geni_operational_status"), "geni_ready");

    let described = stage.on_slice("Describe", options([])).await;
    assert_eq!(text(value_of(&described), "geni_urn"), stage.slice);
    let one = text(&slivers(value_of(&described))[1], "geni_sliver_urn");
    let arguments = vec![Value::from(one.as_str()), stage.credentials.clone(), options([])];
    let described = stage.call("Describe", arguments).await;
    let manifest = text(value_of(&described), "geni_rspec");
    assert!(manifest.contains(&one) && !manifest.contains("client_id=\"a\""), "{manifest}");

    let acted = stage.with_argument("PerformOperationalAction", "geni_stop", none()).await;
    assert_eq!(text(&slivers(value_of(&acted))[0], "geni_operational_status"), "geni_notready");

    let end = testyard_model::time::format(jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5));
    let renewed = stage.with_argument("Renew", &end, none()).await;
    assert_eq!(text(&slivers(value_of(&renewed))[0], "geni_expires"), end, "jFed compares the strings");

    let deleted = stage.on_slice("Delete", none()).await;
    assert_eq!(slivers(value_of(&deleted)).len(), 2);
    assert_eq!(text(&slivers(value_of(&deleted))[0], "geni_allocation_status"), "geni_unallocated");
    assert_eq!(code_of(&stage.on_slice("Status", none()).await), 12);
    assert_eq!(code_of(&stage.on_slice("Delete", none()).await), 12);
    let described = stage.on_slice("Describe", options([])).await;
    assert!(slivers(value_of(&described)).is_empty(), "a slice without slivers is described by nothing");
    assert_eq!(text(value_of(&described), "geni_urn"), stage.slice);

    let arguments = vec![Value::from(stage.slice.as_str()), stage.credentials.clone()];
    assert_eq!(value_of(&stage.call("Shutdown", arguments).await), &Value::Bool(true));
    assert_eq!(code_of(&stage.on_slice("Status", none()).await), 3, "shut down");
}

#[tokio::test]
async fn list_resources() {
    let stage = Stage::new();
    let list =
        async |options: Value| stage.call("ListResources", vec![stage.credentials.clone(), options]).await;
    let all = list(options([])).await;
    let all = value_of(&all).as_str().unwrap();
    assert!(all.contains("type=\"advertisement\"") && all.contains("ad.xsd"), "{all}");
    assert_eq!(all.matches("<available ").count(), 3);
    let some = list(options([("geni_available", Value::from(1))])).await;
    let some = value_of(&some).as_str().unwrap();
    assert!(
        some.contains("+node+one") && !some.contains("+node+full") && !some.contains("+node+ill"),
        "{some}"
    );
    let packed = list(options([("geni_compressed", Value::from(true)), ("geni_unknown", Value::Nil)])).await;
    assert!(unpack(value_of(&packed).as_str().unwrap()).contains("type=\"advertisement\""));

    let arguments = vec![Value::Array(vec![]), options([("geni_compressed", Value::from(true))])];
    let reply = stage.call("ListResources", arguments).await;
    assert_eq!(code_of(&reply), 1, "jFed wants exactly this for an empty list");
    assert_eq!(unpack(reply.get("value").unwrap().as_str().unwrap()), "", "jFed unpacks errors too");
    assert_eq!(code_of(&list(none()).await), 1, "geni_rspec_version is required");
}

fn unpack(text: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let mut plain = String::new();
    std::io::Read::read_to_string(&mut flate2::read::ZlibDecoder::new(&bytes[..]), &mut plain).expect("zlib");
    plain
}

#[tokio::test]
async fn describe_compressed() {
    let stage = Stage::new();
    stage.allocated(&["a"]).await;
    let reply = stage.on_slice("Describe", options([("geni_compressed", Value::from(true))])).await;
    assert!(unpack(&text(value_of(&reply), "geni_rspec")).contains("type=\"manifest\""));
    assert_eq!(slivers(value_of(&reply)).len(), 1, "only the RSpec is packed");
}

#[tokio::test]
async fn bad_requests() {
    let stage = Stage::new();
    let good = request(&["a"]);
    for (rspec, code) in [
        (String::new(), 1),
        (good.replace("</rspec>", "<rspec>"), 1),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".to_owned(), 1),
        (good.replace("rspec/3", "rspec/2"), 4),
        (good.replace("type=\"request\"", "type=\"manifest\""), 4),
        (good.replace("am.example.net", "other.example.net"), 12),
        (request(&["a", "a"]), 1),
    ] {
        let reply = stage.allocate(&rspec, none()).await;
        assert_eq!(code_of(&reply), code, "{rspec}: {reply:?}");
    }
    assert!(stage.door.testbed.untouched());
    // An XML declaration with an encoding, a byte order mark and CRLF are habits, not errors.
    let odd = format!("\u{feff}<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\r\n{good}");
    assert_eq!(code_of(&stage.allocate(&odd, none()).await), 0);
}

#[tokio::test]
async fn options_of_the_wrong_type() {
    let stage = Stage::new();
    stage.allocated(&["a"]).await;
    assert!(!stage.door.testbed.untouched());
    let wrong = Value::Array(vec![Value::from("x")]);
    for (method, option) in [
        ("Describe", "geni_compressed"),
        ("Describe", "geni_rspec_version"),
        ("Describe", "testyard_timeline"),
        ("Provision", "geni_best_effort"),
        ("Provision", "geni_end_time"),
        ("Provision", "geni_rspec_version"),
        ("Status", "geni_best_effort"),
        ("Status", "geni_speaking_for"),
        ("Delete", "geni_best_effort"),
    ] {
        let Value::Struct(mut members) = options([]) else { unreachable!() };
        members.insert(option.to_owned(), wrong.clone());
        let reply = stage.on_slice(method, Value::Struct(members)).await;
        assert_eq!(code_of(&reply), 1, "{method} {option}");
        assert!(output_of(&reply).contains(option), "{}", output_of(&reply));
    }
    for (method, argument, option, value) in [
        ("Renew", "2030-01-01T00:00:00Z", "geni_extend_alap", wrong.clone()),
        ("PerformOperationalAction", "geni_start", "geni_best_effort", wrong.clone()),
        ("PerformOperationalAction", "geni_update_users", "geni_users", Value::from("ann")),
        ("PerformOperationalAction", "geni_update_users", "geni_users", Value::Nil),
    ] {
        let reply = stage.with_argument(method, argument, Value::members([(option, value)])).await;
        assert_eq!(code_of(&reply), 1, "{method} {option}");
        assert!(output_of(&reply).contains(option), "{}", output_of(&reply));
        assert_eq!(reply.get("value"), Some(&Value::Array(vec![])), "jFed reads an array here");
    }
    let past = Value::members([("geni_start_time", Value::from("2099-01-01T00:00:00Z"))]);
    assert_eq!(code_of(&stage.allocate(&request(&["b"]), past).await), 13);
    assert!(stage.door.testbed.untouched(), "nothing of this reached the testbed");
}

#[tokio::test]
async fn options_may_be_missing() {
    let stage = Stage::new();
    let arguments =
        vec![Value::from(stage.slice.as_str()), stage.credentials.clone(), Value::from(request(&["a"]))];
    assert_eq!(code_of(&stage.call("Allocate", arguments).await), 0);
    let arguments = vec![Value::from(stage.slice.as_str()), stage.credentials.clone()];
    assert_eq!(code_of(&stage.call("Status", arguments.clone()).await), 0, "also: urns as a plain string");
    assert_eq!(code_of(&stage.call("Provision", arguments).await), 1);
    // Users are optional (am-api.md §1.3).
    assert_eq!(code_of(&stage.on_slice("Provision", options([])).await), 0);
}

#[tokio::test]
async fn urns() {
    let stage = Stage::new();
    let sliver = stage.allocated(&["a"]).await.remove(0);
    for (urns, code) in [
        (Value::Array(vec![]), 1),
        (Value::texts(["urn:publicid:IDN+am.example.net+node+one"]), 1),
        (Value::texts([stage.slice.as_str(), sliver.as_str()]), 1),
        (Value::texts([stage.slice.as_str(), slice_urn("other").as_str()]), 1),
        (Value::texts(["urn:publicid:IDN+am.example.net+sliver+INVALID"]), 12),
        (Value::texts([sliver.as_str(), "urn:publicid:IDN+am.example.net+sliver+INVALID"]), 12),
        (Value::texts([sliver.as_str(), sliver.as_str()]), 0),
        (Value::texts([stage.slice.replace("fed.example", "FED.Example")]), 0),
        (Value::Nil, 1),
    ] {
        let reply = stage.call("Describe", vec![urns.clone(), stage.credentials.clone(), options([])]).await;
        assert_eq!(code_of(&reply), code, "{urns:?}: {reply:?}");
    }
    let both = Value::texts([sliver.as_str(), "urn:publicid:IDN+am.example.net+sliver+INVALID"]);
    let best = Value::members([("geni_best_effort", Value::from(1))]);
    let reply = stage.call("Status", vec![both, stage.credentials.clone(), best]).await;
    let [there, missing] = slivers(value_of(&reply)) else { panic!("{reply:?}") };
    assert!(text(there, "geni_error").is_empty() && !text(missing, "geni_error").is_empty());
    for member in ["geni_sliver_urn", "geni_allocation_status", "geni_expires"] {
        assert!(!text(missing, member).is_empty(), "jFed throws without {member}");
    }
}

#[tokio::test]
async fn slivers_of_the_second_credentials_slice() {
    let stage = Stage::new();
    let sliver = stage.allocated(&["a"]).await.remove(0);
    let other = stage.door.federation.slice_credential(&stage.ann, "other", 48);
    let Value::Array(own) = &stage.credentials else { unreachable!() };
    let Value::Array(mut both) = passed(&[&other]) else { unreachable!() };
    both.extend(own.iter().cloned());
    let urns = Value::texts([sliver.as_str()]);
    let reply = stage.call("Status", vec![urns.clone(), Value::Array(both), none()]).await;
    assert_eq!(text(value_of(&reply), "geni_urn"), stage.slice);
    let reply = stage.call("Status", vec![urns, passed(&[&other]), none()]).await;
    assert_eq!(code_of(&reply), 12, "of the other slice it is not");
}

#[tokio::test]
async fn actions() {
    let stage = Stage::new();
    stage.allocated(&["a"]).await;
    stage.on_slice("Provision", options([])).await;
    for action in ["geni_start", "geni_restart", "geni_stop", "geni_reload", "geni_update_users_cancel"] {
        assert_eq!(
            code_of(&stage.with_argument("PerformOperationalAction", action, none()).await),
            0,
            "{action}"
        );
    }
    for action in ["", "random_action", "GENI_START", "geni_start; reboot"] {
        let reply = stage.with_argument("PerformOperationalAction", action, none()).await;
        assert_eq!(code_of(&reply), 13, "{action}");
        assert!(output_of(&reply).contains("geni_restart"), "it says which there are: {}", output_of(&reply));
    }
}

#[tokio::test]
async fn renewals() {
    let stage = Stage::new();
    stage.allocated(&["a"]).await;
    for bad in ["", "tomorrow", "2030-13-01T00:00:00Z"] {
        let reply = stage.with_argument("Renew", bad, none()).await;
        assert_eq!((code_of(&reply), output_of(&reply).starts_with("expiration_time: ")), (1, true), "{bad}");
    }
    let far = "2090-01-01T00:00:00+00:00";
    assert_eq!(code_of(&stage.with_argument("Renew", far, none()).await), 19);
    let alap = Value::members([("geni_extend_alap", Value::from(true))]);
    let reply = stage.with_argument("Renew", far, alap).await;
    assert!(text(&slivers(value_of(&reply))[0], "geni_expires").as_str() < "2090");
}

#[tokio::test]
async fn services_and_timeline() {
    let stage = Stage::new();
    let with_service = request(&["a"]).replace(
        "<!-- a -->",
        "</node><node client_id=\"b\" component_manager_id=\"urn:publicid:IDN+am.example.net+authority+am\">\
         <services><execute shell=\"sh\" command=\"exit 3\"/></services>",
    );
    assert_eq!(code_of(&stage.allocate(&with_service, none()).await), 0);
    stage.on_slice("Provision", options([])).await;
    let reply = stage.on_slice("Status", Value::members([("testyard_timeline", Value::from(true))])).await;
    let sliver = slivers(value_of(&reply)).iter().find(|s| text(s, "testyard_client_id") == "b").unwrap();
    let service = &sliver.get("testyard_services").and_then(Value::as_array).unwrap()[0];
    assert_eq!((text(service, "kind"), text(service, "state")), ("execute".to_owned(), "exited".to_owned()));
    assert_eq!(
        (service.get("exit_code"), service.get("number")),
        (Some(&Value::from(3)), Some(&Value::from(1)))
    );
    assert_eq!(
        (text(service, "log"), text(service, "status")),
        ("/tmp/startup-1.txt".to_owned(), "/tmp/startup-1.status".to_owned())
    );
    let timeline = sliver.get("testyard_timeline").and_then(Value::as_array).unwrap();
    assert_eq!(text(&timeline[0], "what"), "allocated");
    assert_eq!(text(&timeline[1], "what"), "host: ssh_up");
    assert!(!write_reply(&Ok(reply.clone())).contains('\u{7}'), "what a node says cannot break the answer");
    let plain = stage.on_slice("Status", none()).await;
    assert!(slivers(value_of(&plain))[0].get("testyard_timeline").is_none());
}

#[tokio::test]
async fn refusals_of_the_controller() {
    let stage = Stage::new();
    let text = || "because".to_owned();
    let slice = stage.slice.parse().unwrap();
    for (refusal, code) in [
        (Refusal::BadRequest(text()), 1),
        (Refusal::ShutDown(slice), 3),
        (Refusal::Internal(text()), 5),
        (Refusal::TooBig(text()), 6),
        (Refusal::Refused(text()), 7),
        (Refusal::NotFound(text()), 12),
        (Refusal::Unsupported(text()), 13),
        (Refusal::Busy(text()), 14),
        (Refusal::Expired(text()), 15),
        (Refusal::AlreadyExists(text()), 17),
        (Refusal::OutOfRange(text()), 19),
    ] {
        for method in
            ["Allocate", "Provision", "Status", "PerformOperationalAction", "Renew", "Delete", "Shutdown"]
        {
            stage.door.testbed.script(Script::Refuse(refusal.clone()));
            let reply = match method {
                "Allocate" => stage.allocate(&request(&["a"]), none()).await,
                "PerformOperationalAction" => stage.with_argument(method, "geni_start", none()).await,
                "Renew" => stage.with_argument(method, "2030-01-01T00:00:00Z", none()).await,
                "Shutdown" => {
                    let arguments =
                        vec![Value::from(stage.slice.as_str()), stage.credentials.clone(), none()];
                    stage.call(method, arguments).await
                }
                method => stage.on_slice(method, options([])).await,
            };
            assert_eq!((code_of(&reply), am_code_of(&reply)), (code, code), "{method}");
            let array = matches!(method, "PerformOperationalAction" | "Renew" | "Delete");
            let value = if array { Value::Array(vec![]) } else { Value::empty() };
            assert_eq!(reply.get("value"), Some(&value), "{method}");
        }
    }
}
