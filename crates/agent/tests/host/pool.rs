//! The warm pool on the fake runtime: spares are there when they are wanted, belong to one node at most, and are found or
//! gone after every crash.

use std::sync::Arc;
use std::time::Duration;

use testyard_agent::observed::Phase;
use testyard_agent::{Host as _, LocalHost, PoolSettings, desired, observed};
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use testyard_runtime::fake::{FakeImage, FakeNode, Fault, FaultKind, GuestScript, Latency, Op};
use testyard_runtime::{NodeKey, PowerSeen};

use crate::world::{World, node};

const IMAGE: &str = "debian:12";

fn pool(size: u32) -> Option<PoolSettings> {
    Some(PoolSettings {
        size,
        runtime: RuntimeKind::Fake,
        image: IMAGE.parse().unwrap(),
        limits: Limits::default(),
        privileges: Privileges::default(),
    })
}

/// Lets everything come to rest: the clock stands still as long as anybody can go on.
async fn rest() {
    tokio::time::sleep(Duration::from_secs(200)).await;
}

impl World {
    /// Starts an agent, tells it what should be, and lets it come to rest.
    async fn start_pool(&self, pool: Option<PoolSettings>) -> Arc<LocalHost> {
        let host = self.begin(pool).await;
        host.sync(self.slices()).await.unwrap();
        rest().await;
        host
    }

    /// Changes the desired state, tells the host, and lets it come to rest.
    async fn settle(&mut self, host: &LocalHost, change: impl FnOnce(&mut desired::Slice)) {
        change(&mut self.slice);
        self.slice.revision = self.slice.revision.next();
        host.apply(self.slice.clone()).await.unwrap();
        rest().await;
    }

    fn spares(&self) -> Vec<NodeKey> {
        self.runtime.nodes().into_iter().filter(NodeKey::is_spare).collect()
    }

    fn node(&self, number: usize) -> FakeNode {
        self.runtime.node(&self.key(number)).unwrap()
    }

    /// The pool is full, and nothing is left of what was or was to be in it.
    fn assert_spares(&self, size: usize) {
        let spares = self.spares();
        assert_eq!(spares.len(), size, "{spares:?}");
        for spare in &spares {
            let node = self.runtime.node(spare).unwrap();
            assert!(matches!(node.power, PowerSeen::Running(_)), "{node:?}");
            assert_eq!((node.boots, node.desired), (1, None), "nobody has asked it for anything");
        }
        let records = std::fs::read_dir(self.folder.path().join("nodes/spares")).map_or(0, Iterator::count);
        assert_eq!(records, size, "a record each");
    }

