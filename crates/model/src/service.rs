//! What is installed and run on a node.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::name::ClientId;

/// What to install and run on a node once it is up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Archives to unpack, in order, before anything runs.
    pub installs: Vec<Install>,
    /// Commands to run, in order, each after the one before has ended.
    pub executes: Vec<Execute>,
}

impl Services {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.installs.is_empty() && self.executes.is_empty()
    }
}

/// An archive to fetch and unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// An `http` or `https` URL.
    pub url: String,
    /// The absolute folder in the node that it is unpacked in; made if it is not there.
    pub path: String,
    /// What the download must have; none if the request says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// What reads it.
    pub shell: Shell,
    /// The text that the shell reads; it is the user's own node that it runs in, and nowhere else.
    pub command: String,
    /// The most seconds that it may run; as long as it likes if the request says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<NonZeroU32>,
}

/// What reads a command inside a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// `sh`, or `/bin/sh`.
    Sh,
    /// `bash`, or `/bin/bash`.
    Bash,
}

impl Shell {
    /// The shell that a request names; paths are as good as names.
    #[must_use]
    pub fn from_request(text: &str) -> Option<Self> {
        match text.trim() {
            "sh" | "/bin/sh" | "/usr/bin/sh" => Some(Self::Sh),
            "bash" | "/bin/bash" | "/usr/bin/bash" => Some(Self::Bash),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Bash => "bash",
        }
    }
}

/// A program that events start and stop (Emulab's program agent).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The user's name of it, unique in the topology.
    pub client_id: ClientId,
    /// The text that `sh` reads.
    pub command: String,
    /// The folder that it runs in; the root folder if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The most seconds that it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<NonZeroU32>,
    /// The exit code that is good; any other is told as a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_exit: Option<i32>,
}

/// The files of a command in its node: docker-am's names, which clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecuteFiles {
    /// Its output.
    pub log: String,
    /// Its exit status.
    pub status: String,
}

impl ExecuteFiles {
    /// Those of the `number`th command, from 1. They are in `/tmp` unless the node says another folder.
    #[must_use]
    pub fn new(number: usize, folder: Option<&str>) -> Self {
        let folder = folder.unwrap_or("/tmp");
        Self {
            log: format!("{folder}/startup-{number}.txt"),
            status: format!("{folder}/startup-{number}.status"),
        }
    }
}
