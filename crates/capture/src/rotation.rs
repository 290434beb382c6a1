//! A stream of blocks, cut into files that each can be read alone: what describes the section and its interfaces is at the
//! beginning of every one.

use crate::pcapng::{block, blocks};

/// Where a stream is cut.
#[derive(Clone, Debug)]
pub struct Rotation {
    limit: u64,
    written: u64,
    /// Section header and interfaces so far.
    prelude: Vec<u8>,
}

/// What to do with blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append these.
    Append(Vec<u8>),
    /// Begin the next file with these.
    Next(Vec<u8>),
}

impl Rotation {
    /// Files of at most this many bytes, but never without a packet.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { limit, written: 0, prelude: Vec::new() }
    }

    /// What to do with the next blocks, which are whole.
    #[must_use]
    pub fn steps(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut current = Vec::new();
        for (kind, block) in blocks(bytes) {
            let size = block.len() as u64;
            let beginning = self.prelude.len() as u64;
            if self.written + size > self.limit && self.written > beginning && kind != block::SECTION {
                if !current.is_empty() {
                    steps.push(Step::Append(std::mem::take(&mut current)));
                }
                steps.push(Step::Next(self.prelude.clone()));
                self.written = beginning;
            }
            if matches!(kind, block::SECTION | block::INTERFACE) {
                self.prelude.extend_from_slice(block);
            }
            self.written += size;
            current.extend_from_slice(block);
        }
        if !current.is_empty() {
            steps.push(Step::Append(current));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SnapLength;
    use crate::pcapng::{Direction, Interface, Packet, Section};

    /// What the files hold, by their blocks.
    fn files(limit: u64, chunks: &[Vec<u8>]) -> Vec<Vec<u32>> {
        let mut rotation = Rotation::new(limit);
        let mut files = vec![Vec::new()];
        for step in chunks.iter().flat_map(|chunk| rotation.steps(chunk)) {
            match step {
                Step::Append(bytes) => files.last_mut().unwrap().extend(bytes),
                Step::Next(bytes) => files.push(bytes),
            }
        }
        for file in &files {
            assert!(file.len() as u64 <= limit.max(400), "{}", file.len());
        }
        files.iter().map(|file| blocks(file).map(|(kind, _)| kind).collect()).collect()
    }

    #[test]
    fn each_file_begins_with_what_describes_it() {
        let mut chunk = Vec::new();
        let mut section = Section::begin("t", &mut chunk);
        let interface = Interface { name: "a", description: "l", snap_length: SnapLength::MAX, filter: None };
        let first = section.interface(&interface, &mut chunk);
        let packet = Packet { time: 1, direction: Direction::In, length: 60, data: &[0; 60], missing: 0 };
        let mut more = Vec::new();
        for _ in 0..2 {
            section.packet(first, &packet, &mut more);
        }
        let second = section.interface(&interface, &mut more);
        section.packet(second, &packet, &mut more);
        let chunks = [chunk, more];
        let (head, one, two) = (block::SECTION, block::INTERFACE, block::PACKET);
        assert_eq!(files(1 << 20, &chunks), [[head, one, two, two, one, two]]);
        assert_eq!(
            files(250, &chunks),
            [vec![head, one, two], vec![head, one, two, one], vec![head, one, one, two]]
        );
        assert_eq!(files(0, &chunks).last().unwrap(), &[head, one, one, two], "never without a packet");
    }
}
