use super::*;
use proptest::prelude::*;
use testyard_fabric::links::{LinkEnd, PortId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use uuid::Uuid;

fn sliver(number: u128) -> SliverId {
    SliverId::from_uuid(Uuid::from_u128(number))
}

fn second(number: i64) -> Timestamp {
    Timestamp::from_second(number).unwrap()
}

fn port(node: u128) -> PortId {
    PortId { node: sliver(node), device: "eth1".into() }
}

const LINK: u128 = 9;

fn link(from_link: &str) -> HostLink {
    let end = |node| {
        let mut end =
            LinkEnd { port: port(node), to_link: Impairment::default(), from_link: Impairment::default() };
        from_link.parse::<Setting>().unwrap().apply(&mut end.from_link);
        end
    };
    HostLink {
        sliver: sliver(LINK),
        name: "lan".into(),
        kind: LinkKind::Lan,
        up: true,
        mtu: 1500,
        seed: 0,
        is_seed_chosen: false,
        capture: None,
        ends: vec![end(1), end(2)],
        beyond: None,
    }
}

fn to_link(change: LinkChange) -> HostAction {
    HostAction::Link { link: sliver(LINK), change }
}

fn set(from: Option<PortId>, settings: &[&str]) -> HostAction {
    let settings = settings.iter().map(|setting| setting.parse().unwrap()).collect();
    to_link(LinkChange::Set { from, settings })
}

fn load(change: ProgramChange) -> HostAction {
    HostAction::Program { node: sliver(1), program: "load".parse().unwrap(), change }
}

fn start(command: Option<&str>) -> HostAction {
    load(ProgramChange::Start { command: command.map(str::to_owned) })
}

fn signal(name: &str) -> HostAction {
    load(ProgramChange::Signal(name.to_owned()))
}

fn node(change: NodeChange) -> HostAction {
    HostAction::Node { node: sliver(1), change }
}

fn run(events: Vec<(u64, HostAction)>) -> Run {
    let event = |(number, (at, action)): (u32, (u64, HostAction))| HostEvent {
        event: number,
        at: Span::from_millis(at * 1000),
        action,
    };
    Run { number: 1, zero: second(100), events: (0..).zip(events).map(event).collect() }
}

fn programs() -> Vec<Program> {
    let program = |name: &str| Program {
        client_id: name.parse().unwrap(),
        command: format!("run {name}"),
        directory: Some("/srv".into()),
        timeout: std::num::NonZeroU32::new(7),
        expected_exit: None,
    };
    vec![program("other"), program("load")]
}

/// The table, and its progress so many seconds after zero.
fn at(run: &Run, seconds: i64) -> (Timetable, Progress) {
    let (table, mut progress) = (Timetable::new(run), Progress::new(run));
    progress.advance(&table, second(100 + seconds));
    (table, progress)
}

fn links_at(run: &Run, links: &[HostLink], seconds: i64) -> HostLink {
    let (table, progress) = at(run, seconds);
    table.links(links, &progress).remove(0)
}

fn load_at(run: &Run, seconds: i64) -> ScheduledProgram {
    let (table, progress) = at(run, seconds);
    let plays = table.plays(sliver(1), &programs(), &progress);
    assert_eq!(
        (plays.run, &plays.programs[0]),
        (Some(1), &waiting(&programs())[0]),
        "the other one is untouched"
    );
    plays.programs[1].clone()
}

#[test]
fn links_at_any_time() {
    let run = run(vec![
        (20, to_link(LinkChange::Up)),
        (10, to_link(LinkChange::Down)),
        (5, set(None, &["delay=5ms", "loss=1%"])),
        (5, set(Some(port(2)), &["delay=7ms"])),
        (30, set(None, &["loss=none"])),
    ]);
    let links = [link("delay=1ms")];
    assert_eq!(links_at(&run, &links, -1), links[0]);
    assert_eq!(links_at(&run, &links, 4), links[0]);
    let now = links_at(&run, &links, 5);
    let shown: Vec<String> =
        now.ends.iter().map(|end| format!("{} / {}", end.to_link, end.from_link)).collect();
    assert_eq!(
        shown,
        ["delay=5ms loss=1% / none", "delay=7ms loss=1% / none"],
        "what is set is what a packet meets"
    );
    assert!(!links_at(&run, &links, 10).up);
    assert!(links_at(&run, &links, 20).up);
    assert_eq!(links_at(&run, &links, 30).ends[0].to_link.to_string(), "delay=5ms");
}

#[test]
fn one_direction_leaves_what_is_got_alone() {
    let run = run(vec![(0, set(Some(port(1)), &["delay=5ms"]))]);
    let now = links_at(&run, &[link("delay=1ms")], 0);
    let shown: Vec<String> =
        now.ends.iter().map(|end| format!("{} / {}", end.to_link, end.from_link)).collect();
    assert_eq!(shown, ["delay=5ms / delay=1ms", "none / delay=1ms"]);
}

#[test]
fn what_cannot_be_leaves_the_link_as_it_was() {
    let run = run(vec![
        (1, set(None, &["delay=99s"])),
        (2, set(None, &["jitter=5s"])),
        (3, set(None, &["loss=1%"])),
    ]);
    let shown = |seconds| links_at(&run, &[link("delay=0")], seconds).ends[0].to_link.to_string();
    assert_eq!((shown(2), shown(3)), ("delay=99s".into(), "delay=99s loss=1%".into()));
}

#[test]
fn programs_at_any_time() {
    let run = run(vec![
        (1, signal("HUP")),
        (2, start(None)),
        (3, signal("USR1")),
        (4, start(Some("run more"))),
        (5, signal("USR2")),
        (6, load(ProgramChange::Stop)),
        (7, start(None)),
    ]);
    let own = waiting(&programs()).remove(1);
    assert_eq!(
        (own.command.as_str(), own.directory.as_str(), own.max_seconds),
        ("run load", "/srv", Some(7))
    );
    assert_eq!(load_at(&run, 1), own, "nothing runs that could hear it");
    assert_eq!(load_at(&run, 2), ScheduledProgram { starts: 1, runs: true, ..own.clone() });
    let heard = load_at(&run, 3);
    assert_eq!((heard.signals, heard.newest_signals), (1, vec!["USR1".to_owned()]));
    let more = load_at(&run, 5);
    assert_eq!(
        (more.starts, more.command.as_str(), more.newest_signals),
        (2, "run more", vec!["USR2".to_owned()])
    );
    let stopped = load_at(&run, 6);
    assert_eq!((stopped.starts, stopped.stops, stopped.runs, stopped.signals), (2, 1, false, 0));
    assert_eq!(load_at(&run, 7), ScheduledProgram { starts: 3, stops: 1, runs: true, ..own });
}

#[test]
fn only_the_newest_signals_are_told() {
    let mut events = vec![(0, start(None))];
    events.extend((0..20).map(|number| (1, signal(&format!("S{number}")))));
    let now = load_at(&run(events), 1);
    assert_eq!((now.signals, now.newest_signals.len(), now.newest_signals[0].as_str()), (20, 16, "S4"));
}

#[test]
fn a_node_that_restarts_ends_its_programs() {
    let run = run(vec![
        (1, start(None)),
        (2, node(NodeChange::Restart)),
        (3, node(NodeChange::Reload)),
        (4, node(NodeChange::Restart)),
    ]);
    let now = load_at(&run, 2);
    assert_eq!((now.starts, now.stops, now.runs), (1, 1, false));
    let (table, progress) = at(&run, 9);
    let plays = table.plays(sliver(1), &[], &progress);
    assert_eq!((plays.restarts, plays.reloads), (2, 1));
    assert_eq!(table.plays(sliver(2), &[], &progress), Plays { run: Some(1), ..Plays::default() });
}

#[test]
fn progress_tells_what_is_new_and_never_goes_back() {
    let run = run(vec![(10, start(None)), (10, to_link(LinkChange::Down)), (12, to_link(LinkChange::Up))]);
    let (table, mut progress) = (Timetable::new(&run), Progress::new(&run));
    assert_eq!(progress.advance(&table, second(99)), Passed::default());
    assert_eq!(table.next(&progress), Some(second(110)));
    let passed = progress.advance(&table, second(110));
    assert!(passed.links && passed.nodes == BTreeSet::from([sliver(1)]));
    assert_eq!(passed.carried.iter().map(|carried| carried.event).collect::<Vec<_>>(), [0, 1]);
    // The clock is set back.
    let before = progress;
    assert_eq!(progress.advance(&table, second(50)), Passed::default());
    assert_eq!((progress, table.next(&progress)), (before, Some(second(112))));
    let seen = table.seen(&progress, &VecDeque::new());
    assert_eq!((seen.number, seen.done, seen.late_ms_max, seen.late, seen.notice), (1, 2, 0, 0, None));
    // The agent was away.
    progress.advance(&table, second(115));
    let seen = table.seen(&progress, &VecDeque::new());
    assert_eq!((seen.done, seen.late_ms_max, seen.late), (3, 3000, 1));
    assert!(seen.notice.unwrap().contains("up to 3 s"));
    assert_eq!(table.next(&progress), None);
    // What it writes down is enough to go on from.
    let again: Progress = serde_json::from_slice(&serde_json::to_vec(&progress).unwrap()).unwrap();
    assert_eq!(again, progress);
    assert!(again.is_of(&run) && !again.is_of(&Run { number: 2, ..run.clone() }));
    assert!(!again.is_of(&Run { zero: second(101), ..run }));
}

#[test]
fn a_flood_of_events_is_told_in_part() {
    let run = run((0..100).map(|_| (1, to_link(LinkChange::Up))).collect());
    let (table, mut progress) = (Timetable::new(&run), Progress::new(&run));
    let passed = progress.advance(&table, second(101));
    assert_eq!((passed.carried.len(), passed.carried[0].event), (ScheduleSeen::RECENT, 36));
}

fn action() -> impl Strategy<Value = HostAction> {
    prop_oneof![
        Just(to_link(LinkChange::Up)),
        Just(to_link(LinkChange::Down)),
        Just(set(None, &["delay=5ms"])),
        Just(set(Some(port(1)), &["delay=9ms", "loss=2%"])),
        Just(start(None)),
        Just(start(Some("x"))),
        Just(load(ProgramChange::Stop)),
        Just(signal("USR1")),
        Just(node(NodeChange::Restart)),
        Just(node(NodeChange::Reload)),
    ]
}

proptest! {
    /// However often and whenever somebody looks, and whoever comes back with what was written down: what holds in the
    /// end is the same, and no counter ever falls.
    #[test]
    fn looking_changes_nothing(
        events in proptest::collection::vec((0u64..20, action()), 0..30),
        mut looks in proptest::collection::vec(-5i64..25, 0..10),
    ) {
        let run = run(events);
        let links = [link("delay=1ms")];
        let (table, mut progress) = (Timetable::new(&run), Progress::new(&run));
        let mut last = table.plays(sliver(1), &programs(), &progress);
        looks.push(25);
        for look in looks {
            progress.advance(&table, second(100 + look));
            let plays = table.plays(sliver(1), &programs(), &progress);
            prop_assert!(plays.restarts >= last.restarts && plays.reloads >= last.reloads);
            for (now, before) in plays.programs.iter().zip(&last.programs) {
                prop_assert!(now.starts >= before.starts && now.stops >= before.stops);
            }
            last = plays;
        }
        let (_, at_once) = at(&run, 25);
        prop_assert_eq!(&last, &table.plays(sliver(1), &programs(), &at_once));
        prop_assert_eq!(table.links(&links, &progress), table.links(&links, &at_once));
        prop_assert_eq!(table.next(&progress), None);
    }
}
