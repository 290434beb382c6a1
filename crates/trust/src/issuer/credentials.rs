//! Making credentials: for owners, for those they delegate to, and for tools that speak for them.

use jiff::Timestamp;
use testyard_model::time;
use testyard_xml::{Node, escape_text};

use crate::certificate::Certificate;
use crate::document;
use crate::issuer::sign::sign;
use crate::issuer::{Identity, IssueError};
use crate::privilege::Privilege;

/// The start of every document: what gcf writes, which clients know.
const ROOT: &str = "<signed-credential xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
    xsi:noNamespaceSchemaLocation=\"http://www.protogeni.net/resources/credential/credential.xsd\" \
    xsi:schemaLocation=\"http://www.protogeni.net/resources/credential/ext/policy/1 \
    http://www.protogeni.net/resources/credential/ext/policy/1/policy.xsd\">";
const PROLOG: &str = "<?xml version=\"1.0\"?>\n";

/// What a new credential says.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRequest<'a> {
    /// The holder's certificate and those above.
    pub owner: &'a [Certificate],
    /// The slice's certificate and those above; the owner's for a user credential.
    pub target: &'a [Certificate],
    /// What the owner may do.
    pub privileges: &'a [Privilege],
    /// The end.
    pub expires: Timestamp,
}

impl Identity {
    /// Signs a credential as an authority over its target. For a user credential owner and target are the same.
    ///
    /// # Errors
    /// [`IssueError::NoUrn`] if owner or target has none, [`IssueError::NoAuthority`] if nobody would believe this
    /// signer; others if OpenSSL fails.
    pub fn sign_credential(&self, request: &CredentialRequest<'_>) -> Result<String, IssueError> {
        let target = urn(request.target, "target")?;
        let own = self.certificate();
        let urns = own.urn().ok().zip(request.target.first().and_then(|target| target.urn().ok()));
        if !urns
            .is_some_and(|(own, target)| own.is_authority() && own.authority().is_over(target.authority()))
        {
            return Err(IssueError::NoAuthority { issuer: own.subject(), subject: target });
        }
        let credential = credential("ref0", request, "")?;
        let text = format!("{PROLOG}{ROOT}\n{credential}<signatures>\n</signatures>\n</signed-credential>\n");
        sign(&text, "ref0", self)
    }

    /// Passes a credential that this identity holds on to somebody else. `request.target` is ignored: the target
    /// stays what it is.
    ///
    /// # Errors
    /// [`IssueError::Parent`] if the text is no credential, [`IssueError::NotOwner`] if it belongs to somebody else,
    /// [`IssueError::LongerThanParent`] if the new end is later. Whether its privileges may be passed on is the
    /// verifier's to say.
    pub fn delegate(&self, parent: &str, request: &CredentialRequest<'_>) -> Result<String, IssueError> {
        let text = document::text(parent.as_bytes()).map_err(IssueError::Parent)?;
        let document = document::parse(text).map_err(IssueError::Parent)?;
        let links = document::links(&document).map_err(IssueError::Parent)?;
        let shape = |message| {
            IssueError::Parent(crate::refusal::Refusal::new(
                crate::refusal::Step::Type,
                crate::refusal::Reason::Type,
                message,
            ))
        };
        let outer = links.first().ok_or_else(|| shape("there is no credential in it"))?;
        let rights = outer.credential.rights().ok_or_else(|| shape("it is not a privilege credential"))?;
        let gid = |gid: &Result<Vec<Vec<u8>>, crate::pem::PemError>| -> Result<Vec<Certificate>, IssueError> {
            let ders = gid.as_ref().map_err(|error| crate::certificate::CertificateError::from(*error))?;
            Ok(ders.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>()?)
        };
        let (owner, target) = (gid(&rights.owner.gid)?, gid(&rights.target.gid)?);
        if !owner.first().is_some_and(|owner| owner.same_key(self.certificate())) {
            return Err(IssueError::NotOwner(urn(&owner, "owner")?));
        }
        if request.expires > outer.credential.expires {
            return Err(IssueError::LongerThanParent(outer.credential.expires));
        }
        let id = (1..).map(|n| format!("ref{n}")).find(|id| !text.contains(id.as_str())).unwrap_or_default();
        let inner = format!("<parent>\n{}\n</parent>\n", &text[outer.node.range()]);
        let child = credential(&id, &CredentialRequest { target: &target, ..*request }, &inner)?;
        // What the parent's signature covers includes what the root declares, so the root's start tag stays as it is.
        let root = document.root_element();
        let signatures = root.last_element_child().ok_or_else(|| shape("it has no signatures"))?;
        let text = format!(
            "{PROLOG}{}\n{child}{}{}</signatures>\n</signed-credential>\n",
            start_tag(root, text),
            start_tag(signatures, text),
            content(signatures, text),
        );
        sign(&text, &id, self)
    }

