//! Entries of archives into a folder of the node, through descriptors. Symbolic links are made last, so that no entry goes through
//! one of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};

use testyard_fetch::archive::{About, ArchiveError, EntryPath, Sink};

use crate::files;
use crate::walk::Folder;

/// Why an entry was not put in its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Walk(#[from] crate::walk::WalkError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is a folder here")]
    IsFolder,
    #[error("the link leads to something that is no file of the archive's folder")]
    LinkTarget,
}

/// A sink that writes below one folder and nowhere else.
pub(crate) struct Place {
    base: Folder,
    /// The folder of the last entry: the next one is mostly in it too.
    last: Option<(Vec<OsString>, Folder)>,
    links: BTreeMap<EntryPath, Vec<u8>>,
    /// Folders that we have made get their modes at the end, or nothing could be put into some.
    modes: Vec<(EntryPath, u32)>,
}

impl Place {
    pub(crate) fn new(base: Folder) -> Self {
        Self { base, last: None, links: BTreeMap::new(), modes: Vec::new() }
    }

    /// The open folder that an entry goes into, and the entry's own name.
    fn parent<'a>(&mut self, path: &'a EntryPath) -> Result<(&Folder, &'a OsStr), PlaceError> {
        let (names, name) = path.split().ok_or(PlaceError::IsFolder)?;
        if self.last.as_ref().is_none_or(|(last, _)| last != names) {
            let folder = self.base.walk(names.iter().map(OsString::as_os_str), true)?;
            self.last = Some((names.to_vec(), folder));
        }
        let folder = self.last.as_ref().map_or(&self.base, |(_, folder)| folder);
        Ok((folder, name))
    }

    fn place_folder(&mut self, path: &EntryPath) -> Result<bool, PlaceError> {
        let (parent, name) = match self.parent(path) {
            // The folder itself: it is there.
            Err(PlaceError::IsFolder) => return Ok(false),
            parent => parent?,
        };
        match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            // Opening it says whether it is a folder, or a link to one that we may follow.
            Err(Errno::EEXIST) => {
                self.base.walk(path.names(), false)?;
                Ok(false)
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    fn place_file(
        &mut self,
        path: &EntryPath,
        about: About,
        contents: &mut dyn Read,
    ) -> Result<(), PlaceError> {
        let (parent, name) = self.parent(path)?;
        clear(parent, name)?;
        let mut file = files::create(parent, name, 0o600)?;
        io::copy(contents, &mut file)?;
        fchmod(&file, Mode::from_bits_truncate(about.mode & 0o777)).map_err(io::Error::from)?;
        if let Some(seconds) = about.modified {
            // A time that the file system cannot hold is not worth a failure.
            let time = TimeSpec::new(seconds, 0);
            let _ = futimens(file.as_fd(), &time, &time);
        }
        Ok(())
    }

    fn place_hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), PlaceError> {
        let (names, name) = existing.split().ok_or(PlaceError::LinkTarget)?;
        let from = self.base.walk(names.iter().map(OsString::as_os_str), false)?;
        let stat = fstatat(&from, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(PlaceError::LinkTarget);
        }
        let (parent, own) = self.parent(path)?;
        if path == existing {
            return Ok(());
        }
        clear(parent, own)?;
        linkat(&from, name, parent, own, AtFlags::empty()).map_err(io::Error::from)?;
        Ok(())
    }

    fn place_symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), PlaceError> {
        let (parent, name) = self.parent(path)?;
        clear(parent, name)?;
        symlinkat(OsStr::from_bytes(target), parent, name).map_err(io::Error::from)?;
        Ok(())
    }

    fn set_mode(&mut self, path: &EntryPath, mode: u32) -> Result<(), PlaceError> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty()).map_err(io::Error::from)?;
        fchmod(&folder, Mode::from_bits_truncate(mode & 0o777 | 0o700)).map_err(io::Error::from)?;
        Ok(())
    }
}

/// Makes room for a file or link. Nothing is replaced through a link, and a folder is not replaced at all.
fn clear(parent: &Folder, name: &OsStr) -> Result<(), PlaceError> {
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(()),
        Ok(stat) if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
            Err(PlaceError::IsFolder)
        }
        Ok(_) => Ok(files::remove(parent, name)?),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

impl Sink for Place {
    fn folder(&mut self, path: &EntryPath, mode: u32) -> Result<(), ArchiveError> {
        self.links.remove(path);
        if self.place_folder(path).map_err(|error| path.failed(error))? {
            self.modes.push((path.clone(), mode));
        }
        Ok(())
    }

    fn file(&mut self, path: &EntryPath, about: About, contents: &mut dyn Read) -> Result<(), ArchiveError> {
        // The last entry of a name is the one that counts.
        self.links.remove(path);
        self.place_file(path, about, contents).map_err(|error| match error {
            // A limit that was met while reading is told as that.
            PlaceError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<ArchiveError>()) => {
                error.downcast::<ArchiveError>().unwrap_or_else(ArchiveError::Read)
            }
            error => path.failed(error),
        })
    }

    fn symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), ArchiveError> {
        if target.is_empty() || target.contains(&0) || target.len() >= 4096 {
            return Err(path.failed(PlaceError::LinkTarget));
        }
        self.links.insert(path.clone(), target.to_vec());
        Ok(())
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), ArchiveError> {
        // A second name of a symbolic link is another link to the same.
        if let Some(target) = self.links.get(existing).cloned() {
            return self.symbolic_link(path, &target);
        }
        self.links.remove(path);
        self.place_hard_link(path, existing).map_err(|error| path.failed(error))
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        for (path, mode) in std::mem::take(&mut self.modes).into_iter().rev() {
            self.set_mode(&path, mode).map_err(|error| path.failed(error))?;
        }
        for (path, target) in std::mem::take(&mut self.links) {
            self.place_symbolic_link(&path, &target).map_err(|error| path.failed(error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
