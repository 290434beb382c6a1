//! The kernel's calls for which there is no safe wrapper: packet sockets with offload headers in batches, and what a
//! thread gives up.
#![allow(unsafe_code, reason = "packet sockets in batches, scheduling and capabilities have no safe wrapper")]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::frame::{LONGEST, ROOM};

/// Frames that are taken or given in one call.
pub(crate) const BATCH: usize = 16;
/// `PACKET_IGNORE_OUTGOING`: what we send is not what we receive.
const IGNORE_OUTGOING: libc::c_int = 23;
/// For both directions of a socket. TCP sends windows of megabytes in frames of 64 KiB.
const SOCKET_BUFFER: libc::c_int = 16 << 20;
const CONTROL: usize = 96;

/// One received frame: in its buffer behind the room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Header and frame.
    pub(crate) length: usize,
    /// Protocol and tag that the kernel took off.
    pub(crate) vlan: Option<(u16, u16)>,
    /// When it came to the interface, by the real-time clock, in nanoseconds.
    pub(crate) came: Option<u64>,
    /// It did not fit.
    pub(crate) truncated: bool,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live integer.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// A packet socket that sees all that arrives at an interface, with offload headers and VLAN tags, and nothing else.
pub(crate) fn packet_socket(interface: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0 receives nothing until the socket is bound to its interface.
    // SAFETY: a plain call; the descriptor is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?) };
    set(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    set(&fd, libc::SOL_PACKET, IGNORE_OUTGOING, 1)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        set(&fd, libc::SOL_SOCKET, force, SOCKET_BUFFER)
            .or_else(|_| set(&fd, libc::SOL_SOCKET, plain, SOCKET_BUFFER))?;
    }
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = interface.cast_signed();
    // SAFETY: the pointer and the length are those of a live address.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check(result)?;
    Ok(fd)
}

/// Fills buffers of [`LONGEST`] bytes, as many as there are frames; what was received, in `got`.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffers: &mut [Vec<u8>],
    got: &mut Vec<Received>,
) -> io::Result<()> {
    #[repr(align(8))]
    #[derive(Clone, Copy)]
    struct Control([u8; CONTROL]);
    got.clear();
    let count = buffers.len().min(BATCH);
    let mut control = [Control([0; CONTROL]); BATCH];
    // SAFETY: all zero is valid for both.
    let (mut parts, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    for (index, buffer) in buffers.iter_mut().take(count).enumerate() {
        assert!(buffer.len() >= LONGEST, "buffers are never shortened");
        parts[index] =
            libc::iovec { iov_base: buffer[ROOM..].as_mut_ptr().cast(), iov_len: buffer.len() - ROOM };
        let header = &mut messages[index].msg_hdr;
        header.msg_iov = &raw mut parts[index];
        header.msg_iovlen = 1;
        header.msg_control = control[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
    }
    // SAFETY: the messages point to buffers and parts that outlive the call and are not touched meanwhile.
    let result = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let received = check(result)? as usize;
    got.extend(messages[..received].iter().map(|message| {
        let (vlan, came) = beside(&message.msg_hdr);
        let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        Received { length: message.msg_len as usize, vlan, came, truncated }
    }));
    Ok(())
}

/// What is beside a message: VLAN tag and time.
fn beside(header: &libc::msghdr) -> (Option<(u16, u16)>, Option<u64>) {
    let (mut vlan, mut came) = (None, None);
    // SAFETY: the kernel filled the control buffer, which is still alive and aligned, and set its length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the macros stay inside the buffer; each kind of message has the type that is read.
        unsafe {
            let data = libc::CMSG_DATA(next);
            match ((*next).cmsg_level, (*next).cmsg_type) {
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    vlan = tag(&data.cast::<libc::tpacket_auxdata>().read_unaligned());
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    came = Some(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned());
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    (vlan, came)
}

fn tag(data: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    let valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    let protocol = if data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
        data.tp_vlan_tpid
    } else {
        libc::ETH_P_8021Q as u16
    };
    valid.then_some((protocol, data.tp_vlan_tci))
}

/// Gives frames, at most [`BATCH`]. How many were taken; with none, why.
pub(crate) fn send<'a>(fd: BorrowedFd<'_>, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    // SAFETY: all zero is valid for both.
    let (mut parts, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for frame in frames.take(BATCH) {
        parts[count] = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        messages[count].msg_hdr.msg_iov = &raw mut parts[count];
        messages[count].msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the messages point to frames and parts that outlive the call; the kernel only reads the frames.
    let result = unsafe {
        libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT as _)
    };
    check(result).map(|sent| sent as usize)
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
