//! Remarks while they are collected, for readers whose values know their places. A hostile file gives reason for
//! thousands: beyond a number they are counted, not kept.

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_model::suggest::closest;

use crate::import::Refused;

/// Remarks of one severity beyond this many are counted, not kept.
const MAX_EACH: usize = 50;
/// Among more candidates than this a likeness is not looked for: it would take long.
const MANY: usize = 200;

/// Remarks on one file.
#[derive(Default)]
pub(crate) struct Remarks {
    found: Vec<Diagnostic>,
    kept: [usize; 3],
    dropped: [usize; 3],
}

/// A remark just made, to be completed; nothing if it is one too many.
pub(crate) struct Remark<'a>(Option<&'a mut Diagnostic>);

impl Remarks {
    pub(crate) fn error(&mut self, at: Position, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Error, Some(at), message.into())
    }

    pub(crate) fn warning(&mut self, at: Position, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Warning, Some(at), message.into())
    }

    pub(crate) fn notice(&mut self, at: Position, message: impl Into<String>) -> Remark<'_> {
        self.add(Severity::Notice, Some(at), message.into())
    }

    fn add(&mut self, severity: Severity, position: Option<Position>, message: String) -> Remark<'_> {
        if self.kept[severity as usize] >= MAX_EACH {
            self.dropped[severity as usize] += 1;
            return Remark(None);
        }
        self.kept[severity as usize] += 1;
        self.found.push(Diagnostic { severity, position, message, suggestion: None });
        Remark(self.found.last_mut())
    }

    pub(crate) const fn has_errors(&self) -> bool {
        self.kept[Severity::Error as usize] > 0
    }

    /// All remarks, in the order of the text.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|diagnostic| diagnostic.position);
        for (severity, what) in
            [(Severity::Notice, "notices"), (Severity::Warning, "warnings"), (Severity::Error, "errors")]
        {
            let dropped = self.dropped[severity as usize];
            if dropped > 0 {
                self.found.push(Diagnostic::new(severity, format!("and {dropped} more {what}")));
            }
        }
        self.found
    }

    /// The refusal, if there is an error among them; otherwise what there is to say.
    pub(crate) fn verdict(self) -> Result<Vec<Diagnostic>, Refused> {
        let refused = self.has_errors();
        let diagnostics = self.finish();
        if refused { Err(Refused { diagnostics }) } else { Ok(diagnostics) }
    }
}

impl Remark<'_> {
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        if let Some(diagnostic) = &mut self.0 {
            diagnostic.suggestion = Some(suggestion.into());
        }
        self
    }

    /// "Did you mean …?", if one of the candidates is near; otherwise what `or` says.
    pub(crate) fn did_you_mean<'c>(
        self,
        given: &str,
        candidates: impl IntoIterator<Item = &'c str>,
        or: Option<String>,
    ) -> Self {
        if self.0.is_none() {
            return self;
        }
        let known: Vec<&str> = candidates.into_iter().take(MANY + 1).collect();
        let near = (known.len() <= MANY).then(|| closest(given, known)).flatten();
        match near.map(|near| format!("did you mean {near:?}?")).or(or) {
            Some(suggestion) => self.suggest(suggestion),
            None => self,
        }
    }
}

/// A text shortened for a message.
pub(crate) fn short(text: &str) -> String {
    const MAX: usize = 80;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The refusal of a file for one reason that has no place.
pub(crate) fn refuse(message: impl Into<String>, suggestion: Option<String>) -> Refused {
    let diagnostic = Diagnostic::new(Severity::Error, message);
    Refused { diagnostics: vec![Diagnostic { suggestion, ..diagnostic }] }
}

/// The refusal of a file that is no XML: its reader puts the place at the end of what it says.
pub(crate) fn refuse_xml(message: &str, suggestion: Option<String>) -> Refused {
    let place = message.rsplit_once(" at ").and_then(|(before, place)| {
        let (line, column) = place.split_once(':')?;
        Some((before, Position { line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    let mut refused = refuse(place.map_or(message, |(before, _)| before), suggestion);
    for diagnostic in &mut refused.diagnostics {
        diagnostic.position = place.map(|(_, position)| position);
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_xml() {
        let error = testyard_xml::parse("<a>\n <b></a>", &testyard_xml::Limits::RSPEC).unwrap_err();
        let refused = refuse_xml(&error.to_string(), None);
        assert_eq!(refused.diagnostics[0].position, Some(Position { line: 2, column: 5 }), "{refused}");
        let refused = refuse_xml("too long", None);
        assert_eq!((refused.diagnostics[0].position, refused.to_string().as_str()), (None, "too long"));
    }
}
