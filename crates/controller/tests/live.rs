//! What becomes of changes of a slice that runs: when they are so, what is in the way, who else has changed it, and what is told
//! of all that.
#![allow(clippy::unwrap_used)]

mod support;

use jiff::SignedDuration;
use support::topology::*;
use support::*;
use testyard_agent::observed::{Carried, ProgramReport, ScheduleSeen};
use testyard_controller::Happening;
use testyard_controller::api::{
    Allocate, ChangeLink, Effort, LinkAction, Perform, Refusal, Update, Verify, Version,
};
use testyard_guest_protocol::ServiceState;
use testyard_model::name::ClientId;
use testyard_model::schedule::{Action, Event};
use testyard_model::state::{Action as Power, Operational as O};
use testyard_verify::{Options, Report};

/// Waits for an event, and gives those before it too.
async fn heard(
    events: &mut tokio::sync::broadcast::Receiver<testyard_controller::Event>,
    is: impl Fn(&Happening) -> bool,
) -> Vec<Happening> {
    let mut all = Vec::new();
    while !all.last().is_some_and(&is) {
        all.push(events.try_recv().unwrap_or_else(|_| panic!("not told, but {all:#?}")).what);
    }
    all
}

#[tokio::test]
async fn a_change_while_it_runs_has_converged_when_its_host_says_so() {
    let mut yard = Yard::new(&[("local", 9)]).await;
    up(&yard, chain(&["a", "b"])).await;
    let view = yard.status("s").await.unwrap();
    assert!(view.converged && view.links[0].converged && view.slivers.iter().all(|sliver| sliver.converged));
    for why in [None, Some("no room; trying again")] {
        yard.host().trouble_links(why);
        let delay = if why.is_none() { "delay=5ms" } else { "delay=6ms" };
        let view = yard.controller.change_link(&ann(), set("a-b", delay)).await.unwrap();
        assert!(!view.converged && !view.links[0].converged, "nobody has told its host yet");
        yard.settle().await;
        let view = yard.status("s").await.unwrap();
        let standing = (view.converged, view.links[0].converged, view.problem.as_deref());
        match why {
            None => assert_eq!(standing, (true, true, None)),
            Some(_) => assert_eq!(standing, (false, false, Some("links: no room; trying again"))),
        }
        assert_eq!(yard.states("s").await, [O::Ready, O::Ready], "its nodes are ready all the while");
    }
    yard.host().trouble_links(None);
    yard.settle().await;
    assert!(yard.status("s").await.unwrap().converged);
    // A host that is away has not done what it was asked for.
    yard.host().set_down(true);
    yard.controller.change_link(&ann(), set("a-b", "delay=7ms")).await.unwrap();
    yard.breathe().await;
    let view = yard.status("s").await.unwrap();
    assert!(!view.converged && view.problem.unwrap().contains("host local does not answer"));
    yard.host().set_down(false);
    yard.restart(false).await;
    yard.settle().await;
    assert!(yard.status("s").await.unwrap().converged);
}

#[tokio::test]
async fn nothing_is_changed_of_a_slice_that_the_caller_has_not_seen() {
    let yard = Yard::new(&[("local", 9)]).await;
    let seen = |topology, seen| Update { seen: Some(seen), ..update("s", topology) };
    let outlook =
        async |topology| yard.controller.outlook(&ann(), &update("s", topology)).await.unwrap().version;
    let refused = async |request| match yard.controller.update(&ann(), request).await.unwrap_err() {
        Refusal::Changed(text) => assert!(text.contains("look again"), "{text}"),
        other => panic!("{other}"),
    };
    let none = outlook(chain(&["a"])).await;
    assert_eq!((none, "none".parse()), (Version::None, Ok(none)));
    yard.controller.update(&ann(), seen(chain(&["a", "b"]), none)).await.unwrap();
    refused(seen(chain(&["a"]), none)).await;
    yard.settle().await;
    let first = outlook(chain(&["a"])).await;
    assert_eq!(first.to_string().parse(), Ok(first));
    yard.controller.change_link(&ann(), set("a-b", "delay=5ms")).await.unwrap();
    refused(seen(chain(&["a"]), first)).await;
    assert_eq!(yard.status("s").await.unwrap().slivers.len(), 2);
    // Another slice of the name is another one, at whatever revision.
    yard.delete("s").await.unwrap();
    yard.settle().await;
    refused(seen(chain(&["a"]), first)).await;
    up(&yard, chain(&["a", "b"])).await;
    refused(seen(chain(&["a"]), first)).await;
    let now = outlook(chain(&["a"])).await;
    yard.controller.update(&ann(), seen(chain(&["a"]), now)).await.unwrap();
    assert!("7".parse::<Version>().is_err() && "x.1".parse::<Version>().is_err());
}

