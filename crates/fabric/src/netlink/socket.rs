//! A blocking netlink socket. It belongs to the network namespace of the thread that opened it, for ever.

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::TimeVal;
use nix::{setsockopt_impl, sockopt_impl};

use super::wire::{self, HEADER, Message, Reply};

/// The kernel's buffer for answers holds some 270 acknowledgements.
pub(super) const IN_FLIGHT: usize = 64;
/// Longer than any answer takes, so that a lost one is an error and no hang.
const PATIENCE_S: i64 = 10;
const RECEIVE_BUFFER: usize = 1 << 16;
/// `NETLINK_CAP_ACK`, `NETLINK_EXT_ACK`: an error comes without the request, but with the kernel's own words.
const FLAG_CAPPED: u16 = 0x100;
const FLAG_ACK_TLVS: u16 = 0x200;
const ACK_TEXT: u16 = 1;
/// `NLM_F_DUMP_INTR`: the list changed while it was read.
const FLAG_INTERRUPTED: u16 = 0x10;
const DUMP_TRIES: usize = 8;

sockopt_impl!(ExtendedAck, SetOnly, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, bool);
sockopt_impl!(CappedAck, SetOnly, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, bool);

/// The kernel's no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{text}", errno.desc(), if text.is_empty() { "" } else { ": " })]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    /// The kernel's explanation, often empty.
    pub(crate) text: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, text: String::new() }
    }
}

/// One message of several was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which, counted from 0.
    pub(crate) index: usize,
    pub(crate) refusal: Refusal,
}

