//! The agent's bearer token: which epoch of which environment it speaks for.

use crate::{Backend, Problem};
use http::{HeaderMap, header::AUTHORIZATION};
use model::EnvironmentId;

/// The epoch whose agent token the request carries.
///
/// Only the environment's current epoch is taken: a droplet that was replaced, and a duplicate that is about to be destroyed,
/// speak for nobody.
pub(crate) async fn agent_epoch(backend: &Backend, headers: &HeaderMap, environment: EnvironmentId) -> Result<i64, Problem> {
    let presented = headers
        .get(AUTHORIZATION)
        .map(http::HeaderValue::as_bytes)
        .ok_or(Problem::Unauthorized)?;
    let epoch = backend
        .database
        .agent_epoch(environment)
        .await?
        .ok_or(Problem::Unauthorized)?;
    if backend
        .master_key
        .agent_token(environment, epoch)
        .verify_header(Some(presented))
    {
        Ok(epoch)
    } else {
        Err(Problem::Unauthorized)
    }
}
