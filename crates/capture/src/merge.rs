//! Several captures as one: each is a section of its own, with interfaces numbered from 0; together they are one section.
//!
//! Packets wait for a round ([`Order`]), so that those of different hosts come in order of time, as far as the hosts' clocks
//! agree. Section headers and interfaces never wait: nothing may come before them.

use crate::order::Order;
use crate::pcapng::{block, blocks};

/// Where a packet's and a statistic's interface is in its block, and the time, its higher half first.
const INTERFACE: usize = 8;
const TIME: usize = 12;
/// More interfaces than any capture has.
const MOST_INTERFACES: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Merge {
    /// By source: its interfaces' numbers in the whole.
    interfaces: Vec<Vec<u32>>,
    next: u32,
    has_begun: bool,
    order: Order,
    /// What each source counted, in the order in which it came: it ends the whole.
    statistics: Vec<u8>,
}

/// A source gave something that is no block of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host's capture has a block that cannot be read")]
pub struct Unreadable;

impl Merge {
    /// Of so many sources.
    #[must_use]
    pub fn of(sources: usize) -> Self {
        Self { interfaces: vec![Vec::new(); sources], ..Self::default() }
    }

    /// Takes whole blocks of a source; appends to `out` what does not wait.
    ///
    /// # Errors
    /// [`Unreadable`] if there is anything else in them; what came before that is taken.
    ///
    /// # Panics
    /// If there is no such source.
    pub fn take(&mut self, source: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut length = 0;
        for (kind, whole) in blocks(bytes) {
            length += whole.len();
            match kind {
                block::SECTION if self.has_begun => {}
                block::SECTION => {
                    self.has_begun = true;
                    out.extend_from_slice(whole);
                }
                block::INTERFACE => {
                    let interfaces = &mut self.interfaces[source];
                    if interfaces.len() >= MOST_INTERFACES {
                        return Err(Unreadable);
                    }
                    interfaces.push(self.next);
                    self.next += 1;
                    out.extend_from_slice(whole);
                }
                block::PACKET => {
                    let number = self.number(source, whole).ok_or(Unreadable)?;
                    let time = time(whole).ok_or(Unreadable)?;
                    self.order.add(time, |out| renumbered(whole, number, out));
                }
                block::STATISTICS => {
                    let number = self.number(source, whole).ok_or(Unreadable)?;
                    renumbered(whole, number, &mut self.statistics);
                }
                // Whoever reads the whole would skip it as well.
                _ => {}
            }
        }
        if length == bytes.len() { Ok(()) } else { Err(Unreadable) }
    }

    /// Ends a round: packets of the rounds before, in order.
    #[must_use]
    pub fn round(&mut self) -> Vec<u8> {
        self.order.round()
    }

    /// All that waits, and what the sources counted: nothing else will come.
    #[must_use]
    pub fn flush(&mut self) -> Vec<u8> {
        let mut rest = self.order.flush();
        rest.append(&mut self.statistics);
        rest
    }

    /// Bytes that wait.
    #[must_use]
    pub fn size(&self) -> usize {
        self.order.size()
    }

    /// The number in the whole of a block's interface.
    fn number(&self, source: usize, whole: &[u8]) -> Option<u32> {
        let own = u32_at(whole, INTERFACE)?;
        self.interfaces[source].get(own as usize).copied()
    }
}

fn renumbered(whole: &[u8], number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&whole[..INTERFACE]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&whole[INTERFACE + 4..]);
}

fn time(whole: &[u8]) -> Option<u64> {
    Some(u64::from(u32_at(whole, TIME)?) << 32 | u64::from(u32_at(whole, TIME + 4)?))
}

