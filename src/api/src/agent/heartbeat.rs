//! `POST /api/v1/agent/heartbeat`: a droplet's vitals and every instance's observed state.

use crate::{Backend, Problem, bearer, problem::Json};
use agent_api::{HeartbeatAnswer, HeartbeatRequest};
use axum::extract::State;
use http::HeaderMap;
use jiff::Timestamp;
use schema::HeartbeatOutcome;

pub(crate) async fn heartbeat(
    State(backend): State<Backend>,
    headers: HeaderMap,
    Json(request): Json<HeartbeatRequest>,
) -> Result<axum::Json<HeartbeatAnswer>, Problem> {
    let environment = request.environment_id;
    let epoch = bearer::agent_epoch(&backend, &headers, environment).await?;
    if request.epoch != epoch {
        return Err(Problem::Forbidden(format!(
            "epoch: {} is not the token's epoch {epoch}",
            request.epoch
        )));
    }
    let report = request.report.received(Timestamp::now());
    match backend.database.heartbeat_record(environment, epoch, &report).await? {
        HeartbeatOutcome::Recorded { received_at, desired } => Ok(axum::Json(HeartbeatAnswer {
            received_at,
            next_seconds: backend.heartbeat_seconds(),
            desired,
            epoch,
        })),
        HeartbeatOutcome::Replayed => Err(Problem::Conflict(format!(
            "report.sequence: {} of boot {} was already received",
            report.sequence, report.boot_id
        ))),
        HeartbeatOutcome::StaleEpoch | HeartbeatOutcome::UnknownEnvironment => Err(Problem::Unauthorized),
    }
}
