//! The agent with a real container engine: a tool in an image FROM scratch, reached through TLS and a token.
//!
//! Needs an engine at `DOCKER_HOST` or `/var/run/docker.sock`; says so and passes where there is none.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

mod common;

use agent_api::agent_server_name;
use common::{DTMA, Droplet, install_tls};
use model::{
    ContainerSpec, DesiredInstance, DesiredSet, InstanceId, InstanceReport, InstanceState, Stamp, container::Probe,
    desired::RunState,
};
use reqwest::{Client, StatusCode};
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path};
use tempfile::TempDir;
use uuid::Uuid;
use workbench::Engine;

/// The port of the only tool.
const PORT: u16 = 31_007;

/// An engine and an image of the tool on it.
struct Bench {
    engine: Engine,
    image: String,
    _folder: TempDir,
}

impl Bench {
    /// `None`, with a message, where no engine answers.
    async fn set_up() -> Option<Self> {
        install_tls();
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| workbench::engine::SYSTEM_SOCKET.to_owned());
        if let Err(error) = workbench::engine::ping(&host).await {
            eprintln!("SKIPPED: no container engine answers ({error}); set DOCKER_HOST");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::at(host, folder.path()).unwrap();
        let tool = Path::new(DTMA).with_file_name("examples").join("tool");
        fs::copy(tool, folder.path().join("tool")).unwrap();
        fs::write(folder.path().join("garbage"), [0x7f, b'?', 0, 0]).unwrap();
        // The image has nothing else: no libc, no /etc, no /tmp, and nobody is root.
        let recipe = "FROM scratch\nCOPY tool garbage /\nUSER 1000:1000\nENTRYPOINT [\"/tool\"]\n";
        fs::write(folder.path().join("Dockerfile"), recipe).unwrap();
        set_mode(&folder.path().join("garbage"));
        let image = format!("toolplane-test/tool:{}", Uuid::new_v4().simple());
        let context = folder.path().display().to_string();
        // Without the cache: a layer that another test's image brought may go with it in the middle of this build.
        engine
            .docker(&["build", "--quiet", "--force-rm", "--no-cache", "--tag", &image, &context])
            .await
            .unwrap();
        Some(Self {
            engine,
            image,
            _folder: folder,
        })
    }

    fn instance(&self, instance_id: InstanceId, greeting: &str) -> DesiredInstance {
        DesiredInstance {
            instance_id,
            generation: 5,
            run: RunState::Running,
            version: "1".to_owned(),
            port: PORT,
            container: ContainerSpec {
                image: self.image.clone(),
                environment: BTreeMap::from([("GREETING".to_owned(), greeting.to_owned())]),
                arguments: None,
                container_port: Some(8080),
                memory_mb: 32,
                cpu_millis: 500,
                pids: 32,
                probe: Probe::Tcp,
                stop_grace_seconds: 1,
            },
        }
    }

    /// The containers that carry this droplet's label.
    async fn containers(&self, droplet: &Droplet) -> Vec<String> {
        let label = format!("label=io.toolplane.droplet={}", droplet.id);
        let listed = self
            .engine
            .docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label])
            .await;
        listed.unwrap().lines().map(str::to_owned).collect()
    }

    /// `dtma purge`, and what is left after it.
    async fn clear(&self, droplet: &Droplet) -> Vec<String> {
        let purged = tokio::process::Command::from(droplet.command(&["purge"]))
            .output()
            .await
            .unwrap();
        assert!(purged.status.success(), "{}", String::from_utf8_lossy(&purged.stderr));
        let label = format!("label=io.toolplane.droplet={}", droplet.id);
        let networks = self
            .engine
            .docker(&["network", "ls", "--quiet", "--filter", &label])
            .await
            .unwrap();
        let mut left = self.containers(droplet).await;
        left.extend(networks.lines().map(str::to_owned));
        left
    }
}

