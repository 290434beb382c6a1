//! Reading maps whose keys are known: one that is not is told, with what was probably meant.

use std::str::FromStr;

use testyard_model::diagnostic::{Position, Severity};

use super::{Entry, Kind, Value};
use crate::remarks::{Remarks, short};

/// A map's entries by their keys.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'v> {
    pub(crate) at: Position,
    entries: &'v [Entry],
}

impl<'v> Fields<'v> {
    /// The entries of a value that is to be a map with these keys; others are remarks of the given severity. `None`,
    /// with an error, if it is none.
    pub(crate) fn read(
        value: &'v Value,
        what: &str,
        keys: &[&str],
        unknown: Severity,
        remarks: &mut Remarks,
    ) -> Option<Self> {
        let Some(entries) = value.entries() else {
            remarks
                .error(value.at, format!("{what} is {}, not a map", value.name()))
                .suggest(format!("its keys can be {}", keys.join(", ")));
            return None;
        };
        for entry in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let message = format!("{what} has no {:?}", short(&entry.key));
            let remark = match unknown {
                Severity::Error => remarks.error(entry.at, message),
                _ => remarks.warning(entry.at, format!("{message}: it is ignored")),
            };
            remark.did_you_mean(
                &entry.key,
                keys.iter().copied(),
                Some(format!("it can have {}", keys.join(", "))),
            );
        }
        Some(Self { at: value.at, entries })
    }

    /// The value of a key; one that is null is as good as none.
    pub(crate) fn get(&self, key: &str) -> Option<&'v Value> {
        self.entry(key).map(|entry| &entry.value).filter(|value| value.kind != Kind::Null)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&'v Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn entries(&self) -> &'v [Entry] {
        self.entries
    }

    /// A text, or a number as a text.
    pub(crate) fn text(&self, key: &str, remarks: &mut Remarks) -> Option<&'v str> {
        text(self.get(key)?, key, remarks)
    }

    /// What a text means.
    pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
        remarks: &mut Remarks,
    ) -> Option<T> {
        parse(self.get(key)?, key, remarks)
    }

    /// A whole number.
    pub(crate) fn number<T: FromStr>(&self, key: &str, example: &str, remarks: &mut Remarks) -> Option<T> {
        let value = self.get(key)?;
        let number = value.as_text().and_then(|text| text.parse().ok());
        if number.is_none() {
            let given =
                value.as_text().map_or_else(|| value.name().to_owned(), |text| format!("{:?}", short(text)));
            remarks.error(value.at, format!("{key} is {given}")).suggest(format!("write {example}"));
        }
        number
    }

    /// `true` or `false`; `false` if it is not there.
    pub(crate) fn flag(&self, key: &str, remarks: &mut Remarks) -> bool {
        match self.get(key).map(|value| (&value.kind, value.at)) {
            None => false,
            Some((Kind::Bool(flag), _)) => *flag,
            Some((_, at)) => {
                remarks.error(at, format!("{key} is neither true nor false"));
                false
            }
        }
    }
}

/// A text, or a number as a text.
pub(crate) fn text<'v>(value: &'v Value, what: &str, remarks: &mut Remarks) -> Option<&'v str> {
    let text = value.as_text();
    if text.is_none() {
        let remark = remarks.error(value.at, format!("{what} is {}, not a text", value.name()));
        if matches!(value.kind, Kind::Bool(_)) {
            remark.suggest("put quotes around it");
        }
    }
    text
}

/// What a text means.
pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(
    value: &Value,
    what: &str,
    remarks: &mut Remarks,
) -> Option<T> {
    match text(value, what, remarks)?.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            remarks.error(value.at, format!("{what}: {error}"));
            None
        }
    }
}

/// The items of a list; one value alone is a list of one.
pub(crate) fn items(value: &Value) -> &[Value] {
    match &value.kind {
        Kind::List(items) => items,
        Kind::Null => &[],
        _ => std::slice::from_ref(value),
    }
}
