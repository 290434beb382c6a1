//! GENI URNs: `urn:publicid:IDN+<authority>+<type>+<name>`.
//!
//! The authority compares without regard to case, everything else as it is (GENI identifiers; am-api.md §1.8).
//! A sub-authority is behind a colon: `ch.example.org:projects`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest URN that is read. Real ones are below 200 characters.
pub const MAX_URN_LENGTH: usize = 1024;

const PREFIX: &str = "urn:publicid:IDN+";

/// A GENI URN of any type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Urn {
    authority: Authority,
    kind: String,
    name: String,
}

/// The authority part of a URN: one or more components separated by colons. It is shown as it was given, and compares,
/// sorts and hashes without regard to case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Authority(String);

/// Why a text is no URN, or not one of the type that was needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrnError {
    /// The text is longer than [`MAX_URN_LENGTH`].
    #[error("URN is longer than {MAX_URN_LENGTH} characters")]
    TooLong,
    /// The text does not begin with `urn:publicid:IDN+`.
    #[error("{0:?} does not begin with {PREFIX:?}")]
    NoPrefix(String),
    /// There are not three parts, separated by `+`, behind the prefix.
    #[error("{0:?} is not of the form urn:publicid:IDN+authority+type+name")]
    Parts(String),
    /// The authority is empty, or has an empty component or a character that no authority has.
    #[error("{0:?} is not the name of an authority")]
    Authority(String),
    /// The type or the name holds white space, control characters or characters outside ASCII.
    #[error("{0:?} has a character that no URN may have")]
    Character(String),
    /// The URN is valid and of another type than needed.
    #[error("{urn:?} is not the URN of a {expected}")]
    Kind {
        /// The URN that was given.
        urn: String,
        /// The type that was needed.
        expected: &'static str,
    },
    /// The name part breaks the rule for names of this type.
    #[error("{name:?} is not a {expected} name")]
    Name {
        /// The name that was given.
        name: String,
        /// The type whose rule it breaks.
        expected: &'static str,
    },
}

// === impl Urn ===

impl Urn {
    /// A URN of its parts; the same rules as for parsing.
    ///
    /// # Errors
    /// [`UrnError`] if the parts do not make a valid URN.
    pub fn new(authority: &Authority, kind: &str, name: &str) -> Result<Self, UrnError> {
        format!("{PREFIX}{authority}+{kind}+{name}").parse()
    }

    /// The authority that vouches for the name.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The type: `slice`, `user`, `sliver`, `authority`, `node`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The last part. It may itself contain `+`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is the URN of an authority (`…+authority+sa`).
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.kind == "authority"
    }
}

impl FromStr for Urn {
    type Err = UrnError;

