//! The reflectors and the controllers that they feed.

use crate::{ReplicaConfig, parts::Parts, prepared::Prepared, retention};
use agent_api::Agents;
use environment_reconciler::EnvironmentReconciler;
use firewall_reconciler::{BaseFirewallReconciler, FirewallReconciler};
use fleet::{Firewalls, Fleet};
use futures::{FutureExt, future::BoxFuture};
use instance_reconciler::InstanceReconciler;
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentRecord};
use runtime::{Config, Controller, Reconciler, Reflector, ReflectorConfig, Store, Subscription, reflector};
use schema::{CatalogSource, LeaseKeeper, RecordSource, Records};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Starts everything that reconciles, and what it needs beside it.
pub(crate) fn start_controllers(prepared: &Prepared, keeper: &LeaseKeeper, parts: &mut Parts, shutdown: &CancellationToken) {
    let config = ReflectorConfig {
        resync: prepared.config.resync,
        ..ReflectorConfig::default()
    };
    let source = RecordSource::new(prepared.database.clone(), Records::owned_by(keeper));
    let (records, mut record_reflector) = reflector(source, config);
    let (catalog, mut catalog_reflector) = reflector(CatalogSource::new(prepared.database.clone()), config);
    let mut starting = Starting {
        prepared,
        keeper,
        parts,
        shutdown,
    };

    let environments = Arc::new(starting.environments(records.clone()));
    let sweeping = Arc::clone(&environments);
    starting.run("fleet sweep", move |shutdown| sweeping.background(shutdown).boxed());
    let wakes = environments.wakes();
    let environments = starting
        .controller(environments)
        .wakes(record_reflector.subscribe())
        .wakes(wakes);
    starting.control(environments, std::future::ready(()));

    let instances = Arc::new(starting.instances(records.clone(), catalog.clone()));
    let wakes = instance_reconciler::catalog_wakes(catalog_reflector.subscribe(), records.clone());
    let instances = starting
        .controller(instances)
        .wakes(record_reflector.subscribe())
        .wakes(wakes);
    // Before the catalog is there, every tool would seem to be missing from it.
    starting.control(instances, async move { catalog.ready().await });

    starting.firewalls(records, record_reflector.subscribe());
    starting.reflect("record reflector", record_reflector);
    starting.reflect("catalog reflector", catalog_reflector);
    let database = prepared.database.clone();
    starting.run("event retention", move |shutdown| {
        retention::forget_old_events(database, shutdown).boxed()
    });
}

/// What all parts are made of, while they are started.
struct Starting<'a> {
    prepared: &'a Prepared,
    keeper: &'a LeaseKeeper,
    parts: &'a mut Parts,
    shutdown: &'a CancellationToken,
}

impl Starting<'_> {
    /// A part that runs until it is told to end, and cannot fail.
    fn run(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> BoxFuture<'static, ()>) {
        let running = part(self.shutdown.clone()).map(Ok).boxed();
        self.parts.start(name, self.shutdown.clone(), running);
    }

    fn controller<R: Reconciler<Key: Unpin>>(&self, reconciler: Arc<R>) -> Controller<R> {
        let config = Config {
            backoff: self.prepared.config.backoff,
            ..Config::default()
        };
        Controller::new(reconciler, config)
    }

    /// A controller, which begins when what it looks things up in is there.
    fn control<R: Reconciler<Key: Unpin>>(
        &mut self,
        controller: Controller<R>,
        ready: impl Future<Output = ()> + Send + 'static,
    ) {
        self.run(R::KIND, move |shutdown| {
            async move {
                if shutdown.run_until_cancelled(ready).await.is_some() {
                    controller.run(shutdown).await;
                }
            }
            .boxed()
        });
    }

    fn reflect<S: runtime::Source + Send + 'static>(&mut self, name: &'static str, reflector: Reflector<S>) {
        self.run(name, move |shutdown| reflector.run(shutdown).boxed());
    }

    /// The firewall of each environment and the one that all droplets share, over one memory of what DigitalOcean has.
    fn firewalls(&mut self, records: Store<EnvironmentId, EnvironmentRecord>, changed: Subscription<EnvironmentId>) {
        let (keeper, client) = (self.keeper.clone(), self.prepared.digitalocean.clone());
        let config = &self.prepared.config;
        let sweep = config.fleet_sweep;
        let seen = Firewalls::new(config.installation.clone());
        let policy = firewall_policy(config);
        let base = BaseFirewallReconciler::new(keeper.clone(), client.clone(), seen.clone(), policy.clone());
        let base_wakes = base.wakes(sweep);
        let base = self.controller(Arc::new(base)).wakes(base_wakes);
        self.control(base, std::future::ready(()));

        let database = self.prepared.database.clone();
        let environments = Arc::new(FirewallReconciler::new(database, keeper, client, seen, policy, records));
        let sweeping = Arc::clone(&environments);
        self.run("firewall sweep", move |shutdown| sweeping.background(sweep, shutdown).boxed());
        let wakes = environments.wakes();
        let environments = self.controller(environments).wakes(changed).wakes(wakes);
        self.control(environments, std::future::ready(()));
    }

    fn environments(&self, records: Store<EnvironmentId, EnvironmentRecord>) -> EnvironmentReconciler {
        let config = &self.prepared.config;
        let mut agent_url = config.public_url.clone();
        agent_url.set_path(&config.agent_binary.url_path());
        let told = environment_reconciler::Config {
            installation: config.installation.clone(),
            policy: config.environment.clone(),
            fleet_sweep: config.fleet_sweep,
            backend_url: config.public_url.clone(),
            backend_ca_pem: self.prepared.authority.certificate_pem().to_owned(),
            agent_url,
            agent_sha256: config.agent_binary.sha256().to_owned(),
            enrolment_ttl: config.enrolment_ttl(),
            ssh_keys: config.ssh_keys.clone(),
        };
        EnvironmentReconciler::new(
            self.prepared.database.clone(),
            self.keeper.clone(),
            self.prepared.digitalocean.clone(),
            Fleet::new(),
            config.master_key.clone(),
            told,
            records,
        )
    }

    fn instances(
        &self,
        records: Store<EnvironmentId, EnvironmentRecord>,
        catalog: Store<CatalogId, CatalogEntry>,
    ) -> InstanceReconciler {
        let config = &self.prepared.config;
        InstanceReconciler::new(
            self.prepared.database.clone(),
            self.keeper.clone(),
            Agents::new(
                config.master_key.clone(),
                self.prepared.authority.clone(),
                config.effects.clone(),
            ),
            config.instance.clone(),
            records,
            catalog,
        )
    }
}

fn firewall_policy(config: &ReplicaConfig) -> firewall_reconciler::Policy {
    firewall_reconciler::Policy {
        installation: config.installation.clone(),
        sources: config.sources.clone(),
        max_age: config.environment.fleet_max_age,
    }
}
