//! Certificates of any kind, also such as the built-in authority would never make.

#![allow(dead_code, reason = "each test binary uses some of it")]

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};
use testyard_trust::Certificate;

/// The time of most tests: 2027-03-01T12:00:00Z.
pub(crate) const NOW: i64 = 1_803_902_400;

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Forged {
    pub x509: X509,
    pub(crate) key: PKey<Private>,
}

/// What a certificate shall be.
#[derive(Clone)]
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    /// URIs of the subjectAltName.
    pub(crate) uris: Vec<String>,
    pub(crate) ca: Option<bool>,
    pub(crate) path_length: Option<u32>,
    /// Key usage without keyCertSign.
    pub(crate) no_cert_sign: bool,
    pub(crate) critical: bool,
    pub(crate) digest: MessageDigest,
    /// Bits of RSA; P-256 without.
    pub(crate) rsa: Option<u32>,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

pub(crate) fn urn(authority: &str, kind: &str, name: &str) -> String {
    format!("urn:publicid:IDN+{authority}+{kind}+{name}")
}

impl<'a> Plan<'a> {
    pub(crate) fn authority(name: &'a str, authority: &str) -> Self {
        Self { ca: Some(true), ..Self::holder(name, &urn(authority, "authority", "sa")) }
    }

    pub(crate) fn holder(name: &'a str, urn: &str) -> Self {
        Self {
            name,
            uris: vec![urn.to_owned()],
            ca: Some(false),
            path_length: None,
            no_cert_sign: false,
            critical: false,
            digest: MessageDigest::sha256(),
            rsa: None,
            from: NOW - 86_400,
            until: NOW + 86_400,
        }
    }

    pub(crate) fn make(&self, issuer: Option<&Forged>) -> Forged {
        let key = match self.rsa {
            Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            None => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            }
        };
        let subject = name(self.name);
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&BigNum::from_u32(3).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_issuer_name(issuer.map_or(&subject, |issuer| issuer.x509.subject_name())).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(self.from).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(self.until).unwrap()).unwrap();
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        builder.set_pubkey(&public).unwrap();
        if let Some(ca) = self.ca {
            let mut constraints = BasicConstraints::new();
            if ca {
                constraints.critical().ca();
            }
            if let Some(length) = self.path_length {
                constraints.pathlen(length);
            }
            builder.append_extension(constraints.build().unwrap()).unwrap();
        }
        if self.no_cert_sign {
            builder
                .append_extension(KeyUsage::new().critical().digital_signature().build().unwrap())
                .unwrap();
        }
        if self.critical {
            let id = Asn1Object::from_str("1.2.3.4.5").unwrap();
            let value = Asn1OctetString::new_from_bytes(&[5, 0]).unwrap();
            builder.append_extension(X509Extension::new_from_der(&id, true, &value).unwrap()).unwrap();
        }
        if !self.uris.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for uri in &self.uris {
                names.uri(uri);
            }
            let extension = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(issuer.map_or(&key, |issuer| &issuer.key), self.digest).unwrap();
        Forged { x509: builder.build(), key }
    }
}

fn name(common: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    builder.build()
}

impl Forged {
    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.x509.to_der().unwrap()).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        String::from_utf8(self.x509.to_pem().unwrap()).unwrap()
    }
}
