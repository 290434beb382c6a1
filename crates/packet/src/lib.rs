//! Packet sockets (packet(7)): whole frames at one interface, taken and given in batches, with what the kernel says beside
//! them. The one place for the calls behind them, which have no safe wrapper.
//!
//! ```text
//! Unbound::new()  hears nothing ──► filter, buffers, what is told beside frames ──► bind(interface) ──► PacketSocket
//! ```
//!
//! What comes first has met the filter, too: an unbound socket has no protocol, so the kernel gives it nothing.

#![allow(
    unsafe_code,
    reason = "packet sockets in batches have no safe wrapper; this is what the crate is for"
)]

mod beside;
mod message;

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use message::Received;

/// `PACKET_IGNORE_OUTGOING` and `PACKET_QDISC_BYPASS` of linux/if_packet.h.
const IGNORE_OUTGOING: libc::c_int = 23;
const QDISC_BYPASS: libc::c_int = 20;

/// A packet socket that hears nothing yet.
#[derive(Debug)]
pub struct Unbound(OwnedFd);

/// A packet socket at an interface. It stays with its interface through other network namespaces, and while that is down.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

/// Which frames a socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// All that pass the interface and the filter.
    Everything,
    /// None: it only sends.
    Nothing,
}

/// Frames since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// That the filter let through.
    pub received: u64,
    /// Those of them for which there was no room.
    pub dropped: u64,
}

// === impl Unbound ===

impl Unbound {
    /// Of the calling thread's network namespace. Needs `CAP_NET_RAW`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn new() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: a plain call; the descriptor is nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0))?) };
        Ok(Self(fd))
    }

    /// Takes only frames that a program of classic BPF lets through, and of those as many bytes as it says.
    ///
    /// # Errors
    /// The kernel finds the program wrong, or longer than 4,096 instructions.
    pub fn filter(self, program: &[libc::sock_filter]) -> io::Result<Self> {
        let count = u16::try_from(program.len()).map_err(io::Error::other)?;
        // The kernel only reads it.
        let program = libc::sock_fprog { len: count, filter: program.as_ptr().cast_mut() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Frames come with the time at which they came to the interface.
    ///
    /// # Errors
    /// The kernel cannot.
    pub fn timed(self) -> io::Result<Self> {
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)
    }

    /// Frames come with their length before they were cut, and the VLAN tag that the kernel has taken off.
    ///
    /// # Errors
    /// The kernel cannot.
    pub fn described(self) -> io::Result<Self> {
        self.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)
    }

    /// Frames come and go with a header of offloads (`virtio_net_hdr`) in front: long ones stay whole, sums open.
    ///
    /// # Errors
    /// The kernel cannot.
    pub fn offloading(self) -> io::Result<Self> {
        self.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)
    }

    /// What the interface sends is not heard.
    ///
    /// # Errors
    /// Kernels before 4.20 cannot.
    pub fn ignoring_outgoing(self) -> io::Result<Self> {
        self.set(libc::SOL_PACKET, IGNORE_OUTGOING, &1_i32)
    }

    /// What is sent passes queues by that somebody has put on the interface.
    ///
    /// # Errors
    /// The kernel cannot.
    pub fn bypassing_queues(self) -> io::Result<Self> {
        self.set(libc::SOL_PACKET, QDISC_BYPASS, &1_i32)
    }

    /// How many bytes of frames the kernel keeps until they are taken, its own overhead included.
    ///
    /// # Errors
    /// The kernel refuses even less.
    pub fn receive_buffer(self, bytes: usize) -> io::Result<Self> {
        self.buffer(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)
    }

    /// How many bytes of frames that are given the kernel keeps until the interface takes them, its own overhead included.
    ///
    /// # Errors
    /// The kernel refuses even less.
    pub fn send_buffer(self, bytes: usize) -> io::Result<Self> {
        self.buffer(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, bytes)
    }

    /// How long [`PacketSocket::send`] waits for room; for ever if this is not called.
    ///
    /// # Errors
    /// The kernel refuses such a time.
    pub fn send_patience(self, patience: Duration) -> io::Result<Self> {
        let seconds = libc::time_t::try_from(patience.as_secs()).map_err(io::Error::other)?;
        let patience = libc::timeval { tv_sec: seconds, tv_usec: patience.subsec_micros().into() };
        self.set(libc::SOL_SOCKET, libc::SO_SNDTIMEO, &patience)
    }

    /// Puts it at an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn bind(self, interface: u32, hears: Hears) -> io::Result<PacketSocket> {
        let protocol = match hears {
            Hears::Everything => libc::ETH_P_ALL,
            Hears::Nothing => 0,
        };
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (protocol as u16).to_be();
        address.sll_ifindex = interface.cast_signed();
        // SAFETY: the pointer and the length are those of a live address.
        let result = unsafe {
            libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), length_of::<libc::sockaddr_ll>())
        };
        check(result)?;
        Ok(PacketSocket(self.0))
    }

    /// More than an ordinary process may have, if this one may.
    fn buffer(self, forced: libc::c_int, plain: libc::c_int, bytes: usize) -> io::Result<Self> {
        // The kernel doubles it.
        let half = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX);
        set(&self.0, libc::SOL_SOCKET, forced, &half)
            .or_else(|_| set(&self.0, libc::SOL_SOCKET, plain, &half))?;
        Ok(self)
    }

    fn set<T>(self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<Self> {
        set(&self.0, level, name, value)?;
        Ok(self)
    }
}

