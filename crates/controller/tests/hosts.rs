//! Hosts come and go while the testbed runs.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

mod support;

use std::sync::Arc;

use support::topology::{chain, up, update};
use support::{ScriptedHost, Yard, ann, request, settings, slice_urn, whole};
use testyard_controller::AuditQuery;
use testyard_controller::api::{Effort, Refusal, SliceView};
use testyard_model::service::{Execute, Shell};
use testyard_model::state::Operational as O;

/// Where each node of a slice is.
fn places(view: &SliceView) -> Vec<(String, String)> {
    let place = |sliver: &testyard_controller::api::SliverView| {
        (sliver.client_id.to_string(), sliver.host.to_string())
    };
    view.slivers.iter().map(place).collect()
}

async fn status(yard: &Yard, slice: &str) -> Result<SliceView, Refusal> {
    yard.controller.status(&ann(), whole(slice), Effort::AllOrNothing).await
}

#[tokio::test]
async fn a_host_comes_and_goes_while_the_testbed_runs() {
    let mut yard = Yard::new(&[("one", 2)]).await;
    yard.ready("s", &["a", "b"]).await;
    assert!(matches!(yard.allocate("t", &["c"]).await, Err(Refusal::TooBig(_))));

    yard.hosts.push(("two", Arc::new(ScriptedHost::default())));
    yard.controller.reconfigure(settings(&[("one", 2), ("two", 2)]), yard.contracts()).await.unwrap();
    let view = yard.ready("t", &["c"]).await;
    assert_eq!(places(&view), [("c".to_owned(), "two".to_owned())]);

    // Out of the configuration it gets nothing more; what is on it lives, and can go.
    let (two, one) = (yard.hosts[1].clone(), yard.hosts[..1].to_vec());
    let contracts = yard.contracts()[..1].to_vec();
    yard.controller.reconfigure(settings(&[("one", 2)]), contracts.clone()).await.unwrap();
    assert_eq!(yard.states("t").await, [O::Ready]);
    assert!(matches!(yard.allocate("u", &["d"]).await, Err(Refusal::TooBig(_))));
    yard.delete("t").await.unwrap();
    yard.settle().await;
    yard.controller.wait_until_gone(&slice_urn("t")).await;
    assert!(!two.1.is_shut_down());
    yard.hosts = one;
    yard.controller.reconfigure(settings(&[("one", 2)]), contracts).await.unwrap();
    assert!(two.1.is_shut_down(), "nothing is on it any more");
    assert_eq!(yard.states("s").await, [O::Ready, O::Ready]);
}

#[tokio::test]
async fn a_drained_host_keeps_what_it_has_and_gets_no_more() {
    let mut yard = Yard::new(&[("one", 3), ("two", 1)]).await;
    yard.ready("s", &["a"]).await;
    let one = "one".parse().unwrap();
    assert_eq!(yard.controller.drain_host(&ann(), &one, true).await, Ok(true));
    assert_eq!(yard.controller.drain_host(&ann(), &one, true).await, Ok(false));
    let nobody = "nobody".parse().unwrap();
    assert!(matches!(yard.controller.drain_host(&ann(), &nobody, true).await, Err(Refusal::NotFound(_))));
    assert_eq!(yard.states("s").await, [O::Ready]);
    assert_eq!(places(&yard.ready("t", &["b"]).await)[0].1, "two");
    let full = yard.allocate("u", &["c"]).await.unwrap_err().to_string();
    assert!(full.contains("none on one (it is drained), 0 on two"), "{full}");

    // It is drained after a restart too, until that is taken back.
    yard.restart(true).await;
    yard.settle().await;
    let reports = yard.controller.hosts();
    let seen: Vec<_> = reports.iter().map(|host| (host.drained, host.nodes.values().sum())).collect();
    assert_eq!(seen, [(true, 1), (false, 1)]);
    assert!(!yard.controller.offer().hosts[0].healthy, "nobody is told to try it");
    assert_eq!(yard.controller.drain_host(&ann(), &one, false).await, Ok(true));
    assert_eq!(places(&yard.ready("u", &["c"]).await)[0].1, "one");
}

