//! Certificates of hosts: the testbed's own authority over the machines that nodes run on.
//!
//! ```text
//! hosts (…+authority+hosts) ─┬─► the controller's certificate, for the name that agents expect
//!                            └─► host (…+host+<name>): of a key that never leaves the host
//! ```
//!
//! It has nothing to do with trusted roots of federations: no caller of the AM API comes in by it, and no federation's member
//! comes in as a host.

use std::path::Path;

use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::x509::{X509Name, X509Req, X509ReqBuilder};
use testyard_model::id::HostName;
use testyard_model::urn::{Authority, Urn};

use super::{Identity, IssueError, ServerName, Validity, server_certificate};
use crate::certificate::{Certificate, Fingerprint};
use crate::key::{Curve, KeyError, KeyKind, NewKey, PrivateKey, PublicKey};

/// The name in the controller's certificate, whatever its address is: hosts know it by its issuer.
pub const CONTROLLER: &str = "controller.testyard";

/// The kind of a host's URN.
const HOST: &str = "host";
/// A root lives as long as its testbed.
const ROOT_DAYS: u32 = 20 * 365;
/// The controller's own certificate is made anew at each start, and before it ends.
const CONTROLLER_DAYS: u32 = 90;
/// The longest request that is read, in bytes of DER.
const LONGEST_REQUEST: usize = 8 << 10;

/// The testbed's authority over its hosts.
#[derive(Clone, Debug)]
pub struct HostAuthority(Identity);

/// What a host asks a certificate with: its public key, and the proof that it has the private one.
#[derive(Debug)]
pub struct HostRequest {
    key: PublicKey,
}

/// A request cannot be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes are no certificate request.
    #[error("the bytes are no certificate request (PKCS #10)")]
    Unreadable,
    /// It is longer than any honest one.
    #[error("a certificate request has at most {LONGEST_REQUEST} bytes")]
    TooLong,
    /// It is not signed with the key that it names.
    #[error("the request is not signed with its own key")]
    Unsigned,
    /// The key is none that hosts have.
    #[error("a host's key is of P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits")]
    Key,
}

/// A certificate is no host's of this testbed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostCertificateError {
    /// It names no host.
    #[error("the certificate names no host")]
    NoHost,
    /// It names a host of another testbed.
    #[error("the certificate is of a host of {0}")]
    OtherTestbed(String),
}

impl HostAuthority {
    /// A new one.
    ///
    /// # Errors
    /// [`IssueError`] if OpenSSL fails.
    pub fn make(authority: &Authority, now: Timestamp) -> Result<Self, IssueError> {
        let validity = Validity::days(now, ROOT_DAYS).from_yesterday();
        Ok(Self(Identity::root_named(authority, "hosts", NewKey::P256, validity)?))
    }

    /// Reads one that was written by [`Self::write_new`].
    ///
    /// # Errors
    /// [`IssueError`] if the text is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, IssueError> {
        Ok(Self(Identity::from_pem(text, text)?))
    }

    /// Writes it to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError::Write`], also if there is a file already.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        self.0.write_new(path)
    }

    /// What hosts trust.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        self.0.certificate()
    }

    /// What a token names it by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate().fingerprint()
    }

    /// A certificate for the controller, with a key of its own; behind it that of this authority, which hosts that are not
    /// enrolled yet know by its fingerprint only.
    ///
    /// # Errors
    /// [`IssueError`] if OpenSSL fails.
    pub fn controller(&self, now: Timestamp) -> Result<Identity, IssueError> {
        let names = [ServerName::Dns(CONTROLLER.to_owned())];
        let validity = Validity::days(now, CONTROLLER_DAYS).from_yesterday();
        let own = server_certificate(&names, NewKey::P256, validity, Some(&self.0))?;
        let chain = own.chain().iter().chain(self.0.chain()).cloned().collect();
        Identity::new(own.key().clone(), chain)
    }

    /// A host's certificate. Whatever else the request says of its holder is not heard.
    ///
    /// # Errors
    /// [`IssueError`] if OpenSSL fails.
    pub fn issue(
        &self,
        host: &HostName,
        request: &HostRequest,
        validity: Validity,
    ) -> Result<Certificate, IssueError> {
        let own = self.certificate().urn().map_err(|_| IssueError::NoUrn("authority over hosts"))?;
        let urn = Urn::new(own.authority(), HOST, host.as_str())?;
        self.0.issue_distant(&urn, request.key.openssl().clone(), validity)
    }

    /// The host that a certificate of this authority is of. That the chain is good was seen before.
    ///
    /// # Errors
    /// [`HostCertificateError`] if it is none's.
    pub fn host_of(&self, certificate: &Certificate) -> Result<HostName, HostCertificateError> {
        let urn = certificate.urn().map_err(|_| HostCertificateError::NoHost)?;
        let own = self.certificate().urn().map_err(|_| HostCertificateError::NoHost)?;
        if urn.authority() != own.authority() {
            return Err(HostCertificateError::OtherTestbed(urn.authority().to_string()));
        }
        let host = Some(urn.name()).filter(|_| urn.kind() == HOST);
        host.and_then(|name| name.parse().ok()).ok_or(HostCertificateError::NoHost)
    }
}

