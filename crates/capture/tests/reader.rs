//! What is written is read by a reader that somebody else has written.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption, parse_block_le};
use proptest::prelude::*;
use testyard_capture::SnapLength;
use testyard_capture::pcapng::{Direction, Interface, Packet, Section, Statistics};

/// What a packet should be.
#[derive(Clone, Debug)]
struct Wanted {
    interface: usize,
    time: u64,
    is_out: bool,
    data: Vec<u8>,
    cut: u32,
    missing: u64,
}

fn read(mut bytes: &[u8]) -> Vec<Block<'_>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (rest, block) = parse_block_le(bytes).unwrap();
        bytes = rest;
        all.push(block);
    }
    all
}

fn option<'o>(options: &'o [PcapNGOption<'_>], code: u16) -> Option<&'o [u8]> {
    let found = options.iter().find(|option| option.code == OptionCode(code))?;
    Some(&found.value[..usize::from(found.len)])
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn packet() -> impl Strategy<Value = Wanted> {
    (0..3_usize, any::<u64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), 0..99_u32, 0..3_u64)
        .prop_map(|(interface, time, is_out, data, cut, missing)| Wanted {
            interface,
            time,
            is_out,
            data,
            cut,
            missing,
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        names in prop::collection::vec("[^\0]{0,40}", 3),
        filter in prop::option::of("[ -~]{1,40}"),
        snap in 1..300_000_u32,
        packets in prop::collection::vec(packet(), 0..20),
        (begin, end, received, dropped) in any::<(u64, u64, u64, u64)>(),
    ) {
        let mut bytes = Vec::new();
        let mut section = Section::begin("Testyard", &mut bytes);
        let snap_length = SnapLength::new(snap);
        let interfaces: Vec<_> = names
            .iter()
            .map(|name| {
                let description = "a link";
                let filter = filter.as_deref();
                section.interface(&Interface { name, description, snap_length, filter }, &mut bytes)
            })
            .collect();
        for wanted in &packets {
            let direction = if wanted.is_out { Direction::Out } else { Direction::In };
            let length = u32::try_from(wanted.data.len()).unwrap() + wanted.cut;
            let (time, data, missing) = (wanted.time, wanted.data.as_slice(), wanted.missing);
            let packet = Packet { time, direction, length, data, missing };
            section.packet(interfaces[wanted.interface], &packet, &mut bytes);
        }
        let statistics = Statistics { begin, end, received, dropped };
        section.statistics(interfaces[2], &statistics, &mut bytes);

        let blocks = read(&bytes);
        prop_assert_eq!(blocks.len(), 1 + names.len() + packets.len() + 1);
        let Block::SectionHeader(header) = &blocks[0] else { panic!("{:?}", blocks[0]) };
        prop_assert_eq!((header.major_version, header.minor_version, header.section_len), (1, 0, -1));
        prop_assert_eq!(option(&header.options, 4), Some(b"Testyard".as_slice()));
        for (block, name) in blocks[1..].iter().zip(&names) {
            let Block::InterfaceDescription(interface) = block else { panic!("{block:?}") };
            prop_assert_eq!(interface.linktype.0, 1);
            prop_assert_eq!(interface.snaplen, snap_length.bytes());
            prop_assert_eq!(interface.if_tsresol, 9);
            prop_assert_eq!(option(&interface.options, 2), Some(name.as_bytes()));
            prop_assert_eq!(option(&interface.options, 3), Some(b"a link".as_slice()));
            let tagged = filter.as_ref().map(|filter| [&[0], filter.as_bytes()].concat());
            prop_assert_eq!(option(&interface.options, 11), tagged.as_deref());
        }
        for (block, wanted) in blocks[1 + names.len()..].iter().zip(&packets) {
            let Block::EnhancedPacket(packet) = block else { panic!("{block:?}") };
            prop_assert_eq!(packet.if_id as usize, wanted.interface);
            prop_assert_eq!(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low), wanted.time);
            prop_assert_eq!(&packet.data[..packet.caplen as usize], wanted.data.as_slice());
            prop_assert_eq!(packet.origlen, packet.caplen + wanted.cut);
            let flags = u32::from_le_bytes(option(&packet.options, 2).unwrap().try_into().unwrap());
            prop_assert_eq!(flags, if wanted.is_out { 2 } else { 1 });
            prop_assert_eq!(option(&packet.options, 4).map_or(0, number), wanted.missing);
        }
        let Some(Block::InterfaceStatistics(seen)) = blocks.last() else { panic!("{:?}", blocks.last()) };
        prop_assert_eq!(seen.if_id, 2);
        prop_assert_eq!(option(&seen.options, 3).unwrap().len(), 8);
        prop_assert_eq!(number(option(&seen.options, 4).unwrap()), received);
        prop_assert_eq!(number(option(&seen.options, 5).unwrap()), dropped);
    }
}
