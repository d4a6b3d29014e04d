//! A database, a cloud with some droplets, and replicas that see it.

use digitalocean::{Client, DropletCreate, FirewallSpec, ImageRef, OutboundRule, Peers, Ports, Protocol};
use fleet::{Config, Firewalls, Fleet, Limits, Sighting, Sweeps};
use jiff::SignedDuration;
use model::{EnvironmentDesiredState, EnvironmentId, EnvironmentSpec, InstallationId, UserId, tags};
use runtime::Observation;
use schema::{ConnectOptions, Database, LeaseConfig, LeaseKeeper, Role};
use simulator::{Handle, Simulator};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Only bounds a hang.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const LIST: &str = "GET /v2/droplets";

pub(crate) struct Bed {
    pub(crate) users: Database,
    pub(crate) controller: Database,
    pub(crate) simulator: Handle,
    /// The droplet of each environment.
    pub(crate) droplets: BTreeMap<EnvironmentId, u64>,
    pub(crate) client: Client,
    url: String,
    shutdown: CancellationToken,
    _state: tempfile::TempDir,
}

/// One process's part.
pub(crate) struct Replica {
    pub(crate) fleet: Fleet,
    pub(crate) firewalls: Firewalls,
    pub(crate) leases: LeaseKeeper,
}

pub(crate) fn installation() -> InstallationId {
    "test".parse().unwrap()
}

impl Bed {
    /// So many environments, each with its droplet.
    pub(crate) async fn new(count: usize) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let url = cluster::testing::database(async |url: String| {
            let database = connect(&url, None).await;
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
            settings.boot_agents = false;
            settings.boot_ms = 0;
            settings.delete_ms = 0;
        });
        let client = Client::new(digitalocean::Config::new(simulator.base_url().clone(), "token".into())).unwrap();
        let mut bed = Self {
            users: connect(&url, None).await,
            controller: connect(&url, Some(Role::Controller)).await,
            simulator,
            droplets: BTreeMap::new(),
            client,
            url,
            shutdown: CancellationToken::new(),
            _state: state,
        };
        for _ in 0..count {
            let id = bed.environment().await;
            let droplet = bed.client.droplet_create(&create(id)).await.unwrap().droplet.id;
            bed.droplets.insert(id, droplet);
        }
        bed
    }

    /// An environment that wants a droplet.
    pub(crate) async fn environment(&self) -> EnvironmentId {
        let user_id = UserId::random();
        let _ = self.users.user_ensure(user_id).await.unwrap();
        let spec = EnvironmentSpec {
            user_id,
            region: "nyc3".into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-22-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        };
        self.users.apply_environment(&spec).await.unwrap().0
    }

    /// Makes a firewall that lets everything out.
    pub(crate) async fn firewall(&self, name: String) {
        let spec = FirewallSpec {
            name,
            outbound_rules: vec![OutboundRule {
                protocol: Protocol::Tcp,
                ports: Ports::All,
                destinations: Peers {
                    addresses: vec!["0.0.0.0/0".to_owned()],
                    ..Peers::default()
                },
            }],
            ..FirewallSpec::default()
        };
        self.client.firewall_create(&spec).await.unwrap();
    }

    /// A replica that sweeps, when it is its turn, and follows.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_swept_every(Duration::from_millis(200)).await
    }

    pub(crate) async fn replica_swept_every(&self, every: Duration) -> Replica {
        let database = connect(&self.url, Some(Role::Controller)).await;
        let lease = LeaseConfig {
            ttl: Duration::from_secs(3),
            name: "test".to_owned(),
        };
        let leases = LeaseKeeper::new(database.clone(), lease);
        tokio::spawn(leases.clone().run(self.shutdown.clone()));
        let (fleet, firewalls) = (Fleet::new(), Firewalls::new(installation()));
        let sweeps = Sweeps {
            database,
            leases: leases.clone(),
            client: self.client.clone(),
            fleet: fleet.clone(),
            firewalls: firewalls.clone(),
            config: Config {
                installation: installation(),
                every,
                limits: Limits {
                    pause: SignedDuration::from_millis(100),
                    ..Limits::default()
                },
            },
        };
        tokio::spawn(sweeps.run(self.shutdown.clone()));
        Replica {
            fleet,
            firewalls,
            leases,
        }
    }

    /// What the superuser reads or does, as `psql` prints it.
    pub(crate) async fn sql(&self, script: &str) -> String {
        let mut psql = tokio::process::Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", script, &self.url]);
        let output = psql.output().await.unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// How many sweeps of droplets were stored.
    pub(crate) async fn sweeps(&self) -> i64 {
        let number = self.sql("select number from fleet_sweeps where kind = 'droplets'").await;
        number.parse().unwrap()
    }

    /// Waits until so many more sweeps were stored.
    pub(crate) async fn more_sweeps(&self, count: i64) {
        let first = self.sweeps().await;
        until("swept", async || self.sweeps().await >= first + count).await;
    }

    /// How often a read was asked.
    pub(crate) fn reads(&self, endpoint: &str) -> u64 {
        self.simulator.counts().reads.get(endpoint).copied().unwrap_or_default()
    }

    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        self.simulator.shutdown().await;
    }
}

impl Replica {
    /// The environments whose droplets it shows.
    pub(crate) fn present(&self, bed: &Bed) -> usize {
        let ids = bed.droplets.keys();
        ids.filter(|id| matches!(self.fleet.sighting(**id).droplets, Observation::Present(_)))
            .count()
    }

    /// What it says of environments whose droplets it does not show.
    pub(crate) fn others(&self, bed: &Bed) -> Vec<Sighting> {
        let ids = bed.droplets.keys();
        let sightings = ids.map(|id| self.fleet.sighting(*id));
        sightings
            .filter(|sighting| !matches!(sighting.droplets, Observation::Present(_)))
            .collect()
    }
}

pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "never {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connect(url: &str, role: Option<Role>) -> Database {
    Database::connect(&ConnectOptions::new(url.into(), role)).await.unwrap()
}

fn create(id: EnvironmentId) -> DropletCreate {
    DropletCreate {
        name: tags::droplet_name(id),
        region: "nyc3".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: ImageRef::Slug("ubuntu-22-04-x64".to_owned()),
        tags: vec![
            tags::TOOLPLANE.to_owned(),
            tags::installation(&installation()),
            tags::environment(id),
        ],
        user_data: None,
        vpc_uuid: None,
        ssh_keys: Vec::new(),
        monitoring: false,
        ipv6: false,
    }
}
