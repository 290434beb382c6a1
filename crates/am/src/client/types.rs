//! What methods answer, as types that print well as tables and as JSON.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::error::ClientError;
use crate::xmlrpc::Value;

/// The envelope of an answer.
pub(super) struct Envelope {
    pub(super) code: i64,
    am_code: Option<(String, i64)>,
    pub(super) value: Value,
    output: String,
}

impl Envelope {
    pub(super) fn of(method: &'static str, reply: Value) -> Result<Self, ClientError> {
        let code = reply.get("code").ok_or_else(|| ClientError::shape(method, "there is no code"))?;
        let number = code.get("geni_code").and_then(Value::as_int);
        let number = number.ok_or_else(|| ClientError::shape(method, "there is no geni_code"))?;
        let am_code =
            code.get("am_code").and_then(Value::as_int).map(|number| (text(code, "am_type"), number));
        let output = text(&reply, "output");
        let value = reply.get("value").cloned().unwrap_or(Value::Nil);
        Ok(Self { code: number, am_code, value, output })
    }

    pub(super) fn refusal(self, method: &'static str) -> ClientError {
        ClientError::Refused {
            method,
            code: self.code,
            am_code: self.am_code,
            output: self.output,
            value: Box::new(self.value),
        }
    }
}

/// What an aggregate speaks.
#[derive(Clone, Debug, Serialize)]
pub struct Version {
    /// The version of the API.
    pub api: i64,
    /// URLs by version.
    pub urls: BTreeMap<String, String>,
    /// The aggregate's URN, if it says.
    pub urn: Option<String>,
    /// RSpecs that it takes.
    pub request_rspecs: Vec<RspecVersion>,
    /// RSpecs that it gives.
    pub ad_rspecs: Vec<RspecVersion>,
    /// Kinds of credentials, as `type version`.
    pub credentials: Vec<String>,
    /// Whether slivers of a slice can only be handled together.
    pub single_allocation: bool,
    /// Whether and how a slice can be added to: `geni_single`, `geni_disjoint`, `geni_many`.
    pub allocate: String,
    /// Everything, as it came.
    #[serde(serialize_with = "as_json")]
    pub raw: Value,
}

/// A kind of RSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RspecVersion {
    /// `GENI`, …
    pub kind: String,
    /// `3`, …
    pub version: String,
    /// Namespaces understood beside it.
    pub extensions: Vec<String>,
}

impl Version {
    pub(super) fn of(value: &Value) -> Self {
        let rspecs = |name: &str| array(value, name).iter().map(RspecVersion::of).collect();
        let urls = value.get("geni_api_versions").and_then(Value::as_struct).into_iter().flatten();
        let credentials = array(value, "geni_credential_types").iter();
        let urn = ["geni_urn", "urn"].into_iter().map(|name| text(value, name)).find(|urn| !urn.is_empty());
        let allocate = Some(text(value, "geni_allocate")).filter(|text| !text.is_empty());
        Self {
            api: value.get("geni_api").and_then(Value::as_int).unwrap_or_default(),
            urls: urls
                .filter_map(|(version, url)| Some((version.clone(), url.scalar()?.into_owned())))
                .collect(),
            urn,
            request_rspecs: rspecs("geni_request_rspec_versions"),
            ad_rspecs: rspecs("geni_ad_rspec_versions"),
            credentials: credentials
                .map(|kind| format!("{} {}", text(kind, "geni_type"), text(kind, "geni_version")))
                .collect(),
            single_allocation: value
                .get("geni_single_allocation")
                .and_then(Value::as_bool)
                .unwrap_or_default(),
            allocate: allocate.unwrap_or_else(|| "geni_single".to_owned()),
            raw: value.clone(),
        }
    }
}

impl RspecVersion {
    fn of(value: &Value) -> Self {
        let extensions = array(value, "extensions").iter().filter_map(Value::scalar);
        Self {
            kind: text(value, "type"),
            version: text(value, "version"),
            extensions: extensions.map(|text| text.into_owned()).collect(),
        }
    }
}

/// Slivers of a slice.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Slivers {
    /// The slice, if the aggregate says.
    pub slice: Option<String>,
    /// One each.
    pub slivers: Vec<Sliver>,
    /// The manifest, if the method gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rspec: Option<String>,
    /// What the aggregate remarks about the request (Testyard only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A sliver. Texts that the aggregate did not give are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sliver {
    /// Its URN.
    pub urn: String,
    /// `geni_allocated`, …
    pub allocation: String,
    /// `geni_ready`, …
    pub operational: String,
    /// RFC 3339.
    pub expires: String,
    /// What is wrong.
    pub error: String,
    /// The user's name of it (Testyard only).
    pub client_id: String,
    /// Its host (Testyard only).
    pub host: String,
    /// What its host does for it (Testyard only).
    pub progress: String,
    /// What its users should know though it goes on (Testyard only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// What became of the image's own program: `running`, `exited 1`, … (Testyard only).
    pub program: String,
    /// Its installs and executes (Testyard only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStatus>,
    /// What happened when (Testyard only, if asked for).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineEntry>,
}

