//! The writer: changes that are refused, that panic or that cannot be made durable harm nobody else.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use support::{open, slice, sliver};
use testyard_model::id::Revision;
use testyard_store::{Change, ChangeError, Store, WriteError};

async fn insert(store: &Store, number: u32) -> Result<(), WriteError<ChangeError>> {
    store.write(move |change: &Change<'_>| change.insert_slice(&slice(number)), |&()| ()).await
}

async fn numbers(store: &Store) -> Vec<u32> {
    store.load().await.unwrap().slices.iter().map(|loaded| loaded.slice.tag.0.get()).collect()
}

#[tokio::test]
async fn a_refused_change_takes_back_only_itself() {
    let (_folder, store) = open();
    let refused = store.write(
        |change: &Change<'_>| {
            change.insert_slice(&slice(7)).unwrap();
            Err::<(), _>("no")
        },
        |&()| panic!("it was refused"),
    );
    let panics = store.write(
        |change: &Change<'_>| -> Result<(), ()> {
            change.insert_slice(&slice(8)).unwrap();
            panic!("a bug in a verb")
        },
        |&()| (),
    );
    // All in one transaction, as far as the thread is slow enough; either way the outcome is the same.
    let (one, refused, panics, twice, two) =
        tokio::join!(insert(&store, 1), refused, panics, insert(&store, 1), insert(&store, 2));
    one.unwrap();
    two.unwrap();
    assert!(matches!(refused, Err(WriteError::Refused("no"))));
    assert!(matches!(panics, Err(WriteError::Panicked)));
    assert!(matches!(twice, Err(WriteError::Refused(ChangeError::Conflict(_)))));
    assert_eq!(numbers(&store).await, [1, 2]);
}

#[tokio::test]
async fn what_follows_runs_in_the_order_of_the_commits_and_without_a_caller() {
    let (_folder, store) = open();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = Vec::new();
    for number in 1..=50 {
        let order = Arc::clone(&order);
        let write = store.write(
            move |change: &Change<'_>| change.insert_slice(&slice(number)),
            move |&()| order.lock().unwrap().push(number),
        );
        // Polled once, so that it is sent; then half of the callers go away.
        let mut write = Box::pin(write);
        let early =
            std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context))).await;
        if number % 2 == 0 && early.is_pending() {
            calls.push(write);
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    store.flush().await;
    assert_eq!(*order.lock().unwrap(), (1..=50).collect::<Vec<_>>());
    assert_eq!(numbers(&store).await.len(), 50);
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_change_in_it_and_the_next_one_works() {
    let (_folder, store) = open();
    insert(&store, 1).await.unwrap();
    store.fail_commits(1);
    let followed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&followed);
    let failed = store
        .write(
            move |change: &Change<'_>| change.insert_slice(&slice(2)),
            move |&()| {
                count.fetch_add(1, Ordering::SeqCst);
            },
        )
        .await;
    assert!(matches!(failed, Err(WriteError::Commit(_))), "{failed:?}");
    assert_eq!(followed.load(Ordering::SeqCst), 0);
    assert_eq!(numbers(&store).await, [1]);
    insert(&store, 2).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 2]);
}

#[tokio::test]
async fn the_database_holds_changes_to_the_rules() {
    let (_folder, store) = open();
    insert(&store, 1).await.unwrap();
    let attempt = |change: fn(&Change<'_>) -> Result<(), ChangeError>| store.write(change, |&()| ());
    let id = slice(1).id;
    attempt(|change| {
        let id = slice(1).id;
        change.put_sliver(id, &sliver(1))?;
        change.hold_port(&"local".parse().unwrap(), 2000, sliver(1).id)?;
        change.hold_address(&"local".parse().unwrap(), [10, 0, 0, 2].into(), sliver(1).id)
    })
    .await
    .unwrap();
    for (what, change) in [
        (
            "a port held twice",
            (|change| {
                change.put_sliver(slice(1).id, &sliver(2))?;
                change.hold_port(&"local".parse().unwrap(), 2000, sliver(2).id)
            }) as fn(&Change<'_>) -> Result<(), ChangeError>,
        ),
        ("an address held twice", |change| {
            change.put_sliver(slice(1).id, &sliver(2))?;
            change.hold_address(&"local".parse().unwrap(), [10, 0, 0, 2].into(), sliver(2).id)
        }),
        ("a client id twice", |change| {
            let mut other = sliver(2);
            other.client_id = sliver(1).client_id;
            change.put_sliver(slice(1).id, &other)
        }),
        ("a living slice twice", |change| {
            let mut other = slice(2);
            other.urn = slice(1).urn;
            change.insert_slice(&other)
        }),
        ("a tag twice", |change| {
            let mut other = slice(2);
            other.tag = slice(1).tag;
            change.insert_slice(&other)
        }),
        ("an old revision", |change| change.advance_slice(slice(1).id, Revision(7), Revision(8), false)),
        ("a sliver without a slice", |change| change.put_sliver(slice(9).id, &sliver(2))),
    ] {
        let outcome = attempt(change).await;
        assert!(matches!(outcome, Err(WriteError::Refused(ChangeError::Conflict(_)))), "{what}: {outcome:?}");
    }
    let contents = store.load().await.unwrap();
    assert_eq!(contents.slices[0].slivers.len(), 1);
    let count = async || {
        store.write(|change: &Change<'_>| change.slivers_on(&"local".parse().unwrap()), |_| ()).await
    };
    assert_eq!(count().await.unwrap(), 1);
    // With the slice goes what its slivers held.
    store.write(move |change: &Change<'_>| change.delete_slice(id, Revision(1)), |&()| ()).await.unwrap();
    assert_eq!(count().await.unwrap(), 0);
    attempt(|change| {
        change.insert_slice(&slice(2))?;
        change.put_sliver(slice(2).id, &sliver(3))?;
        change.hold_port(&"local".parse().unwrap(), 2000, sliver(3).id)
    })
    .await
    .unwrap();
}
