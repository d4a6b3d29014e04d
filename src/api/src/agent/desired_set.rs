//! `GET /api/v1/agent/{environment_id}/desired-set`: what an agent that is behind asks for.

use crate::{Backend, Problem, bearer};
use axum::extract::{Path, State};
use http::HeaderMap;
use model::{DesiredSet, EnvironmentId};

pub(crate) async fn get(
    State(backend): State<Backend>,
    Path(environment): Path<EnvironmentId>,
    headers: HeaderMap,
) -> Result<axum::Json<DesiredSet>, Problem> {
    bearer::agent_epoch(&backend, &headers, environment).await?;
    let set = backend.database.desired_set_get(environment).await?;
    set.map(axum::Json)
        .ok_or_else(|| Problem::NotFound(format!("no desired set of environment {environment} yet")))
}
