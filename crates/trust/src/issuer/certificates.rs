//! Making certificates.

use std::net::IpAddr;

use jiff::Timestamp;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};
use testyard_model::urn::{Authority, SliceUrn, Urn, UserUrn};
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::issuer::{Identity, IssueError, Validity};
use crate::key::{NewKey, PrivateKey};

/// The longest common name and organisation that X.509 allows.
const MAX_NAME: usize = 64;

/// A name in a server certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, which clients need.
    Dns(String),
    /// An address, for testbeds without a name.
    Address(IpAddr),
}

impl std::str::FromStr for ServerName {
    type Err = IssueError;

    fn from_str(text: &str) -> Result<Self, IssueError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        match text.len() <= 253 && text.strip_prefix("*.").unwrap_or(text).split('.').all(label) {
            true => Ok(Self::Dns(text.to_ascii_lowercase())),
            false => Err(IssueError::ServerName(text.chars().take(100).collect())),
        }
    }
}

/// Everything about a certificate but its issuer.
struct Template<'a> {
    subject: X509Name,
    names: SubjectAlternativeName,
    kind: Kind,
    validity: Validity,
    /// Whose certificate it is.
    key: PKey<Public>,
    /// What signs it where there is no issuer; nothing if only its holder has the key.
    own: Option<&'a PrivateKey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Authority,
    Holder,
    Server,
}

impl Identity {
    /// A new root over an authority's names: `urn:publicid:IDN+<authority>+authority+root`, self-signed.
    ///
    /// # Errors
    /// [`IssueError`] if OpenSSL fails or the times cannot be used.
    pub fn root(authority: &Authority, key: NewKey, validity: Validity) -> Result<Self, IssueError> {
        Self::root_named(authority, "root", key, validity)
    }

    pub(super) fn root_named(
        authority: &Authority,
        name: &str,
        key: NewKey,
        validity: Validity,
    ) -> Result<Self, IssueError> {
        let key = PrivateKey::make(key)?;
        let template = Template::authority(&Urn::new(authority, "authority", name)?, &key, validity)?;
        let certificate = template.make(None)?;
        Self::new(key, vec![certificate])
    }

    /// A certificate authority below this one: `…+<authority>+authority+<name>`, with `name` `sa`, `ma`, `am`, ….
    ///
    /// # Errors
    /// [`IssueError::NoAuthority`] if this identity is no authority over that name; others if OpenSSL fails.
    pub fn issue_authority(
        &self,
        authority: &Authority,
        name: &str,
        key: NewKey,
        validity: Validity,
    ) -> Result<Self, IssueError> {
        let urn = Urn::new(authority, "authority", name)?;
        let key = PrivateKey::make(key)?;
        self.issue(&urn, Template::authority(&urn, &key, validity)?, key.clone())
    }

    /// A user's certificate. Without an address the e-mail is the user's name at the authority.
    ///
    /// # Errors
    /// [`IssueError`] as for authorities, and for an address that is none.
    pub fn issue_user(
        &self,
        user: &UserUrn,
        email: Option<&str>,
        key: NewKey,
        validity: Validity,
    ) -> Result<Self, IssueError> {
        let key = PrivateKey::make(key)?;
        self.issue(user.urn(), Template::holder(user.urn(), email, &key, validity)?, key.clone())
    }

    /// A user's certificate for a key that the user has already.
    ///
    /// # Errors
    /// As for [`Self::issue_user`].
    pub fn issue_user_with_key(
        &self,
        user: &UserUrn,
        email: Option<&str>,
        key: PrivateKey,
        validity: Validity,
    ) -> Result<Self, IssueError> {
        self.issue(user.urn(), Template::holder(user.urn(), email, &key, validity)?, key.clone())
    }

    /// The GID of a slice: a certificate and those above. Its key is thrown away, since slices sign nothing.
    ///
    /// # Errors
    /// [`IssueError`] as for authorities.
    pub fn issue_slice(&self, slice: &SliceUrn, validity: Validity) -> Result<Vec<Certificate>, IssueError> {
        let key = PrivateKey::make(NewKey::P256)?;
        let template = Template::holder(slice.urn(), None, &key, validity)?;
        Ok(self.issue(slice.urn(), template, key.clone())?.chain)
    }

