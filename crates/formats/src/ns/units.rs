//! NS's quantities (deter.md §6.2). Where this testbed can do more than DETER could, more is taken: a delay keeps its
//! fractions and may be below 2 ms, a rate keeps its bits, `us` is a unit.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use testyard_model::impairment::Loss;
use testyard_model::quantity::{Probability, Rate, Size, Span};

use super::call::Complaint;

const RATE_UNITS: &[&str] = &[
    "b", "bps", "bit", "k", "kb", "kbps", "kbit", "K", "Kb", "Kbps", "M", "Mb", "Mbps", "Mbit", "G", "Gb",
    "Gbps", "Gbit",
];

/// A rate; `*` and 0 are as fast as can be. A bare number is bits per second.
pub(super) fn rate(text: &str) -> Result<Option<Rate>, Complaint> {
    if text == "*" {
        return Ok(None);
    }
    let (number, unit) = split(text);
    let number = plain(number)
        .ok_or_else(|| Complaint::error(format!("{text:?} is no bandwidth")).suggest("write it like 10Mb"))?;
    if !unit.is_empty() && !RATE_UNITS.contains(&unit) {
        return Err(Complaint::error(format!("{unit:?} in {text:?} is no unit of a bandwidth"))
            .suggest("units are b, kb, Mb and Gb (bits per second)"));
    }
    let unit = if unit.is_empty() { "b" } else { unit };
    let rate: Rate =
        format!("{number}{unit}").parse().map_err(|error| Complaint::error(format!("{error}")))?;
    match rate.bits_per_second() {
        0 => Ok(None),
        1..1000 => Err(Complaint::error(format!("a bandwidth of {rate} per second is too little"))
            .suggest(format!("did you mean {}Mb? A number without a unit is bits per second", number))),
        _ => Ok(Some(rate)),
    }
}

/// A delay; a bare number is seconds.
pub(super) fn delay(text: &str) -> Result<Span, Complaint> {
    span(text, "s", "delay", "20ms")
}

/// A delay in an event, where a bare number is milliseconds.
pub(super) fn event_delay(text: &str) -> Result<Span, Complaint> {
    span(text, "ms", "delay", "20ms")
}

fn span(text: &str, default: &str, what: &str, example: &str) -> Result<Span, Complaint> {
    let (number, unit) = split(text);
    let bad =
        || Complaint::error(format!("{text:?} is no {what}")).suggest(format!("write it like {example}"));
    let number = plain(number).ok_or_else(bad)?;
    let unit = match unit {
        "" => default,
        "s" | "ms" | "us" | "ns" => unit,
        _ => {
            return Err(Complaint::error(format!("{unit:?} in {text:?} is no unit of a {what}"))
                .suggest("units are s, ms, us and ns"));
        }
    };
    format!("{number}{unit}").parse().map_err(|error| Complaint::error(format!("{error}")))
}

/// A time of an event: a number of seconds, or `1h20m3s`, or parts of that.
pub(super) fn time(text: &str) -> Result<Span, Complaint> {
    let bad = || {
        Complaint::error(format!("{text:?} is no time"))
            .suggest("write it in seconds, like 12.5, or in parts, like 1h20m3s")
    };
    if text.is_empty() || plain(text).is_some() {
        return span(text, "s", "time", "12.5");
    }
    let mut rest = text;
    let mut sum = Span::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if !["h", "m", "s", "ms"].contains(&unit) || number.is_empty() {
            return Err(bad());
        }
        sum = sum.plus(format!("{number}{unit}").parse().map_err(|_| bad())?);
        rest = tail;
    }
    Ok(sum)
}

/// A time in whole seconds, at least one; what is less than one more is rounded up.
pub(super) fn seconds(text: &str) -> Result<NonZeroU32, Complaint> {
    let seconds = time(text)?.as_nanos().div_ceil(1_000_000_000);
    u32::try_from(seconds).ok().and_then(NonZeroU32::new).ok_or_else(|| {
        Complaint::error(format!("{text:?} is no time limit")).suggest("give at least one second")
    })
}

/// A loss from 0 to 1; none of 0.
pub(super) fn loss(text: &str) -> Result<Option<Loss>, Complaint> {
    let chance = probability(text)?;
    Ok((!chance.is_never()).then_some(Loss::Random(chance)))
}

/// A number from 0 to 1.
pub(super) fn probability(text: &str) -> Result<Probability, Complaint> {
    let bad = || {
        let error = Complaint::error(format!("{text:?} is no probability"));
        match text.trim_end_matches('%').parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => {
                error.suggest(format!("it goes from 0 to 1: for {percent} % write {}", percent / 100.0))
            }
            _ => error.suggest("it goes from 0 to 1: for 5 % write 0.05"),
        }
    };
    plain(text).and_then(|number| number.parse().ok()).ok_or_else(bad)
}

/// The loss of one half of a way that as a whole loses so much: 1 − √(1 − P).
pub(crate) fn half(loss: Option<Loss>) -> Option<Loss> {
    match loss {
        Some(Loss::Random(chance)) => {
            Probability::from_ratio(1.0 - (1.0 - chance.ratio()).sqrt()).map(Loss::Random)
        }
        other => other,
    }
}

