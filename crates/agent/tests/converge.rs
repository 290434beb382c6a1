//! The converger on the fake runtime and the fake fabric: whatever happens, the next pass makes it so.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use testyard_agent::observed::Phase;
use testyard_agent::{Fact, Facts, Host, LocalHost, LocalHostConfig, NoFact, desired, observed};
use testyard_fabric::fake::FakeFabric;
use testyard_fabric::{ControlAddress, Forward};
use testyard_guest_protocol::{
    Answer, Ask, FromGuest, Hello, PROTOCOL, ToGuest, Told, read_async, write_async,
};
use testyard_model::account::Account;
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_model::service::Services;
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use testyard_runtime::fake::{FakeRuntime, Fault, FaultKind, GuestScript, Manner, Moment, Op};
use testyard_runtime::{NodeKey, PowerSeen};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A host, its world, and what should be on it. The world outlives the agent.
struct World {
    runtime: FakeRuntime,
    fabric: FakeFabric,
    folder: tempfile::TempDir,
    slice: desired::Slice,
    facts: Option<Arc<dyn Facts>>,
}

struct Running {
    host: Arc<LocalHost>,
    seen: mpsc::UnboundedReceiver<observed::Slice>,
}

fn node(number: u8) -> desired::Node {
    desired::Node {
        sliver: SliverId::from_uuid(Uuid::from_u128(u128::from(number) + 1)),
        client_id: format!("node{number}").parse().unwrap(),
        hostname: format!("node{number}").parse().unwrap(),
        runtime: RuntimeKind::Fake,
        image: "debian:12".parse().unwrap(),
        limits: Limits::default(),
        privileges: Privileges::default(),
        power: desired::Power::On,
        boot: 0,
        disk: 0,
        address: ControlAddress { ipv4: [10, 77, 0, number + 2].into(), ipv6: None },
        forwards: vec![Forward { host_port: 12_000 + u16::from(number), port: "22".parse().unwrap() }],
        host_keys: Vec::new(),
        accounts_revision: 1,
        accounts: vec![Account {
            user: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
            login: "ann".parse().unwrap(),
            keys: Vec::new(),
            sudo: true,
        }],
        services: Services::default(),
    }
}

impl World {
    fn new(nodes: u8) -> Self {
        let slice = desired::Slice {
            slice: SliceId::from_uuid(Uuid::from_u128(77)),
            tag: SliceTag(NonZeroU32::MIN),
            name: "demo".into(),
            about: desired::About {
                urn: "urn:publicid:IDN+a+slice+demo".parse().unwrap(),
                creator: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
                testbed: "testbed.example.net".parse().unwrap(),
            },
            revision: Revision(1),
            nodes: (0..nodes).map(node).collect(),
        };
        let folder = tempfile::tempdir().unwrap();
        Self { runtime: FakeRuntime::new(), fabric: FakeFabric::new(), folder, slice, facts: None }
    }

    /// Starts an agent and tells it what should be.
    async fn start(&self) -> Running {
        let config = LocalHostConfig {
            runtimes: vec![Arc::new(self.runtime.clone())],
            fabric: Arc::new(self.fabric.clone()),
            state: self.folder.path().join("nodes"),
            domain: "testbed.example.net".into(),
            name_servers: Vec::new(),
            stop_grace: Duration::from_secs(1),
            install_limits: (1 << 20, 1 << 22),
            facts: self.facts.clone(),
            pool: None,
            now: Timestamp::now,
        };
        let host = LocalHost::start(config).await.unwrap();
        let seen = host.watch();
        let slices = if self.slice.nodes.is_empty() { Vec::new() } else { vec![self.slice.clone()] };
        host.sync(slices).await.unwrap();
        Running { host, seen }
    }

    fn key(&self, number: usize) -> NodeKey {
        let node = &self.slice.nodes[number];
        NodeKey { slice: self.slice.slice, sliver: node.sliver, disk: node.disk }
    }

