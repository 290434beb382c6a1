//! Whatever stands in arguments and options, the answer is an envelope that can be read: no fault, no panic, no
//! invalid XML.

mod support;

use std::sync::OnceLock;

use proptest::prelude::*;
use support::federation::{User, passed, slice_urn};
use support::{Door, assert_envelope, request};
use testyard_am::xmlrpc::{Call, Value, parse_reply, write_reply};
use testyard_model::id::RequestId;

const METHODS: [&str; 10] = [
    "GetVersion",
    "ListResources",
    "Describe",
    "Allocate",
    "Provision",
    "Status",
    "PerformOperationalAction",
    "Renew",
    "Delete",
    "Shutdown",
];

const OPTIONS: [&str; 12] = [
    "geni_rspec_version",
    "geni_compressed",
    "geni_available",
    "geni_best_effort",
    "geni_end_time",
    "geni_start_time",
    "geni_users",
    "geni_extend_alap",
    "geni_speaking_for",
    "testyard_timeline",
    "",
    "geni_unknown",
];

struct Stage {
    door: Door,
    ann: User,
    credentials: Value,
    runtime: tokio::runtime::Runtime,
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let door = Door::new();
        let ann = door.federation.user("ann");
        let credentials = passed(&[&door.federation.slice_credential(&ann, "demo", 48)]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Stage { door, ann, credentials, runtime }
    })
}

impl Stage {
    fn check(&self, method: &str, arguments: Vec<Value>) -> Result<Value, TestCaseError> {
        let call = Call { method: method.to_owned(), arguments };
        let reply = self.runtime.block_on(self.door.service.call(&self.ann.peer(), RequestId::new(1), call));
        let reply = reply.map_err(|fault| TestCaseError::fail(format!("a fault: {fault}")))?;
        assert_envelope(&reply);
        let text = write_reply(&Ok(reply));
        prop_assert!(text.is_ascii() && !text.bytes().any(|b| b < 0x20 && b != b'\n' && b != b'\t'));
        Ok(parse_reply(text.as_bytes()).expect("it can be read").expect("it is no fault"))
    }
}

fn hostile() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "(.|\n|\0|\u{7}|\u{202e}){0,40}",
        Just("urn:publicid:IDN+fed.example.net+slice+demo".to_owned()),
        Just("urn:publicid:IDN+am.example.net+sliver+x".to_owned()),
        Just("$(id); `id` && ../../etc/passwd '\"<!--]]>".to_owned()),
        Just("9999-99-99T99:99:99Z".to_owned()),
        Just("-9999-01-01T00:00:00Z".to_owned()),
        Just("geni_start".to_owned()),
        Just("<signed-credential/>".to_owned()),
    ];
    let leaf = prop_oneof![
        text.prop_map(Value::String),
        any::<i64>().prop_map(Value::Int),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_map(Value::Double),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Binary),
        Just(Value::Nil),
    ];
    let name = prop_oneof![
        Just("urn".to_owned()),
        Just("keys".to_owned()),
        Just("type".to_owned()),
        Just("version".to_owned()),
        Just("geni_type".to_owned()),
        Just("geni_value".to_owned()),
        "\\PC{0,10}",
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(Value::Struct),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn arguments(method in prop::sample::select(&METHODS[..]), arguments in prop::collection::vec(hostile(), 0..6)) {
        stage().check(method, arguments)?;
    }

    #[test]
    fn options(
        method in prop::sample::select(&METHODS[1..]),
        option in prop::sample::select(&OPTIONS[..]),
        value in hostile(),
        text in "(.|\n|\0){0,40}",
    ) {
        let stage = stage();
        let version = Value::members([("type", Value::from("GENI")), ("version", Value::from(3))]);
        let options = Value::members([("geni_rspec_version", version), (option, value)]);
        let (slice, credentials) = (Value::from(slice_urn("demo")), stage.credentials.clone());
        let arguments = match method {
            "ListResources" => vec![credentials, options],
            "Allocate" => vec![slice, credentials, Value::from(request(&["a"]).replace(" a ", &text.replace("--", ""))), options],
            "PerformOperationalAction" | "Renew" => vec![slice, credentials, Value::String(text), options],
            _ => vec![slice, credentials, options],
        };
        if method != "Shutdown" {
            stage.check(method, arguments)?;
        }
    }
}
