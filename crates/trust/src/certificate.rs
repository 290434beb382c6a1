//! A certificate, read once, with everything that the rules ask about it.
//!
//! The name that a certificate vouches for is the first URI in its subjectAltName that begins with
//! `urn:publicid:IDN+`. Nothing is looked for in the subject, and the extension is never handled as text, so that an
//! e-mail address or a comma cannot smuggle in a second name (am-api.md §2, §3.9).

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::sha::{sha1, sha256};
use openssl::x509::X509;
use testyard_model::urn::Urn;
use uuid::Uuid;

use crate::der::{self, Constraints};
use crate::key::PublicKey;
use crate::pem::{self, PemError};

const URN_PREFIX: &str = "urn:publicid:IDN+";

/// A certificate. Cloning is cheap; two are equal if their bytes are.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: Vec<u8>,
    x509: X509,
    fingerprint: Fingerprint,
    urn: Result<Urn, NoUrn>,
    uuid: Option<Uuid>,
    email: Option<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    constraints: Constraints,
    key: PublicKey,
    key_id: [u8; 20],
}

/// SHA-256 over the DER of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub(crate) [u8; 32]);

/// Why a certificate cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in the text, or a broken one.
    #[error(transparent)]
    Text(#[from] PemError),
    /// The bytes are not text.
    #[error("the text is not UTF-8")]
    NotText,
    /// The bytes are not a certificate.
    #[error("a certificate cannot be read")]
    Unreadable,
    /// The public key cannot be read.
    #[error("the public key of a certificate cannot be read")]
    Key,
    /// There is more behind the certificate.
    #[error("there are bytes behind a certificate")]
    Trailing,
}

/// Why a certificate vouches for no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUrn {
    /// There is none in the subjectAltName.
    #[error("the certificate has no URN in its subjectAltName")]
    Missing,
    /// The first one is not well-formed.
    #[error("the URN in the certificate is not well-formed")]
    Malformed,
}

impl Certificate {
    /// Reads one certificate.
    ///
    /// # Errors
    /// [`CertificateError`] if the bytes are anything but one certificate.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertificateError> {
        let length = der::read(bytes).ok_or(CertificateError::Unreadable)?.0.whole.len();
        if length != bytes.len() {
            return Err(CertificateError::Trailing);
        }
        let x509 = X509::from_der(bytes).map_err(|_| CertificateError::Unreadable)?;
        let parts = der::parts(bytes).ok_or(CertificateError::Unreadable)?;
        let key = x509.public_key().ok().and_then(PublicKey::new).ok_or(CertificateError::Key)?;
        let names = Names::of(&x509);
        Ok(Self(Arc::new(Facts {
            fingerprint: Fingerprint(sha256(bytes)),
            urn: names.urn,
            uuid: names.uuid,
            email: names.email,
            not_before: time(x509.not_before()).ok_or(CertificateError::Unreadable)?,
            not_after: time(x509.not_after()).ok_or(CertificateError::Unreadable)?,
            constraints: parts.constraints,
            key_id: sha1(parts.key_bits),
            key,
            x509,
            der: bytes.to_vec(),
        })))
    }

    /// Reads every certificate of a PEM text or of bare base64, in its order; keys beside them are left out.
    ///
    /// # Errors
    /// [`CertificateError`] if there is none, or one cannot be read.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let text = std::str::from_utf8(text).map_err(|_| CertificateError::NotText)?;
        pem::certificates(text)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// The bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// PEM armour around the bytes.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::armour(&self.0.der)
    }

    /// The name that the certificate vouches for.
    ///
    /// # Errors
    /// [`NoUrn`] if it has none.
    pub fn urn(&self) -> Result<&Urn, NoUrn> {
        self.0.urn.as_ref().map_err(Clone::clone)
    }

    /// The UUID in the subjectAltName.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        self.0.uuid
    }

    /// The e-mail address in the subjectAltName.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// SHA-256 over the bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Begin of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// End of validity. Years that a timestamp cannot hold are its largest value.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// The subject as one line that is fit to be shown: `CN=…, O=…`, printable characters only, at most 200.
    #[must_use]
    pub fn subject(&self) -> String {
        line(self.0.x509.subject_name())
    }

    /// The issuer's subject, as [`Self::subject`].
    #[must_use]
    pub fn issuer(&self) -> String {
        line(self.0.x509.issuer_name())
    }

    /// SHA-1 over the bits of the public key, in lower-case hexadecimal digits: the name of a key in ABAC statements.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex(&self.0.key_id)
    }

    /// The public key, as DER.
    #[must_use]
    pub fn public_key_der(&self) -> Vec<u8> {
        // What was read can be written.
        self.0.key.openssl().public_key_to_der().unwrap_or_default()
    }

    /// Whether both certificates are for one key.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }

    /// Whether the certificate's issuer is called like the other's subject.
    pub(crate) fn names_as_issuer(&self, other: &Self) -> bool {
        self.0.x509.issuer_name().try_cmp(other.0.x509.subject_name()).is_ok_and(std::cmp::Ordering::is_eq)
    }

    /// Whether issuer and subject are the same name.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.names_as_issuer(self)
    }

    /// Whether the other's key made the signature on this certificate.
    pub(crate) fn is_signed_by(&self, other: &Self) -> bool {
        self.0.x509.verify(other.0.key.openssl()).unwrap_or(false)
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.0.key
    }

    pub(crate) fn constraints(&self) -> Constraints {
        self.0.constraints
    }

    pub(crate) fn x509(&self) -> &X509 {
        &self.0.x509
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urn = self.0.urn.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("urn", &urn)
            .finish_non_exhaustive()
    }
}

impl Fingerprint {
    /// Of these bytes, that were [`Self::as_bytes`] of one.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// What the subjectAltName says.
struct Names {
    urn: Result<Urn, NoUrn>,
    uuid: Option<Uuid>,
    email: Option<String>,
}

impl Names {
    fn of(x509: &X509) -> Self {
        let mut names = Self { urn: Err(NoUrn::Missing), uuid: None, email: None };
        for name in x509.subject_alt_names().iter().flatten() {
            if let Some(uri) = name.uri() {
                let is_urn = uri.get(..URN_PREFIX.len()).is_some_and(|p| p.eq_ignore_ascii_case(URN_PREFIX));
                if is_urn && names.urn == Err(NoUrn::Missing) {
                    names.urn = uri.parse().map_err(|_| NoUrn::Malformed);
                } else if let Some(uuid) = uri.strip_prefix("urn:uuid:").or_else(|| uri.strip_prefix("uuid:"))
                {
                    names.uuid = names.uuid.or_else(|| Uuid::parse_str(uuid).ok());
                }
            } else if let Some(email) = name.email() {
                names.email.get_or_insert_with(|| email.to_owned());
            }
        }
        names
    }
}

fn time(asn1: &Asn1TimeRef) -> Option<Timestamp> {
    let difference = Asn1Time::from_unix(0).ok()?.diff(asn1).ok()?;
    let second = i64::from(difference.days) * 86_400 + i64::from(difference.secs);
    Some(Timestamp::from_second(second).unwrap_or(if second > 0 { Timestamp::MAX } else { Timestamp::MIN }))
}

fn line(name: &openssl::x509::X509NameRef) -> String {
    let mut text = String::new();
    for entry in name.entries() {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().unwrap_or_default();
        let separator = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{separator}{key}={value}"));
    }
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(200).collect()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
