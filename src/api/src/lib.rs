//! The HTTP API of the control plane.
//!
//! Owns: routes, authentication, validation and the shape of errors (`application/problem+json`, RFC 9457). Must not: call
//! DigitalOcean or Docker, or decide anything about droplets; it writes rows and reconcilers do the rest. Promises: a request
//! that is refused has changed nothing, and every refusal says what would be right.

mod agent;
mod bearer;
mod health;
mod problem;
mod serve;
mod state;

pub use agent::binary::{AgentBinary, AgentBinaryError};
pub use problem::Problem;
pub use serve::{ServeError, bind, serve};
pub use state::Backend;

use axum::Router;
use std::time::Duration;
use tower_http::{
    catch_panic::CatchPanicLayer,
    limit::RequestBodyLimitLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    timeout::TimeoutLayer,
    trace::TraceLayer,
};

/// The largest body that is read, in bytes: a heartbeat of a thousand instances fits.
const BODY_LIMIT: usize = 1024 * 1024;

/// How long a request may take. Downloads stream after their answer has begun and are not cut off by this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Every route, with limits on body and time, a request id (`x-request-id`), and one tracing span a request.
pub fn router(backend: Backend) -> Router {
    Router::new()
        .merge(health::routes())
        .merge(agent::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(backend)
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TimeoutLayer::with_status_code(
            http::StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIMEOUT,
        ))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(CatchPanicLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}
