//! What was done on this disk, and what is being done in this boot: `/var/lib/testyard/services.json`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use testyard_guest_protocol::{Execute, Install, ServiceId, ServiceReport, ServiceState};

use crate::files::{self, FileError};

/// Where the guest keeps what must outlive a boot; where the root is read-only nothing does, and a boot's own memory
/// is as good.
const FOLDERS: [&str; 3] = ["var/lib/testyard", "run/testyard", "dev/shm/testyard"];

/// The first folder of ours that can be written; the first of all if none can, so that the error names it.
pub(crate) fn state_folder(root: &Path) -> PathBuf {
    let usable = |path: &PathBuf| {
        std::fs::create_dir_all(path).is_ok()
            && access(path, AccessFlags::W_OK).is_ok()
            && std::fs::symlink_metadata(path)
                .is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0)
    };
    let mut folders = FOLDERS.iter().map(|folder| root.join(folder));
    folders.find(usable).unwrap_or_else(|| root.join(FOLDERS[0]))
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registry {
    /// Which disk this was done on; empty if that was never said.
    #[serde(default)]
    disk: String,
    installs: BTreeMap<u32, Done<Source>>,
    executes: BTreeMap<u32, Done<Script>>,
    /// What this boot has begun or could not do; the next one begins it again.
    #[serde(skip)]
    tried_installs: BTreeMap<u32, Done<Source>>,
    #[serde(skip)]
    tried_executes: BTreeMap<u32, Done<Script>>,
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
    /// Of its files, if that is not /tmp.
    #[serde(default)]
    folder: String,
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Now {
    pub(super) state: ServiceState,
    pub(super) detail: String,
    /// Of its files, if that is not /tmp.
    pub(super) folder: &'static str,
}

/// What makes an install that install; limits may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    url: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

/// What makes an execute that execute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Script {
    shell: String,
    command: String,
}

impl Registry {
    fn path(root: &Path) -> PathBuf {
        state_folder(root).join("services.json")
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
                self.forget_tries();
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
        let what = Source::of(install);
        let is_it = |done: &&Done<Source>| done.what == what;
        let done = self.installs.get(&index).filter(is_it);
        self.report(ServiceId::Install(index), done.or_else(|| self.tried_installs.get(&index).filter(is_it)))
    }

    pub(crate) fn execute(&self, index: u32, execute: &Execute) -> ServiceReport {
        let what = Script::of(execute);
        let is_it = |done: &&Done<Script>| done.what == what;
        let done = self.executes.get(&index).filter(is_it);
        self.report(ServiceId::Execute(index), done.or_else(|| self.tried_executes.get(&index).filter(is_it)))
    }

    fn report<T>(&self, id: ServiceId, done: Option<&Done<T>>) -> ServiceReport {
        let (state, detail, folder) = match done {
            Some(done) => (done.state, done.detail.clone(), done.folder.clone()),
            None if self.unreadable => (
                ServiceState::Failed,
                "the record of what has run on this disk is unreadable: reload the node".into(),
                String::new(),
            ),
            None => (ServiceState::Waiting, String::new(), String::new()),
        };
        ServiceReport { id, state, detail, folder }
    }

    /// How an install stands. Only what is done is kept: all others are begun again at the next boot.
    pub(super) fn set_install(&mut self, index: u32, install: &Install, now: Now) -> ServiceReport {
        let done = now.state == ServiceState::Exited(0);
        let list = if done { &mut self.installs } else { &mut self.tried_installs };
        list.insert(index, now.of(Source::of(install)));
        self.install(index, install)
    }

    /// How an execute stands. What never began is not kept: it may be tried again at the next boot.
    pub(super) fn set_execute(&mut self, index: u32, execute: &Execute, now: Now) -> ServiceReport {
        let failed = now.state == ServiceState::Failed;
        if failed {
            self.executes.remove(&index);
        }
        let list = if failed { &mut self.tried_executes } else { &mut self.executes };
        list.insert(index, now.of(Script::of(execute)));
        self.execute(index, execute)
    }

    /// What failed in this boot may be tried again.
    pub(super) fn forget_tries(&mut self) {
        self.tried_installs.clear();
        self.tried_executes.clear();
    }
}

impl Now {
    pub(super) fn new(state: ServiceState) -> Self {
        Self { state, detail: String::new(), folder: "" }
    }

    fn of<T>(self, what: T) -> Done<T> {
        Done { what, state: self.state, detail: self.detail, folder: self.folder.to_owned() }
    }
}

impl Script {
    fn of(execute: &Execute) -> Self {
        Self { shell: execute.shell.clone(), command: execute.command.clone() }
    }
}

impl Source {
    fn of(install: &Install) -> Self {
        Self { url: install.url.clone(), path: install.path.clone(), checksum: install.checksum.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(url: &str, max_download: u64) -> Install {
        Install { url: url.into(), path: "/srv".into(), max_download, max_unpacked: 1, checksum: None }
    }

    fn execute(command: &str) -> Execute {
        Execute { shell: "sh".into(), command: command.into(), max_seconds: None }
    }

    fn now(state: ServiceState) -> Now {
        Now::new(state)
    }

    #[test]
    fn a_boot_remembers_the_last_ones() {
        let root = tempfile::tempdir().unwrap();
        let mut registry = Registry::load(root.path()).unwrap();
        registry.set_install(0, &install("http://a/x", 1), now(ServiceState::Exited(0)));
        registry.set_execute(0, &execute("one"), now(ServiceState::Exited(3)));
        registry.set_execute(1, &execute("two"), now(ServiceState::Running));
        registry.save(root.path()).unwrap();

        let registry = Registry::load(root.path()).unwrap();
        assert_eq!(registry.install(0, &install("http://a/x", 2)).state, ServiceState::Exited(0));
        // Another checksum is another install; another time limit is the same execute.
        let mut other = install("http://a/x", 2);
        other.checksum = Some("sha256:00".into());
        assert_eq!(registry.install(0, &other).state, ServiceState::Waiting);
        let limited = Execute { max_seconds: Some(1), ..execute("one") };
        assert_eq!(registry.execute(0, &limited).state, ServiceState::Exited(3));
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
        registry.set_install(0, &install("http://a/x", 1), now(ServiceState::Exited(0)));
        registry.set_execute(0, &execute("one"), now(ServiceState::Exited(0)));
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
