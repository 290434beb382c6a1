//! What clients send into channels, until the program or socket behind each takes it.
//!
//! `russh` opens a channel's window again as soon as data has been received, not when it has been used. So that a
//! program which does not read cannot make this process grow, and cannot stop the connection's other channels either,
//! the size to which the window is opened is chosen each time ([`Inboxes::window`]): wide while little waits, two bytes
//! while much does. Those two bytes, which are delayed, keep the question being asked.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::ChannelId;
use tokio::sync::Notify;

/// The window of a channel that takes what it gets; as wide as OpenSSH's.
pub(super) const WIDE: u32 = 2 << 20;
/// The window of one that does not.
const NARROW: u32 = 2;
/// Bytes that wait in a channel before its window narrows.
const MUCH: usize = 1 << 20;
/// Bytes that wait in all channels of a connection before all windows narrow.
const TOO_MUCH: usize = 32 << 20;
/// How long the connection waits for a full channel before it looks at the others again.
const PATIENCE: Duration = Duration::from_millis(10);

/// All inboxes of a connection.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    all: Mutex<HashMap<ChannelId, Arc<Inbox>>>,
    waiting: Arc<AtomicUsize>,
    programs: Mutex<Programs>,
}

/// Which channels have had a program.
#[derive(Clone, Copy, Debug, Default)]
enum Programs {
    #[default]
    None,
    One(ChannelId),
    Several,
}

/// What waits for one channel's program.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// There is something new; for the one task that takes it.
    filled: Notify,
    /// Less waits than before; for the connection.
    drained: Notify,
    /// The channel is closed; for the one task that serves it.
    closed: Notify,
    /// The client does not read what the program writes; for the one task that serves it.
    unread: Notify,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    ended: bool,
    closed: bool,
    /// Nobody reads any more.
    deaf: bool,
    /// The client has stopped to read.
    unread: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Inboxes ===

impl Inboxes {
    /// The inbox of a channel, made if it is new.
    pub(super) fn of(&self, channel: ChannelId) -> Arc<Inbox> {
        let make = || {
            Arc::new(Inbox {
                state: Mutex::default(),
                filled: Notify::new(),
                drained: Notify::new(),
                closed: Notify::new(),
                unread: Notify::new(),
                waiting: Arc::clone(&self.waiting),
            })
        };
        Arc::clone(lock(&self.all).entry(channel).or_insert_with(make))
    }

    pub(super) fn get(&self, channel: ChannelId) -> Option<Arc<Inbox>> {
        lock(&self.all).get(&channel).cloned()
    }

    /// Forgets a channel that is gone.
    pub(super) fn remove(&self, channel: ChannelId) {
        if let Some(inbox) = lock(&self.all).remove(&channel) {
            inbox.close();
        }
    }

    /// Says that a program is started for a channel.
    pub(super) fn begin(&self, channel: ChannelId) {
        let mut programs = lock(&self.programs);
        *programs = match *programs {
            Programs::None => Programs::One(channel),
            Programs::One(_) | Programs::Several => Programs::Several,
        };
    }

    /// The client has stopped to read the output of a program, and has not said of which. So nothing is done unless the
    /// connection has had one only: another one's output must not be lost.
    pub(super) fn unread(&self) {
        let programs = *lock(&self.programs);
        if let Programs::One(channel) = programs
            && let Some(inbox) = self.get(channel)
        {
            lock(&inbox.state).unread = true;
            inbox.unread.notify_one();
        }
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.all).len()
    }

    /// To what size the window of `channel` is to be opened the next time.
    pub(super) fn window(&self, channel: ChannelId) -> u32 {
        let full = self.get(channel).is_some_and(|inbox| inbox.is_full());
        if full || self.waiting.load(Ordering::Relaxed) >= TOO_MUCH { NARROW } else { WIDE }
    }
}

// === impl Inbox ===

impl Inbox {
    /// Adds what the client has sent. Waits a moment if the inbox is full and its window narrow: each of its packets
    /// would otherwise ask for the next at the speed of the network.
    pub(super) async fn put(&self, data: &[u8]) {
        {
            let mut state = lock(&self.state);
            if state.deaf || state.closed {
                return;
            }
            state.bytes += data.len();
            state.queue.push_back(Bytes::copy_from_slice(data));
            self.waiting.fetch_add(data.len(), Ordering::Relaxed);
        }
        self.filled.notify_one();
        if data.len() <= NARROW as usize && self.is_full() {
            let _ = tokio::time::timeout(PATIENCE, async {
                while self.is_full() {
                    self.drained.notified().await;
                }
            })
            .await;
        }
    }

    /// The client will send nothing more.
    pub(super) fn end(&self) {
        lock(&self.state).ended = true;
        self.filled.notify_one();
    }

    /// The channel is gone, in both directions. What was sent before is still taken.
    pub(super) fn close(&self) {
        {
            let mut state = lock(&self.state);
            (state.closed, state.ended) = (true, true);
        }
        self.filled.notify_one();
        self.closed.notify_one();
    }

    /// Nobody will take anything more: what comes is dropped.
    pub(super) fn deafen(&self) {
        let mut state = lock(&self.state);
        state.deaf = true;
        state.queue.clear();
        self.waiting.fetch_sub(std::mem::take(&mut state.bytes), Ordering::Relaxed);
        drop(state);
        self.drained.notify_one();
    }

    /// What comes next; `None` at the end.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = lock(&self.state);
                if let Some(data) = state.queue.pop_front() {
                    state.bytes -= data.len();
                    self.waiting.fetch_sub(data.len(), Ordering::Relaxed);
                    drop(state);
                    self.drained.notify_one();
                    return Some(data);
                }
                if state.ended || state.deaf {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Returns once the channel is gone.
    pub(super) async fn closed(&self) {
        while !lock(&self.state).closed {
            self.closed.notified().await;
        }
    }

    /// Returns once the client does not read any more.
    pub(super) async fn is_unread(&self) {
        while !lock(&self.state).unread {
            self.unread.notified().await;
        }
    }

    fn is_full(&self) -> bool {
        lock(&self.state).bytes >= MUCH
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let left = std::mem::take(&mut lock(&self.state).bytes);
        self.waiting.fetch_sub(left, Ordering::Relaxed);
    }
}
