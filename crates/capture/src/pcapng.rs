//! The blocks of pcapng (draft-ietf-opsawg-pcapng), as far as a live capture needs them. Everything is little-endian, which a
//! reader sees from the section's header, so the same packets are the same bytes on every machine.
//!
//! ```text
//!  section header │ interface a:eth1 │ interface b:eth1 │ packet │ packet │ … │ statistics of a:eth1 │ … of b:eth1
//!                 └──────────── a new one may come at any time ───────────┘
//! ```

use crate::SnapLength;

/// The block types that are written.
pub mod block {
    /// Begins a section; all that follows belongs to it.
    pub const SECTION: u32 = 0x0a0d_0d0a;
    /// Describes an interface; the first of a section is number 0.
    pub const INTERFACE: u32 = 1;
    /// What an interface has counted.
    pub const STATISTICS: u32 = 5;
    /// A packet.
    pub const PACKET: u32 = 6;
}

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const VERSION: [u16; 2] = [1, 0];
/// The length of a section that is not known yet.
const STREAMED: u64 = u64::MAX;
const LINK_ETHERNET: u16 = 1;
/// Ten to the minus nine seconds.
const NANOSECONDS: u8 = 9;
/// A filter in tcpdump's language, in front of its text.
const FILTER_IS_TEXT: u8 = 0;
/// Longer texts are cut: an option's length has 16 bits, and nobody reads them.
const LONGEST_TEXT: usize = 4096;
/// Type, length, and the length again at the end.
const FRAMING: usize = 12;

mod option {
    pub(super) const END: u16 = 0;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_DESCRIPTION: u16 = 3;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const INTERFACE_FILTER: u16 = 11;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const PACKET_DROPS: u16 = 4;
    pub(super) const STATISTICS_BEGIN: u16 = 2;
    pub(super) const STATISTICS_END: u16 = 3;
    pub(super) const STATISTICS_RECEIVED: u16 = 4;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
    pub(super) const STATISTICS_DELIVERED: u16 = 8;
}

/// An interface that packets are captured at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface<'t> {
    /// What Wireshark shows: `NODE:eth1`.
    pub name: &'t str,
    /// The link's name.
    pub description: &'t str,
    /// What is kept of its packets.
    pub snap_length: SnapLength,
    /// The expression that its packets are chosen by.
    pub filter: Option<&'t str>,
}

/// The number of an interface in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceNumber(u32);

/// Which way a packet went, as its interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The node gets it.
    In,
    /// The node sends it.
    Out,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'d> {
    /// When it passed the interface: nanoseconds since 1970.
    pub time: u64,
    /// Which way.
    pub direction: Direction,
    /// How long it was, in bytes, with its Ethernet header.
    pub length: u32,
    /// What is kept of it.
    pub data: &'d [u8],
    /// Packets of this interface that are missing between the one before and this one.
    pub missing: u64,
}

/// What an interface has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When its capture began: nanoseconds since 1970.
    pub begin: u64,
    /// When these were counted, likewise.
    pub end: u64,
    /// Packets that the filter let through.
    pub received: u64,
    /// Those of them that are not in the capture.
    pub dropped: u64,
}

/// Writes a section: knows how many interfaces it has.
#[derive(Clone, Debug)]
pub struct Section {
    interfaces: u32,
}

impl Section {
    /// Begins a section; `application` is what wrote it.
    pub fn begin(application: &str, out: &mut Vec<u8>) -> Self {
        block(out, block::SECTION, |out| {
            out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
            VERSION.iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
            out.extend_from_slice(&STREAMED.to_le_bytes());
            text(out, option::SECTION_APPLICATION, application);
            end(out);
        });
        Self { interfaces: 0 }
    }

