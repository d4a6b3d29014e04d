//! `leases`: which replica works on which shard, judged by the database's clock alone.
//!
//! ```text
//! free --(acquire: epoch + 1)--> held --(renew)--> held
//!   ^                             |  |
//!   |        release at shutdown  |  |  not renewed in time
//!   +-----------------------------+  +--> expired --(acquire by anybody: epoch + 1)--> held
//! ```
//!
//! A holder that was stopped for a while finds its writes refused: the epoch has risen, or the lease has expired.

use crate::{Database, Error, Fence};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How leases are held.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// How long a lease holds without renewal. Renewed at a third of it.
    pub ttl: Duration,
    /// The replica, for people: host and process.
    pub name: String,
}

/// What is held, as far as this process can tell without asking.
#[derive(Debug, Default)]
struct Held {
    /// Epochs by shard.
    epochs: BTreeMap<u16, i64>,
    /// Counted from before the request that renewed, so never later than by the database's clock.
    until: Option<Instant>,
}

impl Held {
    fn valid(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// Holds as many shards as it can get, for as long as it [runs](Self::run). Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseKeeper {
    database: Database,
    config: LeaseConfig,
    holder: Uuid,
    held: Arc<Mutex<Held>>,
    owned: watch::Sender<Arc<[u16]>>,
}

impl LeaseKeeper {
    /// Holds nothing until it runs.
    pub fn new(database: Database, config: LeaseConfig) -> Self {
        Self {
            database,
            config,
            holder: Uuid::new_v4(),
            held: Arc::default(),
            owned: watch::Sender::new(Arc::from([])),
        }
    }

    /// Proof of the lease of a shard, while it is held.
    pub fn fence(&self, shard: u16) -> Option<Fence> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = *held.epochs.get(&shard).filter(|_| held.valid())?;
        Some(Fence {
            shard,
            holder: self.holder,
            epoch,
        })
    }

    /// The shards that are held, in order.
    pub fn owned(&self) -> Vec<u16> {
        self.owned.borrow().to_vec()
    }

    /// The shards that are held, each time they change.
    pub fn watch(&self) -> watch::Receiver<Arc<[u16]>> {
        self.owned.subscribe()
    }

    /// Acquires, renews, and gives everything back at shutdown. While the database is away, leases are held until they would
    /// have expired there.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(self.config.ttl / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            loop {
                let expiry = self.held.lock().unwrap_or_else(PoisonError::into_inner).until;
                tokio::select! {
                    _ = ticks.tick() => self.renew_and_acquire().await,
                    () = until(expiry) => self.hold(BTreeMap::new(), None),
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
        // Nothing is written under these leases from here on, so that others may take over at once.
        self.hold(BTreeMap::new(), None);
        if let Err(error) = self.database.lease_release(self.holder).await {
            tracing::warn!(%error, "leases could not be given back; others take over when they expire");
        }
    }

    async fn renew_and_acquire(&self) {
        let asked = Instant::now();
        // A server that hangs must not keep this from seeing that the leases have expired.
        match timeout(self.config.ttl, self.database.lease_hold(self.holder, &self.config)).await {
            Ok(Ok(epochs)) => self.hold(epochs, Some(asked + self.config.ttl)),
            Ok(Err(error)) => tracing::warn!(%error, "leases could not be renewed"),
            Err(_) => tracing::warn!("leases could not be renewed in time"),
        }
    }

    fn hold(&self, epochs: BTreeMap<u16, i64>, until: Option<Instant>) {
        let owned: Arc<[u16]> = epochs.keys().copied().collect();
        let changed = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = held.epochs != epochs;
            *held = Held { epochs, until };
            changed
        };
        // Also for a shard that was lost and won again in between: somebody else may have written.
        if changed {
            tracing::info!(shards = owned.len(), "leases changed");
            self.owned.send_replace(owned);
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Database {
    /// Renews what this holder holds, acquires what is free or expired, and returns the epochs by shard.
    pub(crate) async fn lease_hold(&self, holder: Uuid, config: &LeaseConfig) -> Result<BTreeMap<u16, i64>, Error> {
        let ttl = config.ttl.as_secs_f64();
        // What has expired is not renewed, even if nobody took it: it is acquired anew, under a new epoch.
        let renewed = sqlx::query!(
            "update leases set expires_at = clock_timestamp() + make_interval(secs => $2)
            where holder = $1 and expires_at > clock_timestamp()
            returning shard, epoch",
            holder,
            ttl,
        )
        .fetch_all(&self.pool)
        .await?;
        // `for update` waits for writes under the old lease; a shard with one under way is left for the next time.
        let acquired = sqlx::query!(
            "with free as (
                select shard from leases where expires_at <= clock_timestamp() for update skip locked
            )
            update leases
            set holder = $1, holder_name = $2, epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => $3)
            from free
            where leases.shard = free.shard
            returning leases.shard, leases.epoch",
            holder,
            config.name,
            ttl,
        )
        .fetch_all(&self.pool)
        .await?;
        let renewed = renewed.into_iter().map(|row| (row.shard, row.epoch));
        let acquired = acquired.into_iter().map(|row| (row.shard, row.epoch));
        Ok(renewed
            .chain(acquired)
            .filter_map(|(shard, epoch)| Some((u16::try_from(shard).ok()?, epoch)))
            .collect())
    }

    /// Gives back what this holder holds.
    pub(crate) async fn lease_release(&self, holder: Uuid) -> Result<(), Error> {
        sqlx::query!(
            "update leases set holder = null, holder_name = null, expires_at = '-infinity' where holder = $1",
            holder,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
