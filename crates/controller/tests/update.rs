//! A slice becomes what a topology says: what is made, what stays untouched, what restarts, what goes; and links that are
//! changed while they run.
#![allow(clippy::unwrap_used)]

mod support;

use jiff::SignedDuration;
use support::topology::*;
use support::*;
use testyard_agent::desired::{HostAction, LinkChange};
use testyard_controller::api::{
    Allocate, Caller, ChangeLink, Effort, LinkAction, Refusal, SliceView, Update,
};
use testyard_model::link::Capture;
use testyard_model::name::ClientId;
use testyard_model::schedule::{Action, Event};
use testyard_model::service::{Execute, Program, Shell};
use testyard_model::state::{Action as Perform, Operational as O};
use testyard_plan::Change;

fn names(view: &SliceView) -> Vec<&str> {
    view.slivers.iter().map(|sliver| sliver.client_id.as_str()).collect()
}

/// The delay that the host is told for what an end of a link sends, in milliseconds.
fn delays(yard: &Yard) -> Vec<u64> {
    let slices = yard.host().slices();
    let ends = slices.iter().flat_map(|slice| &slice.links).flat_map(|link| &link.ends);
    ends.map(|end| end.to_link.delay.as_nanos() / 1_000_000).collect()
}

#[tokio::test]
async fn made_at_once_and_found_again() {
    let mut yard = Yard::new(&[("local", 9)]).await;
    let view = up(&yard, chain(&["a", "b", "c"])).await;
    assert_eq!((names(&view), view.links.len(), view.documents.len()), (vec!["a", "b", "c"], 2, 1));
    assert_eq!(yard.states("s").await, [O::Ready, O::Ready, O::Ready]);
    let before = yard.status("s").await.unwrap();
    assert_eq!(before.slivers[0].accounts[0].login.as_str(), "ann");
    assert_eq!(before.slivers[0].expires, now() + minutes(7 * 24 * 60));
    let hosts_view = yard.host().slices();
    for _ in 0..2 {
        let outlook = yard.controller.outlook(&ann(), &update("s", chain(&["a", "b", "c"]))).await.unwrap();
        assert!(outlook.changes.is_empty(), "{}", outlook.changes);
        up(&yard, chain(&["a", "b", "c"])).await;
        assert_eq!(yard.host().slices(), hosts_view, "nothing changes, not even the revision");
        yard.restart(true).await;
        yard.settle().await;
    }
    let after = yard.status("s").await.unwrap();
    let told = |view: &SliceView| {
        view.links.iter().map(|link| (link.urn.clone(), link.now.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&after), told(&before));
}

/// The hosts that a link would be on are asked, whichever way it is asked for, and nothing of it is made.
#[tokio::test]
async fn filters_of_captures_are_tried_before_anything_runs() {
    let yard = Yard::new(&[("local", 9)]).await;
    let mut topology = chain(&["a", "b"]);
    let link = topology.links[0].client_id.clone();
    topology.links[0].capture = Some(Capture { snap_length: 64, filter: Some("tcp prot 80".into()) });
    let asked = Allocate { topology: topology.clone(), ..request("s", &[]) };
    let said = [
        yard.controller.update(&ann(), update("s", topology.clone())).await.map(drop),
        yard.controller.outlook(&ann(), &update("s", topology.clone())).await.map(drop),
        yard.controller.allocate(&ann(), asked).await.map(drop),
    ];
    for refused in said {
        let Err(Refusal::BadRequest(text)) = refused else { panic!("{refused:?}") };
        assert_eq!(text, format!("link {link}: the filter `tcp prot 80` cannot be used: syntax error"));
    }
    assert!(yard.status("s").await.is_err(), "there is no slice");
    topology.links[0].capture = Some(Capture { snap_length: 64, filter: Some("tcp port 80".into()) });
    up(&yard, topology).await;
}

#[tokio::test]
async fn nodes_come_and_go_and_the_others_stay_as_they_are() {
    let yard = Yard::new(&[("local", 9)]).await;
    let before = up(&yard, chain(&["a", "b", "c"])).await;
    let host_before = yard.host().desired();
    // One comes in the middle, one goes: addresses of the others stay, and what is new takes nothing that is in use.
    let outlook = yard.controller.outlook(&ann(), &update("s", chain(&["a", "x", "b"]))).await.unwrap();
    let lines: Vec<String> = outlook.changes.0.iter().map(ToString::to_string).collect();
    assert_eq!(lines[..2], ["- node c", "+ node x"], "{lines:#?}");
    assert!(outlook.changes.disturbs());
    assert_eq!(yard.host().desired(), host_before, "an outlook changes nothing");
    let after = up(&yard, chain(&["a", "x", "b"])).await;
    assert_eq!(names(&after), ["a", "x", "b"], "in the order of the topology");
    let outlook = yard.controller.outlook(&ann(), &update("s", chain(&["a", "x", "b"]))).await.unwrap();
    assert!(outlook.changes.is_empty(), "{}", outlook.changes);
    for name in ["a", "b"] {
        let find =
            |view: &SliceView| view.slivers.iter().find(|s| s.client_id.as_str() == name).cloned().unwrap();
        let (was, is) = (find(&before), find(&after));
        assert_eq!((was.id, was.address, &was.host_keys), (is.id, is.address, &is.host_keys));
        let told = |nodes: &[testyard_agent::desired::Node]| {
            nodes.iter().find(|n| n.sliver == is.id).cloned().unwrap()
        };
        let (was, is) = (told(&host_before), told(&yard.host().desired()));
        assert_eq!((was.boot, was.disk, was.forwards), (is.boot, is.disk, is.forwards), "it runs on");
    }
    yard.controller.wait_for_counts(|counts| counts.leaving == 0).await;
    assert_eq!(yard.host().nodes(), 3);
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].nodes, 3);
    assert_eq!(after.documents[0].text, "<rspec>3</rspec>");
}

