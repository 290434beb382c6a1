//! A packet socket that listens at one interface, to both directions.

#![expect(
    unsafe_code,
    reason = "packet sockets in batches have no safe wrapper; this is the only use of them in this crate"
)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use testyard_capture::SnapLength;
use testyard_capture::filter::Program;

/// Frames that are taken in one call.
const BATCH: usize = 32;
/// Room in front of a frame for the VLAN tag that the kernel keeps beside it.
const ROOM: usize = 4;
/// Both addresses of an Ethernet frame, behind which its tag is.
const ADDRESSES: usize = 12;
/// For the time and the auxiliary data.
const CONTROL: usize = 96;

/// Listens at an interface for as long as that exists, also while it is down.
#[derive(Debug)]
pub(super) struct Tap {
    fd: OwnedFd,
}

/// Where frames are read into; of one size for all taps of a capture.
#[derive(Debug)]
pub(super) struct Buffers {
    kept: usize,
    slots: Vec<Vec<u8>>,
}

/// A frame that passed the interface.
#[derive(Debug)]
pub(super) struct Frame<'b> {
    /// Nanoseconds since 1970, by the kernel; none if it did not say.
    pub(super) time: Option<u64>,
    /// Whether the host's side of the interface sent it, so that its node gets it.
    pub(super) is_for_node: bool,
    /// Before it was cut.
    pub(super) length: u32,
    /// What is kept.
    pub(super) data: &'b [u8],
}

/// Packets since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// That the filter let through.
    pub(super) received: u64,
    /// Those of them for which there was no room.
    pub(super) dropped: u64,
}

#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// What is beside a frame.
#[derive(Default)]
struct Beside {
    time: Option<u64>,
    length: Option<u32>,
    tag: Option<(u16, u16)>,
}

// === impl Tap ===

impl Tap {
    /// Listens at an interface of the calling thread's network namespace. `memory` bounds what the kernel keeps for us, in
    /// bytes with its own overhead.
    pub(super) fn open(interface: u32, program: &Program, memory: usize) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0 receives nothing until the socket is bound: what comes first has met the filter, too.
        // SAFETY: a plain call; the descriptor is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?) };
        let mut filter: Vec<libc::sock_filter> = program
            .instructions()
            .iter()
            .map(|i| libc::sock_filter { code: i.code, jt: i.if_true, jf: i.if_false, k: i.operand })
            .collect();
        let count = u16::try_from(filter.len()).expect("programs are shorter than the kernel's limit");
        let attached = libc::sock_fprog { len: count, filter: filter.as_mut_ptr() };
        set(&fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &attached)?;
        set(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        // The kernel doubles it.
        let size = libc::c_int::try_from(memory / 2).unwrap_or(libc::c_int::MAX);
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
            .or_else(|_| set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size))?;
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = interface.cast_signed();
        // SAFETY: the pointer and the length are those of a live address.
        let result = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length_of::<libc::sockaddr_ll>())
        };
        check(result)?;
        Ok(Self { fd })
    }

    /// Gives `each` what has come, at most a batch; how many those were. An interface that goes down or ends is an error
    /// once, and what came before can still be read.
    pub(super) fn receive(
        &self,
        buffers: &mut Buffers,
        mut each: impl FnMut(&Frame<'_>),
    ) -> io::Result<usize> {
        let mut control = [Control([0; CONTROL]); BATCH];
        // SAFETY: all zero is valid for all three.
        let (mut parts, mut messages, mut senders): (
            [libc::iovec; BATCH],
            [libc::mmsghdr; BATCH],
            [libc::sockaddr_ll; BATCH],
        ) = unsafe { (zeroed(), zeroed(), zeroed()) };
        for (index, slot) in buffers.slots.iter_mut().enumerate() {
            let room = &mut slot[ROOM..];
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
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                buffers.slots.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = check(result)?.unsigned_abs() as usize;
        for (index, message) in messages[..received].iter().enumerate() {
            let beside = beside(&message.msg_hdr);
            let read = (message.msg_len as usize).min(buffers.kept);
            let slot = &mut buffers.slots[index];
            let length = beside.length.unwrap_or(message.msg_len);
            let (data, length) = match beside.tag {
                Some(tag) if read >= ADDRESSES => {
                    (put_back(slot, read, tag), length.saturating_add(ROOM as u32))
                }
                _ => (&slot[ROOM..ROOM + read], length),
            };
            each(&Frame {
                time: beside.time,
                is_for_node: senders[index].sll_pkttype == libc::PACKET_OUTGOING,
                length,
                data: &data[..data.len().min(buffers.kept)],
            });
        }
        Ok(received)
    }

    /// What has been counted since this was last asked.
    pub(super) fn counts(&self) -> io::Result<Counts> {
        // SAFETY: all zero is valid.
        let mut counted: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = length_of::<libc::tpacket_stats>();
        // SAFETY: the pointers are to live values, and the length is that of the first.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut length,
            )
        };
        check(result)?;
        Ok(Counts { received: counted.tp_packets.into(), dropped: counted.tp_drops.into() })
    }

    /// Whether its interface exists.
    pub(super) fn is_attached(&self) -> bool {
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = length_of::<libc::sockaddr_ll>();
        // SAFETY: the pointers are to live values, and the length is that of the first.
        let result =
            unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        check(result).is_ok() && address.sll_ifindex > 0
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// === impl Buffers ===

impl Buffers {
    pub(super) fn new(kept: SnapLength) -> Self {
        let kept = kept.in_memory();
        // Pages of it that no frame reaches are never there.
        Self { kept, slots: (0..BATCH).map(|_| vec![0; ROOM + kept]).collect() }
    }
}

/// The frame of `read` bytes behind the room of a slot, with its tag where it was on the cable.
fn put_back(slot: &mut [u8], read: usize, (protocol, tag): (u16, u16)) -> &[u8] {
    slot.copy_within(ROOM..ROOM + ADDRESSES, 0);
    slot[ADDRESSES..ADDRESSES + 2].copy_from_slice(&protocol.to_be_bytes());
    slot[ADDRESSES + 2..ADDRESSES + 4].copy_from_slice(&tag.to_be_bytes());
    &slot[..ROOM + read]
}

fn beside(header: &libc::msghdr) -> Beside {
    let mut found = Beside::default();
    // SAFETY: the kernel filled the control buffer, which is still alive and aligned, and set its length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the macros stay inside the buffer; each kind of message has the type that is read.
        unsafe {
            let data = libc::CMSG_DATA(next);
            match ((*next).cmsg_level, (*next).cmsg_type) {
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let data = data.cast::<libc::tpacket_auxdata>().read_unaligned();
                    found.length = Some(data.tp_len);
                    found.tag = tag(&data);
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    found.time =
                        Some(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned());
                }
                _ => {}
            }
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
    found
}

fn tag(data: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    let is_valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    let has_protocol = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if has_protocol { data.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
    is_valid.then_some((protocol, data.tp_vlan_tci))
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live value.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length_of::<T>())
    };
    check(result).map(drop)
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("the kernel's structures are small")
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_behind_the_addresses() {
        let mut slot: Vec<u8> = vec![0; ROOM];
        slot.extend(1..=14);
        let frame = put_back(&mut slot, 14, (0x8100, 0x2005));
        assert_eq!(frame, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x81, 0x00, 0x20, 0x05, 13, 14]);
    }
}
