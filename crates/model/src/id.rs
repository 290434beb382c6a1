//! Testyard's own identifiers. They are made by the controller and never by a caller.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Uuid);

        impl $type {
            /// The identifier with this UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// A slice's life on this testbed: a slice that is deleted and made again under the same URN gets a new one.
    SliceId
}

uuid_id! {
    /// A sliver. Its text is the last part of the sliver's URN. Never used twice.
    SliverId
}

/// Counts the changes of a slice's desired state. A host that has applied revision `n` needs nothing of an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A slice's number on its testbed: small, unique while the slice or anything of it exists. The fabric separates
/// slices by it (it is the group of their interfaces), so it is never 0, the kernel's default group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SliceTag(pub std::num::NonZeroU32);

impl fmt::Display for SliceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A call to the testbed: it is in every line that the log has of the call, in the audit trail, and in the answer's header
/// `x-request-id`. Random, so that those of two runs of the server are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

/// A text that is no [`RequestId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no number of a request: sixteen hexadecimal digits")]
pub struct BadRequestId;

impl RequestId {
    /// The one of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RequestId {
    type Err = BadRequestId;

    fn from_str(text: &str) -> Result<Self, BadRequestId> {
        let is_one = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        is_one.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(BadRequestId)
    }
}

macro_rules! short_name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                if text.starts_with(|c: char| c.is_ascii_lowercase())
                    && !text.ends_with('-')
                    && text.len() <= $max
                    && text.bytes().all(good)
                {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(BadName { what: $what, name: text.to_owned(), max: $max })
                }
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
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }
    };
}

/// A name in the configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no {what}: use a letter, then letters, digits and hyphens, all lower case, at most {max}"
)]
pub struct BadName {
    what: &'static str,
    name: String,
    max: usize,
}

short_name! {
    /// The name of a host in the configuration (`local` for the machine that `serve` runs on).
    HostName, "host name", 32
}

short_name! {
    /// The mark of one testbed on a machine: everything that it makes there carries it, so several can share a
    /// machine and clean-up takes only its own.
    Instance, "instance name", 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        for good in ["local", "a", "host-1"] {
            assert_eq!(good.parse::<HostName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "A", "a_b", "a-", "a b", "../x", "abcdefghijklm"] {
            assert!(bad.parse::<Instance>().is_err(), "{bad:?}");
        }
        let texts = [
            "A".parse::<HostName>().unwrap_err().to_string(),
            "A".parse::<Instance>().unwrap_err().to_string(),
        ];
        assert!(texts[0].starts_with("\"A\" is no host name: use a letter"), "{texts:?}");
        assert!(texts[1].starts_with("\"A\" is no instance name: use a letter"), "{texts:?}");
    }
}
