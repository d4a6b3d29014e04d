//! One installation for one life: a database, a DigitalOcean account in which others have things too, model agents, and one
//! replica of the control plane at a time.
//!
//! Owns: starting and killing replicas, the user's edits, and looking. Must not: judge; `scenario.rs` does.

use crate::{
    passes::Passes,
    setup::{Failure, cloud, droplet, environment, prepare, simulator, tool},
    watch::{Watch, another},
    witness::{Crash, Crasher},
};
use agent_api::MasterKey;
use api::AgentBinary;
use control_plane::{Connections, Listeners, Replica, ReplicaConfig};
use digitalocean::{FirewallSpec, OutboundRule, Peers, Ports, Protocol};
use e2e::{
    model_agent::{
        Droplet, Installation, Machines,
        droplet::Truth,
        prober::{Prober, Seen},
    },
    sql::Sql,
};
use effects::Effects;
use firewall_reconciler::Sources;
use jiff::SignedDuration;
use model::{
    Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentRecord, EnvironmentSpec, InstallationId, InstanceSpec,
    record::Subject, tags,
};
use runtime::Backoff;
use schema::{ConnectOptions, Database, Role};
use simulator::{DropletInfo, Entry, What};
use std::{net::TcpListener, sync::Arc, time::Duration};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// For how long a replica that has died keeps the next one from its shards.
const LEASE: Duration = Duration::from_secs(1);
/// From one full read of the rows to the next; each wakes every key.
pub(crate) const RESYNC: Duration = Duration::from_millis(80);
/// From one sweep to the next.
const SWEEP: Duration = Duration::from_millis(160);
/// For how many milliseconds DigitalOcean hides a new droplet: so many that a replica which is started after a crash holds the leases
/// and looks while the droplet is still hidden.
const HIDDEN: u64 = 2_500;
/// For how long a replica takes a droplet that it does not see for one that may be hidden.
const LAG_WINDOW: SignedDuration = SignedDuration::from_millis(4_000);
/// The ports that the tool ever has.
const PORTS: std::ops::Range<u16> = 31_000..31_002;
/// How many milliseconds the tool takes to be ready: more than a firewall takes to be in force, so that a port which does not wait for
/// its tool is seen to be open too soon.
const STARTING: std::ops::Range<u64> = 250..300;
/// Between two rounds of the prober.
const PROBE: Duration = Duration::from_millis(20);
/// See the module.
pub(crate) struct World {
    pub(crate) simulator: Arc<simulator::Handle>,
    pub(crate) cloud: digitalocean::Client,
    /// What is in the account and none of ours.
    pub(crate) foreign: Vec<DropletInfo>,
    pub(crate) foreign_firewalls: Vec<FirewallSpec>,
    /// Where the simulator's journal was when all of that was there.
    pub(crate) settled: u64,
    pub(crate) witness: Arc<Crasher>,
    pub(crate) watch: Arc<Watch>,
    /// What the prober saw of the tool's port.
    pub(crate) seen: Seen,
    pub(crate) passes: Arc<Passes>,
    /// Of replicas that have died since the scenario began.
    dead: Vec<Arc<Crasher>>,
    replica: Option<Replica>,
    /// As the user.
    service: Database,
    /// As a control plane.
    reader: Database,
    sql: Sql,
    database_url: String,
    listener: TcpListener,
    installation: Installation,
    binary: AgentBinary,
    environment: Option<EnvironmentId>,
    /// Where the simulator's journal was when the scenario began.
    pub(crate) began: u64,
    /// The droplet that has to be there in the end, where another one would not do.
    pub(crate) kept: Option<u64>,
    /// The start of the agent that is over: another one has to have reported in the end.
    pub(crate) ended_boot: Option<Uuid>,
    /// The version of the tool that should run, if it should.
    pub(crate) tool: Option<&'static str>,
    _agents: AbortOnDropHandle<()>,
    _prober: AbortOnDropHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    /// An installation without rows, and without a replica.
    pub(crate) async fn new(passes: Arc<Passes>) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("toolplane-crash-").tempdir()?;
        let database_url = cluster::testing::database::<Failure, _>(prepare).await?;
        let simulator = Arc::new(simulator(folder.path()).await?);
        let cloud = digitalocean::Client::new(cloud(simulator.base_url()))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let installation = Installation {
            id: "crash".parse()?,
            master_key: MasterKey::generate()?,
            backend_url: format!("https://{}", listener.local_addr()?).parse()?,
        };
        let (truth, droplets) = (Truth::default(), Arc::clone(&simulator));
        let told = truth.clone();
        let agents = Machines::default().run(
            installation.clone(),
            move || droplets.droplets(),
            move |droplet, environment| Droplet::new(droplet, environment, told.clone()).starting_in(STARTING),
        );
        let seen = Seen::default();
        let prober = Prober {
            firewalls: format!("toolplane-{}-", installation.id),
            ports: PORTS,
            pause: PROBE,
        };
        let prober = prober.run(Arc::clone(&simulator), truth, seen.clone());
        let options = |role| ConnectOptions {
            max_connections: 1,
            ..ConnectOptions::new(database_url.clone().into(), Some(role))
        };
        let mut world = Self {
            watch: Watch::new(Arc::clone(&simulator), cloud.clone(), installation.id.clone()),
            seen,
            passes,
            simulator,
            cloud,
            foreign: Vec::new(),
            foreign_firewalls: Vec::new(),
            settled: 0,
            witness: Crasher::new(),
            dead: Vec::new(),
            replica: None,
            service: Database::connect(&options(Role::Service)).await?,
            reader: Database::connect(&options(Role::Controller)).await?,
            sql: Sql::new(database_url.as_str()),
            database_url,
            listener,
            installation,
            // Nobody downloads it: droplets run model agents.
            binary: AgentBinary::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()).await?,
            environment: None,
            began: 0,
            kept: None,
            ended_boot: None,
            tool: None,
            _agents: AbortOnDropHandle::new(tokio::spawn(agents)),
            _prober: AbortOnDropHandle::new(tokio::spawn(prober)),
            _folder: folder,
        };
        world.settle_others().await?;
        Ok(world)
    }

    /// Others have been in the account before: a droplet without tags, one of another installation, and a firewall.
    async fn settle_others(&mut self) -> Result<(), Failure> {
        let theirs = [
            tags::TOOLPLANE.to_owned(),
            tags::installation(&another()),
            tags::environment(EnvironmentId::random()),
        ];
        for tags in [Vec::new(), theirs.to_vec()] {
            self.cloud.droplet_create(&droplet("somebody-elses", tags)).await?;
        }
        let firewall = FirewallSpec {
            name: "somebody-elses".to_owned(),
            inbound_rules: Vec::new(),
            outbound_rules: vec![OutboundRule {
                protocol: Protocol::Tcp,
                ports: Ports::All,
                destinations: Peers {
                    addresses: vec!["0.0.0.0/0".parse()?],
                    ..Peers::default()
                },
            }],
            droplet_ids: self.simulator.droplets().iter().map(|droplet| droplet.id).collect(),
            tags: Vec::new(),
        };
        self.foreign_firewalls = vec![self.cloud.firewall_create(&firewall).await?.spec];
        self.all_active().await;
        self.foreign = self.account();
        self.settled = self.simulator.journal_next();
        Ok(())
    }

    /// From now on DigitalOcean hides new droplets for a while, or shows them at once.
    pub(crate) fn hide_new_droplets(&self, hidden: bool) {
        self.simulator
            .configure(|settings| settings.hide_after_create_ms = if hidden { HIDDEN } else { 0 });
    }

    async fn all_active(&self) {
        while self.simulator.droplets().iter().any(|droplet| droplet.status != "active") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Another installation's droplet has the name and the tag of our environment, as the copy of a database makes it.
    pub(crate) async fn settle_namesake(&mut self) {
        let id = self.id();
        let tags = [
            tags::TOOLPLANE.to_owned(),
            tags::installation(&another()),
            tags::environment(id),
        ];
        let namesake = droplet(&tags::droplet_name(id), tags.to_vec());
        self.cloud.droplet_create(&namesake).await.unwrap();
        self.all_active().await;
        self.foreign = self.account();
    }

    /// Starts a replica that dies as told.
    pub(crate) async fn start(&mut self, crash: Option<Crash>) {
        let witness = Crasher::new();
        witness.arm(crash);
        let dead = std::mem::replace(&mut self.witness, witness.clone());
        self.dead.push(dead);
        let listeners = Listeners {
            api: self.listener.try_clone().unwrap(),
            operators: None,
        };
        let watched = self.watch.over(witness.clone());
        let starting = Replica::start(self.config(Effects::witnessed(watched)), listeners);
        tokio::select! {
            started = starting => self.replica = Some(started.unwrap()),
            () = witness.crashed() => {}
        }
    }

    /// As SIGKILL.
    pub(crate) async fn kill(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.kill().await;
        }
    }

    /// As SIGTERM: its leases are free at once.
    pub(crate) async fn stop(&mut self) {
        if let Some(replica) = self.replica.take() {
            replica.stop().await.unwrap();
        }
    }

    /// The end of everything; what it had in the database goes with it.
    pub(crate) async fn end(mut self) {
        self.kill().await;
        self.service.close().await;
        self.reader.close().await;
        let name = self.database_url.rsplit('/').next().unwrap_or_default();
        let drop = format!("drop database {name} with (force)");
        cluster::testing::cluster()
            .await
            .unwrap()
            .sql("postgres", &drop)
            .await
            .unwrap();
    }

    /// How many leases the replica has that runs.
    pub(crate) fn shards_held(&self) -> usize {
        self.replica.as_ref().map_or(0, |replica| replica.shards().len())
    }

    /// Nobody is interested in what was before.
    pub(crate) fn forget_the_dead(&mut self) {
        self.dead.clear();
    }

    /// What the replicas did, in order.
    pub(crate) fn story(&self) -> String {
        let witnesses = self.dead.iter().chain([&self.witness]).map(|witness| witness.story());
        let chapters = witnesses.filter(|story| !story.is_empty()).map(|story| story.join("\n    "));
        chapters.collect::<Vec<_>>().join("\n    --- killed; another starts\n    ")
    }

    /// The environment.
    pub(crate) fn id(&self) -> EnvironmentId {
        self.environment.unwrap()
    }

    /// Whose everything of ours is.
    pub(crate) fn installation(&self) -> &InstallationId {
        &self.installation.id
    }

    /// The environment's row or tombstone.
    pub(crate) async fn record(&self) -> Option<EnvironmentRecord> {
        self.reader.record_get(self.environment?).await.unwrap()
    }

    /// The row.
    pub(crate) async fn row(&self) -> Option<Environment> {
        match self.record().await?.subject {
            Subject::Row(row) => Some(row),
            Subject::Tombstone(_) => None,
        }
    }

    /// What did not hold at some moment of the life.
    pub(crate) fn nothing_forbidden(&self) -> Result<(), String> {
        let mut violations = self.watch.violations();
        violations.extend(self.seen.lock().violations.iter().cloned());
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations.join("; "))
        }
    }

    /// Every droplet in the account, whether or not it can be seen already.
    pub(crate) fn account(&self) -> Vec<DropletInfo> {
        let visible = |droplet| DropletInfo {
            hidden: false,
            ..droplet
        };
        self.simulator.droplets().into_iter().map(visible).collect()
    }

    /// The creates of ours since the scenario began that were carried out, whether or not somebody has seen the answer.
    pub(crate) fn creates(&self) -> Vec<Entry> {
        let mut requests = self.simulator.changes(self.began);
        let ours = tags::installation(self.installation());
        requests.retain(|entry| match &entry.what {
            What::Request {
                method,
                path,
                body,
                status: Some(202),
                ..
            } if method == "POST" && path == "/v2/droplets" => {
                let tags = body["tags"].as_array().into_iter().flatten();
                tags.into_iter().any(|tag| *tag == *ours)
            }
            What::Request { .. } | What::Twins { .. } | What::Destroyed { .. } | What::Vanished { .. } => false,
        });
        requests
    }

    /// Everything in the account that is not foreign.
    pub(crate) fn droplets(&self) -> Vec<DropletInfo> {
        let mut droplets = self.account();
        droplets.retain(|droplet| self.foreign.iter().all(|foreign| foreign.id != droplet.id));
        droplets
    }

    /// The user wants this of the environment, which comes to be if it is not there.
    pub(crate) async fn want(&mut self, change: impl FnOnce(&mut EnvironmentSpec)) {
        let row = self.row().await;
        let mut spec = row.map_or_else(environment, |row| row.spec);
        change(&mut spec);
        let (id, _) = self.service.apply_environment(&spec).await.unwrap();
        self.environment = Some(id);
    }

    /// The user enables or disables the environment.
    pub(crate) async fn want_state(&mut self, state: EnvironmentDesiredState) {
        self.want(|environment| environment.desired_state = state).await;
    }

    /// Waits until nobody works on what the user wanted before, or there is nobody left to.
    pub(crate) async fn heard(&self) {
        let unheard = async || {
            let row = self.row().await;
            row.is_some_and(|row| row.status.observed_generation < row.generation)
        };
        while !self.witness.has_crashed() && unheard().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The agent's latest start.
    pub(crate) async fn boot(&self) -> Option<Uuid> {
        let record = self.record().await?;
        record.current_report().map(|report| report.boot_id)
    }

    /// The user wants this of the tool.
    pub(crate) async fn want_tool(&self, change: impl FnOnce(&mut InstanceSpec)) {
        let record = self.record().await.unwrap();
        let known = record.tools.and_then(|tools| tools.instances.into_iter().next());
        let mut spec = known.map_or_else(|| tool(self.environment.unwrap()), |row| row.spec);
        change(&mut spec);
        self.service.apply_instance(&spec).await.unwrap();
    }

    /// The user deletes the row.
    pub(crate) async fn delete_row(&self) {
        let id = self.environment.unwrap();
        self.sql
            .must(&format!("delete from account_tool_environments where id = '{id}'"))
            .await;
    }

    fn config(&self, effects: Effects) -> ReplicaConfig {
        let milliseconds = SignedDuration::from_millis;
        ReplicaConfig {
            name: "crash".to_owned(),
            database_url: self.database_url.clone().into(),
            connections: Connections {
                work: 4,
                requests: 2,
                leases: 1,
            },
            digitalocean: cloud(self.simulator.base_url()),
            master_key: self.installation.master_key.clone(),
            installation: self.installation.id.clone(),
            agent_binary: self.binary.clone(),
            public_url: self.installation.backend_url.clone(),
            plain_http: false,
            sources: Sources {
                backend: vec!["127.0.0.0/8".parse().unwrap()],
                admin: Vec::new(),
            },
            ssh_keys: Vec::new(),
            project: None,
            resync: RESYNC,
            lease: LEASE,
            fleet_sweep: SWEEP,
            breaker: fleet::Limits {
                pause: milliseconds(100),
                ..fleet::Limits::default()
            },
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_millis(400),
            },
            environment: environment_reconciler::Policy {
                lag_window: LAG_WINDOW,
                fleet_max_age: milliseconds(5_000),
                // Agents report more often; on a busy machine none should seem to be silent.
                heartbeat: milliseconds(5_000),
                // A port that is late excuses a tool that stops behind it; here nothing is to be excused, a crash included.
                stop_deadline: milliseconds(60_000),
                launch_deadline: milliseconds(60_000),
                shutdown_deadline: milliseconds(500),
                change_retry: milliseconds(500),
                resize_retry: milliseconds(1_000),
                refused_retry: milliseconds(500),
                busy_retry: milliseconds(200),
                ..environment_reconciler::Policy::default()
            },
            instance: instance_reconciler::Policy::default(),
            effects,
        }
    }
}
