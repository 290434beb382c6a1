//! Collects what there is to say about a topology, so that ten thousand like mistakes are told as a few and a number.

use testyard_model::diagnostic::{Diagnostic, Severity};

/// So many of one kind are told in full.
const SHOWN: usize = 5;

/// What a remark is about; those of one kind are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identity,
    Member,
    Loose,
    Impairment,
    Size,
    Address,
    Duplicate,
    Overlap,
    Mac,
    Mtu,
    Route,
    Routing,
    Reach,
    Names,
}

/// Remarks in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    remarks: Vec<(Kind, Diagnostic)>,
    more: Vec<(Kind, Severity, usize)>,
    refused: bool,
}

impl Remarks {
    pub(crate) fn add(&mut self, kind: Kind, diagnostic: Diagnostic) {
        let severity = diagnostic.severity;
        self.refused |= severity == Severity::Error;
        let same = |(other, remark): &&(Kind, Diagnostic)| *other == kind && remark.severity == severity;
        if let Some(entry) = self.more.iter_mut().find(|entry| entry.0 == kind && entry.1 == severity) {
            entry.2 += 1;
        } else if self.remarks.iter().filter(same).count() < SHOWN {
            self.remarks.push((kind, diagnostic));
        } else {
            self.more.push((kind, severity, 1));
        }
    }

    pub(crate) fn error(&mut self, kind: Kind, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(kind, Diagnostic::new(Severity::Error, message).suggest(remedy));
    }

    pub(crate) fn warn(&mut self, kind: Kind, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(kind, Diagnostic::new(Severity::Warning, message).suggest(remedy));
    }

    pub(crate) fn note(&mut self, kind: Kind, message: impl Into<String>) {
        self.add(kind, Diagnostic::new(Severity::Notice, message));
    }

    /// Whether there is an error among them.
    pub(crate) const fn refused(&self) -> bool {
        self.refused
    }

    /// All of them; "and more" stands behind the last one of its kind.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut told: Vec<Diagnostic> = Vec::with_capacity(self.remarks.len() + self.more.len());
        let last = |kind: Kind, severity: Severity| {
            let of_kind =
                |(other, remark): &(Kind, Diagnostic)| *other == kind && remark.severity == severity;
            self.remarks.iter().rposition(of_kind)
        };
        let ends: Vec<_> = self
            .more
            .iter()
            .map(|(kind, severity, count)| (last(*kind, *severity), *severity, *count))
            .collect();
        for (at, (_, diagnostic)) in self.remarks.iter().enumerate() {
            told.push(diagnostic.clone());
            for (_, severity, count) in ends.iter().filter(|(end, ..)| *end == Some(at)) {
                told.push(Diagnostic::new(*severity, format!("{count} more of this kind")));
            }
        }
        told
    }
}
