//! `leases` and `replicas`: which replica works on which shard, judged by the database's clock alone.
//!
//! ```text
//! free --(acquire: epoch + 1)--> held --(renew)--> held --(more than its share)--> draining
//!   ^                             |  |                                               |
//!   |        release at shutdown  |  |  not renewed in time     no pass acts on it   |
//!   +-----------------------------+  +--> expired --(acquire by anybody: epoch + 1)  |
//!   ^                                                                                |
//!   +--------------------------------------------------------------------------------+
//! ```
//!
//! Every replica announces itself with each renewal, and so all know how many there are. The shares of `n` replicas differ by one shard
//! at most, and add up to all shards; the older ones have the larger ones. Whoever holds more than its share lets no new pass begin on
//! what is too much, waits for those that act, and gives it back. Whoever holds less takes what is free.
//!
//! With every renewal a replica learns what time it is there, so that what it decides by the time of day does not depend on its machine's.
//!
//! A holder that was stopped for a while finds its writes refused: the epoch has risen, or the lease has expired. When it wins a shard
//! again, the passes that it was stopped in end first: what they read is from before others worked on the shard, and nothing
//! follows from it under the new lease.

mod tenure;

pub use tenure::ShardHold;

use crate::{Database, Error, Fence, codec::Time};
use jiff::Timestamp;
use runtime::SharedClock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tenure::Tenures;
use tokio::{
    sync::{Notify, watch},
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

/// What a renewal came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewed {
    /// What is held, with epochs.
    pub(crate) epochs: BTreeMap<u16, i64>,
    /// How many shards this replica should hold.
    pub(crate) share: usize,
    /// How many replicas there are.
    pub(crate) replicas: u32,
    /// When the first of the others is gone, unless it renews before.
    pub(crate) next_gone: Option<Duration>,
    /// What the database's clock showed.
    pub(crate) now: Timestamp,
}

/// How long after a replica is gone its leases are looked at: they expire a moment later than it does.
const HEIR_WAITS: Duration = Duration::from_millis(20);

/// By how much a clock may be off without a word.
const NOTEWORTHY: Duration = Duration::from_secs(5);

/// Holds its share of the shards for as long as it [runs](Self::run). Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseKeeper {
    database: Database,
    config: LeaseConfig,
    holder: Uuid,
    tenures: Arc<Mutex<Tenures>>,
    /// A pass that held a shard has ended.
    idle: Arc<Notify>,
    owned: watch::Sender<Arc<[u16]>>,
    replicas: watch::Sender<u32>,
    clock: SharedClock,
}

impl LeaseKeeper {
    /// Holds nothing until it runs.
    pub fn new(database: Database, config: LeaseConfig) -> Self {
        Self {
            database,
            config,
            holder: Uuid::new_v4(),
            tenures: Arc::default(),
            idle: Arc::default(),
            owned: watch::Sender::new(Arc::from([])),
            replicas: watch::Sender::new(1),
            clock: SharedClock::default(),
        }
    }

    /// The replica, as `leases.holder` and `replicas.id` name it.
    pub fn holder(&self) -> Uuid {
        self.holder
    }

    /// Proof of the lease of a shard, while it is held; also while it is being given up, for the passes that still act. `None` as long
    /// as passes of an earlier lease of the same shard act.
    pub fn fence(&self, shard: u16) -> Option<Fence> {
        let epoch = self.lock().epoch(shard)?;
        Some(Fence {
            shard,
            holder: self.holder,
            epoch,
        })
    }

    /// Leave to act on a shard: it is not given up before this is dropped, unless that takes longer than a lease. `None` when it
    /// is not held, or is being given up.
    pub fn hold(&self, shard: u16) -> Option<ShardHold> {
        self.lock().hold(shard, &self.idle)
    }

    /// The shards to work on, in order: those that are held and not being given up.
    pub fn owned(&self) -> Vec<u16> {
        self.owned.borrow().to_vec()
    }

    /// The shards to work on, each time they change.
    pub fn watch(&self) -> watch::Receiver<Arc<[u16]>> {
        self.owned.subscribe()
    }

    /// How many replicas there are, as of the last renewal.
    pub fn replicas(&self) -> watch::Receiver<u32> {
        self.replicas.subscribe()
    }

    /// The time of day that all replicas go by: the database's, as far as it is known since the last renewal. Before the first one it is
    /// the machine's, and nothing is held yet that could be decided on.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Asks the database for the time, for whoever decides without ever holding anything.
    pub async fn learn_the_time(&self) -> Result<(), Error> {
        let asked = Instant::now();
        let told = self.database.time().await?;
        self.learn(asked, told);
        Ok(())
    }

