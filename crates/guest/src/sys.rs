//! The calls that the compiler cannot check: all `unsafe` of the guest.
#![expect(
    unsafe_code,
    reason = "the kernel's interface: between fork and exec, real-time signals, the allocator"
)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgid, setgroups, setsid, setuid};

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// Gives signals their default meaning, whatever whoever started us made of them. Children inherit what is ignored, and a
/// shell can never trap it again. Not those that Rust's own runtime handles, and gives back to children.
pub(crate) fn default_signals() {
    use Signal::{SIGBUS, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP};
    let own = [SIGKILL, SIGSTOP, SIGPIPE, SIGSEGV, SIGBUS];
    for number in Signal::iterator().filter(|number| !own.contains(number)) {
        // SAFETY: no handler is set, so none can do what a handler must not.
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
}

/// By how many thousandths of the memory a process of the node counts as larger than the guest when memory runs out. With
/// the same score the kernel ends process 1, and so the node, as soon as it is the largest of many small ones.
const SOONER: i32 = 300;

const OOM_SCORE: &std::ffi::CStr = c"/proc/self/oom_score_adj";

/// The score that processes of the node get; none where there is no /proc.
fn oom_score() -> Option<String> {
    let own: i32 = std::fs::read_to_string(OOM_SCORE.to_str().ok()?).ok()?.trim().parse().ok()?;
    Some(own.saturating_add(SOONER).min(1000).to_string())
}

/// Gives the command a session of its own, an empty signal mask, a score by which the kernel ends it before the guest
/// and, if asked, another identity.
pub(crate) fn detach(command: &mut Command, identity: Option<&Identity>) {
    let identity = identity.map(|who| {
        let mut groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
        groups.push(Gid::from_raw(who.gid));
        (Uid::from_raw(who.uid), Gid::from_raw(who.gid), groups)
    });
    let score = oom_score();
    let enter = move || -> io::Result<()> {
        if let Some(score) = &score {
            // To raise it needs no right, and the node is no worse where it cannot be done.
            if let Ok(file) = nix::fcntl::open(OOM_SCORE, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
                let _ = nix::unistd::write(&file, score.as_bytes());
            }
        }
        // Ours hold back what process 1 reads by itself; a child would never hear that it is to end.
        SigSet::empty().thread_set_mask()?;
        setsid()?;
        if let Some((uid, gid, groups)) = &identity {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec `enter` only makes system calls on memory that was laid out before the fork; it
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Sends any signal, the real-time ones too. `pid` as for kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes two integers and touches no memory.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Signalled(i32),
}

/// Collects one child that has ended, if there is one. Nix has no name for real-time signals, so this does not use it.
pub(crate) fn reap_one() -> Option<(i32, End)> {
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes one integer, which outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid > 0 && libc::WIFEXITED(status) {
            return Some((pid, End::Exited(libc::WEXITSTATUS(status))));
        } else if pid > 0 && libc::WIFSIGNALED(status) {
            return Some((pid, End::Signalled(libc::WTERMSIG(status))));
        } else if pid == 0 || (pid < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted) {
            return None;
        }
    }
}

/// One arena for all threads: each further one costs memory in every node, and nothing here contends for it.
pub(crate) fn spare_memory() {
    // SAFETY: mallopt(3) is called before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives what an install has used back to the system.
pub(crate) fn return_memory() {
    // SAFETY: malloc_trim(3) may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Whether this process has rights that its caller has not, because its file is setuid, setgid or carries capabilities.
pub(crate) fn is_setuid() -> bool {
    use nix::unistd::{getegid, geteuid, getgid, getuid};
    // SAFETY: getauxval(3) only reads what the kernel laid down when the program began.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    // Where the engine confines nodes, process 1 is begun in this mode too, by no user.
    getuid() != geteuid() || getgid() != getegid() || (secure && std::process::id() != 1)
}

/// Sees to it that no descriptor from `first` on outlives an exec.
pub(crate) fn close_on_exec(first: u32) {
    // SAFETY: close_range(2) takes three integers; with this flag it closes nothing now.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return;
    }
    // A kernel before 5.11.
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| u32::try_from(*number).is_ok_and(|n| n >= first)) {
        // SAFETY: fcntl(2) with F_SETFD takes integers and touches no memory.
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// Keeps an open file under this number, in the place of what has had the number.
pub(crate) fn keep_as(file: &impl std::os::fd::AsRawFd, number: i32) -> io::Result<()> {
    // SAFETY: dup3(2) takes integers; nothing else in this process owns the number.
    if unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
