//! What a download must have to be the one that was meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A checksum with its algorithm, as requests carry it: `sha256:` or `sha512:` and hex digits, kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Checksum {
    algorithm: Algorithm,
    digits: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Sha256,
    Sha512,
}

/// A text that is no checksum, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// The algorithm is missing, unknown, or one that can be forged.
    #[error("which does not begin with sha256: or sha512:")]
    Algorithm,
    /// The digits are no hex digits, or not as many as the algorithm gives.
    #[error("which needs {0} hex digits")]
    Digits(usize),
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let (name, digits) = text.split_once(':').ok_or(ChecksumError::Algorithm)?;
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|algorithm| name.eq_ignore_ascii_case(algorithm.name()))
            .ok_or(ChecksumError::Algorithm)?;
        if digits.len() != algorithm.digits() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ChecksumError::Digits(algorithm.digits()));
        }
        Ok(Self { algorithm, digits: digits.to_ascii_lowercase() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.digits)
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = ChecksumError;

    fn try_from(text: String) -> Result<Self, ChecksumError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_as_people_write_them() {
        let digits = "0aF".repeat(21) + "0";
        let checksum: Checksum = format!("SHA256:{digits}").parse().unwrap();
        assert_eq!(checksum.to_string(), format!("sha256:{}", digits.to_lowercase()));
        assert!(format!("sha512:{digits}{digits}").parse::<Checksum>().is_ok());
        for (bad, error) in [
            (digits.clone(), ChecksumError::Algorithm),
            (format!("md5:{}", &digits[..32]), ChecksumError::Algorithm),
            (format!("sha256:{digits}0"), ChecksumError::Digits(64)),
            (format!("sha256:{}x", &digits[1..]), ChecksumError::Digits(64)),
            (format!("sha512:{digits}"), ChecksumError::Digits(128)),
        ] {
            assert_eq!(bad.parse::<Checksum>(), Err(error), "{bad}");
        }
    }
}
