//! What people ask about beside the rows themselves: who works on them, and which rows there are, a page at a time.

use crate::{Database, Error, codec::Time};
use jiff::Timestamp;
use model::EnvironmentId;

/// Who works on a shard now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeaseHolder {
    /// Host and process.
    pub name: String,
    /// Of the lease.
    pub epoch: i64,
    /// Until when it holds if it is not renewed, by the database's clock.
    pub expires_at: Timestamp,
}

impl Database {
    /// Who works on a shard; `None` when nobody does, by the database's clock.
    pub async fn lease_holder(&self, shard: u16) -> Result<Option<LeaseHolder>, Error> {
        let row = sqlx::query!(
            r#"select coalesce(holder_name, '') as "name!", epoch, expires_at as "expires_at: Time"
            from leases
            where shard = $1 and holder is not null and expires_at > clock_timestamp()"#,
            i16::try_from(shard).unwrap_or(-1),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| LeaseHolder {
            name: row.name,
            epoch: row.epoch,
            expires_at: row.expires_at.to_jiff(),
        }))
    }

    /// The ids of the environments and tombstones that follow this one, in their order.
    pub async fn environment_page(&self, after: Option<EnvironmentId>, limit: u32) -> Result<Vec<EnvironmentId>, Error> {
        let ids = sqlx::query_scalar!(
            r#"(
                select id as "id!" from account_tool_environments where $1::uuid is null or id > $1 order by id limit $2
            ) union all (
                select environment_id from environment_tombstones where $1::uuid is null or environment_id > $1
                order by environment_id limit $2
            ) order by 1 limit $2"#,
            after.map(|id| id.0),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(EnvironmentId).collect())
    }
}
