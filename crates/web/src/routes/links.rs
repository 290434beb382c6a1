//! Links, while they run.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use testyard_controller::api::{ChangeLink, LinkAction};
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