    /// Changes the desired state and tells the host.
    async fn change(&mut self, running: &Running, change: impl FnOnce(&mut desired::Slice)) {
        change(&mut self.slice);
        self.slice.revision = self.slice.revision.next();
        running.host.apply(self.slice.clone()).await.unwrap();
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.runtime.nodes(), Vec::new());
        assert_eq!(self.fabric.attachments(), Vec::new());
        let records = std::fs::read_dir(self.folder.path().join("nodes")).unwrap().count();
        assert_eq!(records, 0, "records are left");
    }
}

impl Running {
    /// Waits until the host has seen such a state.
    async fn until(&mut self, what: &str, mut is: impl FnMut(&observed::Slice) -> bool) -> observed::Slice {
        let mut last = None;
        let wait = async {
            loop {
                let seen = self.seen.recv().await.expect("the host runs");
                if is(&seen) {
                    return seen;
                }
                last = Some(seen);
            }
        };
        match tokio::time::timeout(Duration::from_secs(300), wait).await {
            Ok(seen) => seen,
            Err(_) => panic!("not {what}; last seen: {last:#?}"),
        }
    }

    async fn until_phase(&mut self, phase: Phase) -> observed::Slice {
        self.until(&format!("{phase:?}"), |slice| {
            !slice.nodes.is_empty() && slice.nodes.iter().all(|node| node.phase == phase)
        })
        .await
    }

    /// Ends the agent as a crash would: nothing is said to anybody.
    fn crash(self) {
        drop(self.seen);
        // A crashed agent's tasks are gone at once; so are these with their runtime handle.
        let host = self.host;
        tokio::spawn(async move { host.shut_down().await });
    }
}

/// Knows which sliver asks for what.
struct Knows;

