//! Signing a document: the layout of gcf and xmlsec1.
//!
//! `Signature xml:id="Sig_<id>"`, inclusive C14N, one Reference with the enveloped transform, SHA-256, X509Data with
//! the signer's certificate first. The template is put in place first and canonicalised there, since what surrounds it
//! is part of what is signed.

use testyard_xml::{Document, Edits, Node};

use crate::algorithm::{DSIG, Digest, ENVELOPED, INCLUSIVE, Method};
use crate::c14n::{C14n, canonicalize};
use crate::document;
use crate::issuer::{Identity, IssueError};
use crate::pem;

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";

/// Signs the credential with this id in a document that has a `signatures` element, and gives the document with the
/// signature at the end of it.
pub(crate) fn sign(text: &str, id: &str, signer: &Identity) -> Result<String, IssueError> {
    let kind = signer.key().kind()?;
    let (method, uri) = Method::for_signing(&kind).ok_or(IssueError::SigningKey)?;
    let text = change(text, |document, edits| {
        if let Some(signatures) = document.root_element().last_element_child() {
            edits.append(signatures, &template(id, uri, signer));
        }
        Ok(())
    })?;
    let text = change(&text, |document, edits| {
        let content = canonicalize(with_id(document, id)?, C14n::Inclusive);
        let value = named(with_id(document, &format!("Sig_{id}"))?, "DigestValue")?;
        edits.append(value, &pem::encode(&Digest::Sha256.of(content.as_bytes())));
        Ok(())
    })?;
    change(&text, |document, edits| {
        let signature = with_id(document, &format!("Sig_{id}"))?;
        let signed = canonicalize(named(signature, "SignedInfo")?, C14n::Inclusive);
        let value = method.sign(signer.key().openssl(), &kind, signed.as_bytes())?;
        edits.append(named(signature, "SignatureValue")?, &pem::encode(&value));
        Ok(())
    })
}

fn template(id: &str, method: &str, signer: &Identity) -> String {
    let certificates: String = signer
        .chain()
        .iter()
        .map(|certificate| format!("<X509Certificate>{}</X509Certificate>\n", pem::encode(certificate.der())))
        .collect();
    format!(
        "<Signature xmlns=\"{DSIG}\" xml:id=\"Sig_{id}\">\n<SignedInfo>\n\
         <CanonicalizationMethod Algorithm=\"{INCLUSIVE}\"/>\n<SignatureMethod Algorithm=\"{method}\"/>\n\
         <Reference URI=\"#{id}\">\n<Transforms>\n<Transform Algorithm=\"{ENVELOPED}\"/>\n</Transforms>\n\
         <DigestMethod Algorithm=\"{SHA256}\"/>\n<DigestValue/>\n</Reference>\n</SignedInfo>\n<SignatureValue/>\n\
         <KeyInfo>\n<X509Data>\n{certificates}</X509Data>\n</KeyInfo>\n</Signature>\n"
    )
}

fn change(
    text: &str,
    edit: impl FnOnce(&Document<'_>, &mut Edits) -> Result<(), IssueError>,
) -> Result<String, IssueError> {
    let document = document::parse(text).map_err(IssueError::Parent)?;
    let mut edits = Edits::new();
    edit(&document, &mut edits)?;
    Ok(edits.apply(text))
}

fn with_id<'a, 'input>(document: &'a Document<'input>, id: &str) -> Result<Node<'a, 'input>, IssueError> {
    found(document.descendants().find(|node| node.attribute((XML, "id")) == Some(id)))
}

fn named<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Result<Node<'a, 'input>, IssueError> {
    found(node.descendants().find(|node| node.has_tag_name((DSIG, name))))
}

fn found<T>(node: Option<T>) -> Result<T, IssueError> {
    let missing = || {
        crate::refusal::Refusal::new(
            crate::refusal::Step::Shape,
            crate::refusal::Reason::Shape,
            "it has no place for a signature",
        )
    };
    node.ok_or_else(|| IssueError::Parent(missing()))
}
