//! Copies are whole whenever they are made; what is none is refused; an audit trail outlives going back to a copy.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use support::{open, slice};
use testyard_model::id::{RequestId, Revision};
use testyard_store::{
    AuditObject, AuditQuery, AuditRow, Change, SCHEMA_VERSION, Store, audited_since, copy, inspect,
};

fn row(operation: &str, object: AuditObject) -> AuditRow {
    AuditRow {
        at: Timestamp::UNIX_EPOCH,
        user: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
        tool: None,
        request: Some(RequestId::new(7)),
        object,
        operation: operation.to_owned(),
        detail: String::new(),
    }
}

async fn note(store: &Store, operation: &str, object: AuditObject) {
    let row = row(operation, object);
    store.write(move |change: &Change<'_>| change.audit(&row), |&()| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_of_one_instant_while_the_store_is_written() {
    let (folder, store) = open();
    // Two facts that are always alike.
    let put = |number: u32| {
        move |change: &Change<'_>| {
            change.put_meta("one", &number.to_string())?;
            change.put_meta("two", &number.to_string())
        }
    };
    store.write(put(0), |&()| ()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, ended) = (store.clone(), Arc::clone(&stop));
    let writer = tokio::spawn(async move {
        let mut number = 1;
        while !ended.load(Ordering::SeqCst) {
            writing.write(put(number), |&()| ()).await.unwrap();
            number += 1;
        }
        number
    });
    for number in 0..20 {
        let to = folder.path().join(format!("copy-{number}"));
        let from = store.path().to_owned();
        let made = to.clone();
        tokio::task::spawn_blocking(move || copy(&from, &made)).await.unwrap().unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let summary = inspect(&to).unwrap();
        assert_eq!(summary.meta["one"], summary.meta["two"]);
        assert_eq!(summary.schema, SCHEMA_VERSION);
        drop(Store::open(&to).unwrap());
    }
    stop.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 20, "the store was written meanwhile");
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_nothing_is_left() {
    let (folder, store) = open();
    let to = folder.path().join("copy");
    assert!(copy(&folder.path().join("nothing"), &to).unwrap_err().to_string().contains("nothing"));
    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "no store, but a text that is long enough to be taken for the head of one, perhaps\n".repeat(40),
    )
    .unwrap();
    assert!(copy(&text, &to).unwrap_err().to_string().contains("not a Testyard store"));
    assert!(inspect(&text).is_err());
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(inspect(&empty).unwrap_err().to_string().contains("nothing of Testyard"));
    let other = folder.path().join("other");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE meta (a, b)").unwrap();
    assert!(inspect(&other).unwrap_err().to_string().contains("another program"));
    assert!(!to.exists());
    // What is there is not written over.
    std::fs::write(&to, "mine").unwrap();
    assert!(copy(store.path(), &to).is_err());
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "mine");
}

#[tokio::test]
async fn a_copy_that_takes_the_place_of_the_store_is_ahead_of_it_and_keeps_the_trail() {
    let (folder, store) = open();
    store.write(|change: &Change<'_>| change.insert_slice(&slice(3)), |&()| ()).await.unwrap();
    note(&store, "before", AuditObject::Testbed).await;
    let to = folder.path().join("copy");
    copy(store.path(), &to).unwrap();
    note(&store, "after", AuditObject::Host("rack2".parse().unwrap())).await;
    note(&store, "later", AuditObject::Slice(slice(3).urn)).await;
    let since = audited_since(store.path(), &to).unwrap();
    let operations: Vec<&str> = since.iter().map(|row| row.operation.as_str()).collect();
    assert_eq!(operations, ["after", "later"]);
    assert_eq!(since[0], row("after", AuditObject::Host("rack2".parse().unwrap())));

    let copied = Store::open(&to).unwrap();
    copied.write(|change: &Change<'_>| change.leap(Revision(1_000)), |&()| ()).await.unwrap();
    assert_eq!(copied.load().await.unwrap().slices[0].slice.revision, Revision(1_000));
    // It never goes back, whatever the clock says.
    copied.write(|change: &Change<'_>| change.leap(Revision(5)), |&()| ()).await.unwrap();
    assert_eq!(copied.load().await.unwrap().slices[0].slice.revision, Revision(1_001));
    assert_eq!(inspect(&to).unwrap().slices[&slice(3).urn.to_string()], 0);
}

#[tokio::test]
async fn the_trail_is_asked_by_object_user_call_and_time() {
    let (_folder, store) = open();
    note(&store, "one", AuditObject::Testbed).await;
    note(&store, "two", AuditObject::Slice(slice(1).urn)).await;
    let ask = async |query: AuditQuery| -> Vec<String> {
        let rows = store.audit(AuditQuery { most: 10, ..query }).await.unwrap();
        rows.into_iter().map(|row| row.operation).collect()
    };
    assert_eq!(ask(AuditQuery::default()).await, ["two", "one"]);
    assert_eq!(
        ask(AuditQuery { object: Some(AuditObject::Testbed), ..AuditQuery::default() }).await,
        ["one"]
    );
    let request = |number| AuditQuery { request: Some(RequestId::new(number)), ..AuditQuery::default() };
    assert_eq!(ask(request(7)).await.len(), 2);
    assert!(ask(request(8)).await.is_empty());
    let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1);
    assert!(ask(AuditQuery { since: Some(later), ..AuditQuery::default() }).await.is_empty());
    let writes = store.writes();
    assert_eq!((writes.changes, writes.failures), (2, 0));
    assert!(writes.commits >= 1 && !writes.busy.is_zero());
}
