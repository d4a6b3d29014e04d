//! One installation in the test's own process, in which time is short: a real Postgres, the DigitalOcean simulator, a replica of
//! the control plane, and model agents on droplets that run nothing else. `toolplane`'s commands run beside it as processes.
//!
//! Owns: starting, stopping, and looking. Must not: assert anything about the product; the stories do. Promises: what a story
//! starts ends with it.

use crate::{
    Rows,
    control_plane::Settings,
    eventually,
    model_agent::{Installation, Machines, Obedient},
};
use agent_api::MasterKey;
use api::AgentBinary;
use control_plane::{Connections, Listeners, Replica, ReplicaConfig};
use digitalocean::{Budget, BudgetConfig, Client};
use effects::Effects;
use firewall_reconciler::Sources;
use jiff::SignedDuration;
use model::InstallationId;
use runtime::Backoff;
use schema::{ConnectOptions, Database};
use secrecy::ExposeSecret;
use serde_json::Value;
use simulator::{DropletInfo, Simulator};
use std::{
    net::TcpListener,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// DigitalOcean's token.
pub const TOKEN: &str = "token-of-the-simulated-account";
/// From one sweep of the fleet to the next.
const SWEEP: Duration = Duration::from_millis(200);
/// Nobody downloads it: droplets run model agents.
const NO_AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// What goes wrong before a story begins.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
pub struct Rehearsal {
    /// What is in the database.
    pub rows: Rows,
    /// DigitalOcean.
    pub simulator: Arc<simulator::Handle>,
    /// The account's web console, so to say: a client with a budget of its own.
    pub console: Client,
    /// What runs on the droplets.
    pub machines: Machines<Obedient>,
    /// How the next replica is started.
    pub config: ReplicaConfig,
    /// Whether droplets have agents.
    agents: Arc<AtomicBool>,
    // In this order: what works ends before what it works with.
    replica: Option<Replica>,
    _agents: AbortOnDropHandle<()>,
    listener: TcpListener,
    database_url: String,
    _folder: tempfile::TempDir,
}

impl Rehearsal {
    /// A migrated database with the example tool, a DigitalOcean account without a droplet, and no replica yet.
    pub async fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("toolplane-rehearsal-").tempdir()?;
        let database_url = cluster::testing::database::<Failure, _>(migrate).await?;
        let mut cloud = simulator::Config::new(TOKEN.into(), folder.path());
        quicken(&mut cloud.settings);
        let simulator = Arc::new(Simulator::start(cloud).await?);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let installation = Installation {
            id: "rehearsal".parse()?,
            master_key: MasterKey::generate()?,
            backend_url: format!("https://{}", listener.local_addr()?).parse()?,
        };
        let (machines, droplets) = (Machines::default(), Arc::clone(&simulator));
        let agents = Arc::new(AtomicBool::new(true));
        let booting = Arc::clone(&agents);
        let with_agents = move || {
            if booting.load(Ordering::SeqCst) {
                droplets.droplets()
            } else {
                Vec::new()
            }
        };
        let keeping = Machines::clone(&machines).run(installation.clone(), with_agents, |_, _| Obedient::default());
        let rows = Rows::new(database_url.as_str());
        rows.insert_catalog("acme/reasoning").await;
        Ok(Self {
            rows,
            console: Client::new(reached(simulator.base_url()))?,
            machines,
            agents,
            config: config(&database_url, simulator.base_url(), &installation).await?,
            simulator,
            replica: None,
            _agents: AbortOnDropHandle::new(tokio::spawn(keeping)),
            listener,
            database_url,
            _folder: folder,
        })
    }

    /// Starts the replica.
    ///
    /// # Panics
    /// With the reason why it does not.
    pub async fn start(&mut self) {
        let listeners = Listeners {
            api: self.listener.try_clone().expect("a socket can be shared"),
            operators: None,
        };
        let started = Replica::start(self.config.clone(), listeners).await;
        self.replica = Some(started.expect("the replica starts"));
    }

    /// Ends the replica, as SIGTERM would.
    pub async fn stop(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.stop().await.expect("the replica ends well");
        }
    }

    /// From now on droplets have agents, or have none, not even those that had one.
    pub fn boot_agents(&self, boot: bool) {
        self.agents.store(boot, Ordering::SeqCst);
    }

    /// The installation's name.
    pub fn installation(&self) -> &InstallationId {
        &self.config.installation
    }

    /// Runs a command of `toolplane`; gives what it printed, and its exit code. What it says on standard error follows.
    pub async fn toolplane(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = self.settings().run(arguments).await;
        let printed = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (printed, output.status.code())
    }

    /// What a command that succeeds printed as JSON.
    pub async fn toolplane_json(&self, arguments: &[&str]) -> Value {
        let (printed, code) = self.toolplane(&[arguments, &["-o", "json"]].concat()).await;
        assert_eq!(code, Some(0), "toolplane {arguments:?}: {printed}");
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    fn settings(&self) -> Settings {
        let seconds = |time: SignedDuration| time.as_secs().max(1).to_string();
        Settings(vec![
            ("TOOLPLANE_DATABASE_URL", self.database_url.clone()),
            ("TOOLPLANE_DIGITALOCEAN_URL", self.simulator.base_url().to_string()),
            ("TOOLPLANE_DIGITALOCEAN_TOKEN", TOKEN.to_owned()),
            (
                "TOOLPLANE_MASTER_KEY",
                self.config.master_key.to_hex().expose_secret().to_owned(),
            ),
            ("TOOLPLANE_INSTALLATION", self.config.installation.to_string()),
            ("TOOLPLANE_PUBLIC_URL", self.config.public_url.to_string()),
            ("TOOLPLANE_AGENT_BINARY", NO_AGENT.to_owned()),
            ("TOOLPLANE_BACKEND_CIDRS", "127.0.0.0/8".to_owned()),
            ("TOOLPLANE_LAG_WINDOW_SECONDS", seconds(self.config.environment.lag_window)),
            ("TOOLPLANE_FLEET_SWEEP_SECONDS", "1".to_owned()),
            ("TOOLPLANE_LOG", "warn".to_owned()),
        ])
    }

    /// The droplet of an environment that has one.
    pub async fn droplet(&self, environment: &str) -> u64 {
        let row = self.rows.environment(environment).await;
        let droplet = row["do_droplet_id"].as_u64();
        droplet.unwrap_or_else(|| panic!("no droplet in {row}"))
    }

    /// The droplets that carry the environment's tag.
    pub fn droplets(&self, environment: &str) -> Vec<DropletInfo> {
        let tag = format!("toolplane:environment:{environment}");
        let mut droplets = self.simulator.droplets();
        droplets.retain(|droplet| droplet.tags.contains(&tag));
        droplets
    }

    /// Waits until an environment is as it should be, with its firewall in force.
    pub async fn until_ready(&self, environment: &str) {
        let kinds = ["Ready", "Reconciled", "FirewallReady"];
        self.rows.until_environment(environment, "active").await;
        self.rows.until_conditions_hold(environment, &kinds).await;
    }

    /// Waits until a droplet is, at DigitalOcean, as told.
    pub async fn until_droplet_is(&self, droplet: u64, what: &str, is: impl Fn(&digitalocean::Droplet) -> bool) {
        let is = &is;
        eventually(&format!("droplet {droplet} to be {what}"), || async move {
            let seen = self.console.droplet_get(droplet).await.map_err(|error| error.to_string())?;
            if is(&seen) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }

    /// Waits until the events of no environment tell of this.
    pub async fn until_installation_told(&self, what: &str) {
        let query = "select string_agg(reason || ': ' || message, ' | ') from reconcile_events where environment_id is null";
        eventually(&format!("an event of the installation that says {what:?}"), || async move {
            let events = self.rows.sql.must(query).await;
            if events.contains(what) { Ok(()) } else { Err(events) }
        })
        .await;
    }

    /// Waits until the environment's events tell of this.
    pub async fn until_told(&self, environment: &str, what: &str) {
        eventually(&format!("an event that says {what:?}"), || async move {
            let events = self.rows.events(environment).await;
            if events.contains(what) { Ok(()) } else { Err(events) }
        })
        .await;
    }
}

/// The condition of this kind of a row; `null` when it has none.
pub fn condition(row: &Value, kind: &str) -> Value {
    let conditions = row["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}

async fn migrate(url: String) -> Result<(), Failure> {
    let owner = Database::connect(&ConnectOptions::new(url.into(), None)).await?;
    owner.migrate().await?;
    owner.close().await;
    Ok(())
}

fn quicken(settings: &mut simulator::Settings) {
    settings.boot_agents = false;
    settings.boot_ms = 60;
    settings.action_ms = 40;
    settings.delete_ms = 60;
    settings.firewall_ms = 20;
    settings.requests_per_minute = 1_000_000;
    settings.requests_per_hour = 1_000_000;
}

fn reached(url: &Url) -> digitalocean::Config {
    let plenty = NonZeroU32::new(1_000_000).expect("not zero");
    digitalocean::Config {
        budget: Budget::new(BudgetConfig {
            per_minute: plenty,
            per_hour: plenty,
            ..BudgetConfig::default()
        }),
        ..digitalocean::Config::new(url.clone(), TOKEN.into())
    }
}

async fn config(database_url: &str, cloud: &Url, installation: &Installation) -> Result<ReplicaConfig, Failure> {
    let milliseconds = SignedDuration::from_millis;
    Ok(ReplicaConfig {
        name: "rehearsal".to_owned(),
        database_url: database_url.into(),
        connections: Connections {
            work: 6,
            requests: 3,
            leases: 1,
        },
        digitalocean: reached(cloud),
        master_key: installation.master_key.clone(),
        installation: installation.id.clone(),
        agent_binary: AgentBinary::open(NO_AGENT.into()).await?,
        public_url: installation.backend_url.clone(),
        plain_http: false,
        sources: Sources {
            backend: vec!["127.0.0.0/8".parse()?],
            admin: Vec::new(),
        },
        ssh_keys: Vec::new(),
        project: None,
        resync: Duration::from_millis(500),
        lease: Duration::from_secs(5),
        fleet_sweep: SWEEP,
        breaker: fleet::Limits {
            pause: milliseconds(300),
            ..fleet::Limits::default()
        },
        backoff: Backoff {
            min: Duration::from_millis(50),
            max: Duration::from_millis(400),
        },
        environment: environment_reconciler::Policy {
            lag_window: milliseconds(1_000),
            fleet_max_age: milliseconds(5_000),
            // Agents report more often; on a busy machine none should seem to be silent.
            heartbeat: milliseconds(5_000),
            stop_deadline: milliseconds(5_000),
            shutdown_deadline: milliseconds(500),
            change_retry: milliseconds(500),
            resize_retry: milliseconds(1_000),
            refused_retry: milliseconds(500),
            busy_retry: milliseconds(200),
            ..environment_reconciler::Policy::default()
        },
        instance: instance_reconciler::Policy::default(),
        effects: Effects::default(),
    })
}
