//! `testyard plan`, `convert` and `graph`: topologies in files, read and planned without a server, an engine or root. Only
//! what runs of a slice is asked of a server.
//!
//! ```text
//! FILE ─ file ─► text, language ─ reading ─► Import ─┬─ plan ─────► Answer ─► tables or JSON
//!                                    ▲               ├─ diff ─────► differences
//!                     testbed ───────┘               └─ convert ──► another language
//! ```
//!
//! [`remarks`] prints what there is to say with the line that it is about.

mod convert;
mod file;
mod filters;
mod plan;
mod reading;
mod remarks;
mod request;
mod running;
mod shown;
mod testbed;

pub use convert::{Convert, Graph, convert, graph};
pub use plan::{Arguments, run};
pub(crate) use reading::{LanguageArguments, Reading};
pub(crate) use remarks::{print as print_remarks_of, wrap};
pub(crate) use request::{own_format, request};

/// Prints what there is to say about a whole, which has no lines to point at.
pub(crate) fn print_remarks(name: &str, diagnostics: &[testyard_model::diagnostic::Diagnostic]) {
    print_remarks_of(name, None, diagnostics);
}
