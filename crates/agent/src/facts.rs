//! Answering what nodes ask about themselves.
//!
//! The agent knows little of a slice; whoever gave it the desired state knows the rest, and is asked through [`Facts`].
//! Who asks is somebody inside a node: questions are counted against a ration of their own (a flood of them delays no
//! report), few are answered at once on the whole host, in a bounded time, and what is being sent takes a bounded
//! amount of memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use testyard_guest_protocol::{Answer, Ask, MAX_WHAT, Told};
use testyard_model::id::{SliceId, SliverId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::ration::Ration;

/// What a node may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// What the testbed says of itself: JSON.
    GetVersion,
    /// The manifest of the node's slice: XML.
    Manifest,
    /// How the slice's nodes are, in the words of version 2 of the AM API: JSON.
    SliverStatus,
    /// How the slice's nodes are: JSON.
    Status,
}

/// Who knows the facts.
#[async_trait]
pub trait Facts: Send + Sync + 'static {
    /// A fact for a node. It is told to every user of that node: no secret may be in it, and nothing of other slices.
    ///
    /// # Errors
    /// [`NoFact`] if there is none.
    async fn fact(&self, slice: SliceId, sliver: SliverId, fact: Fact) -> Result<String, NoFact>;
}

/// There is no such fact, for a reason in a sentence for people in the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct NoFact(pub String);

/// Questions of one connection that may wait. An honest guest has at most one of each kind.
const QUESTIONS: usize = 8;

/// What finding an answer costs of the ration beside its bytes.
const EACH: usize = 32 << 10;

/// Answers that are looked for at once on a host.
const AT_ONCE: usize = 2;

/// What may be on its way to nodes at once on a host, in KiB.
const ON_THE_WAY: usize = 64 << 10;

/// How long an answer may take to be found.
const SEARCH: Duration = Duration::from_secs(5);

/// The host's desk: what all nodes share.
pub(crate) struct Desk {
    facts: Arc<dyn Facts>,
    searching: Semaphore,
    on_the_way: Arc<Semaphore>,
}

/// Answers one node.
#[derive(Clone)]
pub(crate) struct Asker {
    desk: Option<Arc<Desk>>,
    slice: SliceId,
    sliver: SliverId,
    /// Outlives connections: who connects again has no more for it.
    ration: Arc<Mutex<Ration>>,
}

/// Questions of one connection, and where their answers come.
pub(crate) struct Exchange {
    pub(crate) questions: mpsc::Sender<Ask>,
    pub(crate) answers: mpsc::Receiver<Sent>,
}

/// An answer, with the room that it takes until it is sent.
pub(crate) struct Sent {
    pub(crate) told: Told,
    _room: Option<OwnedSemaphorePermit>,
}

// === impl Fact ===

impl Fact {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::GetVersion, Self::Manifest, Self::SliverStatus, Self::Status];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetVersion => "getversion",
            Self::Manifest => "manifest",
            Self::SliverStatus => "sliverstatus",
            Self::Status => "status",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.as_str() == name)
    }
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(facts: Arc<dyn Facts>) -> Arc<Self> {
        let on_the_way = Arc::new(Semaphore::new(ON_THE_WAY));
        Arc::new(Self { facts, searching: Semaphore::new(AT_ONCE), on_the_way })
    }

    /// The answer, with the room for it. Who has an answer and no room keeps others from searching, so that what waits
    /// takes no more memory than what is sent.
    async fn answer(
        &self,
        slice: SliceId,
        sliver: SliverId,
        what: &str,
    ) -> (Answer, Option<OwnedSemaphorePermit>) {
        let Some(fact) = Some(what).filter(|what| what.len() <= MAX_WHAT).and_then(Fact::named) else {
            return (Answer::Refused("this testbed does not tell it to its nodes".to_owned()), None);
        };
        let search = async {
            // The semaphores are never closed.
            let _turn = self.searching.acquire().await;
            let answer = match self.facts.fact(slice, sliver, fact).await {
                Ok(text) => Answer::Text(text).bounded(),
                Err(NoFact(reason)) => return (Answer::Refused(reason).bounded(), None),
            };
            let size = u32::try_from(length(&answer) >> 10).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.on_the_way).acquire_many_owned(size).await;
            (answer, room.ok())
        };
        let busy = |_| (Answer::Refused("the testbed has too much to do now; try again".to_owned()), None);
        tokio::time::timeout(SEARCH, search).await.unwrap_or_else(busy)
    }
}

fn length(answer: &Answer) -> usize {
    match answer {
        Answer::Text(text) | Answer::Refused(text) => text.len(),
    }
}

// === impl Asker ===

impl Asker {
    /// Answers this node from the desk; without one, nothing is answered.
    pub(crate) fn new(desk: Option<Arc<Desk>>, slice: SliceId, sliver: SliverId) -> Self {
        Self { desk, slice, sliver, ration: Arc::new(Mutex::new(Ration::new(Instant::now()))) }
    }

    /// Answers nothing, for tests of other things.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        Self::new(None, SliceId::from_uuid(uuid::Uuid::nil()), SliverId::from_uuid(uuid::Uuid::nil()))
    }

    /// Begins to answer one connection. The future answers until the connection's questions end.
    pub(crate) fn begin(&self) -> (Exchange, impl Future<Output = ()> + use<>) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (told, answers) = mpsc::channel(1);
        (Exchange { questions, answers }, self.clone().answer_all(asked, told))
    }

    async fn answer_all(self, mut asked: mpsc::Receiver<Ask>, told: mpsc::Sender<Sent>) {
        while let Some(Ask { id, what }) = asked.recv().await {
            let Some(desk) = &self.desk else { continue };
            let (answer, room) = desk.answer(self.slice, self.sliver, &what).await;
            let cost = EACH + length(&answer);
            if told.send(Sent { told: Told { id, answer }, _room: room }).await.is_err() {
                return;
            }
            let pause = self.ration.lock().unwrap_or_else(PoisonError::into_inner).take(cost, Instant::now());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "facts/tests.rs"]
mod tests;
