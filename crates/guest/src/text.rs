//! Texts for people: error chains, ends of outputs, the log.

pub(crate) use testyard_fetch::text::{chain, printable};

/// The most lines of an output that are shown.
pub(crate) const LINES: usize = 10;

/// The last `limit` characters of some output, [`LINES`] lines at most, readable whatever it holds; nothing of what
/// [is no text](is_binary).
pub(crate) fn tail(bytes: &[u8], limit: usize) -> String {
    if is_binary(bytes) {
        return String::new();
    }
    let text = String::from_utf8_lossy(bytes);
    let text: Vec<char> =
        text.trim_end().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let text: String = text[text.len().saturating_sub(limit)..].iter().collect();
    let start = text.rmatch_indices('\n').nth(LINES - 1).map_or(0, |(at, _)| at + 1);
    text[start..].to_owned()
}

/// Whether so much of some output is nothing that people could read that the rest says nothing either.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    let odd = |c: &char| {
        *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x1b'))
    };
    let text = String::from_utf8_lossy(bytes);
    // Noise has 55 of 100; a program's file more.
    text.chars().filter(odd).count() * 5 > text.chars().count() * 2
}

/// Why a process or thread could not be started, with what to do where the system's own text does not say it.
pub(crate) fn why_not_started(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => format!(
            "the node's limit of processes is reached; end some, or ask for a sliver type that allows more ({error})"
        ),
        Some(libc::ENOMEM) => {
            format!("the node's memory is used up; run less, or ask for a sliver type with more ({error})")
        }
        _ => error.to_string(),
    }
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
        assert_eq!(tail(&b"y\n".repeat(2000), 500).lines().count(), LINES);
        assert_eq!(tail(b"\n\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", 500), "2\n3\n4\n5\n6\n7\n8\n9\n10\n11");
        assert!(!is_binary(b"") && !is_binary("Grüße, \u{1b}[1mfett\u{1b}[0m\r\n".as_bytes()));
        let next = |last: &u64| Some(last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let noise: Vec<u8> =
            std::iter::successors(Some(1), next).map(|number: u64| (number >> 56) as u8).take(4096).collect();
        assert!(is_binary(&noise) && tail(&noise, 500).is_empty());
        assert_eq!(printable(b"a\nb\x00c", 3), "a?b");
    }

    #[test]
    fn a_limit_that_is_reached_is_named() {
        let told = |number| why_not_started(&std::io::Error::from_raw_os_error(number));
        assert!(told(libc::EAGAIN).starts_with("the node's limit of processes is reached"));
        assert!(told(libc::ENOENT).starts_with("No such file"));
    }
}
