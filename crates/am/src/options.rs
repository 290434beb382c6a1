//! The options of a call, each with its type. Unknown ones are ignored, as the specification wants; a known one of the
//! wrong type is refused by its name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use testyard_controller::api::Effort;
use testyard_model::account::{PublicKey, User};
use testyard_model::time;
use testyard_model::urn::UserUrn;

use crate::answer::{Failure, Outcome};
use crate::code::GeniCode;
use crate::xmlrpc::Value;

/// Users of one call, and keys of all of them.
const MAX_USERS: usize = 1000;
const MAX_KEYS: usize = 5000;

/// The options of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'a>(&'a BTreeMap<String, Value>);

impl<'a> Options<'a> {
    pub(crate) fn new(options: &'a BTreeMap<String, Value>) -> Self {
        Self(options)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| **value != Value::Nil)
    }

    /// Yes or no; absent is no.
    pub(crate) fn flag(&self, name: &str) -> Outcome<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().map_or_else(|| wrong(name, "a boolean", value), Ok),
        }
    }

    fn text(&self, name: &str) -> Outcome<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim())),
            Some(value) => wrong(name, "a string", value),
        }
    }

    /// Whom a tool speaks for; the empty text is nobody.
    pub(crate) fn speaking_for(&self) -> Outcome<Option<&'a str>> {
        Ok(self.text("geni_speaking_for")?.filter(|urn| !urn.is_empty()))
    }

    /// Checks the required `geni_rspec_version`: only GENI 3 is spoken here.
    pub(crate) fn rspec_version(&self) -> Outcome<()> {
        let name = "geni_rspec_version";
        let hint = "give {type: \"GENI\", version: \"3\"}";
        let value = self
            .get(name)
            .ok_or_else(|| Failure::bad_arguments(format!("the option {name} is missing: {hint}")))?;
        if value.as_struct().is_none() {
            return wrong(name, "a struct", value);
        }
        let part = |part: &str| {
            let scalar = value.get(part).and_then(Value::scalar);
            scalar.ok_or_else(|| Failure::bad_arguments(format!("the option {name} has no {part}: {hint}")))
        };
        let (kind, version) = (part("type")?, part("version")?);
        if kind.trim().eq_ignore_ascii_case("geni") && version.trim() == "3" {
            return Ok(());
        }
        let shown = |text: &str| text.chars().take(40).collect::<String>();
        let (kind, version) = (shown(&kind), shown(&version));
        let output = format!("RSpecs of type {kind:?} version {version:?} are not supported: {hint}");
        Err(Failure::new(GeniCode::BadVersion, output))
    }

    /// All or nothing?
    pub(crate) fn effort(&self) -> Outcome<Effort> {
        Ok(if self.flag("geni_best_effort")? { Effort::Best } else { Effort::AllOrNothing })
    }

    /// When slivers are to end.
    pub(crate) fn end_time(&self) -> Outcome<Option<Timestamp>> {
        self.time("geni_end_time")
    }

    /// Refuses slivers that are to begin later: nothing can be reserved for later here.
    pub(crate) fn starts_now(&self, now: Timestamp) -> Outcome<()> {
        match self.time("geni_start_time")? {
            Some(start) if start > now + jiff::SignedDuration::from_mins(1) => Err(Failure::new(
                GeniCode::Unsupported,
                "geni_start_time: slivers begin at once here; leave it out",
            )),
            _ => Ok(()),
        }
    }

    fn time(&self, name: &str) -> Outcome<Option<Timestamp>> {
        self.text(name)?.map(|text| read_time(name, text)).transpose()
    }

    /// The users and their keys; `None` if the option is absent.
    pub(crate) fn users(&self) -> Outcome<Option<Vec<User>>> {
        let name = "geni_users";
        let Some(value) = self.get(name) else { return Ok(None) };
        let Some(entries) = value.as_array() else { return wrong(name, "an array", value) };
        if entries.len() > MAX_USERS {
            return Err(Failure::bad_arguments(format!("{name} names more than {MAX_USERS} users")));
        }
        let mut users: Vec<User> = Vec::with_capacity(entries.len());
        for (number, entry) in (1..).zip(entries) {
            let user = user(number, entry)?;
            match users.iter_mut().find(|known| known.urn == user.urn) {
                None => users.push(user),
                Some(known) => {
                    let new =
                        user.keys.into_iter().filter(|key| !known.keys.contains(key)).collect::<Vec<_>>();
                    known.keys.extend(new);
                }
            }
        }
        if users.iter().map(|user| user.keys.len()).sum::<usize>() > MAX_KEYS {
            return Err(Failure::bad_arguments(format!("{name} has more than {MAX_KEYS} keys")));
        }
        Ok(Some(users))
    }
}

