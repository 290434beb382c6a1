//! Opening: the file, its lock and mode, its schema version, the writer thread and the readers.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::change::Change;
use crate::error::{OpenError, ReadError, WriteError};
use crate::lock::Lock;
use crate::migrations::migrations;
use crate::writer::{Writer, Writes};

/// The schema version that this program writes.
pub const SCHEMA_VERSION: i32 = 5;

/// In the header of every store: "TYRD". Another program's database is not touched.
const APPLICATION_ID: i32 = 0x5459_5244;

/// Connections that are kept for later readers.
const IDLE_READERS: usize = 2;

/// An open store. Clones share it; the last one closes it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // Before the lock: dropping it ends the writer thread, which closes the file.
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Opens the store, makes it if it is not there, and brings its schema up to date. The file is readable for its
    /// owner only: private host keys are in it.
    ///
    /// # Errors
    /// [`OpenError`]; the file is unchanged then, except that a migration that went through stays.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let lock = Lock::take(path)?;
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
        file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600))).map_err(io)?;
        let mut connection = connect(path).map_err(|source| classify(path, source))?;
        check(&connection, path)?;
        migrate(&mut connection, path)?;
        configure_writer(&connection).map_err(|source| classify(path, source))?;
        let writer = Writer::start(connection).map_err(io)?;
        let inner = Inner { writer, readers: Mutex::new(Vec::new()), path: path.to_owned(), _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a change. `change` runs in a savepoint; if it is `Ok`, `committed` runs once the change is durable, on
    /// the writer's thread and in the order of the changes, before this returns. Both run even if nobody awaits the
    /// result any more.
    ///
    /// # Errors
    /// [`WriteError`]; nothing has changed then, and `committed` does not run.
    pub async fn write<T, E>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.inner.writer.send(change, committed).await.unwrap_or(Err(WriteError::Closed))
    }

    /// Reads, on a thread for blocking work.
    ///
    /// # Errors
    /// What `read` returns, or [`ReadError`] if the store cannot be opened for it.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let idle = inner.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => {
                    let connection = connect(&inner.path)?;
                    connection.pragma_update(None, "query_only", true)?;
                    connection
                }
            };
            let result = read(&connection);
            let mut readers = inner.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if readers.len() < IDLE_READERS {
                readers.push(connection);
            }
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ReadError::Closed)?
    }

    /// Waits until every change that was sent before is durable or refused.
    pub async fn flush(&self) {
        let nothing: Result<(), WriteError<()>> = self.write(|_| Ok(()), |()| ()).await;
        drop(nothing);
    }

    /// Lets the next `count` commits fail as a full disk does, for tests of what callers see then.
    #[doc(hidden)]
    pub fn fail_commits(&self, count: u32) {
        self.inner.writer.fail_commits(count);
    }

    /// What the writer has done since the store was opened.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.inner.writer.writes()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Whether the file is ours, whole, and not from the future; an empty one is fine.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sql = |source| classify(path, source);
    let damaged = |detail: String| OpenError::Damaged { path: path.to_owned(), detail };
    let health: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
    if health != "ok" {
        return Err(damaged(health));
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(sql)?;
    let mark: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    if tables > 0 && mark != APPLICATION_ID {
        let history = "SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history'";
        // A first start that was cut off between the schema and the mark is still ours.
        if connection.query_row(history, [], |_| Ok(())).optional().map_err(sql)?.is_none() {
            return Err(damaged("it is a database of another program".to_owned()));
        }
    }
    Ok(())
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |detail: String| OpenError::Migrate { path: path.to_owned(), detail };
    let table = "SELECT 1 FROM sqlite_master WHERE name = 'refinery_schema_history'";
    let sql = |source| classify(path, source);
    if connection.query_row(table, [], |_| Ok(())).optional().map_err(sql)?.is_some() {
        let newest = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
        let found: i32 = connection.query_row(newest, [], |row| row.get(0)).map_err(sql)?;
        if found > SCHEMA_VERSION {
            return Err(OpenError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
        }
    }
    migrations::runner().run(connection).map(drop).map_err(|error| failed(error.to_string()))
}

pub(crate) fn classify(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path: path.to_owned(), detail: source.to_string() }
        }
        _ => OpenError::Sql { path: path.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_last_migration() {
        let last = migrations::runner().get_migrations().iter().map(|migration| migration.version()).max();
        assert_eq!(last, Some(SCHEMA_VERSION));
    }
}
