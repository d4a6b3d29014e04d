//! The reflectors and the controllers that they feed.

use crate::{
    budget,
    parts::Parts,
    prepared::Prepared,
    reconcilers::{self, Outside},
    retention,
};
use fleet::{Firewalls, Fleet, Sweeps};
use futures::{FutureExt, future::BoxFuture};
use model::{EnvironmentId, EnvironmentRecord};
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

    let requests = prepared.digitalocean.budget().clone();
    let (database, holder) = (prepared.lease_database.clone(), keeper.clone());
    starting.run("request budget", move |shutdown| {
        budget::share(requests, database, holder, shutdown).boxed()
    });

    let outside = Outside::new(prepared, keeper);
    let sweeps = sweeps(prepared, keeper, outside.fleet.clone(), outside.firewalls.clone());
    starting.run("fleet sweeps", move |shutdown| sweeps.run(shutdown).boxed());

    starting.environments(&outside, &records, record_reflector.subscribe());

    let instances = Arc::new(reconcilers::instances(prepared, keeper, records.clone(), catalog.clone()));
    let wakes = instance_reconciler::catalog_wakes(catalog_reflector.subscribe(), records.clone());
    let instances = starting
        .controller(instances)
        .wakes(record_reflector.subscribe())
        .wakes(wakes);
    // Before the catalog is there, every tool would seem to be missing from it.
    starting.control(instances, async move { catalog.ready().await });

    starting.firewalls(&outside, records, record_reflector.subscribe());
    starting.reflect("record reflector", record_reflector);
    starting.reflect("catalog reflector", catalog_reflector);
    let database = prepared.database.clone();
    starting.run("event retention", move |shutdown| {
        retention::forget_old_events(database, shutdown).boxed()
    });
}

/// What keeps a replica's view of the outside current.
fn sweeps(prepared: &Prepared, keeper: &LeaseKeeper, fleet: Fleet, firewalls: Firewalls) -> Sweeps {
    Sweeps {
        database: prepared.database.clone(),
        leases: keeper.clone(),
        client: prepared.digitalocean.clone(),
        fleet,
        firewalls,
        config: reconcilers::sweeps(&prepared.config),
    }
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
            clock: Arc::new(self.keeper.clock().clone()),
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

    /// Droplets: those of environments on record, and those of none.
    fn environments(
        &mut self,
        outside: &Outside,
        records: &Store<EnvironmentId, EnvironmentRecord>,
        changed: Subscription<EnvironmentId>,
    ) {
        let orphans = reconcilers::orphans(self.prepared, self.keeper, outside.fleet.clone(), records.clone());
        let wakes = orphans.wakes(self.prepared.config.fleet_sweep);
        let orphans = self.controller(Arc::new(orphans)).wakes(wakes);
        self.control(orphans, std::future::ready(()));

        let fleet = outside.fleet.clone();
        let environments = Arc::new(reconcilers::environments(self.prepared, self.keeper, fleet, records.clone()));
        let listening = Arc::clone(&environments);
        self.run("heartbeats", move |shutdown| listening.background(shutdown).boxed());
        let wakes = environments.wakes();
        let environments = self.controller(environments).wakes(changed).wakes(wakes);
        self.control(environments, std::future::ready(()));
    }

    /// The firewall of each environment and the one that all droplets share, over one memory of what DigitalOcean has.
    fn firewalls(
        &mut self,
        outside: &Outside,
        records: Store<EnvironmentId, EnvironmentRecord>,
        changed: Subscription<EnvironmentId>,
    ) {
        let base = reconcilers::base(self.prepared, self.keeper, outside);
        let base_wakes = base.wakes(self.prepared.config.fleet_sweep);
        let base = self.controller(Arc::new(base)).wakes(base_wakes);
        self.control(base, std::future::ready(()));

        let environments = Arc::new(reconcilers::firewalls(self.prepared, self.keeper, outside, records));
        let wakes = environments.wakes();
        let environments = self.controller(environments).wakes(changed).wakes(wakes);
        self.control(environments, std::future::ready(()));
    }
}
