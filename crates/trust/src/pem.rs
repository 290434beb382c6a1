//! Certificates out of text, the way they are passed around: PEM files that also hold a private key, and GIDs that are
//! bare base64 without BEGIN and END lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::der;

/// The largest text that is read as certificates: a GID, or a file of trust roots.
pub const MAX_TEXT: usize = 64 << 10;

/// Certificates in one text at most.
pub const MAX_CERTIFICATES: usize = 16;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Why a text holds no certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Larger than a text of certificates ever is.
    #[error("the text is larger than {MAX_TEXT} bytes")]
    TooLarge,
    /// Nothing in it says BEGIN CERTIFICATE, and it is not base64 of certificates either.
    #[error("there is no certificate in the text")]
    Nothing,
    /// A BEGIN line without its END line.
    #[error("a certificate is cut off: its END line is missing")]
    CutOff,
    /// What stands between the lines is not base64.
    #[error("a certificate is not base64")]
    NotBase64,
    /// More certificates than a chain ever has.
    #[error("there are more than {0} certificates in the text")]
    TooMany(usize),
}

/// The DER of every certificate in a text, in its order. Other things in PEM armour (keys) are left out.
///
/// # Errors
/// [`PemError`] if there is none, or one is broken.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    bounded(text, MAX_TEXT, MAX_CERTIFICATES)
}

/// As [`certificates`], within other bounds.
pub(crate) fn bounded(text: &str, bytes: usize, count: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > bytes {
        return Err(PemError::TooLarge);
    }
    let found = if text.contains(BEGIN) { armoured(text)? } else { bare(text)? };
    match found.len() {
        0 => Err(PemError::Nothing),
        number if number > count => Err(PemError::TooMany(count)),
        _ => Ok(found),
    }
}

fn armoured(mut text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let mut found = Vec::new();
    while let Some(begin) = text.find(BEGIN) {
        let rest = &text[begin + BEGIN.len()..];
        let (label, rest) = rest.split_once(DASHES).ok_or(PemError::CutOff)?;
        let end = format!("-----END {label}-----");
        let (body, rest) = rest.split_once(end.as_str()).ok_or(PemError::CutOff)?;
        if matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            let der = decode(body).ok_or(PemError::NotBase64)?;
            // OpenSSL appends its trust settings to a TRUSTED CERTIFICATE: only the certificate counts.
            let length = der::read(&der).map_or(der.len(), |(value, _)| value.whole.len());
            let length = if label == "TRUSTED CERTIFICATE" { length } else { der.len() };
            found.push(der[..length].to_vec());
        }
        text = rest;
    }
    Ok(found)
}

fn bare(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let bytes = decode(text).ok_or(PemError::Nothing)?;
    let values = der::split(&bytes).ok_or(PemError::Nothing)?;
    Ok(values.into_iter().map(<[u8]>::to_vec).collect())
}

/// Base64 with any white space in it.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut compact = Vec::with_capacity(text.len());
    for line in text.split_ascii_whitespace() {
        compact.extend_from_slice(line.as_bytes());
    }
    STANDARD.decode(compact).ok()
}

/// Base64 in lines of 64 characters, without a line break at the end.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let flat = STANDARD.encode(bytes);
    let mut text = String::with_capacity(flat.len() + flat.len() / 64 + 1);
    for (index, c) in flat.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text
}

/// One certificate in PEM armour.
pub(crate) fn armour(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_left_out_and_white_space_does_not_matter() {
        let text = "junk\r\n-----BEGIN PRIVATE KEY-----\r\nMAA=\r\n-----END PRIVATE KEY-----\r\n\
                    -----BEGIN CERTIFICATE-----\r\nMA\r\n A=\r\n-----END CERTIFICATE-----\r\n";
        assert_eq!(certificates(text).unwrap(), vec![vec![0x30, 0]]);
        assert_eq!(certificates(" MAA=\n").unwrap(), vec![vec![0x30, 0]]);
        assert_eq!(certificates("MAAwAA==").unwrap().len(), 2, "two certificates in one run of base64");
    }

    #[test]
    fn what_holds_none() {
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert_eq!(certificates(key), Err(PemError::Nothing));
        assert_eq!(certificates(""), Err(PemError::Nothing));
        assert_eq!(certificates("hello, world"), Err(PemError::Nothing));
        assert_eq!(certificates("-----BEGIN CERTIFICATE-----\nMAA="), Err(PemError::CutOff));
        assert_eq!(
            certificates("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"),
            Err(PemError::NotBase64)
        );
        assert_eq!(certificates(&"A".repeat(MAX_TEXT + 1)), Err(PemError::TooLarge));
        assert_eq!(certificates(&armour(&[0x30, 0]).repeat(17)), Err(PemError::TooMany(16)));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(certificates(&armour(&bytes)).unwrap(), vec![bytes]);
        }

        #[test]
        fn never_panics(text in "(-----BEGIN (CERTIFICATE|X)?-----)?[A-Za-z0-9+/=\\- \n]{0,80}(-----END CERTIFICATE-----)?") {
            let _ = certificates(&text);
        }
    }
}
