//! What holds whatever happens: nothing is promised before it is durable, nothing is given twice, expiry is to the
//! second, a restart changes nothing that callers see.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use testyard_controller::api::{Effort, Refusal};
use testyard_controller::{AuditObject, AuditQuery, Controller, Happening, LinkPolicy, OpenError};
use testyard_model::state::{Action, Allocation, Operational as O};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_slots_are_given_once() {
    let yard = Yard::new(&[("local", 5)]).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        let controller = Arc::clone(&yard.controller);
        let slice = format!("s{}", number % 20);
        let name = format!("n{number}");
        calls.spawn(async move { controller.allocate(&ann(), request(&slice, &[&name])).await });
    }
    let (mut ports, mut addresses, mut refused) = (vec![], vec![], 0);
    for outcome in calls.join_all().await {
        match outcome {
            Ok(view) => {
                addresses.push(view.slivers[0].address.ipv4);
                ports.push(view.slivers[0].address.ipv6);
            }
            Err(Refusal::TooBig(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((addresses.len(), refused), (5, 35));
    addresses.sort();
    addresses.dedup();
    ports.sort();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (5, 5));
    assert_eq!(yard.controller.offer().hosts[0].free, 0);
}

#[tokio::test]
async fn a_call_that_cannot_be_made_durable_changes_nothing() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a"]).await;
    let before = format!("{:?} {:?}", yard.status("s").await.unwrap(), yard.controller.counts());
    let calls = async || {
        vec![
            yard.allocate("t", &["x"]).await.map(drop),
            yard.allocate("s", &["b"]).await.map(drop),
            yard.delete("s").await.map(drop),
            yard.perform("s", Action::Restart).await.map(drop),
            yard.renew("s", now() + minutes(99)).await.map(drop),
            yard.controller.shutdown_slice(&ann(), slice_urn("s")).await.map(drop),
        ]
    };
    yard.settle().await;
    yard.store.fail_commits(6);
    for outcome in calls().await {
        assert!(matches!(outcome, Err(Refusal::Internal(_))), "{outcome:?}");
    }
    assert_eq!(format!("{:?} {:?}", yard.status("s").await.unwrap(), yard.controller.counts()), before);
    for outcome in calls().await.into_iter().take(2) {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_nothing_half_done() {
    let yard = Yard::new(&[("local", 50)]).await;
    for number in 0..20 {
        let (controller, name) = (Arc::clone(&yard.controller), format!("n{number}"));
        let call = tokio::spawn(async move { controller.allocate(&ann(), request("s", &[&name])).await });
        // Cut off anywhere: before its turn, with the change on its way, or done.
        for _ in 0..number {
            tokio::task::yield_now().await;
        }
        call.abort();
        let _ = call.await;
    }
    yard.store.flush().await;
    let nodes = yard.status("s").await.map_or(0, |view| view.slivers.len());
    let counts = yard.controller.counts();
    assert_eq!(
        counts.hosts[&"local".parse().unwrap()].nodes as usize,
        nodes,
        "what was marked was given back"
    );
    yard.allocate("s", &["last"]).await.unwrap();
}

#[tokio::test]
async fn expiry_is_to_the_second() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a", "b"]).await;
    yard.renew("s", now() + minutes(30)).await.unwrap();
    yard.allocate("s", &["c"]).await.unwrap();
    let mut events = yard.controller.subscribe();
    yard.clock.set(now() + minutes(10) - jiff::SignedDuration::from_secs(1));
    assert_eq!(yard.status("s").await.unwrap().slivers.len(), 3);
    yard.clock.set(now() + minutes(10));
    assert_eq!(yard.status("s").await.unwrap().slivers.len(), 2, "gone for callers at once");
    yard.controller.wait_for_counts(|counts| counts.allocated == 0).await;
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].nodes, 2, "and its slot is free");
    let event = events.recv().await.unwrap();
    assert!(
        matches!(&event.what, Happening::Sliver { client_id, allocation: Allocation::Unallocated, .. }
            if client_id.as_str() == "c"),
        "{event:?}"
    );
    yard.clock.set(now() + minutes(30));
    assert!(matches!(yard.status("s").await, Err(Refusal::NotFound(_))));
    yard.controller.wait_for_counts(|counts| counts.provisioned == 0).await;
    assert_eq!(yard.controller.counts().leaving, 2);
    yard.settle().await;
    yard.controller.wait_until_gone(&slice_urn("s")).await;
}

