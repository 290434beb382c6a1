//! Hosts, for operators.

use axum::Json;
use axum::extract::{Path, Query, State};
use testyard_controller::AuditObject;
use testyard_model::id::HostName;

use super::Operator;
use crate::api::{HostReport, Invitation, Removed};
use crate::from;
use crate::problem::Refused;
use crate::server::Server;

type Answer<T> = Result<Json<T>, Refused>;

pub(super) async fn list(State(server): State<Server>, _: Operator) -> Json<Vec<HostReport>> {
    Json(server.controller.hosts().into_iter().map(from::host_report).collect())
}

pub(super) async fn invite(
    State(server): State<Server>,
    Path(host): Path<String>,
    Operator(person): Operator,
) -> Answer<Invitation> {
    let host = name(&host)?;
    let invitation = server.hosts.invite(&host).await.map_err(Refused::bad_request)?;
    let object = AuditObject::Host(host);
    server.controller.note(&person.caller(), object, "host add", "a token was made".to_owned()).await?;
    Ok(Json(invitation))
}

pub(super) async fn drain(
    State(server): State<Server>,
    Path(host): Path<String>,
    Operator(person): Operator,
) -> Answer<bool> {
    Ok(Json(server.controller.drain_host(&person.caller(), &name(&host)?, true).await?))
}

pub(super) async fn take_back(
    State(server): State<Server>,
    Path(host): Path<String>,
    Operator(person): Operator,
) -> Answer<bool> {
    Ok(Json(server.controller.drain_host(&person.caller(), &name(&host)?, false).await?))
}

/// How a host is removed.
#[derive(serde::Deserialize)]
pub(super) struct How {
    /// Whatever is on it is given up.
    #[serde(default)]
    lost: bool,
}

pub(super) async fn remove(
    State(server): State<Server>,
    Path(host): Path<String>,
    Query(How { lost }): Query<How>,
    Operator(person): Operator,
) -> Answer<Removed> {
    let (host, caller) = (name(&host)?, person.caller());
    let slices = server.controller.slices_on(&host);
    if !lost && !slices.is_empty() {
        let mut names: Vec<&str> = slices.iter().take(10).map(|slice| slice.name()).collect();
        if slices.len() > names.len() {
            names.push("and others");
        }
        return Err(Refused::conflict(format!(
            "nodes of {} are on host {host}: `testyard host drain {host}` lets no more come, and when those are gone it can be \
             removed; --lost gives them up, for a machine that will not come back",
            names.join(", ")
        )));
    }
    let is_here =
        |report: &testyard_controller::api::HostReport| report.offer.name == host && report.away.is_none();
    if lost && !slices.is_empty() && server.controller.hosts().iter().any(is_here) {
        return Err(Refused::conflict(format!(
            "host {host} can be reached, and what is on it would stay there for ever: --lost is for a machine that will not \
             come back; end its agent first, if that is so"
        )));
    }
    // Nobody is let in any more before what was on it is forgotten: it must not be told that it runs what nobody knows of.
    let revoked = server.hosts.revoke(&host).await.map_err(Refused::bad_request)?;
    let forgotten = if lost { server.controller.give_up_host(&caller, &host).await? } else { 0 };
    let detail = if lost { format!("given up with {forgotten} slivers") } else { String::new() };
    server.controller.note(&caller, AuditObject::Host(host), "host rm", detail).await?;
    Ok(Json(Removed { revoked, forgotten }))
}

fn name(text: &str) -> Result<HostName, Refused> {
    text.parse().map_err(Refused::bad_request)
}
