//! Frames in batches: recvmmsg(2) and sendmmsg(2).

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::beside::Beside;
use crate::{check, length_of};

/// For the time and the auxiliary data.
const CONTROL: usize = 96;

/// A frame that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes written to its slot.
    pub length: usize,
    /// Its length before filter and slot have cut it, if the socket was to describe frames.
    pub whole: Option<u32>,
    /// It did not fit its slot.
    pub truncated: bool,
    /// Protocol and tag that the kernel took off, if the socket was to describe frames.
    pub vlan: Option<(u16, u16)>,
    /// When it came to the interface, by the real-time clock, in nanoseconds since 1970, if the socket was to say so.
    pub came: Option<u64>,
    /// Whether the interface sent it.
    pub is_outgoing: bool,
}

/// Control messages begin at such addresses.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

pub(crate) fn receive<const N: usize, S>(
    fd: BorrowedFd<'_>,
    slots: &mut [S],
    mut room: impl FnMut(&mut S) -> &mut [u8],
    got: &mut Vec<Received>,
) -> io::Result<()> {
    got.clear();
    let count = slots.len().min(N);
    let mut control = [Control([0; CONTROL]); N];
    // SAFETY: all zero is valid for all three.
    let (mut parts, mut messages, mut senders): (
        [libc::iovec; N],
        [libc::mmsghdr; N],
        [libc::sockaddr_ll; N],
    ) = unsafe { (zeroed(), zeroed(), zeroed()) };
    for (index, slot) in slots.iter_mut().take(count).enumerate() {
        let room = room(slot);
        parts[index] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        let header = &mut messages[index].msg_hdr;
        header.msg_name = (&raw mut senders[index]).cast();
        header.msg_namelen = length_of::<libc::sockaddr_ll>();
        header.msg_iov = &raw mut parts[index];
        header.msg_iovlen = 1;
        header.msg_control = control[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
    }
    // SAFETY: the messages point to slots, addresses and parts that outlive the call and are not touched meanwhile.
    let result = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let received = check(result)?.unsigned_abs() as usize;
    got.extend(messages[..received].iter().zip(&senders).map(|(message, sender)| {
        // SAFETY: the kernel filled the control buffer, which is still alive and aligned, and set its length.
        let beside = unsafe { Beside::read(&message.msg_hdr) };
        Received {
            length: message.msg_len as usize,
            whole: beside.length,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            vlan: beside.vlan,
            came: beside.came,
            is_outgoing: sender.sll_pkttype == libc::PACKET_OUTGOING,
        }
    }));
    Ok(())
}

pub(crate) fn send<'f, const N: usize>(
    fd: BorrowedFd<'_>,
    frames: impl Iterator<Item = &'f [u8]>,
    flags: libc::c_int,
) -> io::Result<usize> {
    // SAFETY: all zero is valid for both.
    let (mut parts, mut messages): ([libc::iovec; N], [libc::mmsghdr; N]) = unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for frame in frames.take(N) {
        parts[count] = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        messages[count].msg_hdr.msg_iov = &raw mut parts[count];
        messages[count].msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the messages point to frames and parts that outlive the call; the kernel only reads the frames.
    let result =
        unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, flags as _) };
    check(result).map(|sent| sent.unsigned_abs() as usize)
}
