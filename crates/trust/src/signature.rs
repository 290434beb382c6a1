//! One `Signature` element: read strictly, then verified.
//!
//! Only the shape that credentials have is understood: one Reference to one `#id`, no transforms but the enveloped
//! one and a canonicalisation, keys from X509Certificate only. Everything else in XML signatures is a way to sign less
//! than the reader thinks (am-api.md §3.9), so it is refused before any cryptography runs. What the signature covers
//! is decided by the caller, who has found the element with that id itself.

use testyard_xml::{Node, attribute, text_of};

use crate::algorithm::{DSIG, Digest, ENVELOPED, Method};
use crate::c14n::{C14n, canonicalize};
use crate::certificate::Certificate;
use crate::pem::{self, MAX_CERTIFICATES};
use crate::policy::CryptoPolicy;
use crate::refusal::{Reason, Refusal, Step};

/// A signature that has been read and not yet verified.
pub(crate) struct Signature<'a, 'input> {
    signed_info: Node<'a, 'input>,
    signed_info_form: C14n,
    method: Method,
    /// The id that the Reference names.
    pub(crate) reference: &'a str,
    content_form: C14n,
    digest: Digest,
    digest_value: Vec<u8>,
    value: Vec<u8>,
    /// X509Certificate elements in their order, in DER where they are base64.
    pub(crate) certificates: Vec<Vec<u8>>,
}

fn refuse<T>(reason: Reason, message: impl Into<String>) -> Result<T, Refusal> {
    let step = match reason {
        Reason::Shape => Step::Shape,
        Reason::Signature => Step::Signature,
        _ => Step::Reference,
    };
    Err(Refusal::new(step, reason, message))
}

/// The element children of a signature's element, all of which must be XML-DSig's.
fn children<'a, 'input>(node: Node<'a, 'input>) -> Result<Vec<Node<'a, 'input>>, Refusal> {
    let children: Vec<_> = node.children().filter(Node::is_element).collect();
    match children.iter().all(|child| child.tag_name().namespace() == Some(DSIG)) {
        true => Ok(children),
        false => {
            refuse(Reason::Shape, format!("{} holds an element of another namespace", node.tag_name().name()))
        }
    }
}

/// The `Algorithm` of an element that must have no parameters.
fn plain_algorithm<'a>(node: Node<'a, '_>, reason: Reason) -> Result<&'a str, Refusal> {
    if node.children().any(|child| child.is_element()) {
        return refuse(reason, format!("{} has parameters, which are not accepted", node.tag_name().name()));
    }
    match attribute(node, "Algorithm") {
        Some(uri) => Ok(uri),
        None => refuse(reason, format!("{} names no Algorithm", node.tag_name().name())),
    }
}

fn base64(node: Node<'_, '_>) -> Result<Vec<u8>, Refusal> {
    let name = node.tag_name().name();
    match pem::decode(&text_of(node)) {
        Some(bytes) if !node.children().any(|child| child.is_element()) => Ok(bytes),
        _ => refuse(Reason::Signature, format!("{name} is not base64")),
    }
}

impl<'a, 'input> Signature<'a, 'input> {
    /// Reads a `Signature` element.
    pub(crate) fn read(node: Node<'a, 'input>) -> Result<Self, Refusal> {
        let parts = children(node)?;
        let names: Vec<_> = parts.iter().map(|part| part.tag_name().name()).collect();
        let (signed_info, value, key_info) = match (names.as_slice(), parts.as_slice()) {
            (["SignedInfo", "SignatureValue", "KeyInfo"], [info, value, key]) => (*info, *value, Some(*key)),
            (["SignedInfo", "SignatureValue"], [info, value]) => (*info, *value, None),
            _ if names.contains(&"Object") => {
                return refuse(Reason::Shape, "a Signature with an Object is not accepted");
            }
            _ => {
                return refuse(
                    Reason::Shape,
                    "a Signature must hold SignedInfo, SignatureValue and KeyInfo, once each",
                );
            }
        };
        let info = children(signed_info)?;
        let (form, method, references) = match info.as_slice() {
            [form, method, references @ ..]
                if form.tag_name().name() == "CanonicalizationMethod"
                    && method.tag_name().name() == "SignatureMethod"
                    && references.iter().all(|node| node.tag_name().name() == "Reference") =>
            {
                (*form, *method, references)
            }
            _ => return refuse(Reason::Shape, "SignedInfo does not have the children that it must have"),
        };
        let Some(signed_info_form) = C14n::from_uri(plain_algorithm(form, Reason::Transform)?) else {
            return refuse(Reason::Transform, "the canonicalisation of SignedInfo is not accepted");
        };
        let Some(method) = Method::from_uri(plain_algorithm(method, Reason::Algorithm)?) else {
            return refuse(Reason::Algorithm, "the signature method is not accepted");
        };
        let [reference] = references else {
            return refuse(Reason::Reference, "a Signature must have exactly one Reference");
        };
        let reference = Reference::read(*reference)?;
        Ok(Self {
            signed_info,
            signed_info_form,
            method,
            reference: reference.id,
            content_form: reference.form,
            digest: reference.digest,
            digest_value: reference.digest_value,
            value: base64(value)?,
            certificates: key_info.map(certificates).transpose()?.unwrap_or_default(),
        })
    }

