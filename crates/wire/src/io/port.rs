//! An interface of a pipe: what arrives there is taken, and what comes out of the pipe is given to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use testyard_packet::{Hears, PacketSocket, Received, Unbound};

use crate::frame::{LONGEST, ROOM};

/// Frames that are taken or given in one call.
pub(crate) const BATCH: usize = 16;
/// For each direction of a socket. TCP sends windows of megabytes in frames of 64 KiB.
const BUFFER: usize = 32 << 20;

/// Hears all that arrives at an interface, with offload headers and VLAN tags, and nothing else.
#[derive(Debug)]
pub(crate) struct Port(PacketSocket);

impl Port {
    /// At an interface of the calling thread's network namespace.
    pub(crate) fn open(interface: u32) -> io::Result<Self> {
        let socket = Unbound::new()?.offloading()?.described()?.ignoring_outgoing()?.timed()?;
        let socket = socket.receive_buffer(BUFFER)?.send_buffer(BUFFER)?;
        Ok(Self(socket.bind(interface, Hears::Everything)?))
    }

    /// Fills buffers of [`LONGEST`] bytes, behind the [`ROOM`], as many as there are frames; what was received, in `got`.
    pub(crate) fn receive(&self, buffers: &mut [Vec<u8>], got: &mut Vec<Received>) -> io::Result<()> {
        self.0.receive::<BATCH, _>(buffers, behind_the_room, got)
    }

    /// Gives frames, at most [`BATCH`]. How many were taken; with none, why.
    pub(crate) fn send<'f>(&self, frames: impl Iterator<Item = &'f [u8]>) -> io::Result<usize> {
        self.0.try_send::<BATCH>(frames)
    }
}

#[expect(clippy::ptr_arg, reason = "what is taken from a vector of vectors is one")]
fn behind_the_room(buffer: &mut Vec<u8>) -> &mut [u8] {
    assert!(buffer.len() >= LONGEST, "buffers are never shortened");
    &mut buffer[ROOM..]
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
