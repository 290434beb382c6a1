//! One request: what is no call gets an answer of HTTP, a call gets one of XML-RPC with status 200.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::body::{BodyError, receive};
use super::clients::Clients;
use crate::answer::{self, Failure};
use crate::code::GeniCode;
use crate::offload::offload;
use crate::service::AmService;
use crate::tls::Peer;
use crate::xmlrpc::{Fault, ReadError, Value, parse_call, write_reply};

type Answer = Response<Full<Bytes>>;

/// Tells the caller the number by which the log knows the call.
const REQUEST: HeaderName = HeaderName::from_static("x-request-id");

/// What every connection shares.
pub(super) struct Shared {
    pub(super) service: AmService,
    pub(super) clients: Clients,
    pub(super) calls: TaskTracker,
}

pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    Ok(match request.method() {
        &Method::POST => post(&shared, peer, request).await,
        &Method::GET | &Method::HEAD => hint(&shared),
        _ => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "this is an XML-RPC server: use POST\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD"));
            answer
        }
    })
}

fn hint(shared: &Shared) -> Answer {
    let settings = shared.service.settings();
    plain(
        StatusCode::OK,
        &format!(
            "This is the GENI Aggregate Manager API, version 3, of {}.\n\
             It speaks XML-RPC: point a client (omni, geni-lib, jFed, testyard am) at {}\n",
            settings.urn, settings.public_url
        ),
    )
}

async fn post(shared: &Arc<Shared>, peer: Arc<Peer>, request: Request<Incoming>) -> Answer {
    let encoding = request.headers().get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return closing(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed bodies are not supported\n"));
    }
    let limits = shared.clients.limits();
    let share = shared.clients.share(&peer, std::time::Instant::now());
    let most = if peer.identity.is_some() { limits.body_bytes } else { limits.anonymous_body_bytes };
    let until = tokio::time::Instant::now() + limits.body;
    let received = match receive(request.into_body(), most, until, &share.memory).await {
        Ok(received) => received,
        Err(error) => return closing(refuse_body(error, most, &peer)),
    };
    let Some(turn) = shared.clients.turn(share).await else {
        tracing::info!(address = %peer.address, "a client calls too often");
        return xml(Ok(answer::failed(Failure::busy(), Value::empty())));
    };
    let number = testyard_telemetry::request();
    let span = tracing::info_span!("call", request = %number, address = %peer.address, slice = Empty);
    let service = shared.service.clone();
    // A task of its own: it goes on if the client goes away, and its panic is not the connection's.
    let call = shared.calls.spawn(
        async move {
            let bytes = received.bytes.clone();
            let reply = match offload(bytes.len(), move || parse_call(&bytes)).await {
                Ok(call) => service.call(&peer, number, call).await,
                Err(error) => Err(unreadable(&error)),
            };
            drop((received, turn));
            reply
        }
        .instrument(span),
    );
    let mut answer = xml(call.await.unwrap_or_else(|_| {
        tracing::error!(request = %number, "a call ended in a panic");
        let text = format!("internal error; the testbed's log has the details under request {number}");
        Err(Fault::new(Fault::INTERNAL, text))
    }));
    let value = HeaderValue::from_str(&number.to_string()).expect("hexadecimal digits");
    answer.headers_mut().insert(REQUEST, value);
    answer
}

fn unreadable(error: &ReadError) -> Fault {
    tracing::info!("a call that cannot be read");
    let code = match error {
        ReadError::Xml(_) => Fault::PARSE,
        ReadError::Shape { .. } => Fault::INVALID,
    };
    Fault::new(code, format!("the call cannot be read: {error}"))
}

fn refuse_body(error: BodyError, most: usize, peer: &Peer) -> Answer {
    tracing::info!(address = %peer.address, ?error, "a body was not read");
    match error {
        BodyError::TooLarge => {
            let without = if peer.identity.is_none() { " without a client certificate" } else { "" };
            let text = format!("a call has at most {most} bytes{without}\n");
            plain(StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
        BodyError::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"),
        BodyError::NoMemory => plain(StatusCode::SERVICE_UNAVAILABLE, "busy: try again later\n"),
        BodyError::Broken => plain(StatusCode::BAD_REQUEST, "the body cannot be read\n"),
    }
}

fn xml(reply: Result<Value, Fault>) -> Answer {
    respond(StatusCode::OK, "text/xml; charset=utf-8", Bytes::from(write_reply(&reply)))
}

fn plain(status: StatusCode, text: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(SERVER, HeaderValue::from_static("testyard"));
    answer
}

/// What is left of the body is not read, so the connection cannot go on.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl Failure {
    fn busy() -> Self {
        Self::new(GeniCode::Busy, "too many calls of yours: try again later")
    }
}
