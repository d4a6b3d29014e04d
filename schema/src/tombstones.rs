//! `environment_tombstones`: deleted environments whose droplet has yet to go. A trigger leaves them.

use crate::{Database, Error, Fence};
use model::EnvironmentId;

impl Database {
    /// Removes a tombstone whose droplet was seen to be gone, with the desired set and the report that were kept for it. Its
    /// intents stay: epochs must not repeat. Does nothing when there is no tombstone, or while its firewall is still there.
    pub async fn tombstone_finish(&self, fence: &Fence, id: EnvironmentId) -> Result<(), Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("tombstone_finish", fence).await?;
        let finished = sqlx::query!(
            "delete from environment_tombstones
            where environment_id = $1
                and not exists (select from environment_firewalls where environment_id = $1)",
            id.0,
        )
        .execute(&mut *transaction)
        .await?;
        if finished.rows_affected() > 0 {
            sqlx::query!("delete from desired_sets where environment_id = $1", id.0)
                .execute(&mut *transaction)
                .await?;
            sqlx::query!("delete from agent_reports where environment_id = $1", id.0)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Records that the droplet was seen to be gone, so that what is left of it at DigitalOcean can go too.
    pub async fn tombstone_droplet_gone(&self, fence: &Fence, id: EnvironmentId) -> Result<(), Error> {
        fence.covers(id)?;
        let mut transaction = self.fenced("tombstone_droplet_gone", fence).await?;
        sqlx::query!(
            "update environment_tombstones set do_droplet_id = null where environment_id = $1 and do_droplet_id is not null",
            id.0,
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }
}
