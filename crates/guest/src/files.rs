//! Files that root writes: whole or not at all, and never through what a user has put in their place.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}")]
pub(crate) struct FileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { what, path: path.into(), source: source.into() }
    }
}

/// The largest file of the image that the guest reads whole.
const MAX_SYSTEM_FILE: u64 = 16 << 20;

/// Opens a file of the image for reading. Whatever else is in its place is an error: opening a pipe would wait for a
/// writer, who may never come.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file; put one in its place, or remove it"))
    }
}

/// The contents of a file of the image, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("read", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SYSTEM_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::new("read", path, error))?;
    if bytes.len() as u64 > MAX_SYSTEM_FILE {
        let most = MAX_SYSTEM_FILE >> 20;
        let text = format!("it has more than the {most} MiB that are read; make it smaller");
        return Err(FileError::new("read", path, io::Error::other(text)));
    }
    Ok(Some(bytes))
}

/// Gives a file of the system these contents, by a rename, so that a reader sees the old or the new ones. Makes its
/// folder where it is missing. An existing file keeps its owner; it keeps its mode too unless `mode` is given. Says
/// whether anything has changed.
///
/// Only for folders that belong to root: in those of users use [`place`].
pub(crate) fn replace(path: &Path, contents: &[u8], mode: Option<u32>) -> Result<bool, FileError> {
    let fail = |what| move |error: io::Error| FileError::new(what, path, error);
    // A link here is the image's own; what it points to is what programs read.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = fs::metadata(&path).ok();
    if let Some(old) = &old
        && mode.is_none_or(|mode| old.permissions().mode() & 0o7777 == mode)
        && read(&path)?.as_deref() == Some(contents)
    {
        return Ok(false);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|error| FileError::new("make the folder", parent, error))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("file")));
    name.push(".testyard");
    let draft = parent.join(name);
    let _ = fs::remove_file(&draft);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&draft)?;
        file.write_all(contents)?;
        if let Some(old) = &old {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        let kept = old.as_ref().map(|old| old.permissions().mode() & 0o7777);
        file.set_permissions(fs::Permissions::from_mode(mode.or(kept).unwrap_or(0o644)))?;
        fs::rename(&draft, &path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&draft);
        fail("write")(error)
    })?;
    Ok(true)
}

/// Gives a file these contents without replacing it: the engine mounts some files over the image's, and a mounted file
/// cannot be renamed over.
pub(crate) fn rewrite(path: &Path, contents: &[u8]) -> Result<bool, FileError> {
    if read(path)?.as_deref() == Some(contents) {
        return Ok(false);
    }
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Written first, cut afterwards: at no time is the file empty.
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path)?;
        file.write_all(contents)?;
        file.set_len(contents.len() as u64)
    };
    write().map_err(|error| FileError::new("write", path, error))?;
    Ok(true)
}

/// Makes a file in a folder that users may write to: whatever stands under that name is removed first, nothing is
/// followed, and the new file is ours alone until its name is known.
pub(crate) fn create(folder: impl AsFd, name: &OsStr, mode: u32) -> io::Result<File> {
    for _ in 0..8 {
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_EXCL
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC
            | OFlag::O_NOCTTY;
        match openat(folder.as_fd(), name, flags, Mode::from_bits_truncate(mode)) {
            Ok(file) => return Ok(File::from(file)),
            Err(Errno::EEXIST) => remove(folder.as_fd(), name)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("somebody keeps making a file of this name"))
}

/// Removes a file, a link or an empty folder; it is no error if there is none.
pub(crate) fn remove(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    let result = match unlinkat(folder.as_fd(), name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => unlinkat(folder.as_fd(), name, UnlinkatFlags::RemoveDir),
        result => result,
    };
    match result {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives a user's file exactly these contents: a draft beside it, owned by the user, renamed over it.
pub(crate) fn place(
    folder: impl AsFd,
    name: &OsStr,
    contents: &[u8],
    mode: u32,
    owner: (u32, u32),
) -> io::Result<()> {
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(".testyard");
    let mut file = create(folder.as_fd(), &draft, 0o600)?;
    file.write_all(contents)?;
    fchown(&file, Some(owner.0), Some(owner.1))?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    renameat(folder.as_fd(), draft.as_os_str(), folder.as_fd(), name)?;
    Ok(())
}

/// Opens a file for appending that only root can have made: another one is removed first.
pub(crate) fn append(folder: impl AsFd, name: &OsStr, mode: u32) -> io::Result<File> {
    let ours = fstatat(folder.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
            && stat.st_uid == 0
            && stat.st_nlink == 1
    });
    if !ours {
        return create(folder, name, mode);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(openat(folder.as_fd(), name, flags, Mode::empty())?);
    let found = file.metadata()?;
    if found.is_file() && found.uid() == 0 && found.nlink() == 1 {
        Ok(file)
    } else {
        create(folder, name, mode)
    }
}

/// /tmp, made where it is missing, sticky where everybody may write to it: what root puts there must stay root's.
pub(crate) fn tmp_folder(root: &Path) -> Result<OwnedFd, FileError> {
    let path = root.join("tmp");
    let open = || -> io::Result<OwnedFd> {
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))?;
        }
        let folder: OwnedFd = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(&path)?
            .into();
        let mode = fstat(folder.as_fd())?.st_mode;
        if mode & 0o1002 == 0o0002 {
            fchmod(folder.as_fd(), Mode::from_bits_truncate(mode & 0o777 | 0o1000))?;
        }
        Ok(folder)
    };
    open().map_err(|error| FileError::new("use", path.clone(), error))
}