impl Drop for Bench {
    /// The image goes, also when the test failed.
    fn drop(&mut self) {
        let remove = ["--host", self.engine.host(), "rmi", "--force", &self.image];
        let _ = std::process::Command::new("docker").args(remove).output();
    }
}

fn set_mode(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn set(droplet: &Droplet, generation: i64, instances: Vec<DesiredInstance>) -> DesiredSet {
    DesiredSet {
        environment_id: droplet.environment(),
        stamp: Stamp { epoch: 1, generation },
        instances,
    }
}

/// Puts a set, as soon as the agent takes it.
async fn put(droplet: &Droplet, set: &DesiredSet) {
    droplet
        .eventually("the agent takes the set", async || {
            droplet.client(1).put_desired_set(set).await.ok()
        })
        .await;
}

/// Waits until the agent reports this of an instance.
async fn report(droplet: &Droplet, id: InstanceId, what: &str, check: impl Fn(&InstanceReport) -> bool) -> InstanceReport {
    droplet
        .eventually(what, async || {
            droplet.client(1).tool_status(id).await.ok()?.filter(|report| check(report))
        })
        .await
}

/// A caller of tools, who trusts Toolplane's authority.
struct Caller {
    client: Client,
    base: String,
    token: String,
}

impl Caller {
    fn new(droplet: &Droplet) -> Self {
        let name = agent_server_name(droplet.environment());
        let authority = reqwest::Certificate::from_pem(droplet.backend.authority.certificate_pem().as_bytes()).unwrap();
        Self {
            client: Client::builder()
                .tls_certs_only([authority])
                .no_proxy()
                .resolve(&name, SocketAddr::new(droplet.address, PORT))
                .build()
                .unwrap(),
            base: format!("https://{name}:{PORT}"),
            token: droplet
                .backend
                .master
                .tool_token(droplet.environment(), 1)
                .expose()
                .to_owned(),
        }
    }

    async fn get(&self, path: &str) -> reqwest::Result<String> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        request.send().await?.error_for_status()?.text().await
    }
}

fn running(report: &InstanceReport) -> bool {
    report.state == InstanceState::Running
}

