//! The arguments of a call, by name and type.

use std::collections::BTreeMap;

use testyard_model::urn::{SliceUrn, SliverUrn, Urn, UrnError};
use testyard_trust::PassedCredential;

use crate::answer::{Failure, Outcome};
use crate::options::Options;
use crate::xmlrpc::Value;

/// Slivers that one call can name.
const MAX_URNS: usize = 20_000;

/// The arguments of a call. The options are always last, and may be left out.
#[derive(Debug)]
pub(crate) struct Arguments {
    method: &'static str,
    names: &'static [&'static str],
    values: Vec<Value>,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Slice(SliceUrn),
    Slivers(Vec<SliverUrn>),
}

impl Arguments {
    /// Gives the values their names.
    pub(crate) fn new(
        method: &'static str,
        names: &'static [&'static str],
        values: Vec<Value>,
    ) -> Outcome<Self> {
        let (given, most) = (values.len(), names.len());
        if given > most || given + 1 < most {
            let signature = names.join(", ");
            return Err(Failure::bad_arguments(format!(
                "{method} takes ({signature}); {given} arguments were given"
            )));
        }
        Ok(Self { method, names, values })
    }

    fn get(&self, name: &str) -> &Value {
        let index = self.names.iter().position(|known| *known == name);
        index.and_then(|index| self.values.get(index)).unwrap_or(&Value::Nil)
    }

    fn wrong<T>(&self, name: &str, needed: &str) -> Outcome<T> {
        let found = self.get(name).kind();
        Err(Failure::bad_arguments(format!("{}: {name} must be {needed}, not {found}", self.method)))
    }

    /// A text.
    pub(crate) fn text(&self, name: &'static str) -> Outcome<&str> {
        self.get(name).as_str().map_or_else(|| self.wrong(name, "a string"), Ok)
    }

    /// The URN of a slice.
    pub(crate) fn slice(&self, name: &'static str) -> Outcome<SliceUrn> {
        self.text(name)?.trim().parse().map_err(|error| self.bad_urn(name, &error))
    }

    /// One slice, or slivers. One URN may come as a string.
    pub(crate) fn target(&self, name: &'static str) -> Outcome<Target> {
        let mut texts = Vec::new();
        match self.get(name) {
            Value::String(urn) => texts.push(urn.as_str()),
            Value::Array(urns) => {
                for urn in urns {
                    match urn.as_str() {
                        Some(urn) => texts.push(urn),
                        None => return self.wrong(name, "an array of strings, and nothing else in it"),
                    }
                }
            }
            _ => return self.wrong(name, "an array of URNs"),
        }
        if texts.len() > MAX_URNS {
            return Err(Failure::bad_arguments(format!("{name} names more than {MAX_URNS} slivers")));
        }
        let urns = texts.iter().map(|text| text.trim().parse::<Urn>()).collect::<Result<Vec<_>, _>>();
        let urns = urns.map_err(|error| self.bad_urn(name, &error))?;
        let rule = || {
            Failure::bad_arguments(format!("{name} must be one slice, or one or more slivers of one slice"))
        };
        match &urns[..] {
            [] => Err(Failure::bad_arguments(format!("{name} is empty: name a slice, or slivers of it"))),
            [one] if one.kind() == "slice" => {
                let slice = SliceUrn::try_from(one.clone()).map_err(|error| self.bad_urn(name, &error))?;
                Ok(Target::Slice(slice))
            }
            several if several.iter().any(|urn| urn.kind() == "slice") => Err(rule()),
            _ => {
                let mut slivers: Vec<SliverUrn> = Vec::with_capacity(urns.len());
                let mut seen = std::collections::HashSet::new();
                for urn in urns {
                    let sliver = SliverUrn::try_from(urn).map_err(|error| self.bad_urn(name, &error))?;
                    if seen.insert(sliver.clone()) {
                        slivers.push(sliver);
                    }
                }
                Ok(Target::Slivers(slivers))
            }
        }
    }

    /// The credentials. Seen in the field: bare strings, numbers as version, no version (am-api.md §3.6).
    pub(crate) fn credentials(&self) -> Outcome<Vec<PassedCredential>> {
        let name = "credentials";
        let passed = match self.get(name) {
            Value::Array(passed) => passed.as_slice(),
            one @ (Value::Struct(_) | Value::String(_)) => std::slice::from_ref(one),
            _ => return self.wrong(name, "an array of credentials"),
        };
        passed.iter().enumerate().map(|(index, one)| credential(index + 1, one)).collect()
    }

    /// The options.
    pub(crate) fn options(&self) -> Outcome<Options<'_>> {
        static NONE: BTreeMap<String, Value> = BTreeMap::new();
        match self.get("options") {
            Value::Nil => Ok(Options::new(&NONE)),
            Value::Struct(options) => Ok(Options::new(options)),
            _ => self.wrong("options", "a struct"),
        }
    }

    fn bad_urn(&self, name: &str, error: &UrnError) -> Failure {
        Failure::bad_arguments(format!("{}: {name}: {error}", self.method))
    }
}

