//! What nodes do to themselves and their agent: bounded, and told.

use std::time::Duration;

use testyard_agent::observed;
use testyard_agent::observed::Phase;
use testyard_runtime::PowerSeen;
use testyard_runtime::fake::{Fault, FaultKind, GuestScript, Manner, Op};

use crate::world::World;

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
        running.shut_down().await;
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
async fn a_node_that_has_as_many_processes_as_it_may_is_told_so() {
    let mut world = World::new(2);
    world.slice.nodes[0].limits.pids = Some(64);
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    assert!(world.runtime.crowd(&world.key(0)) && world.runtime.crowd(&world.key(1)));
    let seen = running.until("told", |slice| !slice.nodes[0].notices.is_empty()).await;
    let notice = &seen.nodes[0].notices[0];
    assert!(notice.contains("processes and threads as it may (64)"), "{notice}");
    assert_eq!(seen.nodes[0].phase, Phase::Ready);
    assert_eq!(seen.nodes[1].notices, Vec::<String>::new(), "it has no limit of its own");
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    running
        .until("forgotten", |slice| {
            let node = &slice.nodes[0];
            node.boot == 1 && node.phase == Phase::Ready && node.notices.is_empty()
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_takes_long_is_told_of() {
    let world = World::new(1);
    world.runtime.inject(Fault::of(Op::Start, FaultKind::Hang));
    let mut running = world.start().await;
    let seen = running.until("told", |slice| slice.nodes.iter().any(|node| node.problem.is_some())).await;
    let problem = seen.nodes[0].problem.as_ref().unwrap();
    assert!(problem.contains("has not started it within 10 s"), "{problem}");
    assert_eq!(seen.nodes[0].phase, Phase::Booting);
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
