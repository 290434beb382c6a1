//! The files in /tmp that tell how a service went, named as docker-am's users know them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::files;

/// The files of one service.
pub(super) struct Files {
    tmp: OwnedFd,
    stem: String,
}

impl Files {
    /// `stem` is `install-1` or `startup-1`.
    pub(super) fn new(root: &Path, stem: String) -> Result<Self, files::FileError> {
        Ok(Self { tmp: files::tmp_folder(root)?, stem })
    }

    /// Makes `<stem>.<extension>` anew.
    pub(super) fn create(&self, extension: &str, mode: u32) -> io::Result<File> {
        files::create(&self.tmp, OsStr::new(&format!("{}.{extension}", self.stem)), mode)
    }

    pub(super) fn remove(&self, extension: &str) -> io::Result<()> {
        files::remove(&self.tmp, OsStr::new(&format!("{}.{extension}", self.stem)))
    }

    /// Writes the status file.
    pub(super) fn status(&self, status: i32) -> io::Result<()> {
        self.create("status", 0o644)?.write_all(format!("{status}\n").as_bytes())
    }

    /// Adds a line to the log of all commands.
    pub(super) fn log(&self, line: &str) -> io::Result<()> {
        let mut file = files::append(&self.tmp, OsStr::new("execute.log"), 0o644)?;
        file.write_all(format!("{}: {line}\n", self.stem).as_bytes())
    }
}
