//! Measuring links: a line of JSON for each step, and the report as the last.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use testyard_controller::api::Verify;
use testyard_model::quantity::Span;
use testyard_verify::Options;
use tokio::sync::mpsc;

use super::Touched;
use crate::api::{self, Verified};
use crate::problem::Refused;
use crate::server::Server;

/// How long a whole measurement may take.
const LONGEST_MS: u64 = 3_600_000;

pub(super) async fn verify(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
    body: Result<Json<api::Verify>, JsonRejection>,
) -> Result<Response, Refused> {
    let Json(api::Verify { links, sample, budget_ms }) = body?;
    let mut options = Options { links, sample, seed: rand_seed(), ..Options::default() };
    if let Some(budget) = budget_ms {
        if budget > LONGEST_MS {
            return Err(Refused::bad_request("at most an hour: take a sample of the links".to_owned()));
        }
        options.budget = Span::from_millis(budget);
    }
    let (lines, heard) = mpsc::unbounded_channel::<Verified>();
    let (server_ended, left) = (server.shutdown.clone().cancelled_owned(), lines.clone());
    let measure = async move {
        let request = Verify { slice, options };
        let told = lines.clone();
        let progress = move |done, of| {
            // Who has left does not want to know.
            let _ = told.send(Verified::Step { done, of });
        };
        let last = match server.controller.verify(&person.caller(), request, progress).await {
            Ok(report) => Verified::Report(Box::new(report)),
            Err(refusal) => Verified::Refused(Refused::from(refusal).problem()),
        };
        let _ = lines.send(last);
    };
    // Not beyond the caller: frames load the links, and nobody else can measure them meanwhile.
    tokio::spawn(async move {
        tokio::select! {
            () = measure => {}
            () = left.closed() => {}
            () = server_ended => {}
        }
    });
    let lines =
        futures_util::stream::unfold(heard, |mut heard| async move { Some((heard.recv().await?, heard)) });
    let lines = lines.map(|line| {
        let mut bytes = serde_json::to_vec(&line).map_err(std::io::Error::other)?;
        bytes.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(bytes))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

pub(super) async fn report(
    State(server): State<Server>,
    Touched { person, slice }: Touched,
) -> Result<Json<api::KeptReport>, Refused> {
    let kept = server.controller.report(&person.caller(), &slice).await?;
    Ok(Json(api::KeptReport { at: kept.at, report: kept.report }))
}

/// Each call measures another sample.
fn rand_seed() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}
