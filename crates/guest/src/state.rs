//! Where the guest keeps what it must remember, and what to do where the root is read-only.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

/// On the node's disk; where that is read-only, in memory, and then only until the node stops.
const FOLDERS: [&str; 3] = ["var/lib/testyard", "run/testyard", "dev/shm/testyard"];

/// The folder for what must be remembered: the first that is not read-only. A full disk changes nothing about it.
pub(crate) fn folder(root: &Path) -> PathBuf {
    let found = FOLDERS.iter().map(|folder| root.join(folder)).find(|folder| !is_read_only(folder));
    found.unwrap_or_else(|| root.join(FOLDERS[0]))
}

/// The folder that homes of ours are made in, beneath `root`.
pub(crate) fn homes(root: &Path) -> &'static str {
    let writable = |folder: &&str| !is_read_only(&root.join(folder));
    ["home", "run/testyard-homes", "dev/shm/testyard-homes"].into_iter().find(writable).unwrap_or("home")
}

/// Whether nothing can be written at this place (or where it would be made), whoever asks.
pub(crate) fn is_read_only(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    statvfs(there).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_can_be_written_to_is_used() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folder(root.path()), root.path().join("var/lib/testyard"));
        assert_eq!(homes(root.path()), "home");
        // The kernel's own files cannot be written anywhere.
        assert!(!is_read_only(root.path()));
    }
}
