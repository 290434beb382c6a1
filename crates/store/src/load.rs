//! Typed reads: everything at start, the audit trail on demand.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use testyard_model::id::{HostName, Revision, SliceId, SliceTag, SliverId};

use crate::error::ReadError;
use crate::open::Store;
use crate::rows::{
    AuditQuery, AuditRow, DocumentRow, LoginRow, SeenRow, ShutdownRow, SliceRow, SliverRow, SliverState,
};

/// Everything that is in the store, but the audit trail.
#[derive(Debug, Default)]
pub struct Contents {
    /// Slices, living and ended.
    pub slices: Vec<LoadedSlice>,
    /// Slices that operators have shut down.
    pub shutdowns: Vec<ShutdownRow>,
    /// Facts about the testbed.
    pub meta: BTreeMap<String, String>,
}

/// A slice with everything of it.
#[derive(Debug)]
pub struct LoadedSlice {
    /// Itself.
    pub slice: SliceRow,
    /// Requests, in order.
    pub documents: Vec<DocumentRow>,
    /// Slivers in the order of allocation, each with what is known of it.
    pub slivers: Vec<(SliverRow, Option<SeenRow>)>,
    /// Login names of its users.
    pub logins: Vec<LoginRow>,
}

impl Store {
    /// Reads everything, as it was at one instant.
    ///
    /// # Errors
    /// [`ReadError`], naming the row that cannot be read.
    pub async fn load(&self) -> Result<Contents, ReadError> {
        self.read(|connection| {
            connection.execute_batch("BEGIN")?;
            let contents = load(connection);
            connection.execute_batch("ROLLBACK")?;
            contents
        })
        .await
    }

    /// Lines of the audit trail, newest first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, ReadError> {
        // Times of one form, with whole seconds or with a fraction, are not in the order of their texts: so they are read.
        let sql = format!(
            "SELECT {AUDIT_COLUMNS} FROM audit \
             WHERE (?1 IS NULL OR object = ?1) AND (?2 IS NULL OR user = ?2) AND (?3 IS NULL OR request = ?3) \
             ORDER BY id DESC"
        );
        self.read(move |connection| {
            let AuditQuery { object, user, request, since, most } = query;
            let text = |of: Option<&dyn ToString>| of.map(|of| of.to_string());
            let params = rusqlite::params![
                text(object.as_ref().map(|object| object as _)),
                text(user.as_ref().map(|user| user as _)),
                text(request.as_ref().map(|request| request as _)),
            ];
            let mut statement = connection.prepare_cached(&sql)?;
            let (mut rows, mut found) = (statement.query(params)?, Vec::new());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            while let Some(row) = rows.next()?.filter(|_| found.len() < most) {
                let audited = audit_row(row)?;
                if since.is_some_and(|since| audited.at < since) {
                    break;
                }
                found.push(audited);
            }
            Ok(found)
        })
        .await
    }
}

impl Store {
    /// What the links of a slice were last measured to do, and when.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn report(&self, slice: SliceId) -> Result<Option<(Timestamp, String)>, ReadError> {
        let slice = slice.to_string();
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT at, report FROM reports WHERE slice = ?1")?;
            let mut rows = statement.query([&slice])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let at = At { table: "reports", key: slice.clone(), row };
            Ok(Some((at.parse(0)?, row.get(1)?)))
        })
        .await
    }
}

impl Store {
    /// What is kept of hosts that come in by the network, by name.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn members(&self) -> Result<BTreeMap<HostName, String>, ReadError> {
        self.read(|connection| {
            let mut hosts = BTreeMap::new();
            each(connection, "member", "SELECT name, record FROM members", |at| {
                hosts.insert(at.parse(0)?, at.row.get(1)?);
                Ok(())
            })?;
            Ok(hosts)
        })
        .await
    }
}

/// What [`audit_row`] reads, in its order.
pub(crate) const AUDIT_COLUMNS: &str = "at, user, tool, object, operation, detail, request, id";

pub(crate) fn audit_row(row: &Row<'_>) -> Result<AuditRow, ReadError> {
    let at = At { table: "audit", key: row.get::<_, i64>(7)?.to_string(), row };
    let tool: Option<String> = row.get(2)?;
    let request: Option<String> = row.get(6)?;
    Ok(AuditRow {
        at: at.parse(0)?,
        user: at.parse(1)?,
        tool: tool.map(|text| text.parse().map_err(|error| at.bad(error))).transpose()?,
        request: request.map(|text| text.parse().map_err(|error| at.bad(error))).transpose()?,
        object: at.parse(3)?,
        operation: row.get(4)?,
        detail: row.get(5)?,
    })
}

