//! One installation: a database, a DigitalOcean, a control plane, and the engine that all droplets share.

use crate::{
    binary,
    control_plane::{ControlPlane, Settings, free_address},
    eventually,
    rows::Rows,
};
use agent_api::MasterKey;
use cluster::Cluster;
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;
use workbench::{
    Engine, Registry,
    images::{self, Package},
    mcp,
};

/// What goes wrong before a story begins.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// DigitalOcean's token in every story.
const TOKEN: &str = "token-of-the-simulated-account";

/// What all stories share: an engine, a registry, and the example tool in two versions.
pub struct Stage {
    engine: Engine,
    // Ends with the stage.
    _registry: Registry,
    package: String,
    folder: TempDir,
}

impl Stage {
    /// Starts the engine and the registry and packs the example tool.
    pub async fn set() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("toolplane-e2e-").tempdir()?;
        let engine = Engine::find_or_start(&folder.path().join("engine")).await?;
        let registry = Registry::start(&folder.path().join("registry"), 0).await?;
        let tool = binary("reasoning-mcp-server");
        for version in ["1.0.0", "1.1.0"] {
            images::pack(&engine, &registry, Package::reasoning_server(&tool, version)).await?;
        }
        let package = format!("{}/{}", registry.address(), images::REASONING_SERVER);
        Ok(Self {
            engine,
            _registry: registry,
            package,
            folder,
        })
    }
}

/// One story's world. Everything in it ends with it.
pub struct World {
    /// What is in the database.
    pub rows: Rows,
    /// `toolplane serve`.
    pub control_plane: ControlPlane,
    // Declared after the control plane, so that it goes before what it works with.
    simulator: simulator::Handle,
    cluster: Option<Cluster>,
    database_url: Url,
    settings: Settings,
    address: SocketAddr,
    master_key: MasterKey,
    docker_host: String,
    package: String,
    folder: PathBuf,
}

impl World {
    /// A migrated database, a DigitalOcean account without a droplet, and a control plane that is not started yet.
    pub async fn new(stage: &Stage) -> Result<Self, Failure> {
        let folder = stage.folder.path().join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir_all(&folder)?;
        let database_url: Url = cluster::testing::database::<Failure, _>(async |url| {
            let database = schema::Database::connect(&schema::ConnectOptions::new(url.into(), None)).await?;
            database.migrate().await?;
            database.close().await;
            Ok(())
        })
        .await?
        .parse()?;
        let mut config = simulator::Config::new(TOKEN.into(), folder.join("simulator"));
        stage.engine.host().clone_into(&mut config.docker_host);
        let simulator = simulator::Simulator::start(config).await?;
        let address = free_address();
        let master_key = MasterKey::generate()?;
        let settings = settings(&database_url, simulator.base_url(), &master_key, address, stage.engine.host());
        let world = Self {
            rows: Rows::new(database_url.as_str()),
            control_plane: ControlPlane::new(settings.clone(), address, &folder),
            simulator,
            cluster: None,
            database_url,
            settings,
            address,
            master_key,
            docker_host: stage.engine.host().to_owned(),
            package: stage.package.clone(),
            folder,
        };
        world.rows.insert_catalog(&world.package).await;
        Ok(world)
    }

