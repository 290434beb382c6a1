//! The life of a slice: what each call does, what it refuses and in which words, and what it gives back.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use testyard_controller::api::{Effort, Perform, Provision, Refusal, Renew};
use testyard_model::account::User;
use testyard_model::host::HostLimits;
use testyard_model::sliver_type::{RuntimeKind, SliverType};
use testyard_model::state::{Action, Allocation, Operational as O};

#[tokio::test]
async fn from_request_to_ready_to_nothing() {
    let yard = Yard::new(&[("local", 5)]).await;
    let allocated = yard.allocate("s", &["PC 1", "pc+1"]).await.unwrap();
    assert_eq!(allocated.documents.len(), 1);
    let [one, two] = &allocated.slivers[..] else { panic!("two slivers") };
    assert_eq!((one.allocation, one.operational), (Allocation::Allocated, O::PendingAllocation));
    assert_eq!(one.expires, now() + minutes(10));
    assert_eq!((one.hostname.as_str(), two.hostname.as_str()), ("pc-1", "pc-1-2"));
    assert_eq!(one.host_address, "local.example.net");
    assert_eq!(one.ssh_port, None);
    assert_eq!(one.host_keys.len(), 2);
    assert_eq!(one.urn.to_string(), format!("urn:publicid:IDN+am.example.net+sliver+{}", one.id));
    assert!(yard.host().desired().is_empty(), "a host hears of nothing that is only allocated");

    let provisioned = yard.provision("s").await.unwrap();
    assert!(provisioned.slivers.iter().all(|sliver| sliver.operational == O::Configuring));
    assert_eq!(provisioned.slivers[0].expires, now() + minutes(7 * 24 * 60));
    assert_eq!(provisioned.slivers[0].host_keys, one.host_keys, "keys stay");
    yard.settle().await;
    let ready = yard.status("s").await.unwrap();
    assert_eq!(yard.states("s").await, [O::Ready, O::Ready]);
    assert_eq!(ready.slivers[0].ssh_port, Some(10_000));
    assert_eq!(ready.slivers[0].accounts[0].login.as_str(), "ann");
    assert!(ready.slivers[0].accounts[0].sudo);
    let events: Vec<_> = ready.slivers[0].events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(events, ["allocated", "provisioned", "configuring", "ready_busy", "ready"]);

    let gone = yard.delete("s").await.unwrap();
    assert_eq!(gone.slivers[0].allocation, Allocation::Unallocated);
    assert_eq!(gone.slivers[0].expires, ready.slivers[0].expires);
    assert!(matches!(yard.status("s").await, Err(Refusal::NotFound(_))));
    assert_eq!(yard.controller.counts().leaving, 2, "the host still has them");
    yard.settle().await;
    yard.controller.wait_until_gone(&slice_urn("s")).await;
    let counts = yard.controller.counts();
    assert_eq!((counts.ended, counts.leaving, counts.hosts[&"local".parse().unwrap()].nodes), (0, 0, 0));
    assert_eq!(counts.hosts[&"local".parse().unwrap()].ports, 0);
    assert_eq!(yard.host().nodes(), 0);
}

#[tokio::test]
async fn nodes_see_their_own_slice_and_no_other() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.ready("s", &["one", "two"]).await;
    yard.ready("other", &["one"]).await;
    let slices = yard.host().slices();
    let of = |name: &str| slices.iter().find(|slice| slice.name == name).unwrap();
    let (slice, other) = (of("s"), of("other"));
    assert_eq!(slice.about.urn, slice_urn("s"));
    assert_eq!((&slice.about.creator, slice.about.testbed.as_str()), (&user_urn("ann"), "am.example.net"));
    let sliver = slice.nodes[0].sliver;
    let around = yard.controller.around(slice.slice, sliver).unwrap();
    assert_eq!((around.creator, around.view.urn), (user_urn("ann"), slice_urn("s")));
    let names: Vec<_> = around.view.slivers.iter().map(|sliver| sliver.client_id.as_str()).collect();
    assert_eq!((names, around.view.documents.len()), (vec!["one", "two"], 1));
    assert!(yard.controller.around(other.slice, sliver).is_none(), "a sliver of another slice");
    yard.delete("s").await.unwrap();
    assert!(yard.controller.around(slice.slice, sliver).is_none(), "it has left");
    assert!(yard.controller.around(other.slice, other.nodes[0].sliver).is_some());
}

