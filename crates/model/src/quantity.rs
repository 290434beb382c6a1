//! Quantities of links as people write them: rates, spans of time, probabilities, sizes.
//!
//! Each is a whole number underneath, so that equal things are equal, and each is written so that it reads again as
//! the same value: `100Mbit`, `1.5ms`, `0.25%`, `64KiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is no such quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not begin with a number.
    #[error("{text:?} is no {what}: write it like {example}")]
    Number {
        /// What was wanted.
        what: &'static str,
        /// What was given, shortened.
        text: String,
        /// One that is good.
        example: &'static str,
    },
    /// The number has no unit, or one that means nothing here.
    #[error("{text:?} has no unit of a {what}: write it like {example} (units: {units})")]
    Unit {
        /// What was wanted.
        what: &'static str,
        /// What was given, shortened.
        text: String,
        /// One that is good.
        example: &'static str,
        /// Every unit that it may have.
        units: &'static str,
    },
    /// More than there can be.
    #[error("{text:?} is too much for a {what}: at most {most}")]
    Range {
        /// What was wanted.
        what: &'static str,
        /// What was given, shortened.
        text: String,
        /// The most.
        most: &'static str,
    },
}

/// What a quantity's text may be.
struct Grammar {
    what: &'static str,
    example: &'static str,
    most: &'static str,
    /// The largest value, in the base unit.
    max: u64,
    /// Names of units with how many of the base unit each is; none is empty unless a bare number is good.
    units: &'static [(&'static str, u64)],
    shown_units: &'static str,
}

impl Grammar {
    fn number(&self, text: &str) -> QuantityError {
        QuantityError::Number { what: self.what, text: short(text), example: self.example }
    }

    /// A decimal number times its unit, exactly; what is finer than the base unit is rounded to the nearest.
    fn read(&self, text: &str) -> Result<u64, QuantityError> {
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_start();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 40 {
            return Err(self.number(text));
        }
        let known = self.units.iter().find(|(name, _)| *name == unit);
        let any_case = || self.units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let Some((_, factor)) = known.or_else(any_case) else {
            return Err(QuantityError::Unit {
                what: self.what,
                text: short(text),
                example: self.example,
                units: self.shown_units,
            });
        };
        let range = || QuantityError::Range { what: self.what, text: short(text), most: self.most };
        let factor = u128::from(*factor);
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| range())? };
        // Twenty digits are finer than any base unit here.
        let fraction = &fraction[..fraction.len().min(18)];
        let part = match fraction {
            "" => 0,
            digits => {
                let scale = 10_u128.pow(u32::try_from(digits.len()).map_err(|_| range())?);
                let digits: u128 = digits.parse().map_err(|_| range())?;
                (digits * factor + scale / 2) / scale
            }
        };
        let value = whole.checked_mul(factor).and_then(|value| value.checked_add(part)).ok_or_else(range)?;
        u64::try_from(value).ok().filter(|value| *value <= self.max).ok_or_else(range)
    }
}

