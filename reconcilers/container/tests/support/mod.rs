//! A droplet without the rest of the agent: the real reconciler in the real controller, against a real engine.

pub(crate) mod door;

use bollard::{Docker, models::ContainerInspectResponse, query_parameters::ListContainersOptionsBuilder};
use container_reconciler::{Config, ContainerReconciler, DesiredHandle, Endpoint, Engine, ReportBoard, labels, purge};
use futures::FutureExt;
use model::{
    ContainerSpec, DesiredInstance, DesiredSet, DropletId, EnvironmentId, InstanceId, InstanceReport, InstanceState, Stamp,
    container::{ContainerDefaults, Probe},
    desired::RunState,
};
use std::{
    collections::HashMap,
    env, fs,
    os::unix::fs::PermissionsExt,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use workbench::{Registry, images};

/// Bounds a hang; nothing is measured.
const LIMIT: Duration = Duration::from_secs(90);

const RECIPE: &str = "FROM scratch\nCOPY * /\nENTRYPOINT [\"/container-test-tool\"]\nCMD [\"serve\"]\n";

/// What all tests of this process share: the engine's address, and the packed tool in a registry.
pub(crate) struct Bench {
    pub(crate) host: String,
    pub(crate) docker: Docker,
    pub(crate) image: String,
    pub(crate) shim: PathBuf,
    _registry: Registry,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// `None` when no engine answers; the test then has nothing to say.
    async fn find() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Bench>> = Mutex::const_new(Weak::new());
        let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        if Engine::new(host.as_str()).version().await.is_err() {
            println!("skipped: no container engine answers at {host}");
            return None;
        }
        let mut shared = SHARED.lock().await;
        if let Some(bench) = shared.upgrade() {
            return Some(bench);
        }
        let bench = Arc::new(Self::set_up(host).await);
        *shared = Arc::downgrade(&bench);
        Some(bench)
    }

    async fn set_up(host: String) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let folder = tempfile::tempdir().unwrap();
        let tool = Path::new(env!("CARGO_BIN_EXE_container-test-tool"));
        let shim = folder.path().join("shim");
        fs::copy(tool, &shim).unwrap();
        for (path, mode) in [(folder.path(), 0o755), (&shim, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let engine = workbench::Engine::at(host.clone(), folder.path()).unwrap();
        let registry = Registry::start(folder.path(), 0).await.unwrap();
        let package = images::Package {
            name: "toolplane/test-tool",
            version: "1.0.0",
            recipe: RECIPE,
            binary: tool,
        };
        let image = images::pack(&engine, &registry, package).await.unwrap();
        let docker = Docker::connect_with_host(&host).unwrap().negotiate_version().await.unwrap();
        Self {
            host,
            docker,
            image,
            shim,
            _registry: registry,
            _folder: folder,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .env("DOCKER_HOST", &self.host)
            .args(["rmi", "--force", &self.image])
            .output();
    }
}

/// Runs a story on a droplet of its own, and removes whatever is left of it, however it ended.
pub(crate) async fn on_a_droplet(story: impl AsyncFnOnce(&mut Droplet)) {
    let Some(bench) = Bench::find().await else { return };
    let mut droplet = Droplet::new(bench);
    let outcome = AssertUnwindSafe(story(&mut droplet)).catch_unwind().await;
    droplet.stop().await;
    purge(&Engine::new(droplet.bench.host.as_str()), droplet.id).await.unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One droplet, its desired set, and its agent.
pub(crate) struct Droplet {
    pub(crate) id: DropletId,
    pub(crate) bench: Arc<Bench>,
    pub(crate) desired: DesiredHandle,
    pub(crate) board: ReportBoard,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
    generation: i64,
}

impl Droplet {
    fn new(bench: Arc<Bench>) -> Self {
        let [_, _, _, _, a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
        Self {
            id: DropletId(u64::from_be_bytes([0, 0, 0, 0, 1, a, b, c])),
            bench,
            desired: DesiredHandle::new(),
            board: ReportBoard::new(),
            agent: None,
            generation: 0,
        }
    }

    /// Starts the agent's reconciler on the engine at `host`, with an empty memory.
    pub(crate) fn start_at(&mut self, host: &str) {
        self.board = ReportBoard::new();
        let config = Config {
            droplet_id: self.id,
            environment_id: EnvironmentId::random(),
            shim_path: self.bench.shim.clone(),
            resync: Duration::from_secs(5),
        };
        let reconciler = ContainerReconciler::new(Engine::new(host), config, self.desired.clone(), self.board.clone());
        let wakes = reconciler.wakes();
        let controller = runtime::Controller::new(Arc::new(reconciler), runtime::Config::default()).wakes(wakes);
        let shutdown = CancellationToken::new();
        self.agent = Some((shutdown.clone(), tokio::spawn(controller.run(shutdown))));
    }

    pub(crate) fn start(&mut self) {
        let host = self.bench.host.clone();
        self.start_at(&host);
    }

    pub(crate) async fn stop(&mut self) {
        if let Some((shutdown, agent)) = self.agent.take() {
            shutdown.cancel();
            agent.await.unwrap();
        }
    }

    /// Makes these the whole desired set.
    pub(crate) fn want(&mut self, instances: &[&DesiredInstance]) {
        self.generation += 1;
        self.desired.offer(DesiredSet {
            environment_id: EnvironmentId(uuid::Uuid::nil()),
            stamp: Stamp {
                epoch: 1,
                generation: self.generation,
            },
            instances: instances.iter().map(|instance| (*instance).clone()).collect(),
        });
    }

    /// The tool's instance, serving HTTP.
    pub(crate) fn instance(&self, arguments: &[&str]) -> DesiredInstance {
        let defaults = ContainerDefaults {
            container_port: Some(8080),
            memory_mb: Some(48),
            pids: Some(32),
            stop_grace_seconds: Some(5),
            probe: Some(Probe::Http { path: "/".to_owned() }),
            arguments: Some(arguments.iter().map(|&argument| argument.to_owned()).collect()),
            environment: [("GREETING".to_owned(), "hello".to_owned())].into(),
            ..ContainerDefaults::default()
        };
        DesiredInstance {
            instance_id: InstanceId::random(),
            generation: 1,
            run: RunState::Running,
            version: "1.0.0".to_owned(),
            port: 31_000,
            container: defaults.into_spec(self.bench.image.clone()),
        }
    }

    /// Waits until the board says it.
    pub(crate) async fn until(&self, id: InstanceId, what: &str, found: impl Fn(&InstanceReport) -> bool) -> InstanceReport {
        let mut changes = self.board.changes();
        let waiting = async {
            loop {
                if let Some(report) = self.board.report(id).filter(|report| found(report)) {
                    return report;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("never {what}: {:?}", self.board.report(id)))
    }

    pub(crate) async fn until_running(&self, instance: &DesiredInstance) -> InstanceReport {
        let generation = instance.generation;
        self.until(instance.instance_id, "running", |report| {
            report.state == InstanceState::Running && report.generation == generation
        })
        .await
    }

    /// Waits until nothing is said of it any more.
    pub(crate) async fn until_forgotten(&self, id: InstanceId) {
        let mut changes = self.board.changes();
        let waiting = async {
            while self.board.report(id).is_some() {
                changes.changed().await.unwrap();
            }
        };
        timeout(LIMIT, waiting).await.unwrap();
    }

    pub(crate) fn endpoint(&self, id: InstanceId) -> Option<Endpoint> {
        self.board.endpoints().borrow().get(&id).copied()
    }

    /// `GET path` of the tool, through its endpoint.
    pub(crate) async fn get(&self, id: InstanceId, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.endpoint(id).unwrap().address;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: tool\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The ids of all containers with this droplet's label, in whatever state.
    pub(crate) async fn containers(&self) -> Vec<String> {
        let label = format!("{}={}", labels::DROPLET, self.id);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.bench.docker.list_containers(Some(options)).await.unwrap();
        listed.into_iter().filter_map(|summary| summary.id).collect()
    }

    pub(crate) async fn inspect(&self, container: &str) -> ContainerInspectResponse {
        self.bench.docker.inspect_container(container, None).await.unwrap()
    }

    pub(crate) async fn kill(&self, container: &str) {
        self.bench.docker.kill_container(container, None).await.unwrap();
    }
}

/// Another image for the same instance.
pub(crate) fn with_image(spec: &ContainerSpec, image: &str) -> ContainerSpec {
    ContainerSpec {
        image: image.to_owned(),
        ..spec.clone()
    }
}
