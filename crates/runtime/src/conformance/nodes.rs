//! The life of a node.

use std::time::Duration;

use futures_util::future::join_all;
use testyard_model::sliver_type::Privileges;

use super::Bench;
use crate::contract::PowerSeen;
use crate::error::RuntimeError;
use crate::spec::NodeKey;

pub(super) async fn making_can_be_repeated(bench: Bench) {
    let spec = bench.spec().await;
    bench.runtime.create(&spec).await.expect("create");
    bench.harness.write_file(&spec.key, "kept").await;
    bench.runtime.create(&spec).await.expect("create again");
    assert_eq!(bench.power(&spec.key).await, Some(PowerSeen::Created));
    assert_eq!(bench.harness.read_file(&spec.key).await.as_deref(), Some("kept"), "it is left as it is");
    bench.remove(&spec.key).await;
}

pub(super) async fn making_at_the_same_time_makes_one(bench: Bench) {
    let spec = bench.spec().await;
    for result in join_all((0..6).map(|_| bench.runtime.create(&spec))).await {
        result.expect("create");
    }
    assert_eq!(bench.runtime.list().await.expect("list").len(), 1);
    bench.remove(&spec.key).await;
}

pub(super) async fn limits_and_privileges_are_applied(bench: Bench) {
    let mut spec = bench.spec().await;
    spec.limits = bench.harness.limits();
    spec.privileges = bench.harness.privileges();
    bench.runtime.create(&spec).await.expect("create");
    bench.runtime.start(&spec.key).await.expect("start");
    let built = bench.harness.built(&spec.key).await;
    assert_eq!(built.hostname, spec.hostname.as_str());
    assert_eq!(built.image, spec.image.id);
    assert_eq!(built.limits, spec.limits);
    assert_eq!(built.privileges, spec.privileges);
    bench.remove(&spec.key).await;
}

pub(super) async fn starting_can_be_repeated(bench: Bench) {
    let key = bench.running().await;
    let first = bench.runtime.start(&key).await.expect("start again");
    let second = bench.runtime.start(&key).await.expect("and again");
    assert_eq!(first, second);
    assert_eq!(bench.power(&key).await, Some(PowerSeen::Running(first)));
    bench.remove(&key).await;
}

pub(super) async fn starting_what_is_not_there_says_so(bench: Bench) {
    let key = bench.spec().await.key;
    let error = bench.runtime.start(&key).await.expect_err("nothing is there");
    assert!(matches!(error, RuntimeError::Missing(missing) if missing == key), "{error}");
}

pub(super) async fn a_device_that_the_host_lacks_is_refused_with_a_remedy(bench: Bench) {
    let mut spec = bench.spec().await;
    let device = "/dev/testyard-has-no-such-device";
    spec.privileges =
        Privileges { devices: vec![device.parse().expect("a device")], ..Privileges::default() };
    let error = bench.runtime.create(&spec).await.expect_err("no such device");
    assert!(matches!(&error, RuntimeError::Refused { detail, .. } if detail.contains(device)), "{error}");
    assert!(!error.is_passing());
    assert_eq!(bench.power(&spec.key).await, None);
}

pub(super) async fn stopping_keeps_the_disk(bench: Bench) {
    let key = bench.running().await;
    let first = bench.runtime.start(&key).await.expect("start");
    bench.harness.write_file(&key, "kept").await;
    bench.runtime.stop(&key, Duration::ZERO).await.expect("stop");
    assert!(matches!(bench.power(&key).await, Some(PowerSeen::Stopped { .. })));
    bench.runtime.stop(&key, Duration::ZERO).await.expect("stop again");
    assert_eq!(bench.harness.read_file(&key).await.as_deref(), Some("kept"));
    let second = bench.runtime.start(&key).await.expect("start again");
    assert!(second.since > first.since, "another run: {second:?} after {first:?}");
    assert_eq!(bench.harness.read_file(&key).await.as_deref(), Some("kept"));
    bench.remove(&key).await;
}

pub(super) async fn what_is_not_there_is_left_alone(bench: Bench) {
    let key = bench.spec().await.key;
    bench.runtime.stop(&key, Duration::from_secs(5)).await.expect("stop");
    bench.remove(&key).await;
}

