//! One installation: a database, a DigitalOcean account, machines, and one replica of the control plane.
//!
//! Owns: starting, changing at random, and waiting. Must not: judge what the prober saw.

use agent_api::MasterKey;
use api::AgentBinary;
use control_plane::{Connections, Listeners, Replica, ReplicaConfig};
use digitalocean::{Budget, BudgetConfig, FirewallRules, InboundRule, Peers, Ports};
use e2e::{
    eventually,
    model_agent::{
        Installation, Machines,
        droplet::{self, Droplet, Truth},
    },
    sql::Sql,
};
use effects::Effects;
use firewall_reconciler::Sources;
use jiff::SignedDuration;
use model::{
    CatalogEntry, CatalogId, EnvironmentDesiredState, EnvironmentId, EnvironmentSpec, InstallationId, InstanceDesiredState,
    InstanceSpec, UserId,
};
use rand::{Rng, rngs::StdRng};
use runtime::Backoff;
use schema::{ConnectOptions, Database, Role};
use simulator::{Connection, Fault, FaultRule, Protocol, Simulator};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, TcpListener},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

const TOKEN: &str = "token-of-the-simulated-account";
/// What everyone's tool is.
const CATALOG: CatalogId = CatalogId(Uuid::from_u128(0xca7));
/// How many tools an environment has.
const TOOLS: usize = 2;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What one user wants.
struct Wishes {
    environment: EnvironmentSpec,
    tools: Vec<InstanceSpec>,
}