    /// The certificate of somebody who keeps the key. The caller has seen that he has it.
    pub(super) fn issue_distant(
        &self,
        urn: &Urn,
        key: PKey<Public>,
        validity: Validity,
    ) -> Result<Certificate, IssueError> {
        self.admit(urn)?;
        Template::distant(urn, key, validity)?.make(Some(self))
    }

    fn issue(&self, urn: &Urn, template: Template<'_>, key: PrivateKey) -> Result<Self, IssueError> {
        self.admit(urn)?;
        let mut chain = vec![template.make(Some(self))?];
        chain.extend(self.above().cloned());
        Self::new(key, chain)
    }

    /// Whether this is an authority over a name.
    fn admit(&self, urn: &Urn) -> Result<(), IssueError> {
        let own = self.certificate();
        let is_authority = own.constraints().ca
            && own.urn().is_ok_and(|own| own.is_authority() && own.authority().is_over(urn.authority()));
        if !is_authority {
            let issuer = own.urn().map_or_else(|_| own.subject(), ToString::to_string);
            return Err(IssueError::NoAuthority { issuer, subject: urn.to_string() });
        }
        Ok(())
    }
}

/// A TLS server certificate for these names, the first of which is also the common name; self-signed without an
/// issuer. It has no URN and nothing to do with trust roots (am-api.md §2).
///
/// # Errors
/// [`IssueError::NoServerName`] without names; others if OpenSSL fails.
pub fn server_certificate(
    names: &[ServerName],
    key: NewKey,
    validity: Validity,
    issuer: Option<&Identity>,
) -> Result<Identity, IssueError> {
    let first = names.first().ok_or(IssueError::NoServerName)?;
    let common = match first {
        ServerName::Dns(name) => name.clone(),
        ServerName::Address(address) => address.to_string(),
    };
    let mut alternatives = SubjectAlternativeName::new();
    for name in names {
        match name {
            ServerName::Dns(name) => alternatives.dns(name),
            ServerName::Address(address) => alternatives.ip(&address.to_string()),
        };
    }
    let key = PrivateKey::make(key)?;
    let subject = name(&[(Nid::COMMONNAME, &common)])?;
    let template = Template {
        subject,
        names: alternatives,
        kind: Kind::Server,
        validity,
        key: key.public()?,
        own: Some(&key),
    };
    let mut chain = vec![template.make(issuer)?];
    chain.extend(issuer.into_iter().flat_map(Identity::above).cloned());
    Identity::new(key, chain)
}

impl<'a> Template<'a> {
    fn authority(urn: &Urn, key: &'a PrivateKey, validity: Validity) -> Result<Self, IssueError> {
        let subject = name(&[
            (Nid::ORGANIZATIONNAME, urn.authority().as_str()),
            (Nid::ORGANIZATIONALUNITNAME, "authority"),
            (Nid::COMMONNAME, urn.name()),
        ])?;
        let names = alternatives(urn, Uuid::new_v4(), &default_email(urn));
        Ok(Self { subject, names, kind: Kind::Authority, validity, key: key.public()?, own: Some(key) })
    }