#[tokio::test]
async fn what_restarts_what_loses_its_disk_and_what_does_neither() {
    let yard = Yard::new(&[("local", 9)]).await;
    let view = up(&yard, chain(&["a", "b", "c", "d"])).await;
    let mut topology = chain(&["a", "b", "c", "d"]);
    topology.nodes[0].image = Some("alpine:3".parse().unwrap());
    topology.nodes[1].services.executes.push(Execute {
        shell: Shell::Sh,
        command: "id".into(),
        timeout: None,
    });
    topology.nodes[2].ports.push("80/tcp".parse().unwrap());
    topology.links[0].members[0].to_link.delay = "10ms".parse().unwrap();
    let outlook = yard.controller.outlook(&ann(), &update("s", topology.clone())).await.unwrap();
    let kinds: Vec<&str> = outlook
        .changes
        .0
        .iter()
        .map(|change| match change {
            Change::NodeReplaced { .. } => "replaced",
            Change::NodeRestarts { .. } => "restarts",
            Change::NodeChanged { .. } => "changed",
            Change::LinkChanged { .. } => "link",
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(kinds, ["replaced", "restarts", "changed", "link"]);
    up(&yard, topology.clone()).await;
    let told: Vec<_> =
        yard.host().desired().iter().map(|node| (node.boot, node.disk, node.forwards.len())).collect();
    assert_eq!(told, [(1, 1, 1), (1, 0, 1), (0, 0, 2), (0, 0, 1)]);
    assert_eq!(delays(&yard)[..2], [10, 0]);
    assert_eq!(yard.states("s").await, [O::Ready; 4]);
    let port = yard.status("s").await.unwrap().slivers[2].forwards[0].host_port;

    // A port that is not asked for any more is free again.
    topology.nodes[2].ports.clear();
    up(&yard, topology).await;
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].ports, 4);
    let other = yard.ready("other", &["one"]).await;
    assert_eq!(other.slivers[0].ssh_port, Some(port));
    assert_eq!(yard.status("s").await.unwrap().slivers[0].id, view.slivers[0].id);
}

