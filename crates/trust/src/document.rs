//! A `signed-credential` document: from bytes to credentials, each with the one signature that covers it.
//!
//! This is where signature wrapping ends. The root holds exactly one `credential` and one `signatures`; the chain is
//! walked from the root to each `parent`, never searched; ids are `xml:id` only and unique in the whole document; and
//! each link of the chain has exactly one signature, which names it. The nodes found here are the nodes that are
//! verified and the nodes that are used.

use testyard_xml::{Document, Limits, Node, XmlError};

use crate::algorithm::DSIG;
use crate::credential::{self, Credential, shape};
use crate::refusal::{Reason, Refusal, Step};
use crate::signature::{Signature, is_id};

/// Delegations in one document at most, the first credential included.
pub(crate) const MAX_DELEGATIONS: usize = 10;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// One link of the chain of delegation.
pub(crate) struct Link<'a, 'input> {
    /// The `credential` element.
    pub(crate) node: Node<'a, 'input>,
    pub(crate) credential: Credential,
    pub(crate) signature: Signature<'a, 'input>,
}

/// The text of a document, once it is known to be text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    if bytes.len() > Limits::CREDENTIAL.bytes {
        let message = format!("it has {} bytes, more than {}", bytes.len(), Limits::CREDENTIAL.bytes);
        return Err(Refusal::new(Step::Size, Reason::Limit, message));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return unsafe_xml("it is not UTF-8");
    };
    // Some clients put a line break in front; an XML declaration must stand at the very start.
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    check_declaration(text)?;
    Ok(text)
}

/// Builds the tree.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, Refusal> {
    testyard_xml::parse(text, &Limits::CREDENTIAL).map_err(|error| match error {
        XmlError::TooLarge { .. } | XmlError::TooMuch { .. } => {
            Refusal::new(Step::Size, Reason::Limit, error.to_string())
        }
        XmlError::Doctype => Refusal::new(Step::Xml, Reason::UnsafeXml, error.to_string()),
        // The parser's text could hold parts of the document.
        XmlError::Malformed(_) | XmlError::Encoding => {
            Refusal::new(Step::Xml, Reason::UnsafeXml, "it is not well-formed XML")
        }
    })
}

fn unsafe_xml<T>(message: &str) -> Result<T, Refusal> {
    Err(Refusal::new(Step::Xml, Reason::UnsafeXml, message))
}

/// XML 1.0 in an encoding that UTF-8 can be read as: others could be read differently by whoever signed.
fn check_declaration(text: &str) -> Result<(), Refusal> {
    let text = text.trim_start_matches('\u{feff}');
    let Some((declaration, rest)) = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) else {
        return Ok(());
    };
    let pseudo_attribute = |name: &str| {
        let (_, rest) = declaration.split_once(name)?;
        let rest = rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split_once(quote).map(|(value, _)| value)
    };
    if pseudo_attribute("version") != Some("1.0") {
        return unsafe_xml("it is not XML 1.0");
    }
    let encoding = pseudo_attribute("encoding").unwrap_or("UTF-8").to_ascii_lowercase();
    match encoding.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => Ok(()),
        "iso-8859-1" | "latin1" | "windows-1252" if rest.is_ascii() => Ok(()),
        _ => unsafe_xml("its encoding is not UTF-8"),
    }
}

/// The chain of credentials, the outermost first.
pub(crate) fn links<'a, 'input>(document: &'a Document<'input>) -> Result<Vec<Link<'a, 'input>>, Refusal> {
    let root = document.root_element();
    if !root.has_tag_name("signed-credential") || root.tag_name().namespace().is_some() {
        return shape("the root element is not signed-credential");
    }
    check_ids(document)?;
    let children = only_elements(root)?;
    let plain =
        |node: &Node<'_, '_>, name: &str| node.has_tag_name(name) && node.tag_name().namespace().is_none();
    let (outer, signatures) = match children.as_slice() {
        [one] if plain(one, "credential") => {
            return Err(Refusal::new(Step::Signature, Reason::Signature, "there are no signatures"));
        }
        [one, two] if plain(one, "credential") && plain(two, "signatures") => (*one, *two),
        [one, two] if plain(one, "signatures") && plain(two, "credential") => (*two, *one),
        _ => return shape("signed-credential must hold one credential and one signatures, and nothing else"),
    };
    let mut nodes = Vec::new();
    let mut next = Some(outer);
    while let Some(node) = next {
        if nodes.len() == MAX_DELEGATIONS {
            let message = format!("it is delegated more than {MAX_DELEGATIONS} times");
            return Err(Refusal::new(Step::Size, Reason::Limit, message));
        }
        nodes.push(node);
        next = credential::parent(node)?;
    }
    pair(&nodes, signatures)
}

/// Finds for each credential the signature that names it.
fn pair<'a, 'input>(
    nodes: &[Node<'a, 'input>],
    signatures: Node<'a, 'input>,
) -> Result<Vec<Link<'a, 'input>>, Refusal> {
    let mut credentials = Vec::new();
    for node in nodes {
        let Some(id) = node.attribute((XML, "id")) else {
            return shape("a credential has no xml:id");
        };
        credentials.push((*node, id, Credential::read(*node)?));
    }
    let elements = only_elements(signatures)?;
    if !elements.iter().all(|node| node.has_tag_name((DSIG, "Signature"))) {
        return shape("signatures holds something else than Signature");
    }
    // Reading is bounded by the chain: more signatures than credentials are wrong however they read.
    let mut read = Vec::new();
    for element in elements.iter().take(MAX_DELEGATIONS + 1) {
        let signature = Signature::read(*element)?;
        if !credentials.iter().any(|(_, id, _)| *id == signature.reference) {
            let message = "a signature names something else than a credential of the chain";
            return Err(Refusal::new(Step::Reference, Reason::Reference, message));
        }
        read.push(signature);
    }
    let mut links = Vec::new();
    for (node, id, credential) in credentials {
        let Some(index) = read.iter().position(|signature| signature.reference == id) else {
            let message =
                if nodes.len() == 1 { "it is not signed" } else { "one of its credentials is not signed" };
            return Err(Refusal::new(Step::Signature, Reason::Signature, message));
        };
        links.push(Link { node, credential, signature: read.swap_remove(index) });
    }
    match read.is_empty() {
        true => Ok(links),
        false => shape("a credential has more than one signature"),
    }
}

/// The element children of an element between whose children is no text.
fn only_elements<'a, 'input>(node: Node<'a, 'input>) -> Result<Vec<Node<'a, 'input>>, Refusal> {
    let mut elements = Vec::new();
    for child in node.children() {
        if child.is_element() {
            elements.push(child);
        } else if child.is_pi() || child.text().is_some_and(|text| child.is_text() && !text.trim().is_empty())
        {
            return shape(format!("there is something else than elements in {}", node.tag_name().name()));
        }
    }
    Ok(elements)
}

/// Every `xml:id` of the document is a name and there once.
fn check_ids(document: &Document<'_>) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::new();
    for id in document.descendants().filter_map(|node| node.attribute((XML, "id"))) {
        if !is_id(id) {
            return shape("an xml:id is not a name");
        }
        if !seen.insert(id) {
            return shape("an xml:id is there twice");
        }
    }
    Ok(())
}
