//! Numbers as people read them: three digits or so, with the unit that fits.

use testyard_model::quantity::Rate;

/// Nanoseconds.
#[must_use]
pub fn time(nanoseconds: f64) -> String {
    scaled(nanoseconds, &[(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")])
}

/// Bits per second.
#[must_use]
pub fn bits(per_second: f64) -> String {
    scaled(per_second, &[(1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit"), (1.0, "bit")])
}

/// A rate.
#[must_use]
pub fn rate(rate: Rate) -> String {
    bits(rate.bits_per_second() as f64)
}

/// A share, in per cent.
#[must_use]
pub fn share(share: f64) -> String {
    format!("{}%", digits(share * 100.0))
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if value == 0.0 {
        return format!("0{}", units.last().map_or("", |(_, unit)| unit));
    }
    let fitting = units.iter().find(|(factor, _)| value.abs() >= *factor * 0.999_5);
    let (factor, unit) = fitting.or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{}{unit}", digits(value / factor))
}

/// At least three digits that mean something, no zeros at the end.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 99.95 => 1,
        middle if middle >= 0.999_5 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown() {
        for (value, text) in [
            (0.0, "0ns"),
            (20_012_345.0, "20.01ms"),
            (999_999.0, "1ms"),
            (-12_340.0, "-12.34us"),
            (3e9, "3s"),
            (0.2, "0.2ns"),
        ] {
            assert_eq!(time(value), text);
        }
        assert_eq!(bits(9_987_000.0), "9.99Mbit");
        assert_eq!(bits(123_456.0), "123.5kbit");
        assert_eq!(share(0.05), "5%");
        assert_eq!(share(0.000_5), "0.05%");
    }
}
