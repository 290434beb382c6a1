//! The lock that `passwd`, `useradd` and the C library take before they change the files of accounts.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};

use testyard_fetch::backoff::{Backoff, pause};

/// The lock; let go of when dropped.
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it lets go of the lock")] File);

impl Lock {
    /// Takes it. Somebody in the node who never lets go of it keeps nobody out: after a second we go on without.
    pub(crate) fn take(root: &Path) -> Option<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(root.join("etc/.pwd.lock"))
            .ok()?;
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(160));
        for _ in 0..9 {
            if fcntl(&file, FcntlArg::F_SETLK(&whole)).is_ok() {
                return Some(Self(file));
            }
            pause(backoff.step());
        }
        None
    }
}
