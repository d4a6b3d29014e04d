//! `account_tool_environments`: reading rows, and writing what was observed.

use crate::{Database, Error, Fence, Written};
use model::{Environment, EnvironmentId, EnvironmentStatus};
use sqlx::types::Json;

impl Database {
    /// Every environment, oldest first.
    pub async fn environment_list(&self) -> Result<Vec<Environment>, Error> {
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(environment) as "row!: Json<Environment>"
            from account_tool_environments as environment
            order by created_at, id"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }

    /// Writes a status that was found for this generation of the specification. `agent_epoch` is not written: only
    /// [`Database::intent_announce`] raises it.
    pub async fn environment_status_write(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        generation: i64,
        status: &EnvironmentStatus,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let statement = sqlx::query!(
            r#"with fence as materialized (
                select from leases
                where shard = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp()
                for key share
            ), written as (
                update account_tool_environments as environment
                set status = new.status, do_droplet_id = new.do_droplet_id, ip_address = new.ip_address,
                    do_created_at = new.do_created_at, error_message = new.error_message,
                    observed_generation = new.observed_generation, conditions = new.conditions, observed_at = new.observed_at
                from jsonb_to_record($6) as new (
                    status account_environment_status_enum, do_droplet_id bigint, ip_address inet, do_created_at timestamptz,
                    error_message text, observed_generation bigint, conditions jsonb, observed_at timestamptz
                )
                where environment.id = $4 and environment.generation = $5 and exists (select from fence)
                returning 1
            )
            select exists (select from fence) as "held!", (select count(*) from written) as "written!""#,
            fence.sql_shard(),
            fence.holder,
            fence.epoch,
            id.0,
            generation,
            Json(status) as _,
        )
        .fetch_one(&self.pool);
        let outcome = self.write("environment_status_write", statement).await?;
        if outcome.held {
            Ok(Written::from_count(outcome.written))
        } else {
            Err(self.refused(fence).await)
        }
    }
}
