//! Whatever ends, fails or vanishes at any moment: the next pass makes it so.

use std::time::Duration;

use testyard_agent::observed::Phase;
use testyard_model::id::Revision;
use testyard_runtime::fake::{Fault, FaultKind, Moment, Op};

use crate::world::World;

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
    running.shut_down().await;
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