    /// Checks that `signer` signed `element`. The caller made sure that `element` is what the Reference names.
    pub(crate) fn verify(
        &self,
        element: Node<'_, '_>,
        signer: &Certificate,
        policy: &CryptoPolicy,
    ) -> Result<(), Refusal> {
        let algorithm = |message: String| Err(Refusal::new(Step::Signature, Reason::Algorithm, message));
        if let Err(reason) = policy.check_key(signer.key()) {
            return algorithm(format!("the signer {:?} is not accepted: {reason}", signer.subject()));
        }
        if !self.method.fits(signer.key().kind()) {
            return algorithm("the signature method does not fit the signer's key".to_owned());
        }
        let sha1 = self.method.digest() == Digest::Sha1 || self.digest == Digest::Sha1;
        if sha1 && !policy.allow_sha1_signatures {
            return algorithm("it is signed with SHA-1, which is not accepted here".to_owned());
        }
        let signed = canonicalize(self.signed_info, self.signed_info_form);
        if !self.method.verify(signer.key(), signed.as_bytes(), &self.value) {
            return refuse(Reason::Signature, format!("the signature is not {:?}'s", signer.subject()));
        }
        let content = canonicalize(element, self.content_form);
        if self.digest.of(content.as_bytes()) != self.digest_value {
            return refuse(Reason::Signature, "the credential is not what was signed: its digest differs");
        }
        Ok(())
    }
}

struct Reference<'a> {
    id: &'a str,
    form: C14n,
    digest: Digest,
    digest_value: Vec<u8>,
}

impl<'a> Reference<'a> {
    fn read(node: Node<'a, '_>) -> Result<Self, Refusal> {
        let id = match attribute(node, "URI").and_then(|uri| uri.strip_prefix('#')) {
            Some(id) if is_id(id) => id,
            _ => {
                return refuse(
                    Reason::Reference,
                    "the Reference does not name one element of the document by #id",
                );
            }
        };
        let parts = children(node)?;
        let names: Vec<_> = parts.iter().map(|part| part.tag_name().name()).collect();
        let (transforms, method, value) = match (names.as_slice(), parts.as_slice()) {
            (["Transforms", "DigestMethod", "DigestValue"], [list, method, value]) => {
                (Some(*list), *method, *value)
            }
            (["DigestMethod", "DigestValue"], [method, value]) => (None, *method, *value),
            _ => return refuse(Reason::Shape, "the Reference does not have the children that it must have"),
        };
        let form = transforms.map(transformed_form).transpose()?.unwrap_or(C14n::Inclusive);
        let Some(digest) = Digest::from_uri(plain_algorithm(method, Reason::Algorithm)?) else {
            return refuse(Reason::Algorithm, "the digest method is not accepted");
        };
        Ok(Self { id, form, digest, digest_value: base64(value)? })
    }
}

/// The canonical form that a list of transforms ends in. The enveloped-signature transform changes nothing: a
/// credential's signature stands outside of it.
fn transformed_form(list: Node<'_, '_>) -> Result<C14n, Refusal> {
    let mut uris = Vec::new();
    for transform in children(list)? {
        if transform.tag_name().name() != "Transform" {
            return refuse(Reason::Shape, "Transforms holds something else than Transform");
        }
        uris.push(plain_algorithm(transform, Reason::Transform)?);
    }
    let form = match uris.as_slice() {
        [] | [ENVELOPED] => Some(C14n::Inclusive),
        [uri] | [ENVELOPED, uri] => C14n::from_uri(uri),
        _ => None,
    };
    match form {
        Some(form) => Ok(form),
        None => refuse(Reason::Transform, "a transform of the Reference is not accepted"),
    }
}

/// Every certificate in KeyInfo. Bare keys, names and addresses beside them are no proof of anything.
fn certificates(key_info: Node<'_, '_>) -> Result<Vec<Vec<u8>>, Refusal> {
    let is = |name: &'static str| move |node: &Node<'_, '_>| node.has_tag_name((DSIG, name));
    let mut found = Vec::new();
    for data in key_info.children().filter(is("X509Data")) {
        for certificate in data.children().filter(is("X509Certificate")) {
            found.push(base64(certificate)?);
        }
    }
    if found.len() > MAX_CERTIFICATES {
        return Err(Refusal::new(Step::Size, Reason::Limit, "KeyInfo holds too many certificates"));
    }
    Ok(found)
}

/// Whether a text may be an id: an XML name without a colon, in ASCII, of a sane length.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
