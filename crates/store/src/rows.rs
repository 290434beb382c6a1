//! Rows as types.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use testyard_model::id::{BadName, HostName, RequestId, Revision, SliceId, SliceTag, SliverId};
use testyard_model::name::{ClientId, Login};
use testyard_model::urn::{SliceUrn, Urn, UrnError, UserUrn};

/// A slice's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceRow {
    /// Which life.
    pub id: SliceId,
    /// Its name.
    pub urn: SliceUrn,
    /// Its number.
    pub tag: SliceTag,
    /// Counts its changes.
    pub revision: Revision,
    /// No sliver of it lives; it waits for hosts to be done with it.
    pub ended: bool,
    /// Who allocated first.
    pub creator: UserUrn,
    /// When.
    pub created: Timestamp,
}

/// A request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// The revision of the slice that came of it.
    pub number: i64,
    /// Its text.
    pub text: String,
    /// Its planned network, as [`Versioned`] JSON; none if it has no links.
    pub network: Option<String>,
}

/// A sliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliverRow {
    /// Which.
    pub id: SliverId,
    /// Its place in the order of allocation.
    pub number: i64,
    /// The request that it comes from.
    pub document: i64,
    /// The user's name of it.
    pub client_id: ClientId,
    /// Its host.
    pub host: HostName,
    /// How it stands.
    pub state: SliverState,
    /// When it expires, or expired.
    pub expires: Timestamp,
    /// The rest, as [`Versioned`] JSON.
    pub body: String,
}

/// How a sliver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliverState {
    /// Reserved.
    Allocated,
    /// Given.
    Provisioned,
    /// Gone for callers since this revision; its host has not removed it yet.
    Leaving(Revision),
}

/// What a host last saw of a sliver, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// As [`Versioned`] JSON.
    pub observed: Option<String>,
    /// As [`Versioned`] JSON.
    pub events: String,
}

/// A user's login name in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRow {
    /// Who.
    pub user: UserUrn,
    /// The name.
    pub login: Login,
}

/// A slice that operators have shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownRow {
    /// Which.
    pub slice: SliceUrn,
    /// Who did it.
    pub user: UserUrn,
    /// When.
    pub at: Timestamp,
}

/// Who did what when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// On whose behalf.
    pub user: UserUrn,
    /// The tool that spoke for the user.
    pub tool: Option<Urn>,
    /// In which call, if it was one.
    pub request: Option<RequestId>,
    /// To what.
    pub object: AuditObject,
    /// What: `allocate`, `provision`, …
    pub operation: String,
    /// Which slivers, which end, … in one line for people.
    pub detail: String,
}

/// What a line of the audit trail is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditObject {
    /// A slice.
    Slice(SliceUrn),
    /// A host.
    Host(HostName),
    /// The testbed itself.
    Testbed,
}

const HOST: &str = "host ";
const TESTBED: &str = "testbed";

impl fmt::Display for AuditObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slice(urn) => urn.fmt(f),
            Self::Host(name) => write!(f, "{HOST}{name}"),
            Self::Testbed => f.write_str(TESTBED),
        }
    }
}

impl FromStr for AuditObject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(HOST) {
            Some(name) => name.parse().map(Self::Host).map_err(|error: BadName| error.to_string()),
            None if text == TESTBED => Ok(Self::Testbed),
            None => text.parse().map(Self::Slice).map_err(|error: UrnError| error.to_string()),
        }
    }
}

/// Which lines of the audit trail are asked for: those that are all of what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// About this.
    pub object: Option<AuditObject>,
    /// On behalf of this user.
    pub user: Option<UserUrn>,
    /// In this call.
    pub request: Option<RequestId>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// At most so many, the newest.
    pub most: u32,
}

/// A JSON column: the value and the version of its form, so that a later program can tell what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version of the form.
    #[serde(rename = "v")]
    pub version: u32,
    /// The value.
    pub value: T,
}

impl<T: Serialize> Versioned<T> {
    /// The text of a column.
    #[must_use]
    pub fn write(version: u32, value: T) -> String {
        // Plain data without maps of other keys than strings: serialising cannot fail.
        serde_json::to_string(&Self { version, value })
            .unwrap_or_else(|error| unreachable!("plain data: {error}"))
    }
}

impl<T: DeserializeOwned> Versioned<T> {
    /// The value of a column whose form is of this version.
    ///
    /// # Errors
    /// A text that says what is the matter, if it is of another version or cannot be read.
    pub fn read(version: u32, text: &str) -> Result<T, String> {
        #[derive(Deserialize)]
        struct Only {
            v: u32,
        }
        let found = serde_json::from_str::<Only>(text).map_err(|error| error.to_string())?.v;
        if found != version {
            return Err(format!("its form is of version {found}, this testyard reads version {version}"));
        }
        serde_json::from_str::<Self>(text).map(|read| read.value).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told() {
        let text = Versioned::write(2, vec!["a"]);
        assert_eq!(Versioned::<Vec<String>>::read(2, &text).unwrap(), ["a"]);
        assert!(Versioned::<Vec<String>>::read(1, &text).unwrap_err().contains("version 2"));
        assert!(Versioned::<u8>::read(2, &text).is_err() && Versioned::<u8>::read(2, "{").is_err());
    }
}
