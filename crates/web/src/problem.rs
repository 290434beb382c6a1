//! Calls that were not carried out, as HTTP says it.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use testyard_controller::api::Refusal;

use crate::api::Problem;
use crate::words::translated;

/// Why a call was not carried out.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    problem: Problem,
}

impl Refused {
    pub(crate) fn bad_request(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error.to_string())
    }

    pub(crate) fn forbidden(error: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", error)
    }

    pub(crate) fn not_found(error: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error)
    }

    pub(crate) fn conflict(error: String) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", error)
    }

    pub(crate) fn internal(error: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_owned())
    }

    pub(crate) fn too_large(most: usize) -> Self {
        let error = format!("the request's body is longer than {} MiB, or broken off", most >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "bad_request", error)
    }

    pub(crate) fn too_slow(within: Duration) -> Self {
        let error = format!("the request's body did not come within {} s", within.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", error)
    }

    pub(crate) fn busy(error: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error)
    }

    /// For who has been told that the call is carried out.
    pub(crate) fn problem(self) -> Problem {
        self.problem
    }

    fn new(status: StatusCode, kind: &str, error: String) -> Self {
        Self { status, problem: Problem { kind: kind.to_owned(), error } }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, kind) = match &refusal {
            Refusal::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::ShutDown(_) => (StatusCode::FORBIDDEN, "shut_down"),
            Refusal::TooBig(_) => (StatusCode::INSUFFICIENT_STORAGE, "too_big"),
            Refusal::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported"),
            Refusal::Refused(_) => (StatusCode::FORBIDDEN, "refused"),
            Refusal::OutOfRange(_) => (StatusCode::BAD_REQUEST, "out_of_range"),
            Refusal::AlreadyExists(_) => (StatusCode::CONFLICT, "already_exists"),
            Refusal::Changed(_) => (StatusCode::CONFLICT, "changed"),
            Refusal::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Refusal::Expired(_) => (StatusCode::FORBIDDEN, "expired"),
            Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, kind, translated(&refusal.to_string(), "NODE"))
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad_request", rejection.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}
