//! Error bodies, as DigitalOcean words them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Problem {
    fn new(status: StatusCode, id: &str, message: &str) -> Self {
        let body = json!({"id": id, "message": message, "request_id": uuid::Uuid::new_v4()});
        Self { status, body }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unable to authenticate you.")
    }

    pub(crate) fn not_found() -> Self {
        let message = "The resource you requested could not be found.";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn bad_request() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "error parsing request body")
    }

    pub(crate) fn unprocessable(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable_entity", message)
    }

    pub(crate) fn try_again() -> Self {
        Self::unprocessable("Please try again")
    }

    pub(crate) fn pending_event() -> Self {
        Self::unprocessable("Droplet already has a pending event.")
    }

    pub(crate) fn droplet_limit() -> Self {
        Self::unprocessable("creating this/these droplet(s) will exceed your droplet limit")
    }

    pub(crate) fn conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn too_many_requests() -> Self {
        let message = "API Rate limit exceeded.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    }

    /// The tags endpoint has an error body of its own.
    pub(crate) fn bad_tag(name: &str) -> Self {
        let error = format!("Error validating resource tag: \"tag-name \\\"{name}\\\" contains invalid characters\"");
        let cause = format!("rpc error: code = InvalidArgument desc = {error}");
        Self {
            status: StatusCode::BAD_REQUEST,
            body: json!({"error": error, "messages": null, "root_causes": [cause]}),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
