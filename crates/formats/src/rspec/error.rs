//! Why a request is refused.

use std::fmt::{self, Write as _};

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_xml::XmlError;

/// Why a request is refused. The text is for the caller: it names the thing, its place, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no XML, or exceeds the limits of XML. AM API: BADARGS (1).
    #[error("the RSpec cannot be read: {reason}{}", hinted(*.hint))]
    NotXml {
        /// What the reader says.
        reason: XmlError,
        /// What was probably done wrong.
        hint: Option<&'static str>,
    },
    /// It is XML of another kind. AM API: BADARGS (1).
    #[error("{0}")]
    NotRSpec(Diagnostic),
    /// It is an RSpec of another version than 3. AM API: BADVERSION (4).
    #[error("RSpecs of namespace {namespace:?} are not supported: send GENI RSpec version 3")]
    WrongVersion {
        /// The root's namespace.
        namespace: String,
    },
    /// It is an RSpec, and no request. AM API: BADVERSION (4).
    #[error("the RSpec is of type {found:?}, a request is needed{}", type_hint(.found))]
    WrongType {
        /// The root's `type`.
        found: String,
    },
    /// No node of it is for this testbed. AM API: SEARCHFAILED (12).
    #[error("{0}")]
    NothingForUs(Foreign),
    /// It is a request for this testbed, and has errors. AM API: BADARGS (1).
    #[error("{}", listed(.0))]
    Invalid(Vec<Diagnostic>),
}

/// A request without a node for this testbed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The testbed's URN.
    pub ours: String,
    /// How many nodes there are, for others.
    pub nodes: u32,
    /// Whom they name, each once, some at most.
    pub named: Vec<String>,
    /// The one that probably meant this testbed, and where it stands.
    pub near_miss: Option<(String, Position)>,
    /// Where the first node is, else the root.
    pub place: Position,
    /// Remarks on what was found instead, like nodes in a wrong namespace.
    pub remarks: Vec<Diagnostic>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((given, position)) = &self.near_miss {
            return write!(
                f,
                "{position}: no node of the request is for this testbed: component_manager_id {given:?}; did you mean {:?}?",
                self.ours
            );
        }
        match (self.nodes, &self.named[..]) {
            (0, _) => write!(f, "the request has no nodes")?,
            (_, []) => write!(f, "no node of the request names a component manager")?,
            (_, named) => {
                write!(f, "no node of the request is for this testbed: they name {}", named.join(", "))?
            }
        }
        write!(f, " (nodes for this testbed have component_manager_id={:?})", self.ours)?;
        for remark in &self.remarks {
            write!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

fn hinted(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

fn type_hint(found: &str) -> &'static str {
    match found.to_ascii_lowercase().as_str() {
        "manifest" => " (to ask for the same again, change type=\"manifest\" to type=\"request\")",
        "advertisement" => {
            " (an advertisement lists what there is; write a request with what you want of it)"
        }
        _ => "",
    }
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    const SHOWN: usize = 10;
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|d| d.severity == Severity::Error).collect();
    if let [only] = errors[..] {
        return only.to_string();
    }
    let mut text = format!("the request has {} errors:", errors.len());
    for error in errors.iter().take(SHOWN) {
        let _ = write!(text, "\n{error}");
    }
    if errors.len() > SHOWN {
        let _ = write!(text, "\nand {} more", errors.len() - SHOWN);
    }
    text
}
