//! Following the sweeps: every replica loads what changed in its shards, the one that swept too.
//!
//! Owns: how far this replica has loaded. Must not: make requests to DigitalOcean. Promises: a lost notification costs latency
//! only; what cannot be understood is no observation, and grows old.

use crate::{droplets::Fleet, firewalls::Firewalls, trust::Trust};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use runtime::{Clock, SharedClock};
use schema::{Database, FleetKind, FleetLoad, LeaseKeeper};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// What could not be loaded.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Database(#[from] schema::Error),
    #[error("what another version stored cannot be understood")]
    Row(#[from] serde_json::Error),
}

/// Loads at each notification, when the shards change, and once in `every`. Ends at shutdown.
pub(crate) async fn run(
    database: Database,
    leases: LeaseKeeper,
    fleet: Fleet,
    firewalls: Firewalls,
    every: Duration,
    shutdown: CancellationToken,
) {
    let follow = |kind| Followed {
        kind,
        shards: Arc::from([]),
        number: None,
        began: None,
    };
    let follower = Follower {
        database,
        leases,
        fleet,
        firewalls,
        followed: [follow(FleetKind::Droplets), follow(FleetKind::Firewalls)],
    };
    shutdown.run_until_cancelled(Box::pin(follower.run(every))).await;
}

struct Follower {
    database: Database,
    leases: LeaseKeeper,
    fleet: Fleet,
    firewalls: Firewalls,
    followed: [Followed; 2],
}

/// How far one kind is loaded.
struct Followed {
    kind: FleetKind,
    /// For which shards.
    shards: Arc<[u16]>,
    /// Up to which sweep; `None` while everything has to be loaded.
    number: Option<i64>,
    /// When its list began, by the clock of `leases`.
    began: Option<Timestamp>,
}

impl Follower {
    async fn run(mut self, every: Duration) {
        let mut polls = interval(every);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owned = self.leases.watch();
        loop {
            // A listener that cannot be had, or is lost, is tried again at the next poll.
            let mut told = pin!(self.database.fleet_changes().chain(stream::pending()));
            loop {
                let heard = tokio::select! {
                    heard = told.next() => heard,
                    changed = owned.changed() => changed.is_ok().then_some(Ok(())),
                    _ = polls.tick() => Some(Ok(())),
                };
                match heard {
                    Some(Ok(())) => self.load_all().await,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "sweeps are followed by asking for them only, for a while");
                        polls.tick().await;
                        break;
                    }
                    // The keeper of leases is gone: so is this process.
                    None => return,
                }
            }
        }
    }

    async fn load_all(&mut self) {
        let shards: Arc<[u16]> = self.leases.owned().into();
        for followed in &mut self.followed {
            if followed.shards != shards {
                (followed.shards, followed.number) = (Arc::clone(&shards), None);
            }
            let loaded = followed
                .load(&self.database, &self.fleet, &self.firewalls, self.leases.clock())
                .await;
            if let Err(error) = loaded {
                followed.number = None;
                tracing::warn!(%error, kind = followed.kind.as_str(), "a sweep could not be loaded");
            }
        }
    }
}

impl Followed {
    async fn load(
        &mut self,
        database: &Database,
        fleet: &Fleet,
        firewalls: &Firewalls,
        clock: &SharedClock,
    ) -> Result<(), Failure> {
        if self.shards.is_empty() {
            return Ok(());
        }
        let asked = clock.now();
        let FleetLoad { sweep, whole, rows } = database.fleet_load(self.kind, self.number, &self.shards).await?;
        // This process's clock may be behind, so it is the age that travels. Since this was asked before the age was told, it comes
        // out as too old by a little, and never as too young.
        let began = sweep.age.and_then(|age| asked.checked_sub(age).ok());
        // One sweep asked for twice comes out differently by that little.
        let began = began.max(self.began);
        let trust = Trust::from(sweep.withheld.as_ref());
        match self.kind {
            FleetKind::Droplets => fleet.load(rows, whole, began, trust)?,
            FleetKind::Firewalls => {
                firewalls.load(rows, whole, began, trust)?;
                firewalls.base_failed(sweep.failure.as_deref());
            }
        }
        (self.number, self.began) = (Some(sweep.number), began);
        Ok(())
    }
}
