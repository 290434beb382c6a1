//! What only the kernel's own interface can do.
#![expect(unsafe_code, reason = "signals, the controlling terminal and its size have no safe interface")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use tokio::io::unix::AsyncFd;

/// Undoes what process 1 has done with signals, for this process and so for what it starts. A broken pipe stays an
/// error instead of an end.
pub(crate) fn plain_signals() {
    for kind in
        Signal::iterator().filter(|kind| !matches!(kind, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE))
    {
        // SAFETY: the default action runs no code of this program.
        let _ = unsafe { signal(kind, SigHandler::SigDfl) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives the process of `command` a session of its own; with `terminal`, standard input becomes its terminal.
pub(crate) fn own_session(command: &mut Command, terminal: bool) {
    let prepare = move || {
        nix::unistd::setsid()?;
        if terminal {
            // SAFETY: an ioctl on a descriptor that is open here, with a number as its argument.
            nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(prepare) };
}

/// Sets the size of a terminal; its foreground processes are told by the kernel.
pub(crate) fn resize(terminal: &impl AsFd, size: &libc::winsize) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel only reads the structure.
    let done =
        unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
    nix::errno::Errno::result(done).map(drop).map_err(io::Error::from)
}

/// Tells the runtime to look at a descriptor.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and nothing here replaces it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
