//! Folders found step by step: a path is opened one name at a time, and each symbolic link on the way is looked at
//! before it is followed.
//!
//! A link is followed if root owns it (so no user can have put it there) and as long as it stays beneath the folder
//! where the walk began. The images' own `/bin -> usr/bin` works; a link that a user or an archive has laid does not.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

/// Why a folder was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error("{0:?} is a symbolic link that leads out of the folder")]
    Escapes(OsString),
    #[error("{0:?} is a symbolic link that a user has made")]
    UsersLink(OsString),
    #[error("{0:?} is not a folder")]
    NotAFolder(OsString),
    #[error("too many symbolic links")]
    Links,
    #[error("cannot open {0:?}")]
    Io(OsString, #[source] io::Error),
}

const MAX_LINKS: usize = 40;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    /// Absolute links lead back to it rather than out of it.
    is_root: bool,
}

impl Folder {
    /// Everybody may put something in, and only who has put it there may take it away, as in `/tmp`.
    pub(crate) fn open_to_all(&self) -> io::Result<()> {
        Ok(nix::sys::stat::fchmod(&self.fd, Mode::from_bits_truncate(0o1777))?)
    }

    /// Where all absolute paths begin.
    pub(crate) fn root(path: &Path) -> io::Result<Self> {
        let fd = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd, is_root: true })
    }

    /// The folder beneath this one that `path` names; absolute paths begin here as well. Missing folders are made with
    /// mode 0755 if `make` says so.
    pub(crate) fn walk<'a>(
        &self,
        path: impl IntoIterator<Item = &'a OsStr>,
        make: bool,
    ) -> Result<Self, WalkError> {
        let dot = OsStr::new(".");
        let io_error = |name: &OsStr| {
            let name = name.to_owned();
            move |errno: Errno| WalkError::Io(name, errno.into())
        };
        let path_flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut ahead: VecDeque<OsString> = path.into_iter().map(OsStr::to_owned).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                if way.pop().is_none() && !self.is_root {
                    return Err(WalkError::Escapes(name));
                }
                continue;
            }
            let here = way.last().map_or(self.fd.as_fd(), AsFd::as_fd);
            let next = match openat(here, name.as_os_str(), path_flags, Mode::empty()) {
                Err(Errno::ENOENT) if make => {
                    match mkdirat(here, name.as_os_str(), Mode::from_bits_truncate(0o755)) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(io_error(&name)(error)),
                    }
                    openat(here, name.as_os_str(), path_flags, Mode::empty())
                }
                result => result,
            }
            .map_err(io_error(&name))?;
            let stat = fstat(next.as_fd()).map_err(io_error(&name))?;
            let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
            if kind == SFlag::S_IFDIR {
                way.push(next);
            } else if kind == SFlag::S_IFLNK {
                links += 1;
                if links > MAX_LINKS {
                    return Err(WalkError::Links);
                }
                if stat.st_uid != 0 {
                    return Err(WalkError::UsersLink(name));
                }
                let target = readlinkat(next.as_fd(), OsStr::new("")).map_err(io_error(&name))?;
                if target.as_bytes().starts_with(b"/") {
                    if !self.is_root {
                        return Err(WalkError::Escapes(name));
                    }
                    way.clear();
                }
                for step in names(Path::new(&target)).into_iter().rev() {
                    ahead.push_front(step.to_owned());
                }
            } else {
                return Err(WalkError::NotAFolder(name));
            }
        }
        let end = way.last().map_or(self.fd.as_fd(), AsFd::as_fd);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(end, dot, flags, Mode::empty()).map_err(io_error(dot))?;
        Ok(Self { fd, is_root: self.is_root && way.is_empty() })
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The names of a path in their order, `..` among them, without `/` and `.`.
pub(crate) fn names(path: &Path) -> Vec<&OsStr> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(OsStr::new("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn walk(root: &Folder, path: &str, make: bool) -> Result<Folder, WalkError> {
        root.walk(names(Path::new(path)), make)
    }

    #[test]
    fn links_are_followed_while_they_stay_inside() {
        let tree = tempfile::tempdir().unwrap();
        let root = Folder::root(tree.path()).unwrap();
        walk(&root, "/usr/bin", true).unwrap();
        symlink("usr/bin", tree.path().join("bin")).unwrap();
        symlink("/usr", tree.path().join("absolute")).unwrap();
        symlink("../../..", tree.path().join("usr/up")).unwrap();
        symlink("loop", tree.path().join("loop")).unwrap();
        fs::write(tree.path().join("file"), "").unwrap();
        walk(&root, "/bin/deeper", true).unwrap();
        assert!(tree.path().join("usr/bin/deeper").is_dir());
        // Absolute links and too many `..` end at the root, as they do for every program in the node.
        walk(&root, "absolute/bin", false).unwrap();
        walk(&root, "usr/up/usr", false).unwrap();
        assert!(matches!(walk(&root, "loop", false), Err(WalkError::Links)));
        assert!(matches!(walk(&root, "file/x", true), Err(WalkError::NotAFolder(_))));
        assert!(matches!(walk(&root, "none", false), Err(WalkError::Io(..))));

        let inner = walk(&root, "usr", false).unwrap();
        symlink("/etc", tree.path().join("usr/etc")).unwrap();
        symlink("..", tree.path().join("usr/out")).unwrap();
        symlink("bin/..", tree.path().join("usr/in")).unwrap();
        assert!(matches!(walk(&inner, "etc", true), Err(WalkError::Escapes(_))));
        assert!(matches!(walk(&inner, "out/x", true), Err(WalkError::Escapes(_))));
        assert!(matches!(walk(&inner, "../x", true), Err(WalkError::Escapes(_))));
        walk(&inner, "in/bin", false).unwrap();
        assert!(!tree.path().join("x").exists());
    }

    #[test]
    fn links_of_users_are_not_followed() {
        let tree = tempfile::tempdir().unwrap();
        symlink("/etc", tree.path().join("www")).unwrap();
        let owner = std::os::unix::fs::lchown(tree.path().join("www"), Some(1234), None);
        owner.expect("NEEDS root: this test gives a file to another user");
        let root = Folder::root(tree.path()).unwrap();
        assert!(matches!(walk(&root, "www", true), Err(WalkError::UsersLink(_))));
    }
}