    fn learn(&self, asked: Instant, told: Timestamp) {
        let ahead = self.clock.learn(asked, told, Instant::now());
        if ahead.unsigned_abs() > NOTEWORTHY {
            tracing::warn!(
                seconds = ahead.as_secs_f64(),
                "the clock was ahead of the database's, which counts"
            );
        }
    }

    /// Acquires, renews, gives up what is too much, and gives everything back at shutdown. While the database is away, leases are
    /// held until they would have expired there.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = interval(self.config.ttl / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            let mut next_gone = None;
            loop {
                let (expiry, awaits_passes) = {
                    let tenures = self.lock();
                    (tenures.until(), tenures.awaits_passes())
                };
                tokio::select! {
                    _ = ticks.tick() => {
                        next_gone = self.renew().await;
                        self.give_up().await;
                    }
                    // Who has not renewed for so long has died: its shards wait for nobody's tick.
                    () = until(next_gone) => next_gone = self.renew().await,
                    () = self.idle.notified(), if awaits_passes => {
                        self.publish(Tenures::settle);
                        self.give_up().await;
                    }
                    () = until(expiry) => self.publish(Tenures::clear),
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
        // Nothing is written under these leases from here on, so that others may take over at once.
        self.publish(Tenures::clear);
        if let Err(error) = self.database.lease_leave(self.holder).await {
            tracing::warn!(%error, "leases could not be given back; others take over when they expire");
        }
    }

    /// Returns when another replica is gone, unless it renews before.
    async fn renew(&self) -> Option<Instant> {
        let asked = Instant::now();
        // A server that hangs must not keep this from seeing that the leases have expired.
        match timeout(self.config.ttl, self.database.lease_hold(self.holder, &self.config)).await {
            Ok(Ok(renewed)) => {
                self.learn(asked, renewed.now);
                metrics::gauge!("toolplane_replicas").set(renewed.replicas);
                self.replicas
                    .send_if_modified(|known| std::mem::replace(known, renewed.replicas) != renewed.replicas);
                self.publish(|tenures| tenures.renewed(&renewed, asked + self.config.ttl));
                return renewed
                    .next_gone
                    .and_then(|gone| Instant::now().checked_add(gone.saturating_add(HEIR_WAITS)));
            }
            Ok(Err(error)) => tracing::warn!(%error, "leases could not be renewed"),
            Err(_) => tracing::warn!("leases could not be renewed in time"),
        }
        None
    }

    /// Gives back the shards that are too much and on which no pass acts any more, or not before the patience with it is over.
    async fn give_up(&self) {
        let shards = self.lock().idle(Instant::now(), self.config.ttl);
        if shards.is_empty() {
            return;
        }
        match timeout(self.config.ttl, self.database.lease_release(self.holder, &shards)).await {
            Ok(Ok(released)) => {
                tracing::info!(shards = ?released, "shards are handed over");
                self.publish(|tenures| tenures.released(&released));
            }
            Ok(Err(error)) => tracing::warn!(%error, "shards could not be handed over; tried again with the next renewal"),
            Err(_) => tracing::warn!("shards could not be handed over in time; tried again with the next renewal"),
        }
    }

    /// Changes what is held, and tells of it, also of a shard that was lost and won again in between: somebody else may have
    /// written.
    fn publish(&self, change: impl FnOnce(&mut Tenures)) {
        let (owned, changed) = {
            let mut tenures = self.lock();
            let before = tenures.worked_on();
            change(&mut tenures);
            let after = tenures.worked_on();
            let owned: Arc<[u16]> = after.iter().map(|(shard, _)| *shard).collect();
            (owned, before != after)
        };
        if changed {
            tracing::info!(shards = owned.len(), "leases changed");
            #[allow(clippy::cast_precision_loss)] // a gauge is a float
            metrics::gauge!("toolplane_shards").set(owned.len() as f64);
            self.owned.send_replace(owned);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tenures> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Database {
    /// Announces a replica, renews what it holds, and acquires what is free or expired up to its share. One statement, so that a
    /// process that stops while it waits for the answer keeps nothing locked.
    pub(crate) async fn lease_hold(&self, holder: Uuid, config: &LeaseConfig) -> Result<Renewed, Error> {
        // What has expired is not renewed, even if nobody took it: it is acquired anew, under a new epoch.
        // `for update` would wait for writes under the old lease; a shard with one under way is left for the next time.
        let statement = sqlx::query!(
            r#"with here as (
                insert into replicas (id, name, expires_at) values ($1, $2, clock_timestamp() + make_interval(secs => $3))
                on conflict (id) do update set seen_at = clock_timestamp(), expires_at = excluded.expires_at
                returning started_at
            ), gone as (
                delete from replicas where id in (
                    select id from replicas where id <> $1 and expires_at <= clock_timestamp() for update skip locked
                )
            ), others as (
                select count(*) as replicas,
                    count(*) filter (where (other.started_at, other.id) < (here.started_at, $1)) as older,
                    extract(epoch from min(other.expires_at) - clock_timestamp())::float8 as next_gone
                from here, replicas as other
                where other.id <> $1 and other.expires_at > clock_timestamp()
            ), share as (
                select replicas + 1 as replicas,
                    $4 / (replicas + 1) + case when older < $4 % (replicas + 1) then 1 else 0 end as shards,
                    next_gone
                from others
            ), renewed as (
                update leases set expires_at = clock_timestamp() + make_interval(secs => $3)
                where holder = $1 and expires_at > clock_timestamp()
                returning shard, epoch
            ), free as (
                select shard from leases where expires_at <= clock_timestamp()
                order by shard
                limit greatest(0, (select shards from share) - (select count(*) from renewed))
                for update skip locked
            ), acquired as (
                update leases
                set holder = $1, holder_name = $2, epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => $3)
                from free
                where leases.shard = free.shard
                returning leases.shard, leases.epoch
            ), held as (
                select shard, epoch from renewed union all select shard, epoch from acquired
            )
            select share.replicas as "replicas!", share.shards as "share!", share.next_gone, clock_timestamp() as "now!: Time",
                (select coalesce(array_agg(shard order by shard), '{}') from held) as "shards!",
                (select coalesce(array_agg(epoch order by shard), '{}') from held) as "epochs!"
            from share"#,
            holder,
            config.name,
            config.ttl.as_secs_f64(),
            i64::from(model::ids::SHARDS),
        )
        .fetch_one(&self.pool);
        let row = self.write("lease_hold", statement).await?;
        let shards = row.shards.into_iter().filter_map(|shard| u16::try_from(shard).ok());
        Ok(Renewed {
            epochs: shards.zip(row.epochs).collect(),
            share: usize::try_from(row.share).unwrap_or(usize::MAX),
            replicas: u32::try_from(row.replicas).unwrap_or(u32::MAX),
            next_gone: row
                .next_gone
                .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)),
            now: row.now.to_jiff(),
        })
    }

