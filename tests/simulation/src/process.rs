//! One process of the control plane: what it has in memory, and its way to the outside.
//!
//! Owns: memory, which a crash takes away. Must not: look at the world but through its wire. Promises: its machine's time of day is off
//! by its skew, and its monotonic clock is right; what it takes for the time is what the real clock makes of both.

use crate::{
    database::{Database, Denied},
    moment::{Millis, instant, timestamp},
    reconcilers::sweep::{self, Sweeper},
    sabotage::Sabotage,
    wire::{Arrival, To, Trouble, Wire},
    world::World,
};
use environment_reconciler::{outbox::Outbox, sizes::Size};
use fleet::{Firewalls, Fleet, Limits};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use model::{CatalogEntry, EnvironmentId, EnvironmentRecord, InstallationId, Stamp};
use runtime::{Clock, Error, SharedClock};
use schema::Fence;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::time::Instant;
use uuid::Uuid;

/// What is the same for all processes of a story.
#[derive(Debug)]
pub struct Setup {
    /// Whose resources these are.
    pub installation: InstallationId,
    /// The guards that are missing.
    pub sabotage: Sabotage,
    /// The policy of environments.
    pub environments: environment_reconciler::Policy,
    /// The policy of firewalls.
    pub firewalls: firewall_reconciler::Policy,
    /// The policy of instances.
    pub instances: instance_reconciler::Policy,
    /// When the fleet is in doubt.
    pub limits: Limits,
    /// The one tool that there is.
    pub catalog: Arc<CatalogEntry>,
}

impl Setup {
    /// What is the same for all processes of a story.
    pub(crate) fn new(sabotage: Sabotage, database: &Database) -> Self {
        // A fixed name, that is valid.
        let installation: InstallationId = match "story".parse() {
            Ok(installation) => installation,
            Err(_) => unreachable!("the name of the installation is valid"),
        };
        let network = IpNet::from(IpAddr::from([192, 0, 2, 1]));
        Self {
            environments: sabotage.policy(),
            firewalls: firewall_reconciler::Policy {
                installation: installation.clone(),
                sources: firewall_reconciler::Sources {
                    backend: vec![network],
                    admin: Vec::new(),
                },
                max_age: SignedDuration::from_secs(120),
                lag_window: sabotage.policy().lag_window,
            },
            instances: instance_reconciler::Policy::default(),
            limits: sweep::limits(sabotage.breaker),
            catalog: Arc::new(database.catalog.clone()),
            installation,
            sabotage,
        }
    }
}

/// What a process remembers.
#[derive(Debug, Default)]
pub struct Memory {
    /// Epochs of the leases, by shard.
    pub epochs: BTreeMap<u16, i64>,
    /// Until when they hold, by the monotonic clock.
    pub until: Millis,
    /// The reflector's records.
    pub records: BTreeMap<EnvironmentId, Arc<EnvironmentRecord>>,
    /// When agents were last heard, as far as it was looked up.
    pub heard: BTreeMap<EnvironmentId, Timestamp>,
    /// The sets that agents took.
    pub pushed: BTreeMap<EnvironmentId, Stamp>,
    /// The sizes, and when they were read.
    pub sizes: Option<(Arc<[Size]>, Millis)>,
    /// Since when droplets of these were in sight without a record.
    pub orphans: BTreeMap<EnvironmentId, Millis>,
    /// So many are orphans that none is believed to be one.
    pub crowd: bool,
    /// Which sweep of each kind it has loaded, and for which shards.
    pub loaded: BTreeMap<&'static str, (i64, Vec<u16>)>,
    /// What it sweeps by, while that is its turn.
    pub sweeper: Sweeper,
}

/// See the module.
pub struct Process {
    /// Its name as a holder of leases.
    pub holder: Uuid,
    /// Its way out.
    pub wire: Wire,
    /// What it has and has not sent: the real one.
    pub outbox: Outbox,
    /// What it has sent about orphans.
    pub orphans: Outbox,
    /// The droplets that it has seen: the real memory of them.
    pub fleet: Fleet,
    /// The firewalls that it has seen.
    pub firewalls: Firewalls,
    /// What is the same for all.
    pub setup: Arc<Setup>,
    /// What it takes for the time: the real one.
    pub time: SharedClock,
    memory: Mutex<Memory>,
    clock: Arc<AtomicI64>,
    origin: Instant,
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        self.time.at(instant(self.monotonic(), self.origin))
    }
}

