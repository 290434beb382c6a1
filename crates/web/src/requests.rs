//! Every call gets a number, a line in the log, and is counted.

use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use testyard_model::id::RequestId;
use testyard_telemetry::{Calls, Door, Outcome, request};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::peer::Peer;

/// Tells the caller the number by which the log and the audit trail know the call.
pub(crate) const REQUEST: HeaderName = HeaderName::from_static("x-request-id");

/// What a call at a path that there is none of is counted as.
const NOTHING: &str = "nothing";

/// A call, as those who answer it see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) RequestId);

/// Has the call carried out, and takes note of it. Never of what was passed: keys are in there.
pub(crate) async fn noted(State(calls): State<Calls>, mut call: Request, next: Next) -> Response {
    let (number, begun) = (request(), Instant::now());
    call.extensions_mut().insert(Number(number));
    let path = call.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    // Only paths that there are: callers would make up names for ever.
    let name = path.map_or_else(|| NOTHING.to_owned(), |path| format!("{} {path}", call.method()));
    let is_look = *call.method() == Method::GET;
    let uid = call.extensions().get::<ConnectInfo<Peer>>().and_then(|info| info.0.uid());
    let span = tracing::info_span!("call", request = %number, uid, slice = Empty);
    async {
        let mut answer = next.run(call).await;
        let (status, took) = (answer.status(), begun.elapsed());
        let outcome = outcome(status);
        calls.note(Door::Local, &name, outcome, took);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let status = status.as_u16();
        // Who watches asks all the time: only what changes something, or went wrong, is worth a line.
        if is_look && outcome == Outcome::Done {
            tracing::debug!(call = name, status, ms, "answered");
        } else {
            tracing::info!(call = name, status, ms, "answered");
        }
        let number = HeaderValue::from_str(&number.to_string()).expect("hexadecimal digits");
        answer.headers_mut().insert(REQUEST, number);
        answer
    }
    .instrument(span)
    .await
}

fn outcome(status: StatusCode) -> Outcome {
    match status {
        // What is full or has too much to do is as it was made to be.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => Outcome::Refused,
        status if status.is_server_error() => Outcome::Failed,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Done,
    }
}
