//! `agent_reports`: what the agents' heartbeats say.

use crate::{Database, Error, codec::Time};
use jiff::Timestamp;
use model::{AgentReport, EnvironmentId, Stamp};
use sqlx::types::Json;

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HeartbeatOutcome {
    /// It is kept.
    Recorded {
        /// By the database's clock.
        received_at: Timestamp,
        /// The desired set that the agent should hold.
        desired: Option<Stamp>,
    },
    /// The same or a later one of this boot was kept before, or another boot came since. Nothing was written.
    Replayed,
    /// It came with the token of another epoch than the environment's: from a droplet that was replaced.
    StaleEpoch,
    /// There is neither such an environment nor a tombstone of it.
    UnknownEnvironment,
}

impl Database {
    /// Keeps a heartbeat that came with a token of this epoch. `received_at` of the report is ignored.
    ///
    /// Reports about instances that are not this environment's are dropped. Its own are those that have a row in it; and, among
    /// those that have no row at all any more, the ones that its agent was told of or was heard of before: their containers
    /// have yet to go.
    pub async fn heartbeat_record(&self, id: EnvironmentId, epoch: i64, report: &AgentReport) -> Result<HeartbeatOutcome, Error> {
        let statement = sqlx::query_file!(
            "src/agents/heartbeat_record.sql",
            id.0,
            epoch,
            report.boot_id,
            report.sequence,
            report.applied.map(|stamp| stamp.epoch),
            report.applied.map(|stamp| stamp.generation),
            report.agent_version.as_str(),
            Json(&report.vitals) as _,
            Json(&report.instances) as _,
        )
        .fetch_one(&self.pool);
        let outcome = self.write("heartbeat_record", statement).await?;
        Ok(match (outcome.current_epoch, outcome.received_at) {
            (None, _) => HeartbeatOutcome::UnknownEnvironment,
            (Some(current), _) if current != epoch => HeartbeatOutcome::StaleEpoch,
            (Some(_), None) => HeartbeatOutcome::Replayed,
            (Some(_), Some(received_at)) => HeartbeatOutcome::Recorded {
                received_at: received_at.to_jiff(),
                desired: outcome
                    .desired_epoch
                    .zip(outcome.desired_generation)
                    .map(|(epoch, generation)| Stamp { epoch, generation }),
            },
        })
    }

    /// The epoch of the tokens that the environment's agent must hold; of its tombstone's when the row is gone.
    pub async fn agent_epoch(&self, id: EnvironmentId) -> Result<Option<i64>, Error> {
        let epoch = sqlx::query_scalar!(
            r#"select agent_epoch as "epoch!" from account_tool_environments where id = $1
            union all
            select agent_epoch from environment_tombstones where environment_id = $1"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(epoch)
    }
}
