//! Options of calls.

use std::collections::BTreeMap;

use crate::xmlrpc::Value;

/// Options of a call. What is not set is not sent.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// Do what can be done.
    pub best_effort: bool,
    /// When slivers are to end, in RFC 3339.
    pub end_time: Option<String>,
    /// Renew as far as possible instead of failing.
    pub extend_alap: bool,
    /// Only what can be had now.
    pub available: bool,
    /// RSpecs compressed on the way.
    pub compressed: bool,
    /// What took how long (Testyard only).
    pub timeline: bool,
    /// Users and their keys.
    pub users: Option<Vec<UserKeys>>,
    /// The user whom this client speaks for.
    pub speaking_for: Option<String>,
    /// Anything else.
    pub more: BTreeMap<String, Value>,
}

/// A user and the keys to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKeys {
    /// The user's URN.
    pub urn: String,
    /// Lines in the format of authorized_keys.
    pub keys: Vec<String>,
}

impl CallOptions {
    pub(super) fn to_value(&self) -> Value {
        let mut members = self.more.clone();
        let mut set = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        for (name, yes) in [
            ("geni_best_effort", self.best_effort),
            ("geni_extend_alap", self.extend_alap),
            ("geni_available", self.available),
            ("geni_compressed", self.compressed),
            ("testyard_timeline", self.timeline),
        ] {
            if yes {
                set(name, Value::Bool(true));
            }
        }
        for (name, text) in [("geni_end_time", &self.end_time), ("geni_speaking_for", &self.speaking_for)] {
            if let Some(text) = text {
                set(name, Value::text(text.as_str()));
            }
        }
        if let Some(users) = &self.users {
            let users = users.iter().map(|user| {
                let keys = Value::texts(user.keys.iter().map(String::as_str));
                Value::members([("urn", Value::text(user.urn.as_str())), ("keys", keys)])
            });
            set("geni_users", Value::Array(users.collect()));
        }
        Value::Struct(members)
    }

    /// The same with `geni_rspec_version`, for methods that demand it.
    pub(super) fn with_rspec_version(&self) -> Value {
        let mut options = self.to_value();
        if let Value::Struct(members) = &mut options {
            members.entry("geni_rspec_version".to_owned()).or_insert_with(|| {
                Value::members([("type", Value::from("GENI")), ("version", Value::from("3"))])
            });
        }
        options
    }
}
