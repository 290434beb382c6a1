//! The host's end: does what it is told over a connection, and tells what it sees.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use testyard_model::id::{SliceId, SliverId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::captures::{Credit, pass_on};
use super::connection::{ConnectionError, Introduction, Out, introduce, say, send_all};
use super::frame::{self, Frame, FrameError, LONGEST};
use super::message::{Answer, Call, FromAgent, ToAgent};
use crate::config::HostConfig;
use crate::contract::Host;
use crate::facts::{Fact, Facts, NoFact};
use crate::{desired, observed};

/// Slices that may come as parts of one sync.
const PARTS: usize = 100_000;

/// Asks the controller what nodes want to know about themselves.
#[derive(Debug, Default)]
pub struct RemoteFacts(Mutex<Questions>);

#[derive(Debug, Default)]
struct Questions {
    out: Option<Out>,
    asked: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<String, NoFact>>>,
}

/// What of the controller's calls is being done.
struct Doing {
    host: Arc<dyn Host>,
    out: Out,
    /// What must be done in its order.
    ordered: mpsc::UnboundedSender<(u64, Ordered)>,
    parts: Vec<desired::Slice>,
    captures: HashMap<u64, (Credit, AbortHandle)>,
    tasks: JoinSet<()>,
}

enum Ordered {
    Sync(Vec<desired::Slice>),
    Apply(Box<desired::Slice>),
}

/// A controller that has greeted.
#[derive(Debug)]
pub struct Joined<S> {
    stream: S,
    /// Its program and version, for people.
    pub program: String,
    /// How it wants the host run.
    pub config: HostConfig,
}

/// Greets the controller at the other end of a stream, who was proven to be it, and hears how the host is to be run.
///
/// # Errors
/// [`ConnectionError`] if the connection ends or the controller refuses.
pub async fn join<S>(mut stream: S, own: &Introduction) -> Result<Joined<S>, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let program = introduce(&mut stream, own).await?;
    let body = match frame::read(&mut stream, LONGEST).await? {
        Frame::Message(body) => body,
        Frame::Packets { .. } => return Err(ConnectionError::Protocol("it sent packets")),
    };
    match serde_json::from_slice(&body).map_err(FrameError::Json)? {
        ToAgent::Config(config) => Ok(Joined { stream, program, config: *config }),
        _ => Err(ConnectionError::Protocol("it has not said how the host is to be run")),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Joined<S> {
    /// Tells the controller why its host cannot be run like this.
    pub async fn unable(mut self, why: String) {
        // It may have gone.
        let _ = say(&mut self.stream, &FromAgent::Unable(why)).await;
    }
}

/// Serves a controller until the connection ends.
pub async fn serve<S>(
    host: Arc<dyn Host>,
    facts: &RemoteFacts,
    Joined { stream, .. }: Joined<S>,
) -> ConnectionError
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut reading, writing) = tokio::io::split(stream);
    let (out, outgoing) = Out::new();
    let (ordered, orders) = mpsc::unbounded_channel();
    let mut doing = Doing {
        host: Arc::clone(&host),
        out: out.clone(),
        ordered,
        parts: Vec::new(),
        captures: HashMap::new(),
        tasks: JoinSet::new(),
    };
    facts.connect(out.clone());
    let end = tokio::select! {
        error = doing.hear(&mut reading, facts) => error,
        error = send_all(writing, outgoing, &FromAgent::Alive) => error,
        error = do_in_order(&*host, orders, &out) => error,
        error = tell(&*host, &out) => error,
    };
    facts.disconnect();
    end
}

/// Tells what the host sees, of each slice the newest: who is slow to hear is spared what is over.
async fn tell(host: &dyn Host, out: &Out) -> ConnectionError {
    let mut reports = host.watch();
    while let Some(report) = reports.recv().await {
        let mut newest: BTreeMap<SliceId, observed::Slice> = [(report.slice, report)].into();
        while let Ok(report) = reports.try_recv() {
            newest.insert(report.slice, report);
        }
        for report in newest.into_values() {
            if let Err(error) = out.send(&FromAgent::Seen(Box::new(report))).await {
                return error.into();
            }
        }
    }
    // The host is shut down.
    FrameError::Closed.into()
}

async fn do_in_order(
    host: &dyn Host,
    mut orders: mpsc::UnboundedReceiver<(u64, Ordered)>,
    out: &Out,
) -> ConnectionError {
    while let Some((id, order)) = orders.recv().await {
        let done = match order {
            Ordered::Sync(slices) => host.sync(slices).await,
            Ordered::Apply(slice) => host.apply(*slice).await,
        };
        if let Err(error) = out.send(&FromAgent::Answer { id, answer: Answer::Done(done) }).await {
            return error.into();
        }
    }
    FrameError::Closed.into()
}

