//! The testbed itself, for operators: metrics, the audit trail, and opening a restored store.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::Response;
use testyard_controller::{AuditObject, AuditQuery};
use testyard_model::urn::{Urn, UserUrn};

use super::{Operator, slice_urn};
use crate::api::{self, Audited};
use crate::from;
use crate::metrics;
use crate::problem::Refused;
use crate::server::Server;

/// Lines where nothing is said, and at most.
const LINES: u32 = 100;
const MOST_LINES: u32 = 10_000;

pub(super) async fn metrics(State(server): State<Server>, _: Operator) -> Response {
    metrics::answer(&*server.metrics).await
}

pub(super) async fn audit(
    State(server): State<Server>,
    _: Operator,
    Query(query): Query<api::AuditQuery>,
) -> Result<Json<Vec<Audited>>, Refused> {
    let query = read(&server, query)?;
    let rows = server.controller.audit(query).await.map_err(|error| {
        tracing::error!(%error, "the audit trail cannot be read");
        Refused::internal("the audit trail cannot be read; the log of serve says why")
    })?;
    Ok(Json(rows.into_iter().map(from::audited).collect()))
}

/// Begins anew with what `testyard restore` has put beside the store.
pub(super) async fn reopen(
    State(server): State<Server>,
    Operator(person): Operator,
) -> Result<Json<bool>, Refused> {
    tracing::warn!(user = %person.urn, "opening the store anew");
    server.reopen.notify_one();
    Ok(Json(true))
}

fn read(server: &Server, query: api::AuditQuery) -> Result<AuditQuery, Refused> {
    let api::AuditQuery { slice, host, user, request, since, most } = query;
    let slice = slice.map(|text| slice_urn(server, &text).map(AuditObject::Slice)).transpose()?;
    let host =
        host.map(|text| text.parse().map(AuditObject::Host).map_err(Refused::bad_request)).transpose()?;
    if slice.is_some() && host.is_some() {
        return Err(Refused::bad_request("a line is about a slice or about a host: ask for one of them"));
    }
    let request = request.map(|text| text.parse().map_err(Refused::bad_request)).transpose()?;
    let user = user.map(|text| user_urn(server, &text)).transpose()?;
    let most = most.unwrap_or(LINES).min(MOST_LINES);
    Ok(AuditQuery { object: slice.or(host), user, request, since, most })
}

fn user_urn(server: &Server, text: &str) -> Result<UserUrn, Refused> {
    let urn = match text.starts_with("urn:") {
        true => text.parse::<UserUrn>(),
        false => Urn::new(&server.authority, "user", text).and_then(UserUrn::try_from),
    };
    urn.map_err(|error| Refused::bad_request(format!("{text:?} is no name of a user: {error}")))
}
