//! The parts, each as it would be in production, and in the order in which they come and go.

use super::{folder::Folder, progress::Progress};
use agent_api::MasterKey;
use cluster::Cluster;
use miette::{IntoDiagnostic, WrapErr};
use model::EnvironmentId;
use schema::{ConnectOptions, Database, Role};
use secrecy::SecretString;
use simulator::Simulator;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use workbench::{Child, Engine, Janitor, Registry, images, registry::free_address};

/// The versions of the example tool that are packed.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// The database's name.
const DATABASE: &str = "toolplane";

/// Where `serve` would listen unless told otherwise; anywhere else when that is taken.
const PREFERRED_PORT: u16 = 8443;
const PREFERRED_DASHBOARD_PORT: u16 = 8080;
const PREFERRED_REGISTRY_PORT: u16 = 5000;

/// Everything that runs. A part that is not there yet, or not any more, is `None`. Dropped, they end from the first field to the
/// last; [`Parts::end`] does it gently.
#[derive(Debug)]
pub(super) struct Parts {
    control_plane: Option<Child>,
    simulator: Option<simulator::Handle>,
    /// For what is left on an engine that is not ours.
    janitors: Vec<Janitor>,
    registry: Option<Registry>,
    database: Option<Database>,
    cluster: Option<Cluster>,
    engine: Option<Engine>,
    master_key: MasterKey,
    database_file: PathBuf,
    /// This very program; known from the start, since a build may replace it meanwhile.
    program: PathBuf,
    dashboard: Option<SocketAddr>,
    folder: Folder,
}

