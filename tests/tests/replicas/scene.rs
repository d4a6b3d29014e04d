//! One database, one DigitalOcean, and any number of `toolplane serve` over both, each a process with a login of its own.

use crate::audit;
use agent_api::MasterKey;
use cluster::Cluster;
use e2e::{
    binary,
    control_plane::{Settings, free_address},
    eventually,
    sql::Sql,
};
use nix::sys::signal::Signal;
use secrecy::ExposeSecret;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use url::Url;
use workbench::Child;

const TOKEN: &str = "token-of-the-simulated-account";
/// In seconds; renewed at a third of it.
pub(crate) const LEASE: u64 = 3;

/// A process of `toolplane serve`.
pub(crate) struct Replica {
    pub(crate) login: String,
    process: Child,
}

impl Replica {
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it is one of the replicas.
    async fn ready(&mut self, sql: &Sql) {
        let query = format!("select count(*) from audit.ticks where login = '{}'", self.login);
        let renews = || async { sql.must(&query).await != "0" };
        if let Err(error) = self.process.wait_until(e2e::wait::PATIENCE, renews).await {
            panic!("{error}");
        }
    }
}

/// A database that takes no writes to environments.
pub(crate) struct Stall {
    sql: Sql,
    script: tokio::task::JoinHandle<String>,
}

impl Stall {
    /// Lets through what has waited.
    pub(crate) async fn end(self) {
        self.sql.must("insert into audit.gate default values").await;
        self.script.await.expect("the script ends");
    }
}

/// Everything.
pub(crate) struct Scene {
    pub(crate) sql: Sql,
    pub(crate) simulator: simulator::Handle,
    cluster: Cluster,
    url: Url,
    master_key: MasterKey,
    started: usize,
    folder: TempDir,
}

