//! Which keys, algorithms and anchors are good enough.
//!
//! Some things are never accepted, whatever a configuration says: MD5, RSA below 1024 or above 8192 bits, an even or
//! tiny or huge RSA exponent, DSA, unnamed curves. The rest is a policy with two ready-made values.

use openssl::nid::Nid;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::key::{KeyKind, PublicKey};

/// RSA keys shorter than this are never accepted.
pub const LEAST_RSA_BITS: u32 = 1024;
/// RSA keys longer than this are never accepted: verifying them is slow enough to be an attack.
pub const MOST_RSA_BITS: u32 = 8192;

/// What is accepted of certificates and signatures. [`CryptoPolicy::modern`] is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CryptoPolicy {
    /// The shortest RSA key. Values below 1024 mean 1024.
    pub min_rsa_bits: u32,
    /// The longest RSA key. Values above 8192 mean 8192.
    pub max_rsa_bits: u32,
    /// Whether a certificate may be signed with SHA-1. The anchor's own signature never matters.
    pub allow_sha1_certificates: bool,
    /// Whether a credential may be signed with rsa-sha1 or have a SHA-1 digest: most of the field's still do.
    pub allow_sha1_signatures: bool,
    /// Whether a trust root without the CA flag may issue certificates.
    pub allow_non_ca_anchors: bool,
    /// Whether a trust root without a URN may issue certificates; it then vouches for names of every authority.
    pub allow_anchors_without_urn: bool,
}

impl CryptoPolicy {
    /// RSA from 2048 bits, certificates signed with SHA-2, roots that are certificate authorities with a URN.
    /// Credentials may still be signed with rsa-sha1.
    #[must_use]
    pub const fn modern() -> Self {
        Self {
            min_rsa_bits: 2048,
            max_rsa_bits: MOST_RSA_BITS,
            allow_sha1_certificates: false,
            allow_sha1_signatures: true,
            allow_non_ca_anchors: false,
            allow_anchors_without_urn: false,
        }
    }

    /// Everything that is still seen in federations: RSA 1024, SHA-1, roots without CA flag or URN.
    #[must_use]
    pub const fn legacy() -> Self {
        Self {
            min_rsa_bits: LEAST_RSA_BITS,
            max_rsa_bits: MOST_RSA_BITS,
            allow_sha1_certificates: true,
            allow_sha1_signatures: true,
            allow_non_ca_anchors: true,
            allow_anchors_without_urn: true,
        }
    }

    /// Whether a key may be used; the error says why not.
    pub(crate) fn check_key(&self, key: &PublicKey) -> Result<(), String> {
        let (least, most) = (self.min_rsa_bits.max(LEAST_RSA_BITS), self.max_rsa_bits.min(MOST_RSA_BITS));
        match key.kind() {
            KeyKind::Rsa { sound_exponent: false, .. } => Err("its RSA exponent is not accepted".to_owned()),
            KeyKind::Rsa { bits, .. } if *bits < least => {
                Err(format!("its RSA key has {bits} bits, and {least} are the least that is accepted here"))
            }
            KeyKind::Rsa { bits, .. } if *bits > most => {
                Err(format!("its RSA key has {bits} bits, more than {most}"))
            }
            KeyKind::Rsa { .. } | KeyKind::Ec(_) | KeyKind::Ed25519 => Ok(()),
            KeyKind::Other => Err("its key is of a kind that is not accepted".to_owned()),
        }
    }

    /// Whether the signature on a certificate is of an accepted kind; the error says why not.
    pub(crate) fn check_certificate_signature(&self, certificate: &Certificate) -> Result<(), String> {
        match certificate.x509().signature_algorithm().object().nid() {
            Nid::SHA256WITHRSAENCRYPTION
            | Nid::SHA384WITHRSAENCRYPTION
            | Nid::SHA512WITHRSAENCRYPTION
            | Nid::ECDSA_WITH_SHA256
            | Nid::ECDSA_WITH_SHA384
            | Nid::ECDSA_WITH_SHA512 => Ok(()),
            nid if nid.as_raw() == openssl::pkey::Id::ED25519.as_raw() => Ok(()),
            Nid::SHA1WITHRSAENCRYPTION | Nid::ECDSA_WITH_SHA1 if self.allow_sha1_certificates => Ok(()),
            nid => {
                let name = nid.long_name().unwrap_or("unknown");
                Err(format!("it is signed with {name}, which is not accepted here"))
            }
        }
    }
}

impl Default for CryptoPolicy {
    fn default() -> Self {
        Self::modern()
    }
}