impl Parts {
    pub(super) fn new(folder: Folder) -> miette::Result<Self> {
        let master_key = MasterKey::generate().into_diagnostic()?;
        Ok(Self {
            control_plane: None,
            simulator: None,
            janitors: Vec::new(),
            registry: None,
            database: None,
            cluster: None,
            engine: None,
            master_key,
            database_file: PathBuf::new(),
            program: std::env::current_exe().into_diagnostic()?,
            dashboard: None,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn master_key(&self) -> &MasterKey {
        &self.master_key
    }

    /// The file with the database's address.
    pub(super) fn database_file(&self) -> &PathBuf {
        &self.database_file
    }

    /// The settings that the control plane runs with.
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.path().join("toolplane.toml")
    }

    /// This program's path.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn dashboard(&self) -> Option<SocketAddr> {
        self.dashboard
    }

    pub(super) fn engine(&self) -> miette::Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| missing("engine"))
    }

    pub(super) fn database(&self) -> miette::Result<&Database> {
        self.database.as_ref().ok_or_else(|| missing("database"))
    }

    /// Runs a statement with psql; gives its answer.
    pub(super) async fn sql(&self, statement: &str) -> miette::Result<String> {
        let cluster = self.cluster.as_ref().ok_or_else(|| missing("database"))?;
        cluster.sql(DATABASE, statement).await.into_diagnostic()
    }

    /// `127.0.0.1:5000`
    pub(super) fn registry_address(&self) -> miette::Result<SocketAddr> {
        self.registry
            .as_ref()
            .map(Registry::address)
            .ok_or_else(|| missing("registry"))
    }

    /// Starts everything, the control plane last.
    pub(super) async fn start(&mut self, progress: &Progress) -> miette::Result<()> {
        let tool = binary("reasoning-mcp-server")?;
        let agent = binary("dtma")?;
        self.start_database(progress).await?;
        self.start_engine(progress).await?;
        self.pack(progress, &tool).await?;
        self.start_simulator(progress).await?;
        self.start_control_plane(progress, &agent).await
    }

    async fn start_database(&mut self, progress: &Progress) -> miette::Result<()> {
        let step = progress.step("PostgreSQL");
        step.waiting("a private cluster to be made and started");
        let cluster = Cluster::start(cluster::Options::default())
            .await
            .into_diagnostic()
            .wrap_err("PostgreSQL does not start")?;
        let url = cluster
            .create_database(DATABASE)
            .await
            .into_diagnostic()
            .wrap_err("no database could be made")?;
        self.cluster = Some(cluster);
        let url = SecretString::from(url);
        self.database_file = self.folder.keep_secret("database-url", &url)?;
        step.waiting("migrations");
        let owner = Database::connect(&ConnectOptions::new(url.clone(), None))
            .await
            .into_diagnostic()?;
        let applied = owner.migrate().await.into_diagnostic().wrap_err("the migration failed")?;
        owner.close().await;
        let database = Database::connect(&ConnectOptions::new(url, Some(Role::Service)))
            .await
            .into_diagnostic()?;
        self.database = Some(database);
        step.done(&format!("private, {} migrations applied", applied.len()));
        Ok(())
    }

    async fn start_engine(&mut self, progress: &Progress) -> miette::Result<()> {
        let step = progress.step("container engine");
        step.waiting("an engine to answer");
        let engine = Engine::find_or_start(self.folder.path()).await.into_diagnostic()?;
        let kind = if engine.is_private() { "private" } else { "yours" };
        step.done(&format!("{kind}, {}", engine.host()));
        self.engine = Some(engine);
        let step = progress.step("image registry");
        let registry = Registry::start(self.folder.path(), PREFERRED_REGISTRY_PORT)
            .await
            .into_diagnostic()?;
        step.done(&registry.address().to_string());
        self.registry = Some(registry);
        Ok(())
    }

    async fn pack(&mut self, progress: &Progress, tool: &Path) -> miette::Result<()> {
        let step = progress.step("example tool");
        let registry = self.registry.as_ref().ok_or_else(|| missing("registry"))?;
        let engine = self.engine()?;
        let janitor = (!engine.is_private())
            .then(|| Janitor::of_image(engine, &format!("{}/{}", registry.address(), images::REASONING_SERVER)))
            .transpose()
            .into_diagnostic()?;
        for version in VERSIONS {
            step.waiting(&format!("version {version} to be packed FROM scratch and pushed"));
            let image = images::pack_reasoning_server(engine, registry, tool, version).await;
            image.into_diagnostic().wrap_err("the example tool could not be packed")?;
        }
        self.janitors.extend(janitor);
        step.done(&format!(
            "reasoning-mcp-server {} packed from scratch and pushed",
            VERSIONS.join(" and ")
        ));
        Ok(())
    }

    async fn start_simulator(&mut self, progress: &Progress) -> miette::Result<()> {
        let step = progress.step("simulated DigitalOcean");
        let token = SecretString::from(format!("dop_v1_{}", uuid::Uuid::new_v4().simple()));
        self.folder.keep_secret("digitalocean-token", &token)?;
        let mut config = simulator::Config::new(token, self.folder.path().join("simulator"));
        self.engine()?.host().clone_into(&mut config.docker_host);
        let simulator = Simulator::start(config).await.into_diagnostic()?;
        step.done(simulator.base_url().as_str());
        self.simulator = Some(simulator);
        Ok(())
    }

    /// `toolplane serve` with the file that the tour tells people to use, and nothing of ours but the path.
    async fn start_control_plane(&mut self, progress: &Progress, agent: &Path) -> miette::Result<()> {
        let step = progress.step("control plane");
        let address = |port| free_address(port).into_diagnostic().wrap_err("no loopback port is free");
        let (listen, dashboard) = (address(PREFERRED_PORT)?, address(PREFERRED_DASHBOARD_PORT)?);
        self.write_configuration(listen, dashboard, agent)?;
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--log-format", "pretty", "--config"])
            .arg(self.configuration())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        step.waiting("`toolplane serve` to listen");
        let mut child = Child::spawn("toolplane serve", &command, &self.folder.log("serve")).into_diagnostic()?;
        let listens = || async move { tokio::net::TcpStream::connect(listen).await.is_ok() };
        child.wait_until(Duration::from_mins(1), listens).await.into_diagnostic()?;
        self.control_plane = Some(child);
        self.dashboard = Some(dashboard);
        step.done(&format!("https://{listen}, dashboard http://{dashboard}"));
        Ok(())
    }

    fn write_configuration(&self, listen: SocketAddr, dashboard: SocketAddr, agent: &Path) -> miette::Result<()> {
        let simulator = self.simulator.as_ref().ok_or_else(|| missing("simulator"))?;
        self.folder.keep_secret("master-key", &self.master_key.to_hex())?;
        let secrets = self.folder.path().join("secrets");
        let settings = [
            ("database_url_file", secrets.join("database-url").display().to_string()),
            (
                "digitalocean_token_file",
                secrets.join("digitalocean-token").display().to_string(),
            ),
            ("master_key_file", secrets.join("master-key").display().to_string()),
            ("digitalocean_url", simulator.base_url().to_string()),
            ("installation", "demo".to_owned()),
            ("listen", listen.to_string()),
            ("dashboard_listen", dashboard.to_string()),
            ("agent_binary", agent.display().to_string()),
            ("backend_cidrs", "127.0.0.0/8".to_owned()),
            ("heartbeat_seconds", "2".to_owned()),
            ("fleet_sweep_seconds", "5".to_owned()),
            ("lease_seconds", "5".to_owned()),
        ];
        // A JSON string is a TOML string.
        let lines = settings.map(|(name, value)| format!("{name} = {}\n", serde_json::Value::from(value)));
        let path = self.configuration();
        std::fs::write(&path, lines.concat())
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot write {}", path.display()))
    }

    /// From now on, what this environment's droplet leaves on an engine that is not ours is removed even if we are killed.
    pub(super) fn watch_over(&mut self, environment: EnvironmentId) -> miette::Result<()> {
        let engine = self.engine()?;
        if !engine.is_private() {
            let label = format!("io.toolplane.environment={environment}");
            let janitor = Janitor::of_label(engine, &label).into_diagnostic()?;
            // Containers go before their images.
            self.janitors.insert(0, janitor);
        }
        Ok(())
    }

    /// Fails when the control plane has ended by itself.
    pub(super) fn check(&mut self) -> miette::Result<()> {
        match &mut self.control_plane {
            Some(child) => child.check().into_diagnostic(),
            None => Err(missing("control plane")),
        }
    }

    /// Ends when a part does that should not.
    pub(super) async fn watch(&mut self) -> miette::Report {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Ends everything, the control plane first, and removes what was made but for the logs.
    pub(super) async fn end(mut self, progress: &Progress) {
        let step = progress.step("ending");
        if let Some(mut child) = self.control_plane.take() {
            step.waiting("the control plane");
            child.stop(Duration::from_secs(20)).await;
        }
        if let Some(simulator) = self.simulator.take() {
            step.waiting("droplets and their containers");
            simulator.shutdown().await;
        }
        self.janitors.clear();
        step.waiting("registry, engine, database");
        self.registry.take();
        if let Some(database) = self.database.take() {
            database.close().await;
        }
        self.engine.take();
        self.cluster.take();
        self.folder.clear();
        step.done(&format!("nothing is left but the logs in {}", self.folder.logs().display()));
    }
}

/// A program that is built together with this one.
fn binary(name: &str) -> miette::Result<PathBuf> {
    let us = std::env::current_exe().into_diagnostic()?;
    let path = us.parent().map(|folder| folder.join(name)).unwrap_or_default();
    if path.is_file() {
        return Ok(path);
    }
    Err(miette::miette!(
        help = "`cargo build --workspace --bins` builds all programs into one folder",
        "{} is missing: the demo needs it beside toolplane",
        path.display()
    ))
}

fn missing(part: &str) -> miette::Report {
    miette::miette!("the {part} is not running")
}
