//! Refusals as `application/problem+json` (RFC 9457).

use axum::{
    extract::{FromRequest, Request, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, Uri};
use problem_details::ProblemDetails;

/// Why a request was refused. What a client may know goes into the answer, what it may not into the log.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// 400: the request cannot be read.
    #[error("{0}")]
    BadRequest(String),
    /// 401: no token, or a wrong one. The same words for both, so that nothing can be probed.
    #[error("a bearer token for this environment is required in the Authorization header")]
    Unauthorized,
    /// 403: known, and not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 405.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// 409: the request is older than what is there already.
    #[error("{0}")]
    Conflict(String),
    /// 503: a part that this needs is away; trying again later helps.
    #[error("the database does not answer; try again")]
    Unavailable(#[from] schema::Error),
    /// 503: what this needs is on its way; trying again soon helps.
    #[error("{0}")]
    NotYet(String),
    /// 500: a defect.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unavailable(_) | Self::NotYet(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match &self {
            Self::Unavailable(source) => tracing::warn!(error = %source, "request failed: database"),
            Self::Internal(source) => tracing::error!(error = %source, "request failed: defect"),
            Self::BadRequest(_)
            | Self::Unauthorized
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::Conflict(_)
            | Self::NotYet(_) => {}
        }
        ProblemDetails::from_status_code(self.status())
            .with_detail(self.to_string())
            .into_response()
    }
}

/// `axum::Json` whose rejection is a [`Problem`] that names the field.
pub(crate) struct Json<T>(pub(crate) T);

impl<T, S> FromRequest<S> for Json<T>
where
    axum::Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::BadRequest(rejection.body_text())),
        }
    }
}

pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::NotFound(format!("there is nothing at {}", uri.path()))
}

pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::MethodNotAllowed(format!("{} does not take {method}", uri.path()))
}
