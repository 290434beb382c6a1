//! Schedules: links, nodes and programs change when they are to, whatever happens to the agent meanwhile.

use std::time::Duration;

use testyard_agent::desired::{HostAction, HostEvent, LinkChange, NodeChange, ProgramChange, Run, Slice};
use testyard_agent::observed::{self, LinksSeen, Phase};
use testyard_guest_protocol::ServiceState;
use testyard_model::id::SliverId;
use testyard_model::quantity::Span;
use testyard_model::service::Program;
use testyard_model::topology::Variable;
use testyard_runtime::NodeKey;
use testyard_runtime::fake::{GuestScript, Outcome};

use crate::links::cabled;
use crate::world::{Running, World, paused_now};

fn event((number, (at, action)): (u32, (u64, HostAction))) -> HostEvent {
    HostEvent { event: number, at: Span::from_millis(at * 1000), action }
}

/// A run that begins now.
fn run(number: u32, events: Vec<(u64, HostAction)>) -> Option<Run> {
    Some(Run { number, zero: paused_now(), events: (0..).zip(events).map(event).collect() })
}

fn link(world: &World, change: LinkChange) -> HostAction {
    HostAction::Link { link: world.slice.links[0].sliver, change }
}

fn delay(world: &World, delay: &str) -> HostAction {
    let settings = vec![format!("delay={delay}").parse().unwrap()];
    link(world, LinkChange::Set { from: None, settings })
}

fn node_of(world: &World) -> SliverId {
    world.slice.nodes[0].sliver
}

fn load(world: &World, change: ProgramChange) -> HostAction {
    HostAction::Program { node: node_of(world), program: "load".parse().unwrap(), change }
}

fn start(world: &World, command: Option<&str>) -> HostAction {
    load(world, ProgramChange::Start { command: command.map(str::to_owned) })
}

/// A world on tokio's clock, with nodes that are ready.
async fn ready(mut world: World) -> (World, Running) {
    world.now = paused_now;
    let mut running = world.start().await;
    running.until_phase(Phase::Ready).await;
    (world, running)
}

fn done(slice: &observed::Slice) -> (u32, usize) {
    slice.schedule.as_ref().map_or((0, 0), |seen| (seen.number, seen.done))
}

/// The link as the fabric has it: whether it is up, and what the first end does.
fn joined(world: &World) -> (bool, String) {
    let link = world.fabric.links(world.slice.slice).unwrap().links.remove(0);
    (link.up, link.ends[0].to_link.to_string())
}

async fn until_done(running: &mut Running, number: u32, events: usize) -> observed::Slice {
    let is = |slice: &observed::Slice| done(slice) == (number, events) && slice.links == LinksSeen::Joined;
    running.until(&format!("{events} events of run {number}"), is).await
}