#[tokio::test]
async fn a_slice_with_nothing_here() {
    let yard = Yard::new(&[("local", 5)]).await;
    let described = yard.controller.describe(&ann(), whole("s")).await.unwrap();
    assert!(described.slivers.is_empty() && described.documents.is_empty());
    assert!(matches!(yard.status("s").await, Err(Refusal::NotFound(_))));
    assert!(matches!(yard.provision("s").await, Err(Refusal::NotFound(_))));
    assert!(matches!(yard.delete("s").await, Err(Refusal::NotFound(_))));
    assert!(matches!(yard.renew("s", now() + minutes(1)).await, Err(Refusal::NotFound(_))));
    assert!(matches!(yard.perform("s", Action::Start).await, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn several_allocates_and_their_documents() {
    let yard = Yard::new(&[("local", 5)]).await;
    let first = yard.allocate("s", &["a"]).await.unwrap();
    let clash = yard.allocate("s", &["b", "a"]).await;
    assert!(matches!(&clash, Err(Refusal::AlreadyExists(text)) if text.contains("\"a\"")), "{clash:?}");
    let second = yard.allocate("s", &["b"]).await.unwrap();
    assert_eq!(second.slivers.len(), 1);
    assert_ne!(first.documents[0].id, second.documents[0].id);
    let all = yard.controller.describe(&ann(), whole("s")).await.unwrap();
    assert_eq!(all.documents.len(), 2);
    let one = yard.controller.describe(&ann(), some("s", &[&second.slivers[0].urn])).await.unwrap();
    assert_eq!(one.documents, second.documents);
    yard.controller.delete(&ann(), some("s", &[&first.slivers[0].urn]), Effort::AllOrNothing).await.unwrap();
    let left = yard.status("s").await.unwrap();
    assert_eq!(left.documents, second.documents);
    assert!(yard.allocate("s", &["a"]).await.is_ok(), "a name that is free again");
}

#[tokio::test]
async fn hosts_hear_of_images_before_anything_is_to_run() {
    // Where there is no choice, even of what is refused then.
    let yard = Yard::new(&[("local", 1)]).await;
    assert!(yard.allocate("s", &["a", "b"]).await.is_err());
    assert_eq!(yard.host().told_ahead(), ["debian:12"], "once for both");
    // Where there is one, the host that was chosen, from Allocate on.
    let yard = Yard::new(&[("east", 1), ("west", 5)]).await;
    yard.allocate("s", &["a", "b"]).await.unwrap();
    let told: Vec<_> = yard.hosts.iter().map(|(_, host)| host.told_ahead().len()).collect();
    assert_eq!(told.iter().sum::<usize>(), 1, "{told:?}");
}

#[tokio::test]
async fn full_hosts_say_what_was_asked_and_what_is_free() {
    let yard = Yard::new(&[("east", 2), ("west", 1)]).await;
    let error = yard.allocate("s", &["a", "b", "c", "d"]).await.unwrap_err();
    let Refusal::TooBig(text) = error else { panic!("{error:?}") };
    assert!(
        text.contains("asked for 4 nodes") && text.contains("2 on east") && text.contains("1 on west"),
        "{text}"
    );
    assert_eq!(yard.controller.counts().hosts[&"east".parse().unwrap()].nodes, 0, "nothing is taken");
    yard.allocate("s", &["a", "b", "c"]).await.unwrap();
    assert_eq!(yard.controller.offer().hosts.iter().map(|host| host.free).collect::<Vec<_>>(), [0, 0]);
}

#[tokio::test]
async fn a_host_that_is_not_well_gets_nothing_until_it_is() {
    let yard = Yard::new(&[("local", 2)]).await;
    yard.settle().await;
    yard.host().set_down(true);
    yard.controller.allocate(&ann(), request("s", &["a"])).await.unwrap();
    yard.provision("s").await.unwrap();
    // The host could not be told, which is how it is found out.
    yard.controller.wait_for_counts(|_| !yard.controller.offer().hosts[0].healthy).await;
    assert!(
        matches!(yard.allocate("t", &["a"]).await, Err(Refusal::TooBig(text)) if text.contains("cannot start nodes"))
    );
    assert_eq!(yard.states("s").await, [O::Configuring], "nothing is lost");
    yard.host().set_down(false);
    assert!(yard.allocate("t", &["a"]).await.is_ok(), "it is asked again before anything is refused");
}

/// Its nodes run on, their slivers say where they are, and nothing new is put there. Back, it is told everything, at once.
#[tokio::test]
async fn a_host_that_is_cut_off_and_comes_back() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.allocate("s", &["a"]).await.unwrap();
    yard.provision("s").await.unwrap();
    yard.settle().await;
    assert_eq!(yard.states("s").await, [O::Ready]);
    yard.host().set_away(Some("nothing has come for 15 s"));
    yard.controller.wait_for_counts(|_| !yard.controller.offer().hosts[0].healthy).await;
    let status = async || yard.controller.status(&ann(), whole("s"), Effort::AllOrNothing).await;
    let away = status().await.unwrap().slivers.remove(0);
    assert_eq!(away.operational, O::Ready);
    assert_eq!(away.error, "host local is out of reach (nothing has come for 15 s): what runs there runs on");
    assert!(matches!(yard.allocate("t", &["a"]).await, Err(Refusal::TooBig(_))));
    yard.controller.delete(&ann(), whole("s"), Effort::AllOrNothing).await.unwrap();

    // Whoever comes back knows nothing.
    yard.host().forget();
    let began = tokio::time::Instant::now();
    yard.host().set_away(None);
    yard.controller.wait_for_counts(|_| yard.controller.offer().hosts[0].healthy).await;
    yard.settle().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(matches!(status().await, Err(Refusal::NotFound(_))), "what was deleted meanwhile is gone");
    assert!(yard.allocate("t", &["a"]).await.is_ok());
}

#[tokio::test]
async fn selections() {
    let yard = Yard::new(&[("local", 9)]).await;
    let s = yard.allocate("s", &["a", "b"]).await.unwrap();
    let t = yard.allocate("t", &["a"]).await.unwrap();
    let (a, b, other) = (&s.slivers[0].urn, &s.slivers[1].urn, &t.slivers[0].urn);
    let unknown = "urn:publicid:IDN+am.example.net+sliver+INVALID".parse().unwrap();
    let foreign = format!("urn:publicid:IDN+other.example.net+sliver+{}", s.slivers[0].id).parse().unwrap();
    use Effort::{AllOrNothing, Best};
    let look =
        async |slivers: &[&_], effort| yard.controller.status(&ann(), some("s", slivers), effort).await;
    assert_eq!(look(&[b, a, b], AllOrNothing).await.unwrap().slivers.len(), 2);
    assert!(matches!(look(&[], Best).await, Err(Refusal::BadRequest(_))));
    assert!(matches!(look(&[a, other], Best).await, Err(Refusal::BadRequest(_))));
    assert!(matches!(look(&[a, &unknown], AllOrNothing).await, Err(Refusal::NotFound(_))));
    assert!(matches!(look(&[&foreign], AllOrNothing).await, Err(Refusal::NotFound(_))));
    let view = look(&[a, &unknown], Best).await.unwrap();
    assert_eq!((view.slivers.len(), view.missing.len()), (1, 1));
    assert_eq!(view.missing[0].0, unknown);
    yard.controller.delete(&ann(), some("s", &[a]), AllOrNothing).await.unwrap();
    assert!(matches!(look(&[a], AllOrNothing).await, Err(Refusal::NotFound(_))), "deleted for good");
}

#[tokio::test]
async fn provisioning_some_and_again() {
    let yard = Yard::new(&[("local", 9)]).await;
    let s = yard.allocate("s", &["a", "b"]).await.unwrap();
    let (a, b) = (&s.slivers[0].urn, &s.slivers[1].urn);
    let provision = async |selection, effort| {
        let request = Provision { selection, users: vec![], end: None, effort };
        yard.controller.provision(&ann(), request).await
    };
    provision(some("s", &[a]), Effort::AllOrNothing).await.unwrap();
    let again = provision(some("s", &[a, b]), Effort::AllOrNothing).await;
    assert!(matches!(again, Err(Refusal::Unsupported(_))));
    assert_eq!(
        yard.status("s").await.unwrap().slivers[1].allocation,
        Allocation::Allocated,
        "all or nothing"
    );
    let view = provision(some("s", &[a, b]), Effort::Best).await.unwrap();
    assert!(!view.slivers[0].error.is_empty() && view.slivers[1].error.is_empty());
    assert_eq!(view.slivers[1].allocation, Allocation::Provisioned);
    assert!(matches!(provision(whole("s"), Effort::AllOrNothing).await, Err(Refusal::Unsupported(_))));
    yard.allocate("s", &["c"]).await.unwrap();
    let view = provision(whole("s"), Effort::AllOrNothing).await.unwrap();
    assert_eq!(view.slivers.len(), 1, "a slice means what is allocated");
}

#[tokio::test]
async fn actions_back_to_back() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.allocate("s", &["a"]).await.unwrap();
    for action in Action::ALL {
        assert!(matches!(yard.perform("s", *action).await, Err(Refusal::Unsupported(_))), "{action}");
    }
    yard.provision("s").await.unwrap();
    for action in [Action::Start, Action::Restart, Action::Stop] {
        yard.perform("s", action).await.unwrap();
    }
    assert!(matches!(yard.perform("s", Action::UpdateUsers).await, Err(Refusal::Refused(_))));
    yard.settle().await;
    assert_eq!(yard.states("s").await, [O::NotReady]);
    let boots = || yard.host().desired()[0].boot;
    let before = boots();
    yard.perform("s", Action::Start).await.unwrap();
    assert_eq!(yard.states("s").await, [O::Configuring]);
    yard.perform("s", Action::Start).await.unwrap();
    yard.settle().await;
    assert_eq!((yard.states("s").await, boots()), (vec![O::Ready], before));
    yard.perform("s", Action::Restart).await.unwrap();
    assert_eq!(yard.states("s").await, [O::Configuring]);
    yard.settle().await;
    assert_eq!((yard.states("s").await, boots()), (vec![O::Ready], before + 1));
    yard.perform("s", Action::Reload).await.unwrap();
    yard.settle().await;
    assert_eq!(yard.host().desired()[0].disk, 1);
    yard.perform("s", Action::Stop).await.unwrap();
    assert_eq!(yard.states("s").await, [O::Stopping]);
    yard.settle().await;
    yard.perform("s", Action::Restart).await.unwrap();
    yard.settle().await;
    assert_eq!(yard.states("s").await, [O::Ready]);
}

#[tokio::test]
async fn a_failed_node_says_why_and_can_be_started_again() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.host().fail_boots(Some("no such image: pick another"));
    let view = yard.ready("s", &["a"]).await;
    assert_eq!(
        (view.slivers[0].operational, view.slivers[0].error.as_str()),
        (O::Failed, "no such image: pick another")
    );
    yard.host().fail_boots(None);
    for action in [Action::Start, Action::Restart, Action::Reload] {
        yard.host().fail_boots(Some("again"));
        yard.perform("s", Action::Restart).await.unwrap();
        yard.settle().await;
        assert_eq!(yard.states("s").await, [O::Failed]);
        yard.host().fail_boots(None);
        let view = yard.perform("s", action).await.unwrap();
        assert_eq!((view.slivers[0].operational, view.slivers[0].error.as_str()), (O::Configuring, ""));
        yard.settle().await;
        assert_eq!(yard.states("s").await, [O::Ready], "{action}");
    }
}

