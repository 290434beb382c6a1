//! Links, while they run.

use std::io;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use testyard_controller::api::{Capture, ChangeLink, LinkAction};
use testyard_fabric::capture::{CaptureEnd, CaptureEvent, EndReason};
use testyard_model::name::ClientId;

use super::Touched;
use crate::api;
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
) -> Result<Response, Refused> {
    let Query(CaptureQuery { link, bytes, filter }) =
        query.map_err(|wrong| Refused::bad_request(wrong.body_text()))?;
    let request = Capture { slice, link, snap_length: bytes.unwrap_or(0).into(), filter };
    let events = server.controller.capture(&person.caller(), request).await?;
    let ended = server.shutdown.clone().cancelled_owned();
    let blocks = events.map(|event| match event {
        CaptureEvent::Blocks(bytes) => Ok(Bytes::from(bytes)),
        CaptureEvent::Ended(CaptureEnd { reason: EndReason::Failed(text), .. }) => {
            Err(io::Error::other(text))
        }
        CaptureEvent::Ended(_) => Ok(Bytes::new()),
    });
    let body = Body::from_stream(blocks.take_until(ended));
    Ok(([(CONTENT_TYPE, "application/x-pcapng")], body).into_response())
}
