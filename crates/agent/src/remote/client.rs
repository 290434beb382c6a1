//! The controller's end: a host that is there as long as its agent is connected.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use testyard_fabric::FabricError;
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_model::probe::Probed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::captures::Readers;
use super::connection::{self, ConnectionError, Out, send_all};
use super::frame::{self, Frame, FrameError, LONGEST};
use super::message::{Answer, Call, FromAgent, ToAgent, WITH_AHEAD, WITH_HOST_TABLES, WITH_URLS_AHEAD};
use crate::config::HostConfig;
use crate::contract::{Ahead, Host, HostError, HostFacts, Standing};
use crate::facts::{Facts, NoFact};
use crate::probe::Probe;
use crate::{desired, observed};

/// Questions of a host's nodes that are answered at once. A host's own desk lets fewer through.
const QUESTIONS: usize = 4;

/// A host on another machine, as far as its agent is connected.
pub struct RemoteHost {
    name: HostName,
    facts: OnceLock<Arc<dyn Facts>>,
    state: Mutex<State>,
    standing: watch::Sender<Standing>,
    asking: Arc<Semaphore>,
}

struct State {
    config: HostConfig,
    line: Option<Line>,
    /// Counts calls of all connections.
    calls: u64,
    watchers: Vec<mpsc::UnboundedSender<observed::Slice>>,
    /// What the host is to run: its nodes may ask about themselves, and nobody else.
    told: HashMap<SliceId, HashSet<SliverId>>,
}

/// The connection.
struct Line {
    instance: Uuid,
    version: u32,
    out: Out,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    readers: Arc<Readers>,
    /// Dropped to end it.
    _stands: oneshot::Sender<()>,
}

impl State {
    fn new(config: HostConfig) -> Self {
        Self { config, line: None, calls: 0, watchers: Vec::new(), told: HashMap::new() }
    }
}

impl RemoteHost {
    /// One that is away until its agent connects, which is then told how to run it.
    #[must_use]
    pub fn new(name: HostName, config: HostConfig) -> Arc<Self> {
        let away = Standing::Away("its agent has not connected yet".to_owned());
        Arc::new(Self {
            name,
            facts: OnceLock::new(),
            state: Mutex::new(State::new(config)),
            standing: watch::channel(away).0,
            asking: Arc::new(Semaphore::new(QUESTIONS)),
        })
    }

    /// Who answers what nodes ask about themselves; the first counts.
    pub fn answer_by(&self, facts: Arc<dyn Facts>) {
        let _ = self.facts.set(facts);
    }

    /// It is to be run like this from now on.
    pub fn configure(&self, config: HostConfig) {
        let mut state = self.lock();
        if state.config == config {
            return;
        }
        if let Some(line) = &state.line {
            line.out.hint(&ToAgent::Config(Box::new(config.clone())));
        }
        state.config = config;
    }

    /// Ends the connection, if there is one, for a reason that people are told.
    pub fn disconnect(&self, why: &str) {
        let line = self.lock().line.take();
        if let Some(line) = line {
            self.hang_up(&line, why.to_owned());
        }
    }

