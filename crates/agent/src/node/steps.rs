//! Carrying out one step for a node. Steps run to their end, since a step that is dropped half-way may still happen in
//! the engine; only the fetching of an image, which can take minutes, gives way to a new desired state.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use testyard_fabric::FabricError;
use testyard_model::image::{ImageName, ImageSource, ImageUrl};
use testyard_runtime::{
    Image, ImageError, NodeKey, NodeSpec, PowerSeen, Pull, PullProgress, Runtime, RuntimeError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::guest::Conversation;
use crate::images::{Ask, Trouble};
use crate::ledger::{Boot, Record};
use crate::node::decide::Step;
use crate::node::task::{Connection, Task, Wanted};
use crate::observed::{Phase, Stage};

/// After so long a start people are told what is waited for.
const LONG_START: Duration = Duration::from_secs(10);

/// How often people are told how an image comes: they read it.
const SHOWN: Duration = Duration::from_millis(200);

/// A step could not be carried out.
pub(super) enum Setback {
    /// Try again after a while.
    Passing(String),
    /// Never for this attempt.
    Final(String),
    /// The desired state has changed meanwhile: decide again.
    Overtaken,
}

impl Task {
    pub(super) async fn carry_out(&mut self, wanted: &Wanted, step: Step) -> Result<(), Setback> {
        let node = &wanted.node;
        self.doing.step = match step {
            Step::FetchImage => Some(Phase::Pulling),
            Step::Create | Step::Boot(_) => Some(Phase::Booting),
            Step::Stop | Step::Discard(_) => Some(Phase::Stopping),
            // It can be used as before while its interfaces change.
            Step::Attach if self.is_connected(node.disk) => None,
            Step::Listen | Step::Attach => Some(Phase::Configuring),
            Step::GiveUp(_) | Step::Rest => None,
        };
        self.publish(wanted);
        let runtime = self.runtime()?;
        let key = NodeKey { slice: self.slice, sliver: self.sliver, disk: node.disk };
        match step {
            Step::Rest => Ok(()),
            Step::GiveUp(reason) => Err(Setback::Final(reason)),
            Step::FetchImage => self.fetch_image(wanted, &*runtime).await,
            Step::Create => {
                let image = self.image.clone().ok_or(Setback::Overtaken)?;
                let spec = NodeSpec {
                    key,
                    hostname: node.hostname.clone(),
                    image: image.clone(),
                    limits: node.limits,
                    privileges: node.privileges.clone(),
                };
                // Whatever fails may fail because the image is gone or has changed: the next try looks at it again.
                self.facts.image_ready = false;
                if self.take_spare(&*runtime, &spec, node.boot).await {
                    return Ok(());
                }
                runtime.create(&spec).await?;
                self.reached(Stage::Created);
                let record = Record {
                    slice: self.slice,
                    disk: node.disk,
                    image,
                    url: node.image.url().cloned(),
                    boot: None,
                    timeline: self.timeline.clone(),
                    ended: None,
                };
                self.remember(record);
                self.facts.disks.insert(node.disk, PowerSeen::Created);
                Ok(())
            }
            Step::Boot(pause) => {
                tokio::time::sleep(pause).await;
                self.boot(wanted, &*runtime, key).await
            }
            Step::Listen => {
                let since = self.running_since(node.disk).ok_or(Setback::Overtaken)?;
                let image = self.known_image(wanted, &*runtime).await?;
                if self.facts.record.as_ref().is_none_or(|record| record.disk != node.disk) {
                    // An agent ended before it could write this down, or the record was lost: it is taken as it is, and
                    // from now on restarts and removals have what they need to know.
                    self.remember(Record {
                        slice: self.slice,
                        disk: node.disk,
                        image,
                        url: node.image.url().cloned(),
                        boot: Some(Boot { counter: node.boot, since: Some(since) }),
                        timeline: self.timeline.clone(),
                        ended: None,
                    });
                }
                self.conversation = Some(Conversation::start(runtime.listen(&key).await?, self.asker()));
                self.facts.listening = Some(since);
                self.fresh_conversation();
                // What needs no interface is done while it is made.
                self.tell(wanted).map_err(Setback::Final)
            }
            Step::Attach => self.attach(wanted).await,
            Step::Stop => {
                runtime.stop(&key, self.context.stop_grace).await?;
                self.conversation = None;
                self.facts.deaths.clear();
                self.facts.disks.insert(node.disk, PowerSeen::Stopped { exit: None, out_of_memory: false });
                Ok(())
            }
            Step::Discard(disk) => {
                runtime.remove(&NodeKey { disk, ..key }).await?;
                self.conversation = None;
                self.facts.disks.remove(&disk);
                self.facts.image_ready = false;
                self.facts.deaths.clear();
                Ok(())
            }
        }
    }

    async fn fetch_image(&mut self, wanted: &Wanted, runtime: &dyn Runtime) -> Result<(), Setback> {
        self.timeline.clear();
        self.reached(Stage::Begun);
        let image = match &wanted.node.image {
            ImageSource::Name(name) => self.pull(wanted, name, runtime).await,
            ImageSource::Url(url) => self.make(wanted, url).await,
        };
        (self.pull, self.making) = (None, None);
        self.image = Some(image?);
        self.facts.image_ready = true;
        self.reached(Stage::ImageReady);
        Ok(())
    }

    /// The image of this name.
    async fn pull(
        &mut self,
        wanted: &Wanted,
        name: &ImageName,
        runtime: &dyn Runtime,
    ) -> Result<Image, Setback> {
        let (progress, mut progressed) = watch::channel(PullProgress::default());
        let mut overtaken = self.wanted.clone();
        let mut fetch = runtime.image(name, Pull::Missing, &progress);
        let mut shown = Instant::now();
        loop {
            tokio::select! {
                image = &mut fetch => return Ok(image?),
                _ = overtaken.changed() => return Err(Setback::Overtaken),
                Ok(()) = progressed.changed() => {
                    self.pull = Some(*progressed.borrow_and_update());
                    if shown.elapsed() > SHOWN {
                        self.publish(wanted);
                        shown = Instant::now();
                    }
                }
            }
        }
    }

    /// The image that is made of this URL.
    async fn make(&mut self, wanted: &Wanted, url: &ImageUrl) -> Result<Image, Setback> {
        let ask = Ask {
            sliver: self.sliver,
            slice: self.slice,
            url: url.clone(),
            runtime: self.runtime()?,
            attachment: self.connection_of(wanted).control,
        };
        let images = Arc::clone(&self.context.images);
        let (told, mut telling) = watch::channel(String::new());
        let mut overtaken = self.wanted.clone();
        let mut get = pin!(images.get(ask, |step| drop(told.send_replace(step))));
        // What was told last is shown too, however soon after another it came.
        let (mut shown, mut due) = (Instant::now(), None);
        loop {
            tokio::select! {
                image = &mut get => return Ok(image?),
                _ = overtaken.changed() => return Err(Setback::Overtaken),
                Ok(()) = telling.changed() => {
                    self.making = Some(telling.borrow_and_update().clone());
                    due = due.or(Some(shown + SHOWN));
                }
                () = tokio::time::sleep_until(due.unwrap_or(shown)), if due.is_some() => {
                    self.publish(wanted);
                    (shown, due) = (Instant::now(), None);
                }
            }
        }
    }

    /// What the node was made from; if the record of it is lost, what its image's name means now.
    async fn known_image(&mut self, wanted: &Wanted, runtime: &dyn Runtime) -> Result<Image, Setback> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        let image = match &wanted.node.image {
            ImageSource::Name(name) => {
                let (progress, _) = watch::channel(PullProgress::default());
                runtime.image(name, Pull::Missing, &progress).await?
            }
            ImageSource::Url(url) => self.make(wanted, url).await?,
        };
        self.image = Some(image.clone());
        Ok(image)
    }

    async fn boot(&mut self, wanted: &Wanted, runtime: &dyn Runtime, key: NodeKey) -> Result<(), Setback> {
        let node = &wanted.node;
        if self.timeline.iter().any(|milestone| milestone.stage == Stage::Started) {
            self.timeline.clear();
            self.reached(Stage::Begun);
        }
        let image = self.known_image(wanted, runtime).await?;
        // A boot that was asked for begins anew; one that mends an end is remembered with it.
        let mends = |record: &&Record| {
            record.disk == node.disk && record.boot.is_some_and(|boot| boot.counter == node.boot)
        };
        let ended = self.facts.record.as_ref().filter(mends).and_then(|record| record.ended.clone());
        self.fresh_run();
        let record = |boot, timeline| Record {
            slice: self.slice,
            disk: node.disk,
            image,
            url: node.image.url().cloned(),
            boot: Some(boot),
            timeline,
            ended,
        };
        // Written before the node starts: an agent that ends in between knows for which counter it was.
        let begun = record(Boot { counter: node.boot, since: None }, Vec::new());
        self.remember(begun.clone());
        self.conversation = Some(Conversation::start(runtime.listen(&key).await?, self.asker()));
        self.fresh_conversation();
        self.tell(wanted).map_err(Setback::Final)?;
        let mut start = runtime.start(&key);
        let started = match tokio::time::timeout(LONG_START, &mut start).await {
            Ok(started) => started,
            Err(_) => {
                self.doing.trouble = Some(format!(
                    "its host's engine has not started it within {} s; waiting for it",
                    LONG_START.as_secs()
                ));
                self.publish(wanted);
                start.await
            }
        };
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                if matches!(error, RuntimeError::EndedAtOnce { .. }) {
                    // What cannot stay up must not be started for ever.
                    self.facts.deaths.push((self.context.now)());
                }
                self.look().await;
                return Err(match error {
                    // Somebody is removing it: what has been seen by now says what that means.
                    RuntimeError::Missing(_) => Setback::Passing(error.to_string()),
                    other => other.into(),
                });
            }
        };
        self.reached(Stage::Started);
        let boot = Some(Boot { counter: node.boot, since: Some(running.since) });
        self.remember(Record { boot, timeline: self.timeline.clone(), ..begun });
        self.facts.listening = Some(running.since);
        self.facts.disks.insert(node.disk, PowerSeen::Running(running));
        Ok(())
    }

    async fn attach(&mut self, wanted: &Wanted) -> Result<(), Setback> {
        let node = &wanted.node;
        let Some(PowerSeen::Running(running)) = self.facts.disks.get(&node.disk).cloned() else {
            return Err(Setback::Overtaken);
        };
        let key = NodeKey { slice: self.slice, sliver: self.sliver, disk: node.disk };
        self.runtime()?.name(&key, &running, &node.hostname).await?;
        let connection = self.connection_of(wanted);
        match self.connect(&connection, &running.netns).await {
            Ok(()) => {
                (self.facts.attached, self.facts.outdated) = (Some(running.since), false);
                self.context.places.put(self.sliver, running.netns.clone());
                self.connection = Some(connection);
                self.reached(Stage::Attached);
                Ok(())
            }
            Err(FabricError::Gone { .. }) => {
                self.look().await;
                Err(Setback::Passing("the node ended while its interfaces were being made".into()))
            }
            Err(error) => Err(Setback::Passing(error.to_string())),
        }
    }

    /// Makes all interfaces of a node: the control interface first, so that it can be reached while links are in trouble.
    async fn connect(&self, connection: &Connection, netns: &Path) -> Result<(), FabricError> {
        let fabric = &self.context.fabric;
        fabric.attach(&connection.control, netns).await?;
        let had_ports = self.connection.as_ref().is_some_and(|there| !there.ports.ports.is_empty());
        if connection.ports.ports.is_empty() && !had_ports {
            return Ok(());
        }
        let trouble =
            |detail| FabricError::Kernel { action: "joining the links of its slice".to_owned(), detail };
        self.links.joined().await.map_err(trouble)?;
        fabric.plug(self.slice, &connection.ports, netns).await
    }
}

impl From<RuntimeError> for Setback {
    fn from(error: RuntimeError) -> Self {
        if error.is_passing() { Self::Passing(error.to_string()) } else { Self::Final(error.to_string()) }
    }
}

impl From<ImageError> for Setback {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unreachable { .. } => Self::Passing(error.to_string()),
            ImageError::NotFound { .. } | ImageError::Unfit { .. } => Self::Final(error.to_string()),
        }
    }
}

impl From<Trouble> for Setback {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(reason) => Self::Passing(reason),
            Trouble::Final(reason) => Self::Final(reason),
        }
    }
}