#[tokio::test(start_paused = true)]
async fn links_change_at_their_times_and_a_replay_begins_anew() {
    let (mut world, mut running) = ready(cabled()).await;
    let events = vec![
        (10, link(&world, LinkChange::Down)),
        (20, link(&world, LinkChange::Up)),
        (20, delay(&world, "5ms")),
    ];
    world.change(&running, |slice| slice.schedule = run(1, events.clone())).await;
    let zero = paused_now();
    until_done(&mut running, 1, 0).await;
    assert_eq!(joined(&world), (true, "none".into()));
    until_done(&mut running, 1, 1).await;
    assert_eq!(joined(&world), (false, "none".into()));
    let seen = until_done(&mut running, 1, 3).await.schedule.unwrap();
    assert_eq!(joined(&world), (true, "delay=5ms".into()));
    assert_eq!((seen.late, seen.notice, seen.recent.len()), (0, None, 3));
    assert!(seen.late_ms_max <= 5, "{} ms late", seen.late_ms_max);
    let real = seen.recent[0].at.duration_since(zero);
    assert!((10_000..10_010).contains(&real.as_millis()), "{real}");

    // The first comes up as it was asked for, not as the run before left it.
    world.change(&running, |slice| slice.schedule = run(2, events)).await;
    until_done(&mut running, 2, 0).await;
    assert_eq!(joined(&world), (true, "none".into()));
    until_done(&mut running, 2, 1).await;
    assert_eq!(joined(&world), (false, "none".into()));
    // Without a schedule the same holds.
    world.change(&running, |slice| slice.schedule = None).await;
    running.until("no schedule", |slice| slice.schedule.is_none() && slice.links == LinksSeen::Joined).await;
    assert_eq!(joined(&world), (true, "none".into()));

    world
        .change(&running, |slice| {
            slice.nodes.clear();
            slice.links.clear();
        })
        .await;
    running.until("gone", |slice| slice.nodes.is_empty() && slice.links == LinksSeen::None).await;
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn what_came_due_while_the_agent_was_away_holds_when_it_is_back() {
    let (mut world, mut running) = ready(cabled()).await;
    let events = vec![
        (10, link(&world, LinkChange::Down)),
        (20, link(&world, LinkChange::Up)),
        (30, delay(&world, "5ms")),
        (60, delay(&world, "6ms")),
    ];
    world.change(&running, |slice| slice.schedule = run(1, events)).await;
    until_done(&mut running, 1, 1).await;
    running.crash();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let mut running = world.start().await;
    let seen = until_done(&mut running, 1, 3).await.schedule.unwrap();
    assert_eq!(joined(&world), (true, "delay=5ms".into()));
    assert_eq!((seen.late, seen.recent.len()), (2, 2), "what was done before is neither done nor told again");
    assert!(seen.late_ms_max >= 9_000 && seen.notice.unwrap().contains("2 events"), "{}", seen.late_ms_max);
    until_done(&mut running, 1, 4).await;
    assert_eq!(joined(&world), (true, "delay=6ms".into()));
    // The slice goes while no agent is there: what was written down of its run goes, too.
    running.crash();
    world.slice.nodes.clear();
    world.slice.links.clear();
    let running = world.start().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while world.fabric.links(world.slice.slice).is_some() {
        assert!(tokio::time::Instant::now() < deadline, "links of nobody are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.shut_down().await;
    world.assert_nothing_left();
}

#[tokio::test(start_paused = true)]
async fn nodes_restart_and_reload_on_top_of_what_is_asked_for() {
    let (mut world, mut running) = ready(World::new(1)).await;
    let (slice, sliver) = (world.slice.slice, node_of(&world));
    let key = |disk| NodeKey { slice, sliver, disk };
    let node = |change| HostAction::Node { node: sliver, change };
    let events =
        vec![(5, node(NodeChange::Restart)), (20, node(NodeChange::Reload)), (40, node(NodeChange::Restart))];
    world.change(&running, |slice| slice.schedule = run(1, events.clone())).await;
    let boots = |world: &World, disk| world.runtime.node(&key(disk)).map(|node| node.boots);
    let after = |events| {
        move |slice: &observed::Slice| done(slice).1 == events && slice.nodes[0].phase == Phase::Ready
    };
    running.until("restarted", |slice| after(1)(slice) && boots(&world, 0) == Some(2)).await;
    let seen = running.until("reloaded", |slice| after(2)(slice) && boots(&world, 1).is_some()).await;
    assert_eq!(boots(&world, 0), None, "the disk before is gone");
    assert_eq!((seen.nodes[0].boot, seen.nodes[0].disk), (0, 0), "as the controller counts");
    // A restart that is asked for comes on top.
    let before = boots(&world, 1).unwrap();
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    let again = |slice: &observed::Slice| slice.nodes[0].boot == 1 && slice.nodes[0].phase == Phase::Ready;
    running.until("restarted by hand", again).await;
    assert_eq!(boots(&world, 1), Some(before + 1));
    running.until("restarted again", |slice| after(3)(slice) && boots(&world, 1) == Some(before + 2)).await;

    // A replay, of whose controller some say that it has forgotten to count: nothing goes back.
    let replay = run(2, vec![(5, node(NodeChange::Restart))]);
    world.change(&running, |slice| slice.schedule = replay).await;
    running.until("the replay", |slice| done(slice) == (2, 1)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(boots(&world, 1), Some(before + 2), "a disk is never thrown away by a counter that fell");
    // One that counts.
    let replay = run(3, vec![(5, node(NodeChange::Restart))]);
    world
        .change(&running, |slice: &mut Slice| {
            (slice.nodes[0].boot, slice.nodes[0].disk) = (3, 1);
            slice.schedule = replay;
        })
        .await;
    running.until("not yet", |slice| done(slice) == (3, 0)).await;
    assert_eq!(boots(&world, 1), Some(before + 2));
    running
        .until("the counted replay", |slice| done(slice) == (3, 1) && boots(&world, 1) == Some(before + 3))
        .await;
}

/// A node with a program `load`.
fn with_program(expected_exit: Option<i32>) -> World {
    let mut world = World::new(1);
    world.slice.environment = vec![Variable { name: "A".into(), value: "1=2".into() }];
    world.slice.nodes[0].programs = vec![Program {
        client_id: "load".parse().unwrap(),
        command: "run".into(),
        directory: Some("/srv".into()),
        timeout: None,
        expected_exit,
    }];
    let outcomes = vec![
        ("run".to_owned(), Outcome::Hangs),
        ("short".to_owned(), Outcome::Exits { status: 3, after: Duration::from_secs(2) }),
    ];
    world.runtime.set_guest(GuestScript { outcomes, ..GuestScript::default() });
    world
}

fn state(slice: &observed::Slice) -> (u32, ServiceState) {
    slice.nodes[0]
        .programs
        .first()
        .map_or((0, ServiceState::Failed), |program| (program.start, program.state))
}

#[tokio::test(start_paused = true)]
async fn programs_start_stop_and_tell_how_they_ended() {
    let (mut world, mut running) = ready(with_program(Some(0))).await;
    let seen = world.runtime.node(&world.key(0)).unwrap().desired.unwrap();
    assert_eq!((seen.environment, seen.run), (vec!["A=1=2".to_owned()], None));
    let events = vec![
        (5, start(&world, None)),
        (10, load(&world, ProgramChange::Signal("USR1".into()))),
        (15, load(&world, ProgramChange::Stop)),
        (20, start(&world, Some("short"))),
    ];
    world.change(&running, |slice| slice.schedule = run(1, events.clone())).await;
    let until = async |running: &mut Running, start, now| {
        running.until(&format!("{now:?}"), |slice| state(slice) == (start, now)).await
    };
    until(&mut running, 0, ServiceState::Waiting).await;
    until(&mut running, 1, ServiceState::Running).await;
    running.until("the signal", |slice| slice.nodes[0].programs[0].detail == "USR1").await;
    let seen = until(&mut running, 1, ServiceState::Signalled(15)).await;
    assert_eq!(
        (seen.nodes[0].programs[0].unexpected, seen.nodes[0].notices.len()),
        (false, 0),
        "it was stopped"
    );
    until(&mut running, 2, ServiceState::Running).await;
    let seen = until(&mut running, 2, ServiceState::Exited(3)).await;
    assert!(seen.nodes[0].programs[0].unexpected);
    assert!(
        seen.nodes[0].notices[0].contains("exit status 3, 0 was expected"),
        "{:?}",
        seen.nodes[0].notices
    );
    assert_eq!(seen.nodes[0].phase, Phase::Ready);

    world.change(&running, |slice| slice.schedule = run(2, events)).await;
    until(&mut running, 0, ServiceState::Waiting).await;
    until(&mut running, 1, ServiceState::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_missed_comes_late_unless_its_stop_has_come_as_well() {
    for (stop, expected) in
        [(25, (1, ServiceState::Running)), (60, (1, ServiceState::Running)), (15, (0, ServiceState::Waiting))]
    {
        let (mut world, mut running) = ready(with_program(None)).await;
        let events = vec![(10, start(&world, None)), (stop, load(&world, ProgramChange::Stop))];
        world.change(&running, |slice| slice.schedule = run(1, events)).await;
        running.until("begun", |slice| done(slice) == (1, 0)).await;
        running.crash();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let mut running = world.start().await;
        let seen = running
            .until("as expected", |slice| {
                done(slice).1 > 0 && state(slice) == expected && slice.nodes[0].phase == Phase::Ready
            })
            .await;
        assert!(seen.schedule.unwrap().late > 0);
        running.shut_down().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_is_started_once_whatever_happens_to_its_node() {
    let (mut world, mut running) = ready(with_program(None)).await;
    let events = vec![(5, start(&world, None)), (30, start(&world, None))];
    world.change(&running, |slice| slice.schedule = run(1, events)).await;
    running.until("running", |slice| state(slice) == (1, ServiceState::Running)).await;
    world.change(&running, |slice| slice.nodes[0].boot = 1).await;
    let up = |slice: &observed::Slice| slice.nodes[0].boot == 1 && slice.nodes[0].phase == Phase::Ready;
    running.until("interrupted", |slice| up(slice) && state(slice) == (1, ServiceState::Interrupted)).await;
    running.until("the next start", |slice| state(slice) == (2, ServiceState::Running)).await;
    // A fresh disk has done nothing yet.
    world
        .change(&running, |slice| {
            slice.nodes[0].boot = 2;
            slice.nodes[0].disk = 1;
        })
        .await;
    let fresh =
        |slice: &observed::Slice| slice.nodes[0].disk == 1 && state(slice) == (2, ServiceState::Running);
    running.until("started on the fresh disk", fresh).await;
}
