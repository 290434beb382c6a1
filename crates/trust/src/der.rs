//! The few parts of a certificate that OpenSSL's binding does not show: the CA flag, key usage, critical extensions
//! nobody here knows, and the bits of the public key.
//!
//! OpenSSL has accepted the certificate before this reader sees it; here every read is checked all the same.

/// One tag-length-value.
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Tag and length included.
    pub(crate) whole: &'a [u8],
}

pub(crate) const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Object ids of extensions below 2.5.29, by their last arc.
const KEY_USAGE: u8 = 15;
const BASIC_CONSTRAINTS: u8 = 19;
/// Extensions that may be critical without harm: they are checked here, checked elsewhere (names), or ask nothing of
/// this verifier (key ids, extended key usage, policies, revocation lists).
const UNDERSTOOD: [u8; 9] = [9, 14, KEY_USAGE, 17, 18, BASIC_CONSTRAINTS, 31, 32, 37];
const KEY_CERT_SIGN: u8 = 0x04;

/// What the extensions of a certificate say about issuing others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Constraints {
    /// Basic constraints with CA:TRUE.
    pub(crate) ca: bool,
    /// How many intermediates may stand below.
    pub(crate) path_length: Option<u32>,
    /// Key usage is there and does not hold keyCertSign.
    pub(crate) may_not_issue: bool,
    /// A critical extension that is not understood.
    pub(crate) unknown_critical: bool,
}

/// The parts of one certificate.
pub(crate) struct Parts<'a> {
    pub(crate) constraints: Constraints,
    /// The public key's bit string without the count of unused bits.
    pub(crate) key_bits: &'a [u8],
}

/// Reads one value and gives what follows it. Definite lengths only.
pub(crate) fn read(input: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?,
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = &input[..input.len() - rest.len()];
    Some((Value { tag, content, whole }, rest))
}

fn expect(input: &[u8], tag: u8) -> Option<(Value<'_>, &[u8])> {
    read(input).filter(|(value, _)| value.tag == tag)
}

/// Splits concatenated values of DER; `None` if something else is between or behind them.
pub(crate) fn split(mut input: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    while !input.is_empty() {
        let (value, rest) = expect(input, SEQUENCE)?;
        values.push(value.whole);
        input = rest;
    }
    Some(values)
}

/// Reads a certificate's parts.
pub(crate) fn parts(certificate: &[u8]) -> Option<Parts<'_>> {
    let (outer, _) = expect(certificate, SEQUENCE)?;
    let (body, _) = expect(outer.content, SEQUENCE)?;
    let mut rest = body.content;
    if let Some((_, behind)) = expect(rest, VERSION) {
        rest = behind;
    }
    // Serial, signature algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.1;
    }
    let (key, mut rest) = expect(rest, SEQUENCE)?;
    let (_, bits) = expect(key.content, SEQUENCE)?;
    let (bits, _) = expect(bits, BIT_STRING)?;
    let (_, key_bits) = bits.content.split_first()?;
    let mut constraints = Constraints::default();
    while !rest.is_empty() {
        let (value, behind) = read(rest)?;
        if value.tag == EXTENSIONS {
            constraints = extensions(expect(value.content, SEQUENCE)?.0.content)?;
        }
        rest = behind;
    }
    Some(Parts { constraints, key_bits })
}

fn extensions(mut list: &[u8]) -> Option<Constraints> {
    let mut found = Constraints::default();
    while !list.is_empty() {
        let (extension, behind) = expect(list, SEQUENCE)?;
        list = behind;
        let (id, rest) = expect(extension.content, OBJECT_ID)?;
        let (critical, rest) = match expect(rest, BOOLEAN) {
            Some((flag, rest)) => (flag.content != [0], rest),
            None => (false, rest),
        };
        let value = expect(rest, OCTET_STRING)?.0.content;
        match id.content {
            [0x55, 0x1d, BASIC_CONSTRAINTS] => (found.ca, found.path_length) = basic_constraints(value)?,
            [0x55, 0x1d, KEY_USAGE] => {
                let bits = expect(value, BIT_STRING)?.0.content.get(1).copied().unwrap_or(0);
                found.may_not_issue = bits & KEY_CERT_SIGN == 0;
            }
            [0x55, 0x1d, last] if UNDERSTOOD.contains(last) => {}
            _ => found.unknown_critical |= critical,
        }
    }
    Some(found)
}

fn basic_constraints(value: &[u8]) -> Option<(bool, Option<u32>)> {
    let rest = expect(value, SEQUENCE)?.0.content;
    let (ca, rest) = match expect(rest, BOOLEAN) {
        Some((flag, rest)) => (flag.content != [0], rest),
        None => (false, rest),
    };
    let length = match expect(rest, INTEGER) {
        // Longer than four bytes is no limit that a chain could reach.
        Some((length, _)) if length.content.len() <= 4 => {
            Some(length.content.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)))
        }
        _ => None,
    };
    Some((ca, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert!(read(&[0x30, 0x05, 1, 2]).is_none());
        assert!(read(&[0x30, 0x80, 0, 0]).is_none(), "indefinite length");
        assert!(read(&[0x30, 0x85, 1, 1, 1, 1, 1]).is_none());
        assert!(read(&[0x1f, 0x01, 0]).is_none(), "long tags");
        let (value, rest) = read(&[0x30, 0x81, 0x02, 7, 8, 9]).unwrap();
        assert_eq!((value.content, rest, value.whole.len()), (&[7u8, 8][..], &[9u8][..], 5));
    }

    #[test]
    fn splits_only_sequences() {
        assert_eq!(split(&[0x30, 0, 0x30, 1, 5]).unwrap().len(), 2);
        assert!(split(&[0x30, 0, 0x04, 0]).is_none());
        assert!(split(&[0x30, 0, 0]).is_none());
    }

    #[test]
    fn basic_constraints_and_path_length() {
        assert_eq!(basic_constraints(&[0x30, 6, 1, 1, 0xff, 2, 1, 3]), Some((true, Some(3))));
        assert_eq!(basic_constraints(&[0x30, 0]), Some((false, None)));
        assert_eq!(basic_constraints(&[0x30, 3, 1, 1, 0]), Some((false, None)));
        assert_eq!(basic_constraints(&[4, 0]), None);
    }
}
