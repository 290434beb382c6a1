//! Slices.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use testyard_controller::api::{Effort, Perform, Renew, Selection, SliceView, Update, Version};
use testyard_formats::export::export;
use testyard_formats::language::Language;
use testyard_formats::own::parse_json;
use testyard_model::account::{PublicKey, User};
use testyard_model::diagnostic::summary;
use testyard_model::state::Action;
use testyard_model::suggest::closest;
use testyard_model::urn::SliverUrn;
use testyard_plan::Plan;

use super::{Touched, operators_only};
use crate::api;
use crate::from;
use crate::peer::Person;
use crate::problem::Refused;
use crate::server::Server;

/// SSH keys of one user.
const MOST_KEYS: usize = 100;

type Answer<T> = Result<Json<T>, Refused>;
type Asked<T> = Result<Json<T>, JsonRejection>;

pub(super) async fn list(State(server): State<Server>, person: Person) -> Json<Vec<api::Brief>> {
    let all = server.controller.slices();
    Json(all.iter().filter(|slice| person.may_touch(&slice.creator)).map(from::brief).collect())
}

pub(super) async fn show(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<api::Slice> {
    let view =
        server.controller.status(&person.caller(), Selection::Slice(slice), Effort::AllOrNothing).await?;
    Ok(Json(from::slice(view)))
}

pub(super) async fn update(
    State(server): State<Server>,
    touched: Touched,
    body: Asked<api::Update>,
) -> Answer<api::Slice> {
    let Json(body) = body?;
    let caller = touched.person.caller();
    let view = server.controller.update(&caller, read(&touched, body)?).await?;
    Ok(Json(from::slice(view)))
}

pub(super) async fn outlook(
    State(server): State<Server>,
    touched: Touched,
    body: Asked<api::Update>,
) -> Answer<api::Outlook> {
    let Json(body) = body?;
    let caller = touched.person.caller();
    let outlook = server.controller.outlook(&caller, &read(&touched, body)?).await?;
    Ok(Json(from::outlook(outlook)))
}

pub(super) async fn plan(State(server): State<Server>, Touched { person, slice }: Touched) -> Answer<Plan> {
    let plan = server.controller.running(&person.caller(), &slice).await?;
    if plan.nodes.is_empty() {
        return Err(Refused::not_found(format!("slice {} has no nodes here", slice.name())));
    }
    Ok(Json(plan))
}

pub(super) async fn images(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<Vec<api::Image>> {
    let images = server.controller.images(&person.caller(), &slice)?;
    Ok(Json(images.into_iter().map(from::image).collect()))
}

pub(super) async fn delete(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<api::Slice> {
    let view =
        server.controller.delete(&person.caller(), Selection::Slice(slice), Effort::AllOrNothing).await?;
    Ok(Json(from::slice(view)))
}

/// Answers when hosts have removed everything of a slice that was deleted or has expired.
pub(super) async fn removed(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<bool> {
    let caller = person.caller();
    tokio::select! {
        removed = server.controller.wait_until_removed(&caller, &slice) => {
            removed?;
            Ok(Json(true))
        }
        () = server.shutdown.cancelled() => Ok(Json(false)),
    }
}

pub(super) async fn act(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
    body: Asked<api::Act>,
) -> Answer<api::Slice> {
    let Json(api::Act { action, nodes }) = body?;
    let caller = person.caller();
    let action = match action.as_str() {
        "start" => Action::Start,
        "stop" => Action::Stop,
        "restart" => Action::Restart,
        "reload" => Action::Reload,
        other => {
            return Err(Refused::bad_request(format!(
                "{other:?} is no action: it can be start, stop, restart or reload"
            )));
        }
    };
    let all = Selection::Slice(slice.clone());
    let selection = if nodes.is_empty() {
        all
    } else {
        let view = server.controller.status(&caller, all, Effort::AllOrNothing).await?;
        let slivers = nodes.iter().map(|name| sliver(&view, name)).collect::<Result<_, _>>()?;
        Selection::Slivers { slice, slivers }
    };
    let request = Perform { selection, action, users: vec![], effort: Effort::AllOrNothing };
    let view = server.controller.perform(&caller, request).await?;
    Ok(Json(from::slice(view)))
}

pub(super) async fn renew(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
    body: Asked<api::Renew>,
) -> Answer<api::Slice> {
    let Json(api::Renew { end }) = body?;
    let selection = Selection::Slice(slice);
    let request = Renew { selection, end, as_late_as_possible: false, effort: Effort::AllOrNothing };
    let view = server.controller.renew(&person.caller(), request).await?;
    Ok(Json(from::slice(view)))
}

pub(super) async fn replay(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<api::Slice> {
    Ok(Json(from::slice(server.controller.replay(&person.caller(), &slice).await?)))
}

pub(super) async fn shut_down(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<bool> {
    operators_only(&person)?;
    Ok(Json(server.controller.shutdown_slice(&person.caller(), slice).await?))
}

pub(super) async fn lift_shutdown(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Answer<bool> {
    operators_only(&person)?;
    Ok(Json(server.controller.lift_shutdown(&person.caller(), slice).await?))
}

/// What is asked for, checked as everything that comes from outside: the topology is read like any file.
fn read(touched: &Touched, body: api::Update) -> Result<Update, Refused> {
    let api::Update { topology, only, keys, end, revision } = body;
    let seen = revision.map(|text| text.parse::<Version>().map_err(Refused::bad_request)).transpose()?;
    let import = parse_json(&topology.to_string())
        .map_err(|refused| Refused::bad_request(summary(&refused.diagnostics, "the topology is refused")))?;
    // Manifests are made of requests. What an RSpec cannot say is in the plan.
    let document = export(&import.topology, Language::Rspec).map_err(Refused::bad_request)?.text;
    let mut all = Vec::new();
    for key in keys.iter().take(MOST_KEYS + 1) {
        all.extend(PublicKey::parse_all(key).map_err(Refused::bad_request)?);
        if all.len() > MOST_KEYS {
            return Err(Refused::bad_request(format!("more than {MOST_KEYS} SSH keys for one user")));
        }
    }
    let users =
        if all.is_empty() { vec![] } else { vec![User { urn: touched.person.urn.clone(), keys: all }] };
    let slice = touched.slice.clone();
    Ok(Update { slice, topology: import.topology, document, only, users, end, seen })
}

fn sliver(view: &SliceView, name: &str) -> Result<SliverUrn, Refused> {
    if let Some(sliver) = view.slivers.iter().find(|sliver| sliver.client_id.as_str() == name) {
        return Ok(sliver.urn.clone());
    }
    let known = || view.slivers.iter().map(|sliver| sliver.client_id.as_str());
    let hint = closest(name, known()).map_or_else(
        || format!("there are: {}", known().take(10).collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean {near:?}?"),
    );
    Err(Refused::not_found(format!("slice {} has no node {name:?}; {hint}", view.urn.name())))
}