    /// What the database's clock shows.
    pub(crate) async fn time(&self) -> Result<Timestamp, Error> {
        let time = sqlx::query_scalar!(r#"select clock_timestamp() as "time!: Time""#)
            .fetch_one(&self.pool)
            .await?;
        Ok(time.to_jiff())
    }

    /// Gives some of what this holder holds back, and says what. A shard with a write under way is not given back before that has
    /// ended, however long it takes: nothing is ever written under a lease that nobody holds.
    pub(crate) async fn lease_release(&self, holder: Uuid, shards: &[u16]) -> Result<Vec<u16>, Error> {
        let shards: Vec<i16> = shards.iter().filter_map(|shard| i16::try_from(*shard).ok()).collect();
        let statement = sqlx::query_scalar!(
            "with idle as (
                select shard from leases where holder = $1 and shard = any ($2) for update skip locked
            )
            update leases set holder = null, holder_name = null, expires_at = '-infinity'
            from idle
            where leases.shard = idle.shard
            returning leases.shard",
            holder,
            &shards,
        )
        .fetch_all(&self.pool);
        let released = self.write("lease_release", statement).await?;
        Ok(released.into_iter().filter_map(|shard| u16::try_from(shard).ok()).collect())
    }

    /// Gives everything back that this holder holds, and takes it off the replicas. A shard with a write under way, which nobody
    /// waits for any more, expires.
    pub(crate) async fn lease_leave(&self, holder: Uuid) -> Result<(), Error> {
        let statement = sqlx::query!(
            "with gone as (
                delete from replicas where id = $1
            ), idle as (
                select shard from leases where holder = $1 for update skip locked
            )
            update leases set holder = null, holder_name = null, expires_at = '-infinity'
            from idle
            where leases.shard = idle.shard",
            holder,
        )
        .execute(&self.pool);
        self.write("lease_leave", statement).await?;
        Ok(())
    }
}
