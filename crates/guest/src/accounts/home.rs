//! Homes and authorized_keys.
//!
//! A home belongs to its user, who may put anything there, also between two of our calls: every step is taken from an
//! open folder, follows no link, and changes owners through descriptors only.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::symlinkat;

use super::Member;
use super::plan::{Locked, Open};
use crate::files;
use crate::walk::{Folder, WalkError, names};

/// Why a home is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error("its home {0:?} cannot be reached")]
    Way(String, #[source] WalkError),
    #[error("its home {0:?} cannot be used")]
    Home(String, #[source] io::Error),
    #[error("its .ssh/authorized_keys cannot be written")]
    Keys(#[source] io::Error),
}

/// What the image gives to new homes, at most.
const MAX_SKELETON: usize = 1000;

/// Makes the home where it is missing and puts exactly the given keys in place.
pub(crate) fn open(root: &Path, account: &Open) -> Result<(), HomeError> {
    let owner = (account.uid, account.gid);
    let home = home_folder(root, &account.home, Some(owner))?;
    let keys = || -> io::Result<()> {
        let ssh = own_folder(&home, OsStr::new(".ssh"), owner)?;
        let mut text = account.keys.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        files::place(&ssh, OsStr::new("authorized_keys"), text.as_bytes(), 0o600, owner)
    };
    keys().map_err(HomeError::Keys)
}

/// Takes the keys away; the rest of the home is kept.
pub(crate) fn lock(root: &Path, account: &Locked) -> Result<(), HomeError> {
    let home = match home_folder(root, &account.home, None) {
        Ok(home) => home,
        // No home, no keys.
        Err(HomeError::Home(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let remove = || -> io::Result<()> {
        match openat(&home, ".ssh", folder_flags(), Mode::empty()) {
            Ok(ssh) => {
                files::remove(&ssh, OsStr::new("authorized_keys"))?;
                files::remove(&ssh, OsStr::new("authorized_keys2"))
            }
            Err(Errno::ENOENT) => Ok(()),
            // Something else of that name, a link perhaps, may hold keys as well.
            Err(_) => files::remove(&home, OsStr::new(".ssh")),
        }
    };
    remove().map_err(HomeError::Keys)
}

/// What keeps a user from entering the home, though root could make it: a way through /proc, whose links only root may
/// follow, or a folder above it that is closed. Looked at from `root`, the node's `/`.
pub(crate) fn obstacle(root: &Path, member: &Member) -> Option<String> {
    let mut at = root.to_owned();
    let mut shown = PathBuf::from("/");
    let parent = Path::new(&member.home).parent()?;
    for name in names(parent) {
        at.push(name);
        shown.push(name);
        if let Ok(target) = fs::read_link(&at)
            && target.starts_with("/proc")
        {
            return Some(format!(
                "{} is a link to {}, which only root may follow",
                shown.display(),
                target.display()
            ));
        }
        let found = fs::metadata(&at).ok()?;
        let bit = if found.uid() == member.uid {
            0o100
        } else if found.gid() == member.gid || member.groups.contains(&found.gid()) {
            0o010
        } else {
            0o001
        };
        if found.mode() & bit == 0 {
            return Some(format!("the folder {} is closed to the user", shown.display()));
        }
    }
    None
}

fn folder_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// The home itself; made from the image's skeleton for `owner` if it is missing and there is one.
fn home_folder(root: &Path, home: &str, owner: Option<(u32, u32)>) -> Result<OwnedFd, HomeError> {
    let path = Path::new(home);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(HomeError::Home(home.to_owned(), io::ErrorKind::InvalidInput.into()));
    };
    let use_error = |error: io::Error| HomeError::Home(home.to_owned(), error);
    let base = Folder::root(root).map_err(use_error)?;
    let parent = match base.walk(names(parent), owner.is_some()) {
        Err(WalkError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(use_error(error));
        }
        walked => walked.map_err(|error| HomeError::Way(home.to_owned(), error))?,
    };
    let open = || -> io::Result<OwnedFd> {
        let Some(owner) = owner else { return Ok(openat(&parent, name, folder_flags(), Mode::empty())?) };
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) => {
                // Root's alone until it is complete.
                let folder = openat(&parent, name, folder_flags(), Mode::empty())?;
                let mut left = MAX_SKELETON;
                copy_skeleton(&root.join("etc/skel"), &folder, owner, &mut left)?;
                fchmod(&folder, Mode::from_bits_truncate(0o755))?;
                fchown(&folder, Some(owner.0), Some(owner.1))?;
                Ok(folder)
            }
            Err(Errno::EEXIST) => {
                let folder = openat(&parent, name, folder_flags(), Mode::empty())?;
                if fstat(&folder)?.st_uid != owner.0 {
                    fchown(&folder, Some(owner.0), Some(owner.1))?;
                }
                Ok(folder)
            }
            Err(error) => Err(error.into()),
        }
    };
    open().map_err(use_error)
}

/// A folder of the user's inside the home, private to the user. A file or link in its place is removed.
fn own_folder(home: &OwnedFd, name: &OsStr, owner: (u32, u32)) -> io::Result<OwnedFd> {
    for _ in 0..4 {
        match mkdirat(home, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match openat(home, name, folder_flags(), Mode::empty()) {
            Ok(folder) => {
                let stat = fstat(&folder)?;
                if (stat.st_uid, stat.st_gid) != owner {
                    fchown(&folder, Some(owner.0), Some(owner.1))?;
                }
                if stat.st_mode & 0o7777 != 0o700 {
                    fchmod(&folder, Mode::from_bits_truncate(0o700))?;
                }
                return Ok(folder);
            }
            Err(Errno::ELOOP | Errno::ENOTDIR | Errno::ENOENT) => files::remove(home, name)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("something else keeps coming back in its place"))
}

/// Copies the image's /etc/skel. The target is not the user's yet, so nobody changes it meanwhile.
fn copy_skeleton(from: &Path, to: &OwnedFd, owner: (u32, u32), left: &mut usize) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(_) => return Ok(()),
    };
    for entry in entries {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("/etc/skel has too many files"))?;
        if kind.is_dir() {
            mkdirat(to, name.as_os_str(), Mode::from_bits_truncate(0o700))?;
            let folder = openat(to, name.as_os_str(), folder_flags(), Mode::empty())?;
            copy_skeleton(&entry.path(), &folder, owner, left)?;
            let mode = entry.metadata()?.mode() & 0o777;
            fchmod(&folder, Mode::from_bits_truncate(mode))?;
            fchown(&folder, Some(owner.0), Some(owner.1))?;
        } else if kind.is_file() {
            let mut source = files::open(&entry.path())?;
            let mut file = files::create(to.as_fd(), &name, 0o600)?;
            io::copy(&mut source, &mut file)?;
            fchmod(&file, Mode::from_bits_truncate(entry.metadata()?.mode() & 0o777))?;
            fchown(&file, Some(owner.0), Some(owner.1))?;
        } else if kind.is_symlink() {
            symlinkat(fs::read_link(entry.path())?.as_path(), to, name.as_os_str())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    const OWNER: (u32, u32) = (1234, 1235);

    fn ann(keys: &[&str]) -> Open {
        Open {
            login: "ann".into(),
            uid: OWNER.0,
            gid: OWNER.1,
            home: "/home/ann".into(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            sudo: false,
        }
    }

    fn tree() -> tempfile::TempDir {
        assert!(nix::unistd::geteuid().is_root(), "NEEDS root: homes are given to other users");
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/skel/.config")).unwrap();
        fs::write(root.path().join("etc/skel/.profile"), "skeleton").unwrap();
        root
    }

    #[test]
    fn a_home_with_keys() {
        let root = tree();
        open(root.path(), &ann(&["k1", "k2"])).unwrap();
        let home = root.path().join("home/ann");
        for (path, mode) in [
            ("", 0o755),
            (".profile", 0o644),
            (".config", 0o755),
            (".ssh", 0o700),
            (".ssh/authorized_keys", 0o600),
        ] {
            let found = fs::metadata(home.join(path)).unwrap();
            assert_eq!(
                (found.uid(), found.gid(), found.permissions().mode() & 0o777),
                (1234, 1235, mode),
                "{path}"
            );
        }
        assert_eq!(fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap(), "k1\nk2\n");
        open(root.path(), &ann(&[])).unwrap();
        assert_eq!(fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap(), "");
        lock(root.path(), &Locked { login: "ann".into(), home: "/home/ann".into() }).unwrap();
        assert!(!home.join(".ssh/authorized_keys").exists() && home.join(".profile").exists());
    }

    #[test]
    fn root_is_not_led_elsewhere() {
        let root = tree();
        open(root.path(), &ann(&["k"])).unwrap();
        let ssh = root.path().join("home/ann/.ssh");
        let victim = root.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("authorized_keys"), "precious").unwrap();
        for locked in [false, true] {
            fs::remove_dir_all(&ssh).unwrap();
            symlink(&victim, &ssh).unwrap();
            lchown(&ssh, Some(OWNER.0), Some(OWNER.1)).unwrap();
            if locked {
                lock(root.path(), &Locked { login: "ann".into(), home: "/home/ann".into() }).unwrap();
                assert!(fs::symlink_metadata(&ssh).is_err());
            } else {
                open(root.path(), &ann(&["new"])).unwrap();
                assert_eq!(fs::read_to_string(ssh.join("authorized_keys")).unwrap(), "new\n");
            }
            assert_eq!(fs::read_to_string(victim.join("authorized_keys")).unwrap(), "precious");
            assert_eq!(fs::metadata(&victim).unwrap().uid(), 0);
        }
        // A home that is itself a link is refused.
        fs::remove_dir_all(root.path().join("home/ann")).unwrap();
        symlink(&victim, root.path().join("home/ann")).unwrap();
        assert!(matches!(open(root.path(), &ann(&["k"])), Err(HomeError::Home(..))));
        assert!(!victim.join(".ssh").exists());
    }

    #[test]
    fn a_home_that_its_user_cannot_enter_is_told() {
        let root = tempfile::tempdir().unwrap();
        let member = |home: &str| Member { uid: 1234, gid: 1235, home: home.to_owned(), ..Member::default() };
        let why = |home: &str| obstacle(root.path(), &member(home));
        for name in ["home", "shut", "own"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let mode = |name: &str, mode| {
            fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("shut", 0o700);
        mode("own", 0o700);
        lchown(root.path().join("own"), Some(1234), None).unwrap();
        symlink("/proc/1/root/etc", root.path().join("odd")).unwrap();
        assert_eq!((why("/home/ann"), why("/own/ann"), why("/ann")), (None, None, None));
        assert_eq!(why("/shut/ann").unwrap(), "the folder /shut is closed to the user");
        assert!(why("/odd/ann").unwrap().starts_with("/odd is a link to /proc/1/root/etc"));
    }
}