/// Not of the length that ends every block.
fn u32_at(whole: &[u8], at: usize) -> Option<u32> {
    let body = whole.get(..whole.len().checked_sub(4)?)?;
    Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SnapLength;
    use crate::pcapng::{Direction, Interface, Packet, Section, Statistics};

    /// A source's capture: its blocks one by one.
    fn capture(name: &str, times: &[u64]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut out = Vec::new();
        let mut section = Section::begin("test", &mut out);
        all.push(std::mem::take(&mut out));
        let interface = Interface { name, description: "link", snap_length: SnapLength::MAX, filter: None };
        let number = section.interface(&interface, &mut out);
        all.push(std::mem::take(&mut out));
        for time in times {
            let packet = Packet {
                time: *time,
                direction: Direction::In,
                length: 4,
                data: name.as_bytes(),
                missing: 0,
            };
            section.packet(number, &packet, &mut out);
            all.push(std::mem::take(&mut out));
        }
        section.statistics(
            number,
            &Statistics { received: times.len() as u64, ..Statistics::default() },
            &mut out,
        );
        all.push(out);
        all
    }

    /// What is in a capture.
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        sections: usize,
        names: Vec<String>,
        /// Interface and time of each packet.
        packets: Vec<(u32, u64)>,
        /// The interface of each.
        statistics: Vec<u32>,
    }

    fn read(bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        for (kind, whole) in blocks(bytes) {
            let interface = || u32_at(whole, INTERFACE).unwrap();
            match kind {
                block::SECTION => seen.sections += 1,
                block::INTERFACE => {
                    let length = usize::from(whole[18]);
                    seen.names.push(String::from_utf8(whole[20..20 + length].to_vec()).unwrap());
                }
                block::PACKET => seen.packets.push((interface(), time(whole).unwrap())),
                _ => seen.statistics.push(interface()),
            }
        }
        seen
    }

    #[test]
    fn two_captures_are_one_section_in_order_of_time() {
        let (one, other) = (capture("a:x", &[10, 30, 50]), capture("b:x", &[20, 40]));
        let mut merge = Merge::of(2);
        let mut out = Vec::new();
        merge.take(1, &other.concat(), &mut out).unwrap();
        for blocks in &one {
            merge.take(0, blocks, &mut out).unwrap();
        }
        assert_eq!(merge.round(), [], "what has come waits for a round");
        out.extend(merge.round());
        out.extend(merge.flush());
        let wanted = Seen {
            sections: 1,
            names: vec!["b:x".to_owned(), "a:x".to_owned()],
            packets: vec![(1, 10), (0, 20), (1, 30), (0, 40), (1, 50)],
            statistics: vec![0, 1],
        };
        assert_eq!(read(&out), wanted);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let packet = capture("a", &[1]).remove(2);
        let mut out = Vec::new();
        assert_eq!(Merge::of(1).take(0, &packet, &mut out), Err(Unreadable), "its interface is unknown");
        let mut merge = Merge::of(1);
        merge.take(0, &capture("a", &[]).concat(), &mut out).unwrap();
        assert_eq!(merge.take(0, &packet[..packet.len() - 1], &mut out), Err(Unreadable), "cut off");
        let short = [&block::PACKET.to_le_bytes()[..], &16_u32.to_le_bytes(), &[0; 4], &16_u32.to_le_bytes()];
        assert_eq!(merge.take(0, &short.concat(), &mut out), Err(Unreadable), "no room for a time");
        assert_eq!(merge.take(0, &packet, &mut out), Ok(()), "and goes on");
    }

    proptest! {
        /// Whatever the bytes: no panic, and nothing but whole blocks comes out.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), place in 0_usize..300, byte: u8) {
            let mut real = capture("a", &[5, 9]).concat();
            let place = place % real.len();
            real[place] = byte;
            for bytes in [bytes, real] {
                let (mut merge, mut out) = (Merge::of(1), Vec::new());
                let _ = merge.take(0, &bytes, &mut out);
                out.extend(merge.flush());
                prop_assert_eq!(blocks(&out).map(|(_, whole)| whole.len()).sum::<usize>(), out.len());
            }
        }
    }
}
