//! Captures, read by a reader that is not ours.

use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption, parse_block_le};

/// A capture that has been read.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// Name and description, by number.
    pub(crate) interfaces: Vec<(String, String)>,
    pub(crate) packets: Vec<Seen>,
    /// Received and dropped, by interface's number.
    pub(crate) statistics: Vec<(usize, u64, u64)>,
}

/// A packet.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its interface's name.
    pub(crate) at: String,
    pub(crate) time: u64,
    pub(crate) is_out: bool,
    pub(crate) length: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) missing: u64,
}

impl Seen {
    /// Request or answer, and number, of an echo over IPv4.
    pub(crate) fn echo(&self) -> Option<(bool, u16)> {
        let is_icmp = self.data.get(12..14)? == [8, 0] && *self.data.get(23)? == 1;
        let icmp = self.data.get(34..)?;
        let number = u16::from_be_bytes([*icmp.get(6)?, *icmp.get(7)?]);
        (is_icmp && matches!(icmp[0], 0 | 8)).then_some((icmp[0] == 8, number))
    }

    /// Whether it asks for an address, or answers.
    pub(crate) fn is_arp(&self) -> bool {
        self.data.get(12..14) == Some(&[8, 6])
    }
}

/// Reads whole blocks.
pub(crate) fn read(mut bytes: &[u8]) -> Capture {
    let mut capture = Capture::default();
    while !bytes.is_empty() {
        let (rest, block) = parse_block_le(bytes).expect("a block");
        bytes = rest;
        match block {
            Block::SectionHeader(_) => {}
            Block::InterfaceDescription(interface) => {
                let text =
                    |code| String::from_utf8(option(&interface.options, code).expect("a text").to_vec());
                capture.interfaces.push((text(2).expect("a name"), text(3).expect("a description")));
            }
            Block::EnhancedPacket(packet) => {
                let flags = option(&packet.options, 2).expect("flags");
                capture.packets.push(Seen {
                    at: capture.interfaces[packet.if_id as usize].0.clone(),
                    time: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                    is_out: flags[0] & 3 == 2,
                    length: packet.origlen,
                    data: packet.data[..packet.caplen as usize].to_vec(),
                    missing: option(&packet.options, 4).map_or(0, number),
                });
            }
            Block::InterfaceStatistics(counted) => {
                let of = |code| number(option(&counted.options, code).expect("a count"));
                capture.statistics.push((counted.if_id as usize, of(4), of(5)));
            }
            other => panic!("{other:?}"),
        }
    }
    capture
}

fn option<'o>(options: &'o [PcapNGOption<'_>], code: u16) -> Option<&'o [u8]> {
    let found = options.iter().find(|option| option.code == OptionCode(code))?;
    Some(&found.value[..usize::from(found.len)])
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
