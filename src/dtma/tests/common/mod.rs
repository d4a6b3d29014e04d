//! A droplet for tests: the real agent as a process on a loopback address of its own, a metadata service, and a control plane that
//! speaks the real protocol over real TLS and does as it is told.

#![allow(clippy::unwrap_used, dead_code)] // clippy takes only functions marked `#[test]` for tests; not every file uses all

mod backend;

pub(crate) use backend::Backend;

use agent_api::{AGENT_PORT, AgentClient, Bootstrap};
use axum::{Router, routing};
use effects::Effects;
use model::{DropletId, EnvironmentId, IntentId};
use nix::sys::signal::Signal;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use uuid::Uuid;
use workbench::Child;

/// Only bounds a hang.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const DTMA: &str = env!("CARGO_BIN_EXE_dtma");

/// An engine that is not there.
pub(crate) const NO_ENGINE: &str = "unix:///nowhere/docker.sock";

pub(crate) struct Droplet {
    pub(crate) backend: Backend,
    pub(crate) id: DropletId,
    pub(crate) address: IpAddr,
    pub(crate) folder: TempDir,
    docker_host: String,
    metadata: SocketAddr,
    agent: Option<Child>,
}

/// Once in a process; another test may have been first.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl Droplet {
    /// A droplet that was not booted yet.
    pub(crate) async fn new(docker_host: &str) -> Self {
        install_tls();
        let random = Uuid::new_v4().into_bytes();
        // The engine may be shared with others: the id has to be nobody else's.
        let id = DropletId(u64::from_le_bytes(random[..8].try_into().unwrap()) >> 16);
        let backend = Backend::start().await;
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = Bootstrap {
            environment_id: backend.environment,
            intent_id: backend.intent,
            backend_url: backend.url().parse().unwrap(),
            backend_ca_pem: backend.authority.certificate_pem().to_owned(),
            enrolment_token: backend.master.enrolment_token(backend.environment, backend.intent),
            agent_url: backend.url().parse().unwrap(),
            agent_sha256: "0".repeat(64),
        };
        fs::write(folder.path().join("agent.json"), serde_json::to_vec(&bootstrap).unwrap()).unwrap();
        Self {
            backend,
            id,
            address: Ipv4Addr::new(127, 1 + random[8] % 200, random[9], 2 + random[10] % 250).into(),
            folder,
            docker_host: docker_host.to_owned(),
            metadata: metadata(id).await,
            agent: None,
        }
    }

    pub(crate) fn environment(&self) -> EnvironmentId {
        self.backend.environment
    }

    pub(crate) fn intent(&self) -> IntentId {
        self.backend.intent
    }

    pub(crate) fn state(&self, file: &str) -> PathBuf {
        self.folder.path().join("state").join(file)
    }

    /// `dtma` as on this droplet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DTMA);
        command
            .args(arguments)
            .env("DTMA_CONFIG", self.folder.path().join("agent.json"))
            .env("DTMA_STATE_DIR", self.folder.path().join("state"))
            .env("DTMA_LISTEN", self.address.to_string())
            .env("DTMA_METADATA_URL", format!("http://{}/metadata/v1", self.metadata))
            .env("DOCKER_HOST", &self.docker_host);
        command
    }

    pub(crate) fn start_agent(&mut self) {
        self.start(&self.command(&["run"]));
    }

    /// Starts the agent by a command that was changed.
    pub(crate) fn start(&mut self, command: &Command) {
        let log = self.folder.path().join("log");
        self.agent = Some(Child::spawn("dtma", command, &log).unwrap());
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop_agent(&mut self) -> ExitStatus {
        let mut agent = self.agent.take().unwrap();
        agent.stop(PATIENCE).await.unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    pub(crate) fn signal_agent(&self, signal: Signal) {
        self.agent.as_ref().unwrap().signal(signal);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The control plane's view of the agent, with a token of this epoch.
    pub(crate) fn client(&self, epoch: i64) -> AgentClient {
        let token = self.backend.master.control_token(self.environment(), epoch);
        let address = SocketAddr::new(self.address, AGENT_PORT);
        AgentClient::new(
            &self.backend.authority,
            self.environment(),
            address,
            token,
            Effects::default(),
        )
        .unwrap()
    }

    /// Waits for `look` to find something.
    pub(crate) async fn eventually<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; the agent's log:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

impl Drop for Droplet {
    /// Leaves nothing behind on the engine, also when the test failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        self.agent = None;
        if self.docker_host != NO_ENGINE {
            let _ = self.command(&["purge", "--droplet", &self.id.to_string()]).output();
        }
    }
}

async fn metadata(id: DropletId) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/metadata/v1/id", routing::get(async move || id.to_string()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}
