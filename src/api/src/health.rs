//! `/livez` and `/readyz`, as Kubernetes probes expect them.

use crate::{Backend, Problem};
use axum::{Router, extract::State, routing::get};

pub(crate) fn routes() -> Router<Backend> {
    Router::new().route("/livez", get(live)).route("/readyz", get(ready))
}

/// The process serves requests.
async fn live() -> &'static str {
    "ok\n"
}

/// The process can do its work: the database answers.
async fn ready(State(backend): State<Backend>) -> Result<&'static str, Problem> {
    backend.database.server_version().await?;
    Ok("ok\n")
}
