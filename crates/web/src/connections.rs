//! Connections to the local socket: so many of one user, and a head of a request within seconds. Who has too many is told so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::bodies;
use crate::peer::Peer;
use crate::problem::Refused;

/// Connections of one user at a time; a stream of events, or a capture, is one.
const MOST_OF_ONE: usize = 64;

/// More of them that are told so; what comes beyond them is closed.
const MOST_TURNED_AWAY: usize = 64;

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
    /// There are enough without it.
    is_surplus: bool,
}

impl Counted {
    /// One more; none if even those that are turned away are too many.
    fn take(&self, peer: Peer) -> Option<One> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(peer).or_default();
        if *count >= MOST_OF_ONE + MOST_TURNED_AWAY {
            return None;
        }
        *count += 1;
        Some(One { all: self.clone(), peer, is_surplus: *count > MOST_OF_ONE })
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
    let turning_away = Router::new().fallback(turn_away);
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
            tracing::warn!(?peer, "has far too many connections to the local socket");
            continue;
        };
        if one.is_surplus {
            tracing::warn!(?peer, "has {MOST_OF_ONE} connections to the local socket already");
        }
        let router = if one.is_surplus { &turning_away } else { &router };
        let connection = graceful.watch(connection(stream, peer, router, !one.is_surplus));
        tokio::spawn(async move {
            // That it broke is its caller's business.
            let _ = connection.await;
            drop(one);
        });
    }
    graceful.shutdown().await;
}

/// What a user is told who has enough connections.
async fn turn_away(body: Body) -> Refused {
    bodies::waste(body).await;
    Refused::busy(format!(
        "you have {MOST_OF_ONE} connections to this testbed already, and no more are taken: end some of your commands, such \
         as events, captures and status --watch, or try again later"
    ))
}

fn connection(
    stream: UnixStream,
    peer: Peer,
    router: &Router,
    stays: bool,
) -> http1::Connection<TokioIo<UnixStream>, TowerToHyperService<Router>> {
    let service = router.clone().layer(Extension(ConnectInfo(peer)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(stays);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, ClientError};

    #[test]
    fn so_many_of_each() {
        let counted = Counted::default();
        let (ann, bob) = (Peer::of_uid(1_000), Peer::of_uid(1_001));
        let mut anns: Vec<One> = std::iter::from_fn(|| counted.take(ann)).collect();
        assert_eq!(anns.len(), MOST_OF_ONE + MOST_TURNED_AWAY);
        assert_eq!(anns.iter().filter(|one| !one.is_surplus).count(), MOST_OF_ONE);
        assert!(counted.take(bob).is_some_and(|one| !one.is_surplus), "another's do not count");
        anns.truncate(MOST_OF_ONE - 1);
        assert!(counted.take(ann).is_some_and(|one| !one.is_surplus));
        drop(anns);
        assert!(counted.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_has_too_many_connections_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(crate::SOCKET);
        let (listener, ended) = (UnixListener::bind(&path).unwrap(), CancellationToken::new());
        let routes = Router::new().fallback(async || axum::Json(Vec::<()>::new()));
        let serving = tokio::spawn(serve(listener, routes, ended.clone()));
        let client = Client::new(path.clone(), None);
        let mut held = Vec::new();
        for _ in 0..MOST_OF_ONE {
            held.push(UnixStream::connect(&path).await.unwrap());
        }
        let refused = client.slices().await.unwrap_err();
        let ClientError::Refused(problem) = refused else { panic!("{refused}") };
        assert_eq!(problem.kind, "busy");
        assert!(problem.error.contains("you have 64 connections"), "{}", problem.error);
        held.pop();
        while client.slices().await.is_err() {
            tokio::task::yield_now().await;
        }
        drop(held);
        ended.cancel();
        serving.await.unwrap();
    }
}
