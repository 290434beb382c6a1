//! Many nodes: the rules stay as they are, and the time for each does too.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use support::{Netns, World, attachment, node};
use testyard_fabric::{Attachment, Fabric as _};

const NODES: u16 = 200;
/// Far above what it takes, for a loaded machine; the figures are printed.
const LIMIT: Duration = Duration::from_secs(10);

/// Of this process, which other work on the machine changes little.
fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| {
            Duration::from_secs(t.tv_sec().unsigned_abs()) + Duration::from_micros(t.tv_usec().unsigned_abs())
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_nodes() {
    let world = World::new();
    let fabric = world.fabric("many");
    fabric.prepare().await.unwrap();
    let nodes: Vec<(Attachment, Netns)> =
        (1..=NODES).map(|n| (attachment(u32::from(n % 20) + 1, n), node())).collect();

    let timed = async |what: &str, work: &mut dyn FnMut() -> _| {
        let (start, cpu) = (Instant::now(), processor_time());
        let all: Vec<futures_util::future::BoxFuture<'_, Result<(), testyard_fabric::FabricError>>> = work();
        let count = all.len();
        try_join_all(all).await.unwrap();
        let (took, cpu) = (start.elapsed(), processor_time() - cpu);
        let (rate, each) = (count as f64 / took.as_secs_f64(), cpu.as_secs_f64() * 1e3 / count as f64);
        eprintln!("{what}: {count} in {took:?}, {rate:.0}/s, {each:.2} ms of processor time each");
        assert!(took < LIMIT, "{what} took {took:?}");
    };
    let paths: Vec<_> = nodes.iter().map(|(_, netns)| netns.path()).collect();
    let attach = || nodes.iter().zip(&paths).map(|((a, _), path)| fabric.attach(a, path)).collect();
    timed("attach", &mut { attach }).await;
    timed("attach again", &mut { attach }).await;
    timed("repair, nothing to mend", &mut || {
        vec![Box::pin(async { fabric.repair().await.map(|r| assert_eq!(r, [])) })]
    })
    .await;
    timed("attached", &mut || {
        vec![Box::pin(async {
            fabric.attached().await.map(|list| assert_eq!(list.len(), usize::from(NODES)))
        })]
    })
    .await;

    let _ssh = [nodes[0].1.serve("[::]:22", "first"), nodes[199].1.serve("[::]:22", "last")];
    assert_eq!(world.outside.who("198.51.100.2:30001"), "first");
    assert_eq!(world.outside.who("198.51.100.2:30200"), "last");
    assert_eq!(nodes[20].1.who("10.77.0.1:22"), "first", "same slice");
    assert_eq!(nodes[1].1.who("10.77.0.1:22"), "-", "another slice");

    timed("detach", &mut || nodes.iter().map(|(a, _)| fabric.detach(a.sliver)).collect()).await;
    assert_eq!((world.traces().as_str(), world.elements("many").as_str()), ("", ""));
}
