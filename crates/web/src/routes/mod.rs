//! A noun a file. Each route finds out who calls, asks one method of the controller, and gives the answer as JSON.

mod events;
mod hosts;
mod links;
mod operating;
mod slices;
mod testbed;
mod verify;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Path};
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use testyard_model::urn::{SliceUrn, Urn};

use crate::peer::{ACT_AS, Peer, Person};
use crate::problem::Refused;
use crate::requests::{Number, noted};
use crate::server::Server;

/// All routes.
pub(crate) fn all(server: Server) -> Router {
    Router::new()
        .route("/v1/testbed", get(testbed::show))
        .route("/v1/slices", get(slices::list))
        .route("/v1/slices/{slice}", get(slices::show).put(slices::update).delete(slices::delete))
        .route("/v1/slices/{slice}/outlook", post(slices::outlook))
        .route("/v1/slices/{slice}/plan", get(slices::plan))
        .route("/v1/slices/{slice}/images", get(slices::images))
        .route("/v1/slices/{slice}/removed", get(slices::removed))
        .route("/v1/slices/{slice}/actions", post(slices::act))
        .route("/v1/slices/{slice}/renew", post(slices::renew))
        .route("/v1/slices/{slice}/replay", post(slices::replay))
        .route("/v1/slices/{slice}/shutdown", post(slices::shut_down).delete(slices::lift_shutdown))
        .route("/v1/slices/{slice}/links/{link}", post(links::change))
        .route("/v1/slices/{slice}/verify", post(verify::verify))
        .route("/v1/slices/{slice}/report", get(verify::report))
        .route("/v1/slices/{slice}/capture", get(links::capture))
        .route("/v1/slices/{slice}/events", get(events::of_slice))
        .route("/v1/hosts", get(hosts::list))
        .route("/v1/hosts/{host}", delete(hosts::remove))
        .route("/v1/hosts/{host}/invitation", post(hosts::invite))
        .route("/v1/hosts/{host}/drain", post(hosts::drain).delete(hosts::take_back))
        .route("/v1/audit", get(operating::audit))
        .route("/v1/reopen", post(operating::reopen))
        .route("/metrics", get(operating::metrics))
        .route("/v1/events", get(events::all))
        .fallback(nothing)
        .layer(from_fn_with_state(server.calls.clone(), noted))
        .with_state(server)
}

async fn nothing() -> Refused {
    Refused::not_found("there is nothing at this path; see docs/reference/rest.md".to_owned())
}

/// Somebody who may do anything.
pub(crate) struct Operator(pub(crate) Person);

impl FromRequestParts<Server> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refused> {
        let person = Person::from_request_parts(parts, server).await?;
        operators_only(&person)?;
        Ok(Self(person))
    }
}

pub(crate) fn operators_only(person: &Person) -> Result<(), Refused> {
    if person.operator {
        return Ok(());
    }
    Err(Refused::forbidden(format!("only operators may do this, and you are {}", person.urn)))
}

impl FromRequestParts<Server> for Person {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refused> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|info| info.0);
        let peer = peer.ok_or_else(|| Refused::forbidden("nobody knows who calls".to_owned()))?;
        let act_as = parts
            .headers
            .get(ACT_AS)
            .map(|value| value.to_str().map_err(Refused::bad_request))
            .transpose()?;
        let request = parts.extensions.get::<Number>().map(|number| number.0);
        Ok(Person { request, ..peer.person(&server.authority, act_as)? })
    }
}

/// The slice of the path, and who calls. Whether that person may touch it the controller says, in the slice's turn.
pub(crate) struct Touched {
    pub(crate) person: Person,
    pub(crate) slice: SliceUrn,
}

impl FromRequestParts<Server> for Touched {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Refused> {
        #[derive(serde::Deserialize)]
        struct Named {
            slice: String,
        }
        let person = Person::from_request_parts(parts, server).await?;
        let named = Path::<Named>::from_request_parts(parts, server).await;
        let Path(Named { slice }) = named.map_err(|rejection| Refused::bad_request(rejection.body_text()))?;
        let slice = slice_urn(server, &slice)?;
        // Names of other authorities are theirs: nobody else makes slices of them here.
        if !person.operator && slice.authority() != &server.authority {
            return Err(Refused::forbidden(format!("slices of {} are not yours", slice.authority())));
        }
        tracing::Span::current().record("slice", slice.to_string());
        Ok(Self { person, slice })
    }
}

/// A slice by its name at the testbed's authority, or by its URN.
fn slice_urn(server: &Server, text: &str) -> Result<SliceUrn, Refused> {
    let urn = if text.starts_with("urn:") {
        text.parse::<SliceUrn>()
    } else {
        Urn::new(&server.authority, "slice", text).and_then(SliceUrn::try_from)
    };
    urn.map_err(|error| Refused::bad_request(format!("{text:?} is no name of a slice: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_operators_may_do() {
        let person = |operator| Person {
            urn: "urn:publicid:IDN+lab.example.net+user+ann".parse().unwrap(),
            operator,
            by: None,
            request: None,
        };
        assert!(operators_only(&person(true)).is_ok());
        let told = operators_only(&person(false)).unwrap_err().problem();
        assert_eq!(told.kind, "forbidden");
        assert!(told.error.contains("only operators may do this"), "{}", told.error);
    }
}
