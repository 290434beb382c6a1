//! NS, the language of Emulab and DETER: a Tcl program that makes nodes and links. Its facts are deter.md §6.
//!
//! ```text
//!  text ──► testyard-tcl ──► records ──► reader (a handler a statement) ──► finish ──► Topology, remarks, report
//!           runs the Tcl                 drafts: names may still change     names are final, checks of the whole
//! ```
//!
//! `commands` is the table of all there is. A file's mistakes do not stop its reading: all are told, and the file is
//! refused; what is not known is ignored with a warning, as Emulab did.

mod addresses;
mod call;
mod changes;
mod commands;
mod deter_lan;
mod drafts;
mod events;
mod failure;
mod finish;
mod links;
mod nodes;
mod programs;
mod queue;
mod queues;
mod reader;
mod slots;
mod units;
mod words;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::topology::Variable;
use testyard_tcl::{Limits, Tcl, What};

pub use commands::table;
pub(crate) use units::half;
pub(crate) use words::words;

use crate::import::{Import, Refused, Site, Treatment};
use call::short;
use failure::position;
use reader::Reader;

/// Reads an NS file.
///
/// # Errors
/// [`Refused`] with every mistake of the file; with Tcl's own error if it could not be run to its end.
pub fn import(text: &str, site: &Site, tcl: &dyn Tcl) -> Result<Import, Refused> {
    import_within(text, site, tcl, &Limits::default())
}

/// Reads an NS file within limits of the caller's.
///
/// # Errors
/// As [`import`].
pub fn import_within(text: &str, site: &Site, tcl: &dyn Tcl, limits: &Limits) -> Result<Import, Refused> {
    let run = tcl.run(text, &commands::vocabulary(), limits).map_err(|error| {
        let diagnostic = Diagnostic::new(Severity::Error, error.to_string());
        Refused { diagnostics: vec![Diagnostic { position: position(error.place()), ..diagnostic }] }
    })?;
    let mut reader = Reader::new(site);
    reader.last = position(run.records.iter().rev().find_map(|record| record.place));
    for record in &run.records {
        let at = position(record.place);
        match &record.what {
            What::New { object, class, arguments } => reader.make(at, class, object, arguments),
            What::Call { object, class, method, made, arguments } => {
                reader.call(at, (object, class, method), made.as_deref(), arguments);
            }
            What::Command { name, arguments } => reader.command(at, name, arguments),
            What::Name { object, name } => reader.name(object, name),
            What::Taken { object, name } => {
                reader
                    .warn(at, format!("the name {} is another's already: this one is {object}", short(name)));
            }
            What::Variable { name, value } => variable(&mut reader, name, value),
            What::Output(text) => {
                reader.tell(Severity::Notice, at, format!("the file says: {}", short(text)), None);
            }
            What::Source(file) => reader.tell(
                Severity::Error,
                at,
                format!("{} cannot be read: an NS file is read alone", short(file)),
                Some("put its text into this file".to_owned()),
            ),
            What::Clock => {
                let note = "it is always 0, so that a file gives the same each time".to_owned();
                reader.file(at, "clock".to_owned(), Treatment::Approximated, Some(note));
            }
            What::Exit => reader.warn(at, "exit ends the file: what comes behind is not read"),
        }
    }
    let failed = failure::diagnostic(&run.end, limits);
    let topology = match failed {
        None => Some(finish::finish(&mut reader)),
        // The rest of the file is missing: what would be wrong with the whole is not its fault.
        Some(diagnostic) => {
            reader.diagnostics.push(diagnostic);
            None
        }
    };
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|diagnostic| {
        (diagnostic.position.is_none(), diagnostic.position.map(|at| (at.line, at.column)))
    });
    let refused = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match topology {
        Some(topology) if !refused => {
            let mut report = reader.report;
            report.sort_by_key(|statement| (statement.position.line, statement.position.column));
            Ok(Import { topology, diagnostics, report })
        }
        _ => Err(Refused { diagnostics }),
    }
}

/// An element of `opt`, which programs get in their environment: where it was first set, with the last value.
fn variable(reader: &mut Reader<'_>, name: &str, value: &str) {
    if reader.ran {
        return;
    }
    match reader.environment.iter_mut().find(|variable| variable.name == name) {
        Some(variable) => variable.value = value.to_owned(),
        None => reader.environment.push(Variable { name: name.to_owned(), value: value.to_owned() }),
    }
}
