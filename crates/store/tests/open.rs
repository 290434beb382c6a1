//! Opening: what is no store of ours is refused with its reason, and left alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;

use support::{folder, open, slice};
use testyard_store::{Change, OpenError, SCHEMA_VERSION, Store};

fn message(error: &OpenError) -> String {
    error.to_string()
}

#[tokio::test]
async fn what_was_written_is_there_again() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    store.write(|change: &Change<'_>| change.insert_slice(&slice(3)), |&()| ()).await.unwrap();
    store.write(|change: &Change<'_>| change.put_meta("a", "b"), |&()| ()).await.unwrap();
    drop(store);
    let contents = Store::open(&path).unwrap().load().await.unwrap();
    assert_eq!(contents.slices[0].slice, slice(3));
    assert_eq!(contents.meta["a"], "b");
}

#[tokio::test]
async fn only_its_owner_may_read_it() {
    let (_folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&path).unwrap();
    store.flush().await;
    store.write(|change: &Change<'_>| change.put_meta("a", "b"), |&()| ()).await.unwrap();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn one_program_at_a_time() {
    let (_folder, store) = open();
    let error = Store::open(store.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error:?}");
}

#[test]
fn a_newer_store_is_left_alone() {
    let (_folder, path) = folder();
    drop(Store::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
               SELECT version + 1, 'later', applied_on, checksum FROM refinery_schema_history ORDER BY version DESC LIMIT 1";
    connection.execute(sql, []).unwrap();
    drop(connection);
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found, .. } if found == SCHEMA_VERSION + 1), "{error:?}");
    assert!(message(&error).contains("install the newer testyard"));
}

#[test]
fn damaged_and_foreign_files_are_left_alone() {
    let (_folder, path) = folder();
    std::fs::write(
        &path,
        "this is a shopping list, not a database, and long enough to be read as one".repeat(20),
    )
    .unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");

    let (_folder, path) = folder();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    drop(connection);
    let error = Store::open(&path).unwrap_err();
    assert!(message(&error).contains("another program"), "{error:?}");

    let (_folder, path) = folder();
    drop(Store::open(&path).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}
