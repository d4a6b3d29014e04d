//! Fencing: a controller's write carries the lease that it was made under, and counts only while that lease is held.
//!
//! The lease's row is locked (`for key share`) by the statement that writes, and stays so until its transaction ends. A renewal
//! does not touch the key and goes on; whoever takes the shard over locks the row `for update`, and so waits for the write that
//! came before. A write that comes after finds another epoch and is refused. The clock is the database's.
//!
//! A process that stops in the middle of a transaction (suspended, or cut off) would hold that lock for as long as it pleases; so the
//! database ends its transaction when the lease would have expired. Refused writes are counted in `leases.refused_writes`.

use crate::{Database, Error, database::Writing};
use model::EnvironmentId;
use uuid::Uuid;

/// Proof of a lease, for one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Whose rows may be written.
    pub shard: u16,
    /// The replica.
    pub holder: Uuid,
    /// Rises with each change of the holder.
    pub epoch: i64,
}

/// What became of a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It is written.
    Done,
    /// The row has moved on, or is gone. Nothing was written; load again.
    Stale,
}

impl Written {
    pub(crate) fn from_count(rows: i64) -> Self {
        if rows > 0 { Self::Done } else { Self::Stale }
    }
}

impl Fence {
    pub(crate) fn sql_shard(&self) -> i16 {
        i16::try_from(self.shard).unwrap_or(i16::MAX)
    }

    pub(crate) fn error(&self) -> Error {
        Error::Fenced {
            shard: self.shard,
            epoch: self.epoch,
        }
    }

    /// Refuses a key of another shard: its lease is not the one that this proves.
    pub(crate) fn covers(&self, id: EnvironmentId) -> Result<(), Error> {
        if id.shard() == self.shard { Ok(()) } else { Err(self.error()) }
    }
}

impl Database {
    /// A transaction that commits only under the lease: for writes of more than one statement. The timeout that it is given ends it
    /// where it stands idle, and no later than the lease as it is now.
    pub(crate) async fn fenced(&self, name: &'static str, fence: &Fence) -> Result<Writing, Error> {
        let mut transaction = self.begin(name).await?;
        let held = sqlx::query_scalar!(
            r#"select set_config(
                'idle_in_transaction_session_timeout',
                greatest(1, extract(epoch from expires_at - clock_timestamp()) * 1000)::bigint::text, true
            ) as "timeout!"
            from leases
            where shard = $1 and holder = $2 and epoch = $3 and expires_at > clock_timestamp()
            for key share"#,
            fence.sql_shard(),
            fence.holder,
            fence.epoch,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if held.is_none() {
            transaction.rollback().await?;
            return Err(self.refused(fence).await);
        }
        Ok(transaction)
    }

    /// A write under this fence was refused: counts it, and says so. That it could not be counted changes nothing about that.
    pub(crate) async fn refused(&self, fence: &Fence) -> Error {
        metrics::counter!("toolplane_writes_refused_total").increment(1);
        let statement = sqlx::query!(
            "update leases set refused_writes = refused_writes + 1 where shard = $1",
            fence.sql_shard(),
        )
        .execute(&self.pool);
        let counted = self.write("write_refused", statement).await;
        if let Err(error) = counted {
            tracing::warn!(%error, shard = fence.shard, "a refused write is not counted");
        }
        fence.error()
    }
}