/// See the module.
pub(crate) struct World {
    pub(crate) simulator: Arc<simulator::Handle>,
    pub(crate) truth: Truth,
    machines: Machines<Droplet>,
    cloud: digitalocean::Client,
    installation: Installation,
    /// What users want, and their way to say so.
    wishes: Mutex<HashMap<EnvironmentId, Wishes>>,
    user: Database,
    sql: Sql,
    // In this order: what works ends before what it works with.
    _replica: Replica,
    _machines: AbortOnDropHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Everything runs, and there is no environment.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("toolplane-order-").tempdir()?;
        let database_url = cluster::testing::database::<Failure, _>(prepare).await?;
        let simulator = Arc::new(simulator(folder.path()).await?);
        let cloud = digitalocean::Client::new(reached(simulator.base_url()))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let installation = Installation {
            id: "order".parse()?,
            master_key: MasterKey::generate()?,
            backend_url: format!("https://{}", listener.local_addr()?).parse()?,
        };
        let (machines, droplets) = (Machines::default(), Arc::clone(&simulator));
        let truth = Truth::default();
        let told = truth.clone();
        let keeping = machines.clone().run(
            installation.clone(),
            move || droplets.droplets(),
            move |droplet, environment| Droplet::new(droplet, environment, told.clone()),
        );
        let binary = AgentBinary::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()).await?;
        let config = config(&database_url, &simulator, &installation, binary);
        let listeners = Listeners {
            api: listener,
            operators: None,
        };
        Ok(Self {
            simulator,
            cloud,
            _machines: AbortOnDropHandle::new(tokio::spawn(keeping)),
            machines,
            truth,
            installation,
            wishes: Mutex::default(),
            user: Database::connect(&ConnectOptions::new(database_url.clone().into(), Some(Role::Service))).await?,
            sql: Sql::new(database_url.as_str()),
            _replica: Replica::start(config, listeners).await?,
            _folder: folder,
        })
    }

    pub(crate) fn installation(&self) -> &InstallationId {
        &self.installation.id
    }

    /// A new account's environment with its tools.
    pub(crate) async fn add_environment(&self) -> EnvironmentId {
        let spec = EnvironmentSpec {
            user_id: UserId::random(),
            region: "nyc3".into(),
            size: "s-1vcpu-1gb".into(),
            image: "ubuntu-24-04-x64".into(),
            desired_state: EnvironmentDesiredState::Active,
            paused: false,
        };
        self.user.user_ensure(spec.user_id).await.unwrap();
        let (id, _) = self.user.apply_environment(&spec).await.unwrap();
        let wishes = Wishes {
            environment: spec,
            tools: Vec::new(),
        };
        self.wishes.lock().await.insert(id, wishes);
        for _ in 0..TOOLS {
            self.add_tool(id).await;
        }
        id
    }

    async fn add_tool(&self, id: EnvironmentId) {
        let spec = InstanceSpec {
            environment_id: id,
            catalog_id: CATALOG,
            instance_name: Some(Uuid::new_v4().to_string()),
            version_to_run: "1".to_owned(),
            config_values_override: serde_json::json!({}),
            desired_state: InstanceDesiredState::Running,
            paused: false,
        };
        self.user.apply_instance(&spec).await.unwrap();
        self.wishes.lock().await.get_mut(&id).unwrap().tools.push(spec);
    }

    /// Somebody does something.
    pub(crate) async fn change(&self, id: EnvironmentId, dice: &mut StdRng) {
        let nth = dice.random_range(0..TOOLS);
        match dice.random_range(0..100) {
            0..20 => {
                self.edit_tool(id, nth, |tool| tool.desired_state = InstanceDesiredState::Stopped)
                    .await;
            }
            20..45 => {
                self.edit_tool(id, nth, |tool| tool.desired_state = InstanceDesiredState::Running)
                    .await;
            }
            45..60 => {
                let version = dice.random_range(1..=2).to_string();
                self.edit_tool(id, nth, |tool| tool.version_to_run = version).await;
            }
            60..68 => {
                self.edit_tool(id, nth, |tool| tool.desired_state = InstanceDesiredState::Removed)
                    .await;
                self.wishes.lock().await.get_mut(&id).unwrap().tools.remove(nth);
                self.add_tool(id).await;
            }
            68..70 => self.edit(id, EnvironmentDesiredState::Deleted).await,
            70..76 => self.edit(id, EnvironmentDesiredState::Active).await,
            76..86 => droplet::crash(&self.machines, id),
            86..88 => self.destroy(id).await,
            88..92 => self.edit_firewall(id).await,
            92..96 => self.detach_firewall(id).await,
            _ => self.delete_firewall(id).await,
        }
    }

    async fn edit(&self, id: EnvironmentId, desired_state: EnvironmentDesiredState) {
        let mut wishes = self.wishes.lock().await;
        let spec = &mut wishes.get_mut(&id).unwrap().environment;
        spec.desired_state = desired_state;
        self.user.apply_environment(spec).await.unwrap();
    }

    async fn edit_tool(&self, id: EnvironmentId, nth: usize, change: impl FnOnce(&mut InstanceSpec)) {
        let mut wishes = self.wishes.lock().await;
        let spec = &mut wishes.get_mut(&id).unwrap().tools[nth];
        change(spec);
        self.user.apply_instance(spec).await.unwrap();
    }

    async fn destroy(&self, id: EnvironmentId) {
        let tag = model::tags::environment(id);
        for droplet in self.simulator.droplets().iter().filter(|droplet| droplet.tags.contains(&tag)) {
            self.simulator.destroy(droplet.id).await;
        }
    }

    async fn firewall(&self, id: EnvironmentId) -> Option<digitalocean::Firewall> {
        let name = fleet::names::environment(&self.installation.id, id);
        // Faults strike everybody: who does not get through has changed nothing.
        let all = self.cloud.firewall_list().await.ok()?;
        all.into_iter().find(|firewall| firewall.spec.name == name)
    }

    /// Opens a port that is no tool's. Adding a rule cannot bring back one that was closed meanwhile.
    async fn edit_firewall(&self, id: EnvironmentId) {
        let Some(firewall) = self.firewall(id).await else { return };
        let rules = FirewallRules {
            inbound_rules: vec![InboundRule {
                protocol: digitalocean::Protocol::Tcp,
                ports: Ports::One(8_443),
                sources: Peers {
                    addresses: vec!["0.0.0.0/0".to_owned()],
                    ..Peers::default()
                },
            }],
            outbound_rules: Vec::new(),
        };
        let _ = self.cloud.firewall_rules_add(&firewall.id, &rules).await;
    }

    async fn detach_firewall(&self, id: EnvironmentId) {
        let Some(firewall) = self.firewall(id).await else { return };
        let _ = self
            .cloud
            .firewall_droplets_remove(&firewall.id, &firewall.spec.droplet_ids)
            .await;
    }

    async fn delete_firewall(&self, id: EnvironmentId) {
        let Some(firewall) = self.firewall(id).await else { return };
        let _ = self.cloud.firewall_delete(&firewall.id).await;
    }

    /// Answers get lost before and after the effect, and changes of firewalls take their time.
    pub(crate) fn faults(&self, seed: u64) {
        let page = |after_effect| Fault::Html {
            status: 503,
            after_effect,
        };
        let faults = [
            (0.03, Fault::DropBefore),
            (0.03, Fault::DropAfter),
            (0.03, page(false)),
            (0.03, page(true)),
            (0.25, Fault::FirewallWaits { ms: 600 }),
            (0.05, Fault::Delay { ms: 60 }),
        ];
        for (nth, (chance, fault)) in faults.into_iter().enumerate() {
            let seed = seed.wrapping_add(nth as u64);
            self.simulator
                .fault(FaultRule::new(fault).on("*", "/v2/firewalls*").always().chance(chance, seed));
        }
    }

    /// Takes the guard away, outside of the program: no port is ever on record, so no tool waits for one.
    pub(crate) async fn forget_what_may_be_open(&self) {
        self.sql
            .must(
                "create function forget() returns trigger language plpgsql as $$ begin new.ports := '{}'; return new; end $$;
                create trigger forget before insert or update on environment_firewalls for each row execute function forget();
                update environment_firewalls set ports = '{}'",
            )
            .await;
    }

    pub(crate) fn calm(&self) {
        self.simulator.calm();
    }

    /// Everything that is there is to run.
    pub(crate) async fn want_all(&self, id: EnvironmentId) {
        self.edit(id, EnvironmentDesiredState::Active).await;
        for nth in 0..TOOLS {
            self.edit_tool(id, nth, |tool| tool.desired_state = InstanceDesiredState::Running)
                .await;
        }
    }

    /// Waits until all tools of the environment run, and each can be reached.
    pub(crate) async fn all_open(&self, id: EnvironmentId) {
        eventually(&format!("the tools of {id} can be reached"), async || {
            let ready = droplet::ready(&self.machines, id);
            let reached = ready.iter().filter(|(droplet, port)| self.reached(*droplet, *port)).count();
            if reached == TOOLS && ready.len() == TOOLS {
                Ok(())
            } else {
                Err(format!("{} ready, {reached} reached", ready.len()))
            }
        })
        .await;
    }

    fn reached(&self, droplet: u64, port: u16) -> bool {
        let connection = Connection {
            droplet,
            port,
            protocol: Protocol::Tcp,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        self.simulator.connection(&connection).is_some_and(|passage| passage.let_in)
    }

    pub(crate) async fn delete_all(&self) {
        self.sql.must("delete from account_tool_environments").await;
    }

    /// Waits until neither a droplet, a firewall but the base one, nor a record is left.
    pub(crate) async fn nothing_left(&self) {
        eventually("nothing is left of what was deleted", async || {
            let droplets = self.simulator.droplets().len();
            let firewalls: Vec<String> = match self.cloud.firewall_list().await {
                Ok(all) => all.into_iter().map(|firewall| firewall.spec.name).collect(),
                Err(error) => return Err(error.to_string()),
            };
            let records = self
                .sql
                .must(
                    "select ((select count(*) from environment_firewalls) + (select count(*) from environment_tombstones))::text",
                )
                .await;
            if droplets == 0 && firewalls == [fleet::names::base(&self.installation.id)] && records == "0" {
                Ok(())
            } else {
                Err(format!("{droplets} droplets, firewalls {firewalls:?}, {records} records"))
            }
        })
        .await;
    }
}

