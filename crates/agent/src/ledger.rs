//! What a host must remember about its nodes when the agent is not there.
//!
//! Nearly everything can be seen again (nodes, interfaces, what runs); these cannot: for which restart counter a node
//! was booted, that a disk has existed (one that vanished must not come back empty in silence), and from which image
//! content a node was made. One small file a node, replaced whole. A file that is lost or damaged costs no more than
//! this knowledge: the node is then taken as it is.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::id::{SliceId, SliverId};
use testyard_runtime::Image;

use crate::observed::Milestone;

/// The records of a host's nodes, in a folder.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
}

/// The folder of the records cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", .path.display())]
pub struct LedgerError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What is remembered of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) slice: SliceId,
    /// The newest disk that was made.
    pub(crate) disk: u32,
    /// What it was made from.
    pub(crate) image: Image,
    /// The last boot that was begun.
    pub(crate) boot: Option<Boot>,
    /// When it reached what in that boot.
    pub(crate) timeline: Vec<Milestone>,
    /// How it last ended by itself, since it was last told to boot.
    #[serde(default)]
    pub(crate) ended: Option<Ended>,
}

/// A node has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// When that was noticed.
    pub(crate) at: Timestamp,
    /// How, for people.
    pub(crate) how: String,
}

/// A boot that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// The restart counter that it was for.
    pub(crate) counter: u32,
    /// When the runtime says that it began; absent if the agent ended before it knew.
    pub(crate) since: Option<Timestamp>,
}

impl Ledger {
    /// The records in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`LedgerError`] if the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        // Records name images and what users asked for: nobody else's business on a shared machine.
        fs::create_dir_all(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
            .map_err(|source| LedgerError { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// All records. One that cannot be read is left out, with a line in the log.
    pub(crate) fn load(&self) -> HashMap<SliverId, Record> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "cannot read the records of nodes");
                return HashMap::new();
            }
        };
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let sliver = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
                let read = fs::read(&path).map_err(|error| error.to_string());
                match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
                    Ok(record) => Some((sliver, record)),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), error, "the record of a node is damaged; taken as it is");
                        None
                    }
                }
            })
            .collect()
    }

    /// Replaces a record. Not synced to the disk: the record is of use only where the node still is.
    pub(crate) fn store(&self, sliver: SliverId, record: &Record) {
        let path = self.path(sliver);
        let written = serde_json::to_vec(record).map_err(io::Error::from).and_then(|bytes| {
            let new = path.with_extension("new");
            fs::File::create(&new)?.write_all(&bytes)?;
            fs::rename(&new, &path)
        });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "cannot write the record of a node");
        }
    }

    /// Drops a record; none there is fine.
    pub(crate) fn forget(&self, sliver: SliverId) {
        let path = self.path(sliver);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the record of a node");
            }
            _ => {}
        }
    }

    fn path(&self, sliver: SliverId) -> PathBuf {
        self.folder.join(format!("{sliver}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testyard_runtime::ImageConfig;
    use uuid::Uuid;

    #[test]
    fn records_come_back_and_damage_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("nodes")).unwrap();
        let sliver = SliverId::from_uuid(Uuid::new_v4());
        let record = Record {
            slice: SliceId::from_uuid(Uuid::new_v4()),
            disk: 2,
            image: Image {
                name: "debian:12".parse().unwrap(),
                id: "sha256:1".into(),
                digest: None,
                config: ImageConfig::default(),
            },
            boot: Some(Boot { counter: 3, since: Some(Timestamp::UNIX_EPOCH) }),
            timeline: Vec::new(),
            ended: Some(Ended { at: Timestamp::UNIX_EPOCH, how: "exit status 1".into() }),
        };
        ledger.store(sliver, &record);
        fs::write(ledger.path(SliverId::from_uuid(Uuid::new_v4())), b"{").unwrap();
        assert_eq!(ledger.load(), HashMap::from([(sliver, record)]));
        ledger.forget(sliver);
        ledger.forget(sliver);
        assert!(ledger.load().is_empty());
    }
}
