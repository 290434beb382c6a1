//! Packet sockets that send whole frames and tell when some arrived.
#![expect(unsafe_code, reason = "packet sockets with filters, in batches, have no safe wrapper")]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::frame::{ETHERTYPE, LABELS, MAGIC};

/// Frames of one call.
pub(super) const BATCH: usize = 32;
/// linux/if_packet.h.
const QDISC_BYPASS: libc::c_int = 20;
const IGNORE_OUTGOING: libc::c_int = 23;
/// For what arrives while the receiver does not run: thousands of the largest frames.
const BUFFER: libc::c_int = 32 << 20;
/// A sender that nothing is taken from for so long gives the frame up.
const GIVE_UP: libc::timeval = libc::timeval { tv_sec: 1, tv_usec: 0 };
const CONTROL: usize = 64;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live value, of the type that the option has.
    let result = unsafe {
        let length = size_of_val(value) as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    check(result).map(drop)
}

/// A packet socket of the calling thread's namespace that receives nothing yet.
fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: a plain call; the descriptor is nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?)) }
}

/// Has the socket belong to an interface, which gives its Ethernet address.
fn bind(fd: &OwnedFd, index: u32, protocol: libc::c_int) -> io::Result<[u8; 6]> {
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (protocol as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointers and the length are those of a live address, which the second call fills.
    unsafe {
        check(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length))?;
        check(libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length))?;
    }
    let [a, b, c, d, e, f, ..] = address.sll_addr;
    Ok([a, b, c, d, e, f])
}

/// Sends frames from an interface.
#[derive(Debug)]
pub(super) struct Sender {
    fd: OwnedFd,
    pub(super) mac: [u8; 6],
}

impl Sender {
    /// On an interface of the calling thread's namespace. Queues that the node's user has put on it are passed by: the
    /// link is measured, not they.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let fd = open()?;
        set(&fd, libc::SOL_PACKET, QDISC_BYPASS, &1_i32)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &GIVE_UP)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &BUFFER)?;
        let mac = bind(&fd, index, 0)?;
        Ok(Self { fd, mac })
    }

    /// At most [`BATCH`]. How many were taken; with none, why.
    pub(super) fn send<'f>(&self, frames: impl Iterator<Item = &'f [u8]>) -> io::Result<usize> {
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
        let result =
            unsafe { libc::sendmmsg(self.fd.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, 0) };
        check(result).map(|sent| sent as usize)
    }
}

/// Gets frames of our type that arrive at an interface.
#[derive(Debug)]
pub(super) struct Receiver {
    fd: OwnedFd,
    pub(super) mac: [u8; 6],
    buffers: Vec<Vec<u8>>,
}

/// Control messages begin at such addresses.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl Receiver {
    /// On an interface of the calling thread's namespace, for frames of this length.
    pub(super) fn open(index: u32, length: u16) -> io::Result<Self> {
        let fd = open()?;
        set(&fd, libc::SOL_PACKET, IGNORE_OUTGOING, &1_i32)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
        filter(&fd)?;
        // All types: that of a frame with a wrong bit may be another.
        let mac = bind(&fd, index, libc::ETH_P_ALL)?;
        // A byte more: a frame that is too long must not look as if it were not.
        let buffers = vec![vec![0; usize::from(length) + 1]; BATCH];
        Ok(Self { fd, mac, buffers })
    }

    /// Takes what is there, with when it came by the real-time clock, in nanoseconds. Whether there may be more.
    pub(super) fn receive(&mut self, mut each: impl FnMut(&[u8], Option<u64>)) -> io::Result<bool> {
        let mut control = [Control([0; CONTROL]); BATCH];
        // SAFETY: all zero is valid for both.
        let (mut parts, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, buffer) in self.buffers.iter_mut().enumerate() {
            parts[index] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut messages[index].msg_hdr;
            header.msg_iov = &raw mut parts[index];
            header.msg_iovlen = 1;
            header.msg_control = control[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: the messages point to buffers and parts that outlive the call and are not touched meanwhile.
        let result = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = match check(result) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // The interface went down; it may come again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok(false),
            Err(error) => return Err(error),
        };
        for (message, buffer) in messages[..count].iter().zip(&self.buffers) {
            let length = (message.msg_len as usize).min(buffer.len());
            each(&buffer[..length], came(&message.msg_hdr));
        }
        Ok(count == BATCH)
    }

    /// Frames that found no room since this was asked last.
    pub(super) fn overrun(&self) -> io::Result<u64> {
        let mut seen = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of_val(&seen) as libc::socklen_t;
        // SAFETY: the pointers are those of a live structure, of this option's type, and its length.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut seen).cast(),
                &raw mut length,
            )
        };
        check(result).map(|_| u64::from(seen.tp_drops))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets the kernel pass on what may be ours: our type, or a label's beginning where one is.
fn filter(fd: &OwnedFd) -> io::Result<()> {
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let [_, second, third] = LABELS;
    let wanted = [(12, ETHERTYPE), (second, MAGIC), (third, MAGIC)];
    let mut program = Vec::new();
    for (place, (at, value)) in wanted.into_iter().enumerate() {
        // To the last instruction; what lies between are pairs, and the refusal.
        let over = (2 * (wanted.len() - place) - 1) as u8;
        program.push(libc::sock_filter { code: LOAD_HALF, jt: 0, jf: 0, k: at as u32 });
        program.push(libc::sock_filter { code: IF_EQUAL, jt: over, jf: 0, k: u32::from(value) });
    }
    program.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 });
    program.push(libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::MAX });
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

fn came(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel filled the control buffer, which is still alive and aligned, and set its length; the macros stay
    // inside, and a message of this kind has a time.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while !next.is_null() {
            if ((*next).cmsg_level, (*next).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let time = libc::CMSG_DATA(next).cast::<libc::timespec>().read_unaligned();
                return Some(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned());
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    None
}