async fn prepare(url: String) -> Result<(), Failure> {
    let owner = Database::connect(&ConnectOptions::new(url.clone().into(), None)).await?;
    owner.migrate().await?;
    owner.close().await;
    let service = Database::connect(&ConnectOptions::new(url.into(), Some(Role::Service))).await?;
    let entry: CatalogEntry = serde_json::from_value(serde_json::json!({
        "id": CATALOG, "tool_name": "Echo", "description": null, "packaging_type": "docker_image", "package_identifier": "acme/echo",
        "version_info": {"available_versions": ["1", "2"], "default_version": "1"},
        "default_config_template": {"container_port": 8080}, "required_secrets_schema": [], "resource_requirements": {},
        "status": "available"
    }))?;
    service.apply_catalog_entry(&entry).await?;
    service.close().await;
    Ok(())
}

async fn simulator(folder: &std::path::Path) -> Result<simulator::Handle, simulator::Error> {
    let mut config = simulator::Config::new(TOKEN.into(), folder);
    let settings = &mut config.settings;
    settings.boot_agents = false;
    settings.boot_ms = 60;
    settings.action_ms = 40;
    settings.delete_ms = 60;
    settings.firewall_ms = 60;
    settings.requests_per_minute = 1_000_000;
    settings.requests_per_hour = 1_000_000;
    Simulator::start(config).await
}

