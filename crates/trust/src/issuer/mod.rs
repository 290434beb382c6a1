//! The built-in authority: what a testbed without a federation needs, and what tests of one need.
//!
//! ```text
//! root (…+authority+root) ─► authority (…+authority+sa) ─► users, slices
//!                                                     └──► signs user and slice credentials
//! user ─► delegates a credential, lets a tool speak
//! ```
//!
//! Everything made here is what the rules of this crate accept under the modern policy, and in the layout that gcf,
//! omni, geni-lib and xmlsec1 read. Times are arguments; randomness is OpenSSL's.

mod certificates;
mod credentials;
mod hosts;
mod sign;

use std::fmt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use openssl::error::ErrorStack;
use testyard_model::urn::UrnError;

pub use certificates::{ServerName, server_certificate};
pub use credentials::CredentialRequest;
pub use hosts::{CONTROLLER, HostAuthority, HostCertificateError, HostRequest, RequestError};

use crate::certificate::{Certificate, CertificateError};
use crate::key::{KeyError, PrivateKey};
use crate::refusal::Refusal;

/// A private key with its certificate and the certificates above it.
#[derive(Clone)]
pub struct Identity {
    key: PrivateKey,
    /// Its own first; a self-signed root above it is left out, since whoever trusts it has it.
    chain: Vec<Certificate>,
}

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub until: Timestamp,
}

/// Why something cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A key cannot be made, read or written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// OpenSSL refused.
    #[error("OpenSSL could not make it")]
    OpenSsl(#[from] ErrorStack),
    /// The private key is not the one in the certificate.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// The issuer's certificate does not let it issue.
    #[error("{issuer} may not issue a certificate for {subject}: it must be an authority over that name")]
    NoAuthority {
        /// The issuer.
        issuer: String,
        /// The name that was asked for.
        subject: String,
    },
    /// A name cannot be made into a URN.
    #[error(transparent)]
    Urn(#[from] UrnError),
    /// A certificate without a URN was given as owner, target or tool.
    #[error("the certificate of the {0} has no usable URN")]
    NoUrn(&'static str),
    /// An e-mail address that no certificate can carry.
    #[error("{0:?} is not an e-mail address")]
    Email(String),
    /// A DNS name or address that a server certificate cannot carry.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// A server certificate for nothing.
    #[error("a server certificate needs at least one name")]
    NoServerName,
    /// The end is before the begin, or a year that certificates cannot carry.
    #[error("the time until {0} cannot be used")]
    Validity(Timestamp),
    /// The key cannot make XML signatures.
    #[error("credentials are signed with RSA or a NIST curve; this key is neither")]
    SigningKey,
    /// The credential to delegate is not one.
    #[error("the credential cannot be delegated: {0}")]
    Parent(#[source] Refusal),
    /// Somebody else holds the credential to delegate.
    #[error("the credential belongs to {0}, who alone can delegate it")]
    NotOwner(String),
    /// The delegated credential would last longer.
    #[error("the credential to delegate ends at {0} already")]
    LongerThanParent(Timestamp),
}

impl Validity {
    /// That many days from now on. It begins a minute early, for clocks that are late.
    #[must_use]
    pub fn days(now: Timestamp, days: u32) -> Self {
        let until =
            now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX);
        Self { from: now.checked_sub(SignedDuration::from_secs(60)).unwrap_or(now), until }
    }
}

impl Validity {
    /// The same, begun a day early: for machines whose clocks nobody has set yet.
    #[must_use]
    pub fn from_yesterday(self) -> Self {
        let from = self.from.checked_sub(SignedDuration::from_hours(24)).unwrap_or(self.from);
        Self { from, ..self }
    }
}

impl Identity {
    /// A key and its certificates, its own first.
    ///
    /// # Errors
    /// [`IssueError::OtherKey`] if they do not belong together or there is no certificate.
    pub fn new(key: PrivateKey, chain: Vec<Certificate>) -> Result<Self, IssueError> {
        match chain.first() {
            Some(own) if key.belongs_to(own.key()) => Ok(Self { key, chain }),
            _ => Err(IssueError::OtherKey),
        }
    }

    /// Reads key and certificates from PEM texts, which may be the same one.
    ///
    /// # Errors
    /// [`IssueError`] if one cannot be read, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IssueError> {
        Self::new(PrivateKey::from_pem(key)?, Certificate::from_pem(certificates)?)
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// Its own certificate and those above.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The certificates as a PEM text: a GID, or a file for clients.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// Writes key and certificates into one new file, mode 0600: what jFed and geni-lib load.
    ///
    /// # Errors
    /// [`KeyError::Write`], also if there is a file already.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let mut text = self.key.to_pem()?;
        text.extend_from_slice(self.chain_pem().as_bytes());
        crate::key::write_secret(path, &text)
    }

    /// What stands above a certificate that this identity issues.
    fn above(&self) -> impl Iterator<Item = &Certificate> {
        self.chain.iter().filter(|certificate| !certificate.is_self_issued())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", self.certificate()).finish_non_exhaustive()
    }
}
