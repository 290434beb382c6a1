//! A command's output on the disk: its first part and its last one, whatever is between, so that it neither fills the
//! disk nor loses the line that says why it ended.
//!
//! ```text
//! startup-1.txt        the first part, and a note where it goes on
//! startup-1.more.txt   what comes after it; once full, it becomes
//! startup-1.old.txt    this, in the place of the one before
//! ```
//!
//! When the output ends both are put behind the first part, with a note of what was left out between, and are gone.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};

use super::log::Files;
use crate::output::Sink;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Bytes of the first part.
    pub(super) first: u64,
    /// Bytes of each of the two files of the last part.
    pub(super) last: u64,
}

impl Sizes {
    /// 64 MiB at most.
    pub(super) const EXECUTE: Self = Self { first: 32 << 20, last: 16 << 20 };

    /// 16 MiB at most: a program has two outputs, and those of the start before.
    pub(crate) const PROGRAM: Self = Self { first: 8 << 20, last: 4 << 20 };
}

/// Keeps an output.
pub(crate) struct Kept {
    files: Files,
    /// The extensions of the file, and of those of the last part.
    names: [String; 3],
    sizes: Sizes,
    first: File,
    written: u64,
    more: Option<Rest>,
    old: Option<Rest>,
    /// Bytes of files that were replaced.
    dropped: u64,
    /// The first part's length in its file, once it is full.
    end: Option<u64>,
}

/// A file of the last part.
struct Rest {
    file: File,
    length: u64,
}

impl Kept {
    /// What an earlier command of the same number has left goes away.
    pub(crate) fn new(files: Files, extension: &str, sizes: Sizes) -> io::Result<Self> {
        let names = [extension.to_owned(), format!("more.{extension}"), format!("old.{extension}")];
        let [name, more, old] = &names;
        files.remove(more)?;
        files.remove(old)?;
        let first = files.create(name, 0o644)?;
        Ok(Self { files, names, sizes, first, written: 0, more: None, old: None, dropped: 0, end: None })
    }

    /// Makes room for `length` bytes of the last part.
    fn turn(&mut self, length: u64) -> io::Result<()> {
        if self.more.as_ref().is_some_and(|more| more.length + length <= self.sizes.last) {
            return Ok(());
        }
        match self.more.take() {
            None if self.end.is_none() => {
                self.end = Some(self.first.metadata()?.len());
                self.note_where()?;
            }
            // The last attempt to make one has failed.
            None => {}
            Some(full) => {
                self.dropped += self.old.take().map_or(0, |old| old.length);
                self.files.rename(&self.names[1], &self.names[2])?;
                self.old = Some(full);
            }
        }
        self.more = Some(Rest { file: self.files.create(&self.names[1], 0o644)?, length: 0 });
        Ok(())
    }

    fn note_where(&mut self) -> io::Result<()> {
        let [_, more, old] = self.names.each_ref().map(|name| self.files.path(name));
        writeln!(self.first, "\n[testyard: the output goes on in {more}, and before that in {old}]")
    }

    /// Puts everything into one file.
    fn join(&mut self, end: u64) -> io::Result<()> {
        self.first.set_len(end)?;
        self.first.seek(io::SeekFrom::End(0))?;
        if self.dropped > 0 {
            write!(self.first, "\n[testyard: {} bytes are left out here]\n", self.dropped)?;
        }
        for rest in [&mut self.old, &mut self.more].into_iter().flatten() {
            rest.file.rewind()?;
            io::copy(&mut rest.file, &mut self.first)?;
        }
        self.files.remove(&self.names[2])?;
        self.files.remove(&self.names[1])
    }
}

impl Sink for Kept {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.sizes.first.saturating_sub(self.written);
        let (first, rest) = bytes.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len()));
        self.written += bytes.len() as u64;
        let taken = self.first.write_all(first);
        if rest.is_empty() {
            return taken;
        }
        self.turn(rest.len() as u64)?;
        if let Some(more) = &mut self.more {
            // Counted whether it could be written or not: a full disk must not make the file larger later.
            more.length += rest.len() as u64;
            more.file.write_all(rest)?;
        }
        taken
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(end) = self.end else { return Ok(()) };
        let joined = self.join(end);
        if joined.is_err() {
            // No room for a second copy: they stay apart.
            self.first.set_len(end)?;
            self.first.seek(io::SeekFrom::End(0))?;
            self.note_where()?;
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn kept(root: &std::path::Path, sizes: Sizes) -> Kept {
        Kept::new(Files::new(root, "startup-1".into()).unwrap(), "txt", sizes).unwrap()
    }

    fn names(root: &std::path::Path) -> Vec<String> {
        let names = fs::read_dir(root.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn while_it_runs_no_more_than_the_sizes_is_there() {
        let root = tempfile::tempdir().unwrap();
        let mut kept = kept(root.path(), Sizes { first: 100, last: 50 });
        for number in 0..1000u32 {
            kept.take(format!("{number:09}\n").as_bytes()).unwrap();
            let sum: u64 = names(root.path())
                .iter()
                .map(|name| fs::metadata(root.path().join("tmp").join(name)).unwrap().len())
                .sum();
            assert!(sum <= 100 + 2 * 50 + 200, "{sum} bytes");
        }
        assert_eq!(names(root.path()), ["startup-1.more.txt", "startup-1.old.txt", "startup-1.txt"]);
        let more = fs::read_to_string(root.path().join("tmp/startup-1.more.txt")).unwrap();
        assert!(more.ends_with("000000999\n"), "{more}");
        let first = fs::read_to_string(root.path().join("tmp/startup-1.txt")).unwrap();
        assert!(first.contains("goes on in /tmp/startup-1.more.txt,"), "{first}");
    }

    proptest! {
        #[test]
        fn the_first_and_the_last_part_are_kept(
            first in 0u64..40, last in 1u64..30, pieces in proptest::collection::vec(1usize..30, 0..40)
        ) {
            let root = tempfile::tempdir().unwrap();
            let mut kept = kept(root.path(), Sizes { first, last });
            let whole: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|i| b'a' + u8::try_from(i % 26).unwrap()).collect();
            let mut rest = &whole[..];
            for piece in pieces {
                kept.take(&rest[..piece]).unwrap();
                rest = &rest[piece..];
            }
            kept.end().unwrap();
            prop_assert_eq!(names(root.path()), ["startup-1.txt"]);
            let text = fs::read(root.path().join("tmp/startup-1.txt")).unwrap();
            let note = text.windows(10).position(|window| window == b"[testyard:");
            match note {
                None => prop_assert_eq!(&text, &whole),
                Some(at) => {
                    let note = String::from_utf8_lossy(&text[at..]).into_owned();
                    let left_out: usize = note.split(' ').nth(1).unwrap().parse().unwrap();
                    let end = &text[at + note.find("]\n").unwrap() + 2..];
                    prop_assert_eq!(&text[..at - 1], &whole[..usize::try_from(first).unwrap()]);
                    prop_assert!(whole.ends_with(end));
                    prop_assert_eq!(at - 1 + left_out + end.len(), whole.len());
                }
            }
        }
    }
}
