//! What a frame of a train looks like. Pure.
//!
//! ```text
//!  0      6      12     14        36        58        80
//!  ┌──────┬──────┬──────┬─────────┬─────────┬─────────┬────────────────┐
//!  │  to  │ from │ 88b5 │  label  │  label  │  label  │ a known filler │
//!  └──────┴──────┴──────┴─────────┴─────────┴─────────┴────────────────┘
//!  label: magic 2, run 4, number 4, sent 8 (nanoseconds of CLOCK_MONOTONIC), checksum 4; big-endian
//! ```
//!
//! The label is there three times, so that a frame with two wrong bits, wherever they are, is known for what it was.

use testyard_model::probe::SHORTEST;

/// IEEE's first type for experiments in a local network (IEEE 802, 9.2.4).
pub(super) const ETHERTYPE: u16 = 0x88b5;
/// How each label begins.
pub(super) const MAGIC: u16 = 0x5459;
/// Where labels are.
pub(super) const LABELS: [usize; 3] = [HEADER, HEADER + LABEL, HEADER + 2 * LABEL];
const HEADER: usize = 14;
const LABEL: usize = 22;
const _: () = assert!(HEADER + 3 * LABEL == SHORTEST as usize);

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// Which train.
    pub(super) run: u32,
    /// Its place in it.
    pub(super) number: u32,
    /// When it was sent.
    pub(super) sent: u64,
}

/// The frames of a train but for their labels.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<u8>);

impl Template {
    /// `length` is at least [`SHORTEST`].
    pub(super) fn new(to: [u8; 6], from: [u8; 6], length: u16) -> Self {
        let mut bytes: Vec<u8> = (0..length.max(SHORTEST)).map(|at| (at as u8).wrapping_mul(37)).collect();
        bytes[..6].copy_from_slice(&to);
        bytes[6..12].copy_from_slice(&from);
        bytes[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a frame with this label is not as it was sent.
    pub(super) fn is_damaged(&self, frame: &[u8], label: &Label) -> bool {
        let label = label.bytes();
        let [first, .., last] = LABELS;
        frame.len() != self.0.len()
            || frame[..first] != self.0[..first]
            || LABELS.iter().any(|at| frame[*at..*at + LABEL] != label)
            || frame[last + LABEL..] != self.0[last + LABEL..]
    }
}

impl Label {
    fn bytes(self) -> [u8; LABEL] {
        let mut bytes = [0; LABEL];
        bytes[..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.run.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.number.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.sent.to_be_bytes());
        let checksum = checksum(&bytes[..18]);
        bytes[18..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// Into a frame that is a copy of a template.
    pub(super) fn write(self, frame: &mut [u8]) {
        let bytes = self.bytes();
        for at in LABELS {
            frame[at..at + LABEL].copy_from_slice(&bytes);
        }
    }

    /// Of whatever has arrived: the first label that is whole, if it is of this run.
    pub(super) fn read(frame: &[u8], run: u32) -> Option<Self> {
        LABELS.iter().find_map(|at| {
            let bytes: &[u8; LABEL] = frame.get(*at..*at + LABEL)?.try_into().ok()?;
            let word =
                |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let sent = u64::from(word(10)) << 32 | u64::from(word(14));
            let label = Self { run: word(2), number: word(6), sent };
            (label.bytes() == *bytes && label.run == run).then_some(label)
        })
    }
}

/// FNV-1a: one or two wrong bits never go unnoticed in so few bytes.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL_OF_TEST: Label = Label { run: 7, number: 3, sent: 123_456_789_012_345 };

    fn frame(length: u16) -> (Template, Vec<u8>) {
        let template = Template::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], length);
        let mut frame = template.bytes().to_vec();
        LABEL_OF_TEST.write(&mut frame);
        (template, frame)
    }

    #[test]
    fn a_frame_says_what_it_is() {
        for length in [SHORTEST, 1514] {
            let (template, frame) = frame(length);
            assert_eq!(Label::read(&frame, 7), Some(LABEL_OF_TEST));
            assert_eq!(Label::read(&frame, 8), None);
            assert!(!template.is_damaged(&frame, &LABEL_OF_TEST));
        }
        assert_eq!(Label::read(&[0; 40], 0), None);
    }

    #[test]
    fn also_with_two_wrong_bits() {
        let (template, whole) = frame(SHORTEST);
        let bits = whole.len() * 8;
        for first in 0..bits {
            for second in (first + 1)..bits {
                let mut frame = whole.clone();
                frame[first / 8] ^= 1 << (first % 8);
                frame[second / 8] ^= 1 << (second % 8);
                assert_eq!(Label::read(&frame, 7), Some(LABEL_OF_TEST), "{first} {second}");
                assert!(template.is_damaged(&frame, &LABEL_OF_TEST));
            }
        }
    }
}
