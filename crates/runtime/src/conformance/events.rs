//! What the runtime tells by itself.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{Bench, soon};
use crate::contract::{PowerSeen, RuntimeEvent};
use crate::error::RuntimeError;
use crate::spec::NodeKey;

/// Reads on until a node has changed so.
async fn until(
    bench: &Bench,
    events: &mut BoxStream<'static, RuntimeEvent>,
    key: NodeKey,
    what: &str,
    so: fn(Option<PowerSeen>) -> bool,
) {
    let read = async {
        loop {
            match events.next().await.expect("the stream never ends") {
                RuntimeEvent::Changed(changed) => {
                    if changed == key && so(bench.power(&key).await) {
                        return;
                    }
                }
                RuntimeEvent::Resync => {}
            }
        }
    };
    soon(what, read).await;
}

pub(super) async fn what_happens_is_told(bench: Bench) {
    let mut events = bench.runtime.events();
    let key = bench.running().await;
    until(&bench, &mut events, key, "a start", |power| matches!(power, Some(PowerSeen::Running(_)))).await;
    let began = Instant::now();
    bench.harness.kill(&key).await;
    until(&bench, &mut events, key, "a death", |power| matches!(power, Some(PowerSeen::Stopped { .. })))
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "a death is seen within 2 s, not {:?}",
        began.elapsed()
    );
    bench.runtime.start(&key).await.expect("start");
    until(&bench, &mut events, key, "a start", |power| matches!(power, Some(PowerSeen::Running(_)))).await;
    bench.harness.vanish(&key).await;
    until(&bench, &mut events, key, "a removal by somebody else", |power| power.is_none()).await;
    bench.remove(&key).await;
}

pub(super) async fn a_neighbours_events_are_not_told(bench: Bench) {
    let mut events = bench.runtime.events();
    let neighbour = Bench { runtime: bench.harness.neighbour(), harness: bench.harness.clone() };
    let theirs = neighbour.running().await;
    let ours = bench.running().await;
    let read = async {
        loop {
            match events.next().await.expect("the stream never ends") {
                RuntimeEvent::Changed(key) if key == ours => return,
                RuntimeEvent::Changed(key) => assert_ne!(key, theirs, "not our node"),
                RuntimeEvent::Resync => {}
            }
        }
    };
    soon("our own start", read).await;
    bench.remove(&ours).await;
    neighbour.remove(&theirs).await;
}

pub(super) async fn an_engine_that_was_away_means_resync(bench: Bench) {
    let mut events = bench.runtime.events();
    let key = bench.running().await;
    until(&bench, &mut events, key, "a start", |power| matches!(power, Some(PowerSeen::Running(_)))).await;
    bench.harness.engine_away().await;
    let error = bench.runtime.list().await.expect_err("the engine is away");
    assert!(matches!(error, RuntimeError::Unreachable { .. }), "{error}");
    assert!(error.is_passing());
    bench.harness.vanish(&key).await;
    bench.harness.engine_back().await;
    let resync = async {
        loop {
            // What vanished meanwhile may be told as well, or only by this.
            if events.next().await.expect("the stream never ends") == RuntimeEvent::Resync {
                return;
            }
        }
    };
    soon("a resync", resync).await;
    assert_eq!(bench.power(&key).await, None);
    bench.remove(&key).await;
}