    /// States that a tool may speak for this identity.
    ///
    /// # Errors
    /// [`IssueError`] if OpenSSL fails.
    pub fn sign_speaks_for(&self, tool: &Certificate, expires: Timestamp) -> Result<String, IssueError> {
        let user = self.certificate().key_id();
        let text = format!(
            "{PROLOG}{ROOT}\n<credential xml:id=\"ref0\">\n<type>abac</type>\n<serial/>\n<owner_gid/>\n<target_gid/>\n\
             <uuid/>\n<expires>{}</expires>\n<abac>\n<rt0>\n<version>1.1</version>\n<head>\n\
             <ABACprincipal><keyid>{user}</keyid><mnemonic>user</mnemonic></ABACprincipal>\n\
             <role>speaks_for_{user}</role>\n</head>\n<tail>\n\
             <ABACprincipal><keyid>{}</keyid><mnemonic>tool</mnemonic></ABACprincipal>\n</tail>\n</rt0>\n</abac>\n\
             </credential>\n<signatures>\n</signatures>\n</signed-credential>\n",
            time::format(expires),
            tool.key_id(),
        );
        sign(&text, "ref0", self)
    }
}

/// One unsigned `credential` element.
fn credential(id: &str, request: &CredentialRequest<'_>, parent: &str) -> Result<String, IssueError> {
    let (owner, target) = (urn(request.owner, "owner")?, urn(request.target, "target")?);
    let gid = |chain: &[Certificate]| chain.iter().map(Certificate::to_pem).collect::<String>();
    let privileges: String = request
        .privileges
        .iter()
        .map(|privilege| {
            let (name, flag) = (escape_text(&privilege.name), privilege.can_delegate);
            format!("<privilege>\n<name>{name}</name>\n<can_delegate>{flag}</can_delegate>\n</privilege>\n")
        })
        .collect();
    let mut serial = [0; 4];
    openssl::rand::rand_bytes(&mut serial)?;
    let serial = u32::from_be_bytes(serial) >> 1;
    Ok(format!(
        "<credential xml:id=\"{id}\">\n<type>privilege</type>\n<serial>{serial}</serial>\n\
         <owner_gid>{}</owner_gid>\n<owner_urn>{owner}</owner_urn>\n\
         <target_gid>{}</target_gid>\n<target_urn>{target}</target_urn>\n<uuid/>\n<expires>{}</expires>\n\
         <privileges>\n{privileges}</privileges>\n{parent}</credential>\n",
        gid(request.owner),
        gid(request.target),
        time::format(request.expires),
        owner = escape_text(&owner),
        target = escape_text(&target),
    ))
}

fn urn(chain: &[Certificate], which: &'static str) -> Result<String, IssueError> {
    let urn = chain.first().and_then(|certificate| certificate.urn().ok());
    urn.map(ToString::to_string).ok_or(IssueError::NoUrn(which))
}

/// The start tag of an element that has children, as written.
fn start_tag<'a>(node: Node<'_, '_>, text: &'a str) -> &'a str {
    let end = node.first_child().map_or(node.range().end, |child| child.range().start);
    &text[node.range().start..end]
}

/// What stands between the tags of an element that has children, as written.
fn content<'a>(node: Node<'_, '_>, text: &'a str) -> &'a str {
    match (node.first_child(), node.last_child()) {
        (Some(first), Some(last)) => &text[first.range().start..last.range().end],
        _ => "",
    }
}
