//! `desired_sets`: what each environment's agent should have, as last compiled.

use crate::{Database, Error, Fence, Written, firewalls::integers};
use model::{DesiredInstance, DesiredSet, EnvironmentId, Stamp};
use sqlx::{PgConnection, types::Json};
use std::collections::BTreeSet;

impl Database {
    /// Stores a set in place of the one with the expected stamp (`None`: of none). Its own stamp has to be a later one, and the
    /// environment or its tombstone has to be there; otherwise it is stale. It is stale too when it changes a tool whose port may
    /// be open on the same droplet: that port has to be closed first. `left_open` are the ports that were asked to close and are
    /// waited for no longer.
    pub async fn desired_set_store(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        expected: Option<Stamp>,
        set: &DesiredSet,
        left_open: &BTreeSet<u16>,
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
                if changes_behind_open_port(&mut transaction, id, expected, set, left_open).await? {
                    return Ok(Written::Stale);
                }
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

/// Whether a set in place of the expected one would change a tool, or bring another one, behind a port that may be open.
///
/// Two statements: what is waited for by the first has to be seen by the second.
async fn changes_behind_open_port(
    connection: &mut PgConnection,
    id: EnvironmentId,
    expected: Stamp,
    set: &DesiredSet,
    left_open: &BTreeSet<u16>,
) -> Result<bool, Error> {
    sqlx::query!(
        "select from desired_sets where environment_id = $1 and (epoch, generation) = ($2, $3) for no key update",
        id.0,
        expected.epoch,
        expected.generation,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let changes = sqlx::query_scalar!(
        r#"select exists (
            select from environment_firewalls as firewall, unnest(firewall.ports) as port
            where firewall.environment_id = $1 and firewall.epoch = $2
                and not (port = any ($4) and firewall.closing ? port::text)
                and (
                    select instance from desired_sets as stored, jsonb_array_elements(stored.instances) as instance
                    where stored.environment_id = $1 and (instance ->> 'port')::integer = port
                ) is distinct from (
                    select instance from jsonb_array_elements($3) as instance where (instance ->> 'port')::integer = port
                )
        ) as "changes!""#,
        id.0,
        set.stamp.epoch,
        Json(&set.instances) as _,
        &integers(left_open),
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(changes)
}
