//! The testbed itself.

use axum::Json;
use axum::extract::State;

use crate::api::Testbed;
use crate::from;
use crate::peer::Person;
use crate::server::Server;

pub(super) async fn show(State(server): State<Server>, person: Person) -> Json<Testbed> {
    let (sliver_types, hosts) = from::offer(&server.controller.offer());
    Json(Testbed {
        urn: server.urn.to_string(),
        authority: server.authority.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        you: person.urn.to_string(),
        operator: person.operator,
        since: Some(server.since),
        sliver_types,
        hosts,
        images: server.images.load().iter().map(|(name, image)| (name.clone(), image.to_string())).collect(),
    })
}
