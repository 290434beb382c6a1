//! What JSON and YAML have in common: a tree whose values know their places, so that what is said about one says where.

pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod write;
pub(crate) mod yaml;

use testyard_model::diagnostic::Position;

/// What a file may hold at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the whole.
    pub(crate) bytes: usize,
    /// Lists and maps within each other.
    pub(crate) depth: usize,
    /// Values, after aliases.
    pub(crate) values: usize,
}

impl Limits {
    /// Enough for 10,000 nodes and 20,000 links with all that can be said of them.
    pub(crate) const TOPOLOGY: Self = Self { bytes: 16 << 20, depth: 32, values: 2_000_000 };
    /// Enough for 10,000 containers.
    pub(crate) const CONTAINERS: Self = Self { bytes: 4 << 20, depth: 16, values: 400_000 };
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Value>),
    /// In the order of the text; no key twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Value,
}

pub(crate) const START: Position = Position { line: 1, column: 1 };

impl Value {
    /// A value that comes from no text.
    pub(crate) const fn made(kind: Kind) -> Self {
        Self { at: START, kind }
    }

    pub(crate) fn text(text: impl ToString) -> Self {
        Self::made(Kind::Text(text.to_string()))
    }

    pub(crate) fn number(number: impl ToString) -> Self {
        Self::made(Kind::Number(number.to_string()))
    }

    /// What it is, for messages.
    pub(crate) const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// Its text: that of a number is as it was written.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }
}

/// The first key that is there before, with the place of the one before.
fn repeated(entries: &[Entry]) -> Option<(&Entry, Position)> {
    // Most maps are small, and comparing a few keys is cheaper than hashing them.
    if entries.len() <= 8 {
        return entries.iter().enumerate().find_map(|(index, entry)| {
            let first = entries[..index].iter().find(|other| other.key == entry.key)?;
            Some((entry, first.at))
        });
    }
    let mut seen = std::collections::HashMap::with_capacity(entries.len());
    entries.iter().find_map(|entry| seen.insert(entry.key.as_str(), entry.at).map(|first| (entry, first)))
}
