//! A folder that appears at once, complete: it is filled beside its place, and then renamed.
//!
//! Somebody else may be at work on the same folder, such as the next run of a script that was killed while what it had
//! started lives on. Two are never at it at the same time, and one whose folder was taken away never finishes another's.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::exit::Failure;

/// A folder that is being filled.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    /// The folder itself, whatever becomes of its name; locked as long as it is filled.
    folder: Flock<File>,
}

impl Staging {
    /// An empty folder beside the one that is to be, without what an earlier run left in it.
    ///
    /// # Errors
    /// If another run is filling it, or the system refuses.
    pub(crate) fn begin(place: &Path) -> Result<Self, Failure> {
        let mut name = place.file_name().ok_or_else(|| Failure::usage("--dir needs a name"))?.to_owned();
        name.push(".init");
        let path = place.with_file_name(name);
        let failed = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
        if let Ok(left) = File::open(&path) {
            drop(lock(left, &path)?);
            std::fs::remove_dir_all(&path).map_err(failed)?;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        // One that somebody else has just made is not ours.
        std::fs::create_dir(&path).map_err(failed)?;
        let folder = lock(File::open(&path).map_err(failed)?, &path)?;
        Ok(Self { path, folder })
    }

    /// Where to fill it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// If it is not there any more, something else is at that place, or the system refuses.
    pub(crate) fn finish(self, place: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::failed(format!("{}: {error}", place.display()));
        let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = self.folder.metadata().map(of).map_err(failed)?;
        if std::fs::symlink_metadata(&self.path).map(of).ok() != Some(ours) {
            // What was written after that is in another folder of its name, and is not all. There are keys in it; whoever else
            // fills such a folder holds its lock.
            if let Ok(Ok(_held)) = File::open(&self.path).map(|rest| lock(rest, &self.path)) {
                let _ = std::fs::remove_dir_all(&self.path);
            }
            return Err(Failure::failed(format!(
                "{} was taken away while it was filled; nothing was made",
                self.path.display()
            )));
        }
        std::fs::rename(&self.path, place).map_err(failed)
    }
}

fn lock(folder: File, path: &Path) -> Result<Flock<File>, Failure> {
    Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => Failure::failed(format!("another testyard init is filling {}", path.display())),
        errno => Failure::failed(format!("{}: {}", path.display(), io::Error::from(errno))),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_an_earlier_run_left_is_gone_and_two_are_never_at_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("etc");
        fs::create_dir(folder.path().join("etc.init")).unwrap();
        fs::write(folder.path().join("etc.init/old"), "").unwrap();
        let staging = Staging::begin(&place).unwrap();
        assert!(Staging::begin(&place).unwrap_err().message.contains("another testyard init"));
        fs::write(staging.path().join("new"), "").unwrap();
        staging.finish(&place).unwrap();
        assert!(place.join("new").exists() && !place.join("old").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_whose_folder_was_taken_away_finishes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("etc");
        let staging = Staging::begin(&place).unwrap();
        fs::rename(staging.path(), folder.path().join("away")).unwrap();
        // As whoever fills it makes folders that are not there.
        fs::create_dir_all(staging.path().join("server")).unwrap();
        assert!(staging.finish(&place).unwrap_err().message.contains("was taken away"));
        assert!(!place.exists() && !folder.path().join("etc.init").exists());
    }
}
