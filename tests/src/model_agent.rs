//! Model agents: what runs on droplets whose machines are not simulated. They speak the agents' real HTTP API over real TLS: they
//! enrol, take desired sets and send heartbeats.
//!
//! Owns: which droplet has an agent, and what is said on the wire. Must not: know what a tool is; the [`Machine`] does. Promises: an
//! agent lives as long as its droplet is on, and has the same key when that is switched on again.

pub mod droplet;
mod obedient;
pub mod prober;

pub use droplet::Droplet;
pub use obedient::Obedient;

use agent_api::{
    AGENT_PORT, AgentKey, BackendClient, Bootstrap, EnrolRequest, EnrolResponse, HeartbeatReport, HeartbeatRequest, MasterKey,
    Problem, tls, wire::agent_path,
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing,
};
use axum_server::tls_rustls::RustlsConfig;
use model::{DesiredSet, DropletVitals, EnvironmentId, InstallationId, InstanceReport, IntentId, Stamp, tags};
use std::{
    collections::HashMap,
    future::{Future, pending},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

/// Between two looks at which droplets came and went.
const LOOK: Duration = Duration::from_millis(10);
/// Between heartbeats that nothing hastens.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// Between tries of what failed.
const RETRY: Duration = Duration::from_millis(50);

/// What all agents of an installation have in common.
#[derive(Clone)]
pub struct Installation {
    /// Whose droplets get an agent.
    pub id: InstallationId,
    /// What tokens and certificates are derived from.
    pub master_key: MasterKey,
    /// Where the control plane listens.
    pub backend_url: Url,
}

/// What an agent works on: the tools of one droplet.
pub trait Machine: Send + Sync + 'static {
    /// Takes a set, unless it holds a newer one, whose stamp it returns.
    fn take(&self, set: DesiredSet) -> Option<Stamp>;

    /// The stamp of the set that it holds, and how its tools are.
    fn report(&self) -> (Option<Stamp>, Vec<InstanceReport>);

    /// Notified when there is something new to report.
    fn changed(&self) -> &Notify;

    /// Whether its heartbeats do not get through.
    fn is_silent(&self) -> bool {
        false
    }

    /// What happens by itself.
    fn run(&self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// The machines of all droplets that are on.
pub struct Machines<M>(Arc<Mutex<HashMap<u64, Arc<M>>>>);

impl<M> Clone for Machines<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Machines<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M: Machine> Machines<M> {
    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<M>> {
        self.lock().values().cloned().collect()
    }

    /// One droplet's.
    pub fn get(&self, droplet: u64) -> Option<Arc<M>> {
        self.lock().get(&droplet).cloned()
    }

    /// Keeps an agent on every running droplet of the installation, for as long as it is polled. `make` gives the machine of a
    /// droplet that was switched on.
    pub async fn run(
        self,
        installation: Installation,
        droplets: impl Fn() -> Vec<simulator::DropletInfo>,
        make: impl Fn(u64, EnvironmentId) -> M,
    ) {
        let mut agents: HashMap<u64, AbortOnDropHandle<()>> = HashMap::new();
        // On the droplets' disks.
        let mut keys: HashMap<u64, Arc<AgentKey>> = HashMap::new();
        loop {
            let running: Vec<_> = droplets().into_iter().filter(|droplet| droplet.status == "active").collect();
            agents.retain(|id, _| running.iter().any(|droplet| droplet.id == *id));
            self.lock().retain(|id, _| agents.contains_key(id));
            for droplet in running {
                let tags = droplet.tags.iter().map(String::as_str);
                let (Some(environment), Some(intent)) = (tags::owner(tags.clone(), &installation.id), tags::intent_of(tags))
                else {
                    continue;
                };
                agents.entry(droplet.id).or_insert_with(|| {
                    let new_key = || Arc::new(AgentKey::generate().expect("there is randomness"));
                    let key = keys.entry(droplet.id).or_insert_with(new_key).clone();
                    let machine = Arc::new(make(droplet.id, environment));
                    self.lock().insert(droplet.id, Arc::clone(&machine));
                    let bootstrap = bootstrap(&installation, environment, intent);
                    AbortOnDropHandle::new(tokio::spawn(live(machine, bootstrap, key, droplet.address)))
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<M>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the droplet's user data says.
fn bootstrap(installation: &Installation, environment: EnvironmentId, intent: IntentId) -> Bootstrap {
    let authority = installation.master_key.certificate_authority().expect("the key is whole");
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

/// One agent, from its enrolment until its droplet is off.
async fn live<M: Machine>(machine: Arc<M>, bootstrap: Bootstrap, key: Arc<AgentKey>, address: Ipv4Addr) {
    let backend = BackendClient::new(&bootstrap).expect("the bootstrap is whole");
    let enrolled = loop {
        match enrol(&backend, &bootstrap, &key).await {
            Ok(enrolled) => break Arc::new(enrolled),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    let agent = Agent {
        machine: Arc::clone(&machine),
        enrolled: Arc::clone(&enrolled),
    };
    tokio::join!(
        serve(agent, &key, address),
        heartbeats(&*machine, backend, &enrolled, bootstrap.environment_id),
        machine.run()
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

/// What answers on the droplet's port.
struct Agent<M> {
    machine: Arc<M>,
    enrolled: Arc<EnrolResponse>,
}

impl<M> Clone for Agent<M> {
    fn clone(&self) -> Self {
        Self {
            machine: Arc::clone(&self.machine),
            enrolled: Arc::clone(&self.enrolled),
        }
    }
}

async fn serve<M: Machine>(agent: Agent<M>, key: &AgentKey, address: Ipv4Addr) {
    let config = tls::server_config(&agent.enrolled.certificate_pem, &key.to_pem()).expect("the certificate is the key's");
    let listener = TcpListener::bind(SocketAddr::from((address, AGENT_PORT))).expect("the droplet's address is its own");
    listener.set_nonblocking(true).expect("a socket can be set so");
    let app = Router::new()
        .route(agent_path::DESIRED_SET, routing::put(put_desired_set::<M>))
        .with_state(agent);
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config)).expect("a listener");
    server
        .serve(app.into_make_service())
        .await
        .expect("it serves until it is dropped");
}

async fn put_desired_set<M: Machine>(State(agent): State<Agent<M>>, headers: HeaderMap, Json(set): Json<DesiredSet>) -> Response {
    let presented = headers.get("authorization").map(HeaderValue::as_bytes);
    if !agent.enrolled.control_token.verify_header(presented) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match agent.machine.take(set) {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(held) => {
            let problem = Problem {
                title: "Conflict".to_owned(),
                status: 409,
                detail: String::new(),
                held: Some(held),
            };
            (StatusCode::CONFLICT, Json(problem)).into_response()
        }
    }
}

async fn heartbeats<M: Machine>(machine: &M, backend: BackendClient, enrolled: &EnrolResponse, environment: EnvironmentId) {
    let (boot_id, mut sequence) = (Uuid::new_v4(), 0);
    loop {
        sequence += 1;
        let (applied, instances) = machine.report();
        let request = HeartbeatRequest {
            environment_id: environment,
            epoch: enrolled.epoch,
            report: HeartbeatReport {
                boot_id,
                sequence,
                applied,
                agent_version: "model".to_owned(),
                vitals: DropletVitals::default(),
                instances,
            },
        };
        let wait = if machine.is_silent() {
            RETRY
        } else {
            beat(machine, &backend, enrolled, &request).await
        };
        // A change that comes meanwhile is told at once.
        let _ = tokio::time::timeout(wait, machine.changed().notified()).await;
    }
}

/// One heartbeat, and the set that its answer tells of. Returns when the next one is due.
async fn beat<M: Machine>(
    machine: &M,
    backend: &BackendClient,
    enrolled: &EnrolResponse,
    request: &HeartbeatRequest,
) -> Duration {
    let token = &enrolled.agent_token;
    match backend.heartbeat(token, request).await {
        Ok(answer) => {
            if answer.desired > request.report.applied
                && let Ok(set) = backend.desired_set(token, request.environment_id).await
            {
                machine.take(set);
            }
            HEARTBEAT
        }
        Err(_) => RETRY,
    }
}
