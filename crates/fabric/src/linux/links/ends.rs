//! Notices that a wire has ended: its control connection closes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use testyard_wire::Client;
use tokio::net::UnixStream;
use tokio::sync::broadcast;

/// Watches wires, and tells of their ends.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    watched: Arc<Mutex<HashSet<PathBuf>>>,
    told: broadcast::Sender<()>,
}

impl Default for Ends {
    fn default() -> Self {
        Self { watched: Arc::default(), told: broadcast::channel(8).0 }
    }
}

impl Ends {
    /// Watches these, too.
    pub(crate) fn watch(&self, sockets: impl IntoIterator<Item = PathBuf>) {
        for socket in sockets {
            let new = self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(socket.clone());
            if new {
                let ends = self.clone();
                tokio::spawn(async move {
                    let seen = until_end(&socket).await;
                    ends.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&socket);
                    if let Err(error) = seen {
                        // It may have ended before it could be watched, or its connection broke; whoever looks knows.
                        tracing::debug!(socket = %socket.display(), %error, "a wire cannot be watched");
                    }
                    // Nobody may be listening.
                    let _ = ends.told.send(());
                });
            }
        }
    }

    /// A tick for each.
    pub(crate) fn disturbances(&self) -> BoxStream<'static, ()> {
        stream::unfold(self.told.subscribe(), async |mut told| match told.recv().await {
            Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => Some(((), told)),
            Err(broadcast::error::RecvError::Closed) => None,
        })
        .boxed()
    }
}

async fn until_end(socket: &Path) -> io::Result<()> {
    let path = socket.to_owned();
    let client = tokio::task::spawn_blocking(move || Client::connect(&path)).await?;
    let stream = client.map_err(io::Error::other)?.into_stream();
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    loop {
        stream.readable().await?;
        // It says nothing without being asked.
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
