//! The pool's work in the background: one thing at a time, when nobody waits for a node.

use std::sync::Arc;
use std::time::Duration;

use testyard_model::id::SliverId;
use testyard_runtime::{NodeKey, NodeSpec, PowerSeen, Pull, PullProgress, Runtime};
use tokio::sync::watch;
use uuid::Uuid;

use super::attend::Attendant;
use super::decide::{Action, Power, Spare};
use super::{Make, PoolSettings, State};
use crate::node::task::Context;

/// Pauses after failures double from here.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keeps the pool as it should be; never returns.
pub(crate) async fn keep(context: Arc<Context>) {
    let pool = &context.pool;
    let mut settings = pool.settings.subscribe();
    let mut pause = FIRST_PAUSE;
    let mut last_failure = None;
    loop {
        let now = settings.borrow_and_update().clone();
        let wait = match step(&context, now.as_ref()).await {
            Ok(true) => {
                (pause, last_failure) = (FIRST_PAUSE, None);
                continue;
            }
            Ok(false) => LONGEST_PAUSE,
            Err(reason) => {
                if last_failure.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "the pool is not as it should be; will try again");
                }
                last_failure = Some(reason);
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        let failed = last_failure.is_some();
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return },
            // What a failure itself has caused must not hurry the next try.
            () = pool.wake.notified(), if !failed => {}
            () = tokio::time::sleep(wait), if failed => {}
        }
    }
}

/// Does one thing; false if there is nothing to do.
async fn step(context: &Context, settings: Option<&PoolSettings>) -> Result<bool, String> {
    let pool = &context.pool;
    if !pool.lock().listed {
        list(context).await?;
        return Ok(true);
    }
    if look(context).await? {
        return Ok(true);
    }
    let settings = settings.filter(|settings| settings.size > 0);
    learn(context, settings).await?;
    let Some(action) = pool.next() else { return Ok(false) };
    let takes_time = matches!(action, Action::Make | Action::Boot(_));
    if takes_time && pool.rush.is_on() && pool.rush.calm().await {
        // Much may have changed meanwhile.
        return Ok(true);
    }
    match action {
        Action::Remove(key) => remove(context, &key).await?,
        Action::Attend(key) => attend(context, &key).await?,
        Action::Boot(key) => boot(context, &key).await?,
        Action::Make => make(context).await?,
    }
    Ok(true)
}

/// Finds out what there is.
async fn list(context: &Context) -> Result<(), String> {
    let mut seen = Vec::new();
    for runtime in context.runtimes.values() {
        let nodes = runtime.list().await.map_err(|error| error.to_string())?;
        seen.extend(nodes.into_iter().filter(|seen| seen.key.is_spare()));
    }
    let records = context.pool.records.load();
    let mut state = context.pool.lock();
    state.listed = true;
    let there: Vec<NodeKey> = seen.iter().map(|seen| seen.key).collect();
    // What has a record and is not there may have a folder, or be somebody's node by now: removing tells.
    let lost: Vec<NodeKey> =
        records.keys().chain(state.spares.keys()).filter(|key| !there.contains(key)).copied().collect();
    for key in lost {
        state.saw(key, Power::Stopped, None);
    }
    for seen in seen {
        state.saw(seen.key, power(&seen.power), records.get(&seen.key).cloned().flatten());
    }
    Ok(())
}

/// Looks at what something has happened to; false if there is nothing of the kind.
async fn look(context: &Context) -> Result<bool, String> {
    let Some(key) = context.pool.lock().to_look.pop_first() else { return Ok(false) };
    for runtime in context.runtimes.values() {
        match runtime.look(&key).await {
            Ok(Some(seen)) => {
                context.pool.lock().saw(key, power(&seen.power), None);
                return Ok(true);
            }
            Ok(None) => {}
            Err(error) => {
                context.pool.lock().to_look.insert(key);
                return Err(error.to_string());
            }
        }
    }
    let mut state = context.pool.lock();
    if state.spares.contains_key(&key) {
        state.saw(key, Power::Stopped, None);
    }
    Ok(true)
}

/// Finds out what spares are to be made from, if that is not known.
async fn learn(context: &Context, settings: Option<&PoolSettings>) -> Result<(), String> {
    let Some(settings) = settings else {
        context.pool.lock().make = None;
        return Ok(());
    };
    let runtime = context.runtimes.get(&settings.runtime);
    let runtime = runtime.ok_or_else(|| format!("this host has no {} runtime", settings.runtime))?;
    let fits = |make: &Make| {
        (make.limits, &make.privileges, make.runtime)
            == (settings.limits, &settings.privileges, settings.runtime)
    };
    let known = context.pool.lock().make.as_ref().is_some_and(|(make, image)| {
        fits(make) && image.name == settings.image && make.guest == runtime.guest()
    });
    if known {
        return Ok(());
    }
    let progress = watch::Sender::new(PullProgress::default());
    let image = runtime.image(&settings.image, Pull::Missing, &progress).await;
    let image = image.map_err(|error| error.to_string())?;
    let make = Make {
        runtime: settings.runtime,
        image: image.id.clone(),
        limits: settings.limits,
        privileges: settings.privileges.clone(),
        guest: runtime.guest(),
    };
    context.pool.lock().make = Some((make, image));
    Ok(())
}

