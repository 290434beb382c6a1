//! Random sequences of calls, clock steps, host steps, crashes and restarts, beside a model that is too simple to be
//! wrong: after each step callers see what the model says, nothing is held twice, and in the end nothing is left.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use support::*;
use testyard_controller::api::{Effort, Perform, Provision, Refusal, Renew, Selection};
use testyard_model::state::{Action, Allocation, Operational};
use testyard_model::urn::SliverUrn;

const SLICES: [&str; 3] = ["red", "green", "blue"];
const CAPACITY: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Allocate { slice: usize, first: usize, count: usize, minutes: Option<i64> },
    Provision { slice: usize, pick: Option<usize>, best: bool, minutes: Option<i64> },
    Perform { slice: usize, pick: Option<usize>, best: bool, action: usize },
    Renew { slice: usize, pick: Option<usize>, best: bool, late: bool, minutes: i64 },
    Delete { slice: usize, pick: Option<usize> },
    Wait { seconds: i64 },
    Host { host: usize, choice: usize, late: bool },
    Deliver { host: usize, count: usize },
    Settle,
    HostCrash { host: usize },
    Restart { well: bool },
    DiskFull,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slice = 0..SLICES.len();
    let pick = || prop::option::of(0usize..6);
    let step = prop_oneof![
        4 => (slice.clone(), 0usize..5, 1usize..4, prop::option::of(-5i64..300))
            .prop_map(|(slice, first, count, minutes)| Step::Allocate { slice, first, count, minutes }),
        4 => (slice.clone(), pick(), any::<bool>(), prop::option::of(-5i64..60_000))
            .prop_map(|(slice, pick, best, minutes)| Step::Provision { slice, pick, best, minutes }),
        3 => (slice.clone(), pick(), any::<bool>(), 0..Action::ALL.len())
            .prop_map(|(slice, pick, best, action)| Step::Perform { slice, pick, best, action }),
        2 => (slice.clone(), pick(), any::<bool>(), any::<bool>(), -5i64..60_000)
            .prop_map(|(slice, pick, best, late, minutes)| Step::Renew { slice, pick, best, late, minutes }),
        2 => (slice, pick()).prop_map(|(slice, pick)| Step::Delete { slice, pick }),
        2 => prop_oneof![1i64..700, 1i64..700_000].prop_map(|seconds| Step::Wait { seconds }),
        8 => (0usize..2, any::<usize>(), any::<bool>())
            .prop_map(|(host, choice, late)| Step::Host { host, choice, late }),
        2 => (0usize..2, 1usize..9).prop_map(|(host, count)| Step::Deliver { host, count }),
        2 => Just(Step::Settle),
        1 => (0usize..2).prop_map(|host| Step::HostCrash { host }),
        1 => any::<bool>().prop_map(|well| Step::Restart { well }),
        1 => Just(Step::DiskFull),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, Debug)]
struct Known {
    urn: SliverUrn,
    provisioned: bool,
    expires: Timestamp,
}

/// What callers are to see.
#[derive(Default)]
struct Model {
    slices: BTreeMap<usize, BTreeMap<String, Known>>,
    now: Timestamp,
    full: bool,
}

impl Model {
    fn pass(&mut self, now: Timestamp) {
        self.now = now;
        for slice in self.slices.values_mut() {
            slice.retain(|_, known| known.expires > now);
        }
        self.slices.retain(|_, slice| !slice.is_empty());
    }

    fn slice(&self, slice: usize) -> Vec<(String, Known)> {
        self.slices
            .get(&slice)
            .into_iter()
            .flatten()
            .map(|(name, known)| (name.clone(), known.clone()))
            .collect()
    }

    /// A selection, and the names that it is about; no names if a sliver of it is not there.
    fn select(&self, slice: usize, pick: Option<usize>) -> (Selection, Option<Vec<String>>) {
        let all = self.slice(slice);
        match pick {
            None => (whole(SLICES[slice]), Some(all.into_iter().map(|(name, _)| name).collect())),
            Some(index) => match all.get(index) {
                Some((name, known)) => (some(SLICES[slice], &[&known.urn]), Some(vec![name.clone()])),
                None => {
                    let gone = "urn:publicid:IDN+am.example.net+sliver+00000000-0000-0000-0000-000000000000";
                    (some(SLICES[slice], &[&gone.parse().unwrap()]), None)
                }
            },
        }
    }

