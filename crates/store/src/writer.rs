//! The writer: a thread that owns the writing connection and commits what is waiting in one transaction.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::change::Change;
use crate::error::WriteError;

/// Changes in one transaction at most.
const MOST_CHANGES: usize = 512;

/// For how long changes are taken into a transaction: the first one waits no longer for the others.
const LONGEST: Duration = Duration::from_millis(20);

/// Sends changes to the thread; dropping it ends the thread once the queue is empty.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Waiting>>>,
    thread: Option<JoinHandle<()>>,
    faults: Arc<AtomicU32>,
    tally: Arc<Tally>,
}

/// What the writer has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Changes that were made durable, or refused by themselves.
    pub changes: u64,
    /// Transactions that were made durable.
    pub commits: u64,
    /// Transactions that could not be made durable.
    pub failures: u64,
    /// The time that all of them took, disk and all.
    pub busy: Duration,
}

#[derive(Debug, Default)]
struct Tally {
    changes: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    busy_micros: AtomicU64,
}

impl Tally {
    fn note(&self, changes: usize, durable: bool, took: Duration) {
        let add = |of: &AtomicU64, more: u64| of.fetch_add(more, Ordering::Relaxed);
        if durable {
            add(&self.changes, u64::try_from(changes).unwrap_or(u64::MAX));
        }
        add(if durable { &self.commits } else { &self.failures }, 1);
        add(&self.busy_micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// A change that waits for its turn, and then for its acknowledgement.
trait Waiting: Send {
    /// Runs it; whether it is to be kept.
    fn run(&mut self, change: &Change<'_>) -> bool;
    /// It is durable, or was refused.
    fn acknowledge(self: Box<Self>);
    /// It could not be made durable.
    fn fail(self: Box<Self>, reason: &str);
}

struct Pending<T, E, F, C> {
    change: Option<F>,
    committed: C,
    outcome: Option<Result<T, WriteError<E>>>,
    reply: oneshot::Sender<Result<T, WriteError<E>>>,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn start(mut connection: Connection) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel();
        let faults = Arc::new(AtomicU32::new(0));
        let injected = Arc::clone(&faults);
        let take_one = move |left: u32| left.checked_sub(1);
        // Where a test asks for it, the commit is refused by SQLite itself, so that what follows is what follows then.
        let fault = move || injected.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok();
        connection.commit_hook(Some(fault)).map_err(std::io::Error::other)?;
        let tally = Arc::new(Tally::default());
        let kept = Arc::clone(&tally);
        let work = move || work(&connection, &waiting, &tally);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), faults, tally: kept })
    }

    /// The receiver resolves when the change is durable or refused; it fails if the thread has ended.
    pub(crate) fn send<T, E>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
        committed: impl FnOnce(&T) + Send + 'static,
    ) -> oneshot::Receiver<Result<T, WriteError<E>>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let pending = Pending { change: Some(change), committed, outcome: None, reply };
        if let Some(queue) = &self.queue {
            // If the thread has ended, the pending change is dropped, and its reply with it.
            drop(queue.send(Box::new(pending)));
        }
        receiver
    }

    pub(crate) fn writes(&self) -> Writes {
        let of = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let Tally { changes, commits, failures, busy_micros } = &*self.tally;
        let busy = Duration::from_micros(of(busy_micros));
        Writes { changes: of(changes), commits: of(commits), failures: of(failures), busy }
    }

    pub(crate) fn fail_commits(&self, count: u32) {
        self.faults.store(count, Ordering::SeqCst);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The last owner of the store may be a change itself; the thread cannot wait for its own end.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

// === impl Pending ===

impl<T, E, F, C> Waiting for Pending<T, E, F, C>
where
    T: Send,
    E: Send,
    F: FnOnce(&Change<'_>) -> Result<T, E> + Send,
    C: FnOnce(&T) + Send,
{
    fn run(&mut self, change: &Change<'_>) -> bool {
        let Some(run) = self.change.take() else { return false };
        let outcome = match catch_unwind(AssertUnwindSafe(|| run(change))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refusal)) => Err(WriteError::Refused(refusal)),
            Err(_) => Err(WriteError::Panicked),
        };
        self.outcome.insert(outcome).is_ok()
    }

    fn acknowledge(self: Box<Self>) {
        let Self { committed, outcome, reply, .. } = *self;
        let outcome = outcome.unwrap_or(Err(WriteError::Closed));
        // What the closure holds is given back before the caller knows: it may try again at once.
        match &outcome {
            Err(_) => drop(committed),
            Ok(value) => {
                if catch_unwind(AssertUnwindSafe(|| committed(value))).is_err() {
                    tracing::error!("what follows a durable change panicked");
                }
            }
        }
        // Who does not wait any more does not want to know.
        drop(reply.send(outcome));
    }

    fn fail(self: Box<Self>, reason: &str) {
        let Self { committed, outcome, reply, .. } = *self;
        drop(committed);
        let outcome = match outcome {
            Some(Err(error)) => Err(error),
            _ => Err(WriteError::Commit(reason.to_owned())),
        };
        drop(reply.send(outcome));
    }
}

// === the thread ===

fn work(connection: &Connection, waiting: &mpsc::Receiver<Box<dyn Waiting>>, tally: &Tally) {
    while let Ok(first) = waiting.recv() {
        let (mut batch, begun) = (vec![], Instant::now());
        let done = transaction(connection, first, waiting, &mut batch);
        tally.note(batch.len(), done.is_ok(), begun.elapsed());
        match done {
            Ok(()) => batch.into_iter().for_each(Waiting::acknowledge),
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(%reason, changes = batch.len(), "changes could not be made durable");
                if !connection.is_autocommit()
                    && let Err(error) = connection.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "cannot roll back");
                }
                batch.into_iter().for_each(|pending| pending.fail(&reason));
            }
        }
    }
}

/// Runs the first change and whatever waits behind it. Those that were run are in `batch`, also after an error.
fn transaction(
    connection: &Connection,
    first: Box<dyn Waiting>,
    waiting: &mpsc::Receiver<Box<dyn Waiting>>,
    batch: &mut Vec<Box<dyn Waiting>>,
) -> rusqlite::Result<()> {
    let begun = Instant::now();
    let mut next = Some(first);
    let mut opened = connection.execute_batch("BEGIN IMMEDIATE");
    while let Some(mut pending) = next.take() {
        if opened.is_ok() {
            opened = savepoint(connection, pending.as_mut());
        }
        batch.push(pending);
        if opened.is_ok() && batch.len() < MOST_CHANGES && begun.elapsed() < LONGEST {
            next = waiting.try_recv().ok();
        }
    }
    opened?;
    connection.prepare_cached("COMMIT")?.execute([]).map(drop)
}

fn savepoint(connection: &Connection, pending: &mut dyn Waiting) -> rusqlite::Result<()> {
    connection.prepare_cached("SAVEPOINT change")?.execute([])?;
    if !pending.run(&Change::new(connection)) {
        // An error that has ended the transaction (a full disk) makes this fail, and the whole batch with it.
        connection.prepare_cached("ROLLBACK TO change")?.execute([])?;
    }
    connection.prepare_cached("RELEASE change")?.execute([]).map(drop)
}