/// A value in the largest unit of which it is at least one, without trailing zeros.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (unit, factor) = units.iter().find(|(_, factor)| value >= *factor).copied().unwrap_or(("", 1));
    let (unit, factor) =
        if factor == 1 { units.last().copied().unwrap_or((unit, 1)) } else { (unit, factor) };
    let (whole, mut rest) = (value / factor, value % factor);
    let mut digits = String::new();
    while rest > 0 && digits.len() < 18 {
        let shifted = u128::from(rest) * 10;
        digits.push(char::from(b'0' + (shifted / u128::from(factor)) as u8));
        rest = (shifted % u128::from(factor)) as u64;
    }
    match digits.as_str() {
        "" => write!(f, "{whole}{unit}"),
        digits => write!(f, "{whole}.{digits}{unit}"),
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

macro_rules! quantity {
    ($type:ident, $grammar:expr, $shown:expr) => {
        impl FromStr for $type {
            type Err = QuantityError;

            fn from_str(text: &str) -> Result<Self, QuantityError> {
                $grammar.read(text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(f, self.0, $shown)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $type {
            type Error = QuantityError;

            fn try_from(text: String) -> Result<Self, QuantityError> {
                text.parse()
            }
        }
    };
}

/// How fast a link carries: whole bits per second of layer-2 frames, at most 1 Tbit/s. `b`, `bit` and `bps` are bits,
/// as in NS and tc's `bit`; prefixes are decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rate(u64);

const RATES: &[(&str, u64)] = &[
    ("Gbit", 1_000_000_000),
    ("Mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
    ("Gbps", 1_000_000_000),
    ("Mbps", 1_000_000),
    ("kbps", 1_000),
    ("bps", 1),
    ("Gb", 1_000_000_000),
    ("Mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

quantity!(
    Rate,
    Grammar {
        what: "rate",
        example: "100Mbit",
        most: "1000Gbit",
        max: 1_000_000_000_000,
        units: RATES,
        shown_units: "bit, kbit, Mbit, Gbit",
    },
    &RATES[..4]
);

impl Rate {
    /// A number of bits per second; at most 1 Tbit/s.
    #[must_use]
    pub const fn from_bits_per_second(bits: u64) -> Option<Self> {
        if bits <= 1_000_000_000_000 { Some(Self(bits)) } else { None }
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// How long it takes to send so many bytes; for ever at no rate at all.
    #[must_use]
    pub const fn time_of(self, bytes: u64) -> Duration {
        if self.0 == 0 {
            return Duration::MAX;
        }
        let nanoseconds = bytes as u128 * 8_000_000_000 / self.0 as u128;
        if nanoseconds > u64::MAX as u128 { Duration::MAX } else { Duration::from_nanos(nanoseconds as u64) }
    }
}

/// A length of time: whole nanoseconds, at most about 584 years. A bare `0` needs no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u64);

const SPANS: &[(&str, u64)] = &[
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("µs", 1_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const GRAMMAR: Grammar = Grammar {
            what: "time",
            example: "50ms",
            most: "584 years",
            max: u64::MAX,
            units: SPANS,
            shown_units: "ns, us, ms, s, m, h",
        };
        if text.trim() == "0" { Ok(Self(0)) } else { GRAMMAR.read(text).map(Self) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0s") } else { write(f, self.0, &SPANS[..4]) }
    }
}

impl From<Span> for String {
    fn from(value: Span) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Whole nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Whole microseconds; as much as there can be if it is more.
    #[must_use]
    pub const fn from_micros(microseconds: u64) -> Self {
        Self(microseconds.saturating_mul(1_000))
    }

    /// Whole milliseconds; as much as there can be if it is more.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(1_000_000))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The same for the standard library.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The sum; as much as there can be if it is more.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// How likely something is: whole parts of 10⁹. Written `1%` or `0.01`; shown in per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Probability(u64);

const PERCENT: &[(&str, u64)] = &[("%", 10_000_000), ("", 1_000_000_000)];

impl FromStr for Probability {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const GRAMMAR: Grammar = Grammar {
            what: "probability",
            example: "1%",
            most: "100% (or 1)",
            max: 1_000_000_000,
            units: PERCENT,
            shown_units: "%, or none for a number from 0 to 1",
        };
        GRAMMAR.read(text).map(Self)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000_000, self.0 % 10_000_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:07}").trim_end_matches('0'))
    }
}

impl From<Probability> for String {
    fn from(value: Probability) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Probability {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl Probability {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(1_000_000_000);

    /// Parts of 10⁹; at most all of them.
    #[must_use]
    pub const fn from_parts_per_billion(parts: u64) -> Option<Self> {
        if parts <= 1_000_000_000 { Some(Self(parts)) } else { None }
    }

    /// The nearest to a number from 0 to 1; none outside of that.
    #[must_use]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then(|| Self((ratio * 1e9).round() as u64))
    }

    /// Parts of 10⁹.
    #[must_use]
    pub const fn parts_per_billion(self) -> u64 {
        self.0
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Whether it cannot be.
    #[must_use]
    pub const fn is_never(&self) -> bool {
        self.0 == 0
    }
}

/// An amount of data: whole bytes. `KiB` to `TiB` are powers of two, `kB` to `TB` of ten; a bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size(u64);

const SIZES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("", 1),
];

quantity!(
    Size,
    Grammar {
        what: "size",
        example: "64KiB",
        most: "16 EiB",
        max: u64::MAX,
        units: SIZES,
        shown_units: "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB",
    },
    &SIZES[..4]
);

impl Size {
    /// Whole bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates() {
        for (text, shown) in [
            ("100Mbit", "100Mbit"),
            ("100Mb", "100Mbit"),
            ("100M", "100Mbit"),
            ("1.5 Mbps", "1.5Mbit"),
            ("1000kb", "1Mbit"),
            ("56k", "56kbit"),
            ("9600b", "9.6kbit"),
            ("1001bit", "1.001kbit"),
            ("0bit", "0bit"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "fast", "100", "100Mx", "-1Mbit", "1e9bit", "2000Gbit", "1.2.3M", ".", "1 2M"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!("8Mbit".parse::<Rate>().unwrap().time_of(1_000), Duration::from_millis(1));
    }

    #[test]
    fn spans() {
        for (text, shown) in [
            ("50ms", "50ms"),
            ("0", "0s"),
            ("0.5s", "500ms"),
            ("1500us", "1.5ms"),
            ("10 ms", "10ms"),
            ("2m", "120s"),
            ("7ns", "7ns"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["50", "ms", "1d", "-5ms", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("900TB", 900_000_000_000_000),
            ("2TiB", 2 << 40),
            ("64KiB", 64 << 10),
            ("5", 5),
            ("1.5kB", 1_500),
        ] {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "TB", "1PB", "-1B", "99999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn probabilities() {
        for (text, shown) in
            [("1%", "1%"), ("0.01", "1%"), ("0.5%", "0.5%"), ("1", "100%"), ("0.000005", "0.0005%")]
        {
            assert_eq!(text.parse::<Probability>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["101%", "2", "-1%", "half", "1%%"] {
            assert!(text.parse::<Probability>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_say_how() {
        assert_eq!(
            "50".parse::<Span>().unwrap_err().to_string(),
            "\"50\" has no unit of a time: write it like 50ms (units: ns, us, ms, s, m, h)"
        );
        assert_eq!(
            "quick".parse::<Rate>().unwrap_err().to_string(),
            "\"quick\" is no rate: write it like 100Mbit"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_again(bits in 0_u64..=1_000_000_000_000, any in any::<u64>(), parts in 0_u64..=1_000_000_000) {
            let rate = Rate(bits);
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
            let span = Span(any);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
            let size = Size(any);
            prop_assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
            let chance = Probability(parts);
            prop_assert_eq!(chance.to_string().parse::<Probability>().unwrap(), chance);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,50}") {
            let _ = (text.parse::<Rate>(), text.parse::<Span>(), text.parse::<Probability>(), text.parse::<Size>());
        }
    }
}
