//! A store that takes the place of one that may have come further.
//!
//! Hosts know more than it: they have taken later revisions, and may still have parts of slices that it has never heard of.
//! So revisions leap ahead of all that any host has seen, and numbers that are given one after the other (of slices, of links
//! between hosts) go on somewhere else. What nodes have come to by themselves (restarts, fresh disks) their hosts tell.

use std::path::Path;

use jiff::Timestamp;
use testyard_model::id::Revision;
use testyard_model::tunnel::Vni;
use testyard_model::urn::UserUrn;
use testyard_store::{
    AuditObject, AuditRow, Change, ChangeError, OpenError, Store, WriteError, audited_since,
};

use crate::entropy::{OsRandomness, Randomness as _};
use crate::open::{LAST_TAG, LAST_VNI};
use crate::state::MAX_TAG;

/// A copy cannot take the store's place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is none, or of a version that this program does not know.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written.
    #[error("the copy cannot be made ready: {0}")]
    Write(String),
}

/// Makes a copy of a store ready to take the store's place, and notes who did that. The schema is brought up to date. What was
/// done since the copy was made, as far as `replaced` can be read, stays in the audit trail.
///
/// # Errors
/// [`RestoreError`]; the copy is as good for another try.
pub async fn make_ready(
    copy: &Path,
    replaced: &Path,
    by: &UserUrn,
    now: Timestamp,
    detail: String,
) -> Result<(), RestoreError> {
    let store = Store::open(copy)?;
    // Where there is none, or it is what is wrong, there is nothing to keep.
    let since = audited_since(replaced, copy).unwrap_or_default();
    // Seconds since 1970: revisions count changes of a slice, of which there is never one a second for years.
    let revision = Revision(u64::try_from(now.as_second()).unwrap_or_default());
    let (tag, vni) = (number() % MAX_TAG + 1, Vni::try_from(number() % Vni::LAST + 1).unwrap_or(Vni::FIRST));
    let row = AuditRow {
        at: now,
        user: by.clone(),
        tool: None,
        request: None,
        object: AuditObject::Testbed,
        operation: "restore".to_owned(),
        detail,
    };
    let write = move |change: &Change<'_>| {
        change.leap(revision)?;
        change.put_meta(LAST_TAG, &tag.to_string())?;
        change.put_meta(LAST_VNI, &vni.to_string())?;
        since.iter().chain([&row]).try_for_each(|row| change.audit(row))
    };
    let written: Result<(), WriteError<ChangeError>> = store.write(write, |&()| ()).await;
    written.map_err(|error| RestoreError::Write(error.to_string()))
}

fn number() -> u32 {
    let mut bytes = [0; 4];
    OsRandomness.fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
