//! The algorithms of XML signatures that are accepted; every other URI is refused.

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::md::{Md, MdRef};
use openssl::pkey::{PKeyRef, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::{error::ErrorStack, sha};

use crate::c14n::C14n;
use crate::key::{KeyKind, PublicKey};

pub(crate) const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
pub(crate) const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// How a SignatureValue is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Rsa(Digest),
    Ecdsa(Digest),
}

impl C14n {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            INCLUSIVE => Some(Self::Inclusive),
            EXCLUSIVE => Some(Self::Exclusive),
            _ => None,
        }
    }
}

impl Digest {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            "http://www.w3.org/2000/09/xmldsig#sha1" => Some(Self::Sha1),
            "http://www.w3.org/2001/04/xmlenc#sha256" => Some(Self::Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => Some(Self::Sha384),
            "http://www.w3.org/2001/04/xmlenc#sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => sha::sha1(bytes).to_vec(),
            Self::Sha256 => sha::sha256(bytes).to_vec(),
            Self::Sha384 => sha::sha384(bytes).to_vec(),
            Self::Sha512 => sha::sha512(bytes).to_vec(),
        }
    }

    fn md(self) -> &'static MdRef {
        match self {
            Self::Sha1 => Md::sha1(),
            Self::Sha256 => Md::sha256(),
            Self::Sha384 => Md::sha384(),
            Self::Sha512 => Md::sha512(),
        }
    }
}

impl Method {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1" => Some(Self::Rsa(Digest::Sha1)),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" => Some(Self::Rsa(Digest::Sha256)),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384" => Some(Self::Rsa(Digest::Sha384)),
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" => Some(Self::Rsa(Digest::Sha512)),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256" => Some(Self::Ecdsa(Digest::Sha256)),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384" => Some(Self::Ecdsa(Digest::Sha384)),
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512" => Some(Self::Ecdsa(Digest::Sha512)),
            _ => None,
        }
    }

    /// The method that our own authority signs with, and its URI.
    pub(crate) fn for_signing(key: &KeyKind) -> Option<(Self, &'static str)> {
        match key {
            KeyKind::Rsa { .. } => {
                Some((Self::Rsa(Digest::Sha256), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"))
            }
            KeyKind::Ec(_) => {
                Some((Self::Ecdsa(Digest::Sha256), "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"))
            }
            KeyKind::Ed25519 | KeyKind::Other => None,
        }
    }

    pub(crate) fn digest(self) -> Digest {
        match self {
            Self::Rsa(digest) | Self::Ecdsa(digest) => digest,
        }
    }

    /// Whether keys of this kind make such signatures.
    pub(crate) fn fits(self, key: &KeyKind) -> bool {
        matches!((self, key), (Self::Rsa(_), KeyKind::Rsa { .. }) | (Self::Ecdsa(_), KeyKind::Ec(_)))
    }

    /// Whether `signature` is the key's over `octets`.
    pub(crate) fn verify(self, key: &PublicKey, octets: &[u8], signature: &[u8]) -> bool {
        let der;
        let signature = match (self, key.kind()) {
            (Self::Rsa(_), KeyKind::Rsa { .. }) => signature,
            (Self::Ecdsa(_), KeyKind::Ec(curve)) => match to_der(signature, curve.bytes()) {
                Some(encoded) => {
                    der = encoded;
                    &der
                }
                None => return false,
            },
            _ => return false,
        };
        let check = || -> Result<bool, ErrorStack> {
            let mut context = PkeyCtx::new(key.openssl())?;
            context.verify_init()?;
            if let Self::Rsa(_) = self {
                context.set_rsa_padding(Padding::PKCS1)?;
            }
            context.set_signature_md(self.digest().md())?;
            context.verify(&self.digest().of(octets), signature)
        };
        check().unwrap_or(false)
    }

    /// Signs `octets`; the result is what SignatureValue holds.
    pub(crate) fn sign(
        self,
        key: &PKeyRef<Private>,
        kind: &KeyKind,
        octets: &[u8],
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut context = PkeyCtx::new(key)?;
        context.sign_init()?;
        if let Self::Rsa(_) = self {
            context.set_rsa_padding(Padding::PKCS1)?;
        }
        context.set_signature_md(self.digest().md())?;
        let mut signature = Vec::new();
        context.sign_to_vec(&self.digest().of(octets), &mut signature)?;
        match kind {
            KeyKind::Ec(curve) => {
                let pair = EcdsaSig::from_der(&signature)?;
                let size = i32::try_from(curve.bytes()).unwrap_or(i32::MAX);
                Ok([pair.r().to_vec_padded(size)?, pair.s().to_vec_padded(size)?].concat())
            }
            _ => Ok(signature),
        }
    }
}

/// XML signatures hold the two numbers of an ECDSA signature side by side, OpenSSL wants them in DER.
fn to_der(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    if signature.len() != 2 * size {
        return None;
    }
    let (r, s) = signature.split_at(size);
    let number = |bytes| BigNum::from_slice(bytes).ok();
    EcdsaSig::from_private_components(number(r)?, number(s)?).ok()?.to_der().ok()
}
