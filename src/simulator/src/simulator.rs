//! Starting and stopping.

use crate::{
    api,
    cloud::Cloud,
    config::{Config, Dial, Settings},
    control::{self, DropletInfo},
    fault::{FaultRule, Storm},
    journal::{Counts, Entry, Touched, What},
    machine::{self, Machines},
    metadata,
    server::{self, Wire},
    world::{
        World,
        firewall::{Connection, Passage},
    },
};
use axum::Router;
use rand::Rng;
use std::{
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpListener;
use url::Url;

/// How long a stop waits for answers that are being written.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its droplets run what their user data says, so nobody else may reach it.
    #[error("listen: {0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("listen: {address} cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error("state-dir: {path} cannot be used")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another simulator has its droplets in the state folder.
    #[error("state-dir: {0} is in use by another simulator")]
    StateDirInUse(PathBuf),
}

/// The way in.
#[derive(Debug)]
pub struct Simulator;

/// A running simulator. Dropped, it stops at once and its agents are killed; [`Handle::shutdown`] also purges containers.
#[derive(Debug)]
pub struct Handle {
    pub(crate) cloud: Arc<Cloud>,
    base_url: Url,
    tls_url: Option<Url>,
    /// Locked as long as this simulator runs.
    _lock: File,
}

impl Simulator {
    /// Starts a simulator: clears what an earlier one left, then listens.
    pub async fn start(mut config: Config) -> Result<Handle, Error> {
        let lock = claim(&mut config)?;
        machine::clear_leftovers(&config.state_dir).await;
        let (listener, address) = listen(config.listen).await?;
        let tls = match config.tls_listen {
            Some(wanted) => Some(listen_tls(wanted, &config).await?),
            None => None,
        };
        let cloud = Arc::new(cloud_of(config, address));
        let app = Router::new()
            .merge(control::routes())
            .merge(metadata::routes())
            .merge(api::routes(&cloud))
            .with_state(Arc::clone(&cloud));
        let serve = |listener, wire| server::serve(listener, wire, app.clone(), cloud.stop.clone(), cloud.tasks.clone());
        cloud.tasks.spawn(serve(listener, Wire::Plain));
        let mut tls_url = None;
        if let Some((listener, address, wire)) = tls {
            cloud.tasks.spawn(serve(listener, wire));
            tls_url = Some(base_url("https", address));
        }
        Ok(Handle {
            cloud,
            base_url: base_url("http", address),
            tls_url,
            _lock: lock,
        })
    }
}

fn cloud_of(config: Config, address: SocketAddr) -> Cloud {
    let settings = Dial::new(config.settings);
    let first = config
        .first_droplet_id
        .unwrap_or_else(|| rand::rng().random_range(300_000_000..600_000_000));
    let world = World::new(settings.clone(), first);
    let machines = Machines::new(&config.state_dir, &config.docker_host, settings.clone());
    Cloud::new(config, address, settings, world, machines)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let unusable = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    Ok((listener, address))
}

async fn listen_tls(address: SocketAddr, config: &Config) -> Result<(TcpListener, SocketAddr, Wire), Error> {
    let (listener, address) = listen(address).await?;
    let acceptor = server::certify(&config.state_dir.join("ca.pem")).map_err(|source| Error::StateDir {
        path: config.state_dir.clone(),
        source,
    })?;
    Ok((listener, address, Wire::Tls(acceptor)))
}

impl Handle {
    /// `http://127.0.0.1:PORT/`, as clients want it.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// `https://127.0.0.1:PORT/`, when TLS was asked for.
    pub fn tls_url(&self) -> Option<&Url> {
        self.tls_url.as_ref()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.cloud.address
    }

    /// Everything since a sequence number: mutating requests, twins, and droplets destroyed behind the API's back.
    pub fn journal(&self, since: u64) -> Vec<Entry> {
        self.cloud.journal.since(since)
    }

    /// The sequence number that the journal's next entry gets: what to ask [`Handle::journal`] for later on.
    pub fn journal_next(&self) -> u64 {
        self.cloud.journal.next()
    }

    /// The requests since a sequence number that might have changed something, whatever came of them.
    pub fn changes(&self, since: u64) -> Vec<Entry> {
        let mut entries = self.journal(since);
        entries.retain(Entry::is_request);
        entries
    }

    /// The moments since a sequence number at which live droplets came to share a watched tag.
    pub fn twins(&self, since: u64) -> Vec<Entry> {
        let mut entries = self.journal(since);
        entries.retain(|entry| matches!(entry.what, What::Twins { .. }));
        entries
    }

    /// The requests since a sequence number that spoke of something which is not ours.
    pub fn foreign(&self, since: u64, is_ours: impl Fn(&Touched) -> bool) -> Vec<Entry> {
        let mut entries = self.journal(since);
        entries.retain(|entry| !entry.touched().iter().all(&is_ours));
        entries
    }

    /// How often what happened since the start.
    pub fn counts(&self) -> Counts {
        self.cloud.counts()
    }

    /// How many reads were asked.
    pub fn reads(&self) -> u64 {
        self.counts().reads.values().sum()
    }

    /// Every live droplet, hidden ones too.
    pub fn droplets(&self) -> Vec<DropletInfo> {
        control::infos(&self.cloud)
    }

    /// What the firewalls in force at this moment make of a connection; `None` when there is no such droplet.
    pub fn connection(&self, connection: &Connection) -> Option<Passage> {
        self.cloud.world().passage(connection)
    }

    /// What a droplet's boot and agent said; `None` for one that never booted.
    pub fn console(&self, droplet: u64) -> Option<String> {
        self.cloud.machines.console(droplet)
    }

    /// Destroys a droplet at once, behind the API's back.
    pub async fn destroy(&self, droplet: u64) {
        self.cloud.destroy(droplet).await;
    }

    /// Changes delays, lags and limits.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.cloud.settings.get();
        change(&mut settings);
        self.cloud.settings.set(settings);
    }

    /// Has matching requests run into a fault.
    pub fn fault(&self, rule: FaultRule) {
        self.cloud.faults.add(rule);
    }

    /// Has all kinds of requests run into all kinds of faults, until [`Handle::calm`].
    pub fn storm(&self, seed: u64, intensity: f64) {
        Storm::new(seed, intensity)
            .rules()
            .into_iter()
            .for_each(|rule| self.fault(rule));
    }

    /// Has requests run into no more faults. What lasts of earlier ones goes on.
    pub fn calm(&self) {
        self.cloud.faults.clear();
    }

    /// Stops: no more requests, every agent killed, every container purged, every disk deleted.
    pub async fn shutdown(self) {
        self.cloud.stop.cancel();
        self.cloud.machines.destroy_all().await;
        self.cloud.tasks.close();
        // An answer that a fault delays is not waited for.
        let _ = tokio::time::timeout(STOP_PATIENCE, self.cloud.tasks.wait()).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.cloud.stop.cancel();
    }
}

/// Makes the state folder absolute, and this simulator's own.
fn claim(config: &mut Config) -> Result<File, Error> {
    let path = config.state_dir.clone();
    let unusable = |source| Error::StateDir {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(&path).map_err(unusable)?;
    config.state_dir = fs::canonicalize(&path).map_err(unusable)?;
    let lock = File::create(config.state_dir.join("lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::StateDirInUse(path)),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn base_url(scheme: &str, address: SocketAddr) -> Url {
    #[expect(clippy::expect_used, reason = "a socket address always makes one")]
    Url::parse(&format!("{scheme}://{address}/")).expect("a socket address makes a URL")
}
