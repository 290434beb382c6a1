//! A node from desired to ready, through its changes, to gone.

use std::sync::Arc;

use async_trait::async_trait;
use testyard_agent::observed::Phase;
use testyard_agent::{Fact, Facts, NoFact, desired, observed};
use testyard_guest_protocol::{
    Answer, Ask, FromGuest, Hello, PROTOCOL, ToGuest, Told, read_async, write_async,
};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_runtime::fake::{Fault, FaultKind, GuestScript, Manner, Op};

use crate::world::World;

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
