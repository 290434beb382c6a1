//! What was done on this disk: `/var/lib/testyard/services.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use testyard_guest_protocol::{Execute, Install, ServiceId, ServiceReport, ServiceState};

use crate::files::{self, FileError};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registry {
    /// Which disk this was done on; empty if that was never said.
    #[serde(default)]
    disk: String,
    installs: BTreeMap<u32, Done<Source>>,
    executes: BTreeMap<u32, Done<Execute>>,
    /// The file was there but unreadable: nothing may be begun, since it may have run.
    #[serde(skip)]
    unreadable: bool,
}

/// One service with what it was: another one at its place is another service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Done<T> {
    what: T,
    state: ServiceState,
    detail: String,
}

/// What makes an install that install; limits may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    url: String,
    path: String,
}

impl Registry {
    fn path(root: &Path) -> PathBuf {
        root.join("var/lib/testyard/services.json")
    }

    /// Reads it. What an earlier boot left running was interrupted.
    pub(crate) fn load(root: &Path) -> Result<Self, FileError> {
        let path = Self::path(root);
        let Some(bytes) = files::read(&path)? else { return Ok(Self::default()) };
        let mut registry: Self =
            serde_json::from_slice(&bytes).map_err(|error| FileError::new("understand", path, error))?;
        for done in registry.executes.values_mut().filter(|done| done.state == ServiceState::Running) {
            done.state = ServiceState::Interrupted;
            done.detail = "the node was stopped while it ran".into();
        }
        Ok(registry)
    }

    /// Says which disk this is. What was done on another one is forgotten: an image made of a node's disk brings the
    /// record along.
    pub(crate) fn set_disk(&mut self, disk: &str) {
        if !disk.is_empty() && self.disk != disk {
            let known = std::mem::replace(&mut self.disk, disk.to_owned());
            if !known.is_empty() {
                self.installs.clear();
                self.executes.clear();
            }
        }
    }

    pub(crate) fn unreadable() -> Self {
        Self { unreadable: true, ..Self::default() }
    }

    /// Writes it, down to the disk.
    pub(crate) fn save(&self, root: &Path) -> Result<(), FileError> {
        let path = Self::path(root);
        let bytes = serde_json::to_vec(self).map_err(|error| FileError::new("write", &path, error))?;
        files::replace(&path, &bytes, Some(0o600))?;
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        sync(&path)
            .and_then(|()| path.parent().map_or(Ok(()), sync))
            .map_err(|error| FileError::new("write", path, error))
    }

    pub(crate) fn install(&self, index: u32, install: &Install) -> ServiceReport {
        let done = self.installs.get(&index).filter(|done| done.what == Source::of(install));
        self.report(ServiceId::Install(index), done)
    }

    pub(crate) fn execute(&self, index: u32, execute: &Execute) -> ServiceReport {
        self.report(ServiceId::Execute(index), self.executes.get(&index).filter(|done| done.what == *execute))
    }

    fn report<T>(&self, id: ServiceId, done: Option<&Done<T>>) -> ServiceReport {
        match done {
            Some(done) => ServiceReport { id, state: done.state, detail: done.detail.clone() },
            None if self.unreadable => ServiceReport {
                id,
                state: ServiceState::Failed,
                detail: "the record of what has run on this disk is unreadable: reload the node".into(),
            },
            None => ServiceReport { id, state: ServiceState::Waiting, detail: String::new() },
        }
    }

    /// Only installs that are done are kept: all others are begun again.
    pub(crate) fn set_install(&mut self, index: u32, install: &Install, detail: String) {
        self.installs
            .insert(index, Done { what: Source::of(install), state: ServiceState::Exited(0), detail });
    }

    pub(crate) fn set_execute(&mut self, index: u32, execute: &Execute, state: ServiceState, detail: &str) {
        self.executes.insert(index, Done { what: execute.clone(), state, detail: detail.to_owned() });
    }

    pub(crate) fn forget_execute(&mut self, index: u32) {
        self.executes.remove(&index);
    }
}

impl Source {
    fn of(install: &Install) -> Self {
        Self { url: install.url.clone(), path: install.path.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(url: &str, max_download: u64) -> Install {
        Install { url: url.into(), path: "/srv".into(), max_download, max_unpacked: 1 }
    }

    fn execute(command: &str) -> Execute {
        Execute { shell: "sh".into(), command: command.into() }
    }

    #[test]
    fn a_boot_remembers_the_last_ones() {
        let root = tempfile::tempdir().unwrap();
        let mut registry = Registry::load(root.path()).unwrap();
        registry.set_install(0, &install("http://a/x", 1), "12 files".into());
        registry.set_execute(0, &execute("one"), ServiceState::Exited(3), "end");
        registry.set_execute(1, &execute("two"), ServiceState::Running, "");
        registry.save(root.path()).unwrap();

        let registry = Registry::load(root.path()).unwrap();
        assert_eq!(registry.install(0, &install("http://a/x", 2)).state, ServiceState::Exited(0));
        assert_eq!(registry.execute(0, &execute("one")).state, ServiceState::Exited(3));
        assert_eq!(registry.execute(1, &execute("two")).state, ServiceState::Interrupted);
        // Another service in the same place, and one more.
        assert_eq!(registry.install(0, &install("http://a/y", 1)).state, ServiceState::Waiting);
        assert_eq!(registry.execute(1, &execute("three")).state, ServiceState::Waiting);
        assert_eq!(registry.execute(2, &execute("two")).state, ServiceState::Waiting);
    }

    #[test]
    fn a_copied_disk_has_done_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        registry.set_disk("node-1/0");
        registry.set_install(0, &install("http://a/x", 1), String::new());
        registry.set_execute(0, &execute("one"), ServiceState::Exited(0), "");
        registry.save(root.path()).unwrap();

        let mut same = Registry::load(root.path()).unwrap();
        same.set_disk("node-1/0");
        assert_eq!(same, registry);
        let mut copied = Registry::load(root.path()).unwrap();
        copied.set_disk("node-2/0");
        assert_eq!(copied.install(0, &install("http://a/x", 1)).state, ServiceState::Waiting);
        assert_eq!(copied.execute(0, &execute("one")).state, ServiceState::Waiting);
    }

    #[test]
    fn what_may_have_run_is_not_begun() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/lib/testyard")).unwrap();
        std::fs::write(Registry::path(root.path()), "{").unwrap();
        assert!(Registry::load(root.path()).is_err());
        assert_eq!(Registry::unreadable().execute(0, &execute("x")).state, ServiceState::Failed);
    }
}
