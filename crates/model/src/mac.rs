//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no Ethernet address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes in hexadecimal.
    #[error("{0:?} is no Ethernet address: write it like 02:00:0a:01:01:02")]
    Grammar(String),
    /// It is one of a group of interfaces, or none.
    #[error("{0} is no address of one interface: its first byte must be even, and not all may be zero")]
    Group(String),
}

/// The Ethernet address of one interface: six bytes, not a group's, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// One interface's address of these bytes.
    ///
    /// # Errors
    /// [`MacError::Group`] if it is the address of a group, or zero.
    pub fn new(bytes: [u8; 6]) -> Result<Self, MacError> {
        let mac = Self(bytes);
        if bytes[0] & 1 == 1 || bytes == [0; 6] { Err(MacError::Group(mac.to_string())) } else { Ok(mac) }
    }

    /// Its bytes, first to last.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = MacError;

    /// `02:00:0a:01:01:02`, with hyphens, or twelve digits without anything between (as Emulab's manifests have it).
    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError::Grammar(text.chars().take(40).collect());
        let mut bytes = [0; 6];
        let digits: String = match text.len() {
            12 => text.to_owned(),
            17 => {
                let separator = text.chars().nth(2).filter(|c| matches!(c, ':' | '-')).ok_or_else(error)?;
                let parts: Vec<&str> = text.split(separator).collect();
                if parts.len() != 6 || parts.iter().any(|part| part.len() != 2) {
                    return Err(error());
                }
                parts.concat()
            }
            _ => return Err(error()),
        };
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        for (byte, at) in bytes.iter_mut().zip((0..12).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| error())?;
        }
        Self::new(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one() {
        for text in ["02:00:0a:01:01:02", "02-00-0A-01-01-02", "02000a010102"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "02:00:0a:01:01:02", "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "02:00:0a:01:01",
            "02:00:0a:01:01:0g",
            "02:00-0a:01:01:02",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:00:0a:01:01:02",
            "02é0a0101021",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
