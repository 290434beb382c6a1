//! Names that people give to things, each with the rule that makes it safe where it is used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// Too long for its use.
    #[error("the {what} is longer than {max} characters")]
    TooLong {
        /// What kind of name.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// It holds a character that its use does not allow.
    #[error("the {what} {name:?} has a character that it may not have")]
    Character {
        /// What kind of name.
        what: &'static str,
        /// The name as given.
        name: String,
    },
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
    };
}

/// The experimenter's own name of a node, link or interface, unique in a topology. Real ones hold spaces, `:` and `+`
/// (am-api.md §4.5), so it is free text without control characters, and never used as a name of anything on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClientId(String);

/// The longest client id.
pub const MAX_CLIENT_ID: usize = 128;

impl FromStr for ClientId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "client_id";
        if text.trim().is_empty() {
            Err(NameError::Empty(WHAT))
        } else if text.chars().count() > MAX_CLIENT_ID {
            Err(NameError::TooLong { what: WHAT, max: MAX_CLIENT_ID })
        } else if text.chars().any(char::is_control) {
            Err(NameError::Character { what: WHAT, name: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

text_type!(ClientId);

/// A host name label for the inside of a node (RFC 1123): lower-case letters, digits, inner hyphens, at most 63.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hostname(String);

impl Hostname {
    /// The host name for a client id: what a label may not have becomes a hyphen; `node` if nothing is left, and `node-2` for
    /// what programs read as a number of an address before they look for a name ([`Self::is_number`]).
    /// Two client ids may give the same; who needs them apart appends a number.
    #[must_use]
    pub fn from_client_id(client_id: &ClientId) -> Self {
        let mut label = String::new();
        for c in client_id.as_str().chars() {
            if c.is_ascii_alphanumeric() {
                label.push(c.to_ascii_lowercase());
            } else if !label.is_empty() && !label.ends_with('-') {
                label.push('-');
            }
        }
        label.truncate(50);
        let label = label.trim_end_matches('-');
        match label {
            "" => Self("node".to_owned()),
            label if Self::is_number(label) => Self(format!("node-{label}")),
            label => Self(label.to_owned()),
        }
    }

    /// Whether `inet_aton` takes a label for an address: 2 is 0.0.0.2, and 0x7f is 0.0.0.127.
    #[must_use]
    pub fn is_number(label: &str) -> bool {
        let digits =
            |text: &str, is_digit: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| is_digit(&b));
        digits(label, u8::is_ascii_digit)
            || label.strip_prefix("0x").is_some_and(|hex| digits(hex, u8::is_ascii_hexdigit))
    }

    /// This name with a number behind it.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Self {
        Self(format!("{}-{number}", self.0))
    }
}

impl FromStr for Hostname {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "host name";
        if text.is_empty() {
            Err(NameError::Empty(WHAT))
        } else if text.len() > 63 {
            Err(NameError::TooLong { what: WHAT, max: 63 })
        } else if text.starts_with('-')
            || text.ends_with('-')
            || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            Err(NameError::Character { what: WHAT, name: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

text_type!(Hostname);

/// A Linux account name that `useradd` would take: a lower-case letter or `_`, then those, digits and hyphens, at
/// most 32 characters. Whether it is a system account of an image is the plan's and the guest's to check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Login(String);

impl FromStr for Login {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "login name";
        if text.is_empty() {
            Err(NameError::Empty(WHAT))
        } else if text.len() > 32 {
            Err(NameError::TooLong { what: WHAT, max: 32 })
        } else if !text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        {
            Err(NameError::Character { what: WHAT, name: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

text_type!(Login);

/// The name of a sliver type, as requests and advertisements carry it: `docker-container_100M`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SliverTypeName(String);

impl FromStr for SliverTypeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "sliver type";
        if text.is_empty() {
            Err(NameError::Empty(WHAT))
        } else if text.len() > 64 {
            Err(NameError::TooLong { what: WHAT, max: 64 })
        } else if !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'+'))
        {
            Err(NameError::Character { what: WHAT, name: text.to_owned() })
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

text_type!(SliverTypeName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names_of_client_ids() {
        let hostname = |text: &str| Hostname::from_client_id(&text.parse().unwrap()).to_string();
        assert_eq!(hostname("web"), "web");
        assert_eq!(hostname("PC 1:eth+0"), "pc-1-eth-0");
        assert_eq!(hostname("--"), "node");
        assert_eq!(hostname("\u{e9}"), "node");
    }

    proptest! {
        #[test]
        fn every_client_id_gives_a_host_name(text in "\\PC{1,140}") {
            if let Ok(id) = text.parse::<ClientId>() {
                let name = Hostname::from_client_id(&id);
                prop_assert_eq!(name.as_str().parse::<Hostname>().unwrap(), name.clone());
                let numbered = name.numbered(usize::MAX >> 40);
                prop_assert!(numbered.as_str().parse::<Hostname>().is_ok());
            }
        }
    }
}
