//! What each spare was made from, for the next agent: one small file each, replaced whole. A spare without a file fits
//! nobody.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use testyard_runtime::NodeKey;

use super::Make;

pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    /// Beside the records of nodes.
    pub(super) fn new(state: &Path) -> Self {
        Self { folder: state.join("spares") }
    }

    /// All records. One that cannot be read says nothing.
    pub(super) fn load(&self) -> BTreeMap<NodeKey, Option<Make>> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return BTreeMap::new() };
        entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let number = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
                let make = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
                Some((NodeKey::spare(number), make))
            })
            .collect()
    }

    /// Written before the spare is made, so that nothing of it can be lost.
    ///
    /// # Errors
    /// With the path inside.
    pub(super) fn store(&self, key: &NodeKey, make: &Make) -> Result<(), String> {
        let path = self.path(key);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
            let new = path.with_extension("new");
            fs::write(&new, serde_json::to_vec(make)?)?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Drops a record; none there is fine. The folder goes with the last.
    pub(super) fn forget(&self, key: &NodeKey) {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the record of a spare");
            }
            // Fails as long as there are others.
            _ => drop(fs::remove_dir(&self.folder)),
        }
    }

    fn path(&self, key: &NodeKey) -> PathBuf {
        self.folder.join(format!("{}.json", key.sliver))
    }
}
