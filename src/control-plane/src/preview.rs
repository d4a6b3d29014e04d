//! What a replica would do now, without doing it.
//!
//! ```text
//!  the same configuration -> the same reconcilers --+-- load, observe, decide --> forecast
//!                                                   |
//!                                                   +-- act, write status: never called, and the database would refuse
//! ```
//!
//! Owns: asking the reconcilers for their plans. Must not: let them act, or hold a lease. Promises: nothing is written, neither at
//! DigitalOcean nor in Postgres, whose connections here only read; what is decided by is as fresh as what a pass acts by. What
//! only a running replica remembers, such as a create that it has just sent, is decided on as after its restart.

use crate::{
    ReplicaConfig, StartError,
    prepared::Prepared,
    reconcilers::{self, firewall_policy},
};
use digitalocean::{Client, DropletFilter};
use environment_reconciler::EnvironmentReconciler;
use firewall_reconciler::{BaseFirewallReconciler, FirewallReconciler, rules};
use fleet::{Firewalls, Fleet};
use instance_reconciler::InstanceReconciler;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, Explain, Explanation, tags};
use runtime::{Error, Plan, Read, Reconciler, ReflectorConfig, reflector};
use schema::{CatalogSource, Database, LeaseConfig, LeaseKeeper, RecordSource, Records};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What one reconciler would do about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Which reconciler: `environment`, `firewall`, `instance`, `base_firewall`.
    pub reconciler: &'static str,
    /// The effects, in order; the first that fails would end the pass.
    pub effects: Vec<Explanation>,
    /// Whether one of the effects changes something; the others only look.
    pub changes: bool,
    /// Whether something that was seen would be written into the row.
    pub writes_status: bool,
    /// When it would look again if nothing happened before; `None` leaves it to the resync.
    pub looks_again_in: Option<SignedDuration>,
    /// Why it could not be told, if it could not.
    pub failure: Option<String>,
}

/// The reconcilers of a replica that does not run.
#[derive(Debug)]
pub struct Preview {
    database: Database,
    environments: EnvironmentReconciler,
    firewalls: FirewallReconciler,
    instances: InstanceReconciler,
    base: BaseFirewallReconciler,
    client: Client,
    droplets_seen: Fleet,
    firewalls_seen: Firewalls,
    read: Read,
    policy: firewall_reconciler::Policy,
    // Ends the reflector of the catalog.
    _running: DropGuard,
}

impl Preview {
    /// Connects and reads the catalog.
    pub async fn new(config: ReplicaConfig) -> Result<Self, StartError> {
        let prepared = Prepared::reading(config).await?;
        let config = &prepared.config;
        let lease = LeaseConfig {
            ttl: config.lease,
            name: config.name.clone(),
        };
        // Never run: it holds nothing, and without a lease no effect would pass.
        let keeper = LeaseKeeper::new(prepared.lease_database.clone(), lease);
        let reflecting = ReflectorConfig::default();
        // Nothing is decided by what was read before, so nobody fills this store.
        let source = RecordSource::new(prepared.database.clone(), Records::owned_by(&keeper));
        let (records, _) = reflector(source, reflecting);
        let (catalog, catalog_reflector) = reflector(CatalogSource::new(prepared.database.clone()), reflecting);
        let running = CancellationToken::new();
        tokio::spawn(catalog_reflector.run(running.clone()));
        catalog.ready().await;
        let (fleet, seen) = (Fleet::new(), Firewalls::new(config.installation.clone()));
        Ok(Self {
            database: prepared.database.clone(),
            environments: reconcilers::environments(&prepared, &keeper, fleet.clone(), records.clone()),
            firewalls: reconcilers::firewalls(&prepared, &keeper, seen.clone(), records.clone()),
            instances: reconcilers::instances(&prepared, &keeper, records, catalog),
            base: reconcilers::base(&prepared, &keeper, seen.clone()),
            client: prepared.digitalocean.clone(),
            droplets_seen: fleet,
            firewalls_seen: seen,
            read: Read::Authoritative,
            policy: firewall_policy(config),
            _running: running.drop_guard(),
        })
    }

