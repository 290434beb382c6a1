//! From root to the user: for a moment to read the user's files, and for good once a key has been accepted.

use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setegid, seteuid, setgroups, setresgid, setresuid};

use crate::settings::Account;

/// More than this is no list of keys.
const KEYS: u64 = 1 << 20;

/// Becomes `account` for good; nothing of root is left in this process.
///
/// # Errors
/// If any step fails, or if root could be had again: the process must end then.
pub(crate) fn become_user(account: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    if geteuid().is_root() {
        setgroups(&groups(account))?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    let now = nix::unistd::getresuid()?;
    let kept = [now.real, now.effective, now.saved].iter().all(|id| *id == uid);
    let back = !uid.is_root()
        && (setresuid(Uid::from_raw(u32::MAX), Uid::from_raw(0), Uid::from_raw(u32::MAX)).is_ok()
            || setgroups(&[]).is_ok());
    if !kept || back {
        return Err(io::Error::other("the user's identity did not take hold"));
    }
    // Other processes of the user cannot look into this one, which holds the host's keys.
    nix::sys::prctl::set_dumpable(false)?;
    Ok(())
}

fn groups(account: &Account) -> Vec<Gid> {
    let mut groups = vec![Gid::from_raw(account.gid)];
    groups
        .extend(account.groups.iter().copied().map(Gid::from_raw).filter(|gid| gid.as_raw() != account.gid));
    groups
}

/// The user's own ~/.ssh/authorized_keys, read as the user. Empty where there is none, or where others than the user
/// and root could have written it.
pub(crate) fn own_keys(account: &Account) -> Vec<u8> {
    if !geteuid().is_root() || account.uid == 0 {
        return read_keys(account).unwrap_or_default();
    }
    let (Ok(groups_before), gid_before) = (getgroups(), getegid()) else { return Vec::new() };
    let borrowed = || -> nix::Result<()> {
        setgroups(&groups(account))?;
        setegid(Gid::from_raw(account.gid))?;
        seteuid(Uid::from_raw(account.uid))
    };
    let text = match borrowed() {
        Ok(()) => read_keys(account).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let returned = || -> nix::Result<()> {
        seteuid(Uid::from_raw(0))?;
        setegid(gid_before)?;
        setgroups(&groups_before)
    };
    if returned().is_err() {
        // Neither root nor the user: nothing that follows could be trusted.
        std::process::abort();
    }
    text
}

fn read_keys(account: &Account) -> io::Result<Vec<u8>> {
    let folder = account.home.join(".ssh");
    for path in [account.home.as_path(), &folder] {
        trusted(path.metadata()?, account, path)?;
    }
    let path = folder.join("authorized_keys");
    let flags = (nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY).bits();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(&path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    trusted(found, account, &path)?;
    let mut text = Vec::new();
    file.take(KEYS).read_to_end(&mut text)?;
    Ok(text)
}

fn trusted(found: std::fs::Metadata, account: &Account, path: &Path) -> io::Result<()> {
    if (found.uid() == account.uid || found.uid() == 0) && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} can be written by others", path.display())))
}
