//! What an archive holds: paths that have been checked, budgets that end, and who takes the entries.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};

use super::{ArchiveError, os, shown};

/// The deepest path and the longest name that are unpacked; the kernel's own limits are not far.
const MAX_PATH: usize = 3000;
const MAX_DEPTH: usize = 128;
const MAX_NAME: usize = 255;

/// The path of an entry: names beneath the folder, none of them `..`. An empty one is the folder itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPath(Vec<OsString>);

impl EntryPath {
    /// Checks a path as an archive has it. A leading `/` is refused, as are `..` and what is too long.
    pub fn parse(path: &[u8]) -> Result<Self, ArchiveError> {
        if path.starts_with(b"/") || path.contains(&0) {
            return Err(ArchiveError::Path(shown(path)));
        }
        let names: Vec<&[u8]> =
            path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        if names.contains(&&b".."[..]) {
            return Err(ArchiveError::Path(shown(path)));
        }
        if path.len() > MAX_PATH || names.len() > MAX_DEPTH || names.iter().any(|name| name.len() > MAX_NAME)
        {
            return Err(ArchiveError::LongPath(shown(path)));
        }
        Ok(Self(names.into_iter().map(os).collect()))
    }

    /// Its names, from the outermost folder inwards.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.0.iter().map(OsString::as_os_str)
    }

    /// The names of the folder it is in, and its own.
    pub fn split(&self) -> Option<(&[OsString], &OsStr)> {
        self.0.split_last().map(|(name, folder)| (folder, name.as_os_str()))
    }

    /// As a text for people.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(self.0.join(OsStr::new("/")).as_encoded_bytes())
    }

    /// It was not taken, for this reason.
    #[must_use]
    pub fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ArchiveError {
        ArchiveError::Place { path: self.shown(), source: source.into() }
    }
}

/// Who takes the entries.
pub trait Sink {
    /// A folder.
    ///
    /// # Errors
    /// Whatever ends the unpacking; so for the others.
    fn folder(&mut self, path: &EntryPath, mode: u32) -> Result<(), ArchiveError>;
    /// A file.
    ///
    /// # Errors
    /// See [`Self::folder`].
    fn file(&mut self, path: &EntryPath, about: About, contents: &mut dyn Read) -> Result<(), ArchiveError>;
    /// A symbolic link, whose target is as the archive has it: it may lead anywhere.
    ///
    /// # Errors
    /// See [`Self::folder`].
    fn symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), ArchiveError>;
    /// Another name of an entry before.
    ///
    /// # Errors
    /// See [`Self::folder`].
    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), ArchiveError>;
    /// All entries have been seen.
    ///
    /// # Errors
    /// See [`Self::folder`].
    fn finish(&mut self) -> Result<(), ArchiveError>;
}

/// What an archive says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Permission bits only.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: Option<i64>,
}

/// How much may still be unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    bytes: u64,
    max_bytes: u64,
    entries: u64,
    max_entries: u64,
}

/// An entry of any kind takes at least this much of a disk.
const ENTRY_COST: u64 = 512;

impl Budget {
    /// The most entries of one archive.
    pub const MAX_ENTRIES: u64 = 500_000;

    /// So many bytes, of contents and what entries cost, and so many entries.
    #[must_use]
    pub fn new(max_bytes: u64, max_entries: u64) -> Self {
        Self { bytes: max_bytes, max_bytes, entries: max_entries, max_entries }
    }

    /// What it began with.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// How many entries have been paid for.
    pub fn used_entries(&self) -> u64 {
        self.max_entries - self.entries
    }

    /// Pays for one more entry.
    pub fn entry(&mut self) -> Result<(), ArchiveError> {
        self.entries = self.entries.checked_sub(1).ok_or(ArchiveError::TooMany(self.max_entries))?;
        self.bytes(ENTRY_COST)
    }

    /// Pays for some contents.
    pub fn bytes(&mut self, count: u64) -> Result<(), ArchiveError> {
        self.bytes = self.bytes.checked_sub(count).ok_or(ArchiveError::TooLarge(self.max_bytes))?;
        Ok(())
    }
}

/// Contents that are paid for as they are read, whatever the archive said before.
pub(crate) struct Paid<'a, R> {
    pub(crate) contents: R,
    pub(crate) budget: &'a mut Budget,
}

impl<R: Read> Read for Paid<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.contents.read(buffer)?;
        self.budget.bytes(length as u64).map_err(io::Error::other)?;
        Ok(length)
    }
}
