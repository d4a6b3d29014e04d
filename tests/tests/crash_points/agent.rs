//! Model agents: what runs on droplets whose machines are not simulated. Each speaks the agents' real HTTP API, over real TLS, and
//! has every tool running or stopped the moment it is told.

use agent_api::{
    AGENT_PORT, AgentKey, BackendClient, Bootstrap, EnrolRequest, EnrolResponse, HeartbeatReport, HeartbeatRequest, MasterKey,
    Problem, tls, wire::agent_path,
};
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing};
use axum_server::tls_rustls::RustlsConfig;
use model::{
    DesiredSet, DropletVitals, EnvironmentId, InstallationId, InstanceReport, InstanceState, Stamp, desired::RunState, tags,
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

/// How often the world is looked at for droplets that came and went.
const LOOK: Duration = Duration::from_millis(20);
/// Between heartbeats that nothing hastens.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// Between tries of what failed.
const RETRY: Duration = Duration::from_millis(50);

/// What all agents of an installation have in common.
#[derive(Clone)]
pub(crate) struct Installation {
    pub(crate) id: InstallationId,
    pub(crate) master_key: MasterKey,
    pub(crate) backend_url: Url,
}

/// Keeps an agent on every running droplet of the installation, for as long as it is polled.
pub(crate) async fn run(installation: Installation, droplets: impl Fn() -> Vec<simulator::DropletInfo>) {
    let mut agents: HashMap<u64, AbortOnDropHandle<()>> = HashMap::new();
    // On the droplets' disks.
    let mut keys: HashMap<u64, Arc<AgentKey>> = HashMap::new();
    loop {
        let running: Vec<_> = droplets().into_iter().filter(|droplet| droplet.status == "active").collect();
        agents.retain(|id, _| running.iter().any(|droplet| droplet.id == *id));
        for droplet in running {
            let tags = droplet.tags.iter().map(String::as_str);
            let (Some(environment), Some(intent)) = (tags::owner(tags.clone(), &installation.id), tags::intent_of(tags)) else {
                continue;
            };
            agents.entry(droplet.id).or_insert_with(|| {
                let key = keys
                    .entry(droplet.id)
                    .or_insert_with(|| Arc::new(AgentKey::generate().unwrap()));
                let bootstrap = bootstrap(&installation, environment, intent);
                AbortOnDropHandle::new(tokio::spawn(live(bootstrap, key.clone(), droplet.address)))
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the droplet's user data says.
fn bootstrap(installation: &Installation, environment: EnvironmentId, intent: model::IntentId) -> Bootstrap {
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

/// One agent, from its enrolment until its droplet is off.
async fn live(bootstrap: Bootstrap, key: Arc<AgentKey>, address: Ipv4Addr) {
    let backend = BackendClient::new(&bootstrap).unwrap();
    let enrolled = loop {
        match enrol(&backend, &bootstrap, &key).await {
            Ok(enrolled) => break enrolled,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    let agent = Arc::new(Agent {
        enrolled,
        held: Mutex::new(None),
        changed: Notify::new(),
    });
    tokio::join!(
        serve(agent.clone(), &key, address),
        heartbeats(agent.clone(), backend, bootstrap.environment_id)
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

struct Agent {
    enrolled: EnrolResponse,
    held: Mutex<Option<DesiredSet>>,
    changed: Notify,
}

impl Agent {
    /// Takes a set unless it holds a newer one, whose stamp it returns.
    fn take(&self, set: DesiredSet) -> Option<Stamp> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = held.as_ref().map(|held| held.stamp).filter(|held| *held > set.stamp);
        if newer.is_none() {
            *held = Some(set);
            self.changed.notify_one();
        }
        newer
    }

    fn report(&self, boot_id: Uuid, sequence: i64) -> HeartbeatReport {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = held.iter().flat_map(|set| &set.instances).map(|instance| InstanceReport {
            instance_id: instance.instance_id,
            generation: instance.generation,
            state: match instance.run {
                RunState::Running => InstanceState::Running,
                RunState::Stopped => InstanceState::Stopped,
            },
            version: (instance.run == RunState::Running).then(|| instance.version.clone()),
            image_digest: None,
            container_id: None,
            port: Some(instance.port),
            restarts: 0,
            exit_code: None,
            reason: None,
            message: None,
        });
        HeartbeatReport {
            boot_id,
            sequence,
            applied: held.as_ref().map(|set| set.stamp),
            agent_version: "model".to_owned(),
            vitals: DropletVitals::default(),
            instances: instances.collect(),
        }
    }
}

async fn serve(agent: Arc<Agent>, key: &AgentKey, address: Ipv4Addr) {
    let config = tls::server_config(&agent.enrolled.certificate_pem, &key.to_pem()).unwrap();
    let listener = TcpListener::bind(SocketAddr::from((address, AGENT_PORT))).expect("the droplet's address is its own");
    listener.set_nonblocking(true).unwrap();
    let app = Router::new()
        .route(agent_path::DESIRED_SET, routing::put(put_desired_set))
        .with_state(agent);
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config)).unwrap();
    server.serve(app.into_make_service()).await.unwrap();
}

async fn put_desired_set(
    State(agent): State<Arc<Agent>>,
    headers: axum::http::HeaderMap,
    Json(set): Json<DesiredSet>,
) -> axum::response::Response {
    let presented = headers.get("authorization").map(axum::http::HeaderValue::as_bytes);
    if !agent.enrolled.control_token.verify_header(presented) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match agent.take(set) {
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

async fn heartbeats(agent: Arc<Agent>, backend: BackendClient, environment: EnvironmentId) {
    let (boot_id, mut sequence) = (Uuid::new_v4(), 0);
    loop {
        sequence += 1;
        let request = HeartbeatRequest {
            environment_id: environment,
            epoch: agent.enrolled.epoch,
            report: agent.report(boot_id, sequence),
        };
        let token = &agent.enrolled.agent_token;
        let wait = match backend.heartbeat(token, &request).await {
            Ok(answer) if answer.desired > request.report.applied => {
                if let Ok(set) = backend.desired_set(token, environment).await {
                    agent.take(set);
                }
                HEARTBEAT
            }
            Ok(_) => HEARTBEAT,
            Err(_) => RETRY,
        };
        let _ = tokio::time::timeout(wait, agent.changed.notified()).await;
    }
}