pub(super) async fn removing_takes_everything(bench: Bench) {
    let key = bench.running().await;
    let _listener = bench.runtime.listen(&key).await.expect("listen");
    bench.remove(&key).await;
    assert_eq!(bench.power(&key).await, None);
    let left = bench.harness.leftovers().await;
    assert!(left.is_empty(), "{left:?}");
    bench.remove(&key).await;
}

pub(super) async fn removing_at_the_same_time_is_fine(bench: Bench) {
    let key = bench.running().await;
    for result in join_all((0..4).map(|_| bench.runtime.remove(&key))).await {
        result.expect("remove");
    }
    assert_eq!(bench.power(&key).await, None);
}

pub(super) async fn a_reload_is_another_disk(bench: Bench) {
    let old = bench.running().await;
    bench.harness.write_file(&old, "old").await;
    let mut spec = bench.spec().await;
    spec.key = NodeKey { disk: old.disk + 1, ..old };
    bench.runtime.create(&spec).await.expect("create the next disk");
    assert_eq!(bench.harness.read_file(&spec.key).await, None, "a fresh disk");
    let _listener = bench.runtime.listen(&spec.key).await.expect("listen");
    bench.remove(&old).await;
    bench.runtime.start(&spec.key).await.expect("start the next disk");
    assert!(matches!(bench.power(&spec.key).await, Some(PowerSeen::Running(_))));
    assert_eq!(bench.power(&old).await, None);
    bench.remove(&spec.key).await;
}

pub(super) async fn neighbours_do_not_see_each_other(bench: Bench) {
    let neighbour = Bench { runtime: bench.harness.neighbour(), harness: bench.harness.clone() };
    let ours = bench.running().await;
    let theirs = neighbour.running().await;
    assert_eq!(bench.power(&theirs).await, None);
    assert_eq!(neighbour.power(&ours).await, None);
    neighbour.runtime.stop(&ours, Duration::ZERO).await.expect("stop what is not theirs");
    neighbour.remove(&ours).await;
    assert!(matches!(bench.power(&ours).await, Some(PowerSeen::Running(_))), "untouched");
    bench.remove(&ours).await;
    neighbour.remove(&theirs).await;
}

pub(super) async fn nodes_outlive_the_runtime(bench: Bench) {
    let key = bench.running().await;
    let run = bench.runtime.start(&key).await.expect("start");
    let again = Bench { runtime: bench.harness.runtime(), harness: bench.harness };
    drop(bench.runtime);
    assert_eq!(again.power(&key).await, Some(PowerSeen::Running(run)));
    again.remove(&key).await;
}

pub(super) async fn a_node_starts_again_after_a_reboot(bench: Bench) {
    let key = bench.running().await;
    bench.runtime.stop(&key, Duration::ZERO).await.expect("stop");
    bench.harness.lose_volatile_files().await;
    let mut listener = bench.runtime.listen(&key).await.expect("listen");
    bench.runtime.start(&key).await.expect("start");
    super::guests::hello(&mut listener).await;
    bench.remove(&key).await;
}

pub(super) async fn what_a_node_uses_is_told(bench: Bench) {
    let key = bench.spec().await.key;
    assert_eq!(
        bench.runtime.disk_used(&key).await.expect("a count"),
        None,
        "what is not there keeps nothing"
    );
    let key = bench.running().await;
    let run = bench.runtime.start(&key).await.expect("start");
    assert_eq!(bench.runtime.killed_for_memory(&run).await, Some(0));
    assert_eq!(bench.runtime.too_many_processes(&run).await, Some(0));
    let empty = bench.runtime.disk_used(&key).await.expect("a count").expect("it is there");
    assert!(empty < 1 << 20, "an empty disk keeps {empty} bytes");
    bench.harness.write_file(&key, &"x".repeat(3 << 20)).await;
    let full = bench.runtime.disk_used(&key).await.expect("a count").expect("it is there");
    assert!((3 << 20..5 << 20).contains(&full), "3 MiB count {full} bytes");
    bench.runtime.stop(&key, Duration::ZERO).await.expect("stop");
    assert_eq!(bench.runtime.killed_for_memory(&run).await, None, "the run is over");
    assert_eq!(bench.runtime.too_many_processes(&run).await, None, "the run is over");
    bench.remove(&key).await;
    assert_eq!(bench.runtime.disk_used(&key).await.expect("a count"), None);
}