fn reached(url: &url::Url) -> digitalocean::Config {
    let plenty = NonZeroU32::new(1_000_000).unwrap();
    digitalocean::Config {
        budget: Budget::new(BudgetConfig {
            per_minute: plenty,
            per_hour: plenty,
            ..BudgetConfig::default()
        }),
        ..digitalocean::Config::new(url.clone(), TOKEN.into())
    }
}

fn config(
    database_url: &str,
    simulator: &simulator::Handle,
    installation: &Installation,
    agent_binary: AgentBinary,
) -> ReplicaConfig {
    let milliseconds = SignedDuration::from_millis;
    ReplicaConfig {
        name: "order".to_owned(),
        database_url: database_url.into(),
        connections: Connections {
            work: 8,
            requests: 4,
            leases: 1,
        },
        digitalocean: reached(simulator.base_url()),
        master_key: installation.master_key.clone(),
        installation: installation.id.clone(),
        agent_binary,
        public_url: installation.backend_url.clone(),
        plain_http: false,
        sources: Sources {
            backend: vec!["127.0.0.0/8".parse().unwrap()],
            admin: Vec::new(),
        },
        ssh_keys: Vec::new(),
        project: None,
        resync: Duration::from_secs(1),
        lease: Duration::from_secs(5),
        fleet_sweep: Duration::from_millis(200),
        // Half of the fleet may be destroyed at once here.
        breaker: fleet::Limits {
            percent: 100,
            ..fleet::Limits::default()
        },
        backoff: Backoff {
            min: Duration::from_millis(20),
            max: Duration::from_millis(200),
        },
        environment: environment_reconciler::Policy {
            lag_window: milliseconds(800),
            fleet_max_age: milliseconds(5_000),
            heartbeat: milliseconds(5_000),
            stop_deadline: milliseconds(10_000),
            launch_deadline: milliseconds(60_000),
            refused_retry: milliseconds(500),
            busy_retry: milliseconds(200),
            ..environment_reconciler::Policy::default()
        },
        instance: instance_reconciler::Policy::default(),
        effects: Effects::default(),
    }
}
