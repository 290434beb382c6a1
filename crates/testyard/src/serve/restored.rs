//! What `testyard restore` has made ready takes the place of what is there, before anything is opened.
//!
//! ```text
//! STATE/restored/{testyard.sqlite, hosts.pem}   ─► STATE/
//! STATE/{testyard.sqlite…, hosts.pem}           ─► STATE/replaced/TIME/
//! ```
//!
//! Each step is a rename, and begins where the last one ended: a machine that loses power in between goes on at the next start.

use std::io;
use std::path::{Path, PathBuf};

use super::DATABASE;
use super::hosts::AUTHORITY;

/// The folder of what is ready, in the state folder.
pub(crate) const READY: &str = "restored";
/// The folder of what was replaced.
pub(crate) const REPLACED: &str = "replaced";
/// In [`READY`]: the name of the folder in [`REPLACED`] that what was there goes to.
pub(crate) const WHEN: &str = "when";

/// What is kept of `SQLite`'s beside a store; first, so that a store is never left without what belongs to it.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Something cannot be put in its place.
#[derive(Debug, thiserror::Error)]
#[error("what was restored cannot be taken: {path}: {source}")]
pub(crate) struct TakeError {
    path: PathBuf,
    source: io::Error,
}

/// Puts what is ready in its place, if anything is. Whether it was.
pub(crate) fn take_up(state: &Path) -> Result<bool, TakeError> {
    let ready = state.join(READY);
    let when = match std::fs::read_to_string(ready.join(WHEN)) {
        Ok(when) => when,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(TakeError { path: ready.join(WHEN), source }),
    };
    // Only a name of ours leads out of the folder to nowhere.
    let when: String = when.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let replaced = state.join(REPLACED).join(when);
    std::fs::create_dir_all(&replaced).map_err(|source| TakeError { path: replaced.clone(), source })?;
    for name in [DATABASE, AUTHORITY] {
        if !ready.join(name).exists() {
            continue;
        }
        let beside = BESIDE.map(|suffix| format!("{name}{suffix}"));
        for old in beside.iter().map(String::as_str).chain([name]) {
            rename(&state.join(old), &replaced.join(old))?;
        }
        rename(&ready.join(name), &state.join(name))?;
    }
    sync(&replaced)?;
    sync(state)?;
    std::fs::remove_dir_all(&ready).map_err(|source| TakeError { path: ready, source })?;
    tracing::warn!(replaced = %replaced.display(), "the restored store is in its place; what was there is kept");
    Ok(true)
}

fn rename(from: &Path, to: &Path) -> Result<(), TakeError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TakeError { path: from.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), TakeError> {
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| TakeError { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn read(path: &Path) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn prepared() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let (state, ready) = (folder.path(), folder.path().join(READY));
        write(state, DATABASE, "old");
        write(state, &format!("{DATABASE}-wal"), "old wal");
        write(state, AUTHORITY, "old key");
        write(&ready, DATABASE, "new");
        write(&ready, WHEN, "20260102T030405\n");
        folder
    }

    #[test]
    fn what_is_ready_takes_the_place_of_what_is_there() {
        let folder = prepared();
        let state = folder.path();
        assert!(take_up(state).unwrap());
        assert_eq!(read(&state.join(DATABASE)).as_deref(), Some("new"));
        assert_eq!(read(&state.join(format!("{DATABASE}-wal"))), None);
        assert_eq!(read(&state.join(AUTHORITY)).as_deref(), Some("old key"), "nothing was said of it");
        let replaced = state.join(REPLACED).join("20260102T030405");
        assert_eq!(read(&replaced.join(DATABASE)).as_deref(), Some("old"));
        assert_eq!(read(&replaced.join(format!("{DATABASE}-wal"))).as_deref(), Some("old wal"));
        assert!(!take_up(state).unwrap());
    }

    #[test]
    fn it_goes_on_wherever_it_was_cut_off() {
        // After so many of the renames.
        for done in 0..=3 {
            let folder = prepared();
            let state = folder.path();
            let replaced = state.join(REPLACED).join("20260102T030405");
            std::fs::create_dir_all(&replaced).unwrap();
            let wal = format!("{DATABASE}-wal");
            let steps: [(PathBuf, PathBuf); 3] = [
                (state.join(&wal), replaced.join(&wal)),
                (state.join(DATABASE), replaced.join(DATABASE)),
                (state.join(READY).join(DATABASE), state.join(DATABASE)),
            ];
            for (from, to) in &steps[..done] {
                std::fs::rename(from, to).unwrap();
            }
            assert!(take_up(state).unwrap());
            assert_eq!(read(&state.join(DATABASE)).as_deref(), Some("new"), "after {done}");
            assert_eq!(read(&replaced.join(DATABASE)).as_deref(), Some("old"), "after {done}");
            assert_eq!(read(&state.join(wal)), None, "after {done}");
        }
    }

    #[test]
    fn nothing_ready_is_nothing_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!take_up(folder.path()).unwrap());
        // Half made ready: `restore` was cut off.
        write(&folder.path().join("restored.part"), DATABASE, "half");
        assert!(!take_up(folder.path()).unwrap());
    }
}
