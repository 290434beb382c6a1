//! A change being made: typed writes inside one savepoint.

use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Params, params};
use testyard_model::id::{HostName, Revision, SliceId, SliverId};
use testyard_model::urn::{SliceUrn, UserUrn};

use crate::rows::{AuditRow, DocumentRow, LoginRow, SeenRow, ShutdownRow, SliceRow, SliverRow, SliverState};

/// Lines of the audit trail that are kept: a few hundred megabytes.
pub const MOST_AUDITED: i64 = 1_000_000;
/// After so many more, older ones are removed.
const AUDIT_STEP: i64 = 1_000;

/// A change being made.
pub struct Change<'a> {
    connection: &'a Connection,
}

/// A write that the database refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A rule of the schema, or a revision that is not the expected one: somebody else was first.
    #[error("conflict: {0}")]
    Conflict(String),
    /// Anything else.
    #[error("cannot write the store")]
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Conflict(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}

type Result<T> = std::result::Result<T, ChangeError>;

impl<'a> Change<'a> {
    pub(crate) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    fn count(&self, sql: &str, params: impl Params) -> Result<u32> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
    }

    /// A new slice.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if a slice of its name lives or its tag is in use.
    pub fn insert_slice(&self, row: &SliceRow) -> Result<()> {
        let sql = "INSERT INTO slices (id, urn, tag, revision, ended, creator, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let SliceRow { id, urn, tag, revision, ended, creator, created } = row;
        let params = params![
            id.to_string(),
            urn.to_string(),
            tag.0.get(),
            revision.0 as i64,
            ended,
            creator.to_string(),
            created.to_string(),
        ];
        self.run(sql, params).map(drop)
    }

    /// The slice's next revision.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if it is not at revision `from`.
    pub fn advance_slice(&self, id: SliceId, from: Revision, to: Revision, ended: bool) -> Result<()> {
        let sql = "UPDATE slices SET revision = ?3, ended = ?4 WHERE id = ?1 AND revision = ?2";
        match self.run(sql, params![id.to_string(), from.0 as i64, to.0 as i64, ended])? {
            1 => Ok(()),
            _ => Err(ChangeError::Conflict(format!("slice {id} is not at revision {from}"))),
        }
    }

    /// Removes a slice with everything of it.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if it is not at revision `from`.
    pub fn delete_slice(&self, id: SliceId, from: Revision) -> Result<()> {
        match self.run(
            "DELETE FROM slices WHERE id = ?1 AND revision = ?2",
            params![id.to_string(), from.0 as i64],
        )? {
            1 => Ok(()),
            _ => Err(ChangeError::Conflict(format!("slice {id} is not at revision {from}"))),
        }
    }

    /// A request as it is now, new or not.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn put_document(&self, slice: SliceId, row: &DocumentRow) -> Result<()> {
        let sql = "INSERT INTO documents (slice, number, text, network) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (slice, number) DO UPDATE SET text = ?3, network = ?4";
        self.run(sql, params![slice.to_string(), row.number, row.text, row.network]).map(drop)
    }

    /// Removes a request that no sliver comes from any more.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn delete_document(&self, slice: SliceId, number: i64) -> Result<()> {
        self.run("DELETE FROM documents WHERE slice = ?1 AND number = ?2", params![slice.to_string(), number])
            .map(drop)
    }

    /// A sliver as it is now, new or not.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if another sliver of the slice has its client id.
    pub fn put_sliver(&self, slice: SliceId, row: &SliverRow) -> Result<()> {
        let sql = "INSERT INTO slivers (id, slice, number, document, client_id, host, state, left_at, expires, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                   ON CONFLICT (id) DO UPDATE SET number = ?3, state = ?7, left_at = ?8, expires = ?9, body = ?10";
        let (state, left_at) = match row.state {
            SliverState::Allocated => ("allocated", None),
            SliverState::Provisioned => ("provisioned", None),
            SliverState::Leaving(since) => ("leaving", Some(since.0 as i64)),
        };
        let params = params![
            row.id.to_string(),
            slice.to_string(),
            row.number,
            row.document,
            row.client_id.as_str(),
            row.host.as_str(),
            state,
            left_at,
            row.expires.to_string(),
            row.body,
        ];
        self.run(sql, params).map(drop)
    }

    /// Removes a sliver and gives back what it held.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn delete_sliver(&self, id: SliverId) -> Result<()> {
        self.run("DELETE FROM slivers WHERE id = ?1", [id.to_string()]).map(drop)
    }

    /// Lets a sliver hold an address of its host.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if another one holds it.
    pub fn hold_address(&self, host: &HostName, address: IpAddr, sliver: SliverId) -> Result<()> {
        let sql = "INSERT INTO addresses (host, address, sliver) VALUES (?1, ?2, ?3)";
        self.run(sql, params![host.as_str(), address.to_string(), sliver.to_string()]).map(drop)
    }

    /// Lets a sliver hold a port of its host.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if another one holds it.
    pub fn hold_port(&self, host: &HostName, port: u16, sliver: SliverId) -> Result<()> {
        let sql = "INSERT INTO ports (host, port, sliver) VALUES (?1, ?2, ?3)";
        self.run(sql, params![host.as_str(), port, sliver.to_string()]).map(drop)
    }

    /// Gives back a port of a sliver that stays.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn release_port(&self, host: &HostName, port: u16, sliver: SliverId) -> Result<()> {
        let sql = "DELETE FROM ports WHERE host = ?1 AND port = ?2 AND sliver = ?3";
        self.run(sql, params![host.as_str(), port, sliver.to_string()]).map(drop)
    }

    /// How many slivers are on a host, leaving ones too.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn slivers_on(&self, host: &HostName) -> Result<u32> {
        self.count("SELECT coalesce(sum(slivers), 0) FROM hosts WHERE name = ?1", [host.as_str()])
    }

    /// How many living slices a user has made.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn slices_of(&self, user: &UserUrn) -> Result<u32> {
        self.count("SELECT count(*) FROM slices WHERE creator = ?1 AND ended = 0", [user.to_string()])
    }

    /// A user's login name in a slice.
    ///
    /// # Errors
    /// [`ChangeError::Conflict`] if the user has one or another user has this one.
    pub fn insert_login(&self, slice: SliceId, row: &LoginRow) -> Result<()> {
        let sql = "INSERT INTO logins (slice, user, login) VALUES (?1, ?2, ?3)";
        self.run(sql, params![slice.to_string(), row.user.to_string(), row.login.as_str()]).map(drop)
    }

    /// What is known of a sliver; nothing happens if the sliver is gone.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn put_seen(&self, sliver: SliverId, row: &SeenRow) -> Result<()> {
        let sql = "INSERT INTO seen (sliver, observed, events) SELECT id, ?2, ?3 FROM slivers WHERE id = ?1 \
                   ON CONFLICT (sliver) DO UPDATE SET observed = ?2, events = ?3";
        self.run(sql, params![sliver.to_string(), row.observed, row.events]).map(drop)
    }

    /// Remembers that a slice is shut down; it may be already.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn put_shutdown(&self, row: &ShutdownRow) -> Result<()> {
        let sql =
            "INSERT INTO shutdowns (slice, user, at) VALUES (?1, ?2, ?3) ON CONFLICT (slice) DO NOTHING";
        self.run(sql, params![row.slice.to_string(), row.user.to_string(), row.at.to_string()]).map(drop)
    }

    /// Forgets that a slice is shut down.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn delete_shutdown(&self, slice: &SliceUrn) -> Result<()> {
        self.run("DELETE FROM shutdowns WHERE slice = ?1", [slice.to_string()]).map(drop)
    }

    /// What the links of a slice were measured to do, in place of an older report.
    ///
    /// # Errors
    /// [`ChangeError`], also if there is no such slice any more.
    pub fn put_report(&self, slice: SliceId, at: Timestamp, report: &str) -> Result<()> {
        let sql = "INSERT INTO reports (slice, at, report) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (slice) DO UPDATE SET at = ?2, report = ?3";
        self.run(sql, params![slice.to_string(), at.to_string(), report]).map(drop)
    }

    /// What is kept of a host, if there is such a host.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn member(&self, name: &HostName) -> Result<Option<String>> {
        let mut statement = self.connection.prepare_cached("SELECT record FROM members WHERE name = ?1")?;
        Ok(statement.query_row([name.as_str()], |row| row.get(0)).optional()?)
    }

    /// Keeps this of a host, and nothing else.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn put_member(&self, name: &HostName, record: &str) -> Result<()> {
        let sql =
            "INSERT INTO members (name, record) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET record = ?2";
        self.run(sql, params![name.as_str(), record]).map(drop)
    }

    /// Keeps nothing of a host; whether something was kept.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn remove_member(&self, name: &HostName) -> Result<bool> {
        Ok(self.run("DELETE FROM members WHERE name = ?1", [name.as_str()])? > 0)
    }

    /// Has all slices, and the numbers that go with them, be at a revision that no host has seen: for a store that takes the
    /// place of one that may have come further.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn leap(&self, to: Revision) -> Result<()> {
        let to = i64::try_from(to.0).unwrap_or(i64::MAX);
        self.run("UPDATE slices SET revision = max(revision + 1, ?1)", [to]).map(drop)
    }

    /// A line of the audit trail, which keeps the newest [`MOST_AUDITED`].
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn audit(&self, row: &AuditRow) -> Result<()> {
        let sql = "INSERT INTO audit (at, user, tool, request, object, operation, detail) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let params = params![
            row.at.to_string(),
            row.user.to_string(),
            row.tool.as_ref().map(ToString::to_string),
            row.request.map(|request| request.to_string()),
            row.object.to_string(),
            row.operation,
            row.detail,
        ];
        self.run(sql, params)?;
        let last = self.connection.last_insert_rowid();
        if last > MOST_AUDITED && last % AUDIT_STEP == 0 {
            self.run("DELETE FROM audit WHERE id <= ?1", [last - MOST_AUDITED])?;
        }
        Ok(())
    }

    /// A fact about the testbed.
    ///
    /// # Errors
    /// [`ChangeError`]
    pub fn put_meta(&self, name: &str, value: &str) -> Result<()> {
        let sql =
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.run(sql, params![name, value]).map(drop)
    }
}
