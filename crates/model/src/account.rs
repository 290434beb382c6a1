//! Users of a node and their SSH keys.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::name::Login;
use crate::urn::UserUrn;

/// An account on a node: one user, one login name, exactly these keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Account {
    /// Whose it is.
    pub user: UserUrn,
    /// The name to log in with. The plan chooses it: two users never share one, and none gets a system account.
    pub login: Login,
    /// The keys that open it, exactly these.
    pub keys: Vec<PublicKey>,
    /// Whether the user may become root without a password.
    pub sudo: bool,
}

/// A user as a caller names one: who, and which keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Who.
    pub urn: UserUrn,
    /// The keys; may be empty.
    pub keys: Vec<PublicKey>,
}

/// One SSH public key in the one-line form of `authorized_keys`: type, base64, comment; never options.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey {
    kind: String,
    blob: String,
    comment: String,
}

/// A text that is no SSH public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is longer than any key.
    #[error("an SSH key of {0} characters is too long")]
    TooLong(usize),
    /// A private key was given.
    #[error(
        "this is a private key: give the public one (the file that ends in .pub), and replace this key, it has been sent over the network"
    )]
    Private,
    /// No key type that OpenSSH knows.
    #[error("no known type of SSH key in {0:?}")]
    Kind(String),
    /// The base64 part is unreadable or belongs to another type of key.
    #[error("the data of the {0} key are damaged")]
    Data(String),
}

const KINDS: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The longest key line: an RSA key of 16,384 bits has about 2,800 characters.
const MAX_KEY_LINE: usize = 8192;

impl PublicKey {
    /// Reads all keys of a text as users send them: one or several lines, CRLF, empty lines, comments, and lines with
    /// options before the key. Options are dropped: a key opens an account here, and nothing else is promised.
    ///
    /// # Errors
    /// The first [`KeyError`] of the text: a key that cannot work is refused rather than left out in silence.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        text.split(['\n', '\r', '\0'])
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(Self::parse_line)
            .collect()
    }

    fn parse_line(line: &str) -> Result<Self, KeyError> {
        if line.len() > MAX_KEY_LINE {
            return Err(KeyError::TooLong(line.len()));
        }
        let unknown = || KeyError::Kind(line.chars().take(40).collect());
        let start = KINDS.iter().filter_map(|kind| word_start(line, kind)).min().ok_or_else(unknown)?;
        let mut words = line[start..].split_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else { return Err(unknown()) };
        if !blob_is_of_kind(blob, kind) {
            return Err(KeyError::Data(kind.to_owned()));
        }
        // A word of control characters alone leaves nothing, not a blank: what is written reads the same again.
        let words = words.map(|word| word.replace(char::is_control, "")).filter(|word| !word.is_empty());
        let comment: String = words.collect::<Vec<_>>().join(" ").chars().take(200).collect();
        Ok(Self { kind: kind.to_owned(), blob: blob.to_owned(), comment: comment.trim_end().to_owned() })
    }

    /// Bytes of its one-line form.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.kind.len() + self.blob.len() + self.comment.len() + 2
    }

    /// The key without its comment: what makes it this key.
    #[must_use]
    pub fn identity(&self) -> (&str, &str) {
        (&self.kind, &self.blob)
    }
}

/// Where `word` stands in `line` as a word of its own, outside double quotes (options may quote anything).
fn word_start(line: &str, word: &str) -> Option<usize> {
    let mut quoted = false;
    let mut at_word = true;
    for (index, c) in line.char_indices() {
        if !quoted && at_word && line[index..].starts_with(word) {
            let end = line[index + word.len()..].chars().next();
            if end.is_some_and(char::is_whitespace) {
                return Some(index);
            }
        }
        if c == '"' {
            quoted = !quoted;
        }
        at_word = c.is_whitespace();
    }
    None
}

/// Whether the base64 text begins with the length-prefixed name of `kind` (RFC 4253 §6.6) and decodes at all.
fn blob_is_of_kind(blob: &str, kind: &str) -> bool {
    let Ok(data) = BASE64_STANDARD.decode(blob) else { return false };
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return false };
    let length = u32::from_be_bytes(*length) as usize;
    length == kind.len() && rest.len() > length && &rest[..length] == kind.as_bytes()
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.blob)?;
        if !self.comment.is_empty() {
            write!(f, " {}", self.comment)?;
        }
        Ok(())
    }
}

impl fmt::Debug for PublicKey {
    /// Only the type: key data and comments (which hold addresses of people) stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::parse_line(text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn as_users_send_them() {
        let keys = PublicKey::parse_all(&format!("\r\n# mine\r\n{ED} ann@lab one\r\n{ED}\n")).unwrap();
        assert_eq!(keys[0].to_string(), format!("{ED} ann@lab one"));
        assert_eq!(keys[0].identity(), keys[1].identity());
        let with_options = format!("command=\"echo ssh-rsa x\",no-pty {ED} c");
        assert_eq!(PublicKey::parse_all(&with_options).unwrap()[0].to_string(), format!("{ED} c"));
        assert!(PublicKey::parse_all("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_key() {
        assert_eq!(PublicKey::parse_all("-----BEGIN OPENSSH PRIVATE KEY-----\nx"), Err(KeyError::Private));
        for bad in
            ["ssh-dss AAAA", "ssh-ed25519 AAAA", "ssh-ed25519", "'; id", &ED.replacen("ed25519", "rsa", 1)]
        {
            assert!(PublicKey::parse_all(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_key_stays_on_its_line(text in "\\PC{0,60}", junk in "(.|\n){0,60}") {
            if let Ok(keys) = PublicKey::parse_all(&format!("{text} {ED} {junk}")) {
                for key in keys {
                    prop_assert!(!key.to_string().chars().any(char::is_control));
                    prop_assert!(key.to_string().starts_with("ssh-") || key.to_string().starts_with("ecdsa-") || key.to_string().starts_with("sk-"));
                }
            }
        }
    }
}