    /// Reads all droplets and firewalls by two lists. From then on an environment is read by itself only when something would be
    /// done about it, as in a pass.
    pub async fn survey(&mut self) -> Result<(), digitalocean::Error> {
        let (began, installation) = (Timestamp::now(), &self.policy.installation);
        let filter = DropletFilter::Tag(tags::installation(installation));
        let (droplets, firewalls) = tokio::try_join!(self.client.droplet_list(&filter), self.client.firewall_list())?;
        let owned = droplets.iter().filter_map(|droplet| {
            let owner = tags::owner(droplet.tags.iter().map(String::as_str), installation)?;
            Some((owner, fleet::read::seen(droplet, owner, installation)))
        });
        self.droplets_seen.sweep(owned, began);
        self.firewalls_seen.sweep(firewalls, began);
        self.read = Read::Cached;
        Ok(())
    }

    /// Every environment and tombstone that follows this one, a page of them.
    pub async fn environments(&self, after: Option<EnvironmentId>, limit: u32) -> Result<Vec<EnvironmentId>, schema::Error> {
        self.database.environment_page(after, limit).await
    }

    /// What would be done about one environment.
    pub async fn environment(&self, id: EnvironmentId) -> Vec<Forecast> {
        let (environment, firewall, instance) = tokio::join!(
            forecast(&self.environments, &id, self.read),
            forecast(&self.firewalls, &id, self.read),
            forecast(&self.instances, &id, self.read),
        );
        [environment, firewall, instance].into_iter().flatten().collect()
    }

    /// What would be done about the firewall that all droplets share.
    pub async fn base_firewall(&self) -> Forecast {
        let wanted = rules::base(&self.policy.installation, &self.policy.sources);
        // Loaded by the holder of one shard only, which this is not.
        decided(&self.base, &self.policy.installation, &wanted, self.read).await
    }
}

/// What a reconciler would do about a key; `None` when there is nothing of it.
async fn forecast<R: Reconciler<Action: Explain>>(reconciler: &R, key: &R::Key, read: Read) -> Option<Forecast> {
    match reconciler.load(key, Read::Authoritative).await {
        Ok(None) => None,
        Ok(Some(desired)) => Some(decided(reconciler, key, &desired, read).await),
        Err(error) => Some(failed::<R>(&error)),
    }
}

/// Observes and decides, as a pass does before it acts: what is decided from memory counts only when there is nothing to do.
async fn decided<R: Reconciler<Action: Explain>>(reconciler: &R, key: &R::Key, desired: &R::Desired, read: Read) -> Forecast {
    let plan = async |read| {
        let observed = reconciler.observe(key, desired, read).await?;
        Ok::<_, Error>(reconciler.decide(desired, &observed, Timestamp::now()))
    };
    let plan = match (plan(read).await, read) {
        (Ok(plan), Read::Cached) if plan.actions.is_empty() => Ok(plan),
        (Ok(_), Read::Cached) => plan(Read::Authoritative).await,
        (decided, Read::Cached | Read::Authoritative) => decided,
    };
    match plan {
        Ok(Plan {
            actions,
            status,
            requeue,
        }) => Forecast {
            reconciler: R::KIND,
            effects: actions.iter().map(Explain::explain).collect(),
            changes: actions.iter().any(|action| !action.only_reads()),
            writes_status: status.is_some(),
            looks_again_in: requeue,
            failure: None,
        },
        Err(error) => failed::<R>(&error),
    }
}

fn failed<R: Reconciler>(error: &Error) -> Forecast {
    Forecast {
        reconciler: R::KIND,
        effects: Vec::new(),
        changes: false,
        writes_status: false,
        looks_again_in: None,
        failure: Some(error.to_string()),
    }
}
