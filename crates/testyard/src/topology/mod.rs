//! `testyard plan`, `convert` and `graph`: topologies in files, read and planned without a server, an engine or root.
//!
//! ```text
//! FILE ─ file ─► text, language ─ reading ─► Import ─┬─ plan ─────► Answer ─► tables or JSON
//!                                    ▲               ├─ compare ──► differences
//!                     testbed ───────┘               └─ convert ──► another language
//! ```
//!
//! [`remarks`] prints what there is to say with the line that it is about; `observe` is the only one that looks at this
//! machine.

mod compare;
mod convert;
mod file;
mod observe;
mod plan;
mod reading;
mod remarks;
mod request;
mod testbed;

pub use convert::{Convert, Graph, convert, graph};
pub use plan::{Arguments, run};
pub(crate) use request::request;