/// How an install or an execute stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// `install` or `execute`.
    pub kind: String,
    /// Which, from 1.
    pub number: i64,
    /// What was asked for.
    pub what: String,
    /// `waiting`, `running`, `exited`, `signalled`, `failed`, `interrupted`.
    pub state: String,
    /// Its exit status, once it has ended by itself.
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// The file in the node with the output of an execute.
    pub log: String,
    /// The file in the node with the exit status of an execute.
    pub status: String,
    /// The end of its output, or why it failed.
    pub detail: String,
}

/// Something that happened to a sliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// What.
    pub what: String,
    /// When, RFC 3339.
    pub at: String,
    /// Milliseconds since the first entry.
    pub ms: i64,
}

impl Sliver {
    fn of(value: &Value) -> Self {
        let member = |name: &str| text(value, name);
        Self {
            urn: member("geni_sliver_urn"),
            allocation: member("geni_allocation_status"),
            operational: member("geni_operational_status"),
            expires: member("geni_expires"),
            error: member("geni_error"),
            client_id: member("testyard_client_id"),
            host: member("testyard_host"),
            progress: member("testyard_progress"),
            notices: array(value, "testyard_notices")
                .iter()
                .filter_map(|text| Some(text.scalar()?.into_owned()))
                .collect(),
            program: member("testyard_program"),
            services: array(value, "testyard_services").iter().map(ServiceStatus::of).collect(),
            timeline: array(value, "testyard_timeline").iter().map(TimelineEntry::of).collect(),
        }
    }
}

impl ServiceStatus {
    fn of(value: &Value) -> Self {
        Self {
            kind: text(value, "kind"),
            number: value.get("number").and_then(Value::as_int).unwrap_or_default(),
            what: text(value, "what"),
            state: text(value, "state"),
            exit_code: value.get("exit_code").and_then(Value::as_int),
            signal: value.get("signal").and_then(Value::as_int),
            log: text(value, "log"),
            status: text(value, "status"),
            detail: text(value, "detail"),
        }
    }
}

impl TimelineEntry {
    fn of(value: &Value) -> Self {
        Self {
            what: text(value, "what"),
            at: text(value, "at"),
            ms: value.get("ms").and_then(Value::as_int).unwrap_or_default(),
        }
    }
}

/// Slivers, given in a struct or as a bare array: methods and aggregates differ.
pub(super) fn slivers_of(method: &'static str, value: &Value) -> Result<Slivers, ClientError> {
    let slivers = match value {
        Value::Array(slivers) => slivers.as_slice(),
        Value::Struct(_) => array(value, "geni_slivers"),
        _ => return Err(ClientError::shape(method, "there are no slivers in the value")),
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Slivers {
        slice: some(text(value, "geni_urn")),
        slivers: slivers.iter().filter(|sliver| sliver.as_struct().is_some()).map(Sliver::of).collect(),
        rspec: some(text(value, "geni_rspec")),
        warnings: array(value, "testyard_warnings")
            .iter()
            .filter_map(|text| Some(text.scalar()?.into_owned()))
            .collect(),
    })
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::scalar).unwrap_or_default().into_owned()
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).unwrap_or_default()
}

fn as_json<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_json().serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_aggregates_habits() {
        let reply = Value::members([
            ("code", Value::members([("geni_code", Value::from("12")), ("am_code", Value::from(24))])),
            ("output", Value::Nil),
        ]);
        let envelope = Envelope::of("Status", reply).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((envelope.code, envelope.am_code), (12, Some((String::new(), 24))));
        assert!(Envelope::of("Status", Value::from("error")).is_err());

        let version = Version::of(&Value::members([
            ("geni_api", Value::from("3")),
            ("geni_single_allocation", Value::Bool(true)),
            (
                "geni_credential_types",
                Value::Array(vec![Value::members([
                    ("geni_type", Value::from("geni_sfa")),
                    ("geni_version", Value::from(3)),
                ])]),
            ),
        ]));
        assert_eq!(
            (version.api, version.single_allocation, version.credentials.as_slice()),
            (3, true, &["geni_sfa 3".to_owned()][..])
        );
        assert_eq!(version.allocate, "geni_single");

        let bare =
            Value::Array(vec![Value::members([("geni_sliver_urn", Value::from("urn:x"))]), Value::from(1)]);
        assert_eq!(
            slivers_of("Delete", &bare).unwrap_or_else(|error| panic!("{error}")).slivers[0].urn,
            "urn:x"
        );
        assert!(slivers_of("Delete", &Value::Bool(true)).is_err());
    }

    #[test]
    fn all_that_is_told_of_a_service() {
        let told = Value::members([
            ("kind", Value::from("execute")),
            ("number", Value::from(1)),
            ("what", Value::from("sleep 9")),
            ("state", Value::from("signalled")),
            ("signal", Value::from(15)),
            ("detail", Value::from("")),
            ("log", Value::from("/tmp/startup-1.txt")),
            ("status", Value::from("/tmp/startup-1.status")),
        ]);
        let sliver = Value::members([("testyard_services", Value::Array(vec![told]))]);
        let slivers = slivers_of("Status", &Value::Array(vec![sliver])).unwrap_or_else(|e| panic!("{e}"));
        let json = serde_json::to_value(&slivers.slivers[0].services[0]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            json,
            serde_json::json!({
                "kind": "execute", "number": 1, "what": "sleep 9", "state": "signalled", "exit_code": null,
                "signal": 15, "log": "/tmp/startup-1.txt", "status": "/tmp/startup-1.status", "detail": "",
            })
        );
    }
}