#[tokio::test]
async fn what_expires_while_nobody_is_there_is_gone_at_the_start() {
    let mut yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a"]).await;
    yard.controller.shut_down().await;
    yard.clock.advance(minutes(8 * 24 * 60));
    yard.restart(true).await;
    assert!(matches!(yard.status("s").await, Err(Refusal::NotFound(_))));
    // The slice may be made again while the host still has the old one, with other addresses and ports.
    let view = yard.allocate("s", &["a"]).await.unwrap();
    assert_ne!(view.slivers[0].address.ipv4.to_string(), "10.0.0.2");
    yard.settle().await;
    yard.controller.wait_for_counts(|counts| counts.leaving == 0).await;
    assert_eq!(yard.host().nodes(), 0);
}

#[tokio::test]
async fn a_restart_changes_nothing_that_callers_see() {
    let mut yard = Yard::new(&[("east", 5), ("west", 5)]).await;
    yard.ready("s", &["a", "b", "c"]).await;
    yard.perform("s", Action::Stop).await.unwrap();
    yard.allocate("t", &["x"]).await.unwrap();
    yard.settle().await;
    let look = async |yard: &Yard| {
        let status = async |slice| lasting(yard.status(slice).await.unwrap());
        let (s, t) = (status("s").await, status("t").await);
        format!("{s:?}\n{t:?}\n{:?}", yard.controller.counts())
    };
    let before = look(&yard).await;
    yard.restart(true).await;
    assert_eq!(look(&yard).await, before);
    yard.settle().await;
    assert_eq!(look(&yard).await, before);
    yard.hosts.iter().for_each(|(_, host)| host.crash());
    yard.restart(false).await;
    yard.settle().await;
    assert_eq!(look(&yard).await, before, "hosts that forgot everything are told again");
}

#[tokio::test]
async fn a_slice_that_is_shut_down_stays_so() {
    let mut settings = settings(&[("local", 5)]);
    settings.shutdown_wait = Duration::from_millis(20);
    let mut yard = Yard::with(settings, vec![("local", Default::default())]).await;
    yard.ready("s", &["a"]).await;
    assert!(!yard.controller.shutdown_slice(&ann(), slice_urn("s")).await.unwrap(), "it has not stopped yet");
    yard.settle().await;
    assert!(yard.controller.shutdown_slice(&ann(), slice_urn("s")).await.unwrap());
    assert!(yard.controller.shutdown_slice(&ann(), slice_urn("nothing")).await.unwrap());
    let all = async |yard: &Yard, slice| {
        vec![
            yard.status(slice).await.map(drop),
            yard.controller.describe(&ann(), whole(slice)).await.map(drop),
            yard.allocate(slice, &["z"]).await.map(drop),
            yard.provision(slice).await.map(drop),
            yard.perform(slice, Action::Start).await.map(drop),
            yard.renew(slice, now() + minutes(5)).await.map(drop),
            yard.delete(slice).await.map(drop),
        ]
    };
    yard.restart(true).await;
    for outcome in all(&yard, "s").await.into_iter().chain(all(&yard, "nothing").await) {
        assert!(matches!(outcome, Err(Refusal::ShutDown(_))), "{outcome:?}");
    }
    assert_eq!(yard.host().nodes(), 1, "kept for forensics");
    yard.clock.advance(minutes(8 * 24 * 60));
    yard.settle().await;
    yard.controller.wait_until_gone(&slice_urn("s")).await;
    assert!(matches!(yard.status("s").await, Err(Refusal::ShutDown(_))), "remembered when nothing is left");
    assert!(yard.controller.lift_shutdown(&ann(), slice_urn("s")).await.unwrap());
    assert!(yard.allocate("s", &["z"]).await.is_ok());
}

#[tokio::test]
async fn a_host_that_comes_back_is_told_everything() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a"]).await;
    yard.host().set_down(true);
    yard.host().crash();
    yard.perform("s", Action::Restart).await.unwrap();
    assert_eq!(yard.states("s").await, [O::Configuring]);
    yard.host().set_down(false);
    let mut events = yard.controller.subscribe();
    while yard.states("s").await != [O::Ready] {
        yard.host().converge();
        // The next event, or the driver's next attempt.
        let _ = tokio::time::timeout(Duration::from_millis(50), events.recv()).await;
    }
}

