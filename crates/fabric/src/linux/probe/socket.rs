//! Packet sockets that send whole frames and tell when some arrived.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use testyard_packet::{Hears, PacketSocket, Received, Unbound};

use super::frame::{ETHERTYPE, LABELS, MAGIC};

/// Frames of one call.
pub(super) const BATCH: usize = 32;
/// For what arrives while the receiver does not run: thousands of the largest frames.
const BUFFER: usize = 64 << 20;
/// A sender that nothing is taken from for so long gives the frame up.
const GIVE_UP: Duration = Duration::from_secs(1);

/// Sends frames from an interface.
#[derive(Debug)]
pub(super) struct Sender {
    socket: PacketSocket,
    pub(super) mac: [u8; 6],
}

impl Sender {
    /// On an interface of the calling thread's namespace. Queues that the node's user has put on it are passed by: the
    /// link is measured, not they.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let socket = Unbound::new()?.bypassing_queues()?.send_patience(GIVE_UP)?.send_buffer(BUFFER)?;
        let socket = socket.bind(index, Hears::Nothing)?;
        let mac = socket.mac()?;
        Ok(Self { socket, mac })
    }

    /// At most [`BATCH`]. How many were taken; with none, why.
    pub(super) fn send<'f>(&self, frames: impl Iterator<Item = &'f [u8]>) -> io::Result<usize> {
        self.socket.send::<BATCH>(frames)
    }
}

/// Gets frames of our type that arrive at an interface.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: PacketSocket,
    pub(super) mac: [u8; 6],
    buffers: Vec<Vec<u8>>,
    got: Vec<Received>,
}

impl Receiver {
    /// On an interface of the calling thread's namespace, for frames of this length.
    pub(super) fn open(index: u32, length: u16) -> io::Result<Self> {
        let socket =
            Unbound::new()?.ignoring_outgoing()?.timed()?.receive_buffer(BUFFER)?.filter(&filter())?;
        // All types: that of a frame with a wrong bit may be another.
        let socket = socket.bind(index, Hears::Everything)?;
        let mac = socket.mac()?;
        // A byte more: a frame that is too long must not look as if it were not.
        let buffers = vec![vec![0; usize::from(length) + 1]; BATCH];
        Ok(Self { socket, mac, buffers, got: Vec::new() })
    }

    /// Takes what is there, with when it came by the real-time clock, in nanoseconds. Whether there may be more.
    pub(super) fn receive(&mut self, mut each: impl FnMut(&[u8], Option<u64>)) -> io::Result<bool> {
        match self.socket.receive::<BATCH, _>(&mut self.buffers, Vec::as_mut_slice, &mut self.got) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // The interface went down; it may come again.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok(false),
            Err(error) => return Err(error),
        }
        for (received, buffer) in self.got.iter().zip(&self.buffers) {
            each(&buffer[..received.length.min(buffer.len())], received.came);
        }
        Ok(self.got.len() == BATCH)
    }

    /// Frames that found no room since this was asked last.
    pub(super) fn overrun(&self) -> io::Result<u64> {
        Ok(self.socket.statistics()?.dropped)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Lets the kernel pass on what may be ours: our type, or a label's beginning where one is.
fn filter() -> Vec<libc::sock_filter> {
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
    program
}
