//! The reflectors and the controllers that they feed.

use super::{prepared::Prepared, retention};
use crate::configuration::Settings;
use environment_reconciler::EnvironmentReconciler;
use firewall_reconciler::{BaseFirewallReconciler, FirewallReconciler};
use fleet::{Firewalls, Fleet};
use futures::{FutureExt, future::BoxFuture};
use instance_reconciler::InstanceReconciler;
use jiff::SignedDuration;
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentRecord};
use runtime::{Config, Controller, Reconciler, Reflector, ReflectorConfig, Store, Subscription, reflector};
use schema::{CatalogSource, LeaseKeeper, RecordSource, Records};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// For how long a new droplet's first enrolment is taken: as long as it may take to launch, and once again.
fn enrolment_ttl(settings: &Settings) -> Duration {
    settings.launch_deadline * 2
}

/// Everything that reconciles, not started yet.
pub(super) struct Controllers {
    parts: Vec<(&'static str, Part)>,
}

/// A part that runs until it is told to end.
type Part = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// Everything that reconciles, running.
pub(super) struct Running {
    tasks: TaskTracker,
    failures: Mutex<mpsc::Receiver<&'static str>>,
}

impl Controllers {
    /// Connects reflectors to controllers.
    pub(super) fn new(prepared: &Prepared, keeper: &LeaseKeeper) -> Self {
        let config = ReflectorConfig {
            resync: prepared.settings.resync,
            ..ReflectorConfig::default()
        };
        let source = RecordSource::new(prepared.database.clone(), Records::owned_by(keeper));
        let (records, mut record_reflector) = reflector(source, config);
        let (catalog, mut catalog_reflector) = reflector(CatalogSource::new(prepared.database.clone()), config);

        let environments = environment_reconciler(prepared, keeper, records.clone());
        let mut controllers = Self { parts: Vec::new() };
        let environments = Arc::new(environments);
        let sweeping = Arc::clone(&environments);
        controllers.add("fleet sweep", move |shutdown| sweeping.background(shutdown).boxed());
        let database = prepared.database.clone();
        controllers.add("event retention", move |shutdown| {
            retention::forget_old_events(database, shutdown).boxed()
        });
        let wakes = environments.wakes();
        let environments = Controller::new(environments, Config::default())
            .wakes(record_reflector.subscribe())
            .wakes(wakes);
        controllers.control(environments, std::future::ready(()));

        let instances = Arc::new(instance_reconciler(prepared, keeper, records.clone(), catalog.clone()));
        let wakes = instance_reconciler::catalog_wakes(catalog_reflector.subscribe(), records.clone());
        let instances = Controller::new(instances, Config::default())
            .wakes(record_reflector.subscribe())
            .wakes(wakes);
        // Before the catalog is there, every tool would seem to be missing from it.
        controllers.control(instances, async move { catalog.ready().await });

        controllers.firewalls(prepared, keeper, records.clone(), record_reflector.subscribe());
        controllers.reflect("record reflector", record_reflector);
        controllers.reflect("catalog reflector", catalog_reflector);
        controllers
    }

    /// The firewall of each environment and the one that all droplets share, over one memory of what DigitalOcean has.
    fn firewalls(
        &mut self,
        prepared: &Prepared,
        keeper: &LeaseKeeper,
        records: Store<EnvironmentId, EnvironmentRecord>,
        changed: Subscription<EnvironmentId>,
    ) {
        let settings = &prepared.settings;
        let (client, sweep) = (prepared.digitalocean.clone(), settings.fleet_sweep);
        let seen = Firewalls::new(settings.installation.clone());
        let policy = firewall_policy(settings);
        let base = BaseFirewallReconciler::new(keeper.clone(), client.clone(), seen.clone(), policy.clone());
        let base_wakes = base.wakes(sweep);
        self.control(
            Controller::new(Arc::new(base), Config::default()).wakes(base_wakes),
            std::future::ready(()),
        );
        let environments = FirewallReconciler::new(prepared.database.clone(), keeper.clone(), client, seen, policy, records);
        let environments = Arc::new(environments);
        let sweeping = Arc::clone(&environments);
        self.add("firewall sweep", move |shutdown| sweeping.background(sweep, shutdown).boxed());
        let wakes = environments.wakes();
        self.control(
            Controller::new(environments, Config::default()).wakes(changed).wakes(wakes),
            std::future::ready(()),
        );
    }

