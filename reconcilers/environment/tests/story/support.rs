//! What a story is told with: a database, a simulator, a replica that can be lost, and the agent's part.

use digitalocean::Client;
use environment_reconciler::{Config, EnvironmentReconciler, OrphanReconciler, Orphans, Policy};
use fleet::{Firewalls, Fleet, Limits, Looks, Sweeps};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, DropletVitals, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase, EnvironmentRecord,
    EnvironmentSpec, InstallationId, UserId, record::Subject,
};
use runtime::{Controller, Reflector, ReflectorConfig, reflector};
use schema::{ConnectOptions, Database, LeaseConfig, LeaseKeeper, RecordSource, Records, Role};
use simulator::{Handle, Simulator};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Only bounds a hang.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One environment reconciler and one for orphans, with everything around them.
pub(crate) struct Story {
    pub(crate) users: Database,
    pub(crate) simulator: Handle,
    replica: CancellationToken,
    pub(crate) project: Option<String>,
    url: String,
    boot: Uuid,
    sequence: i64,
    _state: tempfile::TempDir,
}

impl Story {
    pub(crate) async fn begin() -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let url = cluster::testing::database(async |url: String| {
            let database = Database::connect(&ConnectOptions::new(url.into(), None)).await.unwrap();
            database.migrate().await.unwrap();
            database.close().await;
            Ok::<_, cluster::Error>(())
        })
        .await
        .unwrap();
        let state = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(simulator::Config::new("token".into(), state.path()))
            .await
            .unwrap();
        simulator.configure(|settings| {
            settings.boot_ms = 100;
            settings.delete_ms = 100;
            // The test looks often.
            settings.requests_per_minute = 1_000_000;
            settings.requests_per_hour = 1_000_000;
        });
        let users = Database::connect(&ConnectOptions::new(url.clone().into(), None))
            .await
            .unwrap();
        let mut story = Self {
            users,
            simulator,
            replica: CancellationToken::new(),
            project: None,
            url,
            boot: Uuid::new_v4(),
            sequence: 0,
            _state: state,
        };
        story.serve().await;
        story
    }

    /// Starts a replica; the one before, if any, is gone without a word.
    pub(crate) async fn serve(&mut self) {
        self.replica.cancel();
        self.replica = CancellationToken::new();
        let shutdown = self.replica.clone();
        let database = Database::connect(&ConnectOptions::new(self.url.clone().into(), Some(Role::Controller)))
            .await
            .unwrap();
        let lease = LeaseConfig {
            ttl: Duration::from_secs(3),
            name: "test".to_owned(),
        };
        let leases = LeaseKeeper::new(database.clone(), lease);
        tokio::spawn(leases.clone().run(shutdown.clone()));
        let source = RecordSource::new(database.clone(), Records::owned_by(&leases));
        let (records, mut reflector): (_, Reflector<RecordSource>) = reflector(source, ReflectorConfig::default());
        let changed = reflector.subscribe();
        tokio::spawn(reflector.run(shutdown.clone()));
        let client = Client::new(digitalocean::Config::new(self.simulator.base_url().clone(), "token".into())).unwrap();
        let (fleet, config) = (Fleet::new(), config(self.project.clone()));
        let installation = config.installation.clone();
        let sweeps = Sweeps {
            database: database.clone(),
            leases: leases.clone(),
            client: client.clone(),
            fleet: fleet.clone(),
            firewalls: Firewalls::new(installation.clone()),
            config: fleet::Config {
                installation: installation.clone(),
                every: Duration::from_secs(1),
                limits: Limits::default(),
            },
        };
        tokio::spawn(sweeps.run(shutdown.clone()));
        let orphans = OrphanReconciler::new(Orphans {
            database: database.clone(),
            leases: leases.clone(),
            client: client.clone(),
            fleet: fleet.clone(),
            records: records.clone(),
            installation: installation.clone(),
            policy: config.policy.clone(),
            limits: Limits::default(),
        });
        let found = orphans.wakes(Duration::from_secs(1));
        let orphans = Controller::new(Arc::new(orphans), runtime::Config::default()).wakes(found);
        tokio::spawn(orphans.run(shutdown.clone()));
        let clock = leases.clock().clone();
        let looks = Looks::new(client.clone(), installation, fleet.clone(), Limits::default(), clock.clone());
        let key = "07".repeat(32).parse().unwrap();
        let reconciler = EnvironmentReconciler::new(database, leases, client, fleet, looks, key, config, records);
        tokio::spawn(reconciler.background(shutdown.clone()));
        let wakes = reconciler.wakes();
        let timed = runtime::Config {
            clock: Arc::new(clock),
            ..runtime::Config::default()
        };
        let controller = Controller::new(Arc::new(reconciler), timed).wakes(changed).wakes(wakes);
        tokio::spawn(controller.run(shutdown));
    }

    pub(crate) async fn insert(&self, region: &str) -> EnvironmentId {
        let user_id = UserId::random();
        let _ = self.users.user_ensure(user_id).await.unwrap();
        let spec = EnvironmentSpec {
            user_id,
            region: region.into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-22-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        };
        self.users.apply_environment(&spec).await.unwrap().0
    }

    pub(crate) async fn want(&self, id: EnvironmentId, edit: impl FnOnce(&mut EnvironmentSpec)) {
        let mut spec = self.row(id).await.spec;
        edit(&mut spec);
        let _ = self.users.apply_environment(&spec).await.unwrap();
    }

    pub(crate) async fn sql(&self, script: &str) {
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", script, &self.url]);
        assert!(psql.status().await.unwrap().success(), "{script}");
    }

    pub(crate) async fn record(&self, id: EnvironmentId) -> Option<EnvironmentRecord> {
        self.users.record_get(id).await.unwrap()
    }

    pub(crate) async fn row(&self, id: EnvironmentId) -> Environment {
        match self.record(id).await.unwrap().subject {
            Subject::Row(row) => row,
            Subject::Tombstone(tombstone) => panic!("{tombstone:?}"),
        }
    }

    pub(crate) async fn until(&self, id: EnvironmentId, what: &str, holds: impl Fn(&Environment) -> bool) -> Environment {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let row = self.row(id).await;
            if holds(&row) {
                return row;
            }
            if tokio::time::Instant::now() > end {
                let events = self.users.event_list(Some(id), 50).await.unwrap();
                panic!("never {what}: {row:#?} {events:#?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The agent of the environment's droplet enrols and reports.
    pub(crate) async fn agent(&mut self, id: EnvironmentId) {
        let intent = self.record(id).await.unwrap().intent.unwrap();
        let _ = self.users.intent_enrol(intent.id, &"ab".repeat(32)).await.unwrap();
        self.sequence += 1;
        let report = AgentReport {
            boot_id: self.boot,
            sequence: self.sequence,
            applied: None,
            agent_version: "0.1.0".into(),
            vitals: DropletVitals::default(),
            instances: Vec::new(),
            received_at: Timestamp::now(),
        };
        let _ = self.users.heartbeat_record(id, intent.epoch, &report).await.unwrap();
    }

    pub(crate) async fn launch(&mut self, id: EnvironmentId) -> Environment {
        self.until(id, "reachable", |row| row.status.ip_address.is_some()).await;
        self.agent(id).await;
        self.until(id, "active", |row| row.status.phase == EnvironmentPhase::Active)
            .await
    }

    pub(crate) fn live(&self) -> Vec<u64> {
        self.simulator.droplets().iter().map(|droplet| droplet.id).collect()
    }

    pub(crate) async fn until_droplet<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !holds().await {
            assert!(
                tokio::time::Instant::now() < end,
                "never: {what}: {:?}",
                self.simulator.droplets()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn until_none_is_live(&self) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !self.live().is_empty() {
            assert!(tokio::time::Instant::now() < end, "never gone: {:?}", self.live());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn end(self) {
        self.replica.cancel();
        self.simulator.shutdown().await;
    }
}

fn config(project: Option<String>) -> Config {
    let installation: InstallationId = "test".parse().unwrap();
    Config {
        installation,
        policy: Policy {
            lag_window: SignedDuration::from_secs(4),
            ..Policy::default()
        },
        backend_url: "https://127.0.0.1:1".parse().unwrap(),
        backend_ca_pem: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        agent_url: "https://127.0.0.1:1/api/v1/agent/binary".parse().unwrap(),
        agent_sha256: "00".repeat(32),
        enrolment_ttl: Duration::from_hours(1),
        ssh_keys: Vec::new(),
        project,
    }
}
