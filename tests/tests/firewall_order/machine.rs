//! What runs on the droplets: model agents that speak the agents' real HTTP API, and tools that take their time to start, are
//! replaced, and crash.
//!
//! Owns: the truth about every tool. Must not: know firewalls. Promises: a port counts as allowed from the moment its tool is
//! ready for the first time after Toolplane had it started, until the moment at which Toolplane has it stopped, replaced or
//! removed; a crash, which nobody ordered, changes nothing about that.

use agent_api::{
    AGENT_PORT, AgentKey, BackendClient, Bootstrap, EnrolRequest, EnrolResponse, HeartbeatReport, HeartbeatRequest, MasterKey,
    tls, wire::agent_path,
};
use axum::{Json, Router, extract::State, http::StatusCode, routing};
use axum_server::tls_rustls::RustlsConfig;
use model::{
    DesiredInstance, DesiredSet, DropletVitals, EnvironmentId, InstallationId, InstanceId, InstanceReport, InstanceState,
    IntentId, Stamp, desired::RunState, tags,
};
use rand::Rng;
use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

/// Between two looks at what has changed by itself.
const STEP: Duration = Duration::from_millis(10);
/// Between heartbeats that nothing hastens.
const HEARTBEAT: Duration = Duration::from_millis(300);

/// What all agents have in common.
#[derive(Clone)]
pub(crate) struct Installation {
    pub(crate) id: InstallationId,
    pub(crate) master_key: MasterKey,
    pub(crate) backend_url: Url,
}

/// Whether a port may be open, and how often that changed.
type Allowed = (bool, u64);

/// Which port on which droplet is allowed to be open.
#[derive(Clone, Default)]
pub(crate) struct Truth(Arc<Mutex<HashMap<(u64, u16), Allowed>>>);

impl Truth {
    pub(crate) fn get(&self, droplet: u64, port: u16) -> Allowed {
        self.lock().get(&(droplet, port)).copied().unwrap_or_default()
    }

