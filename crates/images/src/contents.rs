//! What an archive holds, out of the archive: names in memory, contents one behind the other in a file without a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use testyard_fetch::archive::{self, About, ArchiveError, Budget, EntryPath, Kind, Sink};

use crate::{Limits, PrepareError, draft};

/// The most entries: an image's sources have some thousand.
const MOST_ENTRIES: u64 = 50_000;

/// The most bytes of all paths and links together.
const MOST_NAMES: usize = 16 << 20;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder {
        mode: u32,
    },
    File {
        at: u64,
        length: u64,
        mode: u32,
    },
    /// Its target, as the archive has it.
    Link(Vec<u8>),
}

/// What an archive holds. The last entry of a name counts.
pub(crate) struct Contents {
    file: File,
    end: u64,
    names: usize,
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
}

impl Contents {
    pub(crate) fn unpack(kind: Kind, file: &mut File, limits: &Limits) -> Result<Self, PrepareError> {
        let mut contents = Self { file: draft(limits)?, end: 0, names: 0, entries: BTreeMap::new() };
        let mut budget = Budget::new(limits.unpacked, MOST_ENTRIES);
        archive::unpack(kind, file, &mut contents, &mut budget)?;
        Ok(contents)
    }

    /// Reads a file of it; none if there is no such file, or it is longer than `longest`.
    pub(crate) fn read(&self, path: &str, longest: u64) -> Option<Vec<u8>> {
        let (_, length) = self.place(path.as_bytes())?;
        if length > longest {
            return None;
        }
        let mut bytes = Vec::new();
        self.open(path.as_bytes())?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Opens a file of it.
    pub(crate) fn open(&self, path: &[u8]) -> Option<Part<'_>> {
        let (at, left) = self.place(path)?;
        Some(Part { file: &self.file, at, left })
    }

    /// Where a file begins and how long it is; one symbolic link beside it is followed.
    fn place(&self, path: &[u8]) -> Option<(u64, u64)> {
        match self.entries.get(path)? {
            Entry::File { at, length, .. } => Some((*at, *length)),
            Entry::Link(target) => match self.entries.get(&beside(path, target)?)? {
                Entry::File { at, length, .. } => Some((*at, *length)),
                _ => None,
            },
            Entry::Folder { .. } => None,
        }
    }

    fn put(&mut self, path: &EntryPath, entry: Entry) -> Result<(), ArchiveError> {
        let path = text(path);
        let link = if let Entry::Link(target) = &entry { target.len() } else { 0 };
        self.names += path.len() + link;
        if self.names > MOST_NAMES {
            return Err(ArchiveError::Damaged("its names are too long altogether"));
        }
        self.entries.insert(path, entry);
        Ok(())
    }
}

/// The path that a link at `path` leads to, if it stays inside.
fn beside(path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    names.pop();
    if target.starts_with(b"/") {
        return None;
    }
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(names.join(&b'/'))
}

fn text(path: &EntryPath) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.names().map(OsStrExt::as_bytes).collect::<Vec<_>>().join(&b'/')
}

impl Sink for Contents {
    fn folder(&mut self, path: &EntryPath, mode: u32) -> Result<(), ArchiveError> {
        self.put(path, Entry::Folder { mode })
    }

    fn file(&mut self, path: &EntryPath, about: About, contents: &mut dyn Read) -> Result<(), ArchiveError> {
        let at = self.end;
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| io::copy(contents, &mut self.file));
        let length = written.map_err(|error| {
            match error.get_ref().is_some_and(|inner| inner.is::<ArchiveError>()) {
                true => error.downcast::<ArchiveError>().unwrap_or_else(ArchiveError::Read),
                false => path.failed(error),
            }
        })?;
        self.end += length;
        self.file.flush().map_err(|error| path.failed(error))?;
        self.put(path, Entry::File { at, length, mode: about.mode })
    }

    fn symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), ArchiveError> {
        self.put(path, Entry::Link(target.to_vec()))
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), ArchiveError> {
        match self.entries.get(&text(existing)).cloned() {
            Some(entry @ (Entry::File { .. } | Entry::Link(_))) => self.put(path, entry),
            _ => Err(ArchiveError::Damaged("a hard link leads to no file before it")),
        }
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        Ok(())
    }
}

/// A file's contents.
pub(crate) struct Part<'c> {
    file: &'c File,
    at: u64,
    pub(crate) left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read_at(&mut buffer[..most], self.at)?;
        (self.at, self.left) = (self.at + length as u64, self.left - length as u64);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_beside() {
        let beside = |path: &str, target: &str| {
            beside(path.as_bytes(), target.as_bytes()).map(|path| String::from_utf8(path).unwrap())
        };
        assert_eq!(beside("a/layer.tar", "../b/layer.tar").as_deref(), Some("b/layer.tar"));
        assert_eq!(beside("a/x", "./y//z").as_deref(), Some("a/y/z"));
        assert_eq!(beside("x", "../y"), None);
        assert_eq!(beside("a/x", "/etc/passwd"), None);
    }
}
