//! Who may become root: what process 1 has been told, as sudo reads it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accounts::Member;
use crate::sealed::{self, Text};
use crate::text;

/// The node's accounts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(super) accounts: Vec<Member>,
}

/// Why it is not known who may.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error(
        "it is not known who may become root: process 1 of the node is not Testyard's, or cannot be asked"
    )]
    Read(#[source] std::io::Error),
    #[error(
        "it is not known who may become root: process 1 of the node says something that cannot be understood"
    )]
    Parse(#[source] serde_json::Error),
}

/// What follows for somebody who calls sudo.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// May do everything, under this name.
    May(String),
    /// An account that may not.
    Forbidden(String),
    /// No account of the testbed.
    Unknown,
}

/// Tells sudo about the accounts.
pub(crate) fn publish(members: &[Member]) {
    let record = Record { accounts: members.to_vec() };
    let bytes = serde_json::to_vec(&record).map_err(std::io::Error::from);
    if let Err(error) = bytes.and_then(|bytes| Text::Sudo.publish(&bytes)) {
        text::log(&format!("sudo cannot be told who may become root: {error}"));
    }
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Self, RecordError> {
        let bytes = sealed::read(path).map_err(RecordError::Read)?;
        if bytes.is_empty() {
            // Nobody has been told of any account yet.
            return Ok(Self::default());
        }
        serde_json::from_slice(&bytes).map_err(RecordError::Parse)
    }

    /// May the user with this number?
    pub(super) fn verdict(&self, uid: u32) -> Verdict {
        match self.accounts.iter().find(|member| member.uid == uid) {
            _ if uid == 0 => Verdict::May("root".into()),
            Some(member) if member.sudo => Verdict::May(member.login.clone()),
            Some(member) => Verdict::Forbidden(member.login.clone()),
            None => Verdict::Unknown,
        }
    }
}
