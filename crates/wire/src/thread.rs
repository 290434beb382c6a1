//! What a thread of a wire is and may: calls of the kernel for which there is no safe wrapper.
#![allow(unsafe_code, reason = "scheduling and capabilities have no safe wrapper")]

use std::io;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The calling thread runs before all ordinary ones.
pub(crate) fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // A child, if there ever is one, is ordinary again.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: a plain call with a live structure.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}

/// `CAP_NET_ADMIN`: large socket buffers.
pub(crate) const NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`: packet sockets.
pub(crate) const NET_RAW: u32 = 13;
/// `CAP_SYS_NICE`: real time.
pub(crate) const SYS_NICE: u32 = 23;

/// The calling thread, and those that it will start, keep only these capabilities, and never get others.
pub(crate) fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: plain calls; the structures are the kernel's, version 3, and live through the calls.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        let mut header = Header { version: VERSION_3, pid: 0 };
        let mut sets = [Sets::default(); 2];
        if libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mask = kept.iter().fold(0, |mask, capability| mask | 1 << capability);
        let only =
            Sets { effective: sets[0].permitted & mask, permitted: sets[0].permitted & mask, inheritable: 0 };
        if libc::syscall(libc::SYS_capset, &raw mut header, [only, Sets::default()].as_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
