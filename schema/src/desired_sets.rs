//! `desired_sets`: what each environment's agent should have, as last compiled.

use crate::{Database, Error, Fence, Written};
use model::{DesiredInstance, DesiredSet, EnvironmentId, Stamp};
use sqlx::types::Json;

impl Database {
    /// Stores a set in place of the one with the expected stamp (`None`: of none). Its own stamp has to be a later one, and the
    /// environment or its tombstone has to be there; otherwise it is stale.
    pub async fn desired_set_store(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        expected: Option<Stamp>,
        set: &DesiredSet,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("desired_set_store", fence).await?;
        let stored = match expected {
            None => {
                sqlx::query!(
                    "insert into desired_sets (environment_id, epoch, generation, instances)
                    select $1, $2, $3, $4
                    where exists (select from account_tool_environments where id = $1)
                        or exists (select from environment_tombstones where environment_id = $1)
                    on conflict do nothing",
                    id.0,
                    set.stamp.epoch,
                    set.stamp.generation,
                    Json(&set.instances) as _,
                )
                .execute(&mut *transaction)
                .await?
            }
            Some(expected) => {
                sqlx::query!(
                    "update desired_sets set epoch = $2, generation = $3, instances = $4, stored_at = clock_timestamp()
                    where environment_id = $1 and (epoch, generation) = ($5, $6) and (epoch, generation) < ($2, $3)",
                    id.0,
                    set.stamp.epoch,
                    set.stamp.generation,
                    Json(&set.instances) as _,
                    expected.epoch,
                    expected.generation,
                )
                .execute(&mut *transaction)
                .await?
            }
        };
        transaction.commit().await?;
        Ok(if stored.rows_affected() == 0 {
            Written::Stale
        } else {
            Written::Done
        })
    }

    /// The set that the environment's agent should have.
    pub async fn desired_set_get(&self, id: EnvironmentId) -> Result<Option<DesiredSet>, Error> {
        let row = sqlx::query!(
            r#"select epoch, generation, instances as "instances: Json<Vec<DesiredInstance>>"
            from desired_sets where environment_id = $1"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| DesiredSet {
            environment_id: id,
            stamp: Stamp {
                epoch: row.epoch,
                generation: row.generation,
            },
            instances: row.instances.0,
        }))
    }
}
