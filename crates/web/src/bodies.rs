//! Bodies of requests: so long, and whole within seconds.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, Limited};

use crate::problem::Refused;

/// The largest request: a topology of ten thousand nodes has a few megabytes.
const LARGEST: usize = 32 << 20;

/// Within which a body has to come: it comes from this machine.
const WITHIN: Duration = Duration::from_secs(20);

/// The same routes, which get bodies as a whole.
pub(crate) fn bounded(routes: Router) -> Router {
    // What has been gathered is no longer than it may be.
    routes.layer(DefaultBodyLimit::disable()).layer(from_fn(gather))
}

/// Reads the body, and answers in the place of the routes if it does not come.
async fn gather(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(WITHIN, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => Refused::too_large(LARGEST).into_response(),
        Err(_) => Refused::too_slow(WITHIN).into_response(),
    }
}

/// Takes a body and keeps nothing of it, so that whoever sends it comes to read the answer.
pub(crate) async fn waste(body: Body) {
    let mut body = Limited::new(body, LARGEST);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(WITHIN, all).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Bytes;
    use axum::http::StatusCode;
    use futures_util::stream;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn send(body: Body) -> (StatusCode, String) {
        let routes = Router::new().fallback(async |body: Bytes| body.len().to_string());
        let answer = TowerToHyperService::new(bounded(routes)).call(Request::new(body)).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = to_bytes(body, LARGEST).await.unwrap();
        (parts.status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_within_its_time_or_is_refused() {
        let began = tokio::time::Instant::now();
        let (status, text) = send(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())).await;
        assert_eq!((status, began.elapsed()), (StatusCode::REQUEST_TIMEOUT, WITHIN));
        assert!(text.contains("too_slow") && text.contains("did not come within"), "{text}");
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_it_may_be() {
        // Longer than what a framework takes for much.
        let long = vec![b'x'; 3 << 20];
        assert_eq!(send(Body::from(long)).await, (StatusCode::OK, (3 << 20).to_string()));
        let (status, text) = send(Body::from(vec![b'x'; LARGEST + 1])).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(text.contains("longer than 32 MiB"), "{text}");
    }
}
