//! Spares: nodes that are booted before anybody wants them.

use std::time::Duration;

use futures_util::future::join_all;
use testyard_guest_protocol::{FromGuest, read_async};
use testyard_model::id::SliverId;
use uuid::Uuid;

use super::{Bench, soon};
use crate::contract::{GuestListener, PowerSeen};
use crate::error::RuntimeError;
use crate::spec::NodeKey;

/// A spare that runs and whose guest has been heard.
async fn warm(bench: &Bench) -> (NodeKey, Box<dyn GuestListener>) {
    let mut spec = bench.spec().await;
    spec.key = NodeKey::spare(SliverId::from_uuid(Uuid::new_v4()));
    spec.hostname = "spare".parse().expect("a host name");
    bench.runtime.create(&spec).await.expect("create");
    let listener = bench.runtime.listen(&spec.key).await.expect("listen");
    bench.runtime.start(&spec.key).await.expect("start");
    (spec.key, listener)
}

pub(super) async fn a_spare_becomes_a_node_as_it_is(bench: Bench) {
    let (spare, mut listener) = warm(&bench).await;
    let (mut stream, _) = super::guests::hello(&mut listener).await;
    bench.harness.write_file(&spare, "kept").await;
    let before = bench.power(&spare).await.expect("the spare is listed");
    let key = bench.spec().await.key;
    let power = bench.runtime.hand_over(&spare, &key).await.expect("hand over");
    assert_eq!(power, before, "the same run");
    assert_eq!(bench.power(&key).await, Some(power.clone()));
    assert_eq!(bench.runtime.look(&key).await.expect("look").map(|seen| seen.power), Some(power.clone()));
    assert_eq!(bench.power(&spare).await, None, "it is a spare no more");
    assert_eq!(bench.harness.read_file(&key).await.as_deref(), Some("kept"));
    let PowerSeen::Running(running) = power else { panic!("it runs: {power:?}") };
    let name = "own-name".parse().expect("a host name");
    bench.runtime.name(&key, &running, &name).await.expect("name");
    bench.runtime.name(&key, &running, &name).await.expect("name again");
    assert_eq!(bench.harness.built(&key).await.hostname, "own-name");
    bench.runtime.hand_over(&spare, &key).await.expect("hand over again: the first answer was lost");
    bench.harness.kill(&key).await;
    let end = async { while read_async::<FromGuest>(&mut stream).await.is_ok() {} };
    soon("the stream that the spare had ends with the node", end).await;
    bench.remove(&key).await;
}

pub(super) async fn a_spare_is_handed_over_once(bench: Bench) {
    let (spare, listener) = warm(&bench).await;
    let keys = join_all((0..4).map(|_| async { bench.spec().await.key })).await;
    let results = join_all(keys.iter().map(|key| bench.runtime.hand_over(&spare, key))).await;
    for result in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(result, RuntimeError::Missing(missing) if *missing == spare), "{result}");
    }
    let taken: Vec<&NodeKey> =
        keys.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(key, _)| key).collect();
    assert_eq!(taken.len(), 1);
    let listed: Vec<NodeKey> =
        bench.runtime.list().await.expect("list").into_iter().map(|seen| seen.key).collect();
    assert_eq!(listed, [*taken[0]]);
    // Whoever is not sure about the spare removes it; the node must not feel that.
    bench.remove(&spare).await;
    assert!(matches!(bench.power(taken[0]).await, Some(PowerSeen::Running(_))));
    drop(listener);
    let mut listener = bench.harness.runtime().listen(taken[0]).await.expect("listen");
    super::guests::hello(&mut listener).await;
    bench.remove(taken[0]).await;
}

pub(super) async fn a_spare_takes_nobodys_place(bench: Bench) {
    let (spare, _listener) = warm(&bench).await;
    let key = bench.running().await;
    let error = bench.runtime.hand_over(&spare, &key).await.expect_err("there is a node already");
    assert!(matches!(error, RuntimeError::Refused { .. }), "{error}");
    assert!(matches!(bench.power(&spare).await, Some(PowerSeen::Running(_))), "the spare is untouched");
    bench.remove(&key).await;
    bench.remove(&spare).await;
}

/// All that any node must be able to do, after the agent has lost everything that it knew.
pub(super) async fn a_spare_is_a_node_like_any_other(bench: Bench) {
    let (spare, listener) = warm(&bench).await;
    let key = bench.spec().await.key;
    bench.runtime.hand_over(&spare, &key).await.expect("hand over");
    drop(listener);
    let again = Bench { runtime: bench.harness.runtime(), harness: bench.harness };
    let mut listener = again.runtime.listen(&key).await.expect("listen");
    super::guests::hello(&mut listener).await;
    again.runtime.stop(&key, Duration::ZERO).await.expect("stop");
    again.harness.lose_volatile_files().await;
    let mut listener = again.runtime.listen(&key).await.expect("listen after a reboot");
    let running = again.runtime.start(&key).await.expect("start");
    again.runtime.name(&key, &running, &"own-name".parse().expect("a host name")).await.expect("name");
    assert_eq!(again.harness.built(&key).await.hostname, "own-name");
    super::guests::hello(&mut listener).await;
    again.remove(&key).await;
    let left = again.harness.leftovers().await;
    assert!(left.is_empty(), "{left:?}");
}
