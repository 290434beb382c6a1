//! Values.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// A value of XML-RPC.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `int`, `i4`, and what is larger when read. Written as `int` within 32 bits, as text beyond them.
    Int(i64),
    /// `boolean`.
    Bool(bool),
    /// `double`. What is not finite is written as 0.
    Double(f64),
    /// `string`, an untyped value, a date, and base64 that holds text.
    String(String),
    /// base64 that does not hold text. Written as the base64 text.
    Binary(Vec<u8>),
    /// `nil`: read as if the value were not there. Written as the empty string.
    Nil,
    /// `array`.
    Array(Vec<Value>),
    /// `struct`.
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// The empty string.
    #[must_use]
    pub fn empty() -> Self {
        Self::String(String::new())
    }

    /// A struct of these members.
    #[must_use]
    pub fn members<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Struct(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    /// An array of these texts.
    #[must_use]
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Array(texts.into_iter().map(Self::text).collect())
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The text of any scalar: servers differ in whether `3` is a number.
    #[must_use]
    pub fn scalar(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
            Self::Double(number) => Some(Cow::Owned(number.to_string())),
            Self::Binary(_) | Self::Nil | Self::Array(_) | Self::Struct(_) => None,
        }
    }

    /// The number, also of a text that is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(yes) => Some(i64::from(*yes)),
            Self::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Yes or no, however it is said: a boolean, 0 or 1, `true` or `false`.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(yes) => Some(*yes),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "true" => Some(true),
                "0" | "false" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The members, if it is a struct.
    #[must_use]
    pub fn as_struct(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Struct(members) => Some(members),
            _ => None,
        }
    }

    /// A member, if it is a struct that has it; nil counts as not there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_struct()?.get(name).filter(|value| **value != Self::Nil)
    }

    /// What it is, for messages: `a number`, `an array`, …
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Double(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Binary(_) => "binary data",
            Self::Nil => "nil",
            Self::Array(_) => "an array",
            Self::Struct(_) => "a struct",
        }
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Int(number) => (*number).into(),
            Self::Bool(yes) => (*yes).into(),
            Self::Double(number) => (*number).into(),
            Self::String(text) => text.as_str().into(),
            Self::Binary(bytes) => super::write::base64(bytes).into(),
            Self::Nil => serde_json::Value::Null,
            Self::Array(values) => values.iter().map(Self::to_json).collect(),
            Self::Struct(members) => {
                serde_json::Value::Object(members.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}