/// A row being read: knows how to name itself in an error.
struct At<'a> {
    table: &'static str,
    key: String,
    row: &'a Row<'a>,
}

impl At<'_> {
    fn parse<T: FromStr<Err: std::fmt::Display>>(&self, column: usize) -> Result<T, ReadError> {
        self.row
            .get_ref(column)?
            .as_str()
            .map_err(|error| self.bad(error))?
            .parse()
            .map_err(|error| self.bad(error))
    }

    fn revision(&self, column: usize) -> Result<Revision, ReadError> {
        u64::try_from(self.row.get::<_, i64>(column)?).map(Revision).map_err(|error| self.bad(error))
    }

    fn bad(&self, error: impl std::fmt::Display) -> ReadError {
        ReadError::Row { table: self.table, key: self.key.clone(), detail: error.to_string() }
    }
}

fn each(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    mut take: impl FnMut(At<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = row.get(0)?;
        take(At { table, key, row })?;
    }
    Ok(())
}

fn load(connection: &Connection) -> Result<Contents, ReadError> {
    let mut contents = Contents::default();
    let mut slices: BTreeMap<SliceId, LoadedSlice> = BTreeMap::new();
    let sql = "SELECT id, urn, tag, revision, ended, creator, created FROM slices";
    each(connection, "slice", sql, |at| {
        let tag: u32 = at.row.get(2)?;
        let slice = SliceRow {
            id: at.parse(0)?,
            urn: at.parse(1)?,
            tag: SliceTag(NonZeroU32::new(tag).ok_or_else(|| at.bad("its tag is 0"))?),
            revision: at.revision(3)?,
            ended: at.row.get(4)?,
            creator: at.parse(5)?,
            created: at.parse(6)?,
        };
        let loaded = LoadedSlice { slice, documents: vec![], slivers: vec![], logins: vec![] };
        slices.insert(loaded.slice.id, loaded);
        Ok(())
    })?;
    // Foreign keys see to it that every row below is of a slice that is there.
    let sql = "SELECT slice, number, text, network FROM documents ORDER BY slice, number";
    each(connection, "document", sql, |at| {
        let row = DocumentRow { number: at.row.get(1)?, text: at.row.get(2)?, network: at.row.get(3)? };
        slices.get_mut(&at.parse(0)?).into_iter().for_each(|slice| slice.documents.push(row.clone()));
        Ok(())
    })?;
    let sql = "SELECT slivers.id, slice, number, document, client_id, host, state, left_at, expires, body, \
               observed, events FROM slivers LEFT JOIN seen ON sliver = slivers.id ORDER BY slice, number";
    each(connection, "sliver", sql, |at| {
        let (row, seen) = sliver(&at)?;
        slices
            .get_mut(&at.parse(1)?)
            .into_iter()
            .for_each(|slice| slice.slivers.push((row.clone(), seen.clone())));
        Ok(())
    })?;
    each(connection, "login", "SELECT slice, user, login FROM logins ORDER BY slice, user", |at| {
        let row = LoginRow { user: at.parse(1)?, login: at.parse(2)? };
        slices.get_mut(&at.parse(0)?).into_iter().for_each(|slice| slice.logins.push(row.clone()));
        Ok(())
    })?;
    each(connection, "shutdown", "SELECT slice, user, at FROM shutdowns", |at| {
        contents.shutdowns.push(ShutdownRow { slice: at.parse(0)?, user: at.parse(1)?, at: at.parse(2)? });
        Ok(())
    })?;
    each(connection, "meta", "SELECT name, value FROM meta", |at| {
        contents.meta.insert(at.key.clone(), at.row.get(1)?);
        Ok(())
    })?;
    contents.slices = slices.into_values().collect();
    Ok(contents)
}

fn sliver(at: &At<'_>) -> Result<(SliverRow, Option<SeenRow>), ReadError> {
    let state = match at.row.get_ref(6)?.as_str().map_err(|error| at.bad(error))? {
        "allocated" => SliverState::Allocated,
        "provisioned" => SliverState::Provisioned,
        "leaving" => SliverState::Leaving(at.revision(7)?),
        other => return Err(at.bad(format!("its state is {other:?}"))),
    };
    let id: SliverId = at.parse(0)?;
    let row = SliverRow {
        id,
        number: at.row.get(2)?,
        document: at.row.get(3)?,
        client_id: at.parse(4)?,
        host: at.parse(5)?,
        state,
        expires: at.parse(8)?,
        body: at.row.get(9)?,
    };
    let events: Option<String> = at.row.get(11)?;
    let observed = at.row.get(10)?;
    Ok((row, events.map(|events| SeenRow { observed, events })))
}
