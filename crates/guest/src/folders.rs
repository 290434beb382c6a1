//! Folders that the topology asks for, where an experiment keeps its data: on the node's disk, for everybody.

use std::ffi::OsStr;
use std::path::{Component, Path};

use crate::text;
use crate::walk::{Folder, WalkError};

/// A folder that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the folder {path}")]
struct FolderError {
    path: String,
    source: WalkError,
}

/// Makes those that are not there; what is there stays as it is. Gives what there is to say of those that cannot be.
pub(crate) fn apply(root: &Path, folders: &[String]) -> Vec<String> {
    let failed = |path: &String, source| text::chain(&FolderError { path: path.clone(), source });
    folders.iter().filter_map(|path| make(root, path).err().map(|error| failed(path, error))).collect()
}

fn make(root: &Path, path: &str) -> Result<(), WalkError> {
    let names: Vec<&OsStr> = Path::new(path)
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            // The planner takes no `..`.
            Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
        })
        .collect();
    let root = Folder::root(root).map_err(|error| WalkError::Io(path.into(), error))?;
    if root.walk(names.iter().copied(), false).is_ok() {
        return Ok(());
    }
    root.walk(names.iter().copied(), true)?.open_to_all().map_err(|error| WalkError::Io(path.into(), error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        fs::set_permissions(root.path().join("home"), fs::Permissions::from_mode(0o700)).unwrap();
        for _ in 0..2 {
            assert!(apply(root.path(), &["/data/runs".to_owned(), "/home".to_owned()]).is_empty());
        }
        assert_eq!(mode(&root.path().join("data/runs")), 0o1777);
        assert_eq!((mode(&root.path().join("data")), mode(&root.path().join("home"))), (0o755, 0o700));
    }

    #[test]
    fn nothing_outside_is_made() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(root.path().join("file"), "").unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        let told = apply(root.path(), &["/file/x".to_owned(), "/../up".to_owned()]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("cannot make the folder /file/x"), "{told:?}");
        assert!(root.path().join("up").is_dir() && fs::read_dir(outside.path()).unwrap().next().is_none());
    }
}