#[tokio::test]
async fn plans_of_one_moment_do_not_get_into_each_others_way() {
    let yard = Yard::new(&[("local", 40)]).await;
    let updates = (0..10).map(|number| {
        let request = update(&format!("s{number}"), chain(&["a", "b"]));
        let controller = std::sync::Arc::clone(&yard.controller);
        tokio::spawn(async move { controller.update(&ann(), request).await })
    });
    let mut addresses = std::collections::BTreeSet::new();
    for update in updates.collect::<Vec<_>>() {
        let view = update.await.unwrap().unwrap();
        addresses.extend(view.slivers.iter().map(|sliver| sliver.address.ipv4));
    }
    assert_eq!(addresses.len(), 20, "each has its own");
    yard.settle().await;
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].nodes, 20);
}

#[tokio::test]
async fn what_happens_to_links_schedules_and_programs_is_told() {
    let yard = Yard::new(&[("local", 9)]).await;
    let mut topology = chain(&["a", "b"]);
    let link: ClientId = "a-b".parse().unwrap();
    topology.schedule = vec![Event { at: "1s".parse().unwrap(), action: Action::LinkDown(link.clone()) }];
    let mut events = yard.controller.subscribe();
    up(&yard, topology.clone()).await;
    let all = heard(&mut events, |what| matches!(what, Happening::Converged { converged: true, .. })).await;
    assert!(all.contains(&Happening::Links { problem: None }), "{all:#?}");
    let mut all = all;
    while let Ok(event) = events.try_recv() {
        all.push(event.what);
    }
    assert!(all.contains(&Happening::Begun { run: 1 }), "{all:#?}");

    let until = Some(now() + minutes(1));
    yard.controller.change_link(&ann(), ChangeLink { until, ..set("a-b", "delay=5ms") }).await.unwrap();
    let told = heard(&mut events, |what| matches!(what, Happening::Link { .. })).await;
    assert!(
        matches!(&told[0], Happening::Link { what: LinkAction::Set(_), until: told, .. } if *told == until)
    );
    yard.settle().await;

    let carried = Carried { event: 0, at: now() + SignedDuration::from_millis(1_003) };
    let live = Carried { event: u32::MAX, at: now() };
    let seen = ScheduleSeen {
        number: 1,
        done: 1,
        late_ms_max: 3,
        late: 0,
        recent: vec![live, carried],
        notice: None,
    };
    let program = ProgramReport {
        program: "load".parse().unwrap(),
        start: 1,
        state: ServiceState::Running,
        unexpected: false,
        began: None,
        ended: None,
        detail: String::new(),
        files: String::new(),
    };
    let ended = ProgramReport { state: ServiceState::Exited(3), unexpected: true, ..program.clone() };
    for _ in 0..2 {
        yard.host().carry_out(seen.clone());
        yard.host().run_programs(std::slice::from_ref(&program));
        yard.settle().await;
    }
    yard.host().run_programs(std::slice::from_ref(&ended));
    yard.host().trouble_links(Some("no room"));
    yard.settle().await;
    yard.host().trouble_links(None);
    yard.clock.advance(minutes(1));
    yard.settle().await;
    yard.controller.change_link(&ann(), set("a-b", "delay=9ms")).await.unwrap();
    up(&yard, topology).await;
    let mut all = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!(event.slice, slice_urn("s"));
        all.push(event.what);
    }
    let count = |is: &dyn Fn(&Happening) -> bool| all.iter().filter(|what| is(what)).count();
    let due = Happening::Scheduled {
        run: 1,
        due: "1s".parse().unwrap(),
        action: Action::LinkDown(link.clone()),
        late_ms: 3,
    };
    assert_eq!(count(&|what| *what == due), 1, "once: {all:#?}");
    for report in [program, ended] {
        let of_a = Happening::Program { node: "a".parse().unwrap(), report };
        assert_eq!(count(&|what| *what == of_a), 1, "{all:#?}");
    }
    assert_eq!(count(&|what| *what == Happening::Links { problem: Some("no room".to_owned()) }), 1);
    let trouble = Some("links: no room".to_owned());
    assert_eq!(
        count(&|what| *what == Happening::Converged { converged: false, problem: trouble.clone() }),
        1
    );
    assert_eq!(count(&|what| *what == Happening::Reverted { link: link.clone() }), 1);
    let reset = Happening::Link { link, from: None, what: LinkAction::Reset, until: None };
    assert_eq!(count(&|what| *what == reset), 1, "links are as the file says: {all:#?}");
}