#[tokio::test]
async fn linked_nodes_are_together_where_there_is_room() {
    let yard = Yard::new(&[("one", 2), ("two", 2)]).await;
    let near = up(&yard, chain(&["a", "b"])).await;
    assert_eq!(places(&near)[0].1, places(&near)[1].1);
    let far = yard.controller.update(&ann(), update("t", chain(&["a", "b", "c"]))).await.unwrap_err();
    assert!(matches!(far, Refusal::TooBig(_)), "{far}");
}

#[tokio::test]
async fn what_was_on_a_host_that_is_given_up_is_forgotten_and_the_rest_stays() {
    let mut yard = Yard::new(&[("one", 1), ("two", 1)]).await;
    let view = yard.ready("s", &["a", "b"]).await;
    let on_two = places(&view).into_iter().find(|(_, host)| host == "two").unwrap().0;
    // One that is on its way out, too: nobody will ever say that it is gone.
    let gone = view.slivers.iter().find(|sliver| sliver.client_id.as_str() == on_two).unwrap().urn.clone();
    yard.hosts[1].1.set_away(Some("it burned down"));
    let leaving = support::some("s", &[&gone]);
    yard.controller.delete(&ann(), leaving, Effort::AllOrNothing).await.unwrap();

    // It is out of the configuration, and the testbed was started again.
    yard.hosts.truncate(1);
    yard.settings = settings(&[("one", 1)]);
    yard.restart(true).await;
    let two = "two".parse().unwrap();
    assert_eq!(yard.controller.counts().leaving, 1);
    assert_eq!(yard.controller.give_up_host(&ann(), &two).await, Ok(1));
    assert_eq!(yard.controller.give_up_host(&ann(), &two).await, Ok(0));
    yard.settle().await;
    let counts = yard.controller.counts();
    assert_eq!((counts.leaving, counts.provisioned), (0, 1));
    assert_eq!(places(&status(&yard, "s").await.unwrap())[0].1, "one");
    let trail = yard.controller.audit(AuditQuery { most: 1, ..AuditQuery::default() }).await.unwrap();
    assert_eq!((trail[0].operation.as_str(), trail[0].detail.as_str()), ("give up host", "two"));
}

#[tokio::test]
async fn slivers_of_a_host_that_is_not_configured_say_so() {
    let mut yard = Yard::new(&[("one", 1), ("two", 1)]).await;
    yard.ready("s", &["a", "b"]).await;
    yard.hosts.truncate(1);
    yard.settings = settings(&[("one", 1)]);
    yard.restart(true).await;
    yard.settle().await;
    let view = status(&yard, "s").await.unwrap();
    let lost = view.slivers.iter().find(|sliver| sliver.host.as_str() == "two").unwrap();
    assert_eq!(
        (lost.operational, lost.error.as_str()),
        (O::Ready, "host two is out of reach (it is not in the configuration): what runs there runs on")
    );
}

/// A host that cannot be told of one slice could be told of no other either.
#[tokio::test]
async fn what_is_too_much_for_a_host_to_be_told_is_refused() {
    let yard = Yard::new(&[("one", 2), ("two", 2)]).await;
    let heavy = |slice: &str, names: &[&str], megabytes: usize| {
        let mut asked = request(slice, names);
        for node in &mut asked.topology.nodes {
            let command = "x".repeat(megabytes << 20);
            node.services.executes = vec![Execute { shell: Shell::Sh, command, timeout: None }];
        }
        asked
    };
    let allocate = async |asked| yard.controller.allocate(&ann(), asked).await;
    let text = allocate(heavy("s", &["a"], 30)).await.unwrap_err().to_string();
    assert!(
        text.contains("host one would have to be told 62 MB about this slice's nodes, and 50 MB"),
        "{text}"
    );
    assert!(yard.status("s").await.is_err(), "nothing is kept of it");
    // Each host has its own.
    allocate(heavy("s", &["a", "b", "c", "d"], 10)).await.unwrap();
}