    async fn assert_ready(&self, host: &LocalHost) {
        let seen = host.observe(self.slice.slice).await.unwrap().unwrap();
        let phases: Vec<Phase> = seen.nodes.iter().map(|node| node.phase).collect();
        assert!(phases.iter().all(|phase| *phase == Phase::Ready), "{seen:#?}");
        let nodes = self.runtime.nodes().into_iter().filter(|key| !key.is_spare()).count();
        assert_eq!((phases.len(), nodes), (self.slice.nodes.len(), self.slice.nodes.len()));
        for number in 0..nodes {
            let node = self.node(number);
            assert_eq!(node.spec.hostname, self.slice.nodes[number].hostname);
            let asked = node.desired.unwrap();
            assert_eq!(asked.hostname, self.slice.nodes[number].hostname.as_str(), "it is told who it is");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_a_spare_and_the_pool_is_filled_again() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(2)).await;
    world.assert_spares(2);
    let before = world.spares();
    world.settle(&host, |slice| slice.nodes = vec![node(0), node(1)]).await;
    world.assert_ready(&host).await;
    assert_eq!(world.runtime.calls(Op::HandOver), 2);
    assert_eq!(world.runtime.calls(Op::Create), 4, "two at first, two to fill the pool again");
    assert_eq!((world.node(0).boots, world.node(1).boots), (1, 1), "the boot that they had as spares");
    assert_eq!(world.fabric.attachments().len(), 2, "spares have no interface");
    world.assert_spares(2);
    assert!(world.spares().iter().all(|spare| !before.contains(spare)), "none comes back");
    let seen = host.observe(world.slice.slice).await.unwrap().unwrap();
    let stages: Vec<_> = seen.nodes[0].timeline.iter().map(|milestone| milestone.stage).collect();
    assert!(
        stages.contains(&observed::Stage::Started) && stages.contains(&observed::Stage::SshUp),
        "{stages:?}"
    );

    world.settle(&host, |slice| slice.nodes.clear()).await;
    world.assert_spares(2);
    host.set_pool(None);
    rest().await;
    assert_eq!(world.runtime.nodes(), []);
    assert_eq!(std::fs::read_dir(world.folder.path().join("nodes")).unwrap().count(), 0, "no record is left");
}

#[tokio::test(start_paused = true)]
async fn what_was_a_spare_restarts_and_reloads_like_any_node() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(1)).await;
    world.settle(&host, |slice| slice.nodes = vec![node(0)]).await;
    world.settle(&host, |slice| slice.nodes[0].boot = 1).await;
    world.assert_ready(&host).await;
    assert_eq!(world.node(0).boots, 2);
    let handed_over = world.runtime.calls(Op::HandOver);
    world.settle(&host, |slice| slice.nodes[0].disk = 1).await;
    world.assert_ready(&host).await;
    assert_eq!(world.runtime.calls(Op::HandOver), handed_over + 1, "a fresh disk may be a spare's");
    world.assert_spares(1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_like_a_spare_is_made() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(3)).await;
    let mut nodes = vec![node(0), node(1), node(2)];
    nodes[0].limits.memory = Some(100 << 20);
    nodes[1].privileges.capabilities = vec!["NET_ADMIN".parse().unwrap()];
    nodes[2].image = "debian:13".parse().unwrap();
    world.settle(&host, |slice| slice.nodes = nodes).await;
    world.assert_ready(&host).await;
    assert_eq!(world.runtime.calls(Op::HandOver), 0);
    world.assert_spares(3);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_has_changed_makes_the_pool_anew() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(2)).await;
    let before = world.spares();
    let mut image = FakeImage::new(IMAGE.parse().unwrap());
    image.config.env.push("NEW=1".to_owned());
    world.runtime.add_image(image);
    world.settle(&host, |slice| slice.nodes = vec![node(0)]).await;
    world.assert_ready(&host).await;
    assert_eq!(world.runtime.calls(Op::HandOver), 0, "the spares are of the old image");
    world.assert_spares(2);
    assert!(world.spares().iter().all(|spare| !before.contains(spare)));
    world.settle(&host, |slice| slice.nodes.push(node(1))).await;
    assert_eq!(world.runtime.calls(Op::HandOver), 1);
    let image = |number| world.node(number).spec.image.id;
    assert_eq!(image(0), image(1));
}

#[tokio::test(start_paused = true)]
async fn the_pool_outlives_the_agent_unless_its_guest_is_old() {
    let world = World::new(0);
    let first = world.start_pool(pool(2)).await;
    first.shut_down().await;
    let before = world.spares();
    let second = world.start_pool(pool(2)).await;
    world.assert_spares(2);
    assert_eq!(world.spares(), before, "they are found again");
    assert_eq!(world.runtime.calls(Op::Create), 2);
    second.shut_down().await;
    world.runtime.upgrade_guest("2");
    let third = world.start_pool(pool(2)).await;
    world.assert_spares(2);
    assert!(world.spares().iter().all(|spare| !before.contains(spare)), "nobody gets the old guest");
    third.shut_down().await;
    // Without its record nobody knows what it is.
    std::fs::remove_dir_all(world.folder.path().join("nodes/spares")).unwrap();
    let _fourth = world.start_pool(pool(2)).await;
    world.assert_spares(2);
}

