//! Decimal numbers of foreign languages, exactly: `0.010051` is a whole number of 10⁻⁹, never a binary fraction.

/// Digits beyond these are finer than anything here, or an attack.
const MAX_TEXT: usize = 60;

/// A decimal text (`12`, `.5`, `1e-3`) times 10 to the `scale`, rounded to the nearest. `None` if it is no number, is
/// negative, or too large.
pub(crate) fn scaled(text: &str, scale: u32) -> Option<u128> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.len() > MAX_TEXT {
        return None;
    }
    let (number, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 60)?),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if negative || significant.len() > 38 {
        return None;
    }
    let value: u128 = significant.parse().ok()?;
    let shift = i64::from(scale) + i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    if shift >= 0 {
        value.checked_mul(10_u128.checked_pow(u32::try_from(shift).ok()?)?)
    } else {
        let Some(divisor) = 10_u128.checked_pow(u32::try_from(-shift).ok()?) else { return Some(0) };
        Some(value / divisor + u128::from(value % divisor >= divisor.div_ceil(2)))
    }
}

/// A number of 10 to the minus `scale` as a decimal text without needless digits.
pub(crate) fn decimal(value: u128, scale: u32) -> String {
    let unit = 10_u128.pow(scale);
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = format!("{rest:0width$}", width = scale as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        for (text, scale, value) in [
            ("1", 3, Some(1000)),
            ("0.0105", 9, Some(10_500_000)),
            ("1e-3", 9, Some(1_000_000)),
            ("2.5E2", 0, Some(250)),
            (" .5 ", 0, Some(1)),
            ("1.", 1, Some(10)),
            ("-0.0", 9, Some(0)),
            ("-1", 9, None),
            ("", 0, None),
            (".", 0, None),
            ("1e99", 0, None),
            ("1e-60", 0, Some(0)),
            ("NaN", 0, None),
            ("1_0", 0, None),
            ("9999999999999999999999999999999999999999", 0, None),
        ] {
            assert_eq!(scaled(text, scale), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_again(value in any::<u64>(), scale in 0_u32..19) {
            let value = u128::from(value);
            prop_assert_eq!(scaled(&decimal(value, scale), scale), Some(value));
        }
    }
}
