//! A slice's fabric namespace: where the halves of its links meet. It is kept by a file that it is mounted on, so it outlives
//! us; what is in it ends with it.
//!
//! ```text
//! RUN/links/INSTANCE/SLICE/netns      the namespace
//! RUN/links/INSTANCE/SLICE/wire       the control socket of its wire, where there is one
//! RUN/links/INSTANCE/SLICE/wire.log   what that says
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, fstatfs};
use testyard_model::id::{Instance, SliceId};

use crate::FabricError;
use crate::linux::namespace;
use crate::linux::settings::Settings;

/// `NSFS_MAGIC` of linux/magic.h.
const NAMESPACE_FILE: FsType = FsType(0x6e73_6673);

/// The folders of one testbed's slices.
#[derive(Clone, Debug)]
pub(super) struct Spaces {
    folder: PathBuf,
}

/// A slice's folder.
#[derive(Clone, Debug)]
pub(super) struct Space {
    folder: PathBuf,
}

impl Spaces {
    /// Those of one testbed: its mark is in the path, which whoever looks for leftovers sees in mounts and processes.
    pub(super) fn new(run: &Path, instance: &Instance) -> Self {
        Self { folder: run.join("links").join(instance.as_str()) }
    }

    pub(super) fn of(&self, slice: SliceId) -> Space {
        Space { folder: self.folder.join(slice.to_string()) }
    }

    /// Slices that have a folder.
    pub(super) fn all(&self) -> Result<Vec<SliceId>, FabricError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("listing links in", &self.folder, &error)),
        };
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    }
}

impl Space {
    pub(super) fn netns(&self) -> PathBuf {
        self.folder.join("netns")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("wire")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("wire.log")
    }

    /// Opens the namespace if it is there.
    pub(super) fn open(&self) -> Result<Option<File>, FabricError> {
        let path = self.netns();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening", &path, &error)),
        };
        // The file alone is what is left after a reboot, or after an end between making and mounting.
        let is_mounted = fstatfs(file.as_fd()).is_ok_and(|stat| stat.filesystem_type() == NAMESPACE_FILE);
        Ok(is_mounted.then_some(file))
    }

    /// Opens the namespace, made if it is not there, and says whether it was. The calling thread stays in its own.
    pub(super) fn ensure(&self) -> Result<(File, bool), FabricError> {
        if let Some(file) = self.open()? {
            return Ok((file, false));
        }
        let path = self.netns();
        let mistake = |error: io::Error| failed("making the network namespace", &path, &error);
        fs::create_dir_all(&self.folder).map_err(mistake)?;
        OpenOptions::new().create(true).append(true).open(&path).map_err(mistake)?;
        let made = namespace::apart(|| {
            quiet()?;
            let own = Path::new("/proc/thread-self/ns/net");
            Ok(mount(Some(own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
        });
        made.flatten().map_err(mistake)?;
        let made =
            self.open()?.ok_or_else(|| mistake(io::Error::other("it is not there after it was mounted")))?;
        Ok((made, true))
    }

    /// Removes the namespace with everything in it, and the folder.
    pub(super) fn remove(&self) -> Result<(), FabricError> {
        let path = self.netns();
        loop {
            match umount2(&path, MntFlags::MNT_DETACH) {
                // There may be several, one on the other.
                Ok(()) => {}
                Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => break,
                Err(errno) => return Err(failed("removing the network namespace", &path, &errno.into())),
            }
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("removing", &self.folder, &error))
            }
            _ => Ok(()),
        }
    }
}

/// The namespace's own stack has no part in links: it says nothing on them, and no rule of its own looks at their frames.
fn quiet() -> io::Result<()> {
    let settings = Settings::here();
    for (setting, value) in [
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ] {
        match settings.write(setting, value) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn failed(action: &str, path: &Path, error: &io::Error) -> FabricError {
    FabricError::Kernel { action: format!("{action} {}", path.display()), detail: error.to_string() }
}