#[tokio::test]
async fn users_are_updated_one_by_one() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.ready("s", &["a"]).await;
    let update = async |users| {
        let request = Perform {
            selection: whole("s"),
            action: Action::UpdateUsers,
            users,
            effort: Effort::AllOrNothing,
        };
        yard.controller.perform(&ann(), request).await
    };
    assert!(matches!(update(vec![]).await, Err(Refusal::BadRequest(_))));
    let view = update(vec![user("bob"), user("root")]).await.unwrap();
    assert_eq!(view.slivers[0].operational, O::UpdatingUsers);
    let logins: Vec<_> = view.slivers[0].accounts.iter().map(|account| account.login.to_string()).collect();
    assert_eq!(logins, ["ann", "bob", "u-root"]);
    yard.perform("s", Action::CancelUpdateUsers).await.unwrap();
    yard.settle().await;
    assert_eq!(yard.states("s").await, [O::Ready]);
    let view = update(vec![User { urn: user_urn("bob"), keys: vec![] }]).await.unwrap();
    let keys: Vec<_> = view.slivers[0].accounts.iter().map(|account| account.keys.len()).collect();
    assert_eq!(keys, [1, 0, 1], "exactly the listed keys; who is not listed stays");
    yard.settle().await;
    let view = update(vec![User { urn: user_urn("bob"), keys: vec![] }]).await.unwrap();
    assert_eq!(view.slivers[0].operational, O::Ready, "nothing changed, so nothing is to be done");
}

