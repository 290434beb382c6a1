//! Texts for people: error chains, ends of outputs, the log.

use std::error::Error;

/// An error with its sources, joined by colons.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The last `limit` characters of some output, readable whatever it holds.
pub(crate) fn tail(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: Vec<char> =
        text.trim_end().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    text[text.len().saturating_sub(limit)..].iter().collect()
}

/// The text without control characters and no longer than `limit` characters.
pub(crate) fn printable(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).take(limit).collect()
}

/// A line in the node's log (the container's standard error).
pub(crate) fn log(line: &str) {
    use std::io::Write as _;
    // Nobody is there to hear that the log is closed.
    let _ = writeln!(std::io::stderr(), "testyard-guest: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_outputs() {
        assert_eq!(tail(b"one\ntwo\n", 100), "one\ntwo");
        assert_eq!(tail(b"abc\xff\x1b[1m", 3), "[1m");
        assert_eq!(tail("äöü".as_bytes(), 2), "öü");
        assert_eq!(printable(b"a\nb\x00c", 3), "a?b");
    }

    #[test]
    fn sources_are_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write it")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("disk full"))), "cannot write it: disk full");
    }
}
