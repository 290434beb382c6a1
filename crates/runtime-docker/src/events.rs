//! What happens to nodes, from the engine's own stream of events.
//!
//! ```text
//!   away ──engine answers──► Resync ──► events since just before ──stream breaks──► away
//! ```
//!
//! The engine keeps its last 256 events, so asking for those since a moment before the [`RuntimeEvent::Resync`]
//! leaves no gap between the look at everything and the first event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use testyard_model::id::Instance;
use testyard_runtime::RuntimeEvent;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::engine::{Engine, Fault};
use crate::mark;

/// Events that wait for a slow reader; more become one [`RuntimeEvent::Resync`].
const WAITING: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const AFTER_OOM: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The events of one testbed's nodes. The stream never ends; its work ends when it is dropped. To be called where tokio
/// runs.
pub(crate) fn stream(engine: Arc<Engine>, instance: Instance) -> BoxStream<'static, RuntimeEvent> {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        // Fails only when nobody reads any more.
        let _ = follow(&engine, &instance, &sender).await;
    });
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
}

/// Nobody reads the events any more.
struct Dropped;

async fn follow(
    engine: &Engine,
    instance: &Instance,
    to: &mpsc::Sender<RuntimeEvent>,
) -> Result<(), Dropped> {
    let mut pause = FIRST_PAUSE;
    loop {
        let before = Timestamp::now();
        match engine.call(async |docker| docker.ping().await).await {
            Ok(_) => {
                pause = FIRST_PAUSE;
                to.send(RuntimeEvent::Resync).await.map_err(|_| Dropped)?;
                let fault = read(engine, instance, before, to).await?;
                tracing::info!(fault = fault.as_ref().map(Fault::text), "the engine's events have ended");
                engine.forget().await;
            }
            Err(fault) => tracing::debug!(fault = fault.text(), "the engine is away"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = to.closed() => return Err(Dropped),
        }
    }
}

async fn read(
    engine: &Engine,
    instance: &Instance,
    since: Timestamp,
    to: &mpsc::Sender<RuntimeEvent>,
) -> Result<Option<Fault>, Dropped> {
    let client = match engine.client().await {
        Ok(client) => client,
        Err(fault) => return Ok(Some(fault)),
    };
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let filters = HashMap::from([
        ("type".to_owned(), words(&["container"])),
        ("label".to_owned(), vec![mark::filter(instance)]),
        ("event".to_owned(), words(&["start", "die", "destroy", "oom"])),
    ]);
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
    let mut messages = client.events(Some(options));
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = to.closed() => return Err(Dropped),
        };
        let message = match message {
            None => return Ok(None),
            Some(Err(error)) => return Ok(Some(error.into())),
            Some(Ok(message)) => message,
        };
        let Some(event) = event(instance, &message) else { continue };
        if message.action.as_deref() == Some("oom") {
            // It comes when memory has run out, before the kernel has chosen whom to end.
            let (to, event) = (to.clone(), event.clone());
            tokio::spawn(async move {
                tokio::time::sleep(AFTER_OOM).await;
                // What is full is emptied with a Resync.
                let _ = to.try_send(event);
            });
        }
        match to.try_send(event) {
            Ok(()) => {}
            // What is lost while this waits lies before the Resync.
            Err(TrySendError::Full(_)) => to.send(RuntimeEvent::Resync).await.map_err(|_| Dropped)?,
            Err(TrySendError::Closed(_)) => return Err(Dropped),
        }
    }
}

fn event(instance: &Instance, message: &EventMessage) -> Option<RuntimeEvent> {
    // The engine puts the container's name beside its labels.
    let attributes = message.actor.as_ref()?.attributes.as_ref()?;
    let name = attributes.get("name").map_or("", String::as_str);
    mark::key(instance, attributes, name).map(RuntimeEvent::Changed)
}