fn credential(number: usize, passed: &Value) -> Outcome<PassedCredential> {
    let wrong = |text: &str| Failure::bad_arguments(format!("credential {number} {text}"));
    let value = match passed {
        Value::String(text) => return Ok(PassedCredential::sfa(text.as_bytes())),
        Value::Binary(bytes) => return Ok(PassedCredential::sfa(bytes.as_slice())),
        Value::Struct(_) => match passed.get("geni_value") {
            Some(Value::String(text)) => text.as_bytes().to_vec(),
            Some(Value::Binary(bytes)) => bytes.clone(),
            Some(_) => return Err(wrong("has a geni_value that is not a string")),
            None => return Err(wrong("has no geni_value")),
        },
        _ => return Err(wrong("is not a struct of geni_type, geni_version and geni_value")),
    };
    let kind = match passed.get("geni_type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(_) => return Err(wrong("has a geni_type that is not a string")),
        None => return Err(wrong("has no geni_type")),
    };
    let version = passed.get("geni_version").and_then(Value::scalar).unwrap_or_default().into_owned();
    Ok(PassedCredential { kind, version, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["urns", "credentials", "options"];

    fn target(urns: Value) -> Outcome<Target> {
        Arguments::new("Status", NAMES, vec![urns, Value::Array(vec![])]).unwrap().target("urns")
    }

    #[test]
    fn targets() {
        let slice = "urn:publicid:IDN+a+slice+s";
        let (one, two) = ("urn:publicid:IDN+a+sliver+1", "urn:publicid:IDN+a+sliver+2");
        let expected = Target::Slice(slice.parse().unwrap());
        assert_eq!(target(Value::from(slice)).unwrap(), expected);
        assert_eq!(target(Value::texts([slice])).unwrap(), expected);
        let Target::Slivers(slivers) = target(Value::texts([one, two, one])).unwrap() else { panic!() };
        assert_eq!(slivers.len(), 2);
        for bad in [
            Value::texts::<&str>([]),
            Value::texts([slice, slice]),
            Value::texts([slice, one]),
            Value::texts(["urn:publicid:IDN+a+node+x"]),
            Value::texts([one, "urn:publicid:IDN+a+node+x"]),
            Value::texts(["x"]),
            Value::Array(vec![Value::from(1)]),
            Value::from(1),
            Value::Nil,
        ] {
            assert_eq!(target(bad.clone()).unwrap_err().code.number(), 1, "{bad:?}");
        }
    }

    #[test]
    fn credentials_as_they_come() {
        let read =
            |passed: Value| Arguments::new("Status", NAMES, vec![Value::Nil, passed]).unwrap().credentials();
        let full = |kind: &str| {
            Value::members([
                ("geni_type", Value::from(kind)),
                ("geni_version", Value::from(3)),
                ("geni_value", Value::Binary(vec![0xff])),
            ])
        };
        let got = read(Value::Array(vec![full("SFA"), Value::from("<x/>")])).unwrap();
        assert_eq!(
            (got[0].kind.as_str(), got[0].version.as_str(), &got[0].value[..]),
            ("SFA", "3", &[0xff][..])
        );
        assert_eq!(got[1], PassedCredential::sfa("<x/>"));
        assert_eq!(read(full("geni_sfa")).unwrap().len(), 1);
        for missing in ["geni_type", "geni_value"] {
            let Value::Struct(mut members) = full("geni_sfa") else { unreachable!() };
            members.remove(missing);
            let failure = read(Value::Array(vec![Value::Struct(members)])).unwrap_err();
            assert_eq!(failure.output, format!("credential 1 has no {missing}"));
        }
        for bad in [Value::Nil, Value::from(1), Value::Array(vec![Value::from(1)])] {
            assert_eq!(read(bad).unwrap_err().code.number(), 1);
        }
    }

    #[test]
    fn numbers_of_arguments() {
        assert!(Arguments::new("Status", NAMES, vec![Value::Nil; 3]).is_ok());
        assert!(Arguments::new("Status", NAMES, vec![Value::Nil; 2]).is_ok(), "options may be missing");
        let failure = Arguments::new("Status", NAMES, vec![Value::Nil; 4]).unwrap_err();
        assert_eq!(failure.output, "Status takes (urns, credentials, options); 4 arguments were given");
        assert!(Arguments::new("Status", NAMES, vec![Value::Nil]).is_err());
    }
}
