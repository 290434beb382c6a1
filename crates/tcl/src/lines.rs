//! Lines that a backslash continues, joined as Tcl joins them (`\`, the line's end and the white space behind become
//! one space) before it counts any line, and places in what comes of that.
//!
//! Tcl does it as the first thing of all, in every kind of word and comment, but counts the lines of a proc's body
//! and of other text that is run later without those that it joined.

use std::fmt::Write as _;

use crate::Place;

/// A text without continued lines.
pub(crate) struct Joined {
    /// The text.
    pub(crate) text: String,
    /// For each of its lines, the pieces that it was made of.
    lines: Vec<Vec<Piece>>,
}

/// Where a part of a joined line was.
struct Piece {
    /// The column in the joined line that it begins at, from 0.
    from: u32,
    /// The line that it was on, from 1.
    line: u32,
    /// The column that it began at there, from 0.
    column: u32,
}

impl Joined {
    pub(crate) fn new(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut joined = Self { text: String::with_capacity(text.len() + 1), lines: Vec::new() };
        let mut pieces: Vec<Piece> = Vec::new();
        let mut length = 0;
        for (line, number) in text.lines().zip(1_u32..) {
            // A file of another system's: a line may end in a carriage return still.
            let line = line.trim_end_matches('\r');
            let part = if pieces.is_empty() { line } else { line.trim_start_matches([' ', '\t']) };
            let skipped = (line.len() - part.len()) as u32;
            pieces.push(Piece { from: length, line: number, column: skipped });
            let backslashes = part.len() - part.trim_end_matches('\\').len();
            if backslashes % 2 == 1 {
                let kept = &part[..part.len() - 1];
                let _ = write!(joined.text, "{kept} ");
                length += kept.chars().count() as u32 + 1;
            } else {
                let _ = writeln!(joined.text, "{part}");
                joined.lines.push(std::mem::take(&mut pieces));
                length = 0;
            }
        }
        if !pieces.is_empty() {
            joined.text.push('\n');
            joined.lines.push(pieces);
        }
        joined
    }

    /// Where a place of the joined text was.
    pub(crate) fn place(&self, line: u32, column: u32) -> Option<Place> {
        let pieces = self.lines.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let column = column.max(1) - 1;
        let piece = pieces.iter().rev().find(|piece| piece.from <= column)?;
        Some(Place { line: piece.line, column: piece.column + (column - piece.from) + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn joined_and_found_again() {
        let joined = Joined::new("a \\\n   b c\\\n\td\ne \\\\\nf\r\ng\\");
        assert_eq!(joined.text, "a  b c d\ne \\\\\nf\ng \n");
        let place = |line, column| joined.place(line, column).map(|place| (place.line, place.column));
        assert_eq!(place(1, 1), Some((1, 1)));
        assert_eq!(place(1, 4), Some((2, 4)));
        assert_eq!(place(1, 6), Some((2, 6)));
        assert_eq!(place(1, 8), Some((3, 2)));
        assert_eq!(place(2, 1), Some((4, 1)));
        assert_eq!(place(3, 1), Some((5, 1)));
        assert_eq!(place(9, 1), None);
        assert_eq!(place(0, 0), None);
    }

    proptest! {
        #[test]
        fn every_character_is_where_it_was(text in "[ab \\\\\n]{0,60}") {
            let joined = Joined::new(&text);
            let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
            for (line, number) in joined.text.lines().zip(1_u32..) {
                for (c, column) in line.chars().zip(1_u32..) {
                    let place = joined.place(number, column).unwrap();
                    let there = lines[place.line as usize - 1].get(place.column as usize - 1).copied();
                    // A backslash that continued its line became a space.
                    prop_assert!(there == Some(c) || (c == ' ' && there == Some('\\')), "{place:?}");
                }
            }
        }
    }
}