/// Sees to it that files reach the disk, off the path of whoever waits for them.
pub(crate) fn sync_later(paths: Vec<PathBuf>) {
    if paths.is_empty() {
        return;
    }
    let _ = std::thread::Builder::new().name("sync".into()).stack_size(64 << 10).spawn(move || {
        for path in paths {
            let _ = open(&path).and_then(|file| file.sync_data());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn replacing_says_what_changed_and_keeps_the_mode() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("etc/passwd");
        assert!(replace(&path, b"one", Some(0o640)).unwrap());
        assert!(!replace(&path, b"one", None).unwrap());
        assert!(replace(&path, b"two", None).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(home.path().join("etc")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("passwd");
        nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap();
        for result in
            [read(&path).map(drop), rewrite(&path, b"x").map(drop), replace(&path, b"x", None).map(drop)]
        {
            let told = crate::text::chain(&result.unwrap_err());
            assert!(told.contains("passwd: it is not a regular file"), "{told}");
        }
        assert!(read(home.path()).is_err());
        fs::remove_file(&path).unwrap();
        File::create(&path).unwrap().set_len(MAX_SYSTEM_FILE + 1).unwrap();
        let told = crate::text::chain(&read(&path).unwrap_err());
        assert!(told.contains("more than the 16 MiB") && told.contains("make it smaller"), "{told}");
        File::create(&path).unwrap().set_len(MAX_SYSTEM_FILE).unwrap();
        assert!(read(&path).is_ok());
    }

    #[test]
    fn rewriting_keeps_the_file_itself() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("hosts");
        fs::write(&path, "a long old text").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        assert!(rewrite(&path, b"new").unwrap());
        assert!(!rewrite(&path, b"new").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn nothing_is_written_through_what_stands_there() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let me = fs::metadata(&victim).unwrap();
        let (uid, gid) = (me.uid(), me.gid());
        symlink(&victim, home.path().join("link")).unwrap();
        fs::hard_link(&victim, home.path().join("hard")).unwrap();
        fs::create_dir(home.path().join("folder")).unwrap();
        for name in ["link", "hard", "folder", "none"] {
            create(folder(home.path()), OsStr::new(name), 0o600).unwrap().write_all(b"x").unwrap();
            append(folder(home.path()), OsStr::new(name), 0o600).unwrap().write_all(b"y").unwrap();
        }
        symlink(&victim, home.path().join("keys")).unwrap();
        place(folder(home.path()), OsStr::new("keys"), b"key", 0o600, (uid, gid)).unwrap();
        assert_eq!(fs::read(home.path().join("keys")).unwrap(), b"key");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn an_open_tmp_becomes_sticky() {
        let root = tempfile::tempdir().unwrap();
        tmp_folder(root.path()).unwrap();
        let path = root.path().join("tmp");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o1777);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        tmp_folder(root.path()).unwrap();
        assert_eq!(mode(), 0o1777);
    }
}
