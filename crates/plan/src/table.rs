//! Plain text tables that fit a terminal: what is too long goes on in the next line of its cell.

use std::fmt::Write as _;

/// The most columns of text.
pub const WIDTH: usize = 100;
/// No column is made narrower than this.
const LEAST: usize = 8;
/// An Ethernet address, or an IPv4 network.
const ADDRESS: usize = 18;
const GAP: usize = 2;

/// Lines of a table with a header. Widths count characters.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths = header.map(length);
    let mut words = header.map(length);
    for row in rows {
        for ((width, word), cell) in widths.iter_mut().zip(&mut words).zip(row) {
            *width = (*width).max(length(cell));
            *word = cell.split(' ').map(length).fold(*word, usize::max);
        }
    }
    let most = WIDTH.saturating_sub(GAP * (N - 1));
    // First texts are broken at their blanks, then long words, and addresses only where nothing else helps.
    for least in [words, words.map(|word| word.clamp(LEAST, ADDRESS)), [LEAST; N]] {
        shrink(&mut widths, &least, most);
    }
    let mut text = String::new();
    line(&mut text, &header.map(str::to_owned), &widths);
    rows.iter().for_each(|row| line(&mut text, row, &widths));
    text
}

/// The widest that may give does so until all fit.
fn shrink<const N: usize>(widths: &mut [usize; N], least: &[usize; N], most: usize) {
    while widths.iter().sum::<usize>() > most {
        let able = widths.iter_mut().zip(least).filter(|(width, least)| **width > **least);
        match able.max_by_key(|(width, _)| **width) {
            Some((widest, _)) => *widest -= 1,
            None => return,
        }
    }
}

fn line<const N: usize>(text: &mut String, row: &[String; N], widths: &[usize; N]) {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    for number in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
        let mut out = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let part = cell.get(number).map_or("", String::as_str);
            let _ = write!(out, "{part:width$}{:GAP$}", "");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
}

/// Parts of at most so many characters, at spaces where there are any.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut used = 0;
    for word in cell.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            parts.push(String::new());
            used = 0;
        }
        let Some(part) = parts.last_mut() else { continue };
        if used > 0 {
            part.push(' ');
            used += 1;
        }
        if length <= width {
            part.push_str(word);
            used += length;
            continue;
        }
        for c in word.chars() {
            if used == width {
                parts.push(String::new());
                used = 0;
            }
            if let Some(part) = parts.last_mut() {
                part.push(c);
                used += 1;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_broken_last() {
        let name = "a-node-whose-name-is-quite-long-for-a-table".to_owned();
        let row = [
            name.clone(),
            "10.1.1.0/24".into(),
            name.clone(),
            "02:2c:76:8b:67:30".into(),
            "rate=10Mbit delay=5ms".into(),
        ];
        let text = table(["LINK", "NETWORK", "MEMBER", "ETHERNET ADDRESS", "IMPAIRMENT"], &[row]);
        assert!(text.contains("10.1.1.0/24") && text.contains("02:2c:76:8b:67:30"), "{text}");
    }

    proptest! {
        #[test]
        fn every_table_fits_and_says_everything(rows in prop::collection::vec(prop::array::uniform4("[a-zä ]{0,90}"), 0..8)) {
            let text = table(["one", "two", "three", "four"], &rows);
            for line in text.lines() {
                prop_assert!(line.chars().count() <= WIDTH, "{}", line);
            }
            let count = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let cells: usize = rows.iter().flatten().map(|cell| count(cell)).sum();
            prop_assert_eq!(count(&text), cells + count("onetwothreefour"));
        }
    }
}
