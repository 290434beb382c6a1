//! A folder that a client lists.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::files::attributes_of;
use super::listing;
use super::owners::Owners;
use super::wire::{self, Answers};

/// An open folder.
pub(super) struct Folder {
    path: PathBuf,
    /// Of `.` and `..`, those that are still to come; the standard library leaves them out.
    dots: std::slice::Iter<'static, &'static str>,
    entries: fs::ReadDir,
    /// Read when the first entries are asked for.
    owners: Option<Owners>,
}

impl Folder {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let entries = fs::read_dir(&path)?;
        Ok(Self { path, dots: [".", ".."].iter(), entries, owners: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn next(&mut self) -> Option<io::Result<OsString>> {
        match self.dots.next() {
            Some(name) => Some(Ok(name.into())),
            None => self.entries.next().map(|entry| Ok(entry?.file_name())),
        }
    }

    /// Answers with as many entries as fit well into one packet; false if there are no more.
    pub(super) fn list(&mut self, id: u32, answers: &mut Answers) -> io::Result<bool> {
        const FULL: usize = 32 << 10;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs().try_into().unwrap_or(0));
        let owners = self.owners.take().unwrap_or_else(Owners::read);
        let mut found = Vec::new();
        let mut weight = 0;
        while weight < FULL {
            let Some(name) = self.next().transpose()? else { break };
            // One that has gone since is not listed.
            let Ok(data) = fs::symlink_metadata(self.path.join(&name)) else { continue };
            let line = listing::line(name.as_bytes(), &data, &owners, now);
            weight += name.len() + line.len() + 40;
            found.push((name, line, attributes_of(&data)));
        }
        self.owners = Some(owners);
        if found.is_empty() {
            return Ok(false);
        }
        let mut answer = answers.begin(104, id);
        answer.u32(u32::try_from(found.len()).unwrap_or(0));
        for (name, line, attributes) in found {
            answer.text(name.as_bytes());
            answer.text(&line);
            answer.attributes(&attributes);
        }
        debug_assert!(answer.len() < wire::PACKET);
        Ok(true)
    }
}