#[tokio::test(start_paused = true)]
async fn the_size_follows_the_configuration() {
    let world = World::new(0);
    let host = world.start_pool(None).await;
    for size in [3, 1, 2, 0] {
        host.set_pool(pool(size));
        rest().await;
        world.assert_spares(size as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn spares_that_end_or_vanish_are_replaced() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(3)).await;
    let spares = world.spares();
    world.runtime.kill(&spares[0], 137, true);
    world.runtime.vanish(&spares[1]);
    rest().await;
    world.assert_spares(3);
    world.runtime.reboot_host();
    rest().await;
    world.assert_spares(3);
    world.runtime.engine_away();
    rest().await;
    world.runtime.engine_back();
    rest().await;
    world.assert_spares(3);
    world.settle(&host, |slice| slice.nodes = vec![node(0)]).await;
    world.assert_ready(&host).await;
    world.assert_spares(3);
}

#[tokio::test(start_paused = true)]
async fn the_pool_waits_while_somebody_waits_for_a_node() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(1)).await;
    let (boot, second) = (Duration::from_secs(5), Duration::from_secs(1));
    world.runtime.set_latency(Latency { create: second, start: second, ..Latency::default() });
    world.runtime.set_guest(GuestScript { boot, ..GuestScript::default() });
    world.slice.nodes = vec![node(0), node(1)];
    world.slice.revision = world.slice.revision.next();
    host.apply(world.slice.clone()).await.unwrap();
    // The second node is made in two seconds and needs five more until it is ready.
    for _ in 0..6 {
        tokio::time::sleep(second).await;
        assert_eq!(world.spares(), []);
    }
    rest().await;
    world.assert_ready(&host).await;
    world.assert_spares(1);
}

/// Every call that the pool and a taker make, cut short before or after it has had its effect, by an engine that gives no
/// answer to an agent that then dies.
#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_at_any_step_loses_and_leaks_nothing() {
    for op in [Op::Create, Op::Listen, Op::Start, Op::HandOver, Op::Name, Op::Remove, Op::List] {
        for after in [false, true] {
            for skip in 0..4 {
                let mut world = World::new(0);
                let fault = Fault::of(op, FaultKind::Hang).skipping(skip).times(1);
                world.runtime.inject(if after { fault.after_effect() } else { fault });
                let host = world.begin(pool(2)).await;
                let _ = tokio::time::timeout(Duration::from_secs(100), host.sync(Vec::new())).await;
                rest().await;
                world.slice.nodes = vec![node(0), node(1), node(2)];
                world.slice.revision = world.slice.revision.next();
                let apply = host.apply(world.slice.clone());
                let _ = tokio::time::timeout(Duration::from_secs(100), apply).await;
                rest().await;
                host.shut_down().await;
                world.runtime.mend();
                let host = world.start_pool(pool(2)).await;
                let context = format!("{op:?}, after: {after}, skipped: {skip}");
                eprintln!("{context}");
                world.assert_ready(&host).await;
                world.assert_spares(2);
                world.settle(&host, |slice| slice.nodes.clear()).await;
                host.set_pool(None);
                rest().await;
                assert_eq!(world.runtime.nodes(), [], "{context}");
                let left = std::fs::read_dir(world.folder.path().join("nodes")).unwrap().count();
                assert_eq!(left, 0, "{context}: records are left");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_cost_no_more_than_time() {
    for op in [Op::Create, Op::Listen, Op::Start, Op::HandOver, Op::Name, Op::Remove, Op::List] {
        for after in [false, true] {
            for kind in [FaultKind::Unreachable, FaultKind::Failed] {
                let mut world = World::new(0);
                let host = world.start_pool(pool(2)).await;
                let fault = Fault::of(op, kind).times(1);
                world.runtime.inject(if after { fault.after_effect() } else { fault });
                world.settle(&host, |slice| slice.nodes = vec![node(0), node(1), node(2)]).await;
                eprintln!("{op:?}, after: {after}, {kind:?}");
                world.assert_ready(&host).await;
                world.assert_spares(2);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_hand_over_nobody_saw_the_end_of_can_be_restarted() {
    let mut world = World::new(0);
    let host = world.start_pool(pool(1)).await;
    world.runtime.inject(Fault::of(Op::HandOver, FaultKind::Hang).times(1).after_effect());
    world.settle(&host, |slice| slice.nodes = vec![node(0)]).await;
    host.shut_down().await;
    let host = world.start_pool(pool(1)).await;
    world.assert_ready(&host).await;
    let record = world.folder.path().join("nodes").join(format!("{}.json", world.slice.nodes[0].sliver));
    assert!(record.exists(), "whoever removes the node must find it without the engine");
    world.settle(&host, |slice| slice.nodes[0].boot = 1).await;
    world.assert_ready(&host).await;
    assert_eq!(world.node(0).boots, 2);
}
