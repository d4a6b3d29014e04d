//! What a replica has to be told.

use agent_api::MasterKey;
use api::AgentBinary;
use effects::Effects;
use firewall_reconciler::Sources;
use model::InstallationId;
use runtime::Backoff;
use secrecy::SecretString;
use std::time::Duration;
use url::Url;

/// One replica's configuration. All replicas of an installation agree on everything but `name`.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// For people who look at the leases: host and process.
    pub name: String,
    /// `postgres://user:password@host:port/database`, straight to the server or through a pooler in session mode.
    pub database_url: SecretString,
    /// How many connections it may have.
    pub connections: Connections,
    /// How DigitalOcean is reached. Its `effects` are replaced by those below.
    pub digitalocean: digitalocean::Config,
    /// What every token and certificate is derived from.
    pub master_key: MasterKey,
    /// Named by the tags of everything that it makes.
    pub installation: InstallationId,
    /// What new droplets download.
    pub agent_binary: AgentBinary,
    /// Base URL under which agents reach the API.
    pub public_url: Url,
    /// Whether something in front of the API does TLS.
    pub plain_http: bool,
    /// Who is let in to droplets.
    pub sources: Sources,
    /// Keys of the DigitalOcean account that may log in to droplets.
    pub ssh_keys: Vec<String>,
    /// The project that droplets are put into, by its id or its name.
    pub project: Option<String>,
    /// From one full read of the rows to the next.
    pub resync: Duration,
    /// How long a lease holds without renewal.
    pub lease: Duration,
    /// From one sweep of the fleet to the next.
    pub fleet_sweep: Duration,
    /// How much may be missing from a sweep before the sweep is in doubt.
    pub breaker: fleet::Limits,
    /// Between tries of a key that fails.
    pub backoff: Backoff,
    /// The durations that droplets are decided by.
    pub environment: environment_reconciler::Policy,
    /// The durations that tools are decided by.
    pub instance: instance_reconciler::Policy,
    /// The way of every effect that it has.
    pub effects: Effects,
}

/// The most connections to the database, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// For reconcilers and their reflectors.
    pub work: u32,
    /// For requests of agents.
    pub requests: u32,
    /// For leases: renewing one must not wait for anybody else's query.
    pub leases: u32,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            work: 20,
            requests: 10,
            leases: 2,
        }
    }
}

impl ReplicaConfig {
    /// The time between two heartbeats of an agent.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::try_from(self.environment.heartbeat).unwrap_or_default()
    }

    /// For how long a new droplet's first enrolment is taken: as long as it may take to launch, and once again.
    pub(crate) fn enrolment_ttl(&self) -> Duration {
        Duration::try_from(self.environment.launch_deadline).unwrap_or_default() * 2
    }
}