#[tokio::test]
async fn a_part_of_the_nodes_and_later_all() {
    let yard = Yard::new(&[("local", 9)]).await;
    let only = |names: &[&str]| Update {
        only: Some(names.iter().map(|name| name.parse().unwrap()).collect()),
        ..update("s", chain(&["a", "b", "c"]))
    };
    let view = yard.controller.update(&ann(), only(&["b"])).await.unwrap();
    yard.settle().await;
    assert_eq!((names(&view), view.links.len()), (vec!["b"], 2));
    let addresses = view.slivers[0].interfaces.clone();
    assert_eq!(addresses.len(), 2, "its place on links is that in the whole");
    let view = yard.controller.update(&ann(), only(&["a"])).await.unwrap();
    yard.settle().await;
    assert_eq!(names(&view), ["a", "b"], "what runs goes on running");
    let view = up(&yard, chain(&["a", "b", "c"])).await;
    assert_eq!(names(&view), ["a", "b", "c"]);
    assert_eq!(view.slivers[1].interfaces, addresses);
    let unknown = yard.controller.update(&ann(), only(&["z"])).await.unwrap_err();
    assert!(matches!(&unknown, Refusal::NotFound(text) if text.contains("no node \"z\"")), "{unknown}");
}

#[tokio::test]
async fn stopped_and_failed_nodes_are_started() {
    let yard = Yard::new(&[("local", 9)]).await;
    up(&yard, chain(&["a", "b"])).await;
    yard.perform("s", Perform::Stop).await.unwrap();
    yard.settle().await;
    assert_eq!(yard.states("s").await, [O::NotReady, O::NotReady]);
    yard.host().fail_boots(Some("no disk"));
    up(&yard, chain(&["a", "b"])).await;
    assert_eq!(yard.states("s").await, [O::Failed, O::Failed]);
    yard.host().fail_boots(None);
    up(&yard, chain(&["a", "b"])).await;
    assert_eq!(yard.states("s").await, [O::Ready, O::Ready]);
}

#[tokio::test]
async fn what_cannot_be_changes_nothing() {
    let yard = Yard::new(&[("local", 3)]).await;
    up(&yard, chain(&["a", "b"])).await;
    let before = (yard.host().slices(), yard.controller.counts());
    let refused =
        yard.controller.update(&ann(), update("s", chain(&["a", "b", "c", "d"]))).await.unwrap_err();
    assert!(matches!(refused, Refusal::TooBig(_)), "{refused}");
    let mut impossible = chain(&["a", "b", "c"]);
    impossible.links[0].members[0].to_link.delay = "2h".parse().unwrap();
    let refused = yard.controller.update(&ann(), update("s", impossible)).await.unwrap_err();
    assert!(matches!(refused, Refusal::BadRequest(_)), "{refused}");
    yard.settle().await;
    assert_eq!((yard.host().slices(), yard.controller.counts()), before);
    yard.allocate("t", &["one"]).await.unwrap();
    let refused = yard.allocate("t", &["two"]).await.unwrap_err();
    assert!(matches!(refused, Refusal::TooBig(_)), "all slots are taken: {refused}");
    // Several requests in one slice are none that one topology can follow.
    yard.delete("t").await.unwrap();
    yard.delete("s").await.unwrap();
    yard.settle().await;
    yard.allocate("s", &["one"]).await.unwrap();
    yard.allocate("s", &["two"]).await.unwrap();
    let refused = yard.controller.update(&ann(), update("s", chain(&["a"]))).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unsupported(_)), "{refused}");
}