    /// Where this story's files and logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The control plane's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("serve.log")
    }

    /// The installation's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes a setting of a control plane that is not started yet.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings = self.settings.clone().with(name, value);
        self.control_plane = ControlPlane::new(self.settings.clone(), self.address, &self.folder);
    }

    /// Starts the control plane and waits until it takes connections.
    pub async fn start(&mut self) {
        self.control_plane.start();
        self.control_plane.ready().await;
    }

    /// Moves this story to a Postgres server that no other story shares, so that it can be restarted.
    pub async fn own_cluster(&mut self) {
        let cluster = Cluster::start(cluster::Options::default())
            .await
            .expect("a cluster of its own");
        let url = cluster.create_database("story").await.expect("a database");
        let database = schema::Database::connect(&schema::ConnectOptions::new(url.clone().into(), None))
            .await
            .expect("a connection");
        database.migrate().await.expect("migrations");
        database.close().await;
        self.cluster = Some(cluster);
        self.use_database(url.parse().expect("a URL"));
        self.rows = Rows::new(url);
        self.rows.insert_catalog(&self.package).await;
    }

    /// Kills the story's own Postgres server and starts it again.
    pub async fn restart_database(&self) {
        let cluster = self.cluster.as_ref().expect("own_cluster came first");
        cluster.kill().await;
        cluster.start_again().await.expect("the database comes back");
    }

    /// Where Postgres listens.
    pub fn database_address(&self) -> SocketAddr {
        let port = self.database_url.port().expect("the cluster names its port");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Has the control plane, and nobody else, reach the database through a proxy.
    pub fn connect_through(&mut self, proxy: SocketAddr) {
        let mut url = self.database_url.clone();
        url.set_host(Some(&proxy.ip().to_string())).expect("an address is a host");
        url.set_port(Some(proxy.port())).expect("the scheme has ports");
        self.set("TOOLPLANE_DATABASE_URL", url.as_str());
    }

    fn use_database(&mut self, url: Url) {
        self.set("TOOLPLANE_DATABASE_URL", url.as_str());
        self.database_url = url;
    }

    /// How many requests that may change something DigitalOcean was sent.
    pub fn changes(&self) -> u64 {
        self.simulator.counts().changes.values().sum()
    }

    async fn droplets_where(&self, query: &str) -> Vec<Value> {
        let url = self
            .simulator
            .base_url()
            .join(&format!("/v2/droplets?per_page=200{query}"))
            .expect("a path");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client
            .get(url)
            .bearer_auth(TOKEN)
            .send()
            .await
            .expect("the simulator answers");
        let body: Value = answer.json().await.expect("JSON");
        body["droplets"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| panic!("no droplets in {body}"))
    }

    /// Every droplet of the DigitalOcean account.
    pub async fn all_droplets(&self) -> Vec<Value> {
        self.droplets_where("").await
    }

    /// The droplets that carry the environment's tag.
    pub async fn droplets(&self, environment: &str) -> Vec<Value> {
        self.droplets_where(&format!("&tag_name=toolplane:environment:{environment}"))
            .await
    }

    /// Waits until this many droplets carry the environment's tag.
    pub async fn until_droplets(&self, environment: &str, count: usize) {
        eventually(&format!("{count} droplets of {environment}"), || async move {
            let droplets = self.droplets(environment).await;
            if droplets.len() == count { Ok(()) } else { Err(droplets) }
        })
        .await;
    }

    /// The moments at which live droplets shared an environment's tag: there must be none, ever.
    pub fn twins(&self) -> Vec<simulator::Entry> {
        self.simulator.twins(0)
    }

    /// Destroys a droplet as somebody in the web console would: no request of ours is involved.
    pub async fn destroy_behind_our_back(&self, droplet: u64) {
        let url = self
            .simulator
            .base_url()
            .join(&format!("/simulator/droplets/{droplet}/destroy"))
            .expect("a path");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client
            .post(url)
            .bearer_auth(TOKEN)
            .send()
            .await
            .expect("the simulator answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Runs the Docker command line on the shared engine; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn docker(&self, arguments: &[&str]) -> String {
        let run = tokio::process::Command::new("docker")
            .args(arguments)
            .env("DOCKER_HOST", &self.docker_host)
            .output()
            .await;
        let output = run.expect("the docker command line is installed");
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    async fn container_ids(&self, environment: &str, options: &[&str]) -> Vec<String> {
        let label = format!("label=io.toolplane.environment={environment}");
        let arguments = [&["ps", "--quiet", "--no-trunc", "--filter", &label], options].concat();
        self.docker(&arguments).await.lines().map(str::to_owned).collect()
    }

    /// The ids of the environment's running containers.
    pub async fn running_containers(&self, environment: &str) -> Vec<String> {
        self.container_ids(environment, &[]).await
    }

    /// The ids of all the environment's containers.
    pub async fn containers(&self, environment: &str) -> Vec<String> {
        self.container_ids(environment, &["--all"]).await
    }

    /// The exit codes of the environment's containers that have ended, oldest first, as the engine remembers them: a tool that
    /// was stopped gracefully has 0, one that went down with its droplet 137.
    pub async fn ends_of_containers(&self, environment: &str) -> Vec<String> {
        let label = format!("label=io.toolplane.environment={environment}");
        let filters = [
            "events",
            "--since",
            "10m",
            "--until",
            "0s",
            "--filter",
            "event=die",
            "--filter",
            &label,
        ];
        let format = ["--format", "{{.Actor.Attributes.exitCode}}"];
        self.docker(&[&filters[..], &format].concat())
            .await
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Waits until the environment has this many containers, running or not.
    pub async fn until_containers(&self, environment: &str, count: usize) {
        eventually(&format!("{count} containers of {environment}"), || async move {
            let containers = self.containers(environment).await;
            if containers.len() == count { Ok(()) } else { Err(containers) }
        })
        .await;
    }

    /// Sends one thought to an instance by MCP, through the droplet's TLS proxy; gives the answer's text.
    pub async fn think(&self, instance: &str, thought: &str) -> String {
        let row = self.rows.instance(instance).await;
        let environment = row["account_tool_environment_id"]
            .as_str()
            .expect("an environment")
            .parse()
            .expect("a UUID");
        let epoch = self.rows.environment(&format!("{environment}")).await["agent_epoch"]
            .as_i64()
            .expect("an epoch");
        let endpoint = mcp::Endpoint {
            url: row["runtime_details"]["endpoint"]
                .as_str()
                .unwrap_or_else(|| panic!("no endpoint in {row}"))
                .to_owned(),
            authority_pem: self
                .master_key
                .certificate_authority()
                .expect("an authority")
                .certificate_pem()
                .to_owned(),
            token: self.master_key.tool_token(environment, epoch).expose().into(),
        };
        let arguments = serde_json::json!({ "thought": thought });
        match mcp::call_tool(&endpoint, "think", arguments).await {
            Ok(answer) if answer.is_error != Some(true) => mcp::text(&answer),
            Ok(answer) => panic!("the tool answered with an error: {}", mcp::text(&answer)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn settings(database: &Url, digitalocean: &Url, key: &MasterKey, address: SocketAddr, docker_host: &str) -> Settings {
    use secrecy::ExposeSecret;
    Settings(vec![
        ("TOOLPLANE_DATABASE_URL", database.to_string()),
        ("TOOLPLANE_DIGITALOCEAN_URL", digitalocean.to_string()),
        ("TOOLPLANE_DIGITALOCEAN_TOKEN", TOKEN.to_owned()),
        ("TOOLPLANE_MASTER_KEY", key.to_hex().expose_secret().to_owned()),
        ("TOOLPLANE_INSTALLATION", "story".to_owned()),
        ("TOOLPLANE_LISTEN", address.to_string()),
        ("TOOLPLANE_PUBLIC_URL", format!("https://{address}")),
        ("TOOLPLANE_AGENT_BINARY", binary("dtma").display().to_string()),
        ("TOOLPLANE_BACKEND_CIDRS", "127.0.0.0/8".to_owned()),
        ("TOOLPLANE_RESYNC_SECONDS", "60".to_owned()),
        ("TOOLPLANE_LEASE_SECONDS", "2".to_owned()),
        ("TOOLPLANE_LAG_WINDOW_SECONDS", "4".to_owned()),
        ("TOOLPLANE_FLEET_SWEEP_SECONDS", "1".to_owned()),
        ("TOOLPLANE_HEARTBEAT_SECONDS", "1".to_owned()),
        ("TOOLPLANE_STOP_DEADLINE_SECONDS", "30".to_owned()),
        ("DOCKER_HOST", docker_host.to_owned()),
        ("TOOLPLANE_LOG", "info".to_owned()),
    ])
}
