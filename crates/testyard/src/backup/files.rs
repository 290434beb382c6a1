//! Files of a folder, as a backup takes them.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The most files of a folder, and bytes of them all: a thousand users have a few megabytes.
const MOST_FILES: usize = 50_000;
const MOST_BYTES: u64 = 256 << 20;

/// A file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Below the folder.
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) bytes: Vec<u8>,
}

/// All files below a folder, in the order of their names. A link to a file counts as that file; what is neither file nor
/// folder is left out, links to folders too.
///
/// # Errors
/// With the path; also if there is more than a folder of Testyard's can hold.
pub(super) fn all(folder: &Path) -> Result<Vec<Taken>, String> {
    let (mut taken, mut waiting, mut left) = (Vec::new(), vec![PathBuf::new()], MOST_BYTES);
    while let Some(below) = waiting.pop() {
        let path = folder.join(&below);
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, kind) = (below.join(entry.file_name()), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                waiting.push(name);
                continue;
            }
            let path = entry.path();
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if !metadata.is_file() {
                continue;
            }
            left =
                left.checked_sub(metadata.len()).filter(|_| taken.len() < MOST_FILES).ok_or_else(|| {
                    format!("{} has too much in it for a folder of Testyard's", folder.display())
                })?;
            let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            taken.push(Taken { path: name, mode: metadata.permissions().mode() & 0o777, bytes });
        }
    }
    taken.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(taken)
}