    /// The common name is the UUID, as federations do it: names of people and slices may be longer than it may be.
    fn holder(
        urn: &Urn,
        email: Option<&str>,
        key: &'a PrivateKey,
        validity: Validity,
    ) -> Result<Self, IssueError> {
        let email = email.map_or_else(|| default_email(urn), str::to_owned);
        let good = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '<' | '>' | '"' | ';' | ':');
        if email.len() > 254
            || !email.chars().all(good)
            || email.split('@').filter(|p| !p.is_empty()).count() != 2
        {
            return Err(IssueError::Email(email.chars().take(100).collect()));
        }
        let uuid = Uuid::new_v4();
        let unit = format!("{}.{}", urn.authority().as_str().replace(':', "."), urn.name());
        let subject = name(&[
            (Nid::ORGANIZATIONNAME, urn.authority().as_str()),
            (Nid::ORGANIZATIONALUNITNAME, &unit),
            (Nid::COMMONNAME, &uuid.to_string()),
        ])?;
        let names = alternatives(urn, uuid, &email);
        Ok(Self { subject, names, kind: Kind::Holder, validity, key: key.public()?, own: Some(key) })
    }

    /// Of somebody whose key is elsewhere.
    fn distant(urn: &Urn, key: PKey<Public>, validity: Validity) -> Result<Self, IssueError> {
        let subject = name(&[
            (Nid::ORGANIZATIONNAME, urn.authority().as_str()),
            (Nid::ORGANIZATIONALUNITNAME, urn.kind()),
            (Nid::COMMONNAME, urn.name()),
        ])?;
        let names = alternatives(urn, Uuid::new_v4(), &default_email(urn));
        Ok(Self { subject, names, kind: Kind::Holder, validity, key, own: None })
    }

    fn make(&self, issuer: Option<&Identity>) -> Result<Certificate, IssueError> {
        let Validity { from, until } = self.validity;
        let times = self.times().filter(|_| from < until).ok_or(IssueError::Validity(until))?;
        let signer = issuer.map(|issuer| &issuer.key).or(self.own).ok_or(IssueError::OtherKey)?;
        let certificate = self.build(issuer, signer, &times)?;
        Ok(Certificate::from_der(&certificate.to_der()?)?)
    }

    fn times(&self) -> Option<(Asn1Time, Asn1Time)> {
        let time = |time: Timestamp| Asn1Time::from_unix(time.as_second()).ok();
        Some((time(self.validity.from)?, time(self.validity.until)?))
    }

    fn build(
        &self,
        issuer: Option<&Identity>,
        signer: &PrivateKey,
        times: &(Asn1Time, Asn1Time),
    ) -> Result<X509, ErrorStack> {
        let above = issuer.map(|issuer| issuer.certificate().x509());
        let mut builder = X509Builder::new()?;
        builder.set_version(2)?;
        builder.set_serial_number(serial()?.to_asn1_integer()?.as_ref())?;
        builder.set_subject_name(&self.subject)?;
        builder.set_issuer_name(above.map_or(self.subject.as_ref(), |above| above.subject_name()))?;
        builder.set_not_before(&times.0)?;
        builder.set_not_after(&times.1)?;
        builder.set_pubkey(&self.key)?;
        let mut constraints = BasicConstraints::new();
        let mut usage = KeyUsage::new();
        usage.critical();
        match self.kind {
            Kind::Authority => {
                constraints.critical().ca();
                // Authorities sign credentials, too.
                usage.key_cert_sign().crl_sign().digital_signature();
            }
            Kind::Holder => {
                usage.digital_signature().non_repudiation().key_encipherment();
                builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
            }
            Kind::Server => {
                usage.digital_signature().key_encipherment();
                builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
            }
        }
        builder.append_extension(constraints.build()?)?;
        builder.append_extension(usage.build()?)?;
        let key_id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(above.map(|x| &**x), None))?;
        builder.append_extension(key_id)?;
        if above.is_some() {
            let context = builder.x509v3_context(above.map(|x| &**x), None);
            let authority_key_id = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
            builder.append_extension(authority_key_id)?;
        }
        let names = self.names.build(&builder.x509v3_context(above.map(|x| &**x), None))?;
        builder.append_extension(names)?;
        builder.sign(signer.openssl(), MessageDigest::sha256())?;
        Ok(builder.build())
    }
}

/// 127 random bits, so that no two certificates of one issuer share a serial number.
fn serial() -> Result<BigNum, ErrorStack> {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    BigNum::from_slice(&bytes)
}

fn name(parts: &[(Nid, &str)]) -> Result<X509Name, ErrorStack> {
    let mut builder = X509NameBuilder::new()?;
    for (nid, value) in parts {
        let short: String = value.chars().take(MAX_NAME).collect();
        builder.append_entry_by_nid(*nid, &short)?;
    }
    Ok(builder.build())
}

fn alternatives(urn: &Urn, uuid: Uuid, email: &str) -> SubjectAlternativeName {
    let mut names = SubjectAlternativeName::new();
    names.uri(&urn.to_string()).uri(&format!("urn:uuid:{uuid}")).email(email);
    names
}

/// Something in the form of an address, for those who have none: certificates of version 3 credentials carry one.
fn default_email(urn: &Urn) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let name: String = urn.name().chars().map(plain).take(64).collect();
    let host = urn.authority().as_str().split(':').next().unwrap_or_default();
    format!("{name}@{}", host.chars().take(180).collect::<String>())
}
