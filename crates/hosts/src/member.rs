//! What is kept of a host that comes in by the network. Plain functions.
//!
//! ```text
//! invite ─► token ── enrol ─► one certificate ── renew ─► two ── the new one is used ─► one
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::id::HostName;
use testyard_trust::Fingerprint;

use crate::roster::RosterError;
use crate::token::SecretHash;

/// A host that comes in by the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(default)]
    token: Option<Issued>,
    /// The oldest first; two at most.
    #[serde(default)]
    certificates: Vec<[u8; 32]>,
}

/// A token that was printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    secret: [u8; 32],
    until: Timestamp,
    #[serde(default)]
    used_by: Option<[u8; 32]>,
}

/// What somebody shows is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGood {
    Token,
    Certificate,
}

impl NotGood {
    pub(crate) fn of(self, host: &HostName) -> RosterError {
        match self {
            Self::Token => RosterError::Token(host.clone()),
            Self::Certificate => RosterError::Revoked(host.clone()),
        }
    }
}

impl Member {
    /// Whether it has ever come in with a token.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// Until when a token that nobody has used is good.
    #[must_use]
    pub fn invited_until(&self) -> Option<Timestamp> {
        self.token.as_ref().filter(|token| token.used_by.is_none()).map(|token| token.until)
    }

    pub(crate) fn invite(&mut self, secret: SecretHash, until: Timestamp) {
        self.token = Some(Issued { secret: secret.0, until, used_by: None });
    }

    pub(crate) fn enrol(
        &mut self,
        secret: SecretHash,
        key: Fingerprint,
        certificate: Fingerprint,
        now: Timestamp,
    ) -> Result<(), NotGood> {
        let key = *key.as_bytes();
        let is_good = |token: &&mut Issued| {
            token.secret == secret.0 && now < token.until && token.used_by.is_none_or(|by| by == key)
        };
        self.token.as_mut().filter(is_good).ok_or(NotGood::Token)?.used_by = Some(key);
        self.certificates = vec![*certificate.as_bytes()];
        Ok(())
    }

    pub(crate) fn knows(&self, certificate: Fingerprint) -> Result<(), NotGood> {
        self.place(certificate).map(drop)
    }

    pub(crate) fn renew(&mut self, old: Fingerprint, new: Fingerprint) -> Result<(), NotGood> {
        self.place(old)?;
        self.certificates = vec![*old.as_bytes(), *new.as_bytes()];
        Ok(())
    }

    pub(crate) fn used(&mut self, certificate: Fingerprint) -> Result<(), NotGood> {
        let place = self.place(certificate)?;
        self.certificates.drain(..place);
        Ok(())
    }

    fn place(&self, certificate: Fingerprint) -> Result<usize, NotGood> {
        let is_it = |known: &[u8; 32]| known == certificate.as_bytes();
        self.certificates.iter().position(is_it).ok_or(NotGood::Certificate)
    }
}