impl HostRequest {
    /// The request for a key, as DER.
    ///
    /// # Errors
    /// [`KeyError::Make`] if OpenSSL fails.
    pub fn make(key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
        let make = || -> Result<Vec<u8>, ErrorStack> {
            let mut builder = X509ReqBuilder::new()?;
            builder.set_subject_name(X509Name::builder()?.build().as_ref())?;
            let public = PKey::public_key_from_der(&key.openssl().public_key_to_der()?)?;
            builder.set_pubkey(&public)?;
            builder.sign(key.openssl(), MessageDigest::sha256())?;
            builder.build().to_der()
        };
        Ok(make()?)
    }

    /// Reads a request and sees that who sent it has the key.
    ///
    /// # Errors
    /// [`RequestError`] if it is none that can be granted.
    pub fn read(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > LONGEST_REQUEST {
            return Err(RequestError::TooLong);
        }
        let request = X509Req::from_der(der).map_err(|_| RequestError::Unreadable)?;
        let key = request.public_key().map_err(|_| RequestError::Unreadable)?;
        if !request.verify(&key).unwrap_or(false) {
            return Err(RequestError::Unsigned);
        }
        let key = PublicKey::new(key).ok_or(RequestError::Key)?;
        let is_good = match key.kind() {
            KeyKind::Rsa { bits, sound_exponent } => (2048..=8192).contains(bits) && *sound_exponent,
            KeyKind::Ec(Curve::P256 | Curve::P384 | Curve::P521) | KeyKind::Ed25519 => true,
            KeyKind::Other => false,
        };
        if is_good { Ok(Self { key }) } else { Err(RequestError::Key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> HostAuthority {
        HostAuthority::make(&name.parse().unwrap(), Timestamp::now()).unwrap()
    }

    fn host() -> HostName {
        "h1".parse().unwrap()
    }

    #[test]
    fn a_host_has_the_certificate_of_its_own_key() {
        let hosts = authority("a.example.net");
        let key = PrivateKey::make(NewKey::P256).unwrap();
        let request = HostRequest::read(&HostRequest::make(&key).unwrap()).unwrap();
        let certificate = hosts.issue(&host(), &request, Validity::days(Timestamp::now(), 30)).unwrap();
        assert!(key.belongs_to(certificate.key()));
        assert_eq!(hosts.host_of(&certificate), Ok(host()));
        let root = hosts.certificate().x509();
        assert!(certificate.x509().verify(&root.public_key().unwrap()).unwrap());
        assert_eq!(certificate.urn().unwrap().to_string(), "urn:publicid:IDN+a.example.net+host+h1");

        let other = authority("b.example.net");
        let error = other.host_of(&certificate).unwrap_err();
        assert_eq!(error, HostCertificateError::OtherTestbed("a.example.net".into()));
        assert!(!certificate.x509().verify(&other.certificate().x509().public_key().unwrap()).unwrap());
        assert_eq!(hosts.host_of(hosts.certificate()), Err(HostCertificateError::NoHost));
        let controller = hosts.controller(Timestamp::now()).unwrap();
        assert_eq!(hosts.host_of(controller.certificate()), Err(HostCertificateError::NoHost));
        assert_eq!(controller.chain()[1].fingerprint(), hosts.fingerprint());
    }

    #[test]
    fn what_is_written_is_read_and_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.pem");
        let hosts = authority("a.example.net");
        hosts.write_new(&path).unwrap();
        let again = HostAuthority::from_pem(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(again.fingerprint(), hosts.fingerprint());
        assert!(!format!("{hosts:?}").contains("PRIVATE"));
    }

    #[test]
    fn requests_that_are_not_granted() {
        let key = PrivateKey::make(NewKey::P256).unwrap();
        let good = HostRequest::make(&key).unwrap();
        assert_eq!(HostRequest::read(b"nothing").unwrap_err(), RequestError::Unreadable);
        assert_eq!(HostRequest::read(&good[..good.len() - 1]).unwrap_err(), RequestError::Unreadable);
        assert_eq!(HostRequest::read(&vec![0x30; 9 << 10]).unwrap_err(), RequestError::TooLong);
        let short = HostRequest::make(&PrivateKey::make(NewKey::Rsa(1024)).unwrap()).unwrap();
        assert_eq!(HostRequest::read(&short).unwrap_err(), RequestError::Key);
        // The key of another, whose private part the sender has not.
        let other = PrivateKey::make(NewKey::P256).unwrap();
        let mut builder = X509ReqBuilder::new().unwrap();
        builder.set_pubkey(&other.public().unwrap()).unwrap();
        builder.sign(key.openssl(), MessageDigest::sha256()).unwrap();
        let stolen = builder.build().to_der().unwrap();
        assert_eq!(HostRequest::read(&stolen).unwrap_err(), RequestError::Unsigned);
    }
}
