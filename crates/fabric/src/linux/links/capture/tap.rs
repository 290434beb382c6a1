//! A packet socket that listens at one interface, to both directions.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use testyard_capture::SnapLength;
use testyard_capture::filter::Program;
use testyard_packet::{Hears, PacketSocket, Received, Statistics, Unbound};

/// Frames that are taken in one call.
const BATCH: usize = 32;
/// Room in front of a frame for the VLAN tag that the kernel keeps beside it.
const ROOM: usize = 4;
/// Both addresses of an Ethernet frame, behind which its tag is.
const ADDRESSES: usize = 12;

/// Listens at an interface for as long as that exists, also while it is down.
#[derive(Debug)]
pub(super) struct Tap(PacketSocket);

/// Where frames are read into; of one size for all taps of a capture.
#[derive(Debug)]
pub(super) struct Buffers {
    kept: usize,
    slots: Vec<Vec<u8>>,
    got: Vec<Received>,
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

// === impl Tap ===

impl Tap {
    /// Listens at an interface of the calling thread's network namespace. `memory` bounds what the kernel keeps for us, in
    /// bytes with its own overhead.
    pub(super) fn open(interface: u32, program: &Program, memory: usize) -> io::Result<Self> {
        let filter: Vec<libc::sock_filter> = program
            .instructions()
            .iter()
            .map(|i| libc::sock_filter { code: i.code, jt: i.if_true, jf: i.if_false, k: i.operand })
            .collect();
        let socket = Unbound::new()?.filter(&filter)?.described()?.timed()?.receive_buffer(memory)?;
        Ok(Self(socket.bind(interface, Hears::Everything)?))
    }

    /// Gives `each` what has come, at most a batch. An interface that goes down or ends is an error once, and what came
    /// before can still be read.
    pub(super) fn receive(&self, buffers: &mut Buffers, mut each: impl FnMut(&Frame<'_>)) -> io::Result<()> {
        let Buffers { kept, slots, got } = buffers;
        self.0.receive::<BATCH, _>(slots, |slot| &mut slot[ROOM..], got)?;
        for (slot, received) in slots.iter_mut().zip(got) {
            let read = received.length.min(*kept);
            let length = received.whole.unwrap_or(u32::try_from(received.length).unwrap_or(u32::MAX));
            let (data, length) = match received.vlan {
                Some(tag) if read >= ADDRESSES => {
                    (put_back(slot, read, tag), length.saturating_add(ROOM as u32))
                }
                _ => (&slot[ROOM..ROOM + read], length),
            };
            each(&Frame {
                time: received.came,
                is_for_node: received.is_outgoing,
                length,
                data: &data[..data.len().min(*kept)],
            });
        }
        Ok(())
    }

    /// What has been counted since this was last asked.
    pub(super) fn counts(&self) -> io::Result<Statistics> {
        self.0.statistics()
    }

    /// Whether its interface exists.
    pub(super) fn is_attached(&self) -> bool {
        self.0.is_attached()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

// === impl Buffers ===

impl Buffers {
    pub(super) fn new(kept: SnapLength) -> Self {
        let kept = kept.in_memory();
        // Pages of it that no frame reaches are never there.
        Self { kept, slots: (0..BATCH).map(|_| vec![0; ROOM + kept]).collect(), got: Vec::new() }
    }
}

/// The frame of `read` bytes behind the room of a slot, with its tag where it was on the cable.
fn put_back(slot: &mut [u8], read: usize, (protocol, tag): (u16, u16)) -> &[u8] {
    slot.copy_within(ROOM..ROOM + ADDRESSES, 0);
    slot[ADDRESSES..ADDRESSES + 2].copy_from_slice(&protocol.to_be_bytes());
    slot[ADDRESSES + 2..ADDRESSES + 4].copy_from_slice(&tag.to_be_bytes());
    &slot[..ROOM + read]
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
