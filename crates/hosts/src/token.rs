//! What a new host shows: `NAME.…`, where the rest is, in base64, the SHA-256 of the authority's certificate and a secret.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::error::ErrorStack;
use sha2::{Digest as _, Sha256};
use testyard_model::id::{BadName, HostName};
use testyard_trust::Fingerprint;

const FINGERPRINT: usize = 32;
const SECRET: usize = 16;
/// The longest text that is read.
const LONGEST: usize = 200;

/// Lets one host in, once, for a while.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    host: HostName,
    authority: Fingerprint,
    secret: [u8; SECRET],
}

/// What is kept of a token's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// A text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a name, a dot, and what follows it.
    #[error("this is no token: copy all of what `testyard host add` has printed")]
    Form,
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] BadName),
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// If OpenSSL has no randomness.
    pub fn make(host: HostName, authority: Fingerprint) -> Result<Self, ErrorStack> {
        let mut secret = [0; SECRET];
        openssl::rand::rand_bytes(&mut secret)?;
        Ok(Self { host, authority, secret })
    }

    /// Whom it lets in.
    #[must_use]
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whose controller it is for.
    #[must_use]
    pub fn authority(&self) -> Fingerprint {
        self.authority
    }

    /// What a controller keeps of it. The secret is random, so that nobody guesses it from this.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.secret)
    }

    pub(crate) fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }
}

impl SecretHash {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

/// The whole token: whoever sees it can enrol.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.authority.as_bytes()[..], &self.secret[..]].concat();
        write!(f, "{}.{}", self.host, URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("host", &self.host).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let (name, rest) = text.split_once('.').filter(|_| text.len() <= LONGEST).ok_or(TokenError::Form)?;
        let bytes = URL_SAFE_NO_PAD.decode(rest).map_err(|_| TokenError::Form)?;
        let (authority, secret) = bytes.split_first_chunk::<FINGERPRINT>().ok_or(TokenError::Form)?;
        let secret = <[u8; SECRET]>::try_from(secret).map_err(|_| TokenError::Form)?;
        Ok(Self { host: name.parse()?, authority: Fingerprint::from_bytes(*authority), secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_and_back() {
        let token = Token::make("h1".parse().unwrap(), Fingerprint::from_bytes([7; 32])).unwrap();
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse::<Token>(), Ok(token.clone()));
        assert!(text.starts_with("h1.BwcH") && text.len() == 3 + 64, "{text}");
        assert_eq!(format!("{token:?}"), "Token { host: HostName(\"h1\"), .. }");
        for part in 0..text.len() {
            assert!(text[..part].parse::<Token>().is_err(), "{part}");
        }
        assert!(matches!(text.replace("h1", "H1").parse::<Token>(), Err(TokenError::Name(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_none(text in ".{0,120}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text.trim());
            }
        }
    }
}
