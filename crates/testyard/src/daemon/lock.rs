//! One server per run folder: a lock that the kernel gives back when the process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const NAME: &str = "serve.lock";

/// Takes the lock of a run folder, which is made if it is not there.
pub(crate) fn take(run: &Path) -> Result<Flock<File>, String> {
    let shown = |error: io::Error| format!("{}: {error}", run.display());
    std::fs::create_dir_all(run).map_err(shown)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(run.join(NAME))
        .map_err(shown)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => {
            format!("another testyard runs with {}: each has a run folder of its own", run.display())
        }
        errno => shown(errno.into()),
    })
}

/// Whether a server runs with this run folder.
#[must_use]
pub(crate) fn is_running(run: &Path) -> bool {
    let Ok(file) = File::open(run.join(NAME)) else { return false };
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one() {
        let run = tempfile::tempdir().unwrap();
        assert!(!is_running(run.path()));
        let lock = take(run.path()).unwrap();
        assert!(is_running(run.path()));
        assert!(take(run.path()).unwrap_err().contains("another testyard runs with"));
        drop(lock);
        assert!(!is_running(run.path()));
    }
}
