//! What can go wrong, per operation.

use std::path::PathBuf;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("cannot open the store {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another program has it open.
    #[error("the store {0} is in use: another testyard is running on it")]
    InUse(PathBuf),
    /// The file is no store of ours, or broken.
    #[error(
        "the store {path} is damaged or not a Testyard store ({detail}): restore it from a copy, or move it away to begin with an empty one after `testyard reset`"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A newer Testyard has written it.
    #[error(
        "the store {path} is of schema version {found}, this testyard knows up to {known}: install the newer testyard again, or restore the copy from before the upgrade"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The schema could not be brought up to date.
    #[error("the store {path} cannot be brought up to date: {detail}")]
    Migrate {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// Anything else that SQLite says.
    #[error("cannot open the store {path}")]
    Sql {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite refused.
    #[error("cannot read the store")]
    Sql(#[from] rusqlite::Error),
    /// A row holds what this program cannot read.
    #[error("{table} {key} of the store cannot be read: {detail}")]
    Row {
        /// Of which table.
        table: &'static str,
        /// Which row.
        key: String,
        /// What is the matter.
        detail: String,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

/// A change was not made; the store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The change itself refused.
    #[error("{0}")]
    Refused(E),
    /// The change panicked; the log has its words.
    #[error("the change panicked")]
    Panicked,
    /// It could not be made durable.
    #[error("the store cannot write: {0}")]
    Commit(String),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}