#[async_trait]
impl Facts for Knows {
    async fn fact(&self, slice: SliceId, sliver: SliverId, fact: Fact) -> Result<String, NoFact> {
        match fact {
            Fact::Status => Err(NoFact("not now".into())),
            fact => Ok(format!("{} for {sliver} of {slice}", fact.as_str())),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_are_told_what_they_ask_about_themselves() {
    let mut world = World::new(2);
    world.facts = Some(Arc::new(Knows));
    world.runtime.set_guest(GuestScript { manner: Manner::Absent, ..GuestScript::default() });
    let mut running = world.start().await;
    running.until_phase(Phase::Configuring).await;
    // The test is the guest.
    let mut stream = world.runtime.connect(&world.key(1)).await;
    let hello = Hello { protocol: PROTOCOL, version: "test".into(), boot: "one".into() };
    write_async(&mut stream, &FromGuest::Hello(hello)).await.unwrap();
    let ToGuest::Desired(desired) = read_async(&mut stream).await.unwrap() else {
        panic!("not told at first")
    };
    let (facts, node) = (desired.facts.unwrap(), &world.slice.nodes[1]);
    assert_eq!((facts.client_id.as_str(), facts.user_urn.as_str()), ("node1", "urn:publicid:IDN+a+user+ann"));
    assert_eq!(facts.slice_urn, "urn:publicid:IDN+a+slice+demo");
    assert_eq!(facts.sliver_urn, format!("urn:publicid:IDN+testbed.example.net+sliver+{}", node.sliver));
    assert_eq!(facts.users[0].login, "ann");
    assert_eq!(facts.asks, ["getversion", "manifest", "sliverstatus", "status"]);
    for (id, what, answer) in [
        (1, "manifest", Answer::Text(format!("manifest for {} of {}", node.sliver, world.slice.slice))),
        (2, "status", Answer::Refused("not now".into())),
        (3, "../secrets", Answer::Refused("this testbed does not tell it to its nodes".into())),
    ] {
        write_async(&mut stream, &FromGuest::Ask(Ask { id, what: what.into() })).await.unwrap();
        loop {
            match read_async(&mut stream).await.unwrap() {
                ToGuest::Told(told) => break assert_eq!(told, Told { id, answer }),
                ToGuest::Desired(_) | ToGuest::Stop { .. } => {}
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn to_ready_and_to_nothing() {
    let mut world = World::new(3);
    let mut running = world.start().await;
    let seen = running.until_phase(Phase::Ready).await;
    assert_eq!(seen.nodes.len(), 3);
    assert_eq!(seen.nodes[0].accounts_revision, 1);
    let stages: Vec<_> = seen.nodes[0].timeline.iter().map(|milestone| milestone.stage).collect();
    assert!(
        stages.contains(&observed::Stage::Started) && stages.contains(&observed::Stage::Ready),
        "{stages:?}"
    );
    assert_eq!(world.fabric.attachments().len(), 3);
    world.change(&running, |slice| slice.nodes.clear()).await;
    running.until("gone", |slice| slice.nodes.is_empty()).await;
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn counters_and_power() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    let key = world.key(0);
    assert!(world.runtime.write_file(&key, "/root/kept", "x"));

    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running
        .until("restarted", |slice| slice.nodes[0].boot == 1 && slice.nodes[0].phase == Phase::Ready)
        .await;
    assert_eq!(world.runtime.node(&key).unwrap().boots, 2);

    world.change(&running, |slice| slice.nodes[0].power = desired::Power::Off).await;
    running.until_phase(Phase::Stopped).await;
    world.change(&running, |slice| slice.nodes[0].power = desired::Power::On).await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.node(&key).unwrap().files.len(), 1);

    world.change(&running, |slice| slice.nodes[0].disk = 1).await;
    running.until("reloaded", |slice| slice.nodes[0].disk == 1 && slice.nodes[0].phase == Phase::Ready).await;
    assert_eq!(world.runtime.nodes(), vec![world.key(0)]);
    assert!(world.runtime.node(&world.key(0)).unwrap().files.is_empty());
}

#[tokio::test(start_paused = true)]
async fn accounts_change_while_it_runs() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world
        .change(&running, |slice| {
            slice.nodes[0].accounts_revision = 2;
            slice.nodes[0].accounts[0].login = "bob".parse().unwrap();
        })
        .await;
    running.until("updated", |slice| slice.nodes[0].accounts_revision == 2).await;
    let desired = world.runtime.node(&world.key(0)).unwrap().desired.unwrap();
    assert_eq!(desired.accounts[0].login, "bob");
    assert_eq!(world.runtime.node(&world.key(0)).unwrap().boots, 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_adopts_what_runs() {
    let world = World::new(2);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.node(&world.key(0)).unwrap().boots, 1, "an adopted node is not booted again");
    assert_eq!(world.runtime.calls(Op::Create), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_asked_for_while_the_agent_was_away_happens() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    world.slice.nodes[0].boot = 1;
    world.slice.revision = Revision(2);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.node(&world.key(0)).unwrap().boots, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_while_the_agent_was_away_is_removed() {
    let mut world = World::new(2);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    world.slice.nodes.clear();
    let running = world.start().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !world.runtime.nodes().is_empty() || !world.fabric.attachments().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "orphans are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.host.shut_down().await;
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn every_call_may_fail_before_and_after_its_effect() {
    for op in [Op::Image, Op::Create, Op::Listen, Op::Start, Op::Stop, Op::Remove, Op::List] {
        for moment in [Moment::Before, Moment::After] {
            let mut world = World::new(1);
            let fault = Fault::of(op, FaultKind::Unreachable).times(2);
            world.runtime.inject(if moment == Moment::After { fault.after_effect() } else { fault });
            let mut running = world.start().await;
            running.until_phase(Phase::Ready).await;
            world.change(&running, |slice| slice.nodes[0].boot = 1).await;
            running
                .until("restarted", |slice| slice.nodes[0].boot == 1 && slice.nodes[0].phase == Phase::Ready)
                .await;
            world.change(&running, |slice| slice.nodes.clear()).await;
            running.until("gone", |slice| slice.nodes.is_empty()).await;
            world.assert_nothing_left();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_crashes_at_any_moment_leaves_nothing_and_loses_nothing() {
    for microseconds in (0..40_000).step_by(1_000) {
        let mut world = World::new(2);
        world.runtime.set_latency(testyard_runtime::fake::Latency {
            create: Duration::from_millis(10),
            start: Duration::from_millis(10),
            stop: Duration::from_millis(5),
            remove: Duration::from_millis(5),
        });
        let running = world.start().await;
        tokio::time::sleep(Duration::from_micros(microseconds)).await;
        running.crash();
        let mut running = world.start().await;
        running.until_phase(Phase::Ready).await;
        assert_eq!(world.runtime.nodes().len(), 2);
        world.change(&running, |slice| slice.nodes.clear()).await;
        running.until("gone", |slice| slice.nodes.is_empty()).await;
        world.assert_nothing_left();
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_by_itself_is_started_again_and_given_up_after_three_times() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    let key = world.key(0);
    for _ in 0..2 {
        assert!(world.runtime.kill(&key, 1, false));
        running.until("noticed", |slice| slice.nodes[0].phase != Phase::Ready).await;
        running.until_phase(Phase::Ready).await;
    }
    assert!(world.runtime.kill(&key, 137, true));
    let seen = running.until_phase(Phase::Failed).await;
    let problem = seen.nodes[0].problem.clone().unwrap();
    assert!(
        problem.contains("3 times") && problem.contains("memory") && problem.contains("geni_restart"),
        "{problem}"
    );
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running.until_phase(Phase::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_vanishes_is_failed_until_it_is_reloaded() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert!(world.runtime.vanish(&world.key(0)));
    let seen = running.until_phase(Phase::Failed).await;
    assert!(seen.nodes[0].problem.as_ref().unwrap().contains("disk is lost"));
    running.crash();
    let mut running = world.start().await;
    running.until_phase(Phase::Failed).await;
    world.change(&running, |slice| slice.nodes[0].disk = 1).await;
    running.until_phase(Phase::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn the_engine_and_the_machine_may_end() {
    let world = World::new(2);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.runtime.engine_away();
    world.runtime.reboot_host();
    world.runtime.engine_back();
    running.until("noticed", |slice| slice.nodes.iter().any(|node| node.phase != Phase::Ready)).await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    world.runtime.engine_away();
    world.runtime.reboot_host();
    let mut running = world.start().await;
    running
        .until("waiting for the engine", |slice| slice.nodes.iter().all(|node| node.phase == Phase::Waiting))
        .await;
    world.runtime.engine_back();
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.nodes().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_guest_may_say_anything() {
    for manner in
        [Manner::Silent, Manner::Mute, Manner::Absent, Manner::HangsUp, Manner::Garbage, Manner::TooLong]
    {
        let world = World::new(1);
        world.runtime.set_guest(GuestScript { manner, ..GuestScript::default() });
        let mut running = world.start().await;
        if manner == Manner::Mute {
            running.until_phase(Phase::Configuring).await;
        } else {
            let seen = running.until_phase(Phase::Failed).await;
            assert!(seen.nodes[0].problem.as_ref().unwrap().contains("does not answer"), "{manner:?}");
        }
        running.host.shut_down().await;
    }
    let world = World::new(1);
    world.runtime.set_guest(GuestScript { manner: Manner::OtherProtocol, ..GuestScript::default() });
    world.start().await.until_phase(Phase::Failed).await;
    for manner in [Manner::Verbose, Manner::Floods] {
        let world = World::new(1);
        world.runtime.set_guest(GuestScript { manner, ..GuestScript::default() });
        let seen = world.start().await.until_phase(Phase::Ready).await;
        assert!(seen.nodes[0].services.len() <= testyard_guest_protocol::Report::MAX_SERVICES);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_says_so_at_once() {
    let world = World::new(1);
    world.runtime.only_added_images();
    let seen = world.start().await.until_phase(Phase::Failed).await;
    assert!(seen.nodes[0].problem.as_ref().unwrap().contains("debian:12"));
    let world = World::new(1);
    world.runtime.inject(Fault::of(Op::Create, FaultKind::Refused));
    world.start().await.until_phase(Phase::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_cannot_work_is_failed_and_not_for_ever_underway() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.runtime.only_added_images();
    world
        .change(&running, |slice| {
            slice.nodes[0].disk = 1;
            slice.nodes[0].image = "nowhere:1".parse().unwrap();
        })
        .await;
    let seen = running.until_phase(Phase::Failed).await;
    assert_eq!(seen.nodes[0].disk, 1, "the failure is about what was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_slice_is_gone_only_when_nothing_of_it_is_left() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    world.slice.nodes.clear();
    world.runtime.inject(Fault::of(Op::Remove, FaultKind::Unreachable).times(2));
    let config_slice = world.slice.clone();
    let mut running = world.start().await;
    running.host.sync(vec![config_slice]).await.unwrap();
    let gone = running.until("gone", |slice| slice.nodes.is_empty()).await;
    assert_eq!(gone.slice, world.slice.slice);
    assert_eq!(world.runtime.nodes(), Vec::new(), "it was reported gone before it was");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_is_not_the_last() {
    let world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.runtime.inject(Fault::of(Op::List, FaultKind::Unreachable).times(3));
    assert!(world.runtime.kill(&world.key(0), 1, false));
    running.until("noticed", |slice| slice.nodes[0].phase != Phase::Ready).await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.node(&world.key(0)).unwrap().boots, 2);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_message_holds_is_said() {
    let mut world = World::new(1);
    let command = "x".repeat(64 << 10);
    let execute = testyard_model::service::Execute {
        shell: testyard_model::service::Shell::Sh,
        command,
        timeout: None,
    };
    world.slice.nodes[0].services.executes = vec![execute; 80];
    let mut running = world.start().await;
    let seen = running.until_phase(Phase::Failed).await;
    assert!(seen.nodes[0].problem.as_ref().unwrap().contains("too much"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_removed_from_the_host_is_fetched_again() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    world.change(&running, |slice| slice.nodes[0].power = desired::Power::Off).await;
    running.until_phase(Phase::Stopped).await;
    let asked = world.runtime.calls(Op::Image);
    world.runtime.inject(Fault::of(Op::Create, FaultKind::Failed).times(1));
    world
        .change(&running, |slice| {
            slice.nodes[0].disk = 1;
            slice.nodes[0].power = desired::Power::On;
        })
        .await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.calls(Op::Image), asked + 2, "each try to make it looks at the image");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_leaving_is_in_reports_until_it_is_gone() {
    let mut world = World::new(2);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    running.crash();
    let key = world.key(1);
    world.slice.nodes.truncate(1);
    world.slice.revision = Revision(9);
    world.runtime.inject(Fault::of(Op::Remove, FaultKind::Unreachable).times(2));
    let mut running = world.start().await;
    let seen =
        running.until("rid of it", |slice| slice.revision == Revision(9) && slice.nodes.len() == 1).await;
    assert_eq!(seen.nodes[0].sliver, world.slice.nodes[0].sliver);
    assert!(world.runtime.node(&key).is_none(), "it was reported gone before it was");
}

#[tokio::test(start_paused = true)]
async fn ending_with_the_engine_is_not_stopping_by_itself() {
    let world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    for _ in 0..5 {
        world.runtime.engine_away();
        world.runtime.reboot_host();
        world.runtime.engine_back();
        running.until("noticed", |slice| slice.nodes[0].phase != Phase::Ready).await;
        running.until_phase(Phase::Ready).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_killed_for_memory_is_told_with_what_to_do() {
    let mut world = World::new(1);
    world.slice.nodes[0].limits.memory = Some(100 << 20);
    let mut running = world.start().await;
    let seen = running.until_phase(Phase::Ready).await;
    assert_eq!(seen.nodes[0].notices, Vec::<String>::new());
    assert!(world.runtime.kill_inside(&world.key(0)));
    let seen = running.until("told", |slice| !slice.nodes[0].notices.is_empty()).await;
    let notice = &seen.nodes[0].notices[0];
    assert!(notice.contains("more memory (it has 100 MiB)"), "{notice}");
    assert_eq!((seen.nodes[0].phase, &seen.nodes[0].problem), (Phase::Ready, &None), "the node goes on");
    // It is about that run; the next one begins anew.
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running
        .until("restarted", |slice| {
            let node = &slice.nodes[0];
            node.boot == 1 && node.phase == Phase::Ready && node.notices.is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn why_a_node_stopped_is_told_until_it_is_told_to_boot() {
    let mut world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert!(world.runtime.kill(&world.key(0), 139, false));
    let tells = |slice: &observed::Slice| {
        let node = &slice.nodes[0];
        node.phase == Phase::Ready && node.notices.iter().any(|notice| notice.contains("signal 11, SIGSEGV"))
    };
    running.until("told while it is ready again", tells).await;
    // An agent that comes back still knows.
    running.crash();
    let mut running = world.start().await;
    running.until("told by the next agent", tells).await;
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running
        .until("forgotten", |slice| slice.nodes[0].phase == Phase::Ready && slice.nodes[0].notices.is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fills_its_disk_is_warned_stopped_and_given_time_to_make_room() {
    const GIB: u64 = 1 << 30;
    let mut world = World::new(2);
    world.slice.nodes[0].limits.disk = Some(10 * GIB);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    let key = world.key(0);
    assert!(world.runtime.fill_disk(&key, 9 * GIB) && world.runtime.fill_disk(&world.key(1), 900 * GIB));
    let seen = running.until("warned", |slice| !slice.nodes[0].notices.is_empty()).await;
    assert!(seen.nodes[0].notices[0].contains("9 GiB of 10 GiB"), "{:?}", seen.nodes[0].notices);
    assert!(world.runtime.fill_disk(&key, 11 * GIB));
    let seen = running.until("failed and stopped", |slice| slice.nodes[0].phase == Phase::Failed).await;
    let problem = seen.nodes[0].problem.clone().unwrap();
    assert!(problem.contains("11 GiB") && problem.contains("geni_reload"), "{problem}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while matches!(world.runtime.node(&key).unwrap().power, PowerSeen::Running(_)) {
        assert!(tokio::time::Instant::now() < deadline, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.nodes[1].phase, Phase::Ready, "without a limit nothing is stopped");

    // Restarted, it has time to make room, and stays if it does.
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running.until_phase(Phase::Ready).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert!(world.runtime.fill_disk(&key, GIB));
    running.until("without a notice", |slice| slice.nodes[0].notices.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let seen = running.host.observe(world.slice.slice).await.unwrap().unwrap();
    assert_eq!(seen.nodes[0].phase, Phase::Ready);

    // Far over the limit nothing is waited for, and a look that fails is not the last.
    world.runtime.inject(Fault::of(Op::DiskUsed, FaultKind::Unreachable).times(2));
    assert!(world.runtime.fill_disk(&key, 100 * GIB));
    running.until("failed at once", |slice| slice.nodes[0].phase == Phase::Failed).await;
}

#[tokio::test(start_paused = true)]
async fn events_without_end_cost_few_looks() {
    let world = World::new(1);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    let before = world.runtime.calls(Op::List);
    for _ in 0..1000 {
        assert!(world.runtime.kill_inside(&world.key(0)));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let looks = world.runtime.calls(Op::List) - before;
    assert!((5..=12).contains(&looks), "{looks} looks in a second");
}