impl Process {
    /// One that has just started, on a machine whose time of day is off by `skew`.
    pub fn new(holder: Uuid, setup: Arc<Setup>, clock: Arc<AtomicI64>, origin: Instant, skew: Millis) -> Self {
        let now = clock.load(Ordering::Relaxed);
        Self {
            holder,
            wire: Wire::default(),
            outbox: Outbox::default(),
            orphans: Outbox::default(),
            fleet: Fleet::new(),
            firewalls: Firewalls::new(setup.installation.clone()),
            setup,
            time: SharedClock::starting_at(timestamp(now + skew), instant(now, origin)),
            memory: Mutex::default(),
            clock,
            origin,
        }
    }

    /// The clock that nobody sets.
    pub fn monotonic(&self) -> Millis {
        self.clock.load(Ordering::Relaxed)
    }

    /// The same, as the outbox counts it.
    pub fn moment(&self) -> SignedDuration {
        SignedDuration::from_millis(self.monotonic())
    }

    /// Its memory, for as long as nothing is awaited.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proof that it holds a shard, while it believes to: `LeaseKeeper::fence`.
    pub fn fence_of(&self, shard: u16) -> Result<Fence, Error> {
        let memory = self.memory();
        let epoch = memory.epochs.get(&shard).filter(|_| self.monotonic() < memory.until);
        let fence = epoch.map(|epoch| Fence {
            shard,
            holder: self.holder,
            epoch: *epoch,
        });
        fence.ok_or_else(|| Error::retriable("LeaseLost", "the lease is not held"))
    }

    /// Proof that it works on an environment.
    pub fn fence(&self, id: EnvironmentId) -> Result<Fence, Error> {
        self.fence_of(id.shard())
    }

    /// Reads or writes rows.
    pub async fn database<T: Debug + Send + 'static>(
        &self,
        what: String,
        query: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let answer = self.wire.send(To::Database, what, move |world, _| query(world)).await;
        answer.map_err(|_| Error::retriable("DatabaseUnavailable", "the database does not answer"))
    }

    /// Writes rows under a lease.
    pub async fn write<T: Debug + Send + 'static>(
        &self,
        what: String,
        query: impl FnOnce(&mut World) -> Result<T, Denied> + Send + 'static,
    ) -> Result<T, Error> {
        let written = move |world: &mut World| {
            let answer = query(world);
            world.written();
            answer
        };
        self.database(what, written).await?.map_err(denied)
    }

    /// Asks DigitalOcean for something.
    pub async fn read_cloud<T: Debug + Send + 'static>(
        &self,
        what: String,
        query: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let answer = self.wire.send(To::CloudRead, what, move |world, _| query(world)).await;
        answer.map_err(|trouble| self.trouble(trouble))
    }

    /// Asks DigitalOcean to change something.
    pub async fn change_cloud<T: Debug + Send + 'static>(
        &self,
        what: String,
        effect: impl FnOnce(&mut World, &Arrival) -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let counted = move |world: &mut World, arrival: &Arrival| {
            world.effect();
            effect(world, arrival)
        };
        self.wire.send(To::CloudWrite, what, counted).await
    }

    /// What the want of an answer of DigitalOcean means to a pass.
    pub fn trouble(&self, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Lost => Error::retriable("DigitalOceanUnavailable", "nobody answered in time"),
            Trouble::Unavailable => Error::retriable("DigitalOceanUnavailable", "503"),
            Trouble::Limited => Error::Waiting {
                reason: "DigitalOceanRateLimited",
                message: "the request limit is reached".to_owned(),
                after: SignedDuration::from_secs(7),
            },
        }
    }
}

/// What a refusal of the database means to a pass: as `From<&schema::Error>` has it.
fn denied(denied: Denied) -> Error {
    match denied {
        Denied::Fenced => Error::retriable("LeaseLost", "the lease is not held any more"),
        Denied::IntentOpen => Error::retriable("IntentOpen", "an intent is open already"),
        Denied::NoIntent => Error::retriable("IntentResolved", "the intent is resolved"),
        Denied::Stale => Error::retriable("Stale", "it has moved on"),
    }
}
