//! What happens, as it happens: a line of JSON each, until the listener leaves or the server ends.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use testyard_controller::Event;
use testyard_model::urn::SliceUrn;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Touched;
use crate::api;
use crate::from;
use crate::peer::Person;
use crate::problem::Refused;
use crate::server::Server;

/// What a listener hears.
struct Listening {
    events: Receiver<Event>,
    person: Person,
    slice: Option<SliceUrn>,
    ended: CancellationToken,
}

pub(super) async fn all(State(server): State<Server>, person: Person) -> Response {
    listen(server, person, None)
}

pub(super) async fn of_slice(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Result<Response, Refused> {
    match server.controller.creator(&slice) {
        Some(creator) if person.may_touch(&creator) => Ok(listen(server, person, Some(slice))),
        Some(creator) => Err(Refused::forbidden(format!(
            "slice {} is {creator}'s, and you are {}",
            slice.name(),
            person.urn
        ))),
        None => Err(Refused::not_found(format!("slice {} has no nodes here", slice.name()))),
    }
}

fn listen(server: Server, person: Person, slice: Option<SliceUrn>) -> Response {
    let (events, ended) = (server.controller.subscribe(), server.shutdown.clone());
    let listening = Listening { events, person, slice, ended };
    let lines = stream::unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), listening))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

impl Listening {
    async fn next(&mut self) -> Option<api::Event> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.ended.cancelled() => return None,
            };
            match event {
                Ok(event) if self.hears(&event) => return Some(from::event(event)),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    return Some(from::missed(Timestamp::now(), self.slice.as_ref()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn hears(&self, event: &Event) -> bool {
        self.person.may_touch(&event.creator) && self.slice.as_ref().is_none_or(|only| *only == event.slice)
    }
}
