//! What a single value may be: plain TOML types, and the texts that stand for spans of time, sizes and ranges.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

/// A type that one value of the file can be read as.
pub(super) trait Value: Sized {
    /// Reads it; the error says what was expected.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

/// A span of time: `90s`, `10m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

/// A size in bytes: `64K`, `100M`, `2G`; powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// Ports of the host: `12000-12999`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports(pub(super) RangeInclusive<u16>);

/// Processor time: a number of cores, also a fraction of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    pub(super) thousandths: u32,
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| expected("a text in quotes", value))
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }
}

impl Value for f64 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let digits = match value {
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().to_owned(),
            _ => return Err(expected("a number", value)),
        };
        digits
            .replace('_', "")
            .parse::<Self>()
            .ok()
            .filter(|n| n.is_finite())
            .ok_or_else(|| expected("a number", value))
    }
}

impl Value for u16 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let number = u32::read(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is not a number from 0 to {}", Self::MAX))
    }
}

impl Value for u32 {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Integer(integer) = value else { return Err(expected("a whole number", value)) };
        let digits = integer.as_str().replace('_', "");
        Self::from_str_radix(digits.trim_start_matches('+'), integer.radix())
            .map_err(|_| format!("{digits} is not a number from 0 to {}", Self::MAX))
    }
}

impl Value for Cores {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let cores = f64::read(value)?;
        if (0.001..=4096.0).contains(&cores) {
            // In range, so neither sign nor size can be lost.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Ok(Self { thousandths: (cores * 1000.0).round() as u32 })
        } else {
            Err(format!("{cores} is not a number of cores from 0.001 to 4096"))
        }
    }
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", value.type_str())
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a span of time, like \"90s\", \"10m\", \"2h\" or \"7d\"");
        let (digits, seconds) = match text.as_bytes().last() {
            Some(b's') => (&text[..text.len() - 1], 1),
            Some(b'm') => (&text[..text.len() - 1], 60),
            Some(b'h') => (&text[..text.len() - 1], 3600),
            Some(b'd') => (&text[..text.len() - 1], 86_400),
            _ => return Err(error()),
        };
        let number: u32 = digits.trim().parse().map_err(|_| error())?;
        Ok(Self(Duration::from_secs(u64::from(number) * seconds)))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a size, like \"64K\", \"100M\" or \"2G\"");
        let plain = text.trim_end_matches("iB").trim_end_matches('B');
        let (digits, shift) = match plain.as_bytes().last() {
            Some(b'K' | b'k') => (&plain[..plain.len() - 1], 10),
            Some(b'M' | b'm') => (&plain[..plain.len() - 1], 20),
            Some(b'G' | b'g') => (&plain[..plain.len() - 1], 30),
            Some(b'T' | b't') => (&plain[..plain.len() - 1], 40),
            Some(b'0'..=b'9') => (plain, 0),
            _ => return Err(error()),
        };
        let number: u64 = digits.trim().parse().map_err(|_| error())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(error)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a range of ports, like \"12000-12999\"");
        let (first, last) = text.split_once('-').ok_or_else(error)?;
        let first: u16 = first.trim().parse().map_err(|_| error())?;
        let last: u16 = last.trim().parse().map_err(|_| error())?;
        if first < 1024 {
            return Err(format!("{text:?} begins below 1024, among the ports of system services"));
        }
        if first > last { Err(error()) } else { Ok(Self(first..=last)) }
    }
}

/// Reads a span of time: `90s`, `10m`, `2h`, `7d`.
///
/// # Errors
/// What it should have been.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0)
}

/// A span of time in the words that the file uses.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_units() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs());
        assert_eq!(
            (span("90s"), span("10m"), span("2h"), span("7d")),
            (Ok(90), Ok(600), Ok(7200), Ok(604_800))
        );
        for text in ["90s", "10m", "2h", "7d", "0s"] {
            assert_eq!(format_duration(text.parse::<Span>().unwrap().0), text);
        }
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!((size("64K"), size("100M"), size("2 GiB")), (Ok(65_536), Ok(104_857_600), Ok(2 << 30)));
        assert_eq!("12000-12999".parse::<Ports>(), Ok(Ports(12000..=12999)));
    }

    #[test]
    fn what_they_may_not_be() {
        for bad in ["", "10", "m", "-1m", "1.5h", "99999999999d", "1w", "é"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
        for bad in ["", "M", "-1M", "1.5G", "99999999999999T", "10X", "é"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
        for bad in ["", "12000", "12999-12000", "22-80", "1-70000", "a-b"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad:?}");
        }
    }
}
