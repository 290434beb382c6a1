//! Texts that process 1 shows to root's processes in the node, and to nobody else.
//!
//! A text is a sealed file in memory, held by process 1 under a number that all know: `/proc/1/fd/99`. That needs no
//! folder that can be written to, nothing in the node can remove or replace it, a boot begins without the last one's,
//! and a new text takes the old one's place in one step. The kernel lets only root look at process 1's files; the
//! reader checks besides that what it found is what only process 1 can have made.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::sys;

/// Which text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text {
    /// Settings of the embedded SSH server.
    Ssh = 98,
    /// Who may become root.
    Sudo = 99,
}

const MAX: u64 = 16 << 20;

impl Text {
    /// Where root's processes find it.
    pub(crate) fn path(self) -> PathBuf {
        format!("/proc/1/fd/{}", self as i32).into()
    }

    /// Puts a new text in the place of the old one.
    pub(crate) fn publish(self, text: &[u8]) -> io::Result<()> {
        sys::keep_as(&sealed(text)?, self as i32)
    }
}

/// Keeps the numbers free for what they are for; before anything else is opened.
pub(crate) fn reserve() {
    for text in [Text::Ssh, Text::Sudo] {
        if let Err(error) = text.publish(b"") {
            crate::text::log(&format!("cannot hold a file in memory: {error}"));
        }
    }
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

fn sealed(text: &[u8]) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"testyard", flags)?);
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file)
}

/// Reads such a text: a file in memory, root's, with no other name, that nobody can change.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    let has = fcntl(&file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let good = found.is_file()
        && found.uid() == 0
        && found.nlink() == 0
        && found.mode() & 0o7777 == 0o600
        && SealFlag::from_bits_truncate(has).contains(seals());
    if !good {
        return Err(io::Error::other("it is not what process 1 of the node has made"));
    }
    let mut text = Vec::new();
    file.take(MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn only_what_is_sealed_is_read() {
        assert!(nix::unistd::geteuid().is_root(), "NEEDS root: the text is root's");
        let path = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let good = sealed(b"text").unwrap();
        assert_eq!(read(&path(&good)).unwrap(), b"text");
        // Whoever holds it can change nothing.
        assert!((&good).write_all(b"x").is_err() && good.set_len(0).is_err());

        let named = tempfile::NamedTempFile::new().unwrap();
        let unnamed = tempfile::tempfile().unwrap();
        let open = File::from(memfd_create(c"x", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        open.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        let foreign = sealed(b"").unwrap();
        std::os::unix::fs::fchown(&foreign, Some(1000), None).unwrap();
        for file in [named.as_file(), &unnamed, &open, &foreign] {
            assert!(read(&path(file)).is_err());
        }
        let link = named.path().with_extension("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(read(&link).is_err());
        std::fs::remove_file(link).unwrap();
    }
}
