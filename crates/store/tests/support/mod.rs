//! Rows for tests.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;

use jiff::Timestamp;
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_store::{SliceRow, SliverRow, SliverState, Store};
use uuid::Uuid;

pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

pub fn open() -> (tempfile::TempDir, Store) {
    let (folder, path) = folder();
    (folder, Store::open(&path).unwrap())
}

pub fn slice(number: u32) -> SliceRow {
    SliceRow {
        id: SliceId::from_uuid(Uuid::from_u128(u128::from(number))),
        urn: format!("urn:publicid:IDN+a+slice+s{number}").parse().unwrap(),
        tag: SliceTag(number.try_into().unwrap()),
        revision: Revision(1),
        ended: false,
        creator: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
        created: Timestamp::UNIX_EPOCH,
    }
}

pub fn sliver(number: u32) -> SliverRow {
    SliverRow {
        id: SliverId::from_uuid(Uuid::from_u128(u128::from(number))),
        number: i64::from(number),
        document: 1,
        client_id: format!("n{number}").parse().unwrap(),
        host: "local".parse().unwrap(),
        state: SliverState::Allocated,
        expires: Timestamp::UNIX_EPOCH,
        body: "{}".to_owned(),
    }
}