    fn from_str(text: &str) -> Result<Self, UrnError> {
        if text.len() > MAX_URN_LENGTH {
            return Err(UrnError::TooLong);
        }
        let prefix = text.get(..PREFIX.len()).filter(|p| p.eq_ignore_ascii_case(PREFIX));
        let rest = match prefix {
            Some(_) => &text[PREFIX.len()..],
            None => return Err(UrnError::NoPrefix(text.to_owned())),
        };
        if !rest
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`'))
        {
            return Err(UrnError::Character(text.to_owned()));
        }
        let mut parts = rest.splitn(3, '+');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(authority), Some(kind), Some(name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Self { authority: authority.parse()?, kind: kind.to_owned(), name: name.to_owned() })
            }
            _ => Err(UrnError::Parts(text.to_owned())),
        }
    }
}

impl fmt::Display for Urn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}+{}+{}", self.authority, self.kind, self.name)
    }
}

impl From<Urn> for String {
    fn from(urn: Urn) -> Self {
        urn.to_string()
    }
}

impl TryFrom<String> for Urn {
    type Error = UrnError;

    fn try_from(text: String) -> Result<Self, UrnError> {
        text.parse()
    }
}

// === impl Authority ===

impl Authority {
    /// Whether this authority is over names of `other`: its components are a prefix of the other's. Every authority
    /// is over itself. `a.b` is over `a.b` and `a.b:c`, not over `a.bc` or `x.a.b`: dots do not separate components.
    #[must_use]
    pub fn is_over(&self, other: &Self) -> bool {
        match other.0.split_at_checked(self.0.len()) {
            Some((head, rest)) => {
                head.eq_ignore_ascii_case(&self.0) && (rest.is_empty() || rest.starts_with(':'))
            }
            None => false,
        }
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn folded(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Authority {}

impl Hash for Authority {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
        // As in the hash of a text: what follows cannot be taken for a part of it.
        state.write_u8(0xff);
    }
}

impl PartialOrd for Authority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Authority {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(other.folded())
    }
}

impl FromStr for Authority {
    type Err = UrnError;

    fn from_str(text: &str) -> Result<Self, UrnError> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if text.split(':').all(|part| !part.is_empty() && part.bytes().all(good)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UrnError::Authority(text.to_owned()))
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Authority> for String {
    fn from(authority: Authority) -> Self {
        authority.0
    }
}

impl TryFrom<String> for Authority {
    type Error = UrnError;

    fn try_from(text: String) -> Result<Self, UrnError> {
        text.parse()
    }
}

// === typed URNs ===

macro_rules! typed_urn {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $type(Urn);

        impl $type {
            /// A URN of this type, of its authority and name.
            ///
            /// # Errors
            /// [`UrnError`] if the name breaks the rule for this type.
            pub fn new(authority: &Authority, name: &str) -> Result<Self, UrnError> {
                Urn::new(authority, $kind, name)?.try_into()
            }

            /// The URN without its type.
            #[must_use]
            pub fn urn(&self) -> &Urn {
                &self.0
            }

            /// The authority that vouches for the name.
            #[must_use]
            pub fn authority(&self) -> &Authority {
                self.0.authority()
            }

            /// The last part.
            #[must_use]
            pub fn name(&self) -> &str {
                self.0.name()
            }
        }

        impl TryFrom<Urn> for $type {
            type Error = UrnError;

            fn try_from(urn: Urn) -> Result<Self, UrnError> {
                if urn.kind() != $kind {
                    return Err(UrnError::Kind { urn: urn.to_string(), expected: $kind });
                }
                let rule: fn(&str) -> bool = $rule;
                if !rule(urn.name()) {
                    return Err(UrnError::Name { name: urn.name().to_owned(), expected: $kind });
                }
                Ok(Self(urn))
            }
        }

        impl FromStr for $type {
            type Err = UrnError;

            fn from_str(text: &str) -> Result<Self, UrnError> {
                text.parse::<Urn>()?.try_into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$type> for String {
            fn from(urn: $type) -> Self {
                urn.0.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = UrnError;

            fn try_from(text: String) -> Result<Self, UrnError> {
                text.parse()
            }
        }
    };
}

typed_urn! {
    /// The URN of a slice. Names are wider than GENI's 19 characters, since an aggregate must accept every slice
    /// that a federation's authority names (am-api.md §1.8).
    SliceUrn, "slice",
    |name| name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

typed_urn! {
    /// The URN of a sliver; its name is unique for ever.
    SliverUrn, "sliver",
    |name| name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

typed_urn! {
    /// The URN of a person or a tool. The name is not trusted to be a login name: see [`crate::name::Login`].
    UserUrn, "user",
    |name| name.len() <= 200
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_of_a_urn() {
        let urn: Urn = "urn:publicid:IDN+CH.example.org:Projects+slice+demo".parse().unwrap();
        assert_eq!(urn.authority().as_str(), "CH.example.org:Projects");
        assert_eq!((urn.kind(), urn.name()), ("slice", "demo"));
        assert_eq!(urn.to_string(), "urn:publicid:IDN+CH.example.org:Projects+slice+demo");
    }

    #[test]
    fn the_case_of_an_authority_is_kept_and_means_nothing() {
        let urn = |text: &str| text.parse::<SliceUrn>().unwrap();
        let given = urn("urn:publicid:IDN+CH.Example.org+slice+demo");
        let again = urn("urn:publicid:idn+ch.example.ORG+slice+demo");
        assert_eq!(given, again);
        assert_eq!(given.cmp(&again), Ordering::Equal);
        assert!(std::collections::HashSet::from([given.clone()]).contains(&again));
        assert_ne!(given.to_string(), again.to_string());
        assert_ne!(given, urn("urn:publicid:IDN+ch.example.org+slice+Demo"));
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "urn:publicid:IDN",
            "urn:publicid:IDN+",
            "urn:publicid:IDN++slice+x",
            "urn:publicid:IDN+a+slice+",
            "urn:publicid:IDN+a+slice",
            "urn:publicid:IDN+a:+slice+x",
            "urn:publicid:IDN+a b+slice+x",
            "urn:publicid:IDN+a+slice+x y",
            "urn:publicid:IDN+a+slice+x\n",
            "urn:publicid:IDN+a+slice+\u{e9}",
            "http://example.org/",
        ] {
            assert!(bad.parse::<Urn>().is_err(), "{bad:?}");
        }
        let sliver = "urn:publicid:IDN+a+sliver+x";
        assert!(matches!(sliver.parse::<SliceUrn>(), Err(UrnError::Kind { .. })));
        assert!(matches!("urn:publicid:IDN+a+slice+-x".parse::<SliceUrn>(), Err(UrnError::Name { .. })));
    }

    #[test]
    fn authority_over_names() {
        let authority = |text: &str| text.parse::<Authority>().unwrap();
        assert!(authority("a.b").is_over(&authority("a.b")));
        assert!(authority("A.b").is_over(&authority("a.B:c")));
        assert!(!authority("a.b").is_over(&authority("a.bc")));
        assert!(!authority("a.b:c").is_over(&authority("a.b")));
        assert!(!authority("a:b").is_over(&authority("a.b")));
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,80}") {
            let _ = text.parse::<Urn>();
        }

        #[test]
        fn round_trip(authority in "[a-z][a-z0-9.]{0,10}(:[a-z]{1,5})?", kind in "[a-z]{1,8}", name in "[A-Za-z0-9._:+-]{1,20}") {
            let text = format!("urn:publicid:IDN+{authority}+{kind}+{name}");
            prop_assert_eq!(text.parse::<Urn>().unwrap().to_string(), text);
        }
    }
}
