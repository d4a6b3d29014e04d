//! `environment_firewalls`: which firewall an environment has, and which ports may be open in it.
//!
//! The row is a superset of what is outside, always: a firewall is announced before it is made, a port before it is opened, and
//! both are taken away only after they were seen to be gone. [`Database::desired_set_store`] reads it, and refuses to take a tool
//! away behind a port that may be open.

use crate::{Database, Error, Fence, Written, codec::Spelled};
use model::{ConditionStatus, EnvironmentId, Stamp, Word};
use std::collections::BTreeSet;

/// How a firewall is: what the condition `FirewallReady` repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallState {
    /// Whether it is as it should be.
    pub state: ConditionStatus,
    /// One upper-camel-case word.
    pub reason: Word,
    /// A sentence; may be empty.
    pub message: String,
}

impl Database {
    /// Announces a firewall for the droplet of this epoch, and ports that are about to be opened in it. Those on record before
    /// stay on record, unless they are an earlier droplet's.
    ///
    /// [`Written::Stale`] when the desired set's stamp is not `told` any more, when one of the ports was asked to close, and when
    /// there is neither a row nor a tombstone. `told` of `None` is for announcing no ports.
    pub async fn firewall_announce(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        epoch: i64,
        told: Option<Stamp>,
        ports: &BTreeSet<u16>,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("firewall_announce", fence).await?;
        if !ports.is_empty() {
            // Locked until the ports are on record, so that a set that is stored now comes before or after, and never beside.
            let told = told.unwrap_or_default();
            let current = sqlx::query_scalar!(
                r#"select true as "current!" from desired_sets
                where environment_id = $1 and (epoch, generation) = ($2, $3)
                for share"#,
                id.0,
                told.epoch,
                told.generation,
            )
            .fetch_optional(&mut *transaction)
            .await?;
            if current.is_none() {
                return Ok(Written::Stale);
            }
        }
        let announced = sqlx::query!(
            "insert into environment_firewalls as firewall (environment_id, epoch, ports)
            select $1, $2, $3
            where exists (select from account_tool_environments where id = $1)
                or exists (select from environment_tombstones where environment_id = $1)
            on conflict (environment_id) do update
            set epoch = excluded.epoch,
                ports = case
                    when firewall.epoch <> excluded.epoch then excluded.ports
                    else array(select unnest(firewall.ports) union select unnest(excluded.ports) order by 1)
                end,
                closing = case when firewall.epoch <> excluded.epoch then '{}' else firewall.closing end
            where firewall.epoch <> excluded.epoch
                or not exists (select from unnest(excluded.ports) as port where firewall.closing ? port::text)",
            id.0,
            epoch,
            &integers(ports),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Written::from_count(
            i64::try_from(announced.rows_affected()).unwrap_or(i64::MAX),
        ))
    }

    /// Records what was seen in force: the firewall's id (`None` when it was seen not to be there), and exactly these ports open, on
    /// the droplet of this epoch.
    pub async fn firewall_settle(
        &self,
        fence: &Fence,
        id: EnvironmentId,
        firewall: Option<&str>,
        epoch: i64,
        ports: &BTreeSet<u16>,
    ) -> Result<Written, Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("firewall_settle", fence).await?;
        let settled = sqlx::query!(
            "update environment_firewalls
            set do_firewall_id = coalesce($2, do_firewall_id), epoch = $3, ports = $4, closing = case when epoch <> $3 then '{}' else closing end
            where environment_id = $1",
            id.0,
            firewall,
            epoch,
            &integers(ports),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Written::from_count(
            i64::try_from(settled.rows_affected()).unwrap_or(i64::MAX),
        ))
    }

    /// Asks for these ports to be closed, and for no others any more. One that was asked for before keeps its time.
    pub async fn firewall_close(&self, fence: &Fence, id: EnvironmentId, ports: &BTreeSet<u16>) -> Result<Written, Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("firewall_close", fence).await?;
        let asked = sqlx::query!(
            "update environment_firewalls
            set closing = (
                select coalesce(jsonb_object_agg(port::text, coalesce(closing -> port::text, to_jsonb(clock_timestamp()))), '{}')
                from unnest($2::integer[]) as port
            )
            where environment_id = $1",
            id.0,
            &integers(ports),
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Written::from_count(i64::try_from(asked.rows_affected()).unwrap_or(i64::MAX)))
    }

    /// Records how the firewall is. Does nothing when that is on record already, or when there is no firewall.
    pub async fn firewall_state_write(&self, fence: &Fence, id: EnvironmentId, state: &FirewallState) -> Result<(), Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("firewall_state_write", fence).await?;
        sqlx::query!(
            "update environment_firewalls set state = $2, reason = $3, message = $4
            where environment_id = $1 and (state, reason, message) is distinct from ($2, $3, $4)",
            id.0,
            Spelled(state.state) as _,
            state.reason.as_str(),
            state.message,
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// Forgets a firewall that was seen to be gone. Does nothing when it is forgotten already.
    pub async fn firewall_forget(&self, fence: &Fence, id: EnvironmentId) -> Result<(), Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("firewall_forget", fence).await?;
        sqlx::query!("delete from environment_firewalls where environment_id = $1", id.0)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// Ports as Postgres takes them.
pub(crate) fn integers(ports: &BTreeSet<u16>) -> Vec<i32> {
    ports.iter().map(|port| i32::from(*port)).collect()
}