// === impl PacketSocket ===

impl PacketSocket {
    /// Takes frames that are there, at most `N` and as many as there are slots, without waiting: each is written to what
    /// `room` gives of its slot, and told in `got`, which is cleared before.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. An interface that goes down or ends is an error once; what came before can still
    /// be taken.
    pub fn receive<const N: usize, S>(
        &self,
        slots: &mut [S],
        room: impl FnMut(&mut S) -> &mut [u8],
        got: &mut Vec<Received>,
    ) -> io::Result<()> {
        message::receive::<N, S>(self.as_fd(), slots, room, got)
    }

    /// Gives frames, at most `N`, and waits for room. How many were taken.
    ///
    /// # Errors
    /// None were.
    pub fn send<'f, const N: usize>(&self, frames: impl Iterator<Item = &'f [u8]>) -> io::Result<usize> {
        message::send::<N>(self.as_fd(), frames, 0)
    }

    /// Likewise without waiting.
    ///
    /// # Errors
    /// None were; `WouldBlock`: there is no room.
    pub fn try_send<'f, const N: usize>(&self, frames: impl Iterator<Item = &'f [u8]>) -> io::Result<usize> {
        message::send::<N>(self.as_fd(), frames, libc::MSG_DONTWAIT)
    }

    /// Frames since this was last asked.
    ///
    /// # Errors
    /// None that is known.
    pub fn statistics(&self) -> io::Result<Statistics> {
        // SAFETY: all zero is valid.
        let mut counted: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = length_of::<libc::tpacket_stats>();
        // SAFETY: the pointers are to live values, and the length is that of the first.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut length,
            )
        };
        check(result)?;
        Ok(Statistics { received: counted.tp_packets.into(), dropped: counted.tp_drops.into() })
    }

    /// Whether its interface exists.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.address().is_ok_and(|address| address.sll_ifindex > 0)
    }

    /// The Ethernet address of its interface.
    ///
    /// # Errors
    /// None that is known.
    pub fn mac(&self) -> io::Result<[u8; 6]> {
        let [a, b, c, d, e, f, ..] = self.address()?.sll_addr;
        Ok([a, b, c, d, e, f])
    }

    fn address(&self) -> io::Result<libc::sockaddr_ll> {
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = length_of::<libc::sockaddr_ll>();
        // SAFETY: the pointers are to live values, and the length is that of the first.
        let result =
            unsafe { libc::getsockname(self.0.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        check(result)?;
        Ok(address)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live value, of the type that the option has.
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
