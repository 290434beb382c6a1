//! What a host must remember about its nodes when the agent is not there.
//!
//! Nearly everything can be seen again (nodes, interfaces, what runs); these cannot: for which restart counter a node
//! was booted, that a disk has existed (one that vanished must not come back empty in silence), and from which image
//! content a node was made; and how far the run of a slice's schedule has come. One small file each, replaced whole. A file that is lost or damaged costs no more than
//! this knowledge: the node is then taken as it is.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::id::{SliceId, SliverId};
use testyard_model::image::ImageUrl;
use testyard_runtime::Image;

use crate::observed::Milestone;
use crate::schedule::Progress;

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
    /// Of which URL that was made, if of one.
    #[serde(default)]
    pub(crate) url: Option<ImageUrl>,
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
        replace(&self.path(sliver), record, "record of a node");
    }

    /// Drops a record; none there is fine.
    pub(crate) fn forget(&self, sliver: SliverId) {
        forget(&self.path(sliver), "record of a node");
    }

    /// How far the run of a slice's schedule has come; none if that is not known.
    pub(crate) fn run(&self, slice: SliceId) -> Option<Progress> {
        let bytes = fs::read(self.run_path(slice)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes down how far a run has come. Not synced: what is lost is told as late, and carried out all the same.
    pub(crate) fn store_run(&self, slice: SliceId, progress: &Progress) {
        replace(&self.run_path(slice), progress, "run of a schedule");
    }

    /// Drops what is known of a slice's run; nothing there is fine.
    pub(crate) fn forget_run(&self, slice: SliceId) {
        forget(&self.run_path(slice), "run of a schedule");
    }

    /// Drops what is known of the runs of all other slices.
    pub(crate) fn keep_runs(&self, slices: &[SliceId]) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let slice = path.file_name().and_then(|name| name.to_str()?.strip_suffix(RUN)?.parse().ok());
            if slice.is_some_and(|slice| !slices.contains(&slice)) {
                forget(&path, "run of a schedule");
            }
        }
    }

    fn path(&self, sliver: SliverId) -> PathBuf {
        self.folder.join(format!("{sliver}.json"))
    }

    fn run_path(&self, slice: SliceId) -> PathBuf {
        self.folder.join(format!("{slice}{RUN}"))
    }
}

/// The names of files about runs end so.
const RUN: &str = ".run";

fn replace(path: &Path, contents: &impl Serialize, what: &str) {
    let written = serde_json::to_vec(contents).map_err(io::Error::from).and_then(|bytes| {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        fs::File::create(&new)?.write_all(&bytes)?;
        fs::rename(&new, path)
    });
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "cannot write the {what}");
    }
}

fn forget(path: &Path, what: &str) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove the {what}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Run;
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
            url: None,
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

    #[test]
    fn runs_come_back_until_their_slice_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let [one, two] = [1, 2].map(|number| SliceId::from_uuid(Uuid::from_u128(number)));
        let progress = Progress::new(&Run { number: 3, zero: Timestamp::UNIX_EPOCH, events: Vec::new() });
        assert_eq!(ledger.run(one), None);
        ledger.store_run(one, &progress);
        ledger.store_run(two, &progress);
        assert_eq!((ledger.run(one), ledger.load().len()), (Some(progress), 0));
        ledger.keep_runs(&[one]);
        assert_eq!((ledger.run(one), ledger.run(two)), (Some(progress), None));
        ledger.forget_run(one);
        ledger.forget_run(one);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
