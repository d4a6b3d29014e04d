//! The reflectors and the controllers that they feed.

use super::prepared::Prepared;
use crate::configuration::Settings;
use environment_reconciler::EnvironmentReconciler;
use futures::{FutureExt, future::BoxFuture};
use instance_reconciler::InstanceReconciler;
use jiff::SignedDuration;
use model::{CatalogEntry, CatalogId, EnvironmentId, EnvironmentRecord};
use runtime::{Config, Controller, Reconciler, Reflector, ReflectorConfig, Store, reflector};
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
        let wakes = environments.wakes();
        controllers.control(
            Controller::new(environments, Config::default())
                .wakes(record_reflector.subscribe())
                .wakes(wakes),
        );
        let instances = Arc::new(instance_reconciler(prepared, keeper, records.clone(), catalog));
        controllers.control(
            Controller::new(instances, Config::default())
                .wakes(record_reflector.subscribe())
                .wakes(instance_reconciler::catalog_wakes(catalog_reflector.subscribe(), records)),
        );
        controllers.reflect("record reflector", record_reflector);
        controllers.reflect("catalog reflector", catalog_reflector);
        controllers
    }

    fn add(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send + 'static) {
        self.parts.push((name, Box::new(part)));
    }

    fn control<R: Reconciler<Key = EnvironmentId>>(&mut self, controller: Controller<R>) {
        self.add(R::KIND, move |shutdown| controller.run(shutdown).boxed());
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
        environment_reconciler::Fleet::new(),
        prepared.master_key.clone(),
        config,
        records,
    )
}

fn environment_policy(settings: &Settings) -> environment_reconciler::Policy {
    let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let default = environment_reconciler::Policy::default();
    environment_reconciler::Policy {
        lag_window: signed(settings.lag_window),
        // A few sweeps, so that a single failed one changes nothing.
        fleet_max_age: default.fleet_max_age.max(signed(settings.fleet_sweep * 4)),
        heartbeat: signed(settings.heartbeat),
        stop_deadline: signed(settings.stop_deadline),
        launch_deadline: signed(settings.launch_deadline),
        ..default
    }
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
