//! Tables of a TOML file with their places, read key by key.
//!
//! A [`Section`] remembers which keys were asked for: what is left in its table at the end is a key that nobody knows.
//! Every method that finds a mistake notes it and goes on, so that a file's mistakes come out together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_model::suggest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Value;

/// Parses the text into tables.
///
/// # Errors
/// The first mistake in the grammar of TOML, with its place.
pub(super) fn parse(text: &str) -> Result<DeTable<'_>, Diagnostic> {
    match DeTable::parse(text) {
        Ok(tables) => Ok(tables.into_inner()),
        Err(error) => {
            let mistake = Diagnostic::new(Severity::Error, error.message().replace('\n', ", "));
            Err(match error.span() {
                Some(span) => mistake.at(position(text, span.start)),
                None => mistake,
            })
        }
    }
}

/// What has been found wrong so far.
pub(super) struct Mistakes<'t> {
    text: &'t str,
    found: RefCell<Vec<Diagnostic>>,
}

/// One table of the file.
pub(super) struct Section<'t> {
    name: String,
    place: Range<usize>,
    table: Option<&'t DeTable<'t>>,
    asked: RefCell<Vec<&'static str>>,
    mistakes: &'t Mistakes<'t>,
}

// === impl Mistakes ===

impl<'t> Mistakes<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// All of them, in the order of the file.
    pub(super) fn into_inner(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|mistake| mistake.position.map(|position| (position.line, position.column)));
        found
    }

    fn note(&self, place: usize, message: String, suggestion: Option<String>) {
        let mut mistake = Diagnostic::new(Severity::Error, message).at(position(self.text, place));
        mistake.suggestion = suggestion;
        self.found.borrow_mut().push(mistake);
    }
}

// === impl Section ===

impl<'t> Section<'t> {
    /// The whole file.
    pub(super) fn root(table: &'t DeTable<'t>, mistakes: &'t Mistakes<'t>) -> Self {
        Self { name: String::new(), place: 0..0, table: Some(table), asked: RefCell::default(), mistakes }
    }

    /// The table of this name; an absent one reads as empty.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let value = self.value(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.note_at(value, key, &format!("expected a table, written [{}]", self.path(key)), None);
            }
            table
        });
        Self {
            name: self.path(key),
            place: value.map_or(self.place.clone(), Spanned::span),
            table,
            asked: RefCell::default(),
            mistakes: self.mistakes,
        }
    }

    /// The tables of this name, written `[[name]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let tables = value.get_ref().as_array().map(|array| {
            array
                .iter()
                .filter_map(|entry| Some((entry.get_ref().as_table()?, entry.span())))
                .collect::<Vec<_>>()
        });
        match (tables, value.get_ref().as_array().map(|array| array.iter().count())) {
            (Some(tables), Some(count)) if tables.len() == count => tables
                .into_iter()
                .enumerate()
                .map(|(index, (table, place))| Self {
                    name: format!("{}[{}]", self.path(key), index + 1),
                    place,
                    table: Some(table),
                    asked: RefCell::default(),
                    mistakes: self.mistakes,
                })
                .collect(),
            _ => {
                self.note_at(value, key, &format!("expected tables, written [[{}]]", self.path(key)), None);
                Vec::new()
            }
        }
    }

    /// Whether a key has a list.
    pub(super) fn is_list(&self, key: &'static str) -> bool {
        self.value(key).is_some_and(|value| value.get_ref().as_array().is_some())
    }

    /// Whether this is one of several tables of its name.
    pub(super) fn is_listed(&self) -> bool {
        self.name.ends_with(']')
    }

    /// Whether a key is there, with whatever value.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The value of a key, if it is there and of the right type.
    pub(super) fn get<T: Value>(&self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        match T::read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(message) => {
                self.note_at(value, key, &message, None);
                None
            }
        }
    }

    /// The text of a key, parsed.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        let text: String = self.get(key)?;
        self.understood(key, self.value(key)?, &text)
    }

    /// The texts of a list, each parsed; a single text is a list of one.
    pub(super) fn list<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let entries: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            DeValue::String(_) => vec![value],
            other => {
                self.note_at(
                    value,
                    key,
                    &format!("expected a list of texts, found {}", other.type_str()),
                    None,
                );
                return None;
            }
        };
        let mut all = Vec::with_capacity(entries.len());
        for entry in &entries {
            match String::read(entry.get_ref()) {
                Ok(text) => all.extend(self.understood::<T>(key, entry, &text)),
                Err(message) => self.note_at(entry, key, &message, None),
            }
        }
        (all.len() == entries.len()).then_some(all)
    }

    /// The texts of the table of this name, whose keys are free but for how they begin.
    pub(super) fn texts(&self, key: &'static str, prefix: &str) -> BTreeMap<String, String> {
        let section = self.section(key);
        let mut texts = BTreeMap::new();
        for (name, value) in section.table.into_iter().flat_map(|table| table.iter()) {
            let given: &str = name.get_ref();
            if !given.starts_with(prefix) {
                let message = format!("{}: names here begin with {prefix}", section.path(given));
                self.mistakes.note(name.span().start, message, None);
            }
            match String::read(value.get_ref()) {
                Ok(text) => drop(texts.insert(given.to_owned(), text)),
                Err(message) => section.note_at(value, given, &message, None),
            }
        }
        texts
    }

    /// Like [`Self::parsed`] for a key that must be there.
    pub(super) fn required<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        if self.value(key).is_none() {
            self.mistakes.note(self.place.start, format!("{}: this key is missing", self.path(key)), None);
            return None;
        }
        self.parsed(key)
    }

    /// Notes that what a key says cannot be.
    pub(super) fn refuse(&self, key: &'static str, message: impl Display) {
        match self.value(key) {
            Some(value) => self.note_at(value, key, &message.to_string(), None),
            None => self.mistakes.note(self.place.start, format!("{}: {message}", self.path(key)), None),
        }
    }

    /// Notes every key that nobody has asked for. Called when the section has been read.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let given: &str = key.get_ref();
            if asked.contains(&given) {
                continue;
            }
            let near = suggest::closest(given, asked.iter().copied());
            let suggestion = match near {
                Some(near) => format!("did you mean {near}?"),
                None if self.name.is_empty() => format!("there are {}", asked.join(", ")),
                None => format!("[{}] has {}", self.name, asked.join(", ")),
            };
            let what = if self.name.is_empty() { "unknown section or key" } else { "unknown key" };
            self.mistakes.note(key.span().start, format!("{}: {what}", self.path(given)), Some(suggestion));
        }
    }

    fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.table?.get(key)
    }

    fn understood<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        place: &Spanned<DeValue<'_>>,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let message = error.to_string();
                // Errors of our own types quote the text; those of the standard library do not.
                let quoted = if message.contains(text) { message } else { format!("{text:?}: {message}") };
                self.note_at(place, key, &quoted, None);
                None
            }
        }
    }

    fn note_at(&self, value: &Spanned<DeValue<'_>>, key: &str, message: &str, suggestion: Option<String>) {
        self.mistakes.note(value.span().start, format!("{}: {message}", self.path(key)), suggestion);
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// Line and column of a byte of the text.
fn position(text: &str, byte: usize) -> Position {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position {
        line: count(before.matches('\n').count() + 1),
        column: count(before[line_start..].chars().count() + 1),
    }
}
