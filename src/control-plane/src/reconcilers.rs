//! The reconcilers as the configuration makes them. Owns: what each is told. Must not: run them: the controllers do, and a preview
//! asks them without letting them act.

use crate::{ReplicaConfig, prepared::Prepared};
use agent_api::Agents;
use environment_reconciler::{EnvironmentReconciler, OrphanReconciler, Orphans};
use firewall_reconciler::{BaseFirewallReconciler, FirewallReconciler};
use fleet::{FirewallLooks, Firewalls, Fleet, Looks};
use instance_reconciler::InstanceReconciler;
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentRecord};
use runtime::Store;
use schema::LeaseKeeper;

/// What a process knows of the outside.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) fleet: Fleet,
    pub(crate) firewalls: Firewalls,
    firewall_looks: FirewallLooks,
}

impl Outside {
    /// Nothing seen yet.
    pub(crate) fn new(prepared: &Prepared, keeper: &LeaseKeeper) -> Self {
        let firewalls = Firewalls::new(prepared.config.installation.clone());
        Self {
            fleet: Fleet::new(),
            firewall_looks: FirewallLooks::new(prepared.digitalocean.clone(), firewalls.clone(), keeper.clock().clone()),
            firewalls,
        }
    }
}

pub(crate) fn environments(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    fleet: Fleet,
    records: Store<EnvironmentId, EnvironmentRecord>,
) -> EnvironmentReconciler {
    let config = &prepared.config;
    let mut agent_url = config.public_url.clone();
    agent_url.set_path(&config.agent_binary.url_path());
    let told = environment_reconciler::Config {
        installation: config.installation.clone(),
        policy: config.environment.clone(),
        backend_url: config.public_url.clone(),
        backend_ca_pem: prepared.authority.certificate_pem().to_owned(),
        agent_url,
        agent_sha256: config.agent_binary.sha256().to_owned(),
        enrolment_ttl: config.enrolment_ttl(),
        ssh_keys: config.ssh_keys.clone(),
        project: config.project.clone(),
    };
    let looks = Looks::new(
        prepared.digitalocean.clone(),
        config.installation.clone(),
        fleet.clone(),
        config.breaker,
        keeper.clock().clone(),
    );
    EnvironmentReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        prepared.digitalocean.clone(),
        fleet,
        looks,
        config.master_key.clone(),
        told,
        records,
    )
}

pub(crate) fn orphans(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    fleet: Fleet,
    records: Store<EnvironmentId, EnvironmentRecord>,
) -> OrphanReconciler {
    let config = &prepared.config;
    OrphanReconciler::new(Orphans {
        database: prepared.database.clone(),
        leases: keeper.clone(),
        client: prepared.digitalocean.clone(),
        fleet,
        records,
        installation: config.installation.clone(),
        policy: config.environment.clone(),
        limits: config.breaker,
    })
}

pub(crate) fn instances(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    records: Store<EnvironmentId, EnvironmentRecord>,
    catalog: Store<CatalogId, CatalogEntry>,
) -> InstanceReconciler {
    let config = &prepared.config;
    InstanceReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        Agents::new(config.master_key.clone(), prepared.authority.clone(), config.effects.clone()),
        config.instance.clone(),
        records,
        catalog,
    )
}

pub(crate) fn firewalls(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    outside: &Outside,
    records: Store<EnvironmentId, EnvironmentRecord>,
) -> FirewallReconciler {
    FirewallReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        prepared.digitalocean.clone(),
        outside.fleet.clone(),
        outside.firewalls.clone(),
        outside.firewall_looks.clone(),
        firewall_policy(&prepared.config),
        records,
    )
}

pub(crate) fn base(prepared: &Prepared, keeper: &LeaseKeeper, outside: &Outside) -> BaseFirewallReconciler {
    BaseFirewallReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        prepared.digitalocean.clone(),
        outside.firewalls.clone(),
        outside.firewall_looks.clone(),
        firewall_policy(&prepared.config),
    )
}

/// How the fleet is swept.
pub(crate) fn sweeps(config: &ReplicaConfig) -> fleet::Config {
    fleet::Config {
        installation: config.installation.clone(),
        every: config.fleet_sweep,
        limits: config.breaker,
    }
}

pub(crate) fn firewall_policy(config: &ReplicaConfig) -> firewall_reconciler::Policy {
    firewall_reconciler::Policy {
        installation: config.installation.clone(),
        sources: config.sources.clone(),
        max_age: config.environment.fleet_max_age,
        lag_window: config.environment.lag_window,
    }
}