impl Doing {
    async fn hear(&mut self, stream: &mut (impl AsyncRead + Unpin), facts: &RemoteFacts) -> ConnectionError {
        loop {
            let message = match frame::read(stream, LONGEST).await {
                Ok(Frame::Message(body)) => match serde_json::from_slice(&body) {
                    Ok(message) => message,
                    Err(error) => return FrameError::Json(error).into(),
                },
                Ok(Frame::Packets { .. }) => return ConnectionError::Protocol("it sent packets"),
                Err(error) => return error.into(),
            };
            // What is over has nothing more to say.
            while self.tasks.try_join_next().is_some() {}
            match message {
                ToAgent::Config(_) => return ConnectionError::Reconfigured,
                ToAgent::Alive => {}
                ToAgent::Part(_) if self.parts.len() == PARTS => {
                    return ConnectionError::Protocol("it sent too many slices at once");
                }
                ToAgent::Part(slice) => self.parts.push(*slice),
                ToAgent::Call { id, call } => {
                    if let Err(error) = self.begin(id, call) {
                        return error;
                    }
                }
                ToAgent::Ahead(images) => self.host.ahead(images),
                ToAgent::Credit { id, bytes } => {
                    if let Some((credit, _)) = self.captures.get(&id) {
                        credit.add(bytes);
                    }
                }
                ToAgent::End { id } => {
                    if let Some((_, capture)) = self.captures.remove(&id) {
                        capture.abort();
                    }
                }
                ToAgent::Told { id, answer } => facts.told(id, answer),
            }
        }
    }

    fn begin(&mut self, id: u64, call: Call) -> Result<(), ConnectionError> {
        let (host, out) = (Arc::clone(&self.host), self.out.clone());
        let order = match call {
            Call::Sync { slices } if slices == self.parts.len() as u64 => {
                Ordered::Sync(std::mem::take(&mut self.parts))
            }
            Call::Sync { .. } => {
                return Err(ConnectionError::Protocol("it announced another number of slices than it sent"));
            }
            Call::Apply(slice) => Ordered::Apply(slice),
            Call::Capture { slice, request } => {
                self.captures.retain(|_, (_, capture)| !capture.is_finished());
                let credit = Credit::new();
                let granted = credit.clone();
                let capture = self.tasks.spawn(async move {
                    let capture = host.capture(slice, request).await;
                    let (begun, capture) = match capture {
                        Ok(capture) => (Ok(()), Some(capture)),
                        Err(error) => (Err(error), None),
                    };
                    let answer = Answer::Capture(begun);
                    if out.send(&FromAgent::Answer { id, answer }).await.is_ok()
                        && let Some(capture) = capture
                    {
                        pass_on(id, capture, granted, out).await;
                    }
                });
                self.captures.insert(id, (credit, capture));
                return Ok(());
            }
            Call::Observe(slice) => {
                self.answer(id, async move {
                    Answer::Observed(host.observe(slice).await.map(|seen| seen.map(Box::new)))
                });
                return Ok(());
            }
            Call::TryFilter(expression) => {
                self.answer(id, async move { Answer::Capture(host.try_filter(&expression).await) });
                return Ok(());
            }
            Call::Probe { slice, probes } => {
                self.answer(id, async move { Answer::Probed(host.probe(slice, probes).await) });
                return Ok(());
            }
            Call::Facts => {
                self.answer(id, async move { Answer::Facts(host.facts().await) });
                return Ok(());
            }
        };
        self.ordered.send((id, order)).map_err(|_| FrameError::Closed.into())
    }

    /// Answers when it is done, whatever else goes on.
    fn answer(&mut self, id: u64, answer: impl Future<Output = Answer> + Send + 'static) {
        let out = self.out.clone();
        self.tasks.spawn(async move {
            let answer = answer.await;
            // Who asked is gone with the connection.
            let _ = out.send(&FromAgent::Answer { id, answer }).await;
        });
    }
}

impl RemoteFacts {
    fn connect(&self, out: Out) {
        self.lock().out = Some(out);
    }

    fn disconnect(&self) {
        let mut questions = self.lock();
        questions.out = None;
        questions.waiting.clear();
    }

    fn told(&self, id: u64, answer: Result<String, NoFact>) {
        let waiting = self.lock().waiting.remove(&id);
        // Who asked may have lost patience.
        let _ = waiting.map(|waiting| waiting.send(answer));
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Facts for RemoteFacts {
    async fn fact(&self, slice: SliceId, sliver: SliverId, fact: Fact) -> Result<String, NoFact> {
        let away = || NoFact("the testbed's controller cannot be reached now; try again".to_owned());
        let (id, answer) = {
            let mut questions = self.lock();
            let Some(out) = questions.out.clone() else { return Err(away()) };
            // Whoever lost patience does not take the answer.
            questions.waiting.retain(|_, waiting| !waiting.is_closed());
            questions.asked += 1;
            let (id, (told, answer)) = (questions.asked, oneshot::channel());
            questions.waiting.insert(id, told);
            out.hint(&FromAgent::Ask { id, slice, sliver, fact });
            (id, answer)
        };
        tracing::trace!(id, fact = fact.as_str(), "a node asks");
        answer.await.unwrap_or_else(|_| Err(away()))
    }
}
