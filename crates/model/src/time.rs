//! The time format of the AM API (am-api.md §1.7).
//!
//! Sent: `2027-01-01T00:00:00Z`, whole seconds, upper case. Read: RFC 3339 and what clients make of it: lower-case
//! letters, a blank instead of `T`, fractions (dropped), a leap second (the second before it), a zone with or without
//! colon, and no zone at all, which means UTC. One client compares the text it sent with the text it gets, so nothing
//! finer than seconds survives, and seconds always do.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write it like 2027-01-01T00:00:00Z (RFC 3339)")]
pub struct TimeError(String);

/// Reads a time; see the module for what is accepted.
///
/// # Errors
/// [`TimeError`] with the text (shortened) if it is none of those, or not in the years 1 to 9999.
pub fn parse(text: &str) -> Result<Timestamp, TimeError> {
    let error = || TimeError(text.chars().take(60).collect());
    let text = text.trim();
    if text.len() > 60 || !text.is_ascii() {
        return Err(error());
    }
    let bytes = text.as_bytes();
    let shape = |range: std::ops::Range<usize>| -> Option<i16> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = bytes.len() >= 19
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':';
    if !separators {
        return Err(error());
    }
    let field = |range| shape(range).ok_or_else(error);
    let small = |range| field(range).map(|value| i8::try_from(value).unwrap_or(i8::MAX));
    // A leap second has no place on this scale: 23:59:60 is read as 23:59:59.
    let second = small(17..19)?;
    let second = if second == 60 { 59 } else { second };
    let civil =
        DateTime::new(field(0..4)?, small(5..7)?, small(8..10)?, small(11..13)?, small(14..16)?, second, 0)
            .map_err(|_| error())?;
    let offset = offset(skip_fraction(&text[19..]).ok_or_else(error)?).ok_or_else(error)?;
    TimeZone::fixed(offset).to_timestamp(civil).map_err(|_| error())
}

/// Writes a time as the AM API wants it, whole seconds, dropping what is finer.
#[must_use]
pub fn format(time: Timestamp) -> String {
    whole_seconds(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time without what is finer than a second.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    let second = time.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(time)
}

fn skip_fraction(rest: &str) -> Option<&str> {
    match rest.strip_prefix(['.', ',']) {
        None => Some(rest),
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            (end > 0).then(|| &fraction[end..])
        }
    }
}

fn offset(zone: &str) -> Option<Offset> {
    let (sign, digits) = match zone {
        "" | "Z" | "z" => return Some(Offset::UTC),
        _ => match zone.split_at_checked(1)? {
            ("+", digits) => (1, digits),
            ("-", digits) => (-1, digits),
            _ => return None,
        },
    };
    let digits = digits.replace(':', "");
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_clients_send() {
        for (text, expected) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01t00:00:00z", "2027-01-01T00:00:00Z"),
            ("2027-01-01 00:00:00", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00", "2027-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00.123456Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T02:00:00+02:00", "2027-01-01T00:00:00Z"),
            ("2026-12-31T19:00:00-0500", "2027-01-01T00:00:00Z"),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59Z"),
            (" 2028-02-29T12:00:00+00:00 ", "2028-02-29T12:00:00Z"),
        ] {
            assert_eq!(format(parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "tomorrow",
            "2027-01-01",
            "2027-13-01T00:00:00Z",
            "2027-02-30T00:00:00Z",
            "2027-01-01T25:00:00Z",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "2027-01-01T00:00:00.Z",
            "2027-01-01T00:00:00+25:00",
            "2027-01-01T00:00:00Z2028-01-01T00:00:00Z",
            "2027-01-01T00:00:61Z",
            "2027-+1-01T00:00:00Z",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(second in 0i64..253_402_300_799) {
            let time = Timestamp::from_second(second).unwrap();
            prop_assert_eq!(parse(&format(time)).unwrap(), time);
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
