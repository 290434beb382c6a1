//! Links, while they run.

use std::io;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, TE, TRAILER};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use testyard_controller::api::{Capture, ChangeLink, LinkAction};
use testyard_fabric::capture::{CaptureEnd, CaptureEvent, EndReason};
use testyard_model::name::ClientId;
use tokio_util::sync::CancellationToken;

use super::Touched;
use crate::api::{self, CAPTURE_END};
use crate::from;
use crate::problem::Refused;
use crate::server::Server;

pub(super) async fn change(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
    Path((_, link)): Path<(String, String)>,
    body: Result<Json<api::ChangeLink>, JsonRejection>,
) -> Result<Json<api::Slice>, Refused> {
    let Json(api::ChangeLink { action, settings, from, for_ms }) = body?;
    if action != "set" && (!settings.is_empty() || from.is_some()) || action == "reset" && for_ms.is_some() {
        return Err(Refused::bad_request(
            "settings and from go with the action set, for_ms with all but reset".to_owned(),
        ));
    }
    let link: ClientId = link.parse().map_err(Refused::bad_request)?;
    let what = match action.as_str() {
        "up" => LinkAction::Up,
        "down" => LinkAction::Down,
        "reset" => LinkAction::Reset,
        "set" if settings.is_empty() => {
            return Err(Refused::bad_request("what is to be set? settings are like delay=50ms, loss=1%"));
        }
        "set" => LinkAction::Set(settings),
        other => {
            return Err(Refused::bad_request(format!(
                "{other:?} is no action: it can be up, down, set or reset"
            )));
        }
    };
    let until = |ms: u64| {
        let span = SignedDuration::try_from(std::time::Duration::from_millis(ms)).ok()?;
        Timestamp::now().checked_add(span).ok()
    };
    let until = for_ms
        .map(|ms| until(ms).ok_or_else(|| Refused::bad_request("that is too long a while")))
        .transpose()?;
    let request = ChangeLink { slice, link, from, what, until };
    let view = server.controller.change_link(&person.caller(), request).await?;
    Ok(Json(from::slice(view)))
}

/// What is captured.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureQuery {
    /// All links if none is named.
    link: Option<ClientId>,
    /// Of each packet.
    bytes: Option<u32>,
    filter: Option<String>,
}

pub(super) async fn capture(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
    query: Result<Query<CaptureQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let Query(CaptureQuery { link, bytes, filter }) =
        query.map_err(|wrong| Refused::bad_request(wrong.body_text()))?;
    let request = Capture { slice, link, snap_length: bytes.unwrap_or(0).into(), filter };
    let events = server.controller.capture(&person.caller(), request).await?;
    Ok(captured(events, server.shutdown.clone(), &headers))
}

/// A capture as an answer. How it ended is a trailer for who takes trailers; anybody else is told by a body that breaks if
/// the kernel refused, and by one that ends otherwise.
fn captured(
    events: impl Stream<Item = CaptureEvent> + Send + Unpin + 'static,
    shutdown: CancellationToken,
    asked: &HeaderMap,
) -> Response {
    let takes_trailers = asked.get_all(TE).iter().any(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
    });
    let last = move |end: &api::CaptureEnd| {
        if end.reason == api::CAPTURE_FAILED && !takes_trailers {
            return Err(io::Error::other(end.text.clone()));
        }
        let mut trailers = HeaderMap::new();
        // JSON has no line breaks unless it is asked for them.
        let json = serde_json::to_vec(end).map_err(io::Error::other)?;
        trailers.insert(CAPTURE_END, HeaderValue::from_bytes(&json).map_err(io::Error::other)?);
        Ok(Frame::trailers(trailers))
    };
    let frames = stream::unfold(Some((events, shutdown)), move |state| async move {
        let (mut events, shutdown) = state?;
        let event = tokio::select! {
            event = events.next() => event?,
            () = shutdown.cancelled() => return Some((last(&stopped()), None)),
        };
        Some(match event {
            CaptureEvent::Blocks(bytes) => (Ok(Frame::data(Bytes::from(bytes))), Some((events, shutdown))),
            CaptureEvent::Ended(end) => (last(&ended(end)), None),
        })
    });
    let body = Body::new(StreamBody::new(frames));
    ([(CONTENT_TYPE, "application/x-pcapng"), (TRAILER, CAPTURE_END)], body).into_response()
}

