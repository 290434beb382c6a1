//! What has been done of the schedule's run on this disk: `/var/lib/testyard/programs.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use testyard_guest_protocol::{ScheduledDone, ScheduledProgram, ScheduledReport, ServiceState};

use crate::files::{self, FileError};
use crate::services::state_folder;

/// What has been done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Registry {
    /// The disk and the run that this is about.
    disk: String,
    run: Option<u32>,
    programs: BTreeMap<String, Known>,
    /// The file was there but unreadable: what was to start before may have been started.
    #[serde(skip)]
    unreadable: bool,
}

/// What is known of a program in this run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) done: ScheduledDone,
    /// The start that the rest is about; 0 if there was none.
    pub(super) start: u32,
    pub(super) state: ServiceState,
    pub(super) stopped: bool,
    /// In milliseconds since 1970.
    pub(super) began: Option<i64>,
    pub(super) ended: Option<i64>,
    pub(super) detail: String,
    /// Its files without their extensions.
    pub(super) files: String,
}

impl Known {
    pub(super) fn new(state: ServiceState) -> Self {
        Self {
            done: ScheduledDone::default(),
            start: 0,
            state,
            stopped: false,
            began: None,
            ended: None,
            detail: String::new(),
            files: String::new(),
        }
    }
}

impl Registry {
    fn path(root: &Path) -> PathBuf {
        state_folder(root).join("programs.json")
    }

    /// Reads it. What an earlier boot left running was interrupted.
    pub(super) fn load(root: &Path) -> Result<Self, FileError> {
        let path = Self::path(root);
        let Some(bytes) = files::read(&path)? else { return Ok(Self::default()) };
        let mut registry: Self =
            serde_json::from_slice(&bytes).map_err(|error| FileError::new("understand", path, error))?;
        for known in registry.programs.values_mut().filter(|known| known.state == ServiceState::Running) {
            known.state = ServiceState::Interrupted;
            known.detail = "the node was stopped while it ran".into();
        }
        Ok(registry)
    }

    pub(super) fn unreadable() -> Self {
        Self { unreadable: true, ..Self::default() }
    }

    /// Writes it. A guest that ends now finds it; a machine that ends now may not, before [`Self::sync`].
    pub(super) fn save(&self, root: &Path) -> Result<(), FileError> {
        let path = Self::path(root);
        let bytes = serde_json::to_vec(self).map_err(|error| FileError::new("write", &path, error))?;
        files::replace(&path, &bytes, Some(0o600)).map(|_| ())
    }

    /// Has what was written reach the disk.
    pub(super) fn sync(root: &Path) -> Result<(), FileError> {
        let path = Self::path(root);
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        sync(&path)
            .and_then(|()| path.parent().map_or(Ok(()), sync))
            .map_err(|error| FileError::new("write", path, error))
    }

    /// Says which disk and which run this is; what was done on another disk, or in another run, is forgotten.
    pub(super) fn enter(&mut self, disk: &str, run: Option<u32>, programs: &[ScheduledProgram]) {
        if self.disk != disk || self.run != run {
            (self.disk, self.run) = (disk.to_owned(), run);
            self.programs.clear();
        }
        if self.unreadable && run.is_some() {
            self.unreadable = false;
            for program in programs.iter().filter(|program| program.starts > 0) {
                let done =
                    ScheduledDone { starts: program.starts, stops: program.stops, signals: program.signals };
                let detail = "the record of what has run on this disk is unreadable: it may have been started, and is \
                              started again only by its next start";
                let known = Known { done, start: program.starts, ..Known::new(ServiceState::Failed) };
                self.programs.insert(program.name.clone(), Known { detail: detail.into(), ..known });
            }
        }
    }

    /// What is known of a program.
    pub(super) fn known(&mut self, name: &str) -> &mut Known {
        self.programs.entry(name.to_owned()).or_insert_with(|| Known::new(ServiceState::Waiting))
    }

    /// Changes what is known of a program, if this is still about the same run.
    pub(super) fn set(&mut self, run: Option<u32>, name: &str, change: impl FnOnce(&mut Known)) {
        if self.run == run
            && let Some(known) = self.programs.get_mut(name)
        {
            change(known);
        }
    }

    pub(super) fn reports(&self, programs: &[ScheduledProgram]) -> Vec<ScheduledReport> {
        let nothing = Known::new(ServiceState::Waiting);
        let report = |program: &ScheduledProgram| {
            let known = self.programs.get(&program.name).unwrap_or(&nothing);
            ScheduledReport {
                name: program.name.clone(),
                run: self.run,
                start: known.start,
                state: known.state,
                stopped: known.stopped,
                began_ms: known.began,
                ended_ms: known.ended,
                detail: known.detail.clone(),
                files: known.files.clone(),
            }
        };
        programs.iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(starts: u32) -> ScheduledProgram {
        ScheduledProgram { name: "load".into(), starts, runs: true, ..ScheduledProgram::default() }
    }

    #[test]
    fn a_boot_remembers_its_run_and_its_disk_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        let mut registry = Registry::load(root.path()).unwrap();
        registry.enter("a/0", Some(1), &[program(1)]);
        let known = registry.known("load");
        *known = Known { start: 1, ..Known::new(ServiceState::Running) };
        known.done.starts = 1;
        registry.set(Some(2), "load", |known| known.state = ServiceState::Failed);
        registry.save(root.path()).unwrap();
        Registry::sync(root.path()).unwrap();

        let again = || Registry::load(root.path()).unwrap();
        let mut same = again();
        same.enter("a/0", Some(1), &[program(1)]);
        let report = same.reports(&[program(1)]).remove(0);
        assert_eq!((report.run, report.start, report.state), (Some(1), 1, ServiceState::Interrupted));
        assert_eq!(same.known("load").done.starts, 1);
        for (disk, run) in [("a/0", Some(2)), ("a/0", None), ("b/0", Some(1))] {
            let mut other = again();
            other.enter(disk, run, &[program(1)]);
            let report = other.reports(&[program(1)]).remove(0);
            assert_eq!((report.run, report.start, report.state), (run, 0, ServiceState::Waiting));
            assert_eq!(other.known("load").done, ScheduledDone::default());
        }
    }

    #[test]
    fn what_may_have_been_started_is_not_started_again() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/lib/testyard")).unwrap();
        std::fs::write(Registry::path(root.path()), "{").unwrap();
        assert!(Registry::load(root.path()).is_err());
        let mut registry = Registry::unreadable();
        registry.enter("a/0", Some(1), &[program(2)]);
        let known = registry.known("load");
        assert_eq!((known.done.starts, known.state), (2, ServiceState::Failed));
        registry.enter("a/0", Some(2), &[program(1)]);
        assert_eq!(registry.known("load").done.starts, 0);
    }
}