#[tokio::test]
async fn links_change_while_they_run_for_good_or_for_a_while() {
    let mut yard = Yard::new(&[("local", 9)]).await;
    let mut topology = chain(&["a", "b"]);
    for member in &mut topology.links[0].members {
        member.to_link.delay = "5ms".parse().unwrap();
    }
    up(&yard, topology.clone()).await;
    assert_eq!(delays(&yard), [5, 5]);
    let boots: Vec<u32> = yard.host().desired().iter().map(|node| node.boot).collect();

    let view = yard.controller.change_link(&ann(), set("a-b", "delay=50ms loss=1%")).await.unwrap();
    assert!(view.links[0].changed && view.links[0].reverts.is_none());
    yard.settle().await;
    assert_eq!(delays(&yard), [50, 50]);
    // For a while, from one side only; it is found again after a restart, and taken back when its time is over.
    let until = Some(now() + minutes(1));
    let from = Some("b".parse().unwrap());
    let view = yard
        .controller
        .change_link(&ann(), ChangeLink { from, until, ..set("a-b", "delay=90ms") })
        .await
        .unwrap();
    assert_eq!(view.links[0].reverts, until);
    yard.controller
        .change_link(&ann(), ChangeLink { until, ..change("a-b", LinkAction::Down) })
        .await
        .unwrap();
    yard.settle().await;
    assert_eq!((delays(&yard), yard.host().slices()[0].links[0].up), (vec![50, 90], false));
    yard.restart(false).await;
    yard.settle().await;
    assert_eq!((delays(&yard), yard.host().slices()[0].links[0].up), (vec![50, 90], false));
    yard.clock.advance(minutes(1));
    yard.settle().await;
    assert_eq!((delays(&yard), yard.host().slices()[0].links[0].up), (vec![50, 50], true));

    // What runs is not what the file says, and the file wins.
    let outlook = yard.controller.outlook(&ann(), &update("s", topology.clone())).await.unwrap();
    assert!(outlook.changes.to_string().contains("delay=50ms loss=1% → delay=5ms"), "{}", outlook.changes);
    up(&yard, topology).await;
    assert_eq!(delays(&yard), [5, 5]);
    yard.controller.change_link(&ann(), set("a-b", "delay=7ms")).await.unwrap();
    let view = yard.controller.change_link(&ann(), change("a-b", LinkAction::Reset)).await.unwrap();
    yard.settle().await;
    assert_eq!((delays(&yard), view.links[0].changed), (vec![5, 5], false));
    let after: Vec<u32> = yard.host().desired().iter().map(|node| node.boot).collect();
    assert_eq!(after, boots, "no node has noticed");
}

#[tokio::test]
async fn changes_of_links_that_cannot_be() {
    let yard = Yard::new(&[("local", 9)]).await;
    up(&yard, chain(&["a", "b"])).await;
    let refused = async |request| yard.controller.change_link(&ann(), request).await.unwrap_err();
    let unknown = refused(set("a-c", "delay=1ms")).await;
    assert!(matches!(&unknown, Refusal::NotFound(text) if text.contains("there are: a-b")), "{unknown}");
    let from = Some("c".parse().unwrap());
    assert!(matches!(refused(ChangeLink { from, ..set("a-b", "delay=1ms") }).await, Refusal::NotFound(_)));
    assert!(matches!(refused(set("a-b", "delay=2h")).await, Refusal::BadRequest(_)));
    let until = Some(now());
    assert!(matches!(refused(ChangeLink { until, ..set("a-b", "delay=1ms") }).await, Refusal::OutOfRange(_)));
    let mut elsewhere = set("a-b", "delay=1ms");
    elsewhere.slice = slice_urn("t");
    assert!(matches!(refused(elsewhere).await, Refusal::NotFound(_)));
    yard.settle().await;
    assert_eq!(delays(&yard), [0, 0]);
}