    /// Serves a connection of the host's agent, who was proven to be it, until it ends. A newer one of the same agent ends it:
    /// machines that lose their network do not say so. Another agent by the same name is refused as long as the first is there.
    pub async fn attend<S>(self: &Arc<Self>, mut stream: S, program: &str) -> ConnectionError
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (greeting, version) = match connection::greeted(&mut stream, program).await {
            Ok(greeted) => greeted,
            Err(error) => return error,
        };
        let (out, outgoing) = Out::new();
        let readers = Arc::new(Readers::default());
        let (stands, mut falls) = oneshot::channel();
        let stranger = {
            let mut state = self.lock();
            match &state.line {
                Some(line) if line.instance != greeting.instance => true,
                _ => {
                    out.hint(&ToAgent::Config(Box::new(state.config.clone())));
                    let line = Line {
                        instance: greeting.instance,
                        version,
                        out: out.clone(),
                        waiting: HashMap::new(),
                        readers: Arc::clone(&readers),
                        _stands: stands,
                    };
                    if let Some(before) = state.line.replace(line) {
                        before.readers.end_all("the host's agent has connected again");
                    }
                    false
                }
            }
        };
        if stranger {
            let reason = format!(
                "another agent is connected as host {}: each machine needs a host of its own (testyard host add)",
                self.name
            );
            return connection::refuse(&mut stream, reason).await;
        }
        let end = match connection::welcome(&mut stream, version, program).await {
            Ok(()) => {
                tracing::info!(host = %self.name, agent = greeting.program, "the host's agent has connected");
                self.standing.send_replace(Standing::Here);
                let (mut reading, writing) = tokio::io::split(stream);
                tokio::select! {
                    error = self.hear(&mut reading, &out, &readers) => error,
                    error = send_all(writing, outgoing, &ToAgent::Alive) => error,
                    _ = &mut falls => ConnectionError::Replaced,
                }
            }
            Err(error) => error,
        };
        self.leave(greeting.instance, &out, &end);
        end
    }

    fn leave(&self, instance: Uuid, out: &Out, why: &ConnectionError) {
        let line = {
            let mut state = self.lock();
            let is_ours = |line: &Line| line.instance == instance && line.out.is_same(out);
            if state.line.as_ref().is_some_and(is_ours) { state.line.take() } else { None }
        };
        // A newer connection stands for the host now.
        let Some(line) = line else { return };
        tracing::warn!(host = %self.name, %why, "the host's agent is away");
        self.hang_up(&line, why.to_string());
    }

    fn hang_up(&self, line: &Line, why: String) {
        line.readers.end_all(&format!("the connection to host {} was lost", self.name));
        self.standing.send_replace(Standing::Away(why));
    }

    async fn hear(
        self: &Arc<Self>,
        stream: &mut (impl AsyncRead + Unpin),
        out: &Out,
        readers: &Readers,
    ) -> ConnectionError {
        loop {
            let heard = match frame::read(stream, LONGEST).await {
                Ok(Frame::Message(body)) => match serde_json::from_slice(&body) {
                    Ok(message) => self.take(message, out, readers),
                    Err(error) => return FrameError::Json(error).into(),
                },
                Ok(Frame::Packets { call, blocks }) => readers.packets(call, blocks),
                Err(error) => return error.into(),
            };
            if let Err(error) = heard {
                return error;
            }
        }
    }

    fn take(
        self: &Arc<Self>,
        message: FromAgent,
        out: &Out,
        readers: &Readers,
    ) -> Result<(), ConnectionError> {
        match message {
            FromAgent::Alive => {}
            FromAgent::Unable(why) => return Err(ConnectionError::Unable(why)),
            FromAgent::Answer { id, answer } => {
                let waiting = self.lock().line.as_mut().and_then(|line| line.waiting.remove(&id));
                if let Some(waiting) = waiting {
                    // Who asked may have gone.
                    let _ = waiting.send(answer);
                }
            }
            FromAgent::Seen(slice) => {
                self.lock().watchers.retain(|watcher| watcher.send((*slice).clone()).is_ok());
            }
            FromAgent::Ended { id, end } => readers.ended(id, end),
            FromAgent::Ask { id, slice, sliver, fact } => {
                let Ok(turn) = Arc::clone(&self.asking).try_acquire_owned() else {
                    let answer = Err(NoFact("the testbed has too much to do now; try again".to_owned()));
                    out.hint(&ToAgent::Told { id, answer });
                    return Ok(());
                };
                let (host, out) = (Arc::clone(self), out.clone());
                tokio::spawn(async move {
                    let answer = match host.facts.get().filter(|_| host.runs(slice, sliver)) {
                        Some(facts) => facts.fact(slice, sliver, fact).await,
                        None => Err(NoFact("the testbed knows no such node".to_owned())),
                    };
                    let _ = out.send(&ToAgent::Told { id, answer }).await;
                    drop(turn);
                });
            }
        }
        Ok(())
    }

    /// As if the host had been told of a node.
    #[cfg(test)]
    pub(super) fn tell_of(&self, slice: SliceId, sliver: SliverId) {
        self.lock().told.entry(slice).or_default().insert(sliver);
    }

    fn runs(&self, slice: SliceId, sliver: SliverId) -> bool {
        self.lock().told.get(&slice).is_some_and(|nodes| nodes.contains(&sliver))
    }

    /// Says that something is to be done, and waits for what came of it.
    async fn call(&self, call: Call) -> Result<Answer, HostError> {
        let (_, answer) = self.begin(call, Vec::new(), None).await?;
        answer.await.map_err(|_| self.away())
    }

    /// Says that something is to be done, after `parts` of it. `reading` is filled with what comes of it beside the answer.
    async fn begin(
        &self,
        mut call: Call,
        parts: Vec<desired::Slice>,
        reading: Option<&mut Option<CaptureStream>>,
    ) -> Result<(u64, oneshot::Receiver<Answer>), HostError> {
        let (answer, answered) = oneshot::channel();
        let (id, out, version) = {
            let mut state = self.lock();
            state.calls += 1;
            let id = state.calls;
            let Some(line) = state.line.as_mut() else {
                drop(state);
                return Err(self.away());
            };
            line.waiting.insert(id, answer);
            if let Some(reading) = reading {
                *reading = Some(CaptureStream::relayed(line.readers.begin(id, line.out.clone())));
            }
            (id, line.out.clone(), line.version)
        };
        let told = |error: FrameError| HostError(error.to_string());
        if let Call::Apply(slice) = call {
            call = Call::Apply(Box::new(in_version(*slice, version)));
        }
        for part in parts {
            let part = in_version(part, version);
            out.send(&ToAgent::Part(Box::new(part))).await.map_err(told)?;
        }
        out.send(&ToAgent::Call { id, call }).await.map_err(told)?;
        Ok((id, answered))
    }

    fn away(&self) -> HostError {
        match &*self.standing.borrow() {
            Standing::Away(why) => HostError(why.clone()),
            Standing::Here => HostError("the connection to its agent has ended".to_owned()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An agent that answers something else than it was asked is of another mind than its version says.
fn strange() -> HostError {
    HostError("its agent has given an answer that does not fit the question".to_owned())
}

fn in_version(slice: desired::Slice, version: u32) -> desired::Slice {
    if version < WITH_HOST_TABLES { slice.spelled_out() } else { slice }
}

fn nodes_of(slice: &desired::Slice) -> (SliceId, HashSet<SliverId>) {
    (slice.slice, slice.nodes.iter().map(|node| node.sliver).collect())
}

#[async_trait]
impl Host for RemoteHost {
    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError> {
        self.lock().told = slices.iter().map(nodes_of).collect();
        let call = Call::Sync { slices: slices.len() as u64 };
        let (_, answer) = self.begin(call, slices, None).await?;
        match answer.await.map_err(|_| self.away())? {
            Answer::Done(done) => done,
            _ => Err(strange()),
        }
    }

    async fn apply(&self, slice: desired::Slice) -> Result<(), HostError> {
        let (id, nodes) = nodes_of(&slice);
        self.lock().told.insert(id, nodes);
        match self.call(Call::Apply(Box::new(slice))).await? {
            Answer::Done(done) => done,
            _ => Err(strange()),
        }
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // What the host sees now comes with its answer to the first sync.
        self.lock().watchers.push(sender);
        receiver
    }

    async fn observe(&self, slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        match self.call(Call::Observe(slice)).await? {
            Answer::Observed(seen) => Ok(seen?.map(|seen| *seen)),
            _ => Err(strange()),
        }
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        let lost = |error: HostError| FabricError::Lacking(error.to_string());
        let mut reading = None;
        let call = Call::Capture { slice, request };
        let (_, answer) = self.begin(call, Vec::new(), Some(&mut reading)).await.map_err(lost)?;
        match (answer.await.map_err(|_| lost(self.away()))?, reading) {
            (Answer::Capture(begun), Some(reading)) => begun.map(|()| reading),
            _ => Err(lost(strange()).into()),
        }
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        let lost = |error: HostError| FabricError::Lacking(error.to_string());
        match self.call(Call::TryFilter(expression.to_owned())).await.map_err(lost)? {
            Answer::Capture(possible) => possible,
            _ => Err(lost(strange()).into()),
        }
    }

    async fn probe(&self, slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        match self.call(Call::Probe { slice, probes }).await? {
            Answer::Probed(probed) => probed,
            _ => Err(strange()),
        }
    }

    fn ahead(&self, mut images: Vec<Ahead>) {
        if let Some(line) = self.lock().line.as_ref().filter(|line| line.version >= WITH_AHEAD) {
            images.retain(|ahead| line.version >= WITH_URLS_AHEAD || ahead.image.url().is_none());
            line.out.hint(&ToAgent::Ahead(images));
        }
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        match self.call(Call::Facts).await? {
            Answer::Facts(facts) => facts,
            _ => Err(strange()),
        }
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The host goes on; only who hears of it ends.
    async fn shut_down(&self) {
        self.lock().watchers.clear();
        self.disconnect("the controller has ended");
    }
}

impl std::fmt::Debug for RemoteHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteHost").field("name", &self.name).finish_non_exhaustive()
    }
}
