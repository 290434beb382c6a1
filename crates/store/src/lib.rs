//! The store: one SQLite file, one writer thread, typed rows.
//!
//! A change is a closure over [`Change`], sent to the writer by [`Store::write`]. The writer runs every change that is
//! waiting in one transaction, each in a savepoint of its own, commits once, and only then acknowledges: callers share
//! the disk's sync, and one that is refused or panics takes only its own savepoint back.
//!
//! ```text
//! write(change, committed) ─► queue ─► BEGIN ─ SAVEPOINT change ─ SAVEPOINT change … ─ COMMIT (WAL, synchronous=FULL)
//!                                                                                         │
//!                                         caller ◄─ acknowledged ◄─ committed(), in order ┘
//! ```
//!
//! The store knows what rows there are and which rules the database itself can hold them to (one holder of an address
//! or port, one living slice of a name, one sliver of a client id). What the rows mean is the controller's.

#![forbid(unsafe_code)]

mod change;
mod copy;
mod error;
mod load;
mod lock;
mod migrations;
mod open;
mod rows;
mod writer;

pub use change::{Change, ChangeError, MOST_AUDITED};
pub use copy::{CopyError, Summary, audited_since, copy, inspect};
pub use error::{OpenError, ReadError, WriteError};
pub use load::{Contents, LoadedSlice};
pub use open::{SCHEMA_VERSION, Store};
pub use rows::{
    AuditObject, AuditQuery, AuditRow, DocumentRow, LoginRow, SeenRow, ShutdownRow, SliceRow, SliverRow,
    SliverState, Versioned,
};
pub use writer::Writes;