#[tokio::test]
async fn other_settings_touch_nothing_that_lives() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a", "b"]).await;
    let before = format!("{:?}", yard.status("s").await.unwrap());
    let mut smaller = settings(&[("local", 1)]);
    smaller.links = LinkPolicy::Refuse;
    yard.controller.reconfigure(smaller, yard.contracts()).await.unwrap();
    assert_eq!(format!("{:?}", yard.status("s").await.unwrap()), before);
    assert!(matches!(yard.allocate("s", &["c"]).await, Err(Refusal::TooBig(_))));
    yard.delete("s").await.unwrap();
    yard.settle().await;
    yard.controller.wait_until_gone(&slice_urn("s")).await;
    assert!(yard.allocate("s", &["c"]).await.is_ok());
}

#[tokio::test]
async fn the_store_of_another_testbed_is_refused() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.allocate("s", &["a"]).await.unwrap();
    let other = testyard_controller::Settings::new(
        "else.example.net".parse().unwrap(),
        vec![],
        vec![kind("x", false)],
    );
    let clock = Arc::clone(&yard.clock) as Arc<dyn testyard_controller::Clock>;
    let opened = Controller::open(yard.store.clone(), other.unwrap(), vec![], clock).await;
    assert!(matches!(opened, Err(OpenError::Authority { .. })));
}

fn about(slice: &str) -> AuditQuery {
    AuditQuery { object: Some(AuditObject::Slice(slice_urn(slice))), most: 10, ..AuditQuery::default() }
}

#[tokio::test]
async fn who_did_what_is_on_record() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a"]).await;
    yard.perform("s", Action::Restart).await.unwrap();
    yard.delete("s").await.unwrap();
    let trail = yard.controller.audit(about("s")).await.unwrap();
    let operations: Vec<_> = trail.iter().map(|row| row.operation.as_str()).collect();
    assert_eq!(operations, ["delete", "perform", "provision", "allocate"]);
    assert_eq!((trail[1].detail.as_str(), &trail[1].user), ("geni_restart: a", &user_urn("ann")));
    assert!(yard.controller.audit(about("t")).await.unwrap().is_empty());
    assert!(
        !format!("{trail:?}").contains("PRIVATE")
            && !format!("{:?}", yard.status("s").await).contains("PRIVATE")
    );
}

#[tokio::test]
async fn best_effort_delete_tells_what_is_missing() {
    let yard = Yard::new(&[("local", 5)]).await;
    let view = yard.allocate("s", &["a"]).await.unwrap();
    let unknown = "urn:publicid:IDN+am.example.net+sliver+gone".parse().unwrap();
    let both = some("s", &[&view.slivers[0].urn, &unknown]);
    let refused = yard.controller.delete(&ann(), both.clone(), Effort::AllOrNothing).await;
    assert!(matches!(refused, Err(Refusal::NotFound(_))));
    let view = yard.controller.delete(&ann(), both, Effort::Best).await.unwrap();
    assert_eq!((view.slivers.len(), view.missing.len()), (1, 1));
}

#[tokio::test]
async fn what_a_sliver_held_rests_until_its_host_has_reported_it_gone() {
    let yard = Yard::new(&[("local", 5)]).await;
    yard.ready("s", &["a"]).await;
    yard.perform("s", Action::Restart).await.unwrap();
    yard.breathe().await;
    // A report that is on its way while the slice goes on: it has only the first node in it, and proves nothing.
    assert!(yard.host().step(0, true));
    let b = yard.allocate("s", &["b"]).await.unwrap().slivers.remove(0);
    let port = yard.provision("s").await.unwrap().slivers[0].ssh_port;
    yard.breathe().await;
    while yard.host().nodes() < 2 {
        assert!(yard.host().step(0, true) && yard.host().step(1, true));
    }
    yard.controller.delete(&ann(), some("s", &[&b.urn]), Effort::AllOrNothing).await.unwrap();
    yard.host().deliver(1);
    yard.breathe().await;
    assert_eq!(yard.controller.counts().leaving, 1);
    yard.allocate("s", &["b"]).await.unwrap();
    let again = yard.provision("s").await.unwrap().slivers.remove(0);
    assert_ne!(again.ssh_port, port);
    assert_ne!(again.address.ipv4, b.address.ipv4);
    yard.settle().await;
    yard.controller.wait_for_counts(|counts| counts.leaving == 0).await;
    assert_eq!(yard.host().nodes(), 2);
}