fn user(number: usize, entry: &Value) -> Outcome<User> {
    let bad = |text: String| Failure::bad_arguments(format!("geni_users: {text}"));
    let urn = match entry.get("urn") {
        Some(Value::String(urn)) => urn,
        Some(_) => return Err(bad(format!("the urn of user {number} is not a string"))),
        None => return Err(bad(format!("user {number} has no urn"))),
    };
    let urn: UserUrn = urn.trim().parse().map_err(|error| bad(format!("user {number}: {error}")))?;
    let texts = match entry.get("keys") {
        Some(Value::Array(keys)) => keys.as_slice(),
        Some(one @ Value::String(_)) => std::slice::from_ref(one),
        Some(_) => return Err(bad(format!("the keys of {urn} are not an array of strings"))),
        None => return Err(bad(format!("{urn} has no keys (an empty array is allowed)"))),
    };
    let mut keys: Vec<PublicKey> = Vec::new();
    for text in texts {
        let text = text.as_str().ok_or_else(|| bad(format!("a key of {urn} is not a string")))?;
        for key in PublicKey::parse_all(text).map_err(|error| bad(format!("a key of {urn}: {error}")))? {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    Ok(User { urn, keys })
}

/// Reads a time as clients send it: what [`time::parse`] reads, and XML-RPC's own compact form.
pub(crate) fn read_time(name: &str, text: &str) -> Outcome<Timestamp> {
    let text = text.trim();
    let compact = text.as_bytes().get(8) == Some(&b'T') && text.bytes().take(8).all(|b| b.is_ascii_digit());
    let parsed = if compact {
        time::parse(&format!("{}-{}-{}{}", &text[..4], &text[4..6], &text[6..8], &text[8..]))
    } else {
        time::parse(text)
    };
    parsed.map_err(|error| Failure::bad_arguments(format!("{name}: {error}")))
}

fn wrong<T>(name: &str, needed: &str, found: &Value) -> Outcome<T> {
    Err(Failure::bad_arguments(format!("the option {name} must be {needed}, not {}", found.kind())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn with<T>(name: &str, value: Value, read: impl Fn(&Options<'_>) -> Outcome<T>) -> Outcome<T> {
        read(&Options::new(&BTreeMap::from([(name.to_owned(), value)])))
    }

    #[test]
    fn flags() {
        let flag = |value| with("f", value, |options| options.flag("f"));
        for yes in [Value::Bool(true), Value::from(1), Value::from("1"), Value::from("True")] {
            assert!(flag(yes).unwrap());
        }
        for no in [Value::Bool(false), Value::from(0), Value::from("false"), Value::Nil] {
            assert!(!flag(no).unwrap());
        }
        for bad in [Value::from(2), Value::from("yes please"), Value::Array(vec![])] {
            assert!(flag(bad).unwrap_err().output.starts_with("the option f must be a boolean, not "));
        }
    }

    #[test]
    fn rspec_versions() {
        let version = |kind: &str, version: Value| {
            let value = Value::members([("type", Value::from(kind)), ("version", version)]);
            with("geni_rspec_version", value, |o| o.rspec_version()).map_err(|failure| failure.code.number())
        };
        assert_eq!(version("geni", Value::from("3")), Ok(()));
        assert_eq!(version("GENI", Value::from(3)), Ok(()));
        assert_eq!(version("ProtoGENI", Value::from("2")), Err(4));
        assert_eq!(version("GENI", Value::from("4")), Err(4));
        assert_eq!(version("GENI", Value::Array(vec![])), Err(1));
        assert_eq!(Options::new(&BTreeMap::new()).rspec_version().unwrap_err().code.number(), 1);
        assert_eq!(
            with("geni_rspec_version", Value::from("GENI 3"), |o| o.rspec_version())
                .unwrap_err()
                .code
                .number(),
            1
        );
    }

    #[test]
    fn times() {
        for good in [
            "2027-01-01T00:00:00Z",
            "2027-01-01 00:00:00+00:00",
            "20270101T00:00:00",
            " 2027-01-01T00:00:00Z ",
        ] {
            assert_eq!(time::format(read_time("t", good).unwrap()), "2027-01-01T00:00:00Z", "{good}");
        }
        for bad in ["", "tomorrow", "2027-13-01T00:00:00Z", "99999999999", "2027010\u{e9}T"] {
            assert!(read_time("t", bad).unwrap_err().output.starts_with("t: "), "{bad}");
        }
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        let start = |text: &str| with("geni_start_time", Value::from(text), |o| o.starts_now(now));
        assert!(start("2026-01-01T00:00:00Z").is_ok());
        assert_eq!(start("2028-01-01T00:00:00Z").unwrap_err().code, GeniCode::Unsupported);
    }

    #[test]
    fn users() {
        let ann = "urn:publicid:IDN+a+user+ann";
        let entry = |urn: Value, keys: Value| Value::members([("urn", urn), ("keys", keys)]);
        let users = |entries: Vec<Value>| with("geni_users", Value::Array(entries), |o| o.users());
        let two_keys = format!("{KEY} one\r\n{KEY} two\n");
        let read = users(vec![
            entry(Value::from(ann), Value::texts([two_keys.as_str()])),
            entry(Value::from(ann), Value::texts([KEY])),
            entry(Value::from("urn:publicid:IDN+a+user+ben"), Value::Array(vec![])),
        ]);
        let read = read.unwrap().unwrap();
        assert_eq!((read.len(), read[0].keys.len(), read[1].keys.len()), (2, 3, 0));
        assert!(Options::new(&BTreeMap::new()).users().unwrap().is_none());
        for (bad, expected) in [
            (entry(Value::Nil, Value::Array(vec![])), "geni_users: user 1 has no urn"),
            (entry(Value::from("ann"), Value::Array(vec![])), "geni_users: user 1: \"ann\" does not begin"),
            (entry(Value::from(ann), Value::Nil), "geni_users: urn:publicid:IDN+a+user+ann has no keys"),
            (
                entry(Value::from(ann), Value::texts(["ssh-dss AAAA"])),
                "geni_users: a key of urn:publicid:IDN+a+user+ann: no known type",
            ),
            (
                entry(Value::from(ann), Value::Array(vec![Value::from(1)])),
                "geni_users: a key of urn:publicid:IDN+a+user+ann is not a string",
            ),
            (Value::from(ann), "geni_users: user 1 has no urn"),
        ] {
            let failure = users(vec![bad]).unwrap_err();
            assert_eq!(failure.code, GeniCode::BadArgs);
            assert!(failure.output.starts_with(expected), "{}", failure.output);
        }
    }
}