fn ended(end: CaptureEnd) -> api::CaptureEnd {
    let CaptureEnd { reason, received, dropped } = end;
    let word = match &reason {
        EndReason::Parted => "parted",
        EndReason::LinkGone => "link_gone",
        EndReason::Stopped => "stopped",
        EndReason::Failed(_) => api::CAPTURE_FAILED,
    };
    // A client reads no trailer of any length.
    let text = reason.to_string().chars().take(1_000).collect();
    api::CaptureEnd { reason: word.to_owned(), text, received: Some(received), dropped: Some(dropped) }
}

/// The testbed ends; what its agent has counted is not waited for.
fn stopped() -> api::CaptureEnd {
    api::CaptureEnd {
        reason: "stopped".to_owned(),
        text: "the testbed has ended".to_owned(),
        received: None,
        dropped: None,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::client::{Blocks, Client, ClientError};
    use crate::connections;

    /// A capture of these events as a client gets it, over a socket.
    async fn over_a_socket(events: Vec<CaptureEvent>, shutdown: bool) -> Blocks {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let (ended, over) = (CancellationToken::new(), CancellationToken::new());
        let token = ended.clone();
        let router = Router::new().route(
            "/v1/slices/{slice}/capture",
            get(async move |headers: HeaderMap| {
                let events = stream::iter(events).chain(stream::pending());
                captured(Box::pin(events), token, &headers)
            }),
        );
        tokio::spawn(connections::serve(listener, router, over));
        let blocks = Client::new(path, None).capture("lab", None, None, None).await.unwrap();
        if shutdown {
            ended.cancel();
        }
        blocks
    }

    async fn all(blocks: &mut Blocks) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(more) = blocks.next().await? {
            bytes.extend(more);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn the_end_of_a_capture_is_told() {
        for (reason, word) in [
            (EndReason::Parted, "parted"),
            (EndReason::LinkGone, "link_gone"),
            (EndReason::Stopped, "stopped"),
            (EndReason::Failed("recvmmsg: \"ü\"\nno room".to_owned()), "failed"),
        ] {
            let text = reason.to_string();
            let end = CaptureEnd { reason, received: 7, dropped: 3 };
            let events = vec![CaptureEvent::Blocks(b"one".to_vec()), CaptureEvent::Blocks(b"two".to_vec())];
            let mut blocks = over_a_socket([events, vec![CaptureEvent::Ended(end)]].concat(), false).await;
            assert_eq!(all(&mut blocks).await.unwrap(), b"onetwo");
            let told = blocks.end().unwrap();
            assert_eq!((told.reason.as_str(), told.text.as_str()), (word, text.as_str()));
            assert_eq!((told.received, told.dropped), (Some(7), Some(3)));
        }
    }

    #[tokio::test]
    async fn a_testbed_that_ends_says_so() {
        let mut blocks = over_a_socket(vec![CaptureEvent::Blocks(b"one".to_vec())], true).await;
        all(&mut blocks).await.unwrap();
        let told = blocks.end().unwrap();
        assert_eq!((told.reason.as_str(), told.received), ("stopped", None));
    }

    #[tokio::test]
    async fn who_takes_no_trailers_is_told_of_a_failure_by_a_body_that_breaks() {
        let answer = |reason: EndReason| {
            let end = CaptureEnd { reason, received: 0, dropped: 0 };
            let events = stream::iter([CaptureEvent::Ended(end)]);
            captured(events, CancellationToken::new(), &HeaderMap::new())
        };
        let read = async |answer: Response| axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        assert!(read(answer(EndReason::Failed("no room".to_owned()))).await.is_err());
        assert!(read(answer(EndReason::Parted)).await.is_ok());
    }
}
