//! Connections to the local socket: so many of one user, and a head of a request within seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;

/// Connections of one user at a time; a stream of events, or a capture, is one.
const MOST_OF_ONE: usize = 64;

/// Within which the head of a request has to come.
const HEAD: Duration = Duration::from_secs(10);

/// The pause after a connection could not be taken: the process has no files left, say.
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections each user has.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<Mutex<HashMap<Peer, usize>>>);

/// One of them.
struct One {
    all: Counted,
    peer: Peer,
}

impl Counted {
    /// One more; none if the user has enough.
    fn take(&self, peer: Peer) -> Option<One> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(peer).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(One { all: self.clone(), peer })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut counted = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counted.remove(&self.peer);
            }
        }
    }
}

/// Takes connections until the token is cancelled, and returns when those that are open then have ended.
pub(crate) async fn serve(listener: UnixListener, router: Router, ended: CancellationToken) {
    let (counted, graceful) = (Counted::default(), GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the local socket was not taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let peer = Peer::of(&stream);
        let Some(one) = counted.take(peer) else {
            tracing::warn!(?peer, "has {MOST_OF_ONE} connections to the local socket already");
            continue;
        };
        let connection = graceful.watch(connection(stream, peer, &router));
        tokio::spawn(async move {
            // That it broke is its caller's business.
            let _ = connection.await;
            drop(one);
        });
    }
    graceful.shutdown().await;
}

fn connection(
    stream: UnixStream,
    peer: Peer,
    router: &Router,
) -> http1::Connection<TokioIo<UnixStream>, TowerToHyperService<Router>> {
    let service = router.clone().layer(Extension(ConnectInfo(peer)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each() {
        let counted = Counted::default();
        let (ann, bob) = (Peer::of_uid(1_000), Peer::of_uid(1_001));
        let mut anns: Vec<One> = std::iter::from_fn(|| counted.take(ann)).collect();
        assert_eq!(anns.len(), MOST_OF_ONE);
        assert!(counted.take(bob).is_some(), "another's do not count");
        anns.pop();
        assert!(counted.take(ann).is_some());
        drop(anns);
        assert!(counted.0.lock().unwrap().is_empty());
    }
}
