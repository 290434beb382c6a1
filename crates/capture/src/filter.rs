//! The programs that the kernel chooses packets with: classic BPF, as `tcpdump -ddd` prints it.

use crate::SnapLength;

/// What the kernel takes at most (`BPF_MAXINSNS`).
pub const LONGEST: usize = 4096;
/// Longer than any program that the kernel takes.
pub const LONGEST_TEXT: usize = 256 << 10;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;
/// `BPF_CLASS`, `BPF_LD`, `BPF_MODE`, `BPF_ABS`.
const CLASS: u16 = 0x07;
const LOAD: u16 = 0x00;
const MODE: u16 = 0xe0;
const ABSOLUTE: u16 = 0x20;
/// `SKF_AD_OFF`: from here on a load is not from the packet, but from what the kernel knows of it on this host.
const BESIDE: u32 = 0xffff_f000;

/// One instruction, as in linux/filter.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How far to go on if it is true.
    pub if_true: u8,
    /// How far to go on if it is not.
    pub if_false: u8,
    /// What to do it with.
    pub operand: u32,
}

/// A program: what it returns is how many bytes of the packet are kept, 0 for none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

/// It is no program that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Not what tcpdump prints.
    #[error("line {line} of the program is none")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// Fewer or more instructions than were announced.
    #[error("the program has {found} instructions of {announced}")]
    Count {
        /// What the first line says.
        announced: usize,
        /// What follows.
        found: usize,
    },
    /// It asks for what is true of the link's side of an interface, and not of the node's.
    #[error(
        "inbound, outbound and ifindex are of the host here, not of the node: choose by `ether src`, or in Wireshark"
    )]
    Beside,
    /// None, or more than the kernel takes.
    #[error("a filter of {0} instructions; the kernel takes 1 to {LONGEST}")]
    Length(usize),
}

impl Program {
    /// Every packet.
    #[must_use]
    pub fn everything(kept: SnapLength) -> Self {
        Self(vec![Instruction { code: RETURN, if_true: 0, if_false: 0, operand: kept.bytes() }])
    }

    /// Reads what `tcpdump -ddd` prints: the number of instructions, then each as four numbers.
    ///
    /// # Errors
    /// It is something else, or cannot be used.
    pub fn parse(text: &str) -> Result<Self, ProgramError> {
        let mut lines = text.lines();
        let announced: usize =
            lines.next().and_then(|line| line.trim().parse().ok()).ok_or(ProgramError::Line { line: 1 })?;
        if !(1..=LONGEST).contains(&announced) {
            return Err(ProgramError::Length(announced));
        }
        let instructions = lines
            .take(LONGEST + 1)
            .enumerate()
            .map(|(index, line)| instruction(line).ok_or(ProgramError::Line { line: index + 2 }))
            .collect::<Result<Vec<_>, _>>()?;
        if instructions.len() != announced {
            return Err(ProgramError::Count { announced, found: instructions.len() });
        }
        let is_beside =
            |i: &Instruction| i.code & CLASS == LOAD && i.code & MODE == ABSOLUTE && i.operand >= BESIDE;
        if instructions.iter().any(is_beside) {
            return Err(ProgramError::Beside);
        }
        Ok(Self(instructions))
    }

    /// 1 to [`LONGEST`].
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

fn instruction(line: &str) -> Option<Instruction> {
    let mut numbers = line.split_ascii_whitespace();
    let instruction = Instruction {
        code: numbers.next()?.parse().ok()?,
        if_true: numbers.next()?.parse().ok()?,
        if_false: numbers.next()?.parse().ok()?,
        operand: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(instruction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_tcpdump_prints() {
        // tcpdump -ddd -y EN10MB arp
        let program = Program::parse("4\n40 0 0 12\n21 0 1 2054\n6 0 0 262144\n6 0 0 0\n").unwrap();
        let arp = Instruction { code: 21, if_true: 0, if_false: 1, operand: 2054 };
        assert_eq!((program.instructions().len(), program.instructions()[1]), (4, arp));
        assert_eq!(Program::parse("1\n6 0 0 262144").unwrap(), Program::everything(SnapLength::MAX));
    }

    #[test]
    fn what_is_none() {
        for (text, error) in [
            ("", ProgramError::Line { line: 1 }),
            ("(000) ldh [12]", ProgramError::Line { line: 1 }),
            ("0\n", ProgramError::Length(0)),
            ("4097\n", ProgramError::Length(4097)),
            ("1\n6 0 0", ProgramError::Line { line: 2 }),
            ("1\n6 0 0 0 0", ProgramError::Line { line: 2 }),
            ("1\n6 0 256 0", ProgramError::Line { line: 2 }),
            ("2\n6 0 0 0", ProgramError::Count { announced: 2, found: 1 }),
            ("1\n6 0 0 0\n6 0 0 0", ProgramError::Count { announced: 1, found: 2 }),
            // tcpdump -ddd -y EN10MB inbound
            ("4\n40 0 0 4294963204\n21 0 1 4\n6 0 0 0\n6 0 0 262144", ProgramError::Beside),
        ] {
            assert_eq!(Program::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(text in "[0-9 \n-]{0,200}") {
            if let Ok(program) = Program::parse(&text) {
                prop_assert!((1..=LONGEST).contains(&program.instructions().len()));
            }
        }
    }
}