#[tokio::test]
async fn a_tool_from_an_empty_image_runs_and_is_reached_through_tls_and_its_token() {
    let Some(bench) = Bench::set_up().await else { return };
    let mut droplet = Droplet::new(bench.engine.host()).await;
    droplet.start_agent();
    let id = InstanceId::random();
    put(&droplet, &set(&droplet, 1, vec![bench.instance(id, "hello, tool")])).await;
    let reported = report(&droplet, id, "the tool runs", running).await;
    assert_eq!(
        (reported.generation, reported.version.as_deref(), reported.port),
        (5, Some("1"), Some(PORT))
    );

    let caller = Caller::new(&droplet);
    droplet
        .eventually("the port is open", async || caller.get("/hello").await.ok())
        .await;
    assert_eq!(caller.get("/hello").await.unwrap(), "hello, tool");

    for token in [
        "",
        "tpt_wrong",
        droplet.backend.master.control_token(droplet.environment(), 1).expose(),
    ] {
        let answer = caller
            .client
            .get(format!("{}/hello", caller.base))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{token:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
    let plain = Client::builder().no_proxy().build().unwrap();
    assert!(
        plain
            .get(format!("http://{}:{PORT}/hello", droplet.address))
            .send()
            .await
            .is_err(),
        "TLS only"
    );

    let headers = caller.get("/headers").await.unwrap();
    assert!(
        !headers.contains(&caller.token) && !headers.to_lowercase().contains("authorization"),
        "{headers}"
    );
    assert!(
        headers.contains("127.0.0.1:") && headers.starts_with("GET /headers HTTP/1.1"),
        "{headers}"
    );

    let posted = caller.client.post(format!("{}/body", caller.base)).bearer_auth(&caller.token);
    let length = posted.body(vec![b'x'; 3 << 20]).send().await.unwrap().text().await.unwrap();
    assert_eq!(length, (3 << 20).to_string());

    // The first chunk arrives while the tool still holds back the second.
    let stream = caller
        .client
        .get(format!("{}/stream", caller.base))
        .bearer_auth(&caller.token);
    let mut answer = stream.send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    assert_eq!(caller.get("/release").await.unwrap(), "released");
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "second");

    assert!(droplet.stop_agent().await.success());
    assert_eq!(bench.clear(&droplet).await, Vec::<String>::new());
}

#[tokio::test]
async fn tools_outlive_the_agent_and_go_when_they_are_not_wanted() {
    let Some(bench) = Bench::set_up().await else { return };
    let mut droplet = Droplet::new(bench.engine.host()).await;
    droplet.start_agent();
    let id = InstanceId::random();
    put(&droplet, &set(&droplet, 1, vec![bench.instance(id, "still here")])).await;
    let first = report(&droplet, id, "the tool runs", running).await.container_id;

    // 1. Neither the agent's end nor its sudden death ends the tool.
    assert!(droplet.stop_agent().await.success());
    assert_eq!(bench.containers(&droplet).await, Vec::from_iter(first.clone()));
    droplet.start_agent();
    assert_eq!(report(&droplet, id, "it is taken over", running).await.container_id, first);
    droplet.kill_agent();

    // 2. Without the control plane, the stored set is enough; a tool that was killed comes back.
    droplet.backend.go_away();
    bench.engine.docker(&["kill", first.as_ref().unwrap()]).await.unwrap();
    droplet.start_agent();
    droplet
        .eventually("it runs again", async || {
            let running = bench
                .engine
                .docker(&["ps", "--quiet", "--filter", &format!("label=io.toolplane.instance={id}")])
                .await;
            (!running.unwrap().is_empty()).then_some(())
        })
        .await;
    droplet.backend.come_back().await;

    // 3. What is no more in the set goes, and its port with it.
    let caller = Caller::new(&droplet);
    droplet
        .eventually("the port is open", async || caller.get("/hello").await.ok())
        .await;
    put(&droplet, &set(&droplet, 2, vec![])).await;
    droplet
        .eventually("it is gone", async || {
            bench.containers(&droplet).await.is_empty().then_some(())
        })
        .await;
    droplet
        .eventually("its port is closed", async || {
            tokio::net::TcpStream::connect((droplet.address, PORT))
                .await
                .is_err()
                .then_some(())
        })
        .await;
    droplet.stop_agent().await;
    assert_eq!(bench.clear(&droplet).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_shim_says_in_an_empty_image_why_a_program_does_not_start() {
    let Some(bench) = Bench::set_up().await else { return };
    let mut droplet = Droplet::new(bench.engine.host()).await;
    let shim = format!("type=bind,source={DTMA},target=/shim,readonly");
    for (program, code, words) in [
        ("/missing", "127", "dtma exec: /missing: not found"),
        ("/garbage", "126", "dtma exec: /garbage: it is there"),
    ] {
        let name = format!("toolplane-test-{}", Uuid::new_v4().simple());
        let options = [
            "run",
            "--name",
            &name,
            "--network",
            "none",
            "--read-only",
            "--mount",
            &shim,
            "--entrypoint",
            "/shim",
        ];
        let run = [&options[..], &[&bench.image, "exec", "--", program]].concat();
        let said = bench.engine.docker(&run).await.unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
        let exit = bench
            .engine
            .docker(&["inspect", "--format", "{{.State.ExitCode}}", &name])
            .await;
        bench.engine.docker(&["rm", &name]).await.unwrap();
        assert_eq!(exit.unwrap(), code);
    }
    droplet.start_agent();
    droplet
        .eventually("the agent is healthy", async || droplet.client(1).health().await.ok())
        .await;
    let version = droplet.client(1).health().await.unwrap().engine_version;
    assert!(version.is_some_and(|version| !version.is_empty()));
    assert_eq!(bench.clear(&droplet).await, Vec::<String>::new());
}