#[tokio::test]
async fn a_schedule_begins_when_all_are_ready_and_again_when_asked() {
    let mut yard = Yard::new(&[("local", 9)]).await;
    let mut topology = chain(&["a", "b"]);
    let at = |at: &str, action| Event { at: at.parse().unwrap(), action };
    let link: ClientId = "a-b".parse().unwrap();
    topology.nodes[1].programs.push(Program {
        client_id: "load".parse().unwrap(),
        command: "iperf3".to_owned(),
        directory: None,
        timeout: None,
        expected_exit: None,
    });
    topology.schedule = vec![
        at("1s", Action::LinkDown(link.clone())),
        at(
            "2s",
            Action::LinkSet {
                link,
                from: Some("a:right".parse().unwrap()),
                settings: vec!["delay=3ms".parse().unwrap()],
            },
        ),
        at("3s", Action::ProgramStart { program: "load".parse().unwrap(), command: None }),
        at("4s", Action::NodeRestart("a".parse().unwrap())),
    ];
    let runs = |yard: &Yard| yard.host().slices()[0].schedule.clone();
    yard.controller.update(&ann(), update("s", topology.clone())).await.unwrap();
    yard.breathe().await;
    assert_eq!(runs(&yard), None, "not before its nodes are ready");
    yard.settle().await;
    let run = runs(&yard).unwrap();
    assert_eq!((run.number, run.zero, run.events.len()), (1, now(), 4));
    assert_eq!(yard.host().desired()[1].programs.len(), 1);
    assert!(matches!(&run.events[1].action,
        HostAction::Link { change: LinkChange::Set { from: Some(port), .. }, .. } if port.device == "eth1"));
    let view = yard.status("s").await.unwrap();
    assert_eq!(view.schedule.unwrap().run, Some((1, now())));

    // The same run goes on after a restart, and where only other things change.
    yard.clock.advance(SignedDuration::from_secs(2));
    yard.restart(false).await;
    yard.settle().await;
    topology.links[0].members[0].to_link.delay = "9ms".parse().unwrap();
    up(&yard, topology.clone()).await;
    assert_eq!(runs(&yard).unwrap(), run);
    // What the run has done so far is no difference to the file that asks for the run.
    let outlook = yard.controller.outlook(&ann(), &update("s", topology.clone())).await.unwrap();
    assert_eq!(outlook.changes.to_string(), "nothing changes\n");
    // A replay begins from the topology, and not from what was changed by hand.
    let planned = delays(&yard);
    yard.controller.change_link(&ann(), set("a-b", "delay=50ms")).await.unwrap();
    // A replay is another run; what the one before has restarted stays restarted.
    yard.clock.advance(SignedDuration::from_secs(5));
    yard.controller.replay(&ann(), &slice_urn("s")).await.unwrap();
    yard.settle().await;
    assert_eq!(delays(&yard), planned);
    let again = runs(&yard).unwrap();
    assert_eq!((again.number, again.zero), (2, now() + SignedDuration::from_secs(7)));
    let boots: Vec<u32> = yard.host().desired().iter().map(|node| node.boot).collect();
    assert_eq!(boots, [1, 0]);
    // Another schedule begins anew, under a number of its own; none is none.
    topology.schedule.truncate(1);
    up(&yard, topology.clone()).await;
    let other = runs(&yard).unwrap();
    assert_eq!((other.events.len(), other.number), (1, 3));
    topology.schedule.clear();
    up(&yard, topology).await;
    assert_eq!(runs(&yard), None);
    let refused = yard.controller.replay(&ann(), &slice_urn("s")).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unsupported(_)), "{refused}");
}

#[tokio::test]
async fn a_change_that_cannot_be_any_more_is_left_out() {
    let yard = Yard::new(&[("local", 9)]).await;
    up(&yard, chain(&["a", "b"])).await;
    yard.controller.change_link(&ann(), set("a-b", "delay=60s")).await.unwrap();
    let until = Some(now() + minutes(1));
    yard.controller.change_link(&ann(), ChangeLink { until, ..set("a-b", "delay=1s") }).await.unwrap();
    // Good with 1 s, and not with the 60 s that come back.
    yard.controller.change_link(&ann(), set("a-b", "jitter=50s")).await.unwrap();
    yard.clock.advance(minutes(1));
    yard.settle().await;
    let view = yard.status("s").await.unwrap();
    assert_eq!(view.links[0].reverts, None, "nothing is due for ever");
    assert_eq!(delays(&yard), [60_000, 60_000]);
}

#[tokio::test]
async fn who_has_no_credential_touches_only_what_is_the_own() {
    let yard = Yard::new(&[("local", 9)]).await;
    up(&yard, chain(&["a", "b"])).await;
    let bob = Caller { only_own: true, ..caller("bob") };
    let refused = |outcome: Result<SliceView, Refusal>| {
        assert!(matches!(outcome.unwrap_err(), Refusal::Refused(text) if text.contains("you are")));
    };
    let controller = &yard.controller;
    refused(controller.update(&bob, update("s", chain(&["x"]))).await);
    refused(controller.change_link(&bob, change("a-b", LinkAction::Down)).await);
    refused(controller.delete(&bob, whole("s"), Effort::AllOrNothing).await);
    refused(controller.status(&bob, whole("s"), Effort::AllOrNothing).await);
    refused(controller.replay(&bob, &slice_urn("s")).await);
    assert!(controller.running(&bob, &slice_urn("s")).await.is_err());
    assert!(controller.outlook(&bob, &update("s", chain(&["x"]))).await.is_err());
    // What nobody has made yet may be made, and is the own then.
    let own = Caller { only_own: true, ..ann() };
    controller.status(&own, whole("s"), Effort::AllOrNothing).await.unwrap();
    controller.update(&bob, update("t", chain(&["x"]))).await.unwrap();
    refused(controller.update(&own, update("t", chain(&["x"]))).await);
    // Nor may anybody watch how what another has given back is removed.
    let hear = async |caller| controller.wait_until_removed(caller, &slice_urn("s")).await;
    assert!(matches!(hear(&bob).await, Err(Refusal::Refused(_))));
    hear(&own).await.unwrap();
    controller.delete(&own, whole("s"), Effort::AllOrNothing).await.unwrap();
    assert!(matches!(hear(&bob).await, Err(Refusal::Refused(text)) if text.contains("you are")));
    yard.settle().await;
    hear(&own).await.unwrap();
    hear(&bob).await.unwrap();
}

