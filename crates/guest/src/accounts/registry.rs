//! Which accounts are ours: `accounts.json` in the guest's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::state;

/// Our accounts by login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registry {
    accounts: BTreeMap<String, Entry>,
}

/// One of our accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its number; never given to another login on this disk, so that files keep their owner.
    pub(crate) uid: u32,
    /// Whether it is locked at present.
    pub(crate) locked: bool,
}

impl Registry {
    fn path(root: &Path) -> PathBuf {
        state::folder(root).join("accounts.json")
    }

    pub(crate) fn load(root: &Path) -> Result<Self, FileError> {
        let path = Self::path(root);
        match files::read(&path)? {
            None => Ok(Self::default()),
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| FileError::new("understand", path, error))
            }
        }
    }

    pub(crate) fn save(&self, root: &Path) -> Result<(), FileError> {
        let path = Self::path(root);
        let bytes = serde_json::to_vec(self).map_err(|error| FileError::new("write", &path, error))?;
        files::replace(&path, &bytes, Some(0o600)).map(drop)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub(crate) fn get(&self, login: &str) -> Option<&Entry> {
        self.accounts.get(login)
    }

    pub(crate) fn set(&mut self, login: &str, entry: Entry) {
        self.accounts.insert(login.to_owned(), entry);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.accounts.iter()
    }
}
