//! Diagnostics while they are collected: places are byte offsets until the end, since finding a line costs a pass over
//! the text, and a hostile request gives a reason for thousands.

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_xml::Node as Xml;

/// Remarks of one severity beyond this many are counted, not kept.
const MAX_EACH: usize = 50;

/// Remarks on one request.
#[derive(Default)]
pub(crate) struct Findings<'a> {
    /// The request as it came.
    text: &'a str,
    /// Where in it the parsed document begins.
    start: usize,
    found: Vec<Finding>,
    dropped: [usize; 3],
}

struct Finding {
    severity: Severity,
    at: usize,
    /// Another place that the message ends with.
    other: Option<usize>,
    message: String,
    suggestion: Option<String>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(text: &'a str, start: usize) -> Self {
        Self { text, start, found: Vec::new(), dropped: [0; 3] }
    }

    pub(crate) fn error(&mut self, at: Xml<'_, '_>, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Error, at, message.into())
    }

    pub(crate) fn warning(&mut self, at: Xml<'_, '_>, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Warning, at, message.into())
    }

    pub(crate) fn notice(&mut self, at: Xml<'_, '_>, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Notice, at, message.into())
    }

    fn add(&mut self, severity: Severity, at: Xml<'_, '_>, message: String) -> Remark<'_> {
        let at = self.start + at.range().start;
        if self.found.iter().filter(|finding| finding.severity == severity).count() >= MAX_EACH {
            self.dropped[severity as usize] += 1;
            return Remark(None, self.start);
        }
        let start = self.start;
        self.found.push(Finding { severity, at, other: None, message, suggestion: None });
        Remark(self.found.last_mut(), start)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All remarks, in the order of the text.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut offsets: Vec<usize> =
            self.found.iter().flat_map(|f| [Some(f.at), f.other]).flatten().collect();
        offsets.sort_unstable();
        offsets.dedup();
        let positions = positions(self.text, &offsets);
        let position = |offset: usize| positions[offsets.partition_point(|known| *known < offset)];
        let mut found = self.found;
        found.sort_by_key(|finding| finding.at);
        let mut diagnostics: Vec<Diagnostic> = found
            .into_iter()
            .map(|finding| {
                let mut message = finding.message;
                if let Some(other) = finding.other {
                    message.push_str(&format!(" at {}", position(other)));
                }
                let diagnostic = Diagnostic::new(finding.severity, message).at(position(finding.at));
                Diagnostic { suggestion: finding.suggestion, ..diagnostic }
            })
            .collect();
        for (severity, what) in
            [(Severity::Notice, "notices"), (Severity::Warning, "warnings"), (Severity::Error, "errors")]
        {
            let dropped = self.dropped[severity as usize];
            if dropped > 0 {
                diagnostics.push(Diagnostic::new(severity, format!("and {dropped} more {what}")));
            }
        }
        diagnostics
    }
}

/// A remark just made, to be completed.
pub(crate) struct Remark<'a>(Option<&'a mut Finding>, usize);

impl Remark<'_> {
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        if let Some(finding) = &mut self.0 {
            finding.suggestion = Some(suggestion.into());
        }
        self
    }

    /// A suggestion that is only looked for if the remark is kept: a hostile request gives reason for thousands.
    pub(crate) fn suggest_with(self, suggestion: impl FnOnce() -> Option<String>) -> Self {
        match self.0.is_some().then(suggestion).flatten() {
            Some(suggestion) => self.suggest(suggestion),
            None => self,
        }
    }

    /// Ends the message with the place of another element.
    pub(crate) fn place_of(self, other: Xml<'_, '_>) {
        if let Some(finding) = self.0 {
            finding.other = Some(self.1 + other.range().start);
        }
    }
}

/// Line and column of offsets, which are sorted, in one pass over the text.
fn positions(text: &str, offsets: &[usize]) -> Vec<Position> {
    let mut result = Vec::with_capacity(offsets.len());
    let (mut line, mut line_start, mut from) = (1u32, 0usize, 0usize);
    for &offset in offsets {
        for (index, _) in text[from..offset].match_indices('\n') {
            line += 1;
            line_start = from + index + 1;
        }
        from = offset;
        let column = text[line_start..offset].chars().filter(|c| *c != '\u{feff}').count();
        result.push(Position { line, column: u32::try_from(column + 1).unwrap_or(u32::MAX) });
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns() {
        let text = "\u{feff}ab\r\né<x>";
        let x = text.find("<x>").unwrap();
        let b = text.find('b').unwrap();
        assert_eq!(
            positions(text, &[b, x]),
            [Position { line: 1, column: 2 }, Position { line: 2, column: 2 }]
        );
    }
}
