//! What is said at the door, before the host contract: one message each way.

use serde::{Deserialize, Serialize};
use testyard_model::id::HostName;

/// What an agent wants.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum Opening {
    /// A first certificate, for a token. It shows none of its own.
    Enrol {
        /// Who it is.
        host: HostName,
        /// The token's secret, base64.
        secret: String,
        /// A certificate request, DER in base64.
        request: String,
    },
    /// Its next certificate.
    Renew {
        /// A certificate request, DER in base64.
        request: String,
    },
    /// To be told what should be on it.
    Serve,
}

/// What the controller says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum Answered {
    /// The certificate, PEM.
    Certificate(String),
    /// Go on.
    Go,
    /// No, for this reason, in a sentence for people.
    Refused(String),
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enrol { host, .. } => f.debug_struct("Enrol").field("host", host).finish_non_exhaustive(),
            Self::Renew { .. } => f.write_str("Renew { .. }"),
            Self::Serve => f.write_str("Serve"),
        }
    }
}