/// A size with its unit; a bare number is MiB.
pub(super) fn size(text: &str) -> Result<Size, Complaint> {
    let (number, unit) = split(text);
    let bad = || Complaint::error(format!("{text:?} is no size")).suggest("write it like 10GB");
    let number = plain(number).ok_or_else(bad)?;
    let unit = match unit {
        "" => "MiB".to_owned(),
        "M" | "G" | "K" | "T" => format!("{unit}iB"),
        other => other.to_owned(),
    };
    format!("{number}{unit}").parse().map_err(|_| bad())
}

/// An IPv4 address (IPv6 too, which NS knew not).
pub(super) fn address(text: &str) -> Result<IpAddr, Complaint> {
    text.parse()
        .map_err(|_| Complaint::error(format!("{text:?} is no IP address")).suggest("write it like 10.1.2.3"))
}

/// The length of a netmask's prefix.
pub(super) fn netmask(text: &str) -> Result<u8, Complaint> {
    let bad = || Complaint::error(format!("{text:?} is no netmask")).suggest("write it like 255.255.255.0");
    let mask: Ipv4Addr = text.parse().map_err(|_| bad())?;
    let bits = mask.to_bits();
    if bits.leading_ones() + bits.trailing_zeros() != 32 {
        return Err(bad());
    }
    // DETER takes no mask shorter than 16 bits; a network of one address has no room for two hosts.
    match bits.leading_ones() as u8 {
        length @ 8..=30 => Ok(length),
        _ => Err(bad().suggest("from 255.0.0.0 to 255.255.255.252")),
    }
}

/// Number and unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let mut end = 0;
    let bytes = text.as_bytes();
    while end < bytes.len() {
        let exponent = end > 0
            && matches!(bytes[end], b'e' | b'E')
            && bytes.get(end + 1).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+'));
        let sign = matches!(bytes[end], b'-' | b'+') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if !(bytes[end].is_ascii_digit() || bytes[end] == b'.' || exponent || sign) {
            break;
        }
        end += 1;
    }
    (&text[..end], text[end..].trim())
}

/// A number without exponent, as Tcl's `expr` may give one (`5e-05`); none if it is no number, or below 0.
pub(super) fn plain(text: &str) -> Option<String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 30)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 40 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if exponent == 0 {
        return Some(mantissa.to_owned());
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Ok(0) => format!("0.{digits}"),
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
        Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, shown) in [
            ("100Mb", "100Mbit"),
            ("1.5Mbps", "1.5Mbit"),
            ("1000k", "1Mbit"),
            ("10000", "10kbit"),
            ("1e6", "1Mbit"),
            ("10.0Mb", "10Mbit"),
            ("10 Mb", "10Mbit"),
            ("10Gb", "10Gbit"),
        ] {
            assert_eq!(rate(text).unwrap().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!((rate("*").unwrap(), rate("0").unwrap()), (None, None));
        for text in ["", "fast", "100MB", "-1Mb", "100", "5Tb", "1..2Mb", "0x10Mb"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, shown) in
            [("20ms", "20ms"), ("0", "0s"), ("0.5", "500ms"), ("1.25us", "1.25us"), ("2e-3", "2ms")]
        {
            assert_eq!(delay(text).unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(event_delay("20").unwrap().to_string(), "20ms");
        for (text, shown) in [("12.5", "12.5s"), ("1h2m3s", "3723s"), ("2m", "120s"), ("0", "0s")] {
            assert_eq!(time(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "20xs", "-1", "swapout", "1h2", "h"] {
            assert!(delay(text).is_err() && time(text).is_err(), "{text}");
        }
        assert_eq!(seconds("1.5").unwrap().get(), 2);
        assert!(seconds("0").is_err());
    }

    #[test]
    fn losses() {
        assert_eq!(loss("0").unwrap(), None);
        assert_eq!(loss("5e-05").unwrap().unwrap().share(), 0.00005);
        for text in ["2", "-0.1", "5%", "all"] {
            assert!(loss(text).is_err(), "{text}");
        }
        assert_eq!(half(loss("0.02").unwrap()).unwrap().share(), 0.010_050_506);
    }

    #[test]
    fn masks_and_sizes() {
        assert_eq!(netmask("255.255.255.0").unwrap(), 24);
        for text in ["255.0.255.0", "0.0.0.0", "255.255.255.255", "24"] {
            assert!(netmask(text).is_err(), "{text}");
        }
        for (text, bytes) in [
            ("1GB", 1_000_000_000),
            ("10", 10 << 20),
            ("2G", 2 << 30),
            ("1TiB", 1 << 40),
            ("1.5T", 3 << 39),
            ("2TB", 2_000_000_000_000),
            ("5B", 5),
        ] {
            assert_eq!(size(text).unwrap().bytes(), bytes, "{text}");
        }
        assert!(size("much").is_err());
    }

    #[test]
    fn numbers() {
        for (text, shown) in
            [("1e3", "1000"), ("1.5e1", "15"), ("1.25e1", "12.5"), ("5e-05", "0.00005"), ("12e-2", "0.12")]
        {
            assert_eq!(plain(text).unwrap(), shown, "{text}");
        }
        for text in ["", "-1", "1e99", "e5", "1e", "1.2.3", "a"] {
            assert_eq!(plain(text), None, "{text}");
        }
    }
}
