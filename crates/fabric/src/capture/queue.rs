//! What is between a capture and its reader: some megabytes of blocks. The capture never waits for the reader; it stops taking
//! packets from the kernel while the queue is full, and the kernel counts what it drops meanwhile.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use super::{CaptureEnd, CaptureEvent};

/// Bytes that wait for a reader before packets are dropped.
pub(crate) const LIMIT: usize = 4 << 20;

/// A running capture. It ends when this is dropped.
pub struct CaptureStream(Source);

enum Source {
    /// A capture of this process.
    Here(Arc<Shared>),
    /// What somebody else passes on.
    Relayed(Pin<Box<dyn Stream<Item = CaptureEvent> + Send>>),
}

/// The capture's end of the queue.
#[derive(Clone)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
}

/// A queue; `wake` is called when the reader has made room, or has gone.
pub(crate) fn queue(wake: impl Fn() + Send + Sync + 'static) -> (Sender, CaptureStream) {
    let shared = Arc::new(Shared { state: Mutex::default(), wake: Box::new(wake) });
    (Sender { shared: Arc::clone(&shared) }, CaptureStream(Source::Here(shared)))
}

struct Shared {
    state: Mutex<State>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    end: Option<CaptureEnd>,
    is_finished: bool,
    is_abandoned: bool,
    reader: Option<Waker>,
}

impl Shared {
    /// A panic elsewhere cannot leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<CaptureEvent>> {
        let mut state = self.state();
        if let Some(blocks) = state.waiting.pop_front() {
            let was_full = state.bytes >= LIMIT;
            state.bytes -= blocks.len();
            let has_room = was_full && state.bytes < LIMIT;
            drop(state);
            if has_room {
                (self.wake)();
            }
            return Poll::Ready(Some(CaptureEvent::Blocks(blocks)));
        }
        if state.is_finished {
            return Poll::Ready(state.end.take().map(CaptureEvent::Ended));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        state.waiting.clear();
        state.bytes = 0;
        drop(state);
        (self.wake)();
    }
}

// === impl Sender ===

impl Sender {
    /// Adds whole blocks, also to a full queue.
    pub(crate) fn push(&self, blocks: Vec<u8>) {
        if blocks.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        if state.is_abandoned || state.is_finished {
            return;
        }
        state.bytes += blocks.len();
        state.waiting.push_back(blocks);
        tell(state);
    }

    /// Whether the reader should read first.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.state().bytes >= LIMIT
    }

    /// Whether the reader has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.shared.state().is_abandoned
    }

    /// Nothing comes any more; the first end counts.
    pub(crate) fn finish(&self, end: CaptureEnd) {
        let mut state = self.shared.state();
        if !state.is_finished {
            state.is_finished = true;
            state.end = Some(end);
            tell(state);
        }
    }
}

fn tell(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

// === impl CaptureStream ===

impl CaptureStream {
    /// A capture that runs elsewhere. Its last event is an end; it is over when this is dropped.
    #[must_use]
    pub fn relayed(events: impl Stream<Item = CaptureEvent> + Send + 'static) -> Self {
        Self(Source::Relayed(Box::pin(events)))
    }
}

impl Stream for CaptureStream {
    type Item = CaptureEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<CaptureEvent>> {
        match &mut self.0 {
            Source::Here(shared) => shared.poll_next(context),
            Source::Relayed(events) => events.as_mut().poll_next(context),
        }
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        if let Source::Here(shared) = &self.0 {
            shared.abandon();
        }
    }
}

impl fmt::Debug for CaptureStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureStream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::capture::EndReason;

    #[test]
    fn a_slow_reader_is_told_of_and_then_the_end() {
        let woken = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&woken);
        let (sender, mut stream) = queue(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(stream.next().now_or_never(), None);
        sender.push(vec![0; LIMIT - 1]);
        assert!(!sender.is_full());
        sender.push(vec![1; 2]);
        assert!(sender.is_full());
        let end = CaptureEnd { reason: EndReason::Parted, received: 2, dropped: 1 };
        sender.finish(end.clone());
        sender.finish(CaptureEnd { reason: EndReason::Stopped, ..end.clone() });
        sender.push(vec![2]);
        stream.next().now_or_never().unwrap().unwrap();
        assert_eq!((sender.is_full(), woken.load(Ordering::Relaxed)), (false, 1));
        assert_eq!(stream.next().now_or_never().unwrap(), Some(CaptureEvent::Blocks(vec![1; 2])));
        assert_eq!(stream.next().now_or_never().unwrap(), Some(CaptureEvent::Ended(end)));
        assert_eq!(stream.next().now_or_never().unwrap(), None);
    }

    #[test]
    fn a_reader_that_goes_is_noticed() {
        let woken = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&woken);
        let (sender, stream) = queue(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        sender.push(vec![0; LIMIT]);
        assert!(!sender.is_abandoned());
        drop(stream);
        assert_eq!(
            (sender.is_abandoned(), sender.is_full(), woken.load(Ordering::Relaxed)),
            (true, false, 1)
        );
    }
}