    fn set(&self, droplet: u64, port: u16, allowed: bool) {
        let mut lock = self.lock();
        let entry = lock.entry((droplet, port)).or_default();
        if entry.0 != allowed {
            *entry = (allowed, entry.1 + 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u16), Allowed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All droplets' machines.
#[derive(Clone, Default)]
pub(crate) struct Machines {
    pub(crate) truth: Truth,
    running: Arc<Mutex<HashMap<u64, Arc<Machine>>>>,
}

impl Machines {
    /// Keeps a machine for every running droplet, for as long as it is polled.
    pub(crate) async fn run(self, installation: Installation, droplets: impl Fn() -> Vec<simulator::DropletInfo>) {
        let mut agents: HashMap<u64, AbortOnDropHandle<()>> = HashMap::new();
        loop {
            let active: Vec<_> = droplets().into_iter().filter(|droplet| droplet.status == "active").collect();
            agents.retain(|id, _| active.iter().any(|droplet| droplet.id == *id));
            self.lock().retain(|id, _| agents.contains_key(id));
            for droplet in active {
                let tags = droplet.tags.iter().map(String::as_str);
                let (Some(environment), Some(intent)) = (tags::owner(tags.clone(), &installation.id), tags::intent_of(tags))
                else {
                    continue;
                };
                agents.entry(droplet.id).or_insert_with(|| {
                    let machine = Arc::new(Machine::new(droplet.id, environment, self.truth.clone()));
                    self.lock().insert(droplet.id, machine.clone());
                    let bootstrap = bootstrap(&installation, environment, intent);
                    AbortOnDropHandle::new(tokio::spawn(live(machine, bootstrap, droplet.address)))
                });
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Crashes a ready tool of an environment, if it has one.
    pub(crate) fn crash(&self, environment: EnvironmentId) {
        for machine in self.lock().values().filter(|machine| machine.environment == environment) {
            machine.crash();
        }
    }

    /// The ports of an environment's tools that are ready, with their droplet.
    pub(crate) fn ready(&self, environment: EnvironmentId) -> Vec<(u64, u16)> {
        let machines = self.lock();
        let own = machines.values().filter(|machine| machine.environment == environment);
        own.flat_map(|machine| machine.ready()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Machine>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One droplet's agent and its containers.
struct Machine {
    droplet: u64,
    environment: EnvironmentId,
    truth: Truth,
    state: Mutex<MachineState>,
    changed: Notify,
}

#[derive(Default)]
struct MachineState {
    held: Option<DesiredSet>,
    tools: BTreeMap<InstanceId, Tool>,
}

/// A container.
struct Tool {
    told: DesiredInstance,
    life: Life,
}

#[derive(Clone, Copy)]
enum Life {
    /// Its probe has not passed yet.
    Starting(Instant),
    Ready,
    /// Its process is gone by itself, until the agent starts it again.
    Crashed(Instant),
    Stopped,
}

impl Machine {
    fn new(droplet: u64, environment: EnvironmentId, truth: Truth) -> Self {
        Self {
            droplet,
            environment,
            truth,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a set unless it holds a newer one, whose stamp it returns. Stops at once what is to stop.
    fn take(&self, set: DesiredSet) -> Option<Stamp> {
        let mut state = self.lock();
        if let Some(newer) = state.held.as_ref().map(|held| held.stamp).filter(|held| *held > set.stamp) {
            return Some(newer);
        }
        let MachineState { held, tools } = &mut *state;
        tools.retain(|id, tool| {
            let stays = set.instances.iter().any(|instance| instance.instance_id == *id);
            if !stays {
                self.truth.set(self.droplet, tool.told.port, false);
            }
            stays
        });
        for told in &set.instances {
            let tool = tools.entry(told.instance_id).or_insert_with(|| Tool {
                told: told.clone(),
                life: Life::Stopped,
            });
            let same = tool.told.container == told.container && tool.told.port == told.port;
            let stopped = matches!(tool.life, Life::Stopped);
            if told.run == RunState::Stopped || !same {
                self.truth.set(self.droplet, tool.told.port, false);
            }
            tool.life = match (told.run, same, stopped) {
                (RunState::Stopped, _, _) => Life::Stopped,
                (RunState::Running, true, false) => tool.life,
                (RunState::Running, _, _) => Life::Starting(soon(10, 60)),
            };
            tool.told = told.clone();
        }
        *held = Some(set);
        self.changed.notify_one();
        None
    }

    /// What happens by itself.
    fn step(&self) {
        let now = Instant::now();
        let mut changed = false;
        for tool in self.lock().tools.values_mut() {
            tool.life = match tool.life {
                Life::Starting(until) if until <= now => {
                    self.truth.set(self.droplet, tool.told.port, true);
                    Life::Ready
                }
                Life::Crashed(until) if until <= now => Life::Starting(soon(10, 60)),
                Life::Starting(_) | Life::Ready | Life::Crashed(_) | Life::Stopped => continue,
            };
            changed = true;
        }
        if changed {
            self.changed.notify_one();
        }
    }

    fn crash(&self) {
        let mut state = self.lock();
        if let Some(tool) = state.tools.values_mut().find(|tool| matches!(tool.life, Life::Ready)) {
            tool.life = Life::Crashed(soon(20, 120));
            self.changed.notify_one();
        }
    }

    fn ready(&self) -> Vec<(u64, u16)> {
        let state = self.lock();
        let ready = state.tools.values().filter(|tool| matches!(tool.life, Life::Ready));
        ready.map(|tool| (self.droplet, tool.told.port)).collect()
    }

    fn report(&self, boot_id: Uuid, sequence: i64) -> HeartbeatReport {
        let state = self.lock();
        let instances = state.tools.values().map(|tool| InstanceReport {
            instance_id: tool.told.instance_id,
            generation: tool.told.generation,
            state: match tool.life {
                Life::Starting(_) => InstanceState::Starting,
                Life::Ready => InstanceState::Running,
                Life::Crashed(_) => InstanceState::Failed,
                Life::Stopped => InstanceState::Stopped,
            },
            version: matches!(tool.life, Life::Ready).then(|| tool.told.version.clone()),
            image_digest: None,
            container_id: None,
            port: Some(tool.told.port),
            restarts: 0,
            exit_code: None,
            reason: None,
            message: None,
        });
        HeartbeatReport {
            boot_id,
            sequence,
            applied: state.held.as_ref().map(|set| set.stamp),
            agent_version: "model".to_owned(),
            vitals: DropletVitals::default(),
            instances: instances.collect(),
        }
    }
}

fn soon(least: u64, most: u64) -> Instant {
    Instant::now() + Duration::from_millis(rand::rng().random_range(least..most))
}

fn bootstrap(installation: &Installation, environment: EnvironmentId, intent: IntentId) -> Bootstrap {
    let authority = installation.master_key.certificate_authority().unwrap();
    Bootstrap {
        environment_id: environment,
        intent_id: intent,
        backend_url: installation.backend_url.clone(),
        backend_ca_pem: authority.certificate_pem().to_owned(),
        enrolment_token: installation.master_key.enrolment_token(environment, intent),
        agent_url: installation.backend_url.clone(),
        agent_sha256: "0".repeat(64),
    }
}

/// One agent, from its enrolment until its droplet is gone.
async fn live(machine: Arc<Machine>, bootstrap: Bootstrap, address: Ipv4Addr) {
    let backend = BackendClient::new(&bootstrap).unwrap();
    let key = AgentKey::generate().unwrap();
    let enrolled = loop {
        match enrol(&backend, &bootstrap, &key).await {
            Ok(enrolled) => break enrolled,
            Err(_) => tokio::time::sleep(STEP * 5).await,
        }
    };
    let steps = async {
        loop {
            machine.step();
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::join!(
        serve(machine.clone(), &enrolled, &key, address),
        heartbeats(machine.clone(), backend, &enrolled),
        steps
    );
}

async fn enrol(backend: &BackendClient, bootstrap: &Bootstrap, key: &AgentKey) -> Result<EnrolResponse, agent_api::Error> {
    let (environment_id, intent_id) = (bootstrap.environment_id, bootstrap.intent_id);
    let request = EnrolRequest {
        environment_id,
        intent_id,
        token: bootstrap.enrolment_token.clone(),
        csr_pem: key.csr_pem()?,
        proof: key.proof(environment_id, intent_id)?,
    };
    backend.enrol(&request).await
}

async fn serve(machine: Arc<Machine>, enrolled: &EnrolResponse, key: &AgentKey, address: Ipv4Addr) {
    let config = tls::server_config(&enrolled.certificate_pem, &key.to_pem()).unwrap();
    let listener = TcpListener::bind(SocketAddr::from((address, AGENT_PORT))).expect("the droplet's address is its own");
    listener.set_nonblocking(true).unwrap();
    let app = Router::new()
        .route(agent_path::DESIRED_SET, routing::put(put_desired_set))
        .with_state(machine);
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config)).unwrap();
    server.serve(app.into_make_service()).await.unwrap();
}

async fn put_desired_set(State(machine): State<Arc<Machine>>, Json(set): Json<DesiredSet>) -> StatusCode {
    match machine.take(set) {
        None => StatusCode::NO_CONTENT,
        Some(_) => StatusCode::CONFLICT,
    }
}

async fn heartbeats(machine: Arc<Machine>, backend: BackendClient, enrolled: &EnrolResponse) {
    let (boot_id, mut sequence) = (Uuid::new_v4(), 0);
    loop {
        sequence += 1;
        let request = HeartbeatRequest {
            environment_id: machine.environment,
            epoch: enrolled.epoch,
            report: machine.report(boot_id, sequence),
        };
        let token = &enrolled.agent_token;
        if let Ok(answer) = backend.heartbeat(token, &request).await
            && answer.desired > request.report.applied
            && let Ok(set) = backend.desired_set(token, machine.environment).await
        {
            machine.take(set);
        }
        // A change that came meanwhile is told at once.
        let _ = tokio::time::timeout(HEARTBEAT, machine.changed.notified()).await;
    }
}
