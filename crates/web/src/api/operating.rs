//! What operators ask of the testbed itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// When.
    pub at: Timestamp,
    /// On behalf of whom.
    pub user: String,
    /// The tool that spoke for the user, if one did.
    pub tool: Option<String>,
    /// To what: a slice's URN, `host NAME`, or `testbed`.
    pub object: String,
    /// What was done.
    pub operation: String,
    /// The rest, for people.
    pub detail: String,
    /// In which call, as the log knows it.
    pub request: Option<String>,
}

/// Which lines of the audit trail: those that are all of what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// About this slice: its name at the testbed's authority, or its URN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// About this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// On behalf of this user: the name at the testbed's authority, or the URN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Not before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The newest so many; 100 if nothing is said, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}
