//! What a reader makes of a file, whatever the language.

use std::collections::BTreeMap;

use serde::Serialize;
use testyard_model::diagnostic::{Diagnostic, Position, Severity, summary};
use testyard_model::image::ImageName;
use testyard_model::name::SliverTypeName;
use testyard_model::topology::Topology;

/// What a reader may know of the testbed. Names in it have been checked by whoever made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The kinds of node that there are; the first is the default.
    pub sliver_types: Vec<SliverTypeName>,
    /// Names of other systems' images (`Ubuntu1604-STD`, `deter_ub1404_64_vb`) with the image that stands for each.
    pub images: BTreeMap<String, ImageName>,
    /// The hosts that the user may name.
    pub hosts: Vec<String>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// What it asks for.
    pub topology: Topology,
    /// What the reader has to say about it; no errors among them.
    pub diagnostics: Vec<Diagnostic>,
    /// What became of each statement, in the order of the input. Empty for languages that are taken whole.
    pub report: Vec<Statement>,
}

/// What became of one statement of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// Where it is.
    pub position: Position,
    /// Its command: `tb-set-node-os`, `$ns duplex-link`.
    pub command: String,
    /// What became of it.
    pub treatment: Treatment,
    /// In what way it is approximated, or why it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a statement is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// To the letter.
    Honoured,
    /// As near as this testbed can; the note says how.
    Approximated,
    /// Not at all; the note says why.
    Ignored,
}

/// A file that is refused: at least one of its diagnostics is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.diagnostics, "the file is refused"))]
pub struct Refused {
    /// Everything that the reader has to say, in the order of the input.
    pub diagnostics: Vec<Diagnostic>,
}

impl Import {
    /// The same file, read strictly: a warning refuses it.
    ///
    /// # Errors
    /// [`Refused`] with the warnings as errors, if there are any.
    pub fn strict(self) -> Result<Self, Refused> {
        if self.diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Warning) {
            return Ok(self);
        }
        let harden = |mut diagnostic: Diagnostic| {
            if diagnostic.severity == Severity::Warning {
                diagnostic.severity = Severity::Error;
            }
            diagnostic
        };
        Err(Refused { diagnostics: self.diagnostics.into_iter().map(harden).collect() })
    }
}
