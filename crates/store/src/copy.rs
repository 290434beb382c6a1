//! Copies of a store: made while it is written, looked at before they are trusted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::error::{OpenError, ReadError};
use crate::load::{AUDIT_COLUMNS, audit_row};
use crate::open::{SCHEMA_VERSION, check, classify};
use crate::rows::AuditRow;

/// A store could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is none, or it is none of ours.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The copy cannot be made.
    #[error("cannot copy the store to {path}")]
    Copy {
        /// Where it was to be.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// What is in a store, for somebody who decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The version of its schema.
    pub schema: i32,
    /// Facts about the testbed.
    pub meta: BTreeMap<String, String>,
    /// Living slices by their URN: how many slivers each has.
    pub slices: BTreeMap<String, u32>,
}

/// Writes the store as it is at this instant to a new file that only its owner can read, and syncs it. A program that has the
/// store open goes on meanwhile, writing too.
///
/// # Errors
/// [`CopyError`]; nothing is left at `to` then, unless something was there before.
pub fn copy(store: &Path, to: &Path) -> Result<(), CopyError> {
    let write = |source| CopyError::Write { path: to.to_owned(), source };
    // Made first: SQLite would make one that others can read, and it writes over an empty file.
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).map_err(write)?;
    let copied = copy_into(store, to).and_then(|()| file.sync_all().map_err(write));
    if copied.is_err() {
        let _ = std::fs::remove_file(to);
    }
    copied
}

fn copy_into(store: &Path, to: &Path) -> Result<(), CopyError> {
    let failed = |source| CopyError::Copy { path: to.to_owned(), source };
    let connection = look(store)?;
    check(&connection, store)?;
    let text = to.to_str().ok_or_else(|| CopyError::Write {
        path: to.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8"),
    })?;
    connection.execute("VACUUM INTO ?1", [text]).map(drop).map_err(failed)
}

/// What is in a store, which may be open elsewhere; that it is one, whole, and of a version that this program knows.
///
/// # Errors
/// [`OpenError`]
pub fn inspect(store: &Path) -> Result<Summary, OpenError> {
    let connection = look(store)?;
    check(&connection, store)?;
    let sql = |source| classify(store, source);
    let schema: Option<i32> = connection
        .query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
        .optional()
        .map_err(|_| OpenError::Damaged {
            path: store.to_owned(),
            detail: "there is nothing of Testyard in it".to_owned(),
        })?
        .flatten();
    let schema = schema.unwrap_or_default();
    if schema > SCHEMA_VERSION {
        return Err(OpenError::Newer { path: store.to_owned(), found: schema, known: SCHEMA_VERSION });
    }
    let pairs = |text: &str| -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = connection.prepare(text)?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let meta = pairs("SELECT name, value FROM meta").map_err(sql)?;
    let slices = "SELECT urn, (SELECT count(*) FROM slivers WHERE slice = slices.id AND state <> 'leaving') || '' \
                  FROM slices WHERE ended = 0";
    let slices = pairs(slices).map_err(sql)?;
    Ok(Summary {
        schema,
        meta: meta.into_iter().collect(),
        slices: slices.into_iter().map(|(urn, count)| (urn, count.parse().unwrap_or_default())).collect(),
    })
}

/// Lines of a store's audit trail that another one, which was copied of it, does not have: those after its newest.
///
/// # Errors
/// [`OpenError`]; also if the store is of an older schema.
pub fn audited_since(store: &Path, copy: &Path) -> Result<Vec<AuditRow>, OpenError> {
    let newest: i64 = {
        let sql = |source| classify(copy, source);
        let last = "SELECT coalesce(max(id), 0) FROM audit";
        look(copy)?.query_row(last, [], |row| row.get(0)).map_err(sql)?
    };
    let damaged = |detail: &dyn std::fmt::Display| OpenError::Damaged {
        path: store.to_owned(),
        detail: detail.to_string(),
    };
    let connection = look(store)?;
    let read = || -> Result<Vec<AuditRow>, ReadError> {
        let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE id > ?1 ORDER BY id");
        let mut statement = connection.prepare(&sql)?;
        let (mut rows, mut found) = (statement.query([newest])?, Vec::new());
        while let Some(row) = rows.next()? {
            found.push(audit_row(row)?);
        }
        Ok(found)
    };
    read().map_err(|error| damaged(&error))
}

fn look(store: &Path) -> Result<Connection, OpenError> {
    // Who opens a file that is not there makes one.
    File::open(store).map_err(|source| OpenError::Io { path: store.to_owned(), source })?;
    let sql = |source| classify(store, source);
    // Not only for reading: what another program has written may still be in the file beside it, which readers share.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(store, flags).map_err(sql)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(sql)?;
    Ok(connection)
}
