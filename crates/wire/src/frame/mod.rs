//! Ethernet frames as the kernel's packet sockets give them: a virtio-net header in front, which says what of the work
//! of sending is still to be done (checksum, segmentation), and the VLAN tag beside.
//!
//! Frames come from nodes, which may lie in every field. What cannot be understood is carried as it is, as one packet.

mod checksum;
mod segment;

pub use segment::{join, split};

use crate::emulator::Packet;

/// The length of the virtio-net header.
pub const HEADER: usize = 10;
/// Room in front of it for the VLAN tag that is put back.
pub const ROOM: usize = 4;
/// The longest frame that is taken, with room and header: 64 KiB of IP packet, Ethernet, tags.
pub const LONGEST: usize = ROOM + HEADER + 65_536 + 64;
const NEEDS_CHECKSUM: u8 = 1;
const ECN: u8 = 0x80;
const NO_GSO: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;

/// The kernel's `virtio_net_hdr`, native byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum is to be completed.
    pub needs_checksum: bool,
    /// Other flags, passed on.
    flags: u8,
    /// What it is to be cut into; 0 for nothing.
    gso: u8,
    header: u16,
    /// Payload of each segment.
    size: u16,
    /// Where checksumming begins: the transport header.
    start: u16,
    /// Where the checksum is, from there.
    offset: u16,
}

impl Offload {
    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            needs_checksum: bytes[0] & NEEDS_CHECKSUM != 0,
            flags: bytes[0] & !NEEDS_CHECKSUM,
            gso: bytes[1],
            header: word(2),
            size: word(4),
            start: word(6),
            offset: word(8),
        }
    }

    fn write(self, bytes: &mut [u8]) {
        bytes[0] = self.flags | if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        bytes[1] = self.gso;
        for (at, word) in [(2, self.header), (4, self.size), (6, self.start), (8, self.offset)] {
            bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
        }
    }

    /// Whether it is not to be cut.
    #[must_use]
    pub const fn is_single(self) -> bool {
        self.gso == NO_GSO
    }

    fn kind(self) -> u8 {
        self.gso & !ECN
    }
}

/// A frame with its header, in a buffer that may be larger.
#[derive(Clone, Debug)]
pub struct Frame {
    buffer: Vec<u8>,
    /// Where the header begins.
    begin: usize,
    /// Where the frame ends.
    end: usize,
    /// What a wire would carry of it.
    packets: u32,
    bytes: u64,
    /// What it has been cut from.
    origin: Option<segment::Origin>,
}

impl Frame {
    /// What a socket put into a buffer behind [`ROOM`]: `length` bytes, header first. The VLAN tag, if the kernel took
    /// it off, is put back (protocol and tag).
    ///
    /// # Errors
    /// The buffer, if what is in it is shorter than an Ethernet header.
    pub fn received(mut buffer: Vec<u8>, length: usize, vlan: Option<(u16, u16)>) -> Result<Self, Vec<u8>> {
        let end = ROOM + length;
        if length < HEADER + 14 || end > buffer.len() {
            return Err(buffer);
        }
        let mut begin = ROOM;
        if let Some((protocol, tag)) = vlan {
            // Header and both addresses move into the room; the tag fills the gap.
            buffer.copy_within(ROOM..ROOM + HEADER + 12, 0);
            begin = 0;
            buffer[HEADER + 12..HEADER + 14].copy_from_slice(&protocol.to_be_bytes());
            buffer[HEADER + 14..HEADER + 16].copy_from_slice(&tag.to_be_bytes());
            let mut offload = Offload::read(&buffer[..HEADER]);
            offload.header = offload.header.saturating_add(4);
            offload.start = offload.start.saturating_add(4);
            offload.write(&mut buffer[..HEADER]);
        }
        let mut frame = Self { buffer, begin, end, packets: 1, bytes: 0, origin: None };
        frame.count();
        Ok(frame)
    }

    /// One from header and Ethernet frame.
    #[must_use]
    pub fn new(offload: Offload, ethernet: &[u8]) -> Self {
        let mut buffer = vec![0; HEADER + ethernet.len()];
        offload.write(&mut buffer[..HEADER]);
        buffer[HEADER..].copy_from_slice(ethernet);
        let end = buffer.len();
        let mut frame = Self { buffer, begin: 0, end, packets: 1, bytes: 0, origin: None };
        frame.count();
        frame
    }

    /// Header and frame, as a socket takes them.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// The Ethernet frame.
    #[must_use]
    pub fn ethernet(&self) -> &[u8] {
        &self.buffer[self.begin + HEADER..self.end]
    }

    fn ethernet_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.begin + HEADER..self.end]
    }

    /// What is still to be done to it.
    #[must_use]
    pub fn offload(&self) -> Offload {
        Offload::read(&self.buffer[self.begin..self.begin + HEADER])
    }

    fn set_offload(&mut self, offload: Offload) {
        let begin = self.begin;
        offload.write(&mut self.buffer[begin..begin + HEADER]);
    }

    /// The buffer, to be filled again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The buffer, if the frame is small in it; the frame has moved to one of its own size then.
    pub fn shrink(&mut self) -> Option<Vec<u8>> {
        let length = self.end - self.begin;
        if length * 2 > self.buffer.len() {
            return None;
        }
        let own = self.wire().to_vec();
        (self.begin, self.end) = (0, length);
        Some(std::mem::replace(&mut self.buffer, own))
    }

    /// What a wire would carry: every segment has the headers of its own.
    fn count(&mut self) {
        let length = (self.end - self.begin - HEADER) as u64;
        (self.packets, self.bytes) = match segment::headers(self) {
            Some(headers) => {
                let payload = length - headers as u64;
                let segments = payload.div_ceil(u64::from(self.offload().size)).max(1);
                (segments as u32, payload + segments * headers as u64)
            }
            None => (1, length),
        };
    }

    /// Completes the checksum, if that is still to be done and what is asked makes sense.
    fn complete(&mut self) {
        let mut offload = self.offload();
        if !offload.needs_checksum {
            return;
        }
        checksum::complete(self.ethernet_mut(), offload.start.into(), offload.offset.into());
        offload = Offload { flags: offload.flags, ..Offload::default() };
        self.set_offload(offload);
    }
}

impl Packet for Frame {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn packets(&self) -> u32 {
        self.packets
    }

    fn copy(&self) -> Self {
        Self {
            buffer: self.wire().to_vec(),
            begin: 0,
            end: self.end - self.begin,
            packets: self.packets,
            bytes: self.bytes,
            origin: self.origin.clone(),
        }
    }

    /// The checksum is completed first: it must not fit what became of the frame.
    fn damage(&mut self, random: u64) {
        if self.offload().gso == NO_GSO {
            self.complete();
        }
        self.origin = None;
        let frame = self.ethernet_mut();
        let bit = (u128::from(random) * (frame.len() as u128 * 8)) >> 64;
        frame[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests;
