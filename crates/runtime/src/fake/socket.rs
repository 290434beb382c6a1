//! The fake's sockets: a listener for the agent, a door for whoever is inside the node.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

use crate::contract::{GuestListener, GuestStream};

/// Streams that wait to be accepted, as a socket's backlog.
const BACKLOG: usize = 64;

/// What a stream holds before its writer has to wait.
const BUFFER: usize = 64 << 10;

/// The agent's socket in a node: who listens at the moment.
pub(super) struct Socket(watch::Sender<Option<mpsc::Sender<DuplexStream>>>);

/// The inside of a socket.
pub(super) struct Door(watch::Receiver<Option<mpsc::Sender<DuplexStream>>>);

pub(super) struct Listener(mpsc::Receiver<DuplexStream>);

impl Socket {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Takes the place of an earlier listener, whose streams stay.
    pub(super) fn listen(&self) -> Listener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.0.send_replace(Some(sender));
        Listener(receiver)
    }

    pub(super) fn door(&self) -> Door {
        Door(self.0.subscribe())
    }
}

impl Door {
    /// A stream to the agent, as soon as it listens.
    pub(super) async fn connect(&mut self) -> DuplexStream {
        loop {
            let listener = self.0.borrow_and_update().clone();
            if let Some(listener) = listener {
                let (near, far) = tokio::io::duplex(BUFFER);
                if listener.send(far).await.is_ok() {
                    return near;
                }
            }
            if self.0.changed().await.is_err() {
                // The node's socket is gone for good; so will be its guest.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// How long a guest waits before it connects again.
pub(super) const AGAIN: Duration = Duration::from_millis(10);

#[async_trait]
impl GuestListener for Listener {
    async fn accept(&mut self) -> io::Result<Box<dyn GuestStream>> {
        let stream = self.0.recv().await.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "a later listener has taken the place of this one",
            )
        })?;
        Ok(Box::new(stream))
    }
}