#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    /// Of what comes: it is long, and making one is no small part of an exchange.
    buffer: RefCell<Box<[u8]>>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace. `groups` is a bit mask of multicast groups.
    pub(crate) fn open(protocol: SockProtocol, groups: u32) -> Result<Self, Refusal> {
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        // Kernels before 4.12 lack these; errors are only less well explained there.
        let _ = socket::setsockopt(&fd, ExtendedAck, &true);
        let _ = socket::setsockopt(&fd, CappedAck, &true);
        let socket = Self { fd, sequence: 0, buffer: RefCell::new(vec![0; RECEIVE_BUFFER].into()) };
        socket.patience(PATIENCE_S)?;
        Ok(socket)
    }

    /// How long [`Self::receive`] waits.
    pub(crate) fn patience(&self, seconds: i64) -> Result<(), Refusal> {
        Ok(socket::setsockopt(&self.fd, sockopt::ReceiveTimeout, &TimeVal::new(seconds, 0))?)
    }

    /// Sends messages, each a change, and waits for all acknowledgements. The kernel does them in order; changes after
    /// a refused one may have been done.
    pub(crate) fn tell(&mut self, messages: &[Message]) -> Result<(), Refused> {
        for (chunk_index, chunk) in messages.chunks(IN_FLIGHT).enumerate() {
            let base = chunk_index * IN_FLIGHT;
            let first = self
                .send(chunk, libc::NLM_F_ACK as u16)
                .map_err(|refusal| Refused { index: base, refusal })?;
            self.collect(first, chunk.len())
                .map_err(|r| Refused { index: base + r.index, refusal: r.refusal })?;
        }
        Ok(())
    }

    /// Sends messages that the kernel does all or none: between a begin and an end that are not acknowledged.
    pub(crate) fn transact(
        &mut self,
        begin: &Message,
        messages: &[Message],
        end: &Message,
    ) -> Result<(), Refused> {
        let mut datagram = Vec::new();
        let first = self.sequence.wrapping_add(2);
        begin.write(first.wrapping_sub(1), 0, &mut datagram);
        for (sequence, message) in (first..).zip(messages) {
            message.write(sequence, libc::NLM_F_ACK as u16, &mut datagram);
        }
        let count = u32::try_from(messages.len()).expect("callers keep batches short");
        self.sequence = first.wrapping_add(count);
        end.write(self.sequence, 0, &mut datagram);
        self.transmit(&datagram).map_err(|refusal| Refused { index: 0, refusal })?;
        self.collect(first, messages.len())
    }

    /// Asks for one thing; `None` where the kernel says that there is none.
    pub(crate) fn get(&mut self, message: &Message) -> Result<Option<Reply>, Refusal> {
        let sequence = self.send(std::slice::from_ref(message), libc::NLM_F_ACK as u16)?;
        let mut answer = None;
        loop {
            for reply in self.receive()?.into_iter().filter(|r| r.sequence == sequence) {
                match i32::from(reply.kind) {
                    libc::NLMSG_ERROR => {
                        return match acknowledged(&reply) {
                            Ok(()) => Ok(answer),
                            Err(refusal) if matches!(refusal.errno, Errno::ENODEV | Errno::ENOENT) => {
                                Ok(None)
                            }
                            Err(refusal) => Err(refusal),
                        };
                    }
                    _ => answer = Some(reply),
                }
            }
        }
    }

    /// Asks for a list.
    pub(crate) fn dump(&mut self, message: &Message) -> Result<Vec<Reply>, Refusal> {
        self.dump_where(message, |_| true)
    }

    /// Asks for a list, and keeps what is wanted of it: it may be long.
    pub(crate) fn dump_where(
        &mut self,
        message: &Message,
        wanted: impl Fn(&Reply) -> bool,
    ) -> Result<Vec<Reply>, Refusal> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (replies, interrupted) = self.dump_once(message, &wanted)?;
            if !interrupted || tries == DUMP_TRIES {
                return Ok(replies);
            }
        }
    }

    fn dump_once(
        &mut self,
        message: &Message,
        wanted: impl Fn(&Reply) -> bool,
    ) -> Result<(Vec<Reply>, bool), Refusal> {
        let sequence = self.send(std::slice::from_ref(message), libc::NLM_F_DUMP as u16)?;
        let (mut all, mut interrupted) = (Vec::new(), false);
        loop {
            for reply in self.receive()?.into_iter().filter(|r| r.sequence == sequence) {
                interrupted |= reply.flags & FLAG_INTERRUPTED != 0;
                match i32::from(reply.kind) {
                    libc::NLMSG_DONE => return Ok((all, interrupted)),
                    libc::NLMSG_ERROR => {
                        acknowledged(&reply)?;
                        return Ok((all, interrupted));
                    }
                    _ if wanted(&reply) => all.push(reply),
                    _ => {}
                }
            }
        }
    }

    /// The next datagram's messages.
    pub(crate) fn receive(&self) -> Result<Vec<Reply>, Refusal> {
        let mut buffer = self.buffer.borrow_mut();
        loop {
            match socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => return Ok(wire::messages(&buffer[..length])),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn send(&mut self, messages: &[Message], flags: u16) -> Result<u32, Refusal> {
        let mut datagram = Vec::new();
        let first = self.sequence.wrapping_add(1);
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.write(self.sequence, flags, &mut datagram);
        }
        self.transmit(&datagram)?;
        Ok(first)
    }

    fn transmit(&self, datagram: &[u8]) -> Result<(), Refusal> {
        let kernel = NetlinkAddr::new(0, 0);
        socket::sendto(self.fd.as_raw_fd(), datagram, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    /// Waits for `count` acknowledgements from number `first` on; the first refusal wins.
    fn collect(&self, first: u32, count: usize) -> Result<(), Refused> {
        let (mut seen, mut refused) = (0, None);
        while seen < count {
            for reply in self.receive().map_err(|refusal| Refused { index: seen, refusal })? {
                let index = reply.sequence.wrapping_sub(first) as usize;
                if i32::from(reply.kind) != libc::NLMSG_ERROR || index >= count {
                    // A refused transaction's begin or end is answered in place of the rest.
                    if let Err(refusal) = acknowledged(&reply) {
                        return Err(Refused { index: 0, refusal });
                    }
                    continue;
                }
                seen += 1;
                if let (Err(refusal), None) = (acknowledged(&reply), &refused) {
                    refused = Some(Refused { index, refusal });
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an `NLMSG_ERROR` says; other messages say nothing.
fn acknowledged(reply: &Reply) -> Result<(), Refusal> {
    if i32::from(reply.kind) != libc::NLMSG_ERROR {
        return Ok(());
    }
    let code = wire::u32_at(&reply.body, 0).cast_signed();
    if code == 0 {
        return Ok(());
    }
    let request = if reply.flags & FLAG_CAPPED != 0 { HEADER } else { wire::u32_at(&reply.body, 4) as usize };
    let told = reply.flags & FLAG_ACK_TLVS != 0;
    let words = reply.body.get(4 + request.next_multiple_of(4)..).filter(|_| told);
    let text = words.and_then(|w| wire::attribute(w, ACK_TEXT)).map(wire::text).unwrap_or_default();
    Err(Refusal { errno: Errno::from_raw(-code), text })
}
