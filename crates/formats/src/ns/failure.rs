//! What Tcl says when a file fails, for people.

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_model::suggest::closest;
use testyard_tcl::{End, Failure, Limit, Limits, Place};

use super::call::short;
use super::commands::{On, names};

/// Commands of Tcl that a file has not.
const FORBIDDEN: &[&str] = &[
    "after",
    "cd",
    "chan",
    "close",
    "encoding",
    "eof",
    "exec",
    "fblocked",
    "fconfigure",
    "fcopy",
    "file",
    "fileevent",
    "flush",
    "gets",
    "glob",
    "interp",
    "load",
    "open",
    "pwd",
    "read",
    "seek",
    "socket",
    "tell",
    "unload",
    "update",
    "vwait",
    "zlib",
];

pub(super) fn position(place: Option<Place>) -> Option<Position> {
    place.map(|place| Position { line: place.line, column: place.column })
}

/// What there is to say about the way that a file ended.
pub(super) fn diagnostic(end: &End, limits: &Limits) -> Option<Diagnostic> {
    let (message, place, suggestion) = match end {
        End::Finished => return None,
        End::Limit { limit, place, repeats } => {
            let message = match limit {
                Limit::Time if *repeats => {
                    format!("the file was stopped: it ran for {} ms", limits.time.as_millis())
                }
                Limit::Time => "the file was stopped: it ran for too long".to_owned(),
                Limit::Commands => format!("the file was stopped: it ran {} commands", limits.commands),
                Limit::Output => format!(
                    "the file was stopped: it asked for over {} things, or {} MiB of them",
                    limits.records,
                    limits.output >> 20
                ),
            };
            let hint = if *repeats {
                "is there a loop that never ends?".to_owned()
            } else {
                format!(
                    "it has {} ms, and {} ms more for a thousand things that it asks for: make it smaller",
                    limits.time.as_millis(),
                    limits.time_per_thousand.as_millis()
                )
            };
            (message, *place, Some(hint))
        }
        End::Failed(failure) => {
            let (message, suggestion) = explain(failure);
            (message, failure.place, suggestion)
        }
    };
    let position = position(place);
    Some(Diagnostic { severity: Severity::Error, position, message, suggestion })
}

fn explain(failure: &Failure) -> (String, Option<String>) {
    let message = failure.message.as_str();
    if let Some(name) = between(message, "invalid command name \"", "\"") {
        let text = format!("there is no command {:?}", short(name));
        if FORBIDDEN.contains(&name) {
            return (text, Some("an NS file has neither files nor processes nor a clock".to_owned()));
        }
        let own = names(On::Command).map(|name| -> &str { name });
        let known: Vec<&str> = own.chain(failure.commands.iter().map(String::as_str)).collect();
        let like = closest(name, known.iter().copied()).or_else(|| slip(name, known.into_iter()));
        let suggestion = match like {
            Some(meant) => format!("did you mean {meant}?"),
            None => "if it is a remark, begin its line with #".to_owned(),
        };
        return (text, Some(suggestion));
    }
    if let Some(name) = between(message, "can't read \"", "\": no such variable")
        .or_else(|| between(message, "can't read \"", "\": no such element in array"))
    {
        let text = format!("the variable {} is not set", short(name));
        let (array, element) = match name.split_once('(') {
            Some((array, _)) => (array, true),
            None => (name, false),
        };
        let global = failure.globals.iter().any(|known| known == array);
        let suggestion = match (&failure.procedure, global) {
            (Some(procedure), true) if message.ends_with("no such variable") => Some(format!(
                "in a proc, a variable of the file needs: global {array} (in {})",
                short(procedure)
            )),
            (_, true) if element => elements(array, &failure.elements),
            _ => closest(array, failure.globals.iter().map(String::as_str))
                .map(|meant| format!("did you mean ${meant}?")),
        };
        return (text, suggestion);
    }
    if message == "missing close-brace" || message == "missing close-bracket" || message == "missing \"" {
        return (message.to_owned(), Some("what is opened here is never closed".to_owned()));
    }
    (message.lines().map(short).collect::<Vec<_>>().join("; "), None)
}

/// A name that differs by one letter too many, or too few: short names are not like each other otherwise.
fn slip<'k>(name: &str, mut known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LONG: usize = 20;
    let name: Vec<char> = name.chars().take(LONG).collect();
    let without_one = |long: &[char], short: &[char]| {
        long.len() == short.len() + 1
            && (0..long.len()).any(|at| long[..at] == short[..at] && long[at + 1..] == short[at..])
    };
    known.find(|known| {
        let known: Vec<char> = known.chars().take(LONG).collect();
        name.len() > 2 && known.len() > 1 && (without_one(&name, &known) || without_one(&known, &name))
    })
}

/// What an array has.
fn elements(array: &str, elements: &[String]) -> Option<String> {
    const SHOWN: usize = 5;
    let shown: Vec<String> =
        elements.iter().take(SHOWN).map(|element| format!("${array}({})", short(element))).collect();
    let more = if elements.len() > SHOWN { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("there are {}{more}", shown.join(", ")))
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.strip_prefix(before)?.strip_suffix(after)
}