impl Scene {
    /// So many environments, none of which has a droplet yet.
    pub(crate) async fn with_environments(count: usize) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("toolplane-replicas-")
            .tempdir()
            .expect("a folder");
        let cluster = Cluster::start(cluster::Options::default()).await.expect("a cluster");
        let url = cluster.create_database("replicas").await.expect("a database");
        let options = schema::ConnectOptions::new(url.clone().into(), None);
        let database = schema::Database::connect(&options).await.expect("a connection");
        database.migrate().await.expect("migrations");
        database.close().await;
        let sql = Sql::new(url.as_str());
        sql.must(&format!(
            "with users as (insert into auth.users select from generate_series(1, {count}) returning id)
            insert into account_tool_environments (user_id, region_slug, size_slug, image_slug)
            select id, 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64' from users"
        ))
        .await;
        audit::install(&sql).await;
        Self {
            sql,
            simulator: simulator(folder.path()).await,
            cluster,
            url: url.parse().expect("a URL"),
            master_key: MasterKey::generate().expect("random bytes"),
            started: 0,
            folder,
        }
    }

    /// One more process.
    pub(crate) async fn replica(&mut self) -> Replica {
        self.started += 1;
        let login = format!("replica_{}", self.started);
        audit::login(&self.sql, &login).await;
        let address = free_address();
        let command = self.settings(&login, address).command(&["serve"]);
        let process = Child::spawn("toolplane serve", &command, &self.log(&login)).expect("toolplane can be started");
        let mut replica = Replica { login, process };
        replica.ready(&self.sql).await;
        replica
    }

    pub(crate) fn log(&self, login: &str) -> PathBuf {
        self.folder.path().join(format!("{login}.log"))
    }

    /// Kills Postgres and starts it again.
    pub(crate) async fn restart_database(&self) {
        self.cluster.kill().await;
        self.cluster.start_again().await.expect("the database comes back");
    }

    fn settings(&self, login: &str, address: SocketAddr) -> Settings {
        let mut url = self.url.clone();
        url.set_username(login).expect("the scheme has users");
        url.set_password(Some(login)).expect("the scheme has passwords");
        Settings(vec![
            ("TOOLPLANE_DATABASE_URL", url.to_string()),
            ("TOOLPLANE_DIGITALOCEAN_URL", self.simulator.base_url().to_string()),
            ("TOOLPLANE_DIGITALOCEAN_TOKEN", TOKEN.to_owned()),
            ("TOOLPLANE_MASTER_KEY", self.master_key.to_hex().expose_secret().to_owned()),
            ("TOOLPLANE_INSTALLATION", "replicas".to_owned()),
            ("TOOLPLANE_LISTEN", address.to_string()),
            ("TOOLPLANE_PUBLIC_URL", format!("https://{address}")),
            ("TOOLPLANE_AGENT_BINARY", binary("dtma").display().to_string()),
            ("TOOLPLANE_BACKEND_CIDRS", "127.0.0.0/8".to_owned()),
            ("TOOLPLANE_RESYNC_SECONDS", "20".to_owned()),
            ("TOOLPLANE_LEASE_SECONDS", LEASE.to_string()),
            ("TOOLPLANE_LAG_WINDOW_SECONDS", "6".to_owned()),
            ("TOOLPLANE_FLEET_SWEEP_SECONDS", "1".to_owned()),
            // No droplet has an agent here.
            ("TOOLPLANE_LAUNCH_DEADLINE_SECONDS", "3600".to_owned()),
            ("TOOLPLANE_LOG", "info".to_owned()),
        ])
    }

    /// Each environment's droplets, by what their tags say.
    pub(crate) fn droplets(&self) -> BTreeMap<String, Vec<u64>> {
        let mut droplets: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for droplet in self.simulator.droplets() {
            let tag = droplet.tags.iter().find_map(|tag| tag.strip_prefix("toolplane:environment:"));
            droplets
                .entry(tag.unwrap_or("nobody").to_owned())
                .or_default()
                .push(droplet.id);
        }
        droplets
    }

    /// The environments, each with the droplet that its row names.
    async fn recorded(&self) -> BTreeMap<String, Vec<u64>> {
        let rows = self
            .sql
            .must("select id, coalesce(do_droplet_id, 0) from account_tool_environments")
            .await;
        let row = |line: &str| {
            let (id, droplet) = line.split_once('|').expect("two columns");
            (id.to_owned(), vec![droplet.parse().expect("a number")])
        };
        rows.lines().map(row).collect()
    }

    /// Waits until every environment has exactly the droplet that its row names, and there is no other.
    pub(crate) async fn converged(&self) {
        eventually("exactly one droplet for each environment", || async {
            // Who waits long after the faults of the storm is told that it is over.
            self.sql
                .must("select pg_notify('toolplane', 'environment ' || id) from account_tool_environments where do_droplet_id is null")
                .await;
            let (there, recorded) = (self.droplets(), self.recorded().await);
            if there == recorded {
                return Ok(());
            }
            let missing = recorded.iter().filter(|(id, droplet)| there.get(*id) != Some(droplet)).count();
            let extra: usize = there.values().map(|droplets| droplets.len() - 1).sum();
            Err(format!("{missing} without theirs, {extra} too many"))
        })
        .await;
    }

    /// Waits until each row's status speaks of its latest specification.
    pub(crate) async fn observed(&self) {
        eventually("every status to speak of its row", || async {
            let behind = self
                .sql
                .must("select count(*) from account_tool_environments where observed_generation <> generation")
                .await;
            if behind == "0" { Ok(()) } else { Err(behind) }
        })
        .await;
    }

    /// Waits until every lease of a process has expired or is somebody else's.
    pub(crate) async fn nothing_held_by(&self, replica: &Replica) {
        let query = format!(
            "select count(*) from leases join audit.tenures using (shard, epoch, holder)
            where login = '{}'",
            replica.login
        );
        eventually("its leases to be somebody else's", || async {
            let held = self.sql.must(&query).await;
            if held == "0" { Ok(()) } else { Err(held) }
        })
        .await;
    }

    /// Has every environment be written to by its replica, and lets none of these writes through.
    pub(crate) fn stall(&self) -> Stall {
        let sql = self.sql.clone();
        let script = "begin; update account_tool_environments set paused = not paused; commit;
            begin; lock table account_tool_environments in share row exclusive mode;
            do $$ begin
                while not exists (select from audit.gate) loop perform pg_sleep(0.05); end loop;
                delete from audit.gate;
            end $$;
            commit";
        Stall {
            sql: self.sql.clone(),
            script: tokio::spawn(async move { sql.must(script).await }),
        }
    }

    /// Waits until these work on all shards, each on about as many as the others.
    pub(crate) async fn shared_by(&self, replicas: &[Replica]) {
        let shares: Vec<usize> = (0..replicas.len()).map(|place| (64 + place) / replicas.len()).collect();
        let logins: Vec<String> = replicas.iter().map(|replica| format!("'{}'", replica.login)).collect();
        let query = format!(
            "select count(*) from leases join audit.tenures using (shard, epoch, holder)
            where expires_at > clock_timestamp() and login in ({}) group by login order by 1",
            logins.join(", ")
        );
        eventually("equal shares", || async {
            let held = self.sql.must(&query).await;
            let held: Vec<usize> = held.lines().map(|count| count.parse().expect("a number")).collect();
            if held == shares { Ok(()) } else { Err(held) }
        })
        .await;
    }
}

async fn simulator(folder: &Path) -> simulator::Handle {
    let mut config = simulator::Config::new(TOKEN.into(), folder.join("simulator"));
    config.settings.boot_agents = false;
    config.settings.boot_ms = 200;
    config.settings.list_lag_ms = 300;
    // Not what this is about.
    config.settings.requests_per_minute = 1_000_000;
    config.settings.requests_per_hour = 20_000_000;
    simulator::Simulator::start(config).await.expect("a simulator")
}
