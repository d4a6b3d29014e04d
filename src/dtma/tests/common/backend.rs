//! The control plane, as far as an agent can see it.

use agent_api::{
    CertificateAuthority, EnrolRequest, EnrolResponse, HeartbeatAnswer, HeartbeatRequest, MasterKey, enrolment, tls,
    wire::backend_path::{DESIRED_SET, ENROL, HEARTBEAT},
};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    routing,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use jiff::Timestamp;
use model::{DesiredSet, EnvironmentId, IntentId};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
};

/// What it knows and was told.
pub(crate) struct Ledger {
    /// The epoch whose tokens are given out and taken.
    pub(crate) epoch: i64,
    /// The key that enrolled first; no other is taken.
    pub(crate) key: Option<String>,
    pub(crate) enrolments: usize,
    pub(crate) heartbeats: Vec<HeartbeatRequest>,
    pub(crate) desired: Option<DesiredSet>,
    pub(crate) heartbeat_seconds: u32,
}

#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) master: MasterKey,
    pub(crate) authority: CertificateAuthority,
    pub(crate) environment: EnvironmentId,
    pub(crate) intent: IntentId,
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    handle: Arc<Mutex<Option<Handle<SocketAddr>>>>,
}

impl Backend {
    /// Serves on a free port.
    pub(crate) async fn start() -> Self {
        let master = MasterKey::generate().unwrap();
        let backend = Self {
            authority: master.certificate_authority().unwrap(),
            master,
            environment: EnvironmentId::random(),
            intent: IntentId::random(),
            address: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
            ledger: Arc::new(Mutex::new(Ledger {
                epoch: 1,
                key: None,
                enrolments: 0,
                heartbeats: Vec::new(),
                desired: None,
                heartbeat_seconds: 1,
            })),
            handle: Arc::default(),
        };
        backend.come_back().await;
        backend
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Stops serving; connections break off.
    pub(crate) fn go_away(&self) {
        self.handle.lock().unwrap().take().unwrap().shutdown();
    }

    /// Serves again, at the same address.
    pub(crate) async fn come_back(&self) {
        let server = self.authority.issue_server(&["127.0.0.1".to_owned()]).unwrap();
        let config = RustlsConfig::from_config(tls::server_config(&server.chain_pem, &server.key_pem).unwrap());
        let app = Router::new()
            .route(ENROL, routing::post(enrol))
            .route(HEARTBEAT, routing::post(heartbeat))
            .route(DESIRED_SET, routing::get(desired_set))
            .with_state(self.clone());
        let handle = Handle::new();
        let server = axum_server::bind_rustls(self.address, config).handle(handle.clone());
        tokio::spawn(server.serve(app.into_make_service()));
        assert!(handle.listening().await.is_some(), "{} is taken", self.address);
        *self.handle.lock().unwrap() = Some(handle);
    }

    fn admits(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let token = self.master.agent_token(self.environment, self.ledger().epoch);
        let presented = headers.get(header::AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        token.verify_header(presented).then_some(()).ok_or(StatusCode::UNAUTHORIZED)
    }
}

async fn enrol(State(backend): State<Backend>, Json(request): Json<EnrolRequest>) -> Result<Json<EnrolResponse>, StatusCode> {
    let applicant = enrolment::verify(&request, &backend.master).map_err(|_| StatusCode::FORBIDDEN)?;
    let (epoch, seconds) = {
        let mut ledger = backend.ledger();
        let first = ledger.key.get_or_insert_with(|| applicant.key_sha256.clone());
        if *first != applicant.key_sha256 {
            return Err(StatusCode::FORBIDDEN);
        }
        ledger.enrolments += 1;
        (ledger.epoch, ledger.heartbeat_seconds)
    };
    enrolment::admit(&applicant, &backend.master, &backend.authority, None, epoch, seconds)
        .map(Json)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn heartbeat(
    State(backend): State<Backend>,
    headers: HeaderMap,
    Json(request): Json<HeartbeatRequest>,
) -> Result<Json<HeartbeatAnswer>, StatusCode> {
    backend.admits(&headers)?;
    let mut ledger = backend.ledger();
    ledger.heartbeats.push(request);
    Ok(Json(HeartbeatAnswer {
        received_at: Timestamp::now(),
        next_seconds: ledger.heartbeat_seconds,
        desired: ledger.desired.as_ref().map(|set| set.stamp),
        epoch: ledger.epoch,
    }))
}

async fn desired_set(
    State(backend): State<Backend>,
    headers: HeaderMap,
    Path(environment): Path<EnvironmentId>,
) -> Result<Json<DesiredSet>, StatusCode> {
    backend.admits(&headers)?;
    let set = backend
        .ledger()
        .desired
        .clone()
        .filter(|set| set.environment_id == environment);
    set.map(Json).ok_or(StatusCode::NOT_FOUND)
}
