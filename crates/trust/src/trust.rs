//! The verifier in use, replaced when the files of the trust roots change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::policy::CryptoPolicy;
use crate::roots::{RootsChange, RootsError, TrustRoots, is_candidate};
use crate::verifier::Verifier;

/// Shared by everybody who judges calls. [`Trust::verifier`] is one atomic load.
#[derive(Debug)]
pub struct Trust {
    folder: Option<PathBuf>,
    policy: CryptoPolicy,
    current: ArcSwap<Verifier>,
    /// How the folder looked when it was last read; held while it is read again.
    stamp: Mutex<Stamp>,
}

/// What tells that files changed without reading them: name, size, inode, times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stamp(Vec<(PathBuf, u64, u64, Option<SystemTime>, i64, i64)>);

impl Trust {
    /// Reads a folder of trust roots and logs each of them.
    ///
    /// # Errors
    /// [`RootsError`] if the folder cannot be read. A file in it that cannot is logged and left out.
    pub fn open(folder: &Path, policy: CryptoPolicy) -> Result<Self, RootsError> {
        // The stamp is taken first: a change while the files are read is seen at the next refresh.
        let stamp = Stamp::take(folder)?;
        let roots = TrustRoots::load(folder)?;
        log(&TrustRoots::default(), &roots);
        let current = ArcSwap::from_pointee(Verifier::new(roots, policy.clone()));
        Ok(Self { folder: Some(folder.to_owned()), policy, current, stamp: Mutex::new(stamp) })
    }

    /// Roots that do not come from files.
    #[must_use]
    pub fn fixed(roots: TrustRoots, policy: CryptoPolicy) -> Self {
        let current = ArcSwap::from_pointee(Verifier::new(roots, policy.clone()));
        Self { folder: None, policy, current, stamp: Mutex::default() }
    }

    /// The verifier at this moment. A call that has it keeps it to its end.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        self.current.load_full()
    }

    /// Looks whether files changed, which is cheap, and if so reads them, logs each root added or dropped, and uses
    /// them from now on. `None` if no file changed.
    ///
    /// # Errors
    /// [`RootsError`] if the folder cannot be read; the roots stay as they were.
    pub fn refresh(&self) -> Result<Option<RootsChange>, RootsError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Stamp::take(folder)?;
        if *stamp == fresh {
            return Ok(None);
        }
        let roots = TrustRoots::load(folder)?;
        let change = log(self.current.load().roots(), &roots);
        self.current.store(Arc::new(Verifier::new(roots, self.policy.clone())));
        *stamp = fresh;
        Ok(Some(change))
    }
}

/// Logs what changes from one snapshot to the next.
fn log(old: &TrustRoots, new: &TrustRoots) -> RootsChange {
    let change = old.diff(new);
    for (list, what) in [(&change.added, "added"), (&change.dropped, "dropped")] {
        for root in list {
            let summary = root.summary();
            let urn = summary.urn.map(|urn| urn.to_string()).unwrap_or_default();
            tracing::info!(
                file = %summary.file.display(),
                subject = %summary.subject,
                fingerprint = %summary.fingerprint,
                %urn,
                "trust root {what}"
            );
        }
    }
    for fault in new.faults() {
        tracing::error!(file = %fault.file.display(), reason = %fault.reason, "trust root file left out");
    }
    change
}

impl Stamp {
    fn take(folder: &Path) -> Result<Self, RootsError> {
        use std::os::unix::fs::MetadataExt as _;
        let error = |source| RootsError { folder: folder.to_owned(), source };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if !is_candidate(&path) {
                continue;
            }
            // Links are followed. A file that vanished or cannot be looked at is a state like any other.
            let entry = match std::fs::metadata(&path) {
                Ok(data) => {
                    (path, data.len(), data.ino(), data.modified().ok(), data.ctime(), data.ctime_nsec())
                }
                Err(_) => (path, 0, 0, None, 0, 0),
            };
            entries.push(entry);
        }
        entries.sort();
        Ok(Self(entries))
    }
}
