//! Texts for people.

use std::error::Error;

/// An error with its sources, joined by colons.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The text without control characters and no longer than `limit` characters.
#[must_use]
pub fn printable(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '?' } else { c }).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write it")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("disk full"))), "cannot write it: disk full");
    }

    #[test]
    fn what_cannot_be_printed_is_not() {
        assert_eq!(printable(b"a\nb\x00c", 3), "a?b");
    }
}
