//! The accept loop.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use openssl::ssl::Ssl;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients::Clients;
use super::http::{Shared, answer};
use super::limits::ServerLimits;
use crate::service::AmService;
use crate::tls::{Peer, TlsFiles};

/// After an accept failed for want of descriptors or memory: others must give some back first.
const PAUSE: Duration = Duration::from_millis(50);

/// The largest head of a request. Clients send some hundred bytes.
const MAX_HEAD: usize = 64 << 10;

/// Serves the AM API on a socket until `shutdown` is cancelled; then takes no more connections, finishes running calls
/// within [`ServerLimits::grace`] and returns. Reading `tls` again is [`TlsFiles::watch`]'s.
pub async fn serve(
    listener: TcpListener,
    tls: TlsFiles,
    service: AmService,
    limits: ServerLimits,
    shutdown: CancellationToken,
) {
    let grace = limits.grace;
    let shared = Arc::new(Shared { service, clients: Clients::new(limits), calls: TaskTracker::new() });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = shared.clients.connect(address.ip()) else {
            tracing::debug!(address = %address.ip(), "too many connections");
            continue;
        };
        let (shared, tls, shutdown) = (Arc::clone(&shared), tls.clone(), shutdown.clone());
        connections.spawn(async move {
            let ip = address.ip();
            let served = tokio::select! {
                stream = handshake(stream, &tls, shared.clients.limits()) => stream,
                () = shutdown.cancelled() => None,
            };
            if let Some(stream) = served {
                let peer = Arc::new(Peer::of(stream.ssl(), ip));
                converse(stream, peer, shared, shutdown).await;
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    shared.calls.close();
    let finished = async {
        connections.wait().await;
        shared.calls.wait().await;
    };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!(calls = shared.calls.len(), "shut down before every call was finished");
    }
}

async fn handshake(stream: TcpStream, tls: &TlsFiles, limits: &ServerLimits) -> Option<SslStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    // The kernel ends a connection whose client takes nothing for so long.
    let unsent = u32::try_from(limits.unsent.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = setsockopt(&stream, sockopt::TcpUserTimeout, &unsent) {
        tracing::debug!(%error, "no limit on unsent data");
    }
    let address = stream.peer_addr().ok()?;
    let ssl = Ssl::new(tls.acceptor().context()).ok()?;
    let mut stream = SslStream::new(ssl, stream).ok()?;
    match tokio::time::timeout(limits.handshake, std::pin::Pin::new(&mut stream).accept()).await {
        Ok(Ok(())) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake took too long");
            None
        }
    }
}

async fn converse(
    stream: SslStream<TcpStream>,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.clients.limits().head).max_buf_size(MAX_HEAD);
    let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&peer), request));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            // It ends once its present request is answered.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection broke");
    }
}
