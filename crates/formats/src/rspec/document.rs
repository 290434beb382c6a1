//! The text of a request, and its root.

use serde::{Deserialize, Serialize};
use testyard_model::suggest::closest;
use testyard_xml::{Document, Limits, XmlError, parse};

use super::element::{short, word};
use super::error::RequestError;
use super::findings::Findings;
use super::namespace::RSPEC;

/// A request as it came, known to be an RSpec v3 request within limits. A byte order mark in front of it is not part
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RequestDocument(String);

impl RequestDocument {
    pub(super) fn new(text: &str, start: usize) -> Self {
        Self(text[start..].to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn tree(&self) -> Document<'_> {
        parse(&self.0, &Limits::RSPEC)
            .expect("a request document was parsed with the same limits when it was made")
    }
}

impl From<RequestDocument> for String {
    fn from(document: RequestDocument) -> Self {
        document.0
    }
}

impl TryFrom<String> for RequestDocument {
    type Error = RequestError;

    fn try_from(text: String) -> Result<Self, RequestError> {
        let (_, start) = open(&text, Limits::RSPEC.bytes)?;
        Ok(Self::new(&text, start))
    }
}

/// Reads a text that must be a request; gives the tree and where in the text it begins.
pub(super) fn open(text: &str, max_bytes: usize) -> Result<(Document<'_>, usize), RequestError> {
    let start = start_of_document(text);
    let body = &text[start..];
    let limits = Limits { bytes: max_bytes.min(Limits::RSPEC.bytes), ..Limits::RSPEC };
    let document =
        parse(body, &limits).map_err(|reason| RequestError::NotXml { hint: hint(body, &reason), reason })?;
    check_root(&document, Findings::new(text, start))?;
    Ok((document, start))
}

/// Behind a byte order mark; and behind white space in front of an XML declaration, where XML allows none, but
/// multi-line strings of programs often begin with it.
fn start_of_document(text: &str) -> usize {
    let body = text.trim_start_matches('\u{feff}');
    let trimmed = body.trim_start_matches([' ', '\t', '\r', '\n']);
    text.len() - if trimmed.starts_with("<?xml") { trimmed } else { body }.len()
}

/// What was probably done wrong with a text that is no XML.
fn hint(body: &str, reason: &XmlError) -> Option<&'static str> {
    let body = body.trim_start();
    if !matches!(reason, XmlError::Malformed(_)) {
        None
    } else if body.is_empty() {
        Some("it is empty")
    } else if body.starts_with("&lt;") {
        Some("it is HTML-escaped: send it with < and > instead of &lt; and &gt;")
    } else if !body.starts_with('<') {
        Some("an RSpec is XML and begins with <")
    } else if body.contains("&&") || body.contains("& ") {
        Some("write & as &amp; in commands and URLs")
    } else {
        None
    }
}

fn check_root(document: &Document<'_>, mut findings: Findings<'_>) -> Result<(), RequestError> {
    let root = document.root_element();
    let (name, namespace) = (root.tag_name().name(), root.tag_name().namespace().unwrap_or_default());
    let mut not_rspec = |message: String, suggestion: String| {
        findings.error(root, message).suggest(suggestion);
        Err(RequestError::NotRSpec(std::mem::take(&mut findings).finish().remove(0)))
    };
    if name != "rspec" {
        let suggestion = match closest(name, ["rspec"]) {
            Some(_) => format!("did you mean <rspec xmlns={RSPEC:?}>?"),
            None => format!("an RSpec begins with <rspec xmlns={RSPEC:?} type=\"request\">"),
        };
        return not_rspec(format!("the root element is {:?}, not rspec", short(name)), suggestion);
    }
    if namespace != RSPEC {
        if is_other_version(namespace) {
            return Err(RequestError::WrongVersion { namespace: short(namespace) });
        }
        return match namespace {
            "" => not_rspec(
                "the root element rspec is in no namespace".to_owned(),
                format!("add xmlns={RSPEC:?}"),
            ),
            _ => not_rspec(
                format!("unknown namespace {:?}", short(namespace)),
                did_you_mean_namespace(namespace),
            ),
        };
    }
    match word(root, "type") {
        Some(found) if !found.eq_ignore_ascii_case("request") => {
            Err(RequestError::WrongType { found: short(found) })
        }
        _ => Ok(()),
    }
}

/// Whether a namespace is that of a published RSpec version other than 3.
fn is_other_version(namespace: &str) -> bool {
    ["http://www.geni.net/resources/rspec/", "http://www.protogeni.net/resources/rspec/"].iter().any(|base| {
        namespace
            .strip_prefix(base)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    })
}

fn did_you_mean_namespace(namespace: &str) -> String {
    match closest(namespace, [RSPEC]) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("RSpec v3 is {RSPEC:?}"),
    }
}
