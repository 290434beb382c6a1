//! What fuzz targets and their committed corpora run: any bytes, no panic.

use crate::filter::{LONGEST, LONGEST_TEXT, Program};

/// A filter as `tcpdump -ddd` prints it.
///
/// # Panics
/// If a program is taken that the kernel would not take.
pub fn filter(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(LONGEST_TEXT)]);
    let Ok(program) = Program::parse(&text) else { return };
    let instructions = program.instructions();
    assert!((1..=LONGEST).contains(&instructions.len()), "{} instructions", instructions.len());
    // What is taken comes back from its own text.
    let lines = instructions.iter().map(|i| format!("{} {} {} {}", i.code, i.if_true, i.if_false, i.operand));
    let written = format!("{}\n{}\n", instructions.len(), lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(Program::parse(&written).as_ref(), Ok(&program));
}
