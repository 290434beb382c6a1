//! Somebody for a spare's guest to talk to until the node has an owner.
//!
//! A guest that finds nobody looks for a listener ever less often; one that is connected notices at once that it must look
//! for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testyard_guest_protocol::{FromGuest, PROTOCOL, read_async};
use testyard_runtime::{GuestListener, GuestStream};
use tokio::task::JoinHandle;

/// After each connection and message: only our guest is in there, but it may be broken.
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps the guest's stream open until it is dropped.
pub(super) struct Attendant {
    heard: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Attendant {
    pub(super) fn of(listener: Box<dyn GuestListener>) -> Self {
        let heard = Arc::new(AtomicBool::new(false));
        Self { task: tokio::spawn(attend(listener, Arc::clone(&heard))), heard }
    }

    /// Whether the guest is up and can be understood.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn attend(mut listener: Box<dyn GuestListener>, heard: Arc<AtomicBool>) {
    let mut stream = None;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(new) => stream = Some(new),
                Err(error) => tracing::debug!(%error, "the connection of a spare's guest failed"),
            },
            () = listen(&mut stream, &heard) => stream = None,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads to the end of the stream.
async fn listen(stream: &mut Option<Box<dyn GuestStream>>, heard: &AtomicBool) {
    let Some(stream) = stream else { return std::future::pending().await };
    while let Ok(message) = read_async::<FromGuest>(stream).await {
        if let FromGuest::Hello(hello) = message {
            heard.store(hello.protocol == PROTOCOL, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
    heard.store(false, Ordering::Relaxed);
}