async fn make(context: &Context) -> Result<(), String> {
    let Some((make, image)) = context.pool.lock().make.clone() else { return Ok(()) };
    let runtime = runtime_of(context, &make)?;
    let key = NodeKey::spare(SliverId::from_uuid(Uuid::new_v4()));
    let spec = NodeSpec {
        key,
        // The runtime gives it one that says what it is.
        hostname: "spare".parse().map_err(|_| "no host name for spares".to_owned())?,
        image,
        limits: make.limits,
        privileges: make.privileges.clone(),
    };
    context.pool.records.store(&key, &make)?;
    let made = runtime.create(&spec).await;
    let mut state = context.pool.lock();
    match made {
        Ok(()) => {
            state.spares.insert(key, Spare { make: Some(make), power: Power::Created, attended: false });
            Ok(())
        }
        Err(error) => {
            // It may be there all the same; and the image may have gone or changed.
            state.spares.insert(key, Spare { make: None, power: Power::Stopped, attended: false });
            state.make = None;
            Err(error.to_string())
        }
    }
}

async fn boot(context: &Context, key: &NodeKey) -> Result<(), String> {
    attend(context, key).await?;
    let runtime = runtime_of_spare(context, key)?;
    let started = runtime.start(key).await;
    let mut state = context.pool.lock();
    match started {
        Ok(_) => {
            state.saw(*key, Power::Running, None);
            if let Some(spare) = state.spares.get_mut(key) {
                spare.attended = true;
            }
            let running = state.spares.values().filter(|spare| spare.power == Power::Running).count();
            tracing::debug!(spares = running, "a spare has been booted");
            Ok(())
        }
        Err(error) => {
            state.saw(*key, Power::Stopped, None);
            Err(error.to_string())
        }
    }
}

async fn attend(context: &Context, key: &NodeKey) -> Result<(), String> {
    let listener = runtime_of_spare(context, key)?.listen(key).await.map_err(|error| error.to_string())?;
    let mut state = context.pool.lock();
    // Not one that has been taken meanwhile: its owner's listener must stay the last.
    if let Some(spare) = state.spares.get_mut(key) {
        spare.attended = true;
        state.attendants.insert(*key, Attendant::of(listener));
    }
    Ok(())
}

async fn remove(context: &Context, key: &NodeKey) -> Result<(), String> {
    let mut result = Ok(());
    for runtime in context.runtimes.values() {
        result = result.and(runtime.remove(key).await.map_err(|error| error.to_string()));
    }
    let mut state = context.pool.lock();
    state.out.remove(key);
    match &result {
        Ok(()) => context.pool.records.forget(key),
        Err(_) => state.saw(*key, Power::Stopped, None),
    }
    result
}

fn runtime_of<'c>(context: &'c Context, make: &Make) -> Result<&'c dyn Runtime, String> {
    let runtime = context.runtimes.get(&make.runtime);
    runtime.map(|runtime| &**runtime).ok_or_else(|| format!("this host has no {} runtime", make.runtime))
}

fn runtime_of_spare<'c>(context: &'c Context, key: &NodeKey) -> Result<&'c dyn Runtime, String> {
    let make = context.pool.lock().spares.get(key).and_then(|spare| spare.make.clone());
    runtime_of(context, &make.ok_or_else(|| format!("{key} has gone"))?)
}

const fn power(seen: &PowerSeen) -> Power {
    match seen {
        PowerSeen::Created => Power::Created,
        PowerSeen::Running(_) => Power::Running,
        PowerSeen::Stopped { .. } => Power::Stopped,
    }
}

// === impl State ===

impl State {
    /// Takes what was seen of a spare; `record` is what it was made from, if this one is new to us.
    fn saw(&mut self, key: NodeKey, power: Power, record: Option<Make>) {
        if self.out.contains(&key) {
            return;
        }
        if power != Power::Running {
            self.attendants.remove(&key);
        }
        let attended = self.attendants.contains_key(&key);
        let spare = self.spares.entry(key).or_insert(Spare { make: record, power, attended });
        (spare.power, spare.attended) = (power, attended);
    }
}