#[tokio::test]
async fn the_last_word_counts_between_a_schedule_and_changes() {
    let yard = Yard::new(&[("local", 9)]).await;
    let mut topology = chain(&["a", "b"]);
    let link: ClientId = "a-b".parse().unwrap();
    topology.schedule = vec![
        Event { at: "10s".parse().unwrap(), action: Action::LinkDown(link.clone()) },
        Event {
            at: "30s".parse().unwrap(),
            action: Action::LinkSet { link, from: None, settings: vec!["delay=3ms".parse().unwrap()] },
        },
    ];
    up(&yard, topology).await;
    let is_down = async |yard: &Yard| yard.status("s").await.unwrap().links[0].now.down;
    assert!(!is_down(&yard).await);
    yard.clock.advance(SignedDuration::from_secs(20));
    assert!(is_down(&yard).await, "the schedule took it down, and status says so");
    let view = yard.controller.change_link(&ann(), change("a-b", LinkAction::Up)).await.unwrap();
    assert!(!view.links[0].now.down);
    yard.controller.change_link(&ann(), set("a-b", "delay=8ms")).await.unwrap();
    yard.settle().await;
    let run = yard.host().slices()[0].schedule.clone().unwrap();
    let of: Vec<u64> = run.events.iter().map(|event| event.at.as_nanos() / 1_000_000_000).collect();
    assert_eq!(of, [10, 30, 20, 20], "its host hears of them in the order of time");
    assert_eq!(delays(&yard), [0, 0], "and of the links as they were before");
    let view = yard.status("s").await.unwrap();
    assert_eq!(view.links[0].now.members[0].to_link.delay.as_nanos(), 8_000_000);
    assert_eq!(view.schedule.unwrap().events, 2);
    yard.clock.advance(SignedDuration::from_secs(15));
    let view = yard.status("s").await.unwrap();
    assert_eq!(view.links[0].now.members[0].to_link.delay.as_nanos(), 3_000_000);
}

#[tokio::test]
async fn the_rest_goes_on_without_a_node_whose_failure_is_not_to_matter() {
    use testyard_model::topology::OnFailure;
    for (on_failure, goes_on) in
        [(OnFailure::Fatal, false), (OnFailure::Nonfatal, true), (OnFailure::Ignore, true)]
    {
        let yard = Yard::new(&[("local", 9)]).await;
        up(&yard, chain(&["a"])).await;
        yard.host().fail_boots(Some("no such image"));
        let mut topology = chain(&["a", "b"]);
        topology.nodes[1].on_failure = on_failure;
        topology.schedule =
            vec![Event { at: "1s".parse().unwrap(), action: Action::LinkDown("a-b".parse().unwrap()) }];
        yard.controller.update(&ann(), update("s", topology)).await.unwrap();
        yard.settle().await;
        let view = yard.status("s").await.unwrap();
        assert_eq!(view.slivers[1].operational, O::Failed);
        assert_eq!(view.slivers[1].on_failure, on_failure);
        assert_eq!(view.converged, goes_on, "{on_failure:?}: {:?}", view.problem);
        assert_eq!(yard.host().slices()[0].schedule.is_some(), goes_on, "{on_failure:?}");
    }
}
