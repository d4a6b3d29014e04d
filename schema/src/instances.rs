//! `account_tool_instances`: reading rows, and writing what was observed.

use crate::{Database, Error, Fence};
use model::{EnvironmentId, Instance, InstanceId, InstanceStatus};
use serde::Serialize;
use sqlx::types::Json;

/// Which instances to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstanceFilter {
    /// Only those of one environment.
    pub environment_id: Option<EnvironmentId>,
}

/// One element of what `instance_status_write` sends.
#[derive(Serialize)]
struct StatusRow<'a> {
    id: InstanceId,
    generation: i64,
    #[serde(flatten)]
    status: &'a InstanceStatus,
}

impl Database {
    /// The instances that the filter lets through, oldest first.
    pub async fn instance_list(&self, filter: InstanceFilter) -> Result<Vec<Instance>, Error> {
        let rows = sqlx::query_scalar!(
            r#"select to_jsonb(instance) as "row!: Json<Instance>"
            from account_tool_instances as instance
            where $1::uuid is null or account_tool_environment_id = $1
            order by created_at, id"#,
            filter.environment_id.map(|id| id.0),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|Json(row)| row).collect())
    }

    /// Writes the statuses of instances of one shard, each found for a generation of its specification, and says how many were
    /// written. The others have moved on, or are gone, or belong to another shard.
    pub async fn instance_status_write(
        &self,
        fence: &Fence,
        statuses: &[(InstanceId, i64, InstanceStatus)],
    ) -> Result<usize, Error> {
        let rows: Vec<StatusRow<'_>> = statuses
            .iter()
            .map(|(id, generation, status)| StatusRow {
                id: *id,
                generation: *generation,
                status,
            })
            .collect();
        let statement = sqlx::query!(
            r#"with fence as materialized (
                select from leases
                where shard = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp()
                for key share
            ), written as (
                update account_tool_instances as instance
                set status = new.status, actual_running_version = new.actual_running_version,
                    runtime_details = new.runtime_details, error_message = new.error_message,
                    observed_generation = new.observed_generation, conditions = new.conditions, observed_at = new.observed_at
                from jsonb_to_recordset($4) as new (
                    id uuid, generation bigint, status tool_instance_status_enum, actual_running_version text,
                    runtime_details jsonb, error_message text, observed_generation bigint, conditions jsonb,
                    observed_at timestamptz
                )
                where instance.id = new.id and instance.generation = new.generation
                    and get_byte(uuid_send(instance.account_tool_environment_id), 15) % 64 = $1
                    and exists (select from fence)
                returning 1
            )
            select exists (select from fence) as "held!", (select count(*) from written) as "written!""#,
            fence.sql_shard(),
            fence.holder,
            fence.epoch,
            Json(rows) as _,
        )
        .fetch_one(&self.pool);
        let outcome = self.write("instance_status_write", statement).await?;
        if outcome.held {
            Ok(usize::try_from(outcome.written).unwrap_or(usize::MAX))
        } else {
            Err(self.refused(fence).await)
        }
    }
}