    /// Describes an interface, before its first packet.
    pub fn interface(&mut self, interface: &Interface<'_>, out: &mut Vec<u8>) -> InterfaceNumber {
        let number = InterfaceNumber(self.interfaces);
        self.interfaces += 1;
        block(out, block::INTERFACE, |out| {
            out.extend_from_slice(&LINK_ETHERNET.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&interface.snap_length.bytes().to_le_bytes());
            text(out, option::INTERFACE_NAME, interface.name);
            text(out, option::INTERFACE_DESCRIPTION, interface.description);
            value(out, option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
            if let Some(filter) = interface.filter {
                let mut tagged = vec![FILTER_IS_TEXT];
                tagged.extend_from_slice(cut(filter).as_bytes());
                value(out, option::INTERFACE_FILTER, &tagged);
            }
            end(out);
        });
        number
    }

    /// A packet of an interface of this section. Of its data no more is kept than its length.
    pub fn packet(&self, at: InterfaceNumber, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let data = &packet.data[..packet.data.len().min(packet.length as usize)];
        let kept = u32::try_from(data.len()).expect("it is not longer than a length of 32 bits");
        block(out, block::PACKET, |out| {
            out.extend_from_slice(&at.0.to_le_bytes());
            out.extend_from_slice(&time(packet.time));
            out.extend_from_slice(&kept.to_le_bytes());
            out.extend_from_slice(&packet.length.to_le_bytes());
            out.extend_from_slice(data);
            pad(out, data.len());
            let direction: u32 = match packet.direction {
                Direction::In => 1,
                Direction::Out => 2,
            };
            value(out, option::PACKET_FLAGS, &direction.to_le_bytes());
            if packet.missing > 0 {
                value(out, option::PACKET_DROPS, &packet.missing.to_le_bytes());
            }
            end(out);
        });
    }

    /// What an interface has counted: at the end, and whenever somebody wants to know.
    pub fn statistics(&self, at: InterfaceNumber, statistics: &Statistics, out: &mut Vec<u8>) {
        let delivered = statistics.received.saturating_sub(statistics.dropped);
        block(out, block::STATISTICS, |out| {
            out.extend_from_slice(&at.0.to_le_bytes());
            out.extend_from_slice(&time(statistics.end));
            value(out, option::STATISTICS_BEGIN, &time(statistics.begin));
            value(out, option::STATISTICS_END, &time(statistics.end));
            value(out, option::STATISTICS_RECEIVED, &statistics.received.to_le_bytes());
            value(out, option::STATISTICS_DROPPED, &statistics.dropped.to_le_bytes());
            value(out, option::STATISTICS_DELIVERED, &delivered.to_le_bytes());
            end(out);
        });
    }
}

/// The whole blocks of some bytes: type and bytes of each. Ends at the first that is cut off, or is none.
pub fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let kind = u32::from_le_bytes(*bytes.first_chunk()?);
        let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize;
        if length < FRAMING || length > bytes.len() {
            return None;
        }
        let (whole, rest) = bytes.split_at(length);
        bytes = rest;
        Some((kind, whole))
    })
}

fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() + 4 - start).expect("packets and texts are short");
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

fn value(out: &mut Vec<u8>, code: u16, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("texts are cut, and numbers short");
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    pad(out, bytes.len());
}

fn text(out: &mut Vec<u8>, code: u16, text: &str) {
    value(out, code, cut(text).as_bytes());
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

fn end(out: &mut Vec<u8>) {
    value(out, option::END, &[]);
}

/// The high half comes first.
fn time(nanoseconds: u64) -> [u8; 8] {
    nanoseconds.rotate_left(32).to_le_bytes()
}

fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + (length.next_multiple_of(4) - length), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        let word = |word: &[u8]| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        blocks(bytes)
            .map(|(_, block)| block.chunks(4).map(word).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_bytes_of_each_block() {
        let mut out = Vec::new();
        let mut section = Section::begin("Testyard", &mut out);
        let interface = Interface {
            name: "a:eth1",
            description: "cable",
            snap_length: SnapLength::new(96),
            filter: Some("tcp"),
        };
        let number = section.interface(&interface, &mut out);
        let packet = Packet {
            time: 0x0102_0304_0506_0708,
            direction: Direction::Out,
            length: 9,
            data: &[0xaa; 5],
            missing: 3,
        };
        section.packet(number, &packet, &mut out);
        section.packet(
            number,
            &Packet { direction: Direction::In, missing: 0, data: &[0xbb; 12], ..packet },
            &mut out,
        );
        section.statistics(number, &Statistics { begin: 1, end: 2, received: 5, dropped: 3 }, &mut out);
        // Who changes this changes the files of users: see that Wireshark and tcpdump read them.
        insta::assert_snapshot!(hex(&out), @r"
        0a0d0d0a 2c000000 4d3c2b1a 01000000 ffffffff ffffffff 04000800 54657374 79617264 00000000 2c000000
        01000000 40000000 01000000 60000000 02000600 613a6574 68310000 03000500 6361626c 65000000 09000100 09000000 0b000400 00746370 00000000 40000000
        06000000 40000000 00000000 04030201 08070605 05000000 09000000 aaaaaaaa aa000000 02000400 02000000 04000800 03000000 00000000 00000000 40000000
        06000000 38000000 00000000 04030201 08070605 09000000 09000000 bbbbbbbb bbbbbbbb bb000000 02000400 01000000 00000000 38000000
        05000000 58000000 00000000 00000000 02000000 02000800 00000000 01000000 03000800 00000000 02000000 04000800 05000000 00000000 05000800 03000000 00000000 08000800 02000000 00000000 00000000 58000000
        ");
    }

    #[test]
    fn what_is_cut_off_is_no_block() {
        let mut out = Vec::new();
        Section::begin("Testyard", &mut out);
        assert_eq!(blocks(&out).count(), 1);
        for length in 0..out.len() {
            assert_eq!(blocks(&out[..length]).count(), 0);
        }
        assert_eq!(blocks(&[0; 64]).count(), 0, "a length of 0 must not loop");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let name = "é".repeat(LONGEST_TEXT);
        let mut out = Vec::new();
        let mut section = Section::begin("", &mut out);
        let snap_length = SnapLength::default();
        section.interface(
            &Interface { name: &name, description: "", snap_length, filter: Some(&name) },
            &mut out,
        );
        assert_eq!(blocks(&out).count(), 2);
    }
}
