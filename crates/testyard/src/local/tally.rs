//! How much of a capture has come. Pure.

use std::fmt;

use testyard_capture::pcapng::block;

/// The kind and the length that each block begins with.
const HEAD: usize = 8;

/// Counts bytes, and packets among them, in blocks that come in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Tally {
    packets: u64,
    bytes: u64,
    /// What has come of a block's head.
    head: Vec<u8>,
    /// Bytes up to the next block.
    rest: usize,
}

impl Tally {
    /// More has come.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            let &[a, b, c, d, e, f, g, h] = self.head.as_slice() else { continue };
            let (kind, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
            self.packets += u64::from(kind == block::PACKET);
            self.rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(HEAD);
            self.head.clear();
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, bytes, .. } = self;
        write!(f, "{packets} packet{}, {bytes} bytes", if *packets == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use testyard_capture::SnapLength;
    use testyard_capture::pcapng::{Direction, Interface, Packet, Section};

    use super::*;

    #[test]
    fn packets_are_counted_in_pieces_of_any_size() {
        let mut bytes = Vec::new();
        let mut section = Section::begin("a test", &mut bytes);
        let interface =
            Interface { name: "a:eth1", description: "line", snap_length: SnapLength::MAX, filter: None };
        let number = section.interface(&interface, &mut bytes);
        for length in [0, 1, 60, 1514] {
            let data = vec![6; length];
            let length = u32::try_from(length).unwrap();
            let packet = Packet { time: 1, direction: Direction::Out, length, data: &data, missing: 0 };
            section.packet(number, &packet, &mut bytes);
        }
        for piece in [1, 3, 7, 8, 9, 100, bytes.len()] {
            let mut tally = Tally::default();
            bytes.chunks(piece).for_each(|bytes| tally.add(bytes));
            assert_eq!(tally.to_string(), format!("4 packets, {} bytes", bytes.len()), "{piece}");
        }
    }
}
