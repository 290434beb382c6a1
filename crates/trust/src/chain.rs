//! From a certificate up to a trusted one.
//!
//! Every step up is an issuance, and each has to be right: the signature, an accepted algorithm and key, the CA flag,
//! the path length, an issuer that is an authority, and the namespace rule: an issuer vouches only for names of its
//! own authority and of authorities below it (am-api.md §3.5). Every certificate on the way has to be valid now. A
//! trusted certificate ends the way, wherever in a hierarchy it stands; all others are only offered, never believed.

use jiff::{SignedDuration, Timestamp};
use testyard_model::time;

use crate::certificate::Certificate;
use crate::policy::CryptoPolicy;
use crate::roots::TrustRoots;

/// How far clocks may be apart: certificates and credentials count this much longer, and certificates this much earlier.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Certificates on one way at most, leaf and anchor included.
const MAX_LENGTH: usize = 10;
/// Signatures that are checked in search of one way, so that a heap of look-alikes costs nothing.
const MAX_CHECKS: usize = 64;

/// A certificate that is trusted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// From the leaf up to the anchor.
    certificates: Vec<Certificate>,
}

/// Why a certificate is not trusted. The text is fit for callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No issuer is known.
    #[error("{0:?} is neither a trust root nor issued below one; its issuer {1:?} is not known here")]
    NoIssuer(String, String),
    /// Somebody is named like its issuer and has another key.
    #[error("{0:?} was not signed by any known certificate that is named like its issuer")]
    NotSigned(String),
    /// The way is longer than any real one.
    #[error("the chain of certificates is longer than {MAX_LENGTH}")]
    TooLong,
    /// The issuer's path length does not allow this many below it.
    #[error("the path length of {0:?} does not allow the chain below it")]
    PathLength(String),
    /// The issuer has no CA flag.
    #[error("{0:?} issued a certificate and is no certificate authority")]
    NotCa(String),
    /// A critical extension that is not understood.
    #[error("{0:?} has a critical extension that is not understood")]
    Critical(String),
    /// The leaf has no name.
    #[error("{0:?} has no usable URN in its subjectAltName")]
    NoUrn(String),
    /// The issuer is no authority over the name.
    #[error("{issuer} is no authority over {subject}")]
    Namespace {
        /// The issuer's name, or what is wrong with it.
        issuer: String,
        /// The name that it vouched for.
        subject: String,
    },
    /// The policy does not accept a key or a signature.
    #[error("{0:?} is not accepted: {1}")]
    Algorithm(String, String),
    /// Past its time.
    #[error("{0:?} expired at {1}")]
    Expired(String, String),
    /// Not valid yet.
    #[error("{0:?} is not valid before {1}")]
    NotYetValid(String, String),
}

impl Chain {
    /// Finds the way from `leaf` to a root. `pool` holds other certificates that came along.
    ///
    /// # Errors
    /// [`ChainError`]: the most telling one of all ways that were tried.
    pub fn verify(
        leaf: &Certificate,
        pool: &[Certificate],
        roots: &TrustRoots,
        policy: &CryptoPolicy,
        now: Timestamp,
    ) -> Result<Self, ChainError> {
        let mut path = vec![leaf.clone()];
        let found = Search { pool, roots, policy, now, checks: 0 }.climb(&mut path);
        match (leaf.urn(), found) {
            (Ok(_), Ok(())) => Ok(Self { certificates: path }),
            // Nobody can be an authority over no name; that nobody knows the issuer is the better answer.
            (Err(_), Ok(()) | Err(ChainError::Namespace { .. })) => Err(ChainError::NoUrn(leaf.subject())),
            (_, Err(error)) => Err(error),
        }
    }

    /// The certificate that the way begins with.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// From the leaf up to the anchor.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate that issued the leaf; the leaf itself if it is an anchor.
    #[must_use]
    pub fn issuer(&self) -> &Certificate {
        self.certificates.get(1).unwrap_or(&self.certificates[0])
    }

    /// Whether every certificate on the way is valid at this time.
    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        check_times(&self.certificates, now).is_ok()
    }
}

struct Search<'a> {
    pool: &'a [Certificate],
    roots: &'a TrustRoots,
    policy: &'a CryptoPolicy,
    now: Timestamp,
    checks: usize,
}

