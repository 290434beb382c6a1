//! Captures that are passed on. A reader who is slow must neither fill the controller's memory nor hold up what else the
//! connection carries: each capture has as many bytes on the way as its reader has room for. Those who have none stop reading
//! their own capture, and the kernel counts what it drops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _, stream};
use testyard_fabric::capture::{CaptureEnd, CaptureEvent, CaptureStream, EndReason};
use tokio::sync::{Semaphore, mpsc};

use super::connection::{ConnectionError, Out};
use super::frame::LONGEST;
use super::message::{FIRST_CREDIT, FromAgent, ToAgent};

/// Who gets what of which capture, on the controller's end.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<HashMap<u64, Reader>>);

#[derive(Debug)]
struct Reader {
    events: mpsc::UnboundedSender<CaptureEvent>,
    /// Bytes that have come and were not given to the reader yet.
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

/// One reader's end: what it drops ends the capture.
struct Reading {
    call: u64,
    events: mpsc::UnboundedReceiver<CaptureEvent>,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
    readers: Arc<Readers>,
    out: Out,
    is_over: bool,
}

impl Readers {
    /// Somebody reads what comes of this call from now on.
    pub(super) fn begin(self: &Arc<Self>, call: u64, out: Out) -> impl Stream<Item = CaptureEvent> + use<> {
        let (sender, events) = mpsc::unbounded_channel();
        let waiting = Arc::default();
        let reader = Reader { events: sender, waiting: Arc::clone(&waiting) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(call, reader);
        let reading = Reading { call, events, waiting, readers: Arc::clone(self), out, is_over: false };
        stream::unfold(reading, |mut reading| async move {
            let event = reading.next().await?;
            Some((event, reading))
        })
    }

    /// Packets have come. Those of captures that nobody reads any more are on the way when that is told.
    ///
    /// # Errors
    /// The agent has sent more than there was room for.
    pub(super) fn packets(&self, call: u64, blocks: Vec<u8>) -> Result<(), ConnectionError> {
        let readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reader) = readers.get(&call) else { return Ok(()) };
        let before = reader.waiting.fetch_add(blocks.len(), std::sync::atomic::Ordering::SeqCst);
        if before > FIRST_CREDIT as usize {
            return Err(ConnectionError::Protocol("it sent more of a capture than there is room for"));
        }
        let _ = reader.events.send(CaptureEvent::Blocks(blocks));
        Ok(())
    }

    /// A capture has ended.
    pub(super) fn ended(&self, call: u64, end: CaptureEnd) {
        let reader = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
        if let Some(reader) = reader {
            let _ = reader.events.send(CaptureEvent::Ended(end));
        }
    }

    /// The connection has ended, and all captures with it.
    pub(super) fn end_all(&self, why: &str) {
        let readers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in readers.into_values() {
            let end = CaptureEnd { reason: EndReason::Failed(why.to_owned()), received: 0, dropped: 0 };
            let _ = reader.events.send(CaptureEvent::Ended(end));
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Option<CaptureEvent> {
        let event = self.events.recv().await;
        match &event {
            Some(CaptureEvent::Blocks(blocks)) => {
                self.waiting.fetch_sub(blocks.len(), std::sync::atomic::Ordering::SeqCst);
                let bytes = u32::try_from(blocks.len().min(LONGEST)).unwrap_or(u32::MAX);
                self.out.hint(&ToAgent::Credit { id: self.call, bytes });
            }
            Some(CaptureEvent::Ended(_)) | None => self.is_over = true,
        }
        event
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.readers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call);
        if !self.is_over {
            self.out.hint(&ToAgent::End { id: self.call });
        }
    }
}

/// How much of a capture may be sent, on the host's end.
#[derive(Clone, Debug)]
pub(super) struct Credit(Arc<Semaphore>);

impl Credit {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(FIRST_CREDIT as usize)))
    }

    /// The reader has taken so much.
    pub(super) fn add(&self, bytes: u32) {
        // Whoever adds more than was ever taken adds nothing.
        let room = (FIRST_CREDIT as usize).saturating_sub(self.0.available_permits());
        self.0.add_permits(room.min(bytes as usize));
    }

    /// Waits until so much may be sent, or all that ever may.
    async fn take(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(FIRST_CREDIT);
        if let Ok(taken) = self.0.acquire_many(bytes).await {
            taken.forget();
        }
    }
}

/// Passes on a capture until it ends.
pub(super) async fn pass_on(call: u64, mut capture: CaptureStream, credit: Credit, out: Out) {
    while let Some(event) = capture.next().await {
        let sent = match event {
            CaptureEvent::Blocks(blocks) => {
                credit.take(blocks.len()).await;
                out.packets(call, &blocks).await
            }
            CaptureEvent::Ended(end) => out.send(&FromAgent::Ended { id: call, end }).await,
        };
        if sent.is_err() {
            return;
        }
    }
}