#[tokio::test]
async fn leases() {
    let yard = Yard::new(&[("local", 9)]).await;
    let mut long = request("s", &["a"]);
    long.end = Some(now() + minutes(24 * 60));
    let view = yard.controller.allocate(&ann(), long).await.unwrap();
    assert_eq!(view.slivers[0].expires, now() + minutes(120));
    assert_eq!(view.diagnostics.len(), 1, "it is told that the end is another");
    let mut past = request("t", &["a"]);
    past.end = Some(now() - minutes(1));
    assert!(matches!(yard.controller.allocate(&ann(), past).await, Err(Refusal::OutOfRange(_))));
    let too_late = yard.renew("s", now() + minutes(121)).await;
    assert!(
        matches!(&too_late, Err(Refusal::OutOfRange(text)) if text.contains("until 2027-01-15T10:00:00Z")),
        "{too_late:?}"
    );
    assert!(matches!(yard.renew("s", now()).await, Err(Refusal::OutOfRange(_))));
    let view = yard.renew("s", now() + minutes(5)).await.unwrap();
    assert_eq!(view.slivers[0].expires, now() + minutes(5), "shorter is fine");
    let mut short = ann();
    short.until = now() + minutes(60);
    let request = |alap| Renew {
        selection: whole("s"),
        end: now() + minutes(90),
        as_late_as_possible: alap,
        effort: Effort::AllOrNothing,
    };
    assert!(matches!(yard.controller.renew(&short, request(false)).await, Err(Refusal::OutOfRange(_))));
    let view = yard.controller.renew(&short, request(true)).await.unwrap();
    assert_eq!(view.slivers[0].expires, short.until);
    // Provisioned and allocated slivers in one slice have limits of their own.
    yard.provision("s").await.unwrap();
    yard.allocate("s", &["b"]).await.unwrap();
    let days = Renew { end: now() + minutes(6 * 24 * 60), effort: Effort::Best, ..request(false) };
    let view = yard.controller.renew(&ann(), days.clone()).await.unwrap();
    assert_eq!(view.slivers[0].expires, days.end);
    assert!(view.slivers[1].error.contains("too late"));
    short.until = now();
    assert!(matches!(
        yard.controller.status(&short, whole("s"), Effort::Best).await,
        Err(Refusal::Expired(_))
    ));
}

