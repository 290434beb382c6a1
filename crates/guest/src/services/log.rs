//! The files that tell how a service went, named as docker-am's users know them: in /tmp, or where that cannot be
//! written in a folder of ours in memory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::renameat;
use nix::sys::stat::fstat;

use crate::files;
use crate::walk::{Folder, names};

/// Where the files go if /tmp takes none: the root is read-only, or the disk is full.
const ELSEWHERE: [&str; 2] = ["/run/testyard", "/dev/shm/testyard"];

/// What a folder must have room for: a page, so that a full disk shows.
const PROBE: [u8; 4096] = [0; 4096];

/// Why a service has no files.
#[derive(Debug, thiserror::Error)]
#[error("there is no folder for its files: /tmp cannot be written, and neither can {}", ELSEWHERE.join(" or "))]
pub(crate) struct NoFolder(#[source] io::Error);

/// The files of one service.
#[derive(Clone)]
pub(crate) struct Files {
    folder: Arc<OwnedFd>,
    name: &'static str,
    stem: String,
}

impl Files {
    /// `stem` is `install-1`, `startup-1` or `program-NAME`.
    pub(crate) fn new(root: &Path, stem: String) -> Result<Self, NoFolder> {
        let make = |name, folder: OwnedFd| {
            let files = Self { folder: Arc::new(folder), name, stem: stem.clone() };
            files.probe().map(|()| files)
        };
        let tmp = files::tmp_folder(root).map_err(io::Error::other).and_then(|folder| make("/tmp", folder));
        tmp.or_else(|error| {
            let own = |name: &&'static str| own_folder(root, name).and_then(|folder| make(name, folder)).ok();
            ELSEWHERE.iter().find_map(own).ok_or(NoFolder(error))
        })
    }

    fn probe(&self) -> io::Result<()> {
        let probed = self.create("probe", 0o600).and_then(|mut file| file.write_all(&PROBE));
        let removed = self.remove("probe");
        probed.and(removed)
    }

    /// The folder, if it is not /tmp; else empty.
    pub(crate) fn elsewhere(&self) -> &'static str {
        if self.name == "/tmp" { "" } else { self.name }
    }

    /// `<stem>.<extension>` with its folder, as a program in the node names it.
    pub(crate) fn path(&self, extension: &str) -> String {
        format!("{}/{}.{extension}", self.name, self.stem)
    }

    /// The files without their extensions, as a program in the node names them.
    pub(crate) fn base(&self) -> String {
        format!("{}/{}", self.name, self.stem)
    }

    fn file(&self, extension: &str) -> String {
        format!("{}.{extension}", self.stem)
    }

    /// Makes `<stem>.<extension>` anew.
    pub(crate) fn create(&self, extension: &str, mode: u32) -> io::Result<File> {
        files::create(&self.folder, OsStr::new(&self.file(extension)), mode)
    }

    pub(crate) fn remove(&self, extension: &str) -> io::Result<()> {
        files::remove(&self.folder, OsStr::new(&self.file(extension)))
    }

    /// Gives a file another extension; what has that one already goes away.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.remove(to)?;
        let (from, to) = (self.file(from), self.file(to));
        Ok(renameat(&self.folder, from.as_str(), &self.folder, to.as_str())?)
    }

    /// Writes the status file.
    pub(crate) fn status(&self, status: i32) -> io::Result<()> {
        self.create("status", 0o644)?.write_all(format!("{status}\n").as_bytes())
    }

    /// Adds a line to the log of all commands.
    pub(crate) fn log(&self, line: &str) -> io::Result<()> {
        let mut file = files::append(&self.folder, OsStr::new("execute.log"), 0o644)?;
        file.write_all(format!("{}: {line}\n", self.stem).as_bytes())
    }
}

/// A folder that only root can have made and can write to; users may read it.
fn own_folder(root: &Path, name: &str) -> io::Result<OwnedFd> {
    let folder = Folder::root(root)?.walk(names(Path::new(name)), true).map_err(io::Error::other)?;
    let folder = folder.as_fd().try_clone_to_owned()?;
    let stat = fstat(&folder)?;
    if stat.st_uid == 0 && stat.st_mode & 0o022 == 0 {
        Ok(folder)
    } else {
        Err(io::Error::other(format!("{name} belongs to somebody else")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_tmp_that_takes_nothing_is_gone_around() {
        testyard_testkit::needs::root();
        let root = tempfile::tempdir().unwrap();
        // A file in its place is as good as a read-only one, and works for root too.
        fs::write(root.path().join("tmp"), "").unwrap();
        let files = Files::new(root.path(), "startup-1".into()).unwrap();
        assert_eq!(
            (files.elsewhere(), files.path("txt").as_str()),
            ("/run/testyard", "/run/testyard/startup-1.txt")
        );
        files.status(3).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("run/testyard/startup-1.status")).unwrap(), "3\n");
        assert_eq!(fs::read_dir(root.path().join("run/testyard")).unwrap().count(), 1);

        // One that others can write to is not used.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(root.path().join("run/testyard"), open).unwrap();
        assert_eq!(Files::new(root.path(), "startup-1".into()).unwrap().elsewhere(), "/dev/shm/testyard");

        fs::remove_dir_all(root.path().join("dev")).unwrap();
        fs::write(root.path().join("dev"), "").unwrap();
        let told = crate::text::chain(&Files::new(root.path(), "startup-1".into()).err().unwrap());
        assert!(told.contains("/tmp cannot be written") && told.contains("/dev/shm/testyard"), "{told}");

        fs::remove_file(root.path().join("tmp")).unwrap();
        assert_eq!(Files::new(root.path(), "startup-1".into()).unwrap().elsewhere(), "");
    }
}
