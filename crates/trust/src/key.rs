//! Keys: public ones with what the policy asks about them, private ones that never show themselves.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rsa::Rsa;

/// A public key out of a certificate.
pub struct PublicKey {
    key: PKey<Public>,
    kind: KeyKind,
}

/// What a key is, as far as policies and signature methods care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// Length of the modulus.
        bits: u32,
        /// Whether the public exponent is odd, at least 3 and below 2^32.
        sound_exponent: bool,
    },
    /// A named elliptic curve.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
    /// Anything else: DSA, unnamed curves, …
    Other,
}

/// The curves that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
}

impl Curve {
    /// Bytes of one coordinate, and so of each half of a signature.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn of(nid: Option<Nid>) -> Option<Self> {
        match nid? {
            Nid::X9_62_PRIME256V1 => Some(Self::P256),
            Nid::SECP384R1 => Some(Self::P384),
            Nid::SECP521R1 => Some(Self::P521),
            _ => None,
        }
    }
}

impl PublicKey {
    pub(crate) fn new(key: PKey<Public>) -> Option<Self> {
        let kind = match key.id() {
            Id::RSA => {
                let rsa = key.rsa().ok()?;
                let (bits, exponent) = (u32::try_from(rsa.n().num_bits()).ok()?, rsa.e());
                let sound_exponent = exponent.is_odd() && (2..=32).contains(&exponent.num_bits());
                KeyKind::Rsa { bits, sound_exponent }
            }
            Id::EC => Curve::of(key.ec_key().ok()?.group().curve_name()).map_or(KeyKind::Other, KeyKind::Ec),
            Id::ED25519 => KeyKind::Ed25519,
            _ => KeyKind::Other,
        };
        Some(Self { key, kind })
    }

    /// What the key is.
    #[must_use]
    pub fn kind(&self) -> &KeyKind {
        &self.kind
    }

    pub(crate) fn openssl(&self) -> &PKey<Public> {
        &self.key
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.kind).finish()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key.public_eq(&other.key)
    }
}

/// A private key. It has no way to be printed but [`PrivateKey::to_pem`].
#[derive(Clone)]
pub struct PrivateKey {
    key: PKey<Private>,
}

/// Which key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKey {
    /// RSA with a modulus of this many bits: what every client of the field can read.
    Rsa(u32),
    /// NIST P-256.
    P256,
}

/// Why a key cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key in the text, or one that is encrypted.
    #[error("there is no private key that can be read: PEM without a passphrase is needed")]
    Unreadable,
    /// OpenSSL could not make one.
    #[error("a key could not be made")]
    Make(#[from] ErrorStack),
    /// The file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl PrivateKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyError::Make`] if OpenSSL has no randomness or refuses the size.
    pub fn make(new: NewKey) -> Result<Self, KeyError> {
        let key = match new {
            NewKey::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits)?)?,
            NewKey::P256 => PKey::from_ec_key(EcKey::generate(
                EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.as_ref(),
            )?)?,
        };
        Ok(Self { key })
    }

    /// Reads the first private key of a PEM text; certificates beside it are left out.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] if there is none, or it is encrypted.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        // With a passphrase at hand OpenSSL does not ask the terminal for one.
        let key = PKey::private_key_from_pem_passphrase(text, b"").map_err(|_| KeyError::Unreadable)?;
        Ok(Self { key })
    }

    /// PKCS #8 in PEM armour. The caller keeps it secret.
    ///
    /// # Errors
    /// [`KeyError::Make`] if OpenSSL cannot encode it.
    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.key.private_key_to_pem_pkcs8()?)
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError::Write`], also if there is a file already.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        write_secret(path, &self.to_pem()?)
    }

    pub(crate) fn openssl(&self) -> &PKey<Private> {
        &self.key
    }

    pub(crate) fn public(&self) -> Result<PKey<Public>, KeyError> {
        Ok(PKey::public_key_from_der(&self.key.public_key_to_der()?)?)
    }

    pub(crate) fn kind(&self) -> Result<KeyKind, KeyError> {
        Ok(PublicKey::new(self.public()?).map_or(KeyKind::Other, |key| key.kind))
    }

    pub(crate) fn belongs_to(&self, key: &PublicKey) -> bool {
        self.key.public_eq(&key.key)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// Writes a new file with mode 0600.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| KeyError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_key_hides_and_its_file_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = PrivateKey::make(NewKey::P256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
        key.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(key.write_new(&path), Err(KeyError::Write { .. })), "nothing is overwritten");
        let again = PrivateKey::from_pem(&std::fs::read(&path).unwrap()).unwrap();
        assert!(again.key.public_eq(&key.key));
    }

    #[test]
    fn an_encrypted_key_is_refused_without_asking() {
        let key = PrivateKey::make(NewKey::P256).unwrap();
        let cipher = openssl::symm::Cipher::aes_128_cbc();
        let pem = key.key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
        assert!(matches!(PrivateKey::from_pem(&pem), Err(KeyError::Unreadable)));
    }
}