#[tokio::test]
async fn links_of_all_requests_of_a_slice_are_measured() {
    let yard = Yard::new(&[("local", 9)]).await;
    for names in [["a", "b"], ["c", "d"]] {
        let request = Allocate { topology: chain(&names), ..request("s", &names) };
        yard.controller.allocate(&ann(), request).await.unwrap();
    }
    yard.provision("s").await.unwrap();
    yard.settle().await;
    let verify = async |links: &[&str], sample| {
        let links = links.iter().map(|link| link.parse().unwrap()).collect();
        let options = Options { links, sample, ..Options::default() };
        yard.controller.verify(&ann(), Verify { slice: slice_urn("s"), options }, |_, _| {}).await
    };
    let links = |report: &Report| report.ways.iter().map(|way| way.link.to_string()).collect::<Vec<_>>();
    let report = verify(&[], None).await.unwrap();
    assert_eq!(
        (links(&report), report.ways_there),
        (["a-b", "a-b", "c-d", "c-d"].map(str::to_owned).to_vec(), 4)
    );
    assert!((report.error - Options::default().error).abs() < 1e-9, "it errs as seldom as one request's");
    assert_eq!(links(&verify(&["c-d"], None).await.unwrap()), ["c-d", "c-d"]);
    let unknown = verify(&["c-d", "x"], None).await.unwrap_err();
    assert!(matches!(&unknown, Refusal::NotFound(text) if text.contains("\"x\"")), "{unknown}");
    for sample in 1..=5 {
        assert_eq!(verify(&[], Some(sample)).await.unwrap().ways.len(), sample.min(4));
    }
    // A node that is stopped keeps only its own links from being measured.
    let a = yard.status("s").await.unwrap().slivers[0].urn.clone();
    let perform = async |action| {
        let (selection, users) = (some("s", &[&a]), vec![user("ann")]);
        let request = Perform { selection, action, users, effort: Effort::AllOrNothing };
        yard.controller.perform(&ann(), request).await.unwrap();
    };
    perform(Power::Stop).await;
    yard.settle().await;
    assert_eq!(links(&verify(&["c-d"], None).await.unwrap()), ["c-d", "c-d"]);
    for asked in [&["a-b"][..], &[]] {
        let late = verify(asked, None).await.unwrap_err();
        let told = matches!(&late, Refusal::Unsupported(text) if text.starts_with("a is ") && text.contains("--link"));
        assert!(told, "{late}");
    }
    perform(Power::Start).await;
    yard.settle().await;
    let mut steps = Vec::new();
    let request = Verify { slice: slice_urn("s"), options: Options::default() };
    yard.controller.verify(&ann(), request, |done, of| steps.push((done, of))).await.unwrap();
    assert!(steps.is_sorted() && steps.last().is_some_and(|(done, of)| done == of), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_plan_of_others() {
    let mut settings = settings(&[("local", 9)]);
    settings.quotas.nodes_per_slice = 10_000;
    let yard = Yard::with(settings, vec![("local", std::sync::Arc::default())]).await;
    let names: Vec<String> = (0..8_000).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One node runs, and the network of all is planned.
    let only = Some([names[0].parse().unwrap()].into());
    let request = Update { only, ..update("s", chain(&names)) };
    let began = std::time::Instant::now();
    yard.controller.outlook(&ann(), &request).await.unwrap();
    let planned = began.elapsed();

    let (ended, controller) = (std::sync::Arc::new(()), std::sync::Arc::clone(&yard.controller));
    let goes_on = std::sync::Arc::downgrade(&ended);
    let longest = std::thread::spawn(move || {
        let mut longest = std::time::Duration::ZERO;
        while goes_on.strong_count() > 0 {
            let began = std::time::Instant::now();
            assert_eq!(controller.creator(&slice_urn("other")), None);
            longest = longest.max(began.elapsed());
            std::thread::yield_now();
        }
        longest
    });
    yard.controller.update(&ann(), request).await.unwrap();
    drop(ended);
    let longest = longest.join().unwrap();
    assert!(longest < planned / 2, "held up for {longest:?} by a plan of {planned:?}");
}