impl Search<'_> {
    /// Extends the path until its end is a root. On an error the path is as it was.
    fn climb(&mut self, path: &mut Vec<Certificate>) -> Result<(), ChainError> {
        let current = path[path.len() - 1].clone();
        let algorithm = |reason| ChainError::Algorithm(current.subject(), reason);
        self.policy.check_key(current.key()).map_err(algorithm)?;
        if current.constraints().unknown_critical {
            return Err(ChainError::Critical(current.subject()));
        }
        if self.roots.contains(&current) {
            return check_times(path, self.now);
        }
        self.policy.check_certificate_signature(&current).map_err(algorithm)?;
        if path.len() >= MAX_LENGTH {
            return Err(ChainError::TooLong);
        }
        let mut worst = ChainError::NoIssuer(current.subject(), current.issuer());
        for issuer in self.candidates(&current, path) {
            self.checks += 1;
            if self.checks > MAX_CHECKS {
                return Err(ChainError::TooLong);
            }
            let attempt = match self.check_issuance(&issuer, &current, path) {
                Ok(()) => {
                    path.push(issuer);
                    let result = self.climb(path);
                    if result.is_err() {
                        path.pop();
                    }
                    result
                }
                Err(error) => Err(error),
            };
            match attempt {
                Ok(()) => return Ok(()),
                Err(error) if error.rank() >= worst.rank() => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }

    /// Who could have issued a certificate: roots first.
    fn candidates(&self, current: &Certificate, path: &[Certificate]) -> Vec<Certificate> {
        let roots = self.roots.iter().map(|root| &root.certificate);
        let mut found: Vec<Certificate> = Vec::new();
        for candidate in roots.chain(self.pool) {
            if current.names_as_issuer(candidate) && !path.contains(candidate) && !found.contains(candidate) {
                found.push(candidate.clone());
            }
        }
        found
    }

    /// Everything about one issuance but the issuer's own standing. `path` ends with the subject.
    fn check_issuance(
        &self,
        issuer: &Certificate,
        subject: &Certificate,
        path: &[Certificate],
    ) -> Result<(), ChainError> {
        // Before its key is used: some keys are attacks by themselves.
        self.policy
            .check_key(issuer.key())
            .map_err(|reason| ChainError::Algorithm(issuer.subject(), reason))?;
        if !subject.is_signed_by(issuer) {
            return Err(ChainError::NotSigned(subject.subject()));
        }
        let is_anchor = self.roots.contains(issuer);
        let constraints = issuer.constraints();
        let is_ca = constraints.ca && !constraints.may_not_issue;
        let may_issue = is_ca || (is_anchor && self.policy.allow_non_ca_anchors);
        if !may_issue {
            return Err(ChainError::NotCa(issuer.subject()));
        }
        // Intermediates between the issuer and the leaf; self-issued ones do not count (RFC 5280).
        let between = path.iter().skip(1).filter(|certificate| !certificate.is_self_issued()).count();
        if constraints.path_length.is_some_and(|length| between > length as usize) {
            return Err(ChainError::PathLength(issuer.subject()));
        }
        check_namespace(issuer, subject, is_anchor && self.policy.allow_anchors_without_urn)
    }
}

/// The namespace rule of one issuance.
fn check_namespace(
    issuer: &Certificate,
    subject: &Certificate,
    may_lack_urn: bool,
) -> Result<(), ChainError> {
    let name = |certificate: &Certificate| match certificate.urn() {
        Ok(urn) => urn.to_string(),
        Err(_) => format!("{:?}, which has no usable URN,", certificate.subject()),
    };
    let error = || ChainError::Namespace { issuer: name(issuer), subject: name(subject) };
    match (issuer.urn(), subject.urn()) {
        (Err(crate::certificate::NoUrn::Missing), _) if may_lack_urn => Ok(()),
        (Ok(issuer), Ok(subject))
            if issuer.is_authority() && issuer.authority().is_over(subject.authority()) =>
        {
            Ok(())
        }
        _ => Err(error()),
    }
}

fn check_times(path: &[Certificate], now: Timestamp) -> Result<(), ChainError> {
    for certificate in path {
        let (from, until) = (certificate.not_before(), certificate.not_after());
        if now.duration_since(until) > CLOCK_SKEW {
            return Err(ChainError::Expired(certificate.subject(), time::format(until)));
        }
        if from.duration_since(now) > CLOCK_SKEW {
            return Err(ChainError::NotYetValid(certificate.subject(), time::format(from)));
        }
    }
    Ok(())
}

impl ChainError {
    /// How much an error tells: the way that got furthest explains best.
    fn rank(&self) -> u8 {
        match self {
            Self::NoIssuer(..) => 0,
            Self::NotSigned(_) => 1,
            Self::TooLong => 2,
            Self::Algorithm(..) | Self::Critical(_) => 3,
            Self::NotCa(_) | Self::PathLength(_) | Self::NoUrn(_) => 4,
            Self::Namespace { .. } => 5,
            Self::Expired(..) | Self::NotYetValid(..) => 6,
        }
    }
}
