//! What a replica would do now, without doing it.
//!
//! ```text
//!  the same configuration -> the same reconcilers --+-- load, observe, decide --> forecast
//!                                                   |
//!                                                   +-- act, write status: never called, and the database would refuse
//! ```
//!
//! Owns: asking the reconcilers for their plans. Must not: let them act, or hold a lease. Promises: nothing is written, neither at
//! DigitalOcean nor in Postgres, whose connections here only read; what is decided by is as fresh as what a pass acts by, and what
//! the sweeps hold in doubt is in doubt here too, and what waits for requests waits. What only a running replica remembers, such as a create that it has just sent, is
//! decided on as after its restart; only for how long an orphan is in sight is told by the sweeps.

mod forecast;

pub use forecast::Forecast;

use crate::{
    ReplicaConfig, StartError, budget,
    prepared::Prepared,
    reconcilers::{self, Outside, firewall_policy},
};
use digitalocean::Priority;
use environment_reconciler::{EnvironmentReconciler, OrphanReconciler};
use firewall_reconciler::{BaseFirewallReconciler, Desired, FirewallReconciler, rules};
use fleet::{Survey, SweepError, Trust};
use forecast::{decided, forecast};
use instance_reconciler::InstanceReconciler;
use jiff::SignedDuration;
use model::{EnvironmentId, InstallationId};
use runtime::{Clock, Read, ReflectorConfig, reflector};
use schema::{CatalogSource, Database, LeaseConfig, LeaseKeeper, RecordSource, Records};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The reconcilers of a replica that does not run.
#[derive(Debug)]
pub struct Preview {
    database: Database,
    environments: EnvironmentReconciler,
    orphans: OrphanReconciler,
    firewalls: FirewallReconciler,
    instances: InstanceReconciler,
    base: BaseFirewallReconciler,
    survey: Survey,
    /// For how long the droplets of each environment have been in sight.
    in_sight: HashMap<EnvironmentId, SignedDuration>,
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
        keeper.learn_the_time().await.map_err(StartError::Database)?;
        let reflecting = ReflectorConfig::default();
        // Nothing is decided by what was read before, so nobody fills this store.
        let source = RecordSource::new(prepared.database.clone(), Records::owned_by(&keeper));
        let (records, _) = reflector(source, reflecting);
        let (catalog, catalog_reflector) = reflector(CatalogSource::new(prepared.database.clone()), reflecting);
        let running = CancellationToken::new();
        tokio::spawn(catalog_reflector.run(running.clone()));
        catalog.ready().await;
        let outside = Outside::new(&prepared, &keeper);
        let budget = prepared.digitalocean.budget();
        budget::consult(budget, prepared.database.clone())
            .await
            .map_err(StartError::Budget)?;
        Ok(Self {
            database: prepared.database.clone(),
            environments: reconcilers::environments(&prepared, &keeper, outside.fleet.clone(), records.clone()),
            orphans: reconcilers::orphans(&prepared, &keeper, outside.fleet.clone(), records.clone()),
            firewalls: reconcilers::firewalls(&prepared, &keeper, &outside, records.clone()),
            instances: reconcilers::instances(&prepared, &keeper, records, catalog),
            base: reconcilers::base(&prepared, &keeper, &outside),
            survey: Survey {
                database: prepared.database.clone(),
                client: prepared.digitalocean.clone(),
                fleet: outside.fleet,
                firewalls: outside.firewalls,
                config: reconcilers::sweeps(config),
                clock: keeper.clock().clone(),
            },
            in_sight: HashMap::new(),
            read: Read::Authoritative,
            policy: firewall_policy(config),
            _running: running.drop_guard(),
        })
    }

    /// Takes over what the last sweep holds in doubt. For whoever asks about a few environments: each is read by itself.
    pub async fn recall(&self) -> Result<(), SweepError> {
        self.survey.recall().await
    }

    /// Reads all droplets and firewalls by two lists. From then on an environment is read by itself only when something would be
    /// done about it, as in a pass.
    pub async fn survey(&mut self) -> Result<(), SweepError> {
        self.in_sight = self.survey.look().await?;
        self.read = Read::Cached;
        Ok(())
    }

    /// Every environment and tombstone that follows this one, a page of them.
    pub async fn environments(&self, after: Option<EnvironmentId>, limit: u32) -> Result<Vec<EnvironmentId>, schema::Error> {
        self.database.environment_page(after, limit).await
    }

    /// What would be done about one environment.
    pub async fn environment(&self, id: EnvironmentId) -> Vec<Forecast> {
        let clock = &self.survey.clock;
        let (environment, firewall, instance) = tokio::join!(
            forecast(&self.environments, &id, self.read, clock),
            forecast(&self.firewalls, &id, self.read, clock),
            forecast(&self.instances, &id, self.read, clock),
        );
        [environment, firewall, instance].into_iter().flatten().collect()
    }

    /// The environments that a survey saw a droplet or a firewall of, and that are not among those on record.
    pub fn orphaned(&self, on_record: &HashSet<EnvironmentId>) -> Vec<EnvironmentId> {
        let droplets = self.survey.fleet.environments();
        let known = droplets.len();
        let orphans: HashSet<EnvironmentId> = droplets.into_iter().filter(|id| !on_record.contains(id)).collect();
        let age = |id: &EnvironmentId| self.in_sight.get(id).copied().unwrap_or_default();
        self.orphans.recall(orphans.iter().map(|id| (*id, age(id))), known);
        let firewalls = self.survey.firewalls.owned().into_iter().map(|(id, _)| id);
        let mut all: Vec<EnvironmentId> = firewalls.filter(|id| !on_record.contains(id)).chain(orphans).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What would be done about what carries the name of an environment that is not on record.
    pub async fn orphan(&self, id: EnvironmentId) -> Vec<Forecast> {
        let Some(droplets) = forecast(&self.orphans, &id, self.read, &self.survey.clock).await else {
            return Vec::new();
        };
        let firewall = decided(&self.firewalls, &id, &Desired::Nobody, self.read, &self.survey.clock).await;
        vec![droplets, firewall]
    }

    /// What would be done about the firewall that all droplets share.
    pub async fn base_firewall(&self) -> Forecast {
        let wanted = rules::base(&self.policy.installation, &self.policy.sources);
        let installation: &InstallationId = &self.policy.installation;
        // Loaded by the holder of one shard only, which this is not.
        decided(&self.base, installation, &wanted, self.read, &self.survey.clock).await
    }

    /// Why something that would follow is withheld for now, a sentence each.
    pub fn withheld(&self) -> Vec<String> {
        let doubt = |trust| match trust {
            Trust::Trusted => None,
            Trust::Withheld { reason, .. } => Some(format!(
                "{reason}; nothing is created or deleted for what is missing until that is confirmed"
            )),
        };
        let crowd = "so many droplets belong to no environment of this database that none is destroyed; is it the right one?";
        let crowd = self.orphans.is_crowd().then(|| crowd.to_owned());
        let (droplets, firewalls) = (self.survey.fleet.trust(), self.survey.firewalls.trust());
        let reasons = [doubt(droplets), doubt(firewalls), crowd, self.requests()];
        reasons.into_iter().flatten().collect()
    }

    /// What waits for requests, and until when, if the replicas have used up what they may.
    fn requests(&self) -> Option<String> {
        let budget = self.survey.client.budget();
        let kinds = [
            (Priority::Delete, "deletes"),
            (Priority::Create, "creates"),
            (Priority::Change, "changes"),
        ];
        let waits: Vec<(Duration, &str)> = kinds
            .into_iter()
            .filter_map(|(priority, word)| Some((budget.pending(priority)?, word)))
            .collect();
        let longest = waits.iter().map(|(wait, _)| *wait).max()?;
        let words: Vec<&str> = waits.iter().map(|(_, word)| *word).collect();
        let until = self.survey.clock.now().checked_add(longest).ok()?;
        Some(format!(
            "the request limit of digitalocean_token is reached; {} wait until {}",
            words.join(" and "),
            until.strftime("%H:%M:%S")
        ))
    }
}