    fn end(&self, minutes: Option<i64>, default: i64, longest: i64) -> Option<Timestamp> {
        let minutes = minutes.unwrap_or(default).min(longest);
        (minutes > 0).then(|| self.now + SignedDuration::from_mins(minutes))
    }
}

const DAY: i64 = 24 * 60;

fn effort(best: bool) -> Effort {
    if best { Effort::Best } else { Effort::AllOrNothing }
}

async fn carry_out(yard: &mut Yard, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    // A disk that is full fails the next change, whichever it is; whether there is one is what the call says.
    let full = std::mem::take(&mut model.full);
    if full {
        yard.store.flush().await;
        yard.store.fail_commits(1);
    }
    let failed = |outcome: &Result<_, Refusal>| matches!(outcome, Err(Refusal::Internal(_))) && full;
    match step.clone() {
        Step::Allocate { slice, first, count, minutes } => {
            let names: Vec<String> = (first..first + count).map(|number| format!("n{number}")).collect();
            let names_str: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut asked = request(SLICES[slice], &names_str);
            asked.end = minutes.map(|minutes| model.now + SignedDuration::from_mins(minutes));
            let in_use: u32 = yard.controller.counts().hosts.values().map(|host| host.nodes).sum();
            let outcome = yard.controller.allocate(&owner(slice), asked).await;
            if failed(&outcome) {
                return Ok(());
            }
            let has = model.slices.get(&slice);
            let clash = names.iter().any(|name| has.is_some_and(|has| has.contains_key(name)));
            let end = model.end(minutes, 10, 120);
            match outcome {
                Ok(view) => {
                    prop_assert!(!clash && end.is_some());
                    prop_assert_eq!(view.slivers.len(), count);
                    for sliver in view.slivers {
                        prop_assert_eq!(Some(sliver.expires), end);
                        let known = Known { urn: sliver.urn, provisioned: false, expires: sliver.expires };
                        model.slices.entry(slice).or_default().insert(sliver.client_id.to_string(), known);
                    }
                }
                Err(Refusal::AlreadyExists(_)) => prop_assert!(clash),
                Err(Refusal::TooBig(_)) => prop_assert!(in_use + count as u32 > 2 * CAPACITY),
                Err(Refusal::OutOfRange(_)) => prop_assert!(end.is_none()),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
        Step::Provision { slice, pick, best, minutes } => {
            let (selection, names) = model.select(slice, pick);
            let asked = minutes.map(|minutes| model.now + SignedDuration::from_mins(minutes));
            let request = Provision { selection, users: vec![user("ann")], end: asked, effort: effort(best) };
            let outcome = yard.controller.provision(&owner(slice), request).await;
            if failed(&outcome) {
                return Ok(());
            }
            let end = model.end(minutes, 7 * DAY, 30 * DAY);
            let has = model.slices.get_mut(&slice);
            match (outcome, names, has) {
                (Err(Refusal::NotFound(_)), names, has) => {
                    prop_assert!(names.is_none() && !best || pick.is_none() && has.is_none());
                }
                (Ok(view), None, _) => {
                    prop_assert!(best && view.missing.len() == 1 && view.slivers.is_empty())
                }
                (Err(Refusal::OutOfRange(_)), _, _) => prop_assert!(end.is_none()),
                (Err(Refusal::Unsupported(_)), Some(names), Some(has)) => {
                    prop_assert!(!best || pick.is_none());
                    prop_assert!(names.iter().all(|name| has[name].provisioned));
                }
                (Ok(view), Some(names), Some(has)) => {
                    let fresh: BTreeSet<_> =
                        names.iter().filter(|name| !has[*name].provisioned).cloned().collect();
                    prop_assert!(end.is_some());
                    for sliver in view.slivers {
                        let name = sliver.client_id.to_string();
                        prop_assert_eq!(fresh.contains(&name), sliver.error.is_empty());
                    }
                    for name in fresh {
                        let known = has.get_mut(&name).unwrap();
                        (known.provisioned, known.expires) = (true, end.unwrap());
                    }
                }
                (outcome, names, _) => prop_assert!(false, "{outcome:?} for {names:?}"),
            }
        }
        Step::Perform { slice, pick, best, action } => {
            let (selection, names) = model.select(slice, pick);
            let action = Action::ALL[action];
            let before = yard.controller.describe(&owner(slice), whole(SLICES[slice])).await.unwrap();
            let request = Perform { selection, action, users: vec![user("bob")], effort: effort(best) };
            let outcome = yard.controller.perform(&owner(slice), request).await;
            if failed(&outcome) {
                return Ok(());
            }
            let updatable = |state| {
                matches!(state, Operational::Ready | Operational::ReadyBusy | Operational::UpdatingUsers)
            };
            let names = names.unwrap_or_default();
            let has = model.slices.get(&slice).cloned().unwrap_or_default();
            match outcome {
                Ok(_) => {}
                Err(Refusal::NotFound(_)) => prop_assert!(names.is_empty()),
                Err(Refusal::Unsupported(_)) => prop_assert!(names.iter().any(|name| !has[name].provisioned)),
                Err(Refusal::Refused(_)) => {
                    prop_assert_eq!(action, Action::UpdateUsers);
                    prop_assert!(before.slivers.iter().any(|sliver| !updatable(sliver.operational)));
                }
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
        Step::Renew { slice, pick, best, late, minutes } => {
            let (selection, names) = model.select(slice, pick);
            let end = model.now + SignedDuration::from_mins(minutes);
            let request = Renew { selection, end, as_late_as_possible: late, effort: effort(best) };
            let outcome = yard.controller.renew(&owner(slice), request).await;
            if failed(&outcome) {
                return Ok(());
            }
            let now = model.now;
            let limit = |known: &Known| {
                let longest = if known.provisioned { 30 * DAY } else { 120 };
                now + SignedDuration::from_mins(longest)
            };
            let has = model.slices.entry(slice).or_default();
            match (outcome, names) {
                (Err(Refusal::NotFound(_)), names) => {
                    prop_assert!(names.is_none_or(|names| names.is_empty()))
                }
                (Ok(view), None) => prop_assert!(best && view.slivers.is_empty()),
                (Err(Refusal::OutOfRange(_)), Some(names)) => {
                    prop_assert!(!best && names.iter().any(|name| end <= now || end > limit(&has[name])));
                }
                (Ok(_), Some(names)) => {
                    for name in names {
                        let known = has.get_mut(&name).unwrap();
                        if end > now && (end <= limit(known) || late) {
                            known.expires = end.min(limit(known));
                        } else {
                            prop_assert!(best);
                        }
                    }
                }
                (Err(other), _) => prop_assert!(false, "{other:?}"),
            }
        }
        Step::Delete { slice, pick } => {
            let (selection, names) = model.select(slice, pick);
            let outcome = yard.controller.delete(&owner(slice), selection, Effort::AllOrNothing).await;
            if failed(&outcome) {
                return Ok(());
            }
            match (outcome, names) {
                (Ok(view), Some(names)) => {
                    prop_assert_eq!(view.slivers.len(), names.len());
                    let has = model.slices.get_mut(&slice).unwrap();
                    for sliver in view.slivers {
                        prop_assert_eq!(sliver.allocation, Allocation::Unallocated);
                        let known = has.remove(sliver.client_id.as_str()).unwrap();
                        prop_assert_eq!(sliver.expires, known.expires);
                    }
                }
                (Err(Refusal::NotFound(_)), names) => {
                    prop_assert!(names.is_none_or(|names| names.is_empty()))
                }
                (outcome, _) => prop_assert!(false, "{outcome:?}"),
            }
        }
        Step::Wait { seconds } => {
            yard.clock.advance(SignedDuration::from_secs(seconds));
            model.pass(model.now + SignedDuration::from_secs(seconds));
        }
        Step::Host { host, choice, late } => {
            yard.hosts[host].1.step(choice, late);
        }
        Step::Deliver { host, count } => yard.hosts[host].1.deliver(count),
        Step::Settle => yard.settle().await,
        Step::HostCrash { host } => yard.hosts[host].1.crash(),
        Step::Restart { well } => {
            let mut before = views(yard).await;
            yard.hosts.iter().for_each(|(_, host)| host.deliver(usize::MAX));
            if well {
                yard.settle().await;
                before = views(yard).await;
            }
            yard.restart(well).await;
            if well {
                prop_assert_eq!(views(yard).await, before);
            }
        }
        Step::DiskFull => model.full = true,
    }
    // A fault that met no change is over.
    yard.store.flush().await;
    yard.store.fail_commits(0);
    Ok(())
}

fn owner(slice: usize) -> testyard_controller::api::Caller {
    let mut caller = caller(if slice == 2 { "bob" } else { "ann" });
    caller.until = Timestamp::MAX;
    caller
}

async fn views(yard: &Yard) -> String {
    let mut text = String::new();
    for (index, slice) in SLICES.iter().enumerate() {
        let view = yard.controller.describe(&owner(index), whole(slice)).await.unwrap();
        text += &format!("{:#?}\n", lasting(view));
    }
    text
}

async fn check(yard: &Yard, model: &Model) -> Result<(), TestCaseError> {
    let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, slice) in SLICES.iter().enumerate() {
        let view = yard.controller.describe(&owner(index), whole(slice)).await.unwrap();
        let expected = model.slice(index);
        let mut seen: Vec<_> = view.slivers.iter().map(|sliver| sliver.client_id.to_string()).collect();
        seen.sort();
        prop_assert_eq!(seen, expected.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        for sliver in &view.slivers {
            let known = &model.slices[&index][sliver.client_id.as_str()];
            prop_assert_eq!(&sliver.urn, &known.urn);
            prop_assert_eq!(sliver.expires, known.expires);
            prop_assert_eq!(sliver.allocation == Allocation::Provisioned, known.provisioned);
            prop_assert_eq!(sliver.operational == Operational::PendingAllocation, !known.provisioned);
            prop_assert!(addresses.insert((sliver.host.clone(), sliver.address.ipv4)));
            if let Some(port) = sliver.ssh_port {
                prop_assert!(ports.insert((sliver.host.clone(), port)));
            }
        }
    }
    let counts = yard.controller.counts();
    let held: u32 = counts.hosts.values().map(|host| host.nodes).sum();
    prop_assert_eq!(held as usize, counts.allocated + counts.provisioned + counts.leaving);
    prop_assert!(counts.hosts.values().all(|host| host.nodes <= CAPACITY));
    Ok(())
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut yard = Yard::new(&[("east", CAPACITY), ("west", CAPACITY)]).await;
    let mut model = Model { now: now(), ..Model::default() };
    for step in &steps {
        carry_out(&mut yard, &mut model, step).await?;
        model.pass(model.now);
        check(&yard, &model).await?;
    }
    for (index, slice) in SLICES.iter().enumerate() {
        if model.slices.get(&index).is_some_and(|slice| !slice.is_empty()) {
            yard.controller.delete(&owner(index), whole(slice), Effort::AllOrNothing).await.unwrap();
        }
    }
    // A host that has crashed is listened to again after a while, and then told again. The clock of the runtime runs
    // ahead whenever it waits for the writer's thread, so rounds are counted, not seconds.
    for _ in 0..500 {
        let counts = yard.controller.counts();
        if counts.slices + counts.ended == 0 {
            break;
        }
        yard.settle().await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let counts = yard.controller.counts();
    prop_assert!(counts.hosts.values().all(|host| host.nodes == 0 && host.ports == 0), "{counts:?}");
    prop_assert!(yard.hosts.iter().all(|(_, host)| host.nodes() == 0));
    yard.controller.shut_down().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn callers_see_what_the_model_says_and_nothing_is_left(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
