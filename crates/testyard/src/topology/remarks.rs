//! What there is to say about a file: where, what, the line itself with a caret under the place, and the remedy.
//!
//! Files come from strangers: nothing of them reaches the terminal as a control character.

use testyard_model::diagnostic::{Diagnostic, Severity};

/// The widest line.
const WIDTH: usize = 100;
/// How much of a line is shown.
const SHOWN: usize = 84;

/// Prints remarks on the standard error.
pub(crate) fn print(name: &str, text: Option<&str>, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        remark!("{}", render(name, text, diagnostic));
    }
}

/// `2 errors, 1 warning`; nothing if there are neither.
pub(super) fn count<'d>(diagnostics: impl Iterator<Item = &'d Diagnostic> + Clone) -> Option<String> {
    let of = |severity: Severity, word: &str| {
        let count = diagnostics.clone().filter(|diagnostic| diagnostic.severity == severity).count();
        (count > 0).then(|| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
    };
    let counted: Vec<String> =
        [of(Severity::Error, "error"), of(Severity::Warning, "warning")].into_iter().flatten().collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

/// Whether one of them refuses.
pub(super) fn refuses<'d>(mut diagnostics: impl Iterator<Item = &'d Diagnostic>) -> bool {
    diagnostics.any(|diagnostic| diagnostic.severity == Severity::Error)
}

fn render(name: &str, text: Option<&str>, diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    };
    let place = diagnostic.position.map(|position| format!(":{position}")).unwrap_or_default();
    let mut lines = wrap(&format!("{name}{place}: {severity}: {}", diagnostic.message), "", "    ");
    if let (Some(text), Some(position)) = (text, diagnostic.position) {
        lines.extend(excerpt(text, position.line as usize, position.column as usize));
    }
    if let Some(suggestion) = &diagnostic.suggestion {
        lines.extend(wrap(suggestion, "    → ", "      "));
    }
    lines.join("\n")
}

/// The line of a place, and a caret under it. A long line is shown around the place.
fn excerpt(text: &str, line: usize, column: usize) -> Vec<String> {
    let Some(shown) = line.checked_sub(1).and_then(|before| text.split('\n').nth(before)) else {
        return Vec::new();
    };
    let at = column.max(1) - 1;
    let start = if at < SHOWN * 3 / 4 { 0 } else { at - SHOWN / 2 };
    let mut part: String =
        shown.trim_end_matches('\r').chars().skip(start).take(SHOWN + 1).map(plain).collect();
    if part.trim().is_empty() {
        return Vec::new();
    }
    if let Some((cut, _)) = part.char_indices().nth(SHOWN) {
        part.replace_range(cut.., "…");
    }
    let before = if start > 0 { "…" } else { "" };
    let indent = at - start + before.chars().count();
    vec![format!("{line:>6} | {before}{}", part.trim_end()), format!("{:>6} | {:indent$}^", "", "")]
}

/// A character that does nothing to a terminal.
fn plain(c: char) -> char {
    match c {
        '\t' => ' ',
        // Directions and joiners, which would show another text than there is.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '·',
        c if c.is_control() => '·',
        c => c,
    }
}

/// A text in lines that fit, broken at blanks.
pub(crate) fn wrap(text: &str, first: &str, rest: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, part) in text.split('\n').enumerate() {
        fill(&mut lines, part, if number == 0 { first } else { rest }, rest);
    }
    lines
}

fn fill(lines: &mut Vec<String>, text: &str, first: &str, rest: &str) {
    lines.push(first.to_owned());
    let mut is_fresh = true;
    for word in text.chars().map(plain).collect::<String>().split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let used = line.chars().count() + usize::from(!is_fresh);
        if !is_fresh && used + word.chars().count() > WIDTH {
            lines.push(format!("{rest}{word}"));
            continue;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testyard_model::diagnostic::Position;

    fn error(line: u32, column: u32, message: &str) -> Diagnostic {
        Diagnostic::new(Severity::Error, message).at(Position { line, column })
    }

    #[test]
    fn a_caret_is_under_the_place() {
        let told = error(2, 7, "no such thing").suggest("say another");
        let shown = render("a.ns", Some("first\n\tset x $y\r\n"), &told);
        assert_eq!(
            shown,
            "a.ns:2:7: error: no such thing\n     2 |  set x $y\n       |       ^\n    → say another"
        );
        // What is beyond the text has no line.
        assert_eq!(render("a", Some("x"), &error(9, 1, "m")), "a:9:1: error: m");
        assert_eq!(render("a", Some("x"), &error(0, 0, "m")), "a:0:0: error: m");
    }

    #[test]
    fn long_lines_are_shown_around_the_place() {
        let text = format!("{}!{}", "é".repeat(5_000), "b".repeat(5_000));
        let shown = render("a", Some(&text), &error(1, 5_001, &"word ".repeat(60)));
        assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
        let lines: Vec<&str> = shown.lines().rev().take(2).collect();
        let caret = lines[0].chars().position(|c| c == '^').expect("there is a caret");
        assert_eq!(lines[1].chars().nth(caret), Some('!'), "{shown}");
    }

    #[test]
    fn nothing_reaches_the_terminal() {
        let evil = "\u{1b}[2Jx\u{202e}\u{9b}";
        let shown = render(evil, Some(evil), &error(1, 1, evil).suggest(evil));
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown:?}");
    }
}
