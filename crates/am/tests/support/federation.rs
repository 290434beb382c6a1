//! A federation of one authority, and what its members hold.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use testyard_am::Peer;
use testyard_am::client::Identity as ClientIdentity;
use testyard_am::xmlrpc::Value;
use testyard_trust::issuer::{CredentialRequest, Identity, Validity, server_certificate};
use testyard_trust::privilege::Privilege;
use testyard_trust::{CryptoPolicy, NewKey, Trust, TrustRoots};

pub struct Federation {
    pub root: Identity,
    pub authority: Identity,
}

/// A member, with a certificate of its own.
pub struct User {
    pub identity: Identity,
}

impl Federation {
    pub fn new() -> Self {
        let name = "fed.example.net".parse().unwrap();
        let days = Validity::days(Timestamp::now(), 365);
        let root = Identity::root(&name, NewKey::P256, days).unwrap();
        let authority = root.issue_authority(&name, "sa", NewKey::P256, days).unwrap();
        Self { root, authority }
    }

    pub fn trust(&self) -> Arc<Trust> {
        let roots = TrustRoots::of(Path::new("test"), vec![self.root.certificate().clone()]);
        Arc::new(Trust::fixed(roots, CryptoPolicy::modern()))
    }

    pub fn user(&self, name: &str) -> User {
        let urn = format!("urn:publicid:IDN+fed.example.net+user+{name}").parse().unwrap();
        let days = Validity::days(Timestamp::now(), 100);
        User { identity: self.authority.issue_user(&urn, None, NewKey::P256, days).unwrap() }
    }

    /// A credential of a user for a slice, until so many hours from now.
    pub fn slice_credential(&self, user: &User, slice: &str, hours: i64) -> String {
        self.credential(user, slice, hours, "*")
    }

    pub fn credential(&self, user: &User, slice: &str, hours: i64, privilege: &str) -> String {
        let slice = slice_urn(slice).parse().unwrap();
        let target = self.authority.issue_slice(&slice, Validity::days(Timestamp::now(), 90)).unwrap();
        self.sign(user.identity.chain(), &target, hours, privilege)
    }

    pub fn user_credential(&self, user: &User) -> String {
        self.sign(user.identity.chain(), user.identity.chain(), 1000, "*")
    }

    fn sign(
        &self,
        owner: &[testyard_trust::Certificate],
        target: &[testyard_trust::Certificate],
        hours: i64,
        privilege: &str,
    ) -> String {
        let privileges = [Privilege::new(privilege, true)];
        let expires = Timestamp::now() + SignedDuration::from_hours(hours);
        let request = CredentialRequest { owner, target, privileges: &privileges, expires };
        self.authority.sign_credential(&request).unwrap()
    }
}

impl User {
    pub fn urn(&self) -> String {
        self.identity.certificate().urn().unwrap().to_string()
    }

    pub fn peer(&self) -> Peer {
        let chain = self.identity.chain().iter().map(|certificate| certificate.der().to_vec()).collect();
        Peer::with_certificates(IpAddr::V4(Ipv4Addr::LOCALHOST), chain)
    }

    pub fn client_identity(&self) -> ClientIdentity {
        ClientIdentity {
            certificates: self.identity.chain_pem().into_bytes(),
            key: self.identity.key().to_pem().unwrap(),
            passphrase: None,
        }
    }
}

pub fn slice_urn(name: &str) -> String {
    format!("urn:publicid:IDN+fed.example.net+slice+{name}")
}

/// Credentials as they are passed.
pub fn passed(texts: &[&str]) -> Value {
    let one = |text: &&str| {
        Value::members([
            ("geni_type", Value::from("geni_sfa")),
            ("geni_version", Value::from("3")),
            ("geni_value", Value::from(*text)),
        ])
    };
    Value::Array(texts.iter().map(one).collect())
}

/// A server certificate with its key.
pub struct Pair(Identity);

pub fn server_pair(name: &str) -> Pair {
    let days = Validity::days(Timestamp::now(), 10);
    let names = [name.parse().unwrap(), "127.0.0.1".parse().unwrap()];
    Pair(server_certificate(&names, NewKey::P256, days, None).unwrap())
}

impl Pair {
    pub fn write(&self, certificate: &Path, key: &Path) {
        std::fs::write(certificate, self.0.chain_pem()).unwrap();
        std::fs::write(key, self.0.key().to_pem().unwrap()).unwrap();
    }

    pub fn chain_pem(&self) -> String {
        self.0.chain_pem()
    }
}