#[tokio::test]
async fn quotas() {
    let mut settings = settings(&[("local", 9)]);
    settings.quotas.nodes_per_slice = 2;
    settings.quotas.slices_per_user = 2;
    let yard = Yard::with(settings, vec![("local", Default::default())]).await;
    assert!(matches!(yard.allocate("s", &["a", "b", "c"]).await, Err(Refusal::Refused(_))));
    yard.allocate("s", &["a", "b"]).await.unwrap();
    assert!(matches!(yard.allocate("s", &["c"]).await, Err(Refusal::Refused(_))));
    yard.allocate("t", &["a"]).await.unwrap();
    let refused = yard.allocate("u", &["a"]).await;
    assert!(matches!(&refused, Err(Refusal::Refused(text)) if text.contains("2 slices")), "{refused:?}");
    assert!(yard.controller.allocate(&caller("bob"), request("u", &["a"])).await.is_ok());
    assert_eq!(
        yard.controller.counts().hosts[&"local".parse().unwrap()].nodes,
        4,
        "refused ones gave theirs back"
    );
}

#[tokio::test]
async fn what_a_hosts_kernel_has_no_room_for_is_refused_with_the_remedy() {
    let tight: std::sync::Arc<ScriptedHost> = std::sync::Arc::default();
    tight.set_limits(HostLimits { network_namespaces: Some(3), processes: Some(20), ..HostLimits::UNKNOWN });
    let real = SliverType { runtime: RuntimeKind::Docker, ..kind("plain", false) };
    let yard = Yard::with(settings_with(&[("local", 9)], vec![real]), vec![("local", tight)]).await;
    let refused = yard.allocate("s", &["a", "b", "c"]).await;
    let has_remedy = |text: &str| text.contains("raise user.max_net_namespaces by 1 or more");
    assert!(matches!(&refused, Err(Refusal::TooBig(text)) if has_remedy(text)), "{refused:?}");
    yard.allocate("s", &["a", "b"]).await.unwrap();
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].nodes, 2);
}

#[tokio::test]
async fn exposed_ports_where_the_kind_says_so() {
    let yard = Yard::new(&[("local", 9)]).await;
    yard.host().expose(&["80/tcp", "53/udp"]);
    let mut open = request("s", &["a", "b"]);
    open.topology.nodes[0].sliver_type = Some("open".parse().unwrap());
    yard.controller.allocate(&ann(), open).await.unwrap();
    yard.provision("s").await.unwrap();
    yard.settle().await;
    let view = yard.status("s").await.unwrap();
    let forwards: Vec<_> = view.slivers[0].forwards.iter().map(|forward| forward.port.to_string()).collect();
    assert_eq!(forwards, ["80/tcp", "53/udp"]);
    assert!(view.slivers[1].forwards.is_empty());
    assert_eq!(yard.host().desired()[0].forwards.len() + yard.host().desired()[1].forwards.len(), 4);
    yard.delete("s").await.unwrap();
    yard.settle().await;
    assert_eq!(yard.controller.counts().hosts[&"local".parse().unwrap()].ports, 0);
}
