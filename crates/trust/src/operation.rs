//! The calls of the AM API v3 that need leave.

use std::fmt;
use std::str::FromStr;

/// A method of the AM API v3 that asks for credentials. GetVersion is not here: everybody may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the documentation: they are those on the wire")]
pub enum Operation {
    ListResources,
    Describe,
    Allocate,
    Provision,
    Status,
    PerformOperationalAction,
    Renew,
    Delete,
    Shutdown,
}

/// A name that is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no operation that needs a credential; these are: {names}", names = Operation::ALL.map(Operation::as_str).join(", "))]
pub struct UnknownOperation(pub String);

impl Operation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ListResources,
        Self::Describe,
        Self::Allocate,
        Self::Provision,
        Self::Status,
        Self::PerformOperationalAction,
        Self::Renew,
        Self::Delete,
        Self::Shutdown,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListResources => "ListResources",
            Self::Describe => "Describe",
            Self::Allocate => "Allocate",
            Self::Provision => "Provision",
            Self::Status => "Status",
            Self::PerformOperationalAction => "PerformOperationalAction",
            Self::Renew => "Renew",
            Self::Delete => "Delete",
            Self::Shutdown => "Shutdown",
        }
    }

    /// Whether it is about a slice, so that a credential has to be for that slice.
    #[must_use]
    pub const fn needs_slice(self) -> bool {
        !matches!(self, Self::ListResources)
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, UnknownOperation> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == name)
            .ok_or_else(|| UnknownOperation(name.chars().take(60).collect()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
