//! A call and what it is granted.

use jiff::Timestamp;
use serde::Serialize;
use testyard_model::urn::{SliceUrn, Urn};

use crate::certificate::{Certificate, CertificateError};
use crate::operation::Operation;

/// A credential as it came with a call.
#[derive(Clone, PartialEq, Eq)]
pub struct PassedCredential {
    /// `geni_type`: `geni_sfa` and `sfa`, `geni_abac` and `abac` are understood, in any case; others are ignored.
    pub kind: String,
    /// `geni_version`, which decides nothing: clients send any label with any content.
    pub version: String,
    /// `geni_value`.
    pub value: Vec<u8>,
}

/// The label of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Sfa,
    Abac,
    Unknown,
}

impl PassedCredential {
    /// A credential under the label `geni_sfa`, version 3.
    #[must_use]
    pub fn sfa(value: impl Into<Vec<u8>>) -> Self {
        Self { kind: "geni_sfa".to_owned(), version: "3".to_owned(), value: value.into() }
    }

    /// A speaks-for statement under the label `geni_abac`, version 1.
    #[must_use]
    pub fn abac(value: impl Into<Vec<u8>>) -> Self {
        Self { kind: "geni_abac".to_owned(), version: "1".to_owned(), value: value.into() }
    }

    pub(crate) fn label(&self) -> Label {
        match self.kind.trim().to_ascii_lowercase().as_str() {
            "geni_sfa" | "sfa" => Label::Sfa,
            "geni_abac" | "abac" => Label::Abac,
            _ => Label::Unknown,
        }
    }
}

impl std::fmt::Debug for PassedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.value.len();
        f.debug_struct("PassedCredential")
            .field("kind", &self.kind)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// The certificates that a TLS client showed, its own first. They are read once per connection; whether they are
/// trusted is asked per call, because roots change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerChain {
    certificates: Vec<Certificate>,
}

impl CallerChain {
    /// A client that showed no certificate.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Certificates in DER, the client's own first.
    ///
    /// # Errors
    /// [`CertificateError`] if one cannot be read.
    pub fn from_der_chain(chain: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let certificates = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?;
        Ok(Self { certificates })
    }

    /// Certificates in PEM, the client's own first; a key in the same text is left out.
    ///
    /// # Errors
    /// [`CertificateError`] if there is none, or one cannot be read.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self { certificates: Certificate::from_pem(text)? })
    }

    /// Whether the client showed none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// All of them, the client's own first.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The client's own.
    #[must_use]
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method.
    pub operation: Operation,
    /// The slice that it is about; `None` only for ListResources.
    pub slice: Option<&'a SliceUrn>,
    /// Who calls.
    pub caller: &'a CallerChain,
    /// What they show for it. Each is an alternative; one has to allow everything.
    pub credentials: &'a [PassedCredential],
    /// The option `geni_speaking_for`: whom a tool speaks for. Empty counts as absent.
    pub speaking_for: Option<&'a str>,
    /// The time of the call.
    pub now: Timestamp,
}

/// A call is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// In whose name: the user, also if a tool speaks for them.
    pub owner: Urn,
    /// The tool that speaks for the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Urn>,
    /// What the credential is about: the slice; for ListResources also the user.
    pub target: Urn,
    /// Until when the right lasts: the earliest end of the credential and its parents, in whole seconds. No lease may
    /// end later. It may be up to a minute past ([`crate::chain::CLOCK_SKEW`]).
    pub expires: Timestamp,
    /// Which of the call's credentials allowed it, from 0.
    pub credential: usize,
}