    fn add(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send + 'static) {
        self.parts.push((name, Box::new(part)));
    }

    /// A controller, which begins when what it looks things up in is there.
    fn control<R: Reconciler<Key: Unpin>>(
        &mut self,
        controller: Controller<R>,
        ready: impl Future<Output = ()> + Send + 'static,
    ) {
        self.add(R::KIND, move |shutdown| {
            async move {
                if shutdown.run_until_cancelled(ready).await.is_some() {
                    controller.run(shutdown).await;
                }
            }
            .boxed()
        });
    }

    fn reflect<S: runtime::Source + Send + 'static>(&mut self, name: &'static str, reflector: Reflector<S>) {
        self.add(name, move |shutdown| reflector.run(shutdown).boxed());
    }

    /// Starts all parts, each in a task of its own.
    pub(super) fn start(self, shutdown: &CancellationToken) -> Running {
        let tasks = TaskTracker::new();
        let (failed, failures) = mpsc::channel(1);
        for (name, part) in self.parts {
            let (running, shutdown, failed) = (part(shutdown.clone()), shutdown.clone(), failed.clone());
            tasks.spawn(async move {
                // A panic unwinds to here; without this part the others would go on as if all were well.
                let ended = std::panic::AssertUnwindSafe(running).catch_unwind().await;
                if ended.is_err() || !shutdown.is_cancelled() {
                    tracing::error!(part = name, "ended by itself");
                    let _ = failed.try_send(name);
                }
            });
        }
        tasks.close();
        Running {
            tasks,
            failures: Mutex::new(failures),
        }
    }
}

impl Running {
    /// The first part that ends without having been told to.
    pub(super) async fn failed(&self) -> &'static str {
        match self.failures.lock().await.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }

    /// Waits until every part has ended.
    pub(super) async fn ended(&self) {
        self.tasks.wait().await;
    }
}

fn environment_reconciler(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    records: Store<EnvironmentId, EnvironmentRecord>,
) -> EnvironmentReconciler {
    let settings = &prepared.settings;
    let mut agent_url = settings.public_url.clone();
    agent_url.set_path(&prepared.agent_binary.url_path());
    let config = environment_reconciler::Config {
        installation: settings.installation.clone(),
        policy: environment_policy(settings),
        fleet_sweep: settings.fleet_sweep,
        backend_url: settings.public_url.clone(),
        backend_ca_pem: prepared.authority.certificate_pem().to_owned(),
        agent_url,
        agent_sha256: prepared.agent_binary.sha256().to_owned(),
        enrolment_ttl: enrolment_ttl(settings),
        ssh_keys: settings.ssh_keys.clone(),
    };
    EnvironmentReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        prepared.digitalocean.clone(),
        Fleet::new(),
        prepared.master_key.clone(),
        config,
        records,
    )
}

fn environment_policy(settings: &Settings) -> environment_reconciler::Policy {
    environment_reconciler::Policy {
        lag_window: signed(settings.lag_window),
        fleet_max_age: fleet_max_age(settings),
        heartbeat: signed(settings.heartbeat),
        stop_deadline: signed(settings.stop_deadline),
        launch_deadline: signed(settings.launch_deadline),
        ..environment_reconciler::Policy::default()
    }
}

fn firewall_policy(settings: &Settings) -> firewall_reconciler::Policy {
    firewall_reconciler::Policy {
        installation: settings.installation.clone(),
        sources: firewall_reconciler::Sources {
            backend: settings.backend_cidrs.clone(),
            admin: settings.admin_cidrs.clone(),
        },
        max_age: fleet_max_age(settings),
    }
}

/// A few sweeps, so that a single failed one changes nothing.
fn fleet_max_age(settings: &Settings) -> SignedDuration {
    let default = environment_reconciler::Policy::default().fleet_max_age;
    default.max(signed(settings.fleet_sweep * 4))
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn instance_reconciler(
    prepared: &Prepared,
    keeper: &LeaseKeeper,
    records: Store<EnvironmentId, EnvironmentRecord>,
    catalog: Store<CatalogId, CatalogEntry>,
) -> InstanceReconciler {
    InstanceReconciler::new(
        prepared.database.clone(),
        keeper.clone(),
        prepared.master_key.clone(),
        prepared.authority.clone(),
        instance_reconciler::Policy::default(),
        records,
        catalog,
    )
}
