//! Metrics for who gathers them: over the local socket for operators, and over TCP where the configuration says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time: nobody gathers from so many machines.
const MOST: usize = 16;

/// Within which a request has to come, and a connection to be done with.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the text of the metrics comes from.
#[async_trait]
pub trait Scrape: Send + Sync {
    /// All metrics, as they are now, in `OpenMetrics`' text form.
    async fn scrape(&self) -> String;
}

/// Of a testbed that tells nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoMetrics;

#[async_trait]
impl Scrape for NoMetrics {
    async fn scrape(&self) -> String {
        testyard_telemetry::render([])
    }
}

/// The metrics as an answer.
pub(crate) async fn answer(scrape: &dyn Scrape) -> Response {
    ([(CONTENT_TYPE, testyard_telemetry::CONTENT_TYPE)], scrape.scrape().await).into_response()
}

/// Answers `GET /metrics`, to anybody who can connect, until the token is cancelled. Nothing is in it that names a user, a
/// slice or a node.
pub async fn serve(listener: TcpListener, scrape: Arc<dyn Scrape>, shutdown: CancellationToken) {
    async fn show(State(scrape): State<Arc<dyn Scrape>>) -> Response {
        answer(&*scrape).await
    }
    let router = Router::new().route("/metrics", get(show)).with_state(scrape);
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics was not taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!("too many connections for metrics");
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // That it broke, or took too long, is its caller's business.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: std::net::SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_asks_for_metrics_gets_them_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, ended) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, Arc::new(NoMetrics), ended.clone()));
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n"), "{answer}");
        assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
        for other in ["GET /v1/slices", "GET /", "POST /metrics", "DELETE /v1/slices/x"] {
            let answer = ask(address, &format!("{other} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 40"), "{other}: {answer}");
        }
        let garbage = ask(address, "\x16\x03\x01 what is this\r\n\r\n").await;
        assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
        // Who only holds on keeps others out no longer than it takes.
        let mut held = Vec::new();
        for _ in 0..MOST {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        drop(held);
        while !ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.contains("# EOF") {
            tokio::task::yield_now().await;
        }
        ended.cancel();
        serving.await.unwrap();
    }
}
